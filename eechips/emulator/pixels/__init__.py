"""Lazy images: grids, sources of stored pixels, and everything that answers for a grid."""
