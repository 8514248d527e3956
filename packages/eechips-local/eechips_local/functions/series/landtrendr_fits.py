"""``ee.Algorithms.TemporalSegmentation.LandTrendr`` and ``LandTrendrFit``: arguments, checks and output bands; one
image for each year.
"""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.landtrendr import LandTrendrOptions, fit_vertices, segment
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, every_member_of, first_image
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixel_series import Arrays, PixelSeries, SeriesRaster
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection

Floats = npt.NDArray[np.float64]


def _years(times: Floats) -> Floats:
    """Return the years of times in milliseconds, which must differ.

    Raises:
        InvalidError: if two images are of one year.
    """
    years = [datetime.fromtimestamp(time / 1000, timezone.utc).year for time in times.tolist()]
    for before, after in pairwise(years):
        if before == after:
            raise InvalidError(f"The time series must have one image for each year; found two of {after}.")
    return np.array(years, dtype=np.float64)


def _check_share(name: str, value: float, least: float = 0.0, greatest: float = 1.0) -> None:
    if not least <= value <= greatest:
        raise InvalidError(f"The {name} must be from {least:g} to {greatest:g}; found {value:g}.")


@function("TemporalSegmentation.LandTrendr")
def land_trendr(
    timeSeries: Collection, maxSegments: int, spikeThreshold: float, vertexCountOvershoot: int,
    preventOneYearRecovery: bool, recoveryThreshold: float, pvalThreshold: float, bestModelProportion: float,
    minObservationsNeeded: int,
) -> Image:  # fmt: skip
    """Return vertices of the first band's series, its error, and fits of the other bands.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-temporalsegmentation-landtrendr. "LandTrendr" has
    the rows year, value, fitted value and 1 at vertices, and a column for each year in which the first band is valid;
    "rmse" is that of its fit; "<band>_fit" are the other bands' fitted values in the years of all images. Pixels with
    fewer valid years than ``minObservationsNeeded`` are masked. ``preventOneYearRecovery`` prevents a vertex in the
    year before the last, after which the value falls.
    """
    if maxSegments < 1 or vertexCountOvershoot < 0:
        raise InvalidError("maxSegments must be positive and vertexCountOvershoot must not be negative.")
    for name, value in (("spikeThreshold", spikeThreshold), ("pvalThreshold", pvalThreshold)):
        _check_share(name, value)
    _check_share("bestModelProportion", bestModelProportion, 0, 2)
    first = first_image(timeSeries)
    if first is None or not first.bands:
        return Image(())
    options = LandTrendrOptions(
        maxSegments, spikeThreshold, vertexCountOvershoot, preventOneYearRecovery, recoveryThreshold, pvalThreshold,
        bestModelProportion, minObservationsNeeded,
    )  # fmt: skip

    def analyse(series: PixelSeries) -> Arrays | None:
        years, valid = _years(series.times), series.valid[0]
        count = int(valid.sum())
        if count < max(minObservationsNeeded, 2):
            return None
        x, y = years[valid], series.values[0][valid]
        segmentation = segment(x, y, options)
        fitted = segmentation.fitted(x)
        is_vertex = np.zeros(count)
        is_vertex[list(segmentation.vertices)] = 1
        error = np.sqrt(((fitted - y) ** 2).mean())
        rest = [
            _fit(series, band, x[list(segmentation.vertices)], spikeThreshold) for band in range(1, len(series.values))
        ]
        return [np.stack([x, y, fitted, is_vertex]), error, *rest]

    names = ["LandTrendr", "rmse", *(f"{band.name}_fit" for band in first.bands[1:])]
    depths = [2, 0, *(1 for _ in first.bands[1:])]
    raster = SeriesRaster(every_member_of(timeSeries, first), first.band_names, analyse, len(names))
    return composite(raster, names, [PixelType("double", dimensions=depth) for depth in depths])


def _fit(series: PixelSeries, band: int, vertices: Floats, spike: float) -> Floats:
    """Return a band's values in all years, fitted to vertices; its only value or 0 where it has less than two."""
    years, valid = _years(series.times), series.valid[band]
    if valid.sum() < 2:
        return np.full(len(years), series.values[band][valid].sum())
    return np.interp(years, *fit_vertices(years[valid], series.values[band][valid], vertices.tolist(), spike))


@function("TemporalSegmentation.LandTrendrFit")
def land_trendr_fit(
    timeSeries: Collection, vertices: Image, spikeThreshold: float, minObservationsNeeded: int
) -> Image:
    """Return "<band>_fit" of each band: its values in the years of all images, fitted to years of vertices.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-temporalsegmentation-landtrendrfit. All elements of
    the vertices' arrays are years. Pixels at which a band has fewer valid years than ``minObservationsNeeded`` are
    masked.
    """
    _check_share("spikeThreshold", spikeThreshold)
    if len(vertices.bands) != 1 or not vertices.bands[0].type.dimensions:
        raise InvalidError("The vertices must be an image of one array band.")
    first = first_image(timeSeries)
    if first is None or not first.bands:
        return Image(())

    def analyse(series: PixelSeries) -> Arrays | None:
        years = np.unique(np.asarray(series.others[0], dtype=np.float64).ravel())
        if not len(years) or series.valid.sum(axis=1).min() < max(minObservationsNeeded, 2):
            return None
        return [_fit(series, band, years, spikeThreshold) for band in range(len(series.values))]

    names = [f"{band.name}_fit" for band in first.bands]
    raster = SeriesRaster(
        every_member_of(timeSeries, first), first.band_names, analyse, len(names), tuple(vertices.bands)
    )
    return composite(raster, names, [PixelType("double", dimensions=1)] * len(names))
