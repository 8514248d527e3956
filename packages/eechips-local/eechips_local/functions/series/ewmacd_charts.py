"""``ee.Algorithms.TemporalSegmentation.Ewmacd``: arguments, checks and output bands of EWMACD."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.ewmacd import EwmacdOptions, chart
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, every_member_of, first_image
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixel_series import Arrays, PixelSeries, SeriesRaster
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection

Floats = npt.NDArray[np.float64]

_BANDS = {"ewma": 1, "harmonicCoefficients": 1, "rmse": 0, "rSquared": 0, "residuals": 1}
"""Names of the bands, and the dimensions of their arrays."""
_MOST_HARMONICS = 50


@function("TemporalSegmentation.Ewmacd")
def ewmacd(
    timeSeries: Collection, vegetationThreshold: float, trainingStartYear: int, trainingEndYear: int,
    harmonicCount: int, xBarLimit1: float, xBarLimit2: int, lambda_: float, lambdasigs: float, rounding: bool,
    persistence: int,
) -> Image:  # fmt: skip
    """Return scores of a control chart, and the harmonic model that it is made with.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-temporalsegmentation-ewmacd. Arrays have an element
    for each image that is not masked there, by time, as scripts expect that join them to the years of these images
    (https://github.com/gee-community/geeViz, ``runEWMACD``). Pixels are masked whose training years have too few
    images for the model.
    """
    if not 0 < lambda_ <= 1:
        raise InvalidError(f"lambda must be above 0 and at most 1; found {lambda_:g}.")
    if not lambdasigs > 0:
        raise InvalidError(f"lambdasigs must be positive; found {lambdasigs:g}.")
    if not 0 <= harmonicCount <= _MOST_HARMONICS:
        raise InvalidError(f"harmonicCount must be from 0 to {_MOST_HARMONICS}; found {harmonicCount}.")
    first = first_image(timeSeries)
    if first is None or not first.bands:
        return Image(())
    if len(first.bands) > 1:
        raise InvalidError("EWMACD only operates on collections of images of one band.")
    options = EwmacdOptions(
        vegetationThreshold, trainingStartYear, trainingEndYear, harmonicCount, xBarLimit1, xBarLimit2, lambda_,
        lambdasigs, rounding, persistence,
    )  # fmt: skip

    def analyse(series: PixelSeries) -> Arrays | None:
        valid = series.valid[0]
        charted = chart(*_years_and_days(series.times[valid]), series.values[0][valid], options)
        if charted is None:
            return None
        rmse, r_squared = np.asarray(charted.rmse), np.asarray(charted.r_squared)
        return [charted.scores, charted.coefficients, rmse, r_squared, charted.residuals]

    raster = SeriesRaster(every_member_of(timeSeries, first), first.band_names, analyse, len(_BANDS))
    return composite(raster, list(_BANDS), [PixelType("double", dimensions=depth) for depth in _BANDS.values()])


def _years_and_days(times: Floats) -> tuple[Floats, Floats]:
    """Return the years, and the days of the year from 1, of times in milliseconds since 1970, in UTC."""
    days = times.astype("datetime64[ms]").astype("datetime64[D]")
    years = days.astype("datetime64[Y]")
    return years.astype(np.float64) + 1970, (days - years.astype("datetime64[D]")).astype(np.float64) + 1
