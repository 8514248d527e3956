"""The local Earth Engine against libraries that are not ours, on rasters of unusual grids, types and files."""
