"""Reducers: many values to one, over the pixels of a region, the images of a collection, a list, or a column.

Callers build a :class:`ReducerSample` and call one of

- ``reducer.apply(sample)``: arrays of outputs, at many places at once (the pixels of an image, the rows of an array);
- ``reducer.results(sample)``: plain values with nulls, at one place (a region, a list);
- ``reducer.accumulator()``: the same for samples that come one after the other.

:func:`sample_of` makes a sample of plain values, whatever their type; :func:`reduce_values` is ``List.reduce``.
"""

from __future__ import annotations

from collections.abc import Sequence

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers.collect import group, to_collection, to_list
from eechips_local.reducers.compose import (
    combine,
    disaggregate,
    for_each,
    for_each_element,
    repeat,
    set_outputs,
    split_weights,
    unweighted,
)
from eechips_local.reducers.folds import (
    ALL,
    ANY,
    BITWISE_AND,
    BITWISE_OR,
    COUNT,
    COUNT_DISTINCT,
    COUNT_DISTINCT_NON_NULL,
    COUNT_EVERY,
    COUNT_RUNS,
    FIRST,
    FIRST_NON_NULL,
    LAST,
    LAST_NON_NULL,
    MAX,
    MIN,
    PRODUCT,
    extreme,
)
from eechips_local.reducers.histograms import (
    FREQUENCY_HISTOGRAM,
    auto_histogram,
    fixed_histogram,
    fixed_histogram_2d,
    histogram,
    histogram_key,
)
from eechips_local.reducers.moments import (
    CIRCULAR_MEAN,
    CIRCULAR_STD_DEV,
    CIRCULAR_VARIANCE,
    KURTOSIS,
    MEAN,
    SAMPLE_STD_DEV,
    SAMPLE_VARIANCE,
    SKEW,
    STD_DEV,
    SUM,
    VARIANCE,
)
from eechips_local.reducers.pairs import SENS_SLOPE, kendalls_correlation
from eechips_local.reducers.rank_statistics import MEDIAN, MODE, interval_mean, percentile
from eechips_local.reducers.reducer_samples import ReducerSample, SampleColumn, joined, sample_of
from eechips_local.reducers.reducer_types import Accumulator, Output, OutputSpec, Reducer, by_name, scattered
from eechips_local.reducers.regressions import (
    CENTERED_COVARIANCE,
    COVARIANCE,
    LINEAR_FIT,
    PEARSONS_CORRELATION,
    SPEARMANS_CORRELATION,
    geometric_median,
    linear_regression,
    ridge_regression,
    robust_linear_regression,
)
from eechips_local.values.values import Value

MIN_MAX = combine(MIN, MAX, shared=True)


def reduce_values(values: Sequence[Value], reducer: Reducer) -> Value:
    """``List.reduce``: the reducer's output, or a dictionary of its outputs where there are several.

    Args:
        values: the inputs; lists of them where the reducer takes more than one. Further elements of these lists are
            ignored: a user gave two lists of twelve numbers, and got tau of two pairs (code 60287229598).
        reducer: any.

    Raises:
        InvalidError: if an element is no list of the reducer's inputs.
    """
    rows: list[list[Value]]
    if reducer.inputs == 1:
        rows = [list(values)]
    else:
        for value in values:
            if not isinstance(value, list) or len(value) < reducer.inputs:
                raise InvalidError(f"Each element must be a list of the reducer's {reducer.inputs} inputs.")
        rows = [[value[index] for value in values] for index in range(reducer.inputs)]
    results = reducer.results(sample_of(rows))
    return results[0] if len(results) == 1 else dict(zip(reducer.names, results, strict=True))


__all__ = [
    "ALL",
    "ANY",
    "BITWISE_AND",
    "BITWISE_OR",
    "CENTERED_COVARIANCE",
    "CIRCULAR_MEAN",
    "CIRCULAR_STD_DEV",
    "CIRCULAR_VARIANCE",
    "COUNT",
    "COUNT_DISTINCT",
    "COUNT_DISTINCT_NON_NULL",
    "COUNT_EVERY",
    "COUNT_RUNS",
    "COVARIANCE",
    "FIRST",
    "FIRST_NON_NULL",
    "FREQUENCY_HISTOGRAM",
    "KURTOSIS",
    "LAST",
    "LAST_NON_NULL",
    "LINEAR_FIT",
    "MAX",
    "MEAN",
    "MEDIAN",
    "MIN",
    "MIN_MAX",
    "MODE",
    "PEARSONS_CORRELATION",
    "PRODUCT",
    "SAMPLE_STD_DEV",
    "SAMPLE_VARIANCE",
    "SENS_SLOPE",
    "SKEW",
    "SPEARMANS_CORRELATION",
    "STD_DEV",
    "SUM",
    "VARIANCE",
    "Accumulator",
    "Output",
    "OutputSpec",
    "Reducer",
    "ReducerSample",
    "SampleColumn",
    "auto_histogram",
    "by_name",
    "combine",
    "disaggregate",
    "extreme",
    "fixed_histogram",
    "fixed_histogram_2d",
    "for_each",
    "for_each_element",
    "geometric_median",
    "group",
    "histogram",
    "histogram_key",
    "interval_mean",
    "joined",
    "kendalls_correlation",
    "linear_regression",
    "percentile",
    "reduce_values",
    "repeat",
    "ridge_regression",
    "robust_linear_regression",
    "sample_of",
    "scattered",
    "set_outputs",
    "split_weights",
    "to_collection",
    "to_list",
    "unweighted",
]
