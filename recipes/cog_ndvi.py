"""How green a raster in object storage is: windows of its own blocks, each read once, put together to one raster.

    eechips run recipes/cog_ndvi.py -p href=s3://bucket/scene.tif -p red=1 -p nir=4 --max-memory 256MB --processes 4

No Earth Engine is asked, and no account needed. The raster may be a file, or at http(s)://, s3://, gs:// or az://.
Scale and offset are applied as the raster says them; what it does not say is a parameter: Sentinel-2 since 2022 has
`-p offset=-1000`, in the values as they are stored.
"""

import numpy as np

from eechips.windows import join_windows, plan_windows, read_window, window_file

NEEDS_SERVICE = False  # nobody is asked but the store


def get_requests(href, red=1, nir=4, max_memory="256MB"):
    """Once, in the parent: windows of whole blocks, so large that a worker keeps within its memory."""
    return plan_windows(href, bands=(red, nir), dtype="float32", max_memory=max_memory)


def get_result(index, window, offset=0.0):
    """Once for each window, in a worker: masked where the raster has no data, and where nothing is to divide by."""
    red, nir = read_window(window, scaled=True) + offset  # real numbers, which do not overflow
    total = np.ma.masked_less_equal(red + nir, 0)
    return window_file(window, ((nir - red) / total).astype("float32"), bands=["ndvi"])


def assemble(results):
    """Once, in the parent, when all windows are there: one cloud-optimised GeoTIFF."""
    join_windows(results, "ndvi.tif")
