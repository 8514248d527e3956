"""Pixel grids: locate, resample and reduce pixels on them."""
