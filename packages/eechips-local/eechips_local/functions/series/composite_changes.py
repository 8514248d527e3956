"""``ee.Algorithms.TemporalSegmentation.C2c``: arguments, checks and output bands of Composite2Change."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.composite2change import C2cChange, C2cOptions, find_changes
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, every_member_of, first_image
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixel_series import PixelSeries, SeriesRaster
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.time_formats import TimeFormat
from eechips_local.values.values import Collection

_CHANGES = ("changeDate", "value", "magnitude", "duration", "rate")
_POST = ("postMagnitude", "postDuration", "postRate")
_REGROWTH = ("indexRegrowth", "recoveryIndicator", "regrowth60", "regrowth80", "regrowth100")


def _each(name: str, values: Sequence[float], default: float, bands: int) -> list[float]:
    """Return a value for each band.

    Raises:
        InvalidError: if there are some, but not one for each band.
    """
    if values and len(values) != bands:
        raise InvalidError(f"The {name} must have a value for each of the {bands} bands; found {len(values)}.")
    return list(values) or [default] * bands


@function("TemporalSegmentation.C2c")
def c2c(
    collection: Collection, dateFormat: int, maxErrorList: Sequence[float], spikesToleranceList: Sequence[float],
    spikeRemovalMagnitudeList: Sequence[float], maxError: float, maxSegments: int, infill: bool,
    spikesTolerance: float, spikeRemovalMagnitude: float, includePostMetrics: bool, includeRegrowth: bool,
    interpolateRegrowth: bool, useRelativeRegrowth: bool, negativeMagnitudeOnly: bool,
) -> Image:  # fmt: skip
    """Return the changes of each band as arrays: "<band>_changeDate", "<band>_value" and so on.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-temporalsegmentation-c2c. Masked values are
    missing, as zeros are. A band with less than three values is masked. With losses only, arrays may be empty.
    """
    time_format = TimeFormat.of(dateFormat)
    if maxSegments < 1:
        raise InvalidError(f"maxSegments must be positive; found {maxSegments}.")
    first = first_image(collection)
    if first is None or not first.bands:
        return Image(())
    count = len(first.bands)
    errors = _each("maxErrorList", maxErrorList, maxError, count)
    tolerances = _each("spikesToleranceList", spikesToleranceList, spikesTolerance, count)
    spikes = _each("spikeRemovalMagnitudeList", spikeRemovalMagnitudeList, spikeRemovalMagnitude, count)
    options = [
        C2cOptions(
            error, maxSegments, infill, tolerance, spike, includePostMetrics, includeRegrowth, interpolateRegrowth,
            useRelativeRegrowth, negativeMagnitudeOnly,
        )
        for error, tolerance, spike in zip(errors, tolerances, spikes, strict=True)
    ]  # fmt: skip
    metrics = _CHANGES + (_POST if includePostMetrics else ()) + (_REGROWTH if includeRegrowth else ())

    def analyse(series: PixelSeries) -> list[npt.NDArray[Any] | None]:
        dates = time_format.convert(series.times).tolist()
        if any(after <= before for before, after in pairwise(dates)):
            raise InvalidError("The images of the time series must have different dates.")
        band_changes = map(partial(find_changes, dates), series.values.tolist(), options)
        return [
            None if changes is None else np.array([_metric(c, metric) for c in changes], dtype=float)
            for changes in band_changes
            for metric in metrics
        ]

    names = [f"{band.name}_{metric}" for band in first.bands for metric in metrics]
    raster = SeriesRaster(every_member_of(collection, first), first.band_names, analyse, len(names))
    return composite(raster, names, [PixelType("double", dimensions=1)] * len(names))


def _metric(change: C2cChange, name: str) -> float:
    """Return one of the numbers that describe a change."""
    if name in _CHANGES:
        return (change.date, change.value, change.magnitude, change.duration, change.rate)[_CHANGES.index(name)]
    if name in _POST:
        return (change.post_magnitude, change.post_duration, change.post_rate)[_POST.index(name)]
    return (change.index_regrowth, change.recovery, *change.regrowth)[_REGROWTH.index(name)]
