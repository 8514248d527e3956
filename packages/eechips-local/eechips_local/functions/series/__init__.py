"""Functions of collections of images, over time."""
