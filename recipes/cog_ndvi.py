"""NDVI of a big raster in an object store: read windows of whole blocks, and join the results to one raster.

    eechips run recipes/cog_ndvi.py -p href=s3://bucket/scene.tif -p red=1 -p nir=4 --executor processes:4

No Earth Engine is asked, and no account needed. The raster may be a file, or at http(s)://, s3://, gs:// or az://.
Scale and offset are applied as the raster says them; what it does not say is a parameter: Sentinel-2 since 2022 has
`-p offset=-1000`, in the values as they are stored.
"""

import numpy as np

from eechips.archive.windows import join_windows, plan_windows, read_window, window_file

NEEDS_SERVICE = False  # the run does not use Earth Engine


def get_requests(href, red=1, nir=4, max_memory="256MB"):
    """Plan windows of whole blocks that fit into a worker's memory. Called once, in the parent."""
    return plan_windows(href, bands=(red, nir), dtype="float32", max_memory=max_memory)


def get_result(index, window, offset=0.0):
    """Compute NDVI, masked without data and where the divisor is 0. Called once for each window, in a worker."""
    red, nir = read_window(window, scaled=True) + offset  # floats, which do not overflow
    total = np.ma.masked_less_equal(red + nir, 0)
    return window_file(window, ((nir - red) / total).astype("float32"), bands=["ndvi"])


def assemble(results):
    """Join the windows to one cloud-optimised GeoTIFF. Called once, in the parent, at the end."""
    join_windows(results, "ndvi.tif")
