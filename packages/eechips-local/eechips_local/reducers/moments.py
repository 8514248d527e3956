"""``Reducer.sum``, ``mean``, ``variance``, ``stdDev``, ``skew``, ``kurtosis``, ``circularMean`` and the like: sums and
powers of weighted values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips_local.reducers.reducer_samples import Flags, ReducerSample, SampleColumn, Values
from eechips_local.reducers.reducer_types import Output, OutputSpec, Reducer, numbers

Floats = npt.NDArray[np.float64]


def _weighted(column: SampleColumn) -> tuple[Floats, Floats]:
    """Return values as floats, 0 where they have no weight, and the weights."""
    weights = column.weights
    return np.where(weights > 0, numbers(column.values), 0).astype(np.float64), weights


def ratio(above: Floats, below: Floats, valid: Flags) -> Floats:
    """Return quotients, 0 where they are not valid."""
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=valid)


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Return means over the first axis, 0 without weight. That of equal values is exact: they deviate by 0."""
    weight = weights.sum(axis=0)
    mean = ratio((values * weights).sum(axis=0), weight, weight > 0)
    return mean + ratio((np.where(weights > 0, values - mean, 0) * weights).sum(axis=0), weight, weight > 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums over the first axis: of weights, of weighted values; and whether there was any value."""

    weight: Floats
    total: Floats
    any: Flags


def _sums(sample: ReducerSample) -> _Sums:
    return _sum_up(*_weighted(sample.column(0)))


def _sum_up(values: Floats, weights: Floats) -> _Sums:
    return _Sums(weights.sum(axis=0), (values * weights).sum(axis=0), np.asarray((weights > 0).any(axis=0)))


def _add_sums(parts: Sequence[_Sums]) -> _Sums:
    return _Sums(
        np.sum([p.weight for p in parts], axis=0),
        np.sum([p.total for p in parts], axis=0),
        np.any([p.any for p in parts], axis=0),
    )


def _total(sums: _Sums) -> list[Output]:
    return [Output(sums.total, sums.any)]


@dataclass(frozen=True, slots=True, eq=False)
class _BoundedSums:
    """Sums, and the least and greatest value over the first axis where weights are fractions; infinite elsewhere."""

    sums: _Sums
    least: Floats
    greatest: Floats


def _bounded_sums(sample: ReducerSample) -> _BoundedSums:
    values, weights = _weighted(sample.column(0))
    sums = _sum_up(values, weights)
    if (weights == np.trunc(weights)).all():
        return _BoundedSums(sums, np.full_like(sums.total, -np.inf), np.full_like(sums.total, np.inf))
    least = np.where(weights > 0, values, np.inf).min(axis=0, initial=np.inf)
    return _BoundedSums(sums, least, np.where(weights > 0, values, -np.inf).max(axis=0, initial=-np.inf))


def _add_bounded_sums(parts: Sequence[_BoundedSums]) -> _BoundedSums:
    return _BoundedSums(
        _add_sums([p.sums for p in parts]),
        np.min([p.least for p in parts], axis=0),
        np.max([p.greatest for p in parts], axis=0),
    )


def _mean(bounded: _BoundedSums) -> list[Output]:
    """Return means, not beyond the values: rounding of fractional weights would put that of a constant beside it."""
    sums = bounded.sums
    mean = ratio(sums.total, sums.weight, sums.any)
    return [Output(np.where(sums.any, np.clip(mean, bounded.least, bounded.greatest), mean), sums.any)]


# Over a region, list or column without a value the sum is 0; a pixel without a value is masked.
SUM = Reducer((OutputSpec("sum", "sum", empty=0),), (True,), _sums, _add_sums, _total, compact=True)
MEAN = Reducer((OutputSpec("mean", "within"),), (True,), _bounded_sums, _add_bounded_sums, _mean, compact=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Weight, sum of squared weights, mean, and the weighted sums of the second, third and fourth powers of deviations
    from the mean.
    """

    weight: Floats
    squares: Floats
    mean: Floats
    second: Floats
    third: Floats
    fourth: Floats


def _moments(order: int) -> Callable[[ReducerSample], _Moments]:
    def summarise(sample: ReducerSample) -> _Moments:
        values, weights = _weighted(sample.column(0))
        weight = weights.sum(axis=0)
        mean = weighted_mean(values, weights)
        off = np.where(weights > 0, values - mean, 0)
        powers = [
            (weights * off**power).sum(axis=0) if power <= order else np.zeros(weight.shape) for power in (2, 3, 4)
        ]
        return _Moments(weight, (weights**2).sum(axis=0), mean, *powers)

    return summarise


def _add_moments(parts: Sequence[_Moments]) -> _Moments:
    """Return Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
    moments", Sandia report SAND2008-6212, equations 3.1 for sets of weights.
    """
    whole = parts[0]
    for part in parts[1:]:
        weight = whole.weight + part.weight
        there = weight > 0
        gap = part.mean - whole.mean
        a, b = ratio(whole.weight, weight, there), ratio(part.weight, weight, there)
        step = whole.weight * b
        whole = _Moments(
            weight,
            whole.squares + part.squares,
            whole.mean + gap * b,
            whole.second + part.second + gap**2 * step,
            whole.third + part.third + gap**3 * step * (a - b) + 3 * gap * (a * part.second - b * whole.second),
            whole.fourth
            + part.fourth
            + gap**4 * step * (a * a - a * b + b * b)
            + 6 * gap**2 * (a * a * part.second + b * b * whole.second)
            + 4 * gap * (a * part.third - b * whole.third),
        )
    return whole


def _spread(name: str, *, sample: bool, root: bool) -> Reducer:
    """Return a reducer to the variance, of a sample by the unbiased estimate for weights of any scale.

    The weights of normalized kernels and of ``reduceResolution`` have the sum 1, so one less than their sum is no
    divisor: a published script takes sample deviations under ``Kernel.circle``.
    """

    def finish(moments: _Moments) -> list[Output]:
        divisor = moments.weight
        if sample:
            divisor = divisor - ratio(moments.squares, divisor, divisor > 0)
        valid = divisor > 1e-9 * moments.weight  # of one value, rounding is left
        variance = np.maximum(ratio(moments.second, divisor, valid), 0)
        return [Output(np.sqrt(variance) if root else variance, valid)]

    return Reducer((OutputSpec(name),), (True,), _moments(2), _add_moments, finish, compact=True)


STD_DEV = _spread("stdDev", sample=False, root=True)
VARIANCE = _spread("variance", sample=False, root=False)
SAMPLE_STD_DEV = _spread("stdDev", sample=True, root=True)
SAMPLE_VARIANCE = _spread("variance", sample=True, root=False)


def _skewness(moments: _Moments) -> list[Output]:
    valid = moments.second > 0
    return [Output(ratio(np.sqrt(moments.weight) * moments.third, moments.second**1.5, valid), valid)]


def _kurtosis(moments: _Moments) -> list[Output]:
    valid = moments.second > 0
    return [Output(ratio(moments.weight * moments.fourth, moments.second**2, valid) - 3.0, valid)]


# The population's skewness g1 and excess kurtosis g2, as the Sandia report defines them.
SKEW = Reducer((OutputSpec("skew"),), (True,), _moments(3), _add_moments, _skewness, compact=True)
KURTOSIS = Reducer((OutputSpec("kurtosis"),), (True,), _moments(4), _add_moments, _kurtosis, compact=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Arrow:
    """Weight, and the weighted sums of cosines and sines."""

    weight: Floats
    x: Floats
    y: Floats

    @property
    def length(self) -> Floats:
        """Mean resultant length, 0 to 1."""
        return np.minimum(ratio(np.hypot(self.x, self.y), self.weight, self.weight > 0), 1.0)


def _arrow(sample: ReducerSample) -> _Arrow:
    values, weights = _weighted(sample.column(0))
    return _Arrow(
        weights.sum(axis=0), (np.cos(values) * weights).sum(axis=0), (np.sin(values) * weights).sum(axis=0)
    )  # fmt: skip


def _add_arrows(parts: Sequence[_Arrow]) -> _Arrow:
    return _Arrow(
        np.sum([p.weight for p in parts], axis=0),
        np.sum([p.x for p in parts], axis=0),
        np.sum([p.y for p in parts], axis=0),
    )


def _circular(name: str, measure: Callable[[_Arrow], Values]) -> Reducer:
    def finish(arrow: _Arrow) -> list[Output]:
        return [Output(measure(arrow), arrow.weight > 0)]

    return Reducer((OutputSpec(name),), (True,), _arrow, _add_arrows, finish, compact=True)


CIRCULAR_MEAN = _circular("circularMean", lambda arrow: np.arctan2(arrow.y, arrow.x))
CIRCULAR_VARIANCE = _circular("circularVariance", lambda arrow: 1.0 - arrow.length)
CIRCULAR_STD_DEV = _circular(
    "circularStdDev", lambda arrow: np.sqrt(-2.0 * np.log(np.maximum(arrow.length, np.finfo(np.float64).tiny)))
)
