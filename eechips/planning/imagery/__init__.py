"""Choose images, bands and masks, and make expressions of them."""
