"""Talking to Earth Engine: one throttle, one retry layer, classified errors, checked bodies."""
