"""What goes into a model: photographs, and labels for them."""
