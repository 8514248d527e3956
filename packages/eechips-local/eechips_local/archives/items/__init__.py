"""Search items, and make images of them."""
