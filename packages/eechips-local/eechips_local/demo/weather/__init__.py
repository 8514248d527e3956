"""Weather, clouds and seasons."""
