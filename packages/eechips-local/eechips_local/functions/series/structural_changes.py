"""``ee.Algorithms.TemporalSegmentation.StructuralChangeBreakpoints``: arguments, checks and output bands; structural
changes of harmonic models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.harmonic_models import harmonic_design
from eechips_local.algorithms.structural_change import find_breakpoints
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, every_member_of, first_image
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixel_series import Arrays, PixelSeries, SeriesRaster
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection

_YEAR = 365.25 * 86_400_000.0
_YEARS, _MILLISECONDS = 1, 2
_MOST_IMAGES = 2000


@function("TemporalSegmentation.StructuralChangeBreakpoints")
def structural_change_breakpoints(
    collection: Collection, breakpointBand: str | None, seasonalModelOrder: int, minSpacing: float, maxBreaks: int,
    dateFormat: int,
) -> Image:  # fmt: skip
    """Return start and end of each segment, and the coefficients and errors of each band's model there.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-temporalsegmentation-structuralchangebreakpoints.
    Observations are the images that are valid in all bands. As in R, ``maxBreaks`` 0 stands for as many breakpoints as
    fit, and a segment has more observations than its model has coefficients. The error is the root of the mean square.
    Pixels with fewer observations than coefficients are masked.
    """
    first = first_image(collection)
    if first is None or not first.bands:
        return Image(())
    names = first.band_names
    chosen = _breakpoint_band(breakpointBand, names)
    _check_options(seasonalModelOrder, minSpacing, maxBreaks, dateFormat)
    terms = 2 + 2 * seasonalModelOrder

    def analyse(series: PixelSeries) -> Arrays | None:
        images = len(series.times)
        if images > _MOST_IMAGES:
            raise InvalidError(f"The collection must not have more than {_MOST_IMAGES} images; found {images}.")
        valid = series.valid.all(axis=0)
        years = series.times[valid] / _YEAR
        if len(years) < terms:
            return None
        spacing = math.floor(minSpacing * images) if minSpacing < 1 else math.floor(min(minSpacing, images))
        design = harmonic_design(years, 2 * math.pi * years, seasonalModelOrder)
        values = series.values[:, valid].T
        ends = find_breakpoints(design, values[:, chosen], max(spacing, terms + 1), maxBreaks or None)
        times = years if dateFormat == _YEARS else series.times[valid]
        design[:, 1] = times
        bounds = [0, *(end + 1 for end in ends), len(years)]
        fits = [_fitted(design[start:end], values[start:end]) for start, end in pairwise(bounds)]
        return [
            times[bounds[:-1]], times[[bound - 1 for bound in bounds[1:]]],
            *np.stack([fit[0] for fit in fits]).transpose(2, 0, 1), *np.stack([fit[1] for fit in fits]).T,
        ]  # fmt: skip

    outputs = [("tStart", 1), ("tEnd", 1), *((f"coefs_{name}", 2) for name in names)]
    outputs += [(f"rmse_{name}", 1) for name in names]
    # Of all images: minSpacing is a part of their number.
    raster = SeriesRaster(every_member_of(collection, first), first.band_names, analyse, len(outputs))
    types = [PixelType("double", dimensions=depth) for _, depth in outputs]
    return composite(raster, [name for name, _ in outputs], types)


def _breakpoint_band(name: str | None, names: Sequence[str]) -> int:
    """Return the position of the band whose breakpoints are sought, by default of the only one."""
    if name is None and len(names) > 1:
        raise InvalidError(f"The breakpointBand is required for images of several bands: {', '.join(names)[:500]}.")
    if name is not None and name not in names:
        raise InvalidError(f"The collection has no band '{name[:100]}'; found {', '.join(names)[:500]}.")
    return 0 if name is None else names.index(name)


def _check_options(order: int, spacing: float, breaks: int, date_format: int) -> None:
    if order < 0 or breaks < 0:
        raise InvalidError("seasonalModelOrder and maxBreaks must not be negative.")
    if not spacing > 0:
        raise InvalidError(f"minSpacing must be positive; found {spacing:g}.")
    if date_format not in (_YEARS, _MILLISECONDS):
        raise InvalidError(f"dateFormat must be 1 or 2; found {date_format}.")


def _fitted(design: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    """Return coefficients, shape (terms, bands), and root mean square errors of a segment."""
    middle = design[:, 1].mean()
    spread = max(float(np.abs(design[:, 1] - middle).max()), 1e-300)
    scaled = design.copy()
    scaled[:, 1] = (design[:, 1] - middle) / spread
    coefficients = np.linalg.lstsq(scaled, values, rcond=None)[0]
    error = np.sqrt(((values - scaled @ coefficients) ** 2).mean(axis=0))
    coefficients[1] /= spread
    coefficients[0] -= coefficients[1] * middle
    return coefficients, error
