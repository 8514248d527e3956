"""``Reducer.linearFit``, ``linearRegression``, ``robustLinearRegression``, ``ridgeRegression``,
``pearsonsCorrelation``, ``spearmansCorrelation``, ``covariance``, ``geometricMedian``: reducers of several inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.distributions import regularized_beta, two_sided
from eechips_local.algorithms.least_squares import least_squares
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers.moments import ratio, weighted_mean
from eechips_local.reducers.reducer_samples import Flags, ReducerSample, flat_places
from eechips_local.reducers.reducer_types import Output, OutputSpec, Reducer, directly, numbers

Floats = npt.NDArray[np.float64]

_ROBUST_STEPS = 50


def _tuples(sample: ReducerSample) -> tuple[Floats, Floats]:
    """Return inputs as floats of shape (inputs, n, *places), 0 where a tuple has a null, and the weights of tuples."""
    weights, _ = sample.tuples()
    values = np.stack([numbers(column.values) for column in sample.columns()]).astype(np.float64)
    return np.where(weights > 0, values, 0.0), weights


def unweighted_inputs(sample: ReducerSample) -> tuple[Floats, Flags]:
    """Return the inputs as numbers, and where none of them is null."""
    _, inside = sample.tuples()
    values = np.stack([numbers(column.values) for column in sample.columns()]).astype(np.float64)
    return np.where(inside, values, 0.0), inside


def _linear_fit(sample: ReducerSample) -> list[Output]:
    """Return weighted least squares through the weighted means."""
    (x, y), weights = _tuples(sample)
    mean_x, mean_y = weighted_mean(x, weights), weighted_mean(y, weights)
    off = np.where(weights > 0, x - mean_x, 0)
    square = (weights * off**2).sum(axis=0)
    valid = square > 0
    scale = ratio((weights * off * (y - mean_y)).sum(axis=0), square, valid)
    return [Output(scale, valid), Output(mean_y - scale * mean_x, valid)]


LINEAR_FIT = directly((OutputSpec("scale"), OutputSpec("offset")), (True, True), _linear_fit)


def _check_sizes(x: int, y: int) -> None:
    if x < 1 or y < 1:
        raise InvalidError(f"numX and numY must be positive; found {x} and {y}.")
    if x + y > 1000:
        raise InvalidError(f"numX and numY are too large; found {x} and {y}.")


def _systems(values: Floats, weights: Floats, count: int) -> tuple[Floats, Floats, tuple[int, ...]]:
    """Return the design and response of shape (places, n, numX) and (places, n, numY), scaled by the roots of the
    weights.
    """
    places = weights.shape[1:]
    flat = flat_places(values, 2) * np.sqrt(flat_places(weights, 1))
    design, response = flat[:count], flat[count:]
    return np.moveaxis(design, (0, 1, 2), (2, 1, 0)), np.moveaxis(response, (0, 1, 2), (2, 1, 0)), places


def _solved(design: Floats, response: Floats) -> tuple[Floats, Flags]:
    """Return the least squares of many systems, and which of them are determined (of full rank)."""
    if not len(design) or not design.shape[1]:
        return np.zeros((len(design), design.shape[2], response.shape[2])), np.zeros(len(design), dtype=bool)
    return least_squares(_padded(design), _padded(response, design.shape[2]))


def _padded(rows: Floats, least: int | None = None) -> Floats:
    """Return rows of zeros added, so that there are at least as many as columns: they change no sum of squares."""
    lacking = max(0, (least or rows.shape[2]) - rows.shape[1])
    return np.pad(rows, ((0, 0), (0, lacking), (0, 0))) if lacking else rows


def _regression_outputs(coefficients: Floats, residuals: Floats, valid: Flags, places: tuple[int, ...]) -> list[Output]:
    flags = valid.reshape(places)
    return [
        Output(coefficients.reshape(*places, *coefficients.shape[1:]), flags),
        Output(residuals.reshape(*places, residuals.shape[1]), flags),
    ]


_REGRESSION = (OutputSpec("coefficients", dimensions=2), OutputSpec("residuals", dimensions=1))


def linear_regression(x: int, y: int) -> Reducer:
    """Return the least squares: coefficients of shape (numX, numY), and the root mean square of residuals, (numY,).

    Both are null where there are no more tuples than coefficients, or these are not independent.
    """
    _check_sizes(x, y)

    def reduce(sample: ReducerSample) -> list[Output]:
        values, weights = _tuples(sample)
        design, response, places = _systems(values, weights, x)
        coefficients, full = _solved(design, response)
        total = weights.sum(axis=0).ravel()
        valid = full & ((weights > 0).sum(axis=0).ravel() > x)
        squares = ((response - design @ coefficients) ** 2).sum(axis=1)
        return _regression_outputs(coefficients, np.sqrt(squares / np.maximum(total, 1e-300)[:, None]), valid, places)

    return directly(_REGRESSION, (True,) * (x + y), reduce)


def robust_linear_regression(x: int, y: int, beta: float | None) -> Reducer:
    """Return the least squares again and again without the tuples whose residuals exceed ``beta`` (Talwar's cost
    function).

    By default ``beta`` is 2.795 times the median absolute residual over 0.6745, after which Talwar's estimate is 95%
    efficient for normal residuals (Holland and Welsch, "Robust regression using iteratively reweighted least-squares",
    1977, https://doi.org/10.1080/03610927708827533).
    """
    _check_sizes(x, y)

    def reduce(sample: ReducerSample) -> list[Output]:
        values, weights = _tuples(sample)
        design, response, places = _systems(values, weights, x)
        present = flat_places(weights, 1).T > 0
        kept = present
        for _ in range(_ROBUST_STEPS):
            coefficients, full = _solved(design * kept[..., None], response * kept[..., None])
            size = np.sqrt(((response - design @ coefficients) ** 2).mean(axis=2))
            margin = np.full(len(size), beta) if beta is not None else _talwar(size, present)
            chosen = present & (size <= np.maximum(margin, 1e-12)[:, None])
            # Never fewer than a fit needs.
            chosen = np.where((chosen.sum(axis=1) > x)[:, None], chosen, kept)
            if (chosen == kept).all():
                break
            kept = chosen
        count = kept.sum(axis=1)
        squares = (((response - design @ coefficients) * kept[..., None]) ** 2).sum(axis=1)
        valid = full & (count >= x) & (count > 0)
        return _regression_outputs(coefficients, np.sqrt(squares / np.maximum(count, 1)[:, None]), valid, places)

    return directly(_REGRESSION, (True,) * (x + y), reduce)


def _talwar(size: Floats, present: Flags) -> Floats:
    margins = [2.795 * float(np.median(s[p])) / 0.6745 if p.any() else 0.0 for s, p in zip(size, present, strict=True)]
    return np.asarray(margins)


_RIDGE = (*_REGRESSION, OutputSpec("pValue", dimensions=1))


def ridge_regression(x: int, y: int, penalty: float) -> Reducer:
    """Return the ridge regression with an intercept: coefficients of shape (numX + 1, numY), the intercept last, the
    root mean square of residuals, (numY,), and the p-value of the F test of the regression, (numY,).

    The independent variables are scaled to a mean of 0 and a variance of 1 before the squares of their coefficients are
    penalised; the intercept is not. So does ``RidgeRegression`` of Smile (https://github.com/haifengl/smile), in whose
    words Earth Engine describes the function. All outputs are null where there are no more tuples than variables, or
    where a variable is constant.

    Args:
        x: number of independent variables.
        y: number of dependent variables.
        penalty: penalty of the squares of coefficients, from 0 on.
    """
    _check_sizes(x, y)
    if not 0 <= penalty < math.inf:
        raise InvalidError(f"lambda must not be negative or infinite; found {penalty:g}.")

    def reduce(sample: ReducerSample) -> list[Output]:
        values, weights = _tuples(sample)
        design, response, places = _systems(values, (weights > 0).astype(np.float64), x)
        present = (flat_places(weights, 1).T > 0)[..., None]
        count = present.sum(axis=1)
        mean_x, mean_y = (part.sum(axis=1) / np.maximum(count, 1) for part in (design, response))
        off_x, off_y = (design - mean_x[:, None]) * present, (response - mean_y[:, None]) * present
        scale = np.sqrt((off_x**2).sum(axis=1) / np.maximum(count, 1))
        valid = (count[:, 0] > x) & (scale > np.finfo(np.float64).eps * np.abs(mean_x)).all(axis=1)
        scaled = off_x / np.where(valid[:, None], scale, 1.0)[:, None]
        turned = np.swapaxes(scaled, 1, 2)
        # Independent columns are needed only without a penalty.
        system = turned @ scaled + penalty * np.eye(x)
        valid &= np.isfinite(system).all(axis=(1, 2))
        system = np.where(valid[:, None, None], system, np.eye(x))
        valid &= np.linalg.matrix_rank(system, hermitian=True) == x
        system = np.where(valid[:, None, None], system, np.eye(x))
        slopes = np.linalg.solve(system, turned @ off_y) / np.where(valid[:, None], scale, 1.0)[..., None]
        intercept = mean_y - np.einsum("pxy,px->py", slopes, mean_x)
        left = ((off_y - off_x @ slopes) ** 2).sum(axis=1)
        total = (off_y**2).sum(axis=1)
        residuals = np.sqrt(left / np.maximum(count, 1))
        coefficients = np.concatenate([slopes, intercept[:, None]], axis=1)
        outputs = _regression_outputs(coefficients, residuals, valid, places)
        return [*outputs, Output(_regression_p(left, total, count - x - 1, x).reshape(*places, y), outputs[0].valid)]

    return directly(_RIDGE, (True,) * (x + y), reduce)


def _regression_p(left: Floats, total: Floats, free: npt.NDArray[np.int64], used: int) -> Floats:
    """Return the p-value of the F test from the sums of squares that are left and in total; 1 where nothing is free."""
    share = np.clip(np.divide(left, total, out=np.ones(left.shape), where=total > 0), 0, 1)
    p_values = regularized_beta(share, np.maximum(free, 1) / 2.0, used / 2.0)
    return np.asarray(np.where(free > 0, p_values, 1.0))


def _correlation(x: Floats, y: Floats, inside: Flags) -> tuple[Floats, Flags]:
    weights = inside.astype(np.float64)
    off_x = np.where(inside, x - weighted_mean(x, weights), 0)
    off_y = np.where(inside, y - weighted_mean(y, weights), 0)
    scale = np.sqrt((off_x**2).sum(axis=0)) * np.sqrt((off_y**2).sum(axis=0))
    valid = (inside.sum(axis=0) > 1) & (scale > 0)
    return np.clip(ratio((off_x * off_y).sum(axis=0), scale, valid), -1, 1), valid


def _significance(correlation: Floats, count: Floats, valid: Flags) -> Output:
    """Return the two-sided p-value of a correlation, from Student's t with n - 2 degrees of freedom."""
    degrees = np.maximum(count - 2, 1)
    rest = np.maximum(1 - correlation**2, 1e-300)
    return Output(two_sided(np.abs(correlation) * np.sqrt(degrees / rest), degrees), valid & (count > 2))


def _pearson(sample: ReducerSample) -> list[Output]:
    (x, y), inside = unweighted_inputs(sample)
    correlation, valid = _correlation(x, y, inside)
    return [Output(correlation, valid), _significance(correlation, inside.sum(axis=0), valid)]


PEARSONS_CORRELATION = directly((OutputSpec("correlation"), OutputSpec("p-value")), (False, False), _pearson)


def _ranks(values: Floats, inside: Flags) -> Floats:
    """Return ranks from 1 along the first axis, the mean of their ranks for equal values; 0 for nulls."""
    held = np.where(inside, values, np.inf)
    order = np.argsort(held, axis=0, kind="stable")
    ordered = np.take_along_axis(held, order, axis=0)
    rank = np.arange(1, len(values) + 1, dtype=np.float64).reshape(-1, *[1] * (values.ndim - 1))
    fresh = np.ones(ordered.shape, dtype=bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    low = np.maximum.accumulate(np.where(fresh, rank, 0), axis=0)
    last = np.ones(ordered.shape, dtype=bool)
    last[:-1] = fresh[1:]
    high = np.minimum.accumulate(np.where(last, rank, np.inf)[::-1], axis=0)[::-1]
    result = np.zeros(values.shape)
    np.put_along_axis(result, order, (low + high) / 2, axis=0)
    return np.where(inside, result, 0.0)


def _spearman(sample: ReducerSample) -> list[Output]:
    (x, y), inside = unweighted_inputs(sample)
    if not len(x):
        return [Output(np.zeros(inside.shape[1:]), np.zeros(inside.shape[1:], dtype=bool))]
    return [Output(*_correlation(_ranks(x, inside), _ranks(y, inside), inside))]


SPEARMANS_CORRELATION = directly((OutputSpec("correlation"),), (False, False), _spearman)


@dataclass(frozen=True, slots=True, eq=False)
class _CoMoments:
    """Weight, means, and weighted sums of products of deviations from the means, of arrays of one dimension.

    Attributes:
        weight: shape (\\*places, 1).
        mean: shape (\\*places, size).
        second: shape (\\*places, size, size).
    """

    weight: Floats
    mean: Floats
    second: Floats


def _add_co_moments(parts: Sequence[_CoMoments]) -> _CoMoments:
    """Return Pébay, SAND2008-6212, equation 3.12 for sets of weights."""
    parts = [part for part in parts if part.weight.any()] or parts[:1]
    if len({part.mean.shape for part in parts}) > 1:
        raise InvalidError("The inputs of a covariance must be arrays of the same length.")
    whole = parts[0]
    for part in parts[1:]:
        weight = whole.weight + part.weight
        gap = part.mean - whole.mean
        share = ratio(part.weight, weight, weight > 0)
        products = np.einsum("...i,...j->...ij", gap * whole.weight * share, gap)
        whole = _CoMoments(weight, whole.mean + gap * share, whole.second + part.second + products)
    return whole


def _covariance(*, centred: bool) -> Reducer:
    """Return the population covariance of the elements of arrays of one dimension."""

    def summarise(sample: ReducerSample) -> _CoMoments:
        column = sample.column(0)
        if sample.arrays != 1:
            raise InvalidError("The inputs of a covariance must be arrays of one dimension.")
        weights = column.weights[..., None]
        values = np.where(weights > 0, column.values, 0).astype(np.float64)
        total = weights.sum(axis=0)
        mean = np.zeros(values.shape[1:])
        if not centred:
            mean = ratio((values * weights).sum(axis=0), np.broadcast_to(total, mean.shape), total > 0)
        values = values - mean
        return _CoMoments(total, mean, np.einsum("n...i,n...j->...ij", values * weights, values))

    def finish(moments: _CoMoments) -> list[Output]:
        there = moments.weight > 0
        return [Output(moments.second / np.where(there, moments.weight, 1.0)[..., None], there[..., 0])]

    name = "centeredCovariance" if centred else "covariance"
    spec = OutputSpec(name, dimensions=2)
    return Reducer((spec,), (True,), summarise, _add_co_moments, finish, compact=True, arrays=True)


COVARIANCE = _covariance(centred=False)
CENTERED_COVARIANCE = _covariance(centred=True)


_MEDIAN_STEPS = 200


def geometric_median(inputs: int, improvement: float) -> Reducer:
    """Return the point with the least sum of distances to the tuples, by Weiszfeld's algorithm as Vardi and Zhang
    mended it.

    Args:
        inputs: dimensions.
        improvement: improvement of the sum of distances below which the search ends.
    """
    if not 1 <= inputs <= 1000:
        raise InvalidError(f"The number of inputs must be from 1 to 1000; found {inputs}.")
    if not improvement > 0:
        raise InvalidError(f"eta must be positive; found {improvement}.")

    def reduce(sample: ReducerSample) -> list[Output]:
        values, inside = unweighted_inputs(sample)
        there = np.asarray(inside.any(axis=0))
        count = np.maximum(inside.sum(axis=0), 1)
        centre = np.where(inside, values, 0.0).sum(axis=1) / count
        last = np.full(there.shape, np.inf)
        for _ in range(_MEDIAN_STEPS):
            apart = np.where(inside, np.sqrt(((values - centre[:, None]) ** 2).sum(axis=0)), 0.0)
            total = apart.sum(axis=0)
            if not (last - total > improvement).any():
                break
            last = total
            pull = np.divide(1.0, apart, out=np.zeros(apart.shape), where=apart > 0)
            weight = pull.sum(axis=0)
            goal = np.divide((values * pull).sum(axis=1), weight, out=centre.copy(), where=weight > 0)
            # Where the centre is one of the tuples, as many as are equal to it hold it back.
            held = (inside & (apart == 0)).sum(axis=0)
            force = weight * np.sqrt(((goal - centre) ** 2).sum(axis=0))
            stay = np.where(
                held == 0, 0.0, np.minimum(1.0, np.divide(held, force, out=np.ones(force.shape), where=force > 0))
            )
            centre = stay * centre + (1 - stay) * goal
        return [Output(layer, there) for layer in centre]

    names = tuple(OutputSpec(f"median_{index}") for index in range(inputs))
    return directly(names, (False,) * inputs, reduce)
