"""LandTrendr: segmentation of yearly series by straight lines: spikes, vertices, too steep recoveries, and the choice
of a model by p-values.

Kennedy, Yang and Cohen (2010), "Detecting trends in forest disturbance and recovery using yearly Landsat time series:
1. LandTrendr - Temporal segmentation algorithms", Remote Sensing of Environment 114,
https://doi.org/10.1016/j.rse.2010.07.008. Details that the paper leaves open are those of its authors' program,
https://github.com/KennedyResearch/LandTrendr-2012, of which Earth Engine's is a translation (Kennedy et al. 2018,
https://doi.org/10.3390/rs10050691). Increasing values are disturbance, decreasing values recovery.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.distributions import exceeding_f

Floats = npt.NDArray[np.float64]

_DISTURBANCE_WEIGHT = 2.0
"""Weight of the rise after a vertex when vertices are culled by their angles."""
_MOST_SPLITS = 20
_LEAST_SQUARE = 1e-5
_ROUNDING = 1e-9
"""Deviations below this share of the range of a series are none."""


@dataclass(frozen=True, slots=True)
class LandTrendrOptions:
    """Arguments of ``ee.Algorithms.TemporalSegmentation.LandTrendr``.

    Attributes:
        segments: greatest number of segments.
        spike: from which share on a spike is dampened; 1 for none.
        overshoot: number of vertices beyond ``segments + 1`` among which those are chosen.
        has_no_late_recovery: whether the last year but one is no vertex if the value falls after it.
        recovery: steepest fall, as a share of the range of the fit in a year.
        p_value: greatest p-value of a model.
        best_proportion: a model with more vertices is taken if its p-value is at most ``2 - best_proportion`` times the
            least one.
        observations: least number of values.
    """

    segments: int
    spike: float
    overshoot: int
    has_no_late_recovery: bool
    recovery: float
    p_value: float
    best_proportion: float
    observations: int


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A series fitted by straight lines.

    Attributes:
        vertices: positions of the vertices in the series, ascending; the first and the last position are among them.
        values: fitted values at the vertices.
    """

    vertices: tuple[int, ...]
    values: tuple[float, ...]

    def fitted(self, years: Floats) -> Floats:
        """Return the fitted values of the years of the series."""
        return np.interp(years, years[list(self.vertices)], self.values)


def despike(values: Floats, threshold: float) -> Floats:
    """Return values with spikes dampened, the greatest first.

    A value is a spike as far as its neighbours are alike: 1 less the ratio of their difference to the greater of its
    differences to them. While it exceeds the threshold, it is moved by that share towards their mean. (The authors'
    program also dampens the first one that does not exceed it; Earth Engine's does not.)
    """
    dampened = values.tolist()
    if threshold >= 1 or len(dampened) < 3:
        return np.array(dampened)
    for _ in range(100 * len(dampened)):
        greatest, place = 0.0, 0
        for i in range(1, len(dampened) - 1):
            step = max(abs(dampened[i] - dampened[i - 1]), abs(dampened[i] - dampened[i + 1]))
            share = 1 - abs(dampened[i + 1] - dampened[i - 1]) / step if step else 0.0
            if share > greatest:
                greatest, place = share, i
        if greatest <= threshold:
            break
        dampened[place] += greatest * ((dampened[place - 1] + dampened[place + 1]) / 2 - dampened[place])
    return np.array(dampened)


def segment(years: Floats, values: Floats, options: LandTrendrOptions) -> Segmentation:
    """Return the best segmentation of a series.

    Args:
        years: shape (n,), ascending.
        values: shape (n,), at least two.
        options: options of the algorithm.
    """
    x, y = (years - years[0]).tolist(), despike(values, options.spike).tolist()
    vertices = _vertices(x, y, options)
    models = _anchored_models(x, y, vertices, options.recovery)
    best = _choose(models, options)
    if best.p_value > options.p_value:
        best = _choose(_least_squares_models(x, y, vertices), options)
    if best.p_value > options.p_value:
        mean = sum(y) / len(y)
        return Segmentation((0, len(y) - 1), (mean, mean))
    return Segmentation(tuple(best.vertices), tuple(best.values))


def fit_vertices(years: Floats, values: Floats, vertices: Sequence[float], spike: float) -> tuple[Floats, Floats]:
    """Return years of vertices and the values of another series that fits them.

    Args:
        years: shape (n,), ascending.
        values: shape (n,).
        vertices: years of the vertices, ascending; those before or after the series are moved to its ends.
        spike: threshold of spikes.
    """
    y = despike(values, spike)
    ends = np.unique(np.clip(np.asarray(vertices, dtype=np.float64), years[0], years[-1]))
    ends = np.unique([years[0], *ends, years[-1]])
    # A vertex in a year without a value lies on the line between its neighbours.
    x = np.unique([*years, *ends])
    filled = np.interp(x, years, y)
    places = np.searchsorted(x, ends).tolist()
    vertex_values = _anchored_trace((x - x[0]).tolist(), filled.tolist(), places)
    return ends, np.array(vertex_values)


# Vertices


def _vertices(x: list[float], y: list[float], options: LandTrendrOptions) -> list[int]:
    """Return positions of vertices: of the greatest deviations from lines, less those with the least angles."""
    vertices = _candidates(x, y, options)
    wanted = options.segments + 1
    if len(vertices) <= wanted:
        return vertices
    low, high = min(y), max(y)
    square = [(value - low) / (high - low) * (x[-1] - x[0]) for value in y]
    while len(vertices) > wanted:
        angles = [
            _angle(x, square, vertices[i - 1], vertices[i], vertices[i + 1], x[-1] - x[0])
            for i in range(1, len(vertices) - 1)
        ]
        del vertices[1 + angles.index(min(angles))]
    return vertices


def _angle(x: list[float], y: list[float], before: int, at: int, after: int, spread: float) -> float:
    """Return the steeper slope at a vertex as an angle, weighted if a rise follows."""
    rise = y[after] - y[at]
    first = math.atan((y[at] - y[before]) / (x[at] - x[before]))
    second = math.atan(rise / (x[after] - x[at]))
    return max(abs(first), abs(second)) * (1 + max(0.0, rise * _DISTURBANCE_WEIGHT / spread))


def _candidates(x: list[float], y: list[float], options: LandTrendrOptions) -> list[int]:
    """Return the ends, and the greatest deviation from the line of the worst segment, again and again."""
    vertices = [0, len(y) - 1]
    rounding = _ROUNDING * (max(y) - min(y))
    least = rounding * rounding
    most = min(options.segments + 1 + options.overshoot, len(y) - 2)
    pieces: dict[tuple[int, int], tuple[float, int]] = {}
    while len(vertices) < most and len(vertices) <= _MOST_SPLITS + 2:
        for piece in pairwise(vertices):
            if piece not in pieces:
                pieces[piece] = _deviation(x, y, *piece, options)
        ordered = sorted(pairwise(vertices), key=lambda piece: -pieces[piece][0])
        place = next((pieces[piece][1] for piece in ordered if pieces[piece][0] > least and pieces[piece][1]), 0)
        if not place:
            break
        vertices = sorted([*vertices, place])
    return vertices


def _deviation(x: list[float], y: list[float], start: int, end: int, options: LandTrendrOptions) -> tuple[float, int]:
    """Return the mean square of deviations from a segment's line, and the place of the greatest inside (0: none)."""
    if end - start < 2:
        return 0.0, 0
    run, line = x[start : end + 1], y[start : end + 1]
    slope, offset = _regression(run, line)
    apart = [abs(offset + slope * a - b) for a, b in zip(run, line, strict=True)]
    mean = sum(d * d for d in apart) / len(apart)
    apart[0] = apart[-1] = 0.0
    if options.has_no_late_recovery and end == len(y) - 1 and not y[end] > y[end - 1]:
        apart[-2] = 0.0
    greatest = max(apart)
    return mean, start + apart.index(greatest) if greatest > 0 else 0


def _regression(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return slope and offset of the least squares."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    square = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / square
    return slope, mean_y - slope * mean_x


# Models


@dataclass(slots=True)
class _Model:
    """Vertices, their values, the steepest fall as a share of the range, and the p-value of the F test."""

    vertices: list[int]
    values: list[float]
    fall: float
    p_value: float


def _model(x: list[float], y: list[float], vertices: list[int], values: list[float]) -> _Model:
    fitted = np.interp(x, [x[v] for v in vertices], values)
    spread = float(fitted.max() - fitted.min())
    slopes = _slopes(x, vertices, values)
    fall = max(0.0, -min(slopes)) / spread if spread else 0.0
    return _Model(vertices, values, fall, _p_value(np.asarray(y), fitted, 2 * (len(vertices) - 1)))


def _slopes(x: list[float], vertices: list[int], values: list[float]) -> list[float]:
    return [(values[i + 1] - values[i]) / (x[vertices[i + 1]] - x[vertices[i]]) for i in range(len(vertices) - 1)]


def _p_value(y: Floats, fitted: Floats, used: int) -> float:
    """Return the p-value of a fit in comparison with the mean; 0 below the resolution of a double next to 1."""
    free = len(y) - used - 1
    if free <= 0:
        return 1.0
    total = float(((y - y.mean()) ** 2).sum())
    left = min(float(((y - fitted) ** 2).sum()), total)
    mean = (total - left) / used
    if mean < _LEAST_SQUARE:
        f = _LEAST_SQUARE
    elif left == 0:
        return 0.0
    else:
        f = mean / (left / free)
    return 1 - (1 - exceeding_f(f, used, free))


def _anchored_models(x: list[float], y: list[float], vertices: list[int], recovery: float) -> list[_Model]:
    """Return models of ever fewer vertices, the values of each found from left to right."""
    models = [_model(x, y, vertices, _anchored_trace(x, y, vertices))]
    while len(vertices) > 2:
        vertices = _without_weakest(x, y, vertices, models[-1], recovery)
        models.append(_model(x, y, vertices, _anchored_trace(x, y, vertices)))
    return models


def _without_weakest(x: list[float], y: list[float], vertices: list[int], model: _Model, recovery: float) -> list[int]:
    """Return vertices without the end of a recovery that is too steep, or else without the one that is missed least.

    (The authors' program also moves the value at such an end between its neighbours; without that, more pixels are as
    Earth Engine's.)
    """
    values = model.values
    if model.fall > recovery:
        slopes = _slopes(x, vertices, values)
        end = slopes.index(min(slopes)) + 1
        if end < len(vertices) - 1:
            return vertices[:end] + vertices[end + 1 :]
        values = [*values[:-1], y[-2]]
    return _without_least(x, y, vertices, values)


def _without_least(x: list[float], y: list[float], vertices: list[int], values: list[float]) -> list[int]:
    """Return vertices without the one whose neighbours' line deviates least."""
    squares = []
    for i in range(1, len(vertices) - 1):
        start, end = vertices[i - 1], vertices[i + 1]
        slope = (values[i + 1] - values[i - 1]) / (x[end] - x[start])
        apart = (values[i - 1] + slope * (x[j] - x[start]) - y[j] for j in range(start, end + 1))
        squares.append(sum(d * d for d in apart) / (x[end] - x[start]))
    weakest = 1 + squares.index(min(squares))
    return vertices[:weakest] + vertices[weakest + 1 :]


def _anchored_trace(x: list[float], y: list[float], vertices: list[int]) -> list[float]:
    """Return values at vertices, found from left to right.

    A segment goes either straight to the value at its end, or along a regression through its first value. That of the
    first segment is a free one.
    """
    values = [y[v] for v in vertices]
    for s in range(len(vertices) - 1):
        start, end = vertices[s], vertices[s + 1]
        run = [a - x[start] for a in x[start : end + 1]]
        line = y[start : end + 1]
        direct = (values[s + 1] - values[s]) / run[-1]
        if s == 0:
            slope, offset = _regression(run, line)
        else:
            offset = values[s]
            products = sum(a * (b - offset) for a, b in zip(run, line, strict=True))
            slope = products / sum(a * a for a in run)
        straight = _squares(values[s], direct, run, line)
        regressed = _squares(offset, slope, run, line)
        if regressed < straight:
            values[s], values[s + 1] = offset, offset + slope * run[-1]
    return values


def _squares(offset: float, slope: float, x: Sequence[float], y: Sequence[float]) -> float:
    """Return the sum of squared differences from a line; infinite where a power would overflow."""
    return sum((apart := offset + slope * a - b) * apart for a, b in zip(x, y, strict=True))


def _least_squares_models(x: list[float], y: list[float], vertices: list[int]) -> list[_Model]:
    """Return models of ever fewer vertices, the values of each found together: the least squares.

    They are linear in the values, so that what Earth Engine's Levenberg-Marquardt optimizer approaches is computed
    directly.
    """
    models = [_model(x, y, vertices, _together(x, y, vertices))]
    while len(vertices) > 2:
        vertices = _without_least(x, y, vertices, models[-1].values)
        models.append(_model(x, y, vertices, _together(x, y, vertices)))
    return models


def _together(x: list[float], y: list[float], vertices: list[int]) -> list[float]:
    ends = [x[v] for v in vertices]
    design = np.stack([np.interp(x, ends, row) for row in np.eye(len(ends))], axis=1)
    vertex_values: list[float] = np.linalg.lstsq(design, np.asarray(y), rcond=None)[0].tolist()
    return vertex_values


def _choose(models: Sequence[_Model], options: LandTrendrOptions) -> _Model:
    """Return the model of the most vertices whose p-value is near the least one and whose falls are not too steep."""
    p_values = [model.p_value for model in models]
    while True:
        limit = (2 - options.best_proportion) * min(p_values)
        best = next((i for i, p in enumerate(p_values) if p <= limit), p_values.index(min(p_values)))
        if models[best].fall <= options.recovery or p_values[best] >= 1:
            model = models[best]
            return _Model(model.vertices, model.values, model.fall, p_values[best])
        p_values[best] = 1.0
