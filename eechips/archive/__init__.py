"""Archives of scenes without Earth Engine: catalogues of STAC items, downloads of files, windows of large rasters.

The core imports nothing of this package: only its commands, and the public names of :mod:`eechips`, lead here.
"""
