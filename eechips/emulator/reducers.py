"""Reducers: many values to one, over the pixels of a region, the images of a collection, or a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.emulator.errors import InvalidError

Values = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What is reduced: n values of each input at each place.

    Attributes:
        values: shape (inputs, n, …).
        weights: shape (n, …): mask times the part of the pixel that lies in the region.
        inside: shape (n, …): the mask is not zero and the pixel's centre lies in the region.
    """

    values: Values
    weights: Weights
    inside: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output of a reducer at each place: values of shape (…), and where there is a result."""

    values: Any
    valid: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Reducer:
    """A reducer.

    Weighted reducers take every pixel that lies at least partly in the region, with its weight; unweighted ones
    take the pixels whose centre lies in it (https://developers.google.com/earth-engine/guides/reducers_weighting).

    Attributes:
        names: of the outputs.
        apply: reduces a sample to one Output for each name.
        inputs: how many inputs it takes.
        scalar: whether the outputs are numbers, not lists or dictionaries.
        keeps_name: whether its only output is called as its input is, not "<input>_<name>".
    """

    names: tuple[str, ...]
    apply: Callable[[Sample], Sequence[Output]]
    inputs: int = 1
    scalar: bool = True

    def output_names(self, bands: Sequence[str], *, short: bool) -> list[str]:
        """Names of the results over an image's bands.

        Args:
            bands: names of the inputs.
            short: name the only output of a one-input reducer after its band alone.
        """
        if self.inputs != 1:
            return list(self.names)
        if short and len(self.names) == 1:
            return list(bands)
        return [f"{band}_{name}" for band in bands for name in self.names]

    def check_inputs(self, count: int) -> None:
        """Checks that a number of inputs can be reduced.

        Raises:
            InvalidError: if not.
        """
        if self.inputs not in (1, count):
            raise InvalidError(f"Need {self.inputs} bands for the reducer, but the image has {count}.")


def unweighted(reducer: Reducer) -> Reducer:
    """The reducer with all weights 1 (where the pixel's centre is inside) or 0."""

    def apply(sample: Sample) -> Sequence[Output]:
        return reducer.apply(replace(sample, weights=sample.inside.astype(np.float64)))

    return replace(reducer, apply=apply)


def combine(first: Reducer, second: Reducer, prefix: str, *, shared: bool) -> Reducer:
    """Both reducers' outputs, on the same inputs (shared) or on one after the other."""
    if shared and first.inputs != second.inputs:
        raise InvalidError(f"Cannot share inputs: the first reducer takes {first.inputs}, the second {second.inputs}.")
    names = (*first.names, *(prefix + name for name in second.names))
    if len(set(names)) != len(names):
        names = _distinct(names)

    def apply(sample: Sample) -> Sequence[Output]:
        if shared:
            return [*first.apply(sample), *second.apply(sample)]
        head = replace(sample, values=sample.values[: first.inputs])
        tail = replace(sample, values=sample.values[first.inputs :])
        return [*first.apply(head), *second.apply(tail)]

    inputs = first.inputs if shared else first.inputs + second.inputs
    return Reducer(names, apply, inputs, first.scalar and second.scalar)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Appends 1, 2, … to names that occur again."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        result.append(name if count == 0 else f"{name}{count}")
    return tuple(result)


def _single(name: str, reduce: Callable[[Values, Sample], tuple[Values, Flags]]) -> Reducer:
    """A reducer with one input and one output."""

    def apply(sample: Sample) -> Sequence[Output]:
        values, valid = reduce(sample.values[0], sample)
        return [Output(values, valid)]

    return Reducer((name,), apply)


def _mean(values: Values, sample: Sample) -> tuple[Values, Flags]:
    total = sample.weights.sum(axis=0)
    valid = total > 0
    weighted = np.where(sample.weights > 0, values, 0) * sample.weights
    return np.divide(weighted.sum(axis=0), total, out=np.zeros(total.shape), where=valid), valid


def _sum(values: Values, sample: Sample) -> tuple[Values, Flags]:
    weighted = np.where(sample.weights > 0, values, 0) * sample.weights
    return weighted.sum(axis=0), (sample.weights > 0).any(axis=0)


def _product(values: Values, sample: Sample) -> tuple[Values, Flags]:
    product = np.where(sample.inside, values, 1).astype(np.float64).prod(axis=0)
    return product, sample.inside.any(axis=0)


def _extreme(pick: Any, worst: float) -> Callable[[Values, Sample], tuple[Values, Flags]]:
    def reduce(values: Values, sample: Sample) -> tuple[Values, Flags]:
        if values.dtype.kind == "b":
            values = values.astype(np.uint8)
        if values.dtype.kind in "iu":
            limits = np.iinfo(values.dtype)
            filler: Any = limits.min if worst < 0 else limits.max
        else:
            filler = worst
        found = pick(np.where(sample.inside, values, values.dtype.type(filler)), axis=0, initial=filler)
        valid = sample.inside.any(axis=0)
        return np.where(valid, found, values.dtype.type(0)), valid

    return reduce


def _count(values: Values, sample: Sample) -> tuple[Values, Flags]:
    count = sample.inside.sum(axis=0)
    return count, np.ones(count.shape, dtype=bool)


def _at_end(position: int) -> Callable[[Values, Sample], tuple[Values, Flags]]:
    """The first or the last value, masked or not where it is the last of all, skipping masked ones."""

    def reduce(values: Values, sample: Sample) -> tuple[Values, Flags]:
        valid = sample.inside.any(axis=0)
        if not len(values):
            return np.zeros(values.shape[1:]), valid
        order = sample.inside if position == 0 else sample.inside[::-1]
        index = order.argmax(axis=0)
        index = index if position == 0 else len(values) - 1 - index
        return np.take_along_axis(values, index[None], axis=0)[0], valid

    return reduce


def quantile(values: Values, inside: Flags, fraction: float) -> tuple[Values, Flags]:
    """The value at a fraction of the sorted valid values, interpolated between the two nearest.

    Args:
        values: shape (n, …).
        inside: which are valid, the same shape.
        fraction: 0 for the least, 1 for the greatest.
    """
    count = inside.sum(axis=0)
    valid = count > 0
    if not len(values):
        return np.zeros(values.shape[1:]), valid
    ordered = np.sort(np.where(inside, values, np.inf), axis=0)
    position = np.maximum(count - 1, 0) * fraction
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low = np.take_along_axis(ordered, below[None], axis=0)[0]
    high = np.take_along_axis(ordered, above[None], axis=0)[0]
    low, high = np.where(valid, low, 0), np.where(valid, high, 0)
    return low + (high - low) * (position - below), valid


def percentile(percentages: Sequence[float], names: Sequence[str] | None = None) -> Reducer:
    """Percentiles, exact: interpolated linearly between the two nearest values.

    Earth Engine's own are of a histogram where there are more than ``maxRaw`` values, so those may differ.
    """

    def apply(sample: Sample) -> Sequence[Output]:
        return [Output(*quantile(sample.values[0], sample.inside, p / 100.0)) for p in percentages]

    labels = tuple(names) if names else tuple(f"p{p:g}".replace(".", "_") for p in percentages)
    return Reducer(labels, apply)


def _median(values: Values, sample: Sample) -> tuple[Values, Flags]:
    return quantile(values, sample.inside, 0.5)


def _mode(values: Values, sample: Sample) -> tuple[Values, Flags]:
    """The most frequent value; the least of them where several are."""
    count = sample.inside.sum(axis=0)
    best = np.zeros(values.shape[1:], dtype=np.float64)
    most = np.zeros(values.shape[1:], dtype=np.intp)
    if len(values):
        ordered = np.sort(np.where(sample.inside, values, np.inf), axis=0)
        run = np.zeros(values.shape[1:], dtype=np.intp)
        for index in range(len(ordered)):
            same = (ordered[index] == ordered[index - 1]) if index else np.zeros(run.shape, dtype=bool)
            run = np.where(same, run + 1, 1)
            better = (run > most) & (index < count)
            most = np.where(better, run, most)
            best = np.where(better, ordered[index], best)
    return best.astype(values.dtype) if values.dtype.kind in "iu" else best, count > 0


def _spread(*, sample_size: bool, root: bool) -> Callable[[Values, Sample], tuple[Values, Flags]]:
    def reduce(values: Values, sample: Sample) -> tuple[Values, Flags]:
        weights = sample.weights
        total = weights.sum(axis=0)
        numbers = np.where(weights > 0, values, 0).astype(np.float64)
        safe = np.where(total > 0, total, 1)
        mean = (numbers * weights).sum(axis=0) / safe
        squares = (weights * np.where(weights > 0, numbers - mean, 0) ** 2).sum(axis=0)
        divisor = total - 1 if sample_size else total
        valid = divisor > 0 if sample_size else total > 0
        variance = np.divide(squares, divisor, out=np.zeros(total.shape), where=valid)
        return (np.sqrt(variance) if root else variance), valid

    return reduce


def _any(values: Values, sample: Sample) -> tuple[Values, Flags]:
    return ((values != 0) & sample.inside).any(axis=0).astype(np.uint8), sample.inside.any(axis=0)


def _all(values: Values, sample: Sample) -> tuple[Values, Flags]:
    return ((values != 0) | ~sample.inside).all(axis=0).astype(np.uint8), sample.inside.any(axis=0)


MEAN = _single("mean", _mean)
SUM = _single("sum", _sum)
PRODUCT = _single("product", _product)
MIN = _single("min", _extreme(np.min, np.inf))
MAX = _single("max", _extreme(np.max, -np.inf))
COUNT = _single("count", _count)
FIRST = _single("first", _at_end(0))
LAST = _single("last", _at_end(-1))
MEDIAN = _single("median", _median)
MODE = _single("mode", _mode)
STD_DEV = _single("stdDev", _spread(sample_size=False, root=True))
VARIANCE = _single("variance", _spread(sample_size=False, root=False))
SAMPLE_STD_DEV = _single("stdDev", _spread(sample_size=True, root=True))
SAMPLE_VARIANCE = _single("variance", _spread(sample_size=True, root=False))
ANY = _single("any", _any)
ALL = _single("all", _all)
MIN_MAX = combine(MIN, MAX, "", shared=True)


def extreme(name: str, inputs: int) -> Reducer:
    """The least ("min") or greatest ("max") value of the first input, with what the others have there."""
    if inputs < 1:
        raise InvalidError(f"The number of inputs must be positive; found {inputs}.")
    if inputs == 1:
        return MIN if name == "min" else MAX
    pick, worst = (np.argmin, np.inf) if name == "min" else (np.argmax, -np.inf)

    def apply(sample: Sample) -> Sequence[Output]:
        valid = sample.inside.any(axis=0)
        if not sample.values.shape[1]:
            return [Output(np.zeros(valid.shape), valid) for _ in range(inputs)]
        where = pick(np.where(sample.inside, sample.values[0], worst), axis=0)
        return [Output(np.take_along_axis(v, where[None], axis=0)[0], valid) for v in sample.values]

    return Reducer((name, *(f"{name}{i}" for i in range(1, inputs))), apply, inputs)
