"""``ee.Algorithms.TemporalSegmentation.Verdet``: arguments, checks and the output band of VeRDET."""

from __future__ import annotations

from eechips_local.algorithms.verdet import VerdetOptions, find_slopes
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, every_member_of, first_image
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixel_series import Arrays, PixelSeries, SeriesRaster
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection


@function("TemporalSegmentation.Verdet")
def verdet(timeSeries: Collection, tolerance: float, alpha: float, nRuns: int) -> Image:
    """Return the band "score": an array of the fitted line's slope in each year, 0 in the first.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-temporalsegmentation-verdet. Images are years in
    the order of the collection. Pixels that are masked in any image are masked, as in ``VerdetWrapper.java``
    (https://github.com/ecologistjoe/verdet_ee_java), which also names the band.
    """
    if nRuns < 1 or not alpha >= 0:
        raise InvalidError(f"nRuns must be positive and alpha must not be negative; found {nRuns} and {alpha:g}.")
    first = first_image(timeSeries)
    if first is None or not first.bands:
        return Image(())
    if len(first.bands) > 1:
        raise InvalidError("VeRDET only operates on collections of images of one band.")
    options = VerdetOptions(tolerance, alpha, nRuns)

    def analyse(series: PixelSeries) -> Arrays | None:
        return [find_slopes(series.values[0], options)] if series.valid.all() else None

    raster = SeriesRaster(every_member_of(timeSeries, first), first.band_names, analyse, 1, is_dated=False)
    return composite(raster, ["score"], [PixelType("double", dimensions=1)])
