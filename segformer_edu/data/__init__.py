"""What goes into a model: photographs and their labels."""
