"""``ee.Algorithms.TemporalSegmentation.Ccdc``: arguments, checks and output bands of Continuous Change Detection and
Classification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.ccdc import CcdcOptions, CcdcSegment, find_segments
from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import composite, first_image, members_of
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.pixel_series import Arrays, PixelSeries, SeriesRaster
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.time_formats import TimeFormat
from eechips_local.values.values import Collection


def _positions(wanted: Sequence[Any] | None, names: Sequence[str], argument: str) -> tuple[int, ...]:
    """Return positions of bands that are given by name or position.

    Raises:
        InvalidError: if there is no such band.
    """
    positions = []
    for band in wanted or ():
        if isinstance(band, str) and band in names:
            positions.append(names.index(band))
        elif (
            isinstance(band, (int, float))
            and not isinstance(band, bool)
            and 0 <= band < len(names)
            and band == int(band)
        ):
            positions.append(int(band))
        else:
            raise InvalidError(
                f"{argument}: the collection has no band '{str(band)[:100]}'; found {', '.join(names)[:500]}."
            )
    return tuple(dict.fromkeys(positions))


@function("TemporalSegmentation.Ccdc")
def ccdc(
    collection: Collection, breakpointBands: Sequence[Any] | None, tmaskBands: Sequence[Any] | None,
    minObservations: int, chiSquareProbability: float, minNumOfYearsScaler: float, dateFormat: int, lambda_: float,
    maxIterations: int,
) -> Image:  # fmt: skip
    """Return the segments of the series at each pixel, as arrays with an element or row for each segment.

    https://developers.google.com/earth-engine/apidocs/ee-algorithms-temporalsegmentation-ccdc. The bands are those of
    https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_GLOBAL_CCDC_V1. Pixels without a segment are
    masked.
    """
    if minObservations < 1:
        raise InvalidError(f"minObservations must be positive; found {minObservations}.")
    if not 0 <= chiSquareProbability <= 1:
        raise InvalidError(f"chiSquareProbability must be from 0 to 1; found {chiSquareProbability:g}.")
    time_format = TimeFormat.of(dateFormat)
    if not 0 <= lambda_ < math.inf or maxIterations < 0:
        raise InvalidError("lambda and maxIterations must not be negative, and lambda must be finite.")
    first = first_image(collection)
    if first is None or not first.bands:
        return Image(())
    names = [band.name for band in first.bands]
    detection = _positions(breakpointBands, names, "breakpointBands") or tuple(range(len(names)))
    clouds = _positions(tmaskBands, names, "tmaskBands")
    if set(clouds) - set(detection):
        raise InvalidError("The tmaskBands must be included in the breakpointBands.")
    options = CcdcOptions(
        detection, clouds, minObservations, chiSquareProbability, minNumOfYearsScaler, lambda_, maxIterations,
        time_format.year,
    )  # fmt: skip

    def analyse(series: PixelSeries) -> Arrays | None:
        valid = series.valid.all(axis=0)
        segments = find_segments(time_format.convert(series.times[valid]), series.values[:, valid].T, options)
        return _arrays(segments, len(names)) if segments else None

    outputs = [("tStart", 1), ("tEnd", 1), ("tBreak", 1), ("numObs", 1), ("changeProb", 1)]
    for suffix, depth in (("coefs", 2), ("rmse", 1), ("magnitude", 1)):
        outputs += [(f"{name}_{suffix}", depth) for name in names]
    raster = SeriesRaster(members_of(collection, first), first.band_names, analyse, len(outputs))
    types = [
        PixelType("int", 0, 2**31 - 1, 1) if name == "numObs" else PixelType("double", dimensions=depth)
        for name, depth in outputs
    ]
    return composite(raster, [name for name, _ in outputs], types)


def _arrays(segments: Sequence[CcdcSegment], bands: int) -> Arrays:
    """Return start, end, break, count and probability, then coefficients, errors and magnitudes of each band."""
    scalars = [[s.start, s.end, s.change, s.count, s.probability] for s in segments]
    segment_arrays: list[npt.NDArray[Any]] = [*np.array(scalars, dtype=np.float64).T]
    segment_arrays[3] = segment_arrays[3].astype(np.int32)
    segment_arrays += [np.stack([s.coefficients[band] for s in segments]) for band in range(bands)]
    segment_arrays += [np.array([s.rmse[band] for s in segments]) for band in range(bands)]
    segment_arrays += [np.array([s.magnitude[band] for s in segments]) for band in range(bands)]
    return segment_arrays
