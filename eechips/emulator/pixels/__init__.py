"""Lazy images: grids, sources of stored pixels, and rasters that compute pixels on any grid."""
