"""Images of satellites and aircraft."""
