"""A street in the world: what stands where, how a camera sees it, and how light falls on it."""
