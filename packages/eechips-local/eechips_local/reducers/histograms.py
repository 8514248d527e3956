"""``Reducer.histogram``, ``autoHistogram``, ``fixedHistogram``, ``fixed2DHistogram`` and ``frequencyHistogram``:
buckets, ``maxBuckets``, ``minBucketWidth``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.reducers.reducer_samples import ReducerSample, SampleColumn, flat_places, joined
from eechips_local.reducers.reducer_types import Output, OutputSpec, Reducer, boxed, numbers
from eechips_local.values.number_format import java_text
from eechips_local.values.ordering import plain
from eechips_local.values.values import Array, Value

Floats = npt.NDArray[np.float64]

# Default number of buckets, as in the charts of the Code Editor.
_BUCKETS = 256
# Widths of buckets lie between the powers of two of a double.
_LEAST_POWER, _GREATEST_POWER = -1022, 1023
_MOST_STEPS = 1 << 20
# Different values of a region that a tally holds, of 16 bytes each; buckets are filled with more than the second.
_MOST_VALUES, _MANY_VALUES = 1 << 25, 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class ValueCounts:
    """Different values in ascending order, and the weight of each."""

    values: npt.NDArray[Any]
    weights: Floats


def _tally(column: SampleColumn, *, finite: bool) -> ValueCounts:
    every = numbers(column.values)
    held = (column.weights > 0) & np.isfinite(every) if finite else column.weights > 0
    values = every[held]
    unique, which = np.unique(values, return_inverse=True)
    return ValueCounts(unique, _binned(which.ravel(), column.weights[held], len(unique)))


def _binned(bins: npt.NDArray[np.intp], weights: Floats, count: int) -> Floats:
    return np.bincount(bins, weights=weights, minlength=count).astype(np.float64)


def _added(parts: Sequence[ValueCounts]) -> ValueCounts:
    values = np.concatenate([p.values for p in parts])
    unique, which = np.unique(values, return_inverse=True)
    weights = np.concatenate([p.weights for p in parts])
    return ValueCounts(unique, _binned(which.ravel(), weights, len(unique)))


def _places(column: SampleColumn) -> list[SampleColumn]:
    """Return each place's values on their own."""
    flat = [flat_places(part, 1) for part in (column.values, column.weights, column.inside, column.present)]
    return [SampleColumn(*(part[:, place] for part in flat)) for place in range(flat[0].shape[1])]


def _of_tally(
    spec: OutputSpec,
    make: Callable[[ValueCounts], Value],
    shorten: Callable[[ValueCounts], ValueCounts] = lambda tally: tally,
    *,
    finite: bool = False,
) -> Reducer:
    """Return a reducer to something that is no number, made from the tally of each place; null where that is empty.

    Args:
        spec: specification of the output.
        make: from the tally to the output.
        shorten: from the tally of a part of the input to one from which the same output is made.
        finite: leave out infinite values and NaN, which no bucket can hold.

    Raises:
        LimitError: by the reducer, if there are too many different values.
    """

    def summarise(sample: ReducerSample) -> tuple[tuple[int, ...], list[ValueCounts]]:
        column = sample.column(0)
        return column.weights.shape[1:], [_tally(place, finite=finite) for place in _places(column)]

    def merge(parts: Sequence[tuple[tuple[int, ...], list[ValueCounts]]]) -> tuple[tuple[int, ...], list[ValueCounts]]:
        merged = [shorten(_added(tallies)) for tallies in zip(*(t for _, t in parts), strict=True)]
        if sum(len(tally.values) for tally in merged) > _MOST_VALUES:
            raise MemoryLimitError()
        return parts[0][0], merged

    def finish(state: tuple[tuple[int, ...], list[ValueCounts]]) -> list[Output]:
        shape, tallies = state
        summaries = np.empty(len(tallies), dtype=object)
        for place, tally in enumerate(tallies):
            summaries[place] = make(tally) if len(tally.values) else None
        valid = np.array([len(t.values) > 0 for t in tallies], dtype=bool).reshape(shape)
        return [Output(summaries.reshape(shape) if shape else boxed(summaries[0]), valid)]

    return Reducer((spec,), (True,), summarise, merge, finish, compact=True)


def histogram_key(value: Value) -> str:
    """Return a value as the key of a dictionary: numbers as Java writes them."""
    value = plain(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return java_text(value) if isinstance(value, (int, float)) else str(value)


def _frequencies(tally: ValueCounts) -> Mapping[str, float]:
    return {
        histogram_key(value): weight
        for value, weight in zip(tally.values.tolist(), tally.weights.tolist(), strict=True)
    }


def _frequency_of_objects(column: SampleColumn) -> Mapping[str, float] | None:
    weights: dict[str, float] = {}
    for value, weight in zip(column.values, column.weights, strict=True):
        if weight > 0:
            key = histogram_key(value)
            weights[key] = weights.get(key, 0.0) + float(weight)
    return dict(sorted(weights.items())) or None


def _frequency() -> Reducer:
    """Count numbers by value, anything else by its text.

    Made unweighted, it counts the masked pixels of a region under "null": users leave that key out (codes 5966719043,
    6003708402, 32638006470) or count it (68381836948).
    """
    spec = OutputSpec("histogram", "object")
    tallied = _of_tally(spec, _frequencies)

    def summarise(sample: ReducerSample) -> tuple[Any, npt.NDArray[np.int64]]:
        return sample if sample.values.dtype == object else tallied.summarise(sample), sample.null_counts()

    def merge(parts: Sequence[tuple[Any, npt.NDArray[np.int64]]]) -> tuple[Any, npt.NDArray[np.int64]]:
        states = [state for state, _ in parts]
        merged = joined(states) if isinstance(states[0], ReducerSample) else tallied.merge(states)
        return merged, np.sum([nulls for _, nulls in parts], axis=0)

    def finish(parts: tuple[Any, npt.NDArray[np.int64]]) -> Sequence[Output]:
        state, nulls = parts
        if isinstance(state, ReducerSample):
            frequencies = _frequency_of_objects(state.column(0))
            return [Output(boxed(frequencies), np.asarray(frequencies is not None))]
        return [_with_nulls(output, nulls) for output in tallied.finish(state)]

    return Reducer((spec,), (True,), summarise, merge, finish, compact=True)


def _with_nulls(output: Output, nulls: npt.NDArray[np.int64]) -> Output:
    """Return histograms of places with the number of their nulls."""
    for place in zip(*np.nonzero(np.atleast_1d(nulls)), strict=True):
        at = place if nulls.ndim else ()
        output.values[at] = {**(output.values[at] or {}), "null": int(nulls[at])}
    return Output(output.values, output.valid | (nulls > 0))


FREQUENCY_HISTOGRAM = _frequency()


@dataclass(frozen=True, slots=True)
class Buckets:
    """Settings of buckets that fit the data.

    Attributes:
        most: greatest number of buckets, a power of two from 2 on.
        least_width: minimum width of a bucket; None for any power of two.
    """

    most: int
    least_width: float | None

    @classmethod
    def asked(cls, max_buckets: int | None, min_width: float | None) -> Buckets:
        """Return buckets as a reducer's arguments ask for them.

        Raises:
            InvalidError: if they are not positive.
        """
        if max_buckets is not None and max_buckets < 1:
            raise InvalidError(f"maxBuckets must be positive; found {max_buckets}.")
        if min_width is not None and not min_width > 0:
            raise InvalidError(f"minBucketWidth must be positive; found {min_width}.")
        # Bounds are multiples of the width, so that values on both sides of zero need two buckets.
        most = max(2, 1 << ((max_buckets or _BUCKETS) - 1).bit_length())
        if most > _MOST_STEPS:
            raise InvalidError(f"maxBuckets must not exceed {_MOST_STEPS}; found {max_buckets}.")
        return cls(most, min_width)

    def width(self, low: float, high: float) -> float:
        """Return the least width, among the powers of two or the doublings of ``least_width``, that needs no more
        buckets.
        """
        if self.least_width is not None:
            width = self.least_width
        else:
            spread = high / self.most - low / self.most  # high - low may be infinite
            power = math.floor(math.log2(spread)) if spread > 0 else 0
            width = 2.0 ** min(max(power, _LEAST_POWER), _GREATEST_POWER)
        while math.floor(high / width) - math.floor(low / width) + 1 > self.most:
            width *= 2
        return width

    def shorten(self, tally: ValueCounts) -> ValueCounts:
        """Return a tally of many values as that of the least, the greatest, and the mean of each bucket of the others.

        Further values make buckets wider, never narrower, and each is then a part of one of the wider.
        """
        if len(tally.values) <= _MANY_VALUES:
            return tally
        inner = ValueCounts(tally.values[1:-1], tally.weights[1:-1])
        values = inner.values.astype(np.float64)
        index = np.floor(values / self.width(float(tally.values[0]), float(tally.values[-1])))
        starts = np.flatnonzero(np.r_[True, index[1:] != index[:-1]])
        weights = np.add.reduceat(inner.weights, starts)
        means = np.add.reduceat(inner.weights * values, starts) / weights
        # Rounding may put a mean beside the values that it is of.
        means = np.clip(means, values[starts], values[np.r_[starts[1:], len(values)] - 1])
        ends = tally.values[[0, -1]].astype(np.float64), tally.weights[[0, -1]]
        return ValueCounts(*(np.r_[end[0], middle, end[1]] for end, middle in zip(ends, (means, weights), strict=True)))

    def fill(self, tally: ValueCounts) -> tuple[Floats, float, Floats, Floats]:
        """Return lower bounds of buckets from the first to the last that holds something, width, weights, and means."""
        values = tally.values.astype(np.float64)
        width = self.width(float(values[0]), float(values[-1]))
        index = np.floor(values / width)
        first = index[0]
        bucket = (index - first).astype(np.intp)
        count = int(bucket[-1]) + 1
        weights = _binned(bucket, tally.weights, count)
        total = _binned(bucket, tally.weights * values, count)
        lower = (first + np.arange(count)) * width
        means = np.divide(total, weights, out=lower + width / 2, where=weights > 0)
        return lower, width, weights, means


def histogram(max_buckets: int | None, min_width: float | None) -> Reducer:
    """Return a dictionary of bucketMin, bucketWidth, histogram (weights) and bucketMeans, in the order of the service's
    tables (code 3811943780 cuts the weights out between ``histogram=[`` and ``], bucketMeans=[``).
    """
    buckets = Buckets.asked(max_buckets, min_width)

    def make(tally: ValueCounts) -> Mapping[str, Value]:
        lower, width, weights, means = buckets.fill(tally)
        return {
            "bucketMin": float(lower[0]),
            "bucketWidth": width,
            "histogram": weights.tolist(),
            "bucketMeans": means.tolist(),
        }

    return _of_tally(OutputSpec("histogram", "object"), make, buckets.shorten, finite=True)


def auto_histogram(max_buckets: int | None, min_width: float | None, *, cumulative: bool) -> Reducer:
    """Return an array of shape (buckets, 2): lower bounds, and weights or their running sums."""
    buckets = Buckets.asked(max_buckets, min_width)

    def make(tally: ValueCounts) -> Value:
        lower, _, weights, _ = buckets.fill(tally)
        return Array(np.column_stack([lower, np.cumsum(weights) if cumulative else weights]))

    return _of_tally(OutputSpec("histogram", "object"), make, buckets.shorten, finite=True)


def fixed_histogram(low: float, high: float, steps: int, *, cumulative: bool) -> Reducer:
    """Return an array of shape (steps, 2): lower bounds of equal buckets, and weights or their running sums."""
    if not low < high:
        raise InvalidError(f"The minimum must be less than the maximum; found {low} and {high}.")
    if not 1 <= steps <= _MOST_STEPS:
        raise InvalidError(f"The number of steps must be positive and at most {_MOST_STEPS}; found {steps}.")
    lower = low + np.arange(steps) * ((high - low) / steps)

    def reduce(sample: ReducerSample) -> list[Output]:
        column = sample.column(0)
        values = numbers(column.values)
        taken = (column.weights > 0) & (values >= low) & (values < high)
        bucket = np.where(taken, np.searchsorted(lower, np.where(taken, values, low), side="right") - 1, 0)
        places = column.weights.shape[1:]
        size = math.prod(places)
        place = np.broadcast_to(np.arange(size).reshape(places), values.shape)
        weights = np.where(taken, column.weights, 0.0)
        counts = np.bincount((place * steps + bucket).ravel(), weights=weights.ravel(), minlength=size * steps)
        counts = counts.reshape(*places, steps)
        bucket_rows = np.stack(
            [np.broadcast_to(lower, counts.shape), counts.cumsum(axis=-1) if cumulative else counts], axis=-1
        )
        return [Output(bucket_rows, np.asarray((column.weights > 0).any(axis=0)))]

    def merge(parts: Sequence[list[Output]]) -> list[Output]:
        values = np.stack([p[0].values for p in parts])
        values[0, ..., 1] = values[..., 1].sum(axis=0)
        return [Output(values[0], np.any([p[0].valid for p in parts], axis=0))]

    return Reducer((OutputSpec("histogram", dimensions=2),), (True,), reduce, merge, lambda state: state, compact=True)


def fixed_histogram_2d(x: tuple[float, float, int], y: tuple[float, float, int]) -> Reducer:
    """Return counts in equal buckets of two inputs, shape (x steps, y steps), and the lower bounds along both axes.

    Args:
        x: lower bound of the first bucket, upper bound of the last, and number of buckets of the first input.
        y: likewise of the second input.
    """
    for low, high, steps in (x, y):
        if not low < high:
            raise InvalidError(f"The minimum must be less than the maximum; found {low} and {high}.")
        if steps < 1:
            raise InvalidError(f"The number of steps must be positive; found {steps}.")
    size = x[2] * y[2]
    if size > _MOST_STEPS:
        raise InvalidError(f"The number of buckets must be at most {_MOST_STEPS}; found {x[2]} times {y[2]}.")
    edges = [low + np.arange(steps) * ((high - low) / steps) for low, high, steps in (x, y)]

    def summarise(sample: ReducerSample) -> tuple[Floats, npt.NDArray[np.bool_]]:
        _, inside = sample.tuples()
        taken, bucket = inside.copy(), np.zeros(inside.shape, dtype=np.intp)
        for index, (lower, (low, high, steps)) in enumerate(zip(edges, (x, y), strict=True)):
            values = numbers(sample.column(index).values)
            within = (values >= low) & (values < high)
            place = np.searchsorted(lower, np.where(within, values, low), side="right") - 1
            taken, bucket = taken & within, bucket * steps + place
        places = inside.shape[1:]
        number = np.broadcast_to(np.arange(math.prod(places)).reshape(places), inside.shape)
        counts = np.bincount((number * size + bucket)[taken], minlength=math.prod(places) * size)
        return counts.reshape(*places, x[2], y[2]).astype(np.float64), np.asarray(inside.any(axis=0))

    def merge(parts: Sequence[tuple[Floats, npt.NDArray[np.bool_]]]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        total_counts: Floats = np.sum([counts for counts, _ in parts], axis=0)
        valid: npt.NDArray[np.bool_] = np.logical_or.reduce([own for _, own in parts])
        return total_counts, valid

    def finish(state: tuple[Floats, npt.NDArray[np.bool_]]) -> list[Output]:
        counts, valid = state
        axes = [np.broadcast_to(lower, (*counts.shape[:-2], len(lower))) for lower in edges]
        return [Output(values, np.asarray(valid)) for values in (counts, *axes)]

    outputs = (
        OutputSpec("histogram", dimensions=2), OutputSpec("xAxis", dimensions=1), OutputSpec("yAxis", dimensions=1),
    )  # fmt: skip
    return Reducer(outputs, (False, False), summarise, merge, finish, compact=True)
