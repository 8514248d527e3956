"""``ee.Reducer``."""

from __future__ import annotations

from collections.abc import Mapping

from eechips.emulator import reducers
from eechips.emulator.functions.registry import Implementation, function
from eechips.emulator.reducers import Reducer


def _constant(reducer: Reducer) -> Implementation:
    return Implementation(lambda: reducer, with_context=False, lazy=frozenset())


FUNCTIONS: Mapping[str, Implementation] = {
    "Reducer.mean": _constant(reducers.MEAN),
    "Reducer.sum": _constant(reducers.SUM),
    "Reducer.product": _constant(reducers.PRODUCT),
    "Reducer.count": _constant(reducers.COUNT),
    "Reducer.first": _constant(reducers.FIRST),
    "Reducer.last": _constant(reducers.LAST),
    "Reducer.mode": Implementation(lambda **_: reducers.MODE, with_context=False, lazy=frozenset()),
    "Reducer.median": Implementation(lambda **_: reducers.MEDIAN, with_context=False, lazy=frozenset()),
    "Reducer.stdDev": _constant(reducers.STD_DEV),
    "Reducer.variance": _constant(reducers.VARIANCE),
    "Reducer.sampleStdDev": _constant(reducers.SAMPLE_STD_DEV),
    "Reducer.sampleVariance": _constant(reducers.SAMPLE_VARIANCE),
    "Reducer.anyNonZero": _constant(reducers.ANY),
    "Reducer.allNonZero": _constant(reducers.ALL),
    "Reducer.and": _constant(reducers.ALL),
    "Reducer.or": _constant(reducers.ANY),
    "Reducer.firstNonNull": _constant(reducers.FIRST),
    "Reducer.lastNonNull": _constant(reducers.LAST),
    "Reducer.minMax": _constant(reducers.MIN_MAX),
}


@function("Reducer.combine")
def combine(reducer1: Reducer, reducer2: Reducer, outputPrefix: str, sharedInputs: bool) -> Reducer:
    """Both reducers' outputs."""
    return reducers.combine(reducer1, reducer2, outputPrefix, shared=sharedInputs)


@function("Reducer.unweighted")
def unweighted(reducer: Reducer) -> Reducer:
    """The reducer with weights of 0 and 1."""
    return reducers.unweighted(reducer)


@function("Reducer.max")
def greatest(numInputs: int) -> Reducer:
    """The greatest value of the first input, with what the others have there."""
    return reducers.extreme("max", numInputs)


@function("Reducer.min")
def least(numInputs: int) -> Reducer:
    """The least value of the first input, with what the others have there."""
    return reducers.extreme("min", numInputs)


@function("Reducer.percentile")
def percentile(
    percentiles: list[float],
    outputNames: list[str] | None,
    maxBuckets: int | None,
    minBucketWidth: float | None,
    maxRaw: int | None,
) -> Reducer:
    """Percentiles, computed directly."""
    return reducers.percentile(percentiles, outputNames)
