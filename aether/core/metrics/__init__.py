"""What is measured, by name, and how the readings of several workers become those of their pool. Pure."""
