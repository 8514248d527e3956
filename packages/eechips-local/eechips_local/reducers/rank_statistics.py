"""``Reducer.percentile``, ``median``, ``mode`` and ``intervalMean``: reducers that put values in order; interpolation
between values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers.reducer_samples import Flags, ReducerSample, SampleColumn, Values, Weights
from eechips_local.reducers.reducer_types import Output, OutputSpec, Reducer, boxed, directly, numbers
from eechips_local.values.ordering import distinct_key

# Types whose values a 32-bit float holds exactly.
_SMALL = {np.dtype(kind) for kind in (bool, np.uint8, np.int8, np.uint16, np.int16, np.float16, np.float32)}


def comparable(values: Values, held: Flags) -> Values:
    """Return values as floats, infinite where they are null."""
    values = numbers(values)
    floats = values.astype(np.float32 if values.dtype in _SMALL else np.float64, copy=False)
    return np.where(held, floats, floats.dtype.type(np.inf))


def _ordered(column: SampleColumn) -> tuple[Values, Weights, npt.NDArray[np.intp]]:
    """Return values and weights in ascending order of values along the first axis, nulls last; and how many are no
    nulls.
    """
    held = column.weights > 0
    values = comparable(column.values, held)
    count = np.asarray(held.sum(axis=0))
    if len(values) and _is_even(column, held).all():  # sorting values alone takes a tenth of the time
        rank = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
        return np.sort(values, axis=0), np.where(rank < count, column.weights.max(axis=0), 0.0), count
    order = np.argsort(values, axis=0, kind="stable")
    weights = np.take_along_axis(np.where(held, column.weights, 0.0), order, axis=0)
    return np.take_along_axis(values, order, axis=0), weights, count


def _is_even(column: SampleColumn, held: Flags) -> Flags:
    """Return where all values have one weight: sums of a kernel's, such as 1/81, are inexact, so they are counted."""
    return np.asarray(np.all((column.weights == column.weights.max(axis=0)) | ~held, axis=0))


def quantiles(column: SampleColumn, fractions: Sequence[float]) -> list[tuple[Values, Flags]]:
    """Return weighted quantiles at each place.

    Each value stands in the middle of its weight: value i of ascending order at ``w[0] + ... + w[i - 1] + w[i] / 2`` of
    ``w[0] + ... + w[n - 1]``. Values between are interpolated, those before the first and behind the last are these.
    With equal weights that is definition 5 of Hyndman and Fan, "Sample quantiles in statistical packages" (1996). The
    service's 90th percentile of 1 to 10 is 9.5 (eHealthAfrica/heatwave_modelling_CHAP,
    tests/test_heatwave_detection.py), which of their continuous definitions only this gives.
    """
    held = column.weights > 0
    count = np.asarray(held.sum(axis=0))
    if not len(column.values):
        return [(np.zeros(count.shape), count > 0) for _ in fractions]
    is_even = _is_even(column, held)
    if not is_even.any():
        return _weighted_quantiles(column, count, fractions)
    counted = quantiles_by_rank(np.sort(comparable(column.values, held), axis=0), count, fractions)
    if is_even.all():
        return counted
    weighted = _weighted_quantiles(column, count, fractions)
    return [
        (np.where(is_even, even, other), flags) for (even, flags), (other, _) in zip(counted, weighted, strict=True)
    ]


def quantiles_by_rank(
    ordered: Values, count: npt.NDArray[np.intp], fractions: Sequence[float]
) -> list[tuple[Values, Flags]]:
    """Return quantiles of values of equal weights; see :func:`quantiles`.

    Args:
        ordered: values at each place in ascending order, nulls last.
        count: number of values that are not null at each place.
        fractions: fractions of the quantiles.
    """
    last = np.maximum(count - 1, 0)
    return [_between(ordered, count, *_split(np.clip(count * fraction - 0.5, 0, last), last)) for fraction in fractions]


def _weighted_quantiles(
    column: SampleColumn, count: npt.NDArray[np.intp], fractions: Sequence[float]
) -> list[tuple[Values, Flags]]:
    values, weights, _ = _ordered(column)
    rank = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    ends = np.cumsum(weights, axis=0)
    position = np.where(rank < count, ends - weights / 2.0, np.inf)
    quantile_values = []
    for fraction in fractions:
        target = fraction * ends[-1]
        low = np.maximum((position <= target).sum(axis=0) - 1, 0)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        start, end = _at(position, low), _at(position, high)
        with np.errstate(invalid="ignore"):
            part = np.divide(target - start, end - start, out=np.zeros(count.shape), where=(high > low) & (end > start))
        quantile_values.append(_between(values, count, low, high, np.maximum(part, 0.0)))
    return quantile_values


def _split(position: Weights, last: npt.NDArray[np.intp]) -> tuple[Values, Values, Weights]:
    """Return the ranks on both sides of a position, and how far it lies beyond the first."""
    low = np.floor(position).astype(np.intp)
    return low, np.minimum(low + 1, last), position - low


def _between(
    values: Values, count: npt.NDArray[np.intp], low: Values, high: Values, part: Weights
) -> tuple[Values, Flags]:
    """Return ordered values, interpolated between two ranks; 0 where there are none."""
    valid = count > 0
    first = np.where(valid, _at(values, low), 0).astype(np.float64)
    last = np.where(valid, _at(values, high), 0).astype(np.float64)
    return first + np.where(part > 0, (last - first) * part, 0.0), valid


def _at(values: Values, index: npt.NDArray[np.intp]) -> Values:
    return np.asarray(np.take_along_axis(values, np.asarray(index)[None], axis=0)[0])


def percentile(percentages: Sequence[float], names: Sequence[str] | None = None) -> Reducer:
    """Return percentiles, always computed directly.

    Earth Engine takes them from a histogram where there are more than ``maxRaw`` values, so those may differ.
    """
    for percentage in percentages:
        if not 0 <= percentage <= 100:
            raise InvalidError(f"Percentiles must be between 0 and 100; found {percentage}.")
    if not percentages:
        raise InvalidError("At least one percentile must be given.")
    if names is not None and len(names) != len(percentages):
        raise InvalidError(
            f"The number of output names ({len(names)}) must match that of percentiles ({len(percentages)})."
        )
    fractions = [p / 100.0 for p in percentages]

    def reduce(sample: ReducerSample) -> list[Output]:
        return [Output(*quantile) for quantile in quantiles(sample.column(0), fractions)]

    labels = names if names is not None else [f"p{p:g}".replace(".", "_") for p in percentages]
    return directly([OutputSpec(label, "within") for label in labels], (True,), reduce)


def _median(sample: ReducerSample) -> list[Output]:
    return [Output(*quantiles(sample.column(0), [0.5])[0])]


MEDIAN = directly((OutputSpec("median", "within"),), (True,), _median)


def _mode(sample: ReducerSample) -> list[Output]:
    """Return the value of the greatest weight; the least of them where there are several."""
    column = sample.column(0)
    if column.values.dtype == object:
        return [_mode_of_objects(column)]
    dtype = column.values.dtype
    if column.values.ndim == 1:
        held = column.weights > 0
        values, which = np.unique(column.values[held], return_inverse=True)
        if not len(values):
            return [Output(np.zeros((), dtype), np.zeros((), dtype=bool))]
        heaviest = np.bincount(which.ravel(), weights=column.weights[held]).argmax()
        return [Output(np.asarray(values[heaviest]), np.ones((), dtype=bool))]
    values, weights, count = _ordered(column)
    best, most, run = (np.zeros(values.shape[1:]) for _ in range(3))
    for index in range(len(values)):
        same = (values[index] == values[index - 1]) if index else np.zeros(run.shape, dtype=bool)
        run = np.where(same, run + weights[index], weights[index])
        better = (run > most) & (index < count)
        most, best = np.where(better, run, most), np.where(better, values[index], best)
    return [Output(best.astype(dtype) if dtype.kind in "iu" else best, count > 0)]


def _mode_of_objects(column: SampleColumn) -> Output:
    totals: dict[object, float] = {}
    first: dict[object, object] = {}
    for value, weight in zip(column.values, column.weights, strict=True):
        if weight > 0:
            key = distinct_key(value)
            totals[key] = totals.get(key, 0.0) + float(weight)
            first.setdefault(key, value)
    if not totals:
        return Output(boxed(None), np.zeros((), dtype=bool))
    return Output(boxed(first[max(totals, key=lambda key: totals[key])]), np.ones((), dtype=bool))


MODE = directly((OutputSpec("mode", "same"),), (True,), _mode)


def interval_mean(low: float, high: float) -> Reducer:
    """Return the mean of the values between two percentiles, both included; computed directly."""
    if not 0 <= low <= high <= 100:
        raise InvalidError(f"Percentiles must be in order and between 0 and 100; found {low} and {high}.")

    def reduce(sample: ReducerSample) -> list[Output]:
        column = sample.column(0)
        (least, valid), (greatest, _) = quantiles(column, [low / 100.0, high / 100.0])
        values = numbers(column.values)
        # Interpolated bounds are rounded: a value on a bound belongs to the interval.
        slack = 1e-12 * np.maximum(np.abs(least), np.abs(greatest))
        taken = (column.weights > 0) & (values >= least - slack) & (values <= greatest + slack)
        weights = np.where(taken, column.weights, 0.0)
        total = weights.sum(axis=0)
        means = np.divide(
            (np.where(taken, values, 0) * weights).sum(axis=0), total, out=np.zeros(np.shape(total)), where=total > 0
        )
        return [Output(means, valid & (total > 0))]

    return directly((OutputSpec("mean", "within"),), (True,), reduce)
