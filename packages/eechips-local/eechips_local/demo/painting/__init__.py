"""Paint pixels on request, the same on every machine."""
