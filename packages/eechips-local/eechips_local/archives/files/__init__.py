"""Read headers and blocks of rasters by ranges of bytes."""
