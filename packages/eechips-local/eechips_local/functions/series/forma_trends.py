"""``ImageCollection.formaTrend``: arguments (covariates are refused), checks and output bands."""

from __future__ import annotations

import numpy as np

from eechips_local.algorithms.forma import find_trends
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, every_member_of, first_image
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixel_series import Arrays, PixelSeries, SeriesRaster
from eechips_local.pixels.types import FLOAT
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection

_BANDS = ["long-trend", "short-trend", "long-tstat", "break-stat"]


@function("ImageCollection.formaTrend")
def forma_trend(timeSeries: Collection, covariates: Collection | None, windowSize: int) -> Image:
    """Return the long and short trends of a series of images, the t-statistic of the long one, and Hansen's statistic.

    https://developers.google.com/earth-engine/apidocs/ee-imagecollection-formatrend. Images are evenly spaced, in the
    order of the collection; masked values are left out. A band is masked where the series has no such number.
    """
    if covariates is not None:
        raise InvalidError("The local Earth Engine has no covariates: divide the images by them.")
    if windowSize < 2:
        raise InvalidError(f"The windowSize must be at least 2; found {windowSize}.")
    first = first_image(timeSeries)
    if first is None or not first.bands:
        return Image(())
    if len(first.bands) > 1:
        raise InvalidError(f"The images must have one band; found {len(first.bands)}.")

    def analyse(series: PixelSeries) -> Arrays:
        there = series.valid[0]
        trend = find_trends(series.times[there], series.values[0][there], windowSize)
        numbers = (trend.long, trend.short, trend.t_statistic, trend.break_statistic)
        return [np.array(number) if np.isfinite(number) else None for number in numbers]

    raster = SeriesRaster(every_member_of(timeSeries, first), first.band_names, analyse, len(_BANDS), is_dated=False)
    return composite(raster, _BANDS, [FLOAT] * len(_BANDS))
