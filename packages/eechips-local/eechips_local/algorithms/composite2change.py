"""Composite2Change (C2C): breakpoints of series by merging segments from the bottom up, with infilled zeros, removed
spikes and regrowth.

Hermosilla et al. (2015), "An integrated Landsat time series protocol for change detection and generation of annual
gap-free surface reflectance composites", https://doi.org/10.1016/j.rse.2014.11.005, as in the program that Earth
Engine's reference names, https://github.com/saveriofrancini/C2C-GEE, of which Google is an author.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

_REGROWTH_AFTER = 5
"""Data points after a change at which ``indexRegrowth`` is taken."""
_SHARES = (0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class C2cOptions:
    """Arguments of ``ee.Algorithms.TemporalSegmentation.C2c``, for one band.

    Attributes:
        error: greatest root mean square error of a segment.
        segments: greatest number of segments.
        has_infill: whether zeros, which are missing values, are filled.
        tolerance: tolerance of spikes, from 0 to 1; 1 for no removal.
        spike: difference from the mean of the neighbours beyond which a value may be a spike.
        has_post: whether what follows a change is described.
        has_regrowth: whether the regrowth after a change is described.
        interpolates: whether regrowth is that of the segments, not of the values.
        is_relative: whether regrowth is relative to the magnitude of the change, not to the value before it.
        losses_only: whether only changes of negative magnitude are returned.
    """

    error: float
    segments: int
    has_infill: bool
    tolerance: float
    spike: float
    has_post: bool
    has_regrowth: bool
    interpolates: bool
    is_relative: bool
    losses_only: bool


@dataclass(frozen=True, slots=True)
class C2cChange:
    """A breakpoint; NaN where there is nothing before or after it, or where it is not asked for."""

    place: int
    date: float
    value: float
    magnitude: float = math.nan
    duration: float = math.nan
    post_magnitude: float = math.nan
    post_duration: float = math.nan
    index_regrowth: float = math.nan
    recovery: float = math.nan
    regrowth: tuple[float, float, float] = (math.nan, math.nan, math.nan)

    @property
    def rate(self) -> float:
        """Magnitude by duration."""
        return self.magnitude / self.duration

    @property
    def post_rate(self) -> float:
        """Magnitude by duration of the segment that follows."""
        return self.post_magnitude / self.post_duration


def find_changes(dates: Sequence[float], values: Sequence[float], options: C2cOptions) -> list[C2cChange] | None:
    """Return the breakpoints of a series, its ends among them; None for less than three values that are not 0.

    Args:
        dates: ascending.
        values: as many.
        options: options of the algorithm.
    """
    series = list(values)
    if sum(value != 0 for value in series) < 3:
        return None
    if options.has_infill:
        _infill(series)
    if options.tolerance < 1:
        _despike(series, options)
    bounds = _merged(dates, series, options)
    changes = [_change(dates, series, bounds, i, has_post=options.has_post) for i in range(len(bounds))]
    if options.interpolates:
        series = np.interp(dates, [dates[place] for place in bounds], [series[place] for place in bounds]).tolist()
    if options.has_regrowth:
        grown = [_regrown(dates, series, change, before.value, options) for before, change in pairwise(changes)]
        changes = [changes[0], *grown]
    return [change for change in changes if change.magnitude < 0] if options.losses_only else changes


def _infill(values: list[float]) -> None:
    """Replace zeros by the neighbour that differs less from the one behind it; the last value, if it stands out."""

    def present(start: int, step: int) -> int:
        places = range(start + step, len(values) if step > 0 else -1, step) if start >= 0 else ()
        return next((place for place in places if values[place] != 0), -1)

    for place, value in enumerate(values):
        if value != 0:
            continue
        left, right = present(place, -1), present(place, 1)
        farther_left, farther_right = present(left, -1), present(right, 1)
        if farther_left == -1:
            values[place] = values[right]
        elif farther_right == -1:
            values[place] = values[right if right != -1 else left]
        else:
            is_left = abs(values[left] - values[farther_left]) < abs(values[right] - values[farther_right])
            values[place] = values[left if is_left else right]
    if abs(values[-1] - values[-2]) >= abs(values[-2] - values[-3]):
        values[-1] = values[-2]


def _despike(values: list[float], options: C2cOptions) -> None:
    """Replace spikes by the mean of their neighbours, from left to right."""
    for i in range(1, len(values) - 1):
        middle = (values[i - 1] + values[i + 1]) / 2
        height = abs(middle - values[i])
        if height > max(options.spike, 0) and abs(values[i - 1] - values[i + 1]) / height < 1 - options.tolerance:
            values[i] = middle


def _merged(dates: Sequence[float], values: Sequence[float], options: C2cOptions) -> list[int]:
    """Return places of breakpoints: the neighbours that deviate least from a line are merged, again and again."""
    bounds = list(range(len(values)))
    costs = [_deviation(dates, values, i, i + 2) for i in range(len(values) - 2)]
    while costs and (min(costs) < options.error or len(bounds) - 1 > options.segments):
        place = costs.index(min(costs))
        del bounds[place + 1], costs[place]
        for i in (place - 1, place):
            if 0 <= i < len(costs):
                costs[i] = _deviation(dates, values, bounds[i], bounds[i + 2])
    return bounds


def _deviation(dates: Sequence[float], values: Sequence[float], start: int, end: int) -> float:
    """Return the root mean square of deviations from the line between two values."""
    span = dates[end] - dates[start]
    total = 0.0
    for i in range(start, end + 1):
        share = (dates[i] - dates[start]) / span
        apart = values[i] - (values[start] * (1 - share) + values[end] * share)
        total += apart * apart
    return math.sqrt(total / (end - start))


def _change(
    dates: Sequence[float], values: Sequence[float], bounds: Sequence[int], i: int, *, has_post: bool
) -> C2cChange:
    """Return the change at a breakpoint."""
    place = bounds[i]
    change = C2cChange(place, dates[place], values[place])
    if i > 0:
        before = bounds[i - 1]
        change = replace(change, magnitude=values[place] - values[before], duration=dates[place] - dates[before])
    if has_post and i + 1 < len(bounds):
        after = bounds[i + 1]
        change = replace(
            change, post_magnitude=values[after] - values[place], post_duration=dates[after] - dates[place]
        )
    return change


def _regrown(
    dates: Sequence[float], values: Sequence[float], change: C2cChange, before: float, options: C2cOptions
) -> C2cChange:
    """Return a change with how the values grow after it, in comparison with the value of the breakpoint before."""
    place = change.place
    if place == len(values) - 1:
        return change
    reached: list[float] = []
    for share in _SHARES:
        reached.append(math.nan)
        for i in range(place + 1, len(values)):
            part = (change.value - values[i], change.magnitude) if options.is_relative else (values[i], before)
            if _quotient(*part) >= share:
                reached[-1] = dates[i] - dates[place]
                break
    later = place + _REGROWTH_AFTER
    growth = values[later] - change.value if later < len(values) else math.nan
    recovery = _quotient(growth, change.magnitude)
    return replace(change, index_regrowth=growth, recovery=recovery, regrowth=(reached[0], reached[1], reached[2]))


def _quotient(above: float, below: float) -> float:
    """Return a quotient of doubles as Java computes it."""
    if below:
        return above / below
    return math.copysign(math.inf, above) if above and not math.isnan(above) else math.nan
