"""Name the types, compressions and resampling methods of a cloud-optimised GeoTIFF."""

from __future__ import annotations

COMPRESSIONS = ("deflate", "zstd", "lzw", "none")
"""Lossless compressions."""

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Numpy names of the types that pixels of a mosaic can have."""

RESAMPLINGS = ("nearest", "average", "mode", "bilinear", "cubic", "cubicspline", "lanczos", "rms")
"""Resampling methods of overviews (https://gdal.org/en/stable/drivers/raster/cog.html)."""
