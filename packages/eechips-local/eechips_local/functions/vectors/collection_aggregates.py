"""``aggregate_sum``, ``aggregate_mean``, ``aggregate_histogram``, ``aggregate_stats`` and the like
(``AggregateFeatureCollection.*``): one property of all elements of a collection, without nulls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.graph_nodes import add_name
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.registration import Implementation
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.reducers import histogram_key
from eechips_local.values.alike_elements import bare
from eechips_local.values.element_properties import property_of
from eechips_local.values.ordering import check_comparable, compare_key, distinct_key, plain
from eechips_local.values.values import Collection, Value


def column(context: Context, collection: Collection, property: str) -> Iterator[Value]:
    """Yield a property of each element, null where an element lacks it."""
    for count, element in enumerate(bare(collection, frozenset({property}))):
        if count % 256 == 0:
            context.check_time()
        yield property_of(element, property)


def _numbers(values: Sequence[Value]) -> list[float]:
    """Return values as numbers.

    Raises:
        InvalidError: if one is none.
    """
    numbers = [plain(value) for value in values]
    for value in numbers:
        if not isinstance(value, (int, float)):
            raise InvalidError(f"Unable to use an object of type {type_name(value)} as a number.")
    return numbers


def _sum(values: Sequence[Value]) -> float:
    numbers = _numbers(values)
    return sum(numbers) if all(isinstance(n, int) for n in numbers) else math.fsum(numbers)


def _product(values: Sequence[Value]) -> float:
    return math.prod(_numbers(values))


def _mean(values: Sequence[Value]) -> float | None:
    return math.fsum(_numbers(values)) / len(values) if values else None


def _least(values: Sequence[Value]) -> Value:
    check_comparable(values)
    return min(map(plain, values), key=compare_key, default=None)


def _greatest(values: Sequence[Value]) -> Value:
    check_comparable(values)
    return max(map(plain, values), key=compare_key, default=None)


def _variance(*, sample: bool) -> Callable[[Sequence[Value]], float | None]:
    def variance(values: Sequence[Value]) -> float | None:
        count = len(values) - 1 if sample else len(values)
        if count < 1:
            return None
        numbers = np.asarray(_numbers(values), dtype=np.float64)
        return float(((numbers - numbers.mean()) ** 2).sum() / count)

    return variance


def _root(variance: Callable[[Sequence[Value]], float | None]) -> Callable[[Sequence[Value]], float | None]:
    def root(values: Sequence[Value]) -> float | None:
        sample_variance = variance(values)
        return None if sample_variance is None else math.sqrt(sample_variance)

    return root


_total_var = _variance(sample=False)
_sample_var = _variance(sample=True)


def _stats(values: Sequence[Value]) -> Mapping[str, Value]:
    numbers = _numbers(values)
    total = _sum(values)
    return {
        "max": max(numbers, default=None),
        "mean": _mean(values),
        "min": min(numbers, default=None),
        "sample_sd": _root(_sample_var)(values),
        "sample_var": _sample_var(values),
        "sum": total,
        "sum_sq": math.fsum(n * n for n in numbers),
        "total_count": len(numbers),
        "total_sd": _root(_total_var)(values),
        "total_var": _total_var(values),
        "valid_count": len(numbers),
        "weight_sum": len(numbers),
        "weighted_sum": total,
    }


def _histogram(values: Sequence[Value]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for value in sorted(values, key=compare_key):
        key = histogram_key(value)
        counts[key] = counts.get(key, 0) + 1
    return counts


_REDUCTIONS: Mapping[str, Callable[[Sequence[Value]], Value]] = {
    "array": list,
    "count": len,
    "count_distinct": lambda values: len({distinct_key(value) for value in values}),
    "histogram": _histogram,
    "max": _greatest,
    "mean": _mean,
    "min": _least,
    "product": _product,
    "sample_sd": _root(_sample_var),
    "sample_var": _sample_var,
    "stats": _stats,
    "sum": _sum,
    "total_sd": _root(_total_var),
    "total_var": _total_var,
}


def _aggregate(aggregate: Callable[[Iterator[Value]], Value]) -> Implementation:
    """Return a function that aggregates the values of a property.

    Its errors name ``Collection.reduceColumns``. This is recorded of ``aggregate_mean`` only: a public script that
    calls no other aggregation quotes the message (code 58409521042). Of the others it is inferred, as the reference
    describes all of them in the same words ("Aggregates over a given property of the objects in a collection").
    """

    def call(context: Context, collection: Collection, property: str) -> Value:
        try:
            return aggregate(column(context, collection, property))
        except EarthEngineError as error:
            raise add_name(error, "Collection.reduceColumns") from error

    return Implementation(call, with_context=True)


def _of_known(reduce: Callable[[Sequence[Value]], Value]) -> Callable[[Iterator[Value]], Value]:
    """Return a reduction of values without nulls."""
    return lambda values: reduce([value for value in values if value is not None])


def _first(values: Iterator[Value]) -> Value:
    """Return the value of the first element, null if that lacks it."""
    return next(values, None)


_PREFIX = "AggregateFeatureCollection."
FUNCTIONS: Mapping[str, Implementation] = {
    **{_PREFIX + name: _aggregate(_of_known(reduce)) for name, reduce in _REDUCTIONS.items()},
    f"{_PREFIX}first": _aggregate(_first),
}

__all__ = ["FUNCTIONS", "column"]
