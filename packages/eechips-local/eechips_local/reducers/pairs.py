"""``Reducer.kendallsCorrelation`` and ``sensSlope``: reducers of all pairs of values, and how many there can be."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.reducers.moments import ratio
from eechips_local.reducers.reducer_samples import Flags, ReducerSample, flat_places
from eechips_local.reducers.reducer_types import Output, OutputSpec, Reducer, directly
from eechips_local.reducers.regressions import Floats, unweighted_inputs

_MOST_PAIRS = 1 << 25
"""Pairs of the values of one place."""
_MOST_COMPARED = 1 << 34
"""Pairs of all places: half a minute of a processor."""
_BLOCK = 1 << 17
"""Values that are compared at once, so that they stay in the processor's cache."""
_FEWEST = 512
"""Places that are compared at once, however many values they have: rows of fewer take as long."""


def _check_pairs(count: int, places: int) -> None:
    if count * count * max(places, 1) > _MOST_COMPARED or count * count > _MOST_PAIRS:
        raise MemoryLimitError()


def _counts(flags: Flags) -> npt.NDArray[np.int64]:
    """Return the number of set flags along the first axis. Sums of bytes are many times as fast as sums of integers."""
    starts = range(0, len(flags), 255)
    parts = [np.add.reduce(flags[start : start + 255].view(np.uint8), axis=0, dtype=np.uint8) for start in starts]
    return np.asarray(np.sum(parts, axis=0, dtype=np.int64))


def _compared_pairs(*inputs: Floats) -> npt.NDArray[np.int64]:
    """Return, of all pairs at each place, how many more agree than do not, and how many differ in each input.

    Args:
        *inputs: x, unless it increases throughout, and y; shape (n, places), NaN for nulls.
    """
    count, places = inputs[0].shape
    tallies = np.zeros((1 + len(inputs), places), dtype=np.int64)
    step = max(_FEWEST, _BLOCK // max(count, 1))
    for start in range(0, places, step):
        here = slice(start, start + step)
        blocks = [column[:, here] for column in inputs]
        for index in range(count - 1):
            more = [block[index + 1 :] > block[index] for block in blocks]
            less = [block[index + 1 :] < block[index] for block in blocks]
            risen, fallen = ([_counts(flags) for flags in compared] for compared in (more, less))
            agreeing, differing = risen[0], fallen[0]
            if len(inputs) == 2:
                agreeing = _counts(more[0] & more[1] | less[0] & less[1])
                differing = _counts(more[0] & less[1] | less[0] & more[1])
            unequal = [up + down for up, down in zip(risen, fallen, strict=True)]
            tallies[:, here] += [agreeing - differing, *unequal]
    return tallies


def kendalls_correlation(inputs: int) -> Reducer:
    """Return Kendall's tau-b. The p-value is NaN, and of images masked: users measure so, and compute their own.

    Sources: codes 60287229598 (tau 0.909 of 12 pairs, August 2026) and 55098955523.
    """
    if inputs not in (1, 2):
        raise InvalidError(f"The number of inputs must be 1 or 2; found {inputs}.")

    def reduce(sample: ReducerSample) -> list[Output]:
        values, inside = unweighted_inputs(sample)
        y = values[-1]
        flat = [flat_places(np.where(inside, column, np.nan), 1) for column in values]
        _check_pairs(*flat[0].shape)
        score, *unequal = _compared_pairs(*flat).reshape(-1, *y.shape[1:]).astype(np.float64)
        count = inside.sum(axis=0)
        if inputs == 1:
            unequal.append(count * (count - 1) / 2)
        below = np.sqrt(unequal[0] * unequal[1])
        valid = (count > 1) & (below > 0)
        tau = ratio(score, below, valid)
        return [Output(tau, valid), Output(np.full(tau.shape, np.nan), valid & (y.ndim == 1))]

    return directly((OutputSpec("tau"), OutputSpec("p-value")), (False,) * inputs, reduce)


def _sens_slope(sample: ReducerSample) -> list[Output]:
    """Return the median of the slopes between all pairs of different x, and the median of what that leaves of y."""
    (x, y), inside = unweighted_inputs(sample)
    places = inside.shape[1:]
    _check_pairs(len(x), math.prod(places))
    first, second = np.triu_indices(len(x), 1)
    flat_x, flat_y, flat = (flat_places(part, 1) for part in (x, y, inside))
    slope, offset = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    valid = np.zeros(flat.shape[1], dtype=bool)
    step = max(1, _BLOCK // max(len(first), 1))
    for start in range(0, flat.shape[1], step):
        here = slice(start, start + step)
        run, rise = (part[second, here] - part[first, here] for part in (flat_x, flat_y))
        some = flat[second, here] & flat[first, here] & (run != 0)
        slope[here] = _medians(ratio(rise, run, some), some)
        offset[here] = _medians(flat_y[:, here] - slope[here] * flat_x[:, here], flat[:, here])
        valid[here] = some.any(axis=0)
    flags = valid.reshape(places)
    return [Output(slope.reshape(places), flags), Output(offset.reshape(places), flags)]


def _medians(values: Floats, inside: Flags) -> Floats:
    """Return medians of the first axis, 0 of none."""
    count = inside.sum(axis=0)
    ordered = np.sort(np.where(inside, values, np.inf), axis=0)
    middle = np.stack([np.maximum(count - 1, 0) // 2, count // 2])
    if not len(ordered):
        return np.zeros(count.shape)
    picked = np.take_along_axis(ordered, np.minimum(middle, len(ordered) - 1), axis=0)
    return np.where(count > 0, picked.mean(axis=0), 0.0)


SENS_SLOPE = directly((OutputSpec("slope"), OutputSpec("offset")), (False, False), _sens_slope)
