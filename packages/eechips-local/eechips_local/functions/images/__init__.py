"""Functions of images, pixel by pixel."""
