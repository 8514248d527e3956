"""Open archives as stores of assets: datasets of Earth Engine from public Cloud Optimized GeoTIFFs, found by STAC."""
