"""``ee.Reducer``: names and arguments of the functions that make reducers (``numInputs`` at most 50,000);
``eechips_local.reducers`` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips_local import reducers
from eechips_local.functions.registration import Implementation, function
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import Reducer
from eechips_local.reducers.histograms import Buckets

# More inputs than any image has bands.
_MOST_INPUTS = 50_000


def _constant(reducer: Reducer) -> Implementation:
    return Implementation(lambda: reducer)


FUNCTIONS: Mapping[str, Implementation] = {
    f"Reducer.{name}": _constant(reducer)
    for name, reducer in {
        "allNonZero": reducers.ALL,
        "and": reducers.ALL,
        "anyNonZero": reducers.ANY,
        "bitwiseAnd": reducers.BITWISE_AND,
        "bitwiseOr": reducers.BITWISE_OR,
        "centeredCovariance": reducers.CENTERED_COVARIANCE,
        "circularMean": reducers.CIRCULAR_MEAN,
        "circularStddev": reducers.CIRCULAR_STD_DEV,
        "circularVariance": reducers.CIRCULAR_VARIANCE,
        "count": reducers.COUNT,
        "countDistinct": reducers.COUNT_DISTINCT,
        "countDistinctNonNull": reducers.COUNT_DISTINCT_NON_NULL,
        "countEvery": reducers.COUNT_EVERY,
        "countRuns": reducers.COUNT_RUNS,
        "covariance": reducers.COVARIANCE,
        "first": reducers.FIRST,
        "firstNonNull": reducers.FIRST_NON_NULL,
        "frequencyHistogram": reducers.FREQUENCY_HISTOGRAM,
        "kurtosis": reducers.KURTOSIS,
        "last": reducers.LAST,
        "lastNonNull": reducers.LAST_NON_NULL,
        "linearFit": reducers.LINEAR_FIT,
        "mean": reducers.MEAN,
        "minMax": reducers.MIN_MAX,
        "or": reducers.ANY,
        "pearsonsCorrelation": reducers.PEARSONS_CORRELATION,
        "product": reducers.PRODUCT,
        "sampleStdDev": reducers.SAMPLE_STD_DEV,
        "sampleVariance": reducers.SAMPLE_VARIANCE,
        "sensSlope": reducers.SENS_SLOPE,
        "skew": reducers.SKEW,
        "spearmansCorrelation": reducers.SPEARMANS_CORRELATION,
        "stdDev": reducers.STD_DEV,
        "sum": reducers.SUM,
        "variance": reducers.VARIANCE,
    }.items()
}


def _bounded(inputs: int, name: str) -> int:
    if inputs > _MOST_INPUTS:
        raise InvalidError(f"{name} must be at most {_MOST_INPUTS}; found {inputs}.")
    return inputs


@function("Reducer.max")
def greatest(numInputs: int) -> Reducer:
    """Return the greatest value of the first input, with what the others have there."""
    return reducers.extreme("max", _bounded(numInputs, "numInputs"))


@function("Reducer.min")
def least(numInputs: int) -> Reducer:
    """Return the least value of the first input, with what the others have there."""
    return reducers.extreme("min", _bounded(numInputs, "numInputs"))


@function("Reducer.median")
def median(maxBuckets: int | None, minBucketWidth: float | None, maxRaw: int | None) -> Reducer:
    """Return the median, computed directly."""
    Buckets.asked(maxBuckets, minBucketWidth)
    return reducers.MEDIAN


@function("Reducer.mode")
def mode(maxBuckets: int | None, minBucketWidth: float | None, maxRaw: int | None) -> Reducer:
    """Return the most frequent value, computed directly."""
    Buckets.asked(maxBuckets, minBucketWidth)
    return reducers.MODE


@function("Reducer.percentile")
def percentile(
    percentiles: list[float],
    outputNames: list[str] | None,
    maxBuckets: int | None,
    minBucketWidth: float | None,
    maxRaw: int | None,
) -> Reducer:
    """Return percentiles, computed directly."""
    Buckets.asked(maxBuckets, minBucketWidth)
    return reducers.percentile(percentiles, outputNames)


@function("Reducer.intervalMean")
def interval_mean(
    minPercentile: float, maxPercentile: float, maxBuckets: int | None, minBucketWidth: float | None, maxRaw: int | None
) -> Reducer:
    """Return the mean of what lies between two percentiles, computed directly."""
    Buckets.asked(maxBuckets, minBucketWidth)
    return reducers.interval_mean(minPercentile, maxPercentile)


@function("Reducer.histogram")
def histogram(maxBuckets: int | None, minBucketWidth: float | None, maxRaw: int | None) -> Reducer:
    """Return a histogram with buckets that fit the data, as a dictionary."""
    return reducers.histogram(maxBuckets, minBucketWidth)


@function("Reducer.autoHistogram")
def auto_histogram(
    maxBuckets: int | None, minBucketWidth: float | None, maxRaw: int | None, cumulative: bool
) -> Reducer:
    """Return a histogram with buckets that fit the data, as an array."""
    return reducers.auto_histogram(maxBuckets, minBucketWidth, cumulative=cumulative)


@function("Reducer.fixedHistogram")
def fixed_histogram(min: float, max: float, steps: int, cumulative: bool) -> Reducer:
    """Return a histogram with buckets of a fixed width, as an array."""
    return reducers.fixed_histogram(min, max, steps, cumulative=cumulative)


@function("Reducer.fixed2DHistogram")
def fixed_2d_histogram(xMin: float, xMax: float, xSteps: int, yMin: float, yMax: float, ySteps: int) -> Reducer:
    """Return counts in buckets of two inputs, as an array: the first axis is that of x."""
    return reducers.fixed_histogram_2d((xMin, xMax, xSteps), (yMin, yMax, ySteps))


@function("Reducer.linearRegression")
def linear_regression(numX: int, numY: int) -> Reducer:
    """Return the least squares."""
    return reducers.linear_regression(numX, numY)


@function("Reducer.robustLinearRegression")
def robust_linear_regression(numX: int, numY: int, beta: float | None) -> Reducer:
    """Return the least squares without outliers."""
    return reducers.robust_linear_regression(numX, numY, beta)


@function("Reducer.ridgeRegression")
def ridge_regression(numX: int, numY: int, lambda_: float) -> Reducer:
    """Return the regularized least squares, with an intercept."""
    return reducers.ridge_regression(numX, numY, lambda_)


@function("Reducer.geometricMedian")
def geometric_median(numX: int, eta: float, initialStepSize: float) -> Reducer:
    """Return the geometric median; the solver here needs no step size."""
    if not initialStepSize > 0:
        raise InvalidError(f"The initialStepSize must be positive; found {initialStepSize}.")
    return reducers.geometric_median(numX, eta)


@function("Reducer.kendallsCorrelation")
def kendalls_correlation(numInputs: int) -> Reducer:
    """Return Kendall's tau-b."""
    return reducers.kendalls_correlation(_bounded(numInputs, "numInputs"))


@function("Reducer.toList")
def to_list(tupleSize: int | None, numOptional: int) -> Reducer:
    """Return all values, or tuples of them."""
    return reducers.to_list(None if tupleSize is None else _bounded(tupleSize, "tupleSize"), numOptional)


@function("Reducer.toCollection")
def to_collection(propertyNames: list[str], numOptional: int) -> Reducer:
    """Return a feature for each tuple of values."""
    return reducers.to_collection(propertyNames, numOptional)


@function("Reducer.group")
def group(reducer: Reducer, groupField: int, groupName: str) -> Reducer:
    """Return a reduction for each value of one of the inputs."""
    return reducers.group(reducer, groupField, groupName)


@function("Reducer.combine")
def combine(reducer1: Reducer, reducer2: Reducer, outputPrefix: str, sharedInputs: bool) -> Reducer:
    """Return both reducers' outputs."""
    return reducers.combine(reducer1, reducer2, outputPrefix, shared=sharedInputs)


@function("Reducer.repeat")
def repeat(reducer: Reducer, count: int) -> Reducer:
    """Copy with inputs of their own; outputs are lists."""
    return reducers.repeat(reducer, count)


@function("Reducer.forEach")
def for_each(reducer: Reducer, outputNames: list[str]) -> Reducer:
    """Return a copy for each name."""
    return reducers.for_each(reducer, outputNames)


@function("Reducer.forEachBand")
def for_each_band(reducer: Reducer, image: Image) -> Reducer:
    """Return a copy for each band of an image."""
    return reducers.for_each(reducer, [band.name for band in image.bands])


@function("Reducer.forEachElement")
def for_each_element(reducer: Reducer) -> Reducer:
    """Return the reducer at each position of arrays."""
    return reducers.for_each_element(reducer)


@function("Reducer.disaggregate")
def disaggregate(reducer: Reducer, axis: int | None) -> Reducer:
    """Return the reducer over the items of lists, dictionaries and arrays."""
    return reducers.disaggregate(reducer, axis)


@function("Reducer.setOutputs")
def set_outputs(reducer: Reducer, outputs: list[Any]) -> Reducer:
    """Return outputs renamed, or dropped."""
    return reducers.set_outputs(reducer, outputs)


@function("Reducer.getOutputs")
def get_outputs(reducer: Reducer) -> list[str]:
    """Return names of the outputs."""
    return list(reducer.names)


@function("Reducer.splitWeights")
def split_weights(reducer: Reducer) -> Reducer:
    """Return the reducer with weights as inputs of their own."""
    return reducers.split_weights(reducer)


@function("Reducer.unweighted")
def unweighted(reducer: Reducer) -> Reducer:
    """Return the reducer with weights of 0 and 1."""
    return reducers.unweighted(reducer)
