"""Lazy images: grids, sources of stored pixels, and rasters that compute pixels on any grid.

Functions of Earth Engine do not belong here: those in ``eechips_local.functions`` combine these rasters.
"""
