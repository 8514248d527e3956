"""Functions of images that look at the pixels around each pixel."""
