"""VeRDET: the slopes of straight segments of a yearly series.

By Hughes, Kaylor and Hayes (2017), "Patch-based forest change detection from Landsat time series", Forests 8(5), 166,
https://doi.org/10.3390/f8050166, section 2.5, with the details of the authors' program
(https://github.com/ecologistjoe/verdet_archive, ``tv_1d_many.m``, ``fit_piecewise_linear.m``) and of its version for
Earth Engine (https://github.com/c11/lcms, ``Verdet.java``). Their smoothing in space is not a part of either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Nodes = tuple[int, ...]
"""Positions of the ends of segments, first and last year included."""

_LEAST_STEP = 1e-6  # in the weights of steps between slopes, which would be infinite where slopes are equal
_LEAST_VALUE = 1e-5  # replaces negative values
_RUN = 0.005  # squared length of a year in the plane in which angles are measured
_LEAST_BEND = 0.025  # 1 less the cosine of the angle between two years' lines


@dataclass(frozen=True, slots=True)
class VerdetOptions:
    """How a series is divided.

    Attributes:
        tolerance: greatest change of a slope between two runs at which they end.
        alpha: weight of the total variation of slopes.
        runs: greatest number of runs.
    """

    tolerance: float
    alpha: float
    runs: int


def find_slopes(values: Floats, options: VerdetOptions) -> Floats:
    """Return the slope of the fitted lines in each year: the fitted value less that of the year before; 0 first.

    Args:
        values: a value for each year, shape (years,); negative ones count as 1e-5.
        options: how the series is divided.
    """
    known = np.where(values < 0, _LEAST_VALUE, values)
    if len(known) < 2:
        return np.zeros(len(known))
    fitted = fit_lines(known, smoothed(known, options))
    return np.concatenate([[0.0], np.diff(fitted)])


def smoothed(values: Floats, options: VerdetOptions) -> Floats:
    """Return a series whose slopes have a small total variation.

    Of all slopes u, whose running sum is Au, those that minimise |Au - (f - f0)|² / 2 + alpha * sum |u[i+1] - u[i]|
    (equation 3 of the paper, as ``tv_1d_many.m`` solves it: by linear equations in which each |u[i+1] - u[i]| is a
    square over its size in the run before).
    """
    years = len(values)
    rises = values - values[0]
    # Of running sums, a lower triangle of ones: its product with its transpose.
    product = years - np.maximum.outer(np.arange(years), np.arange(years)).astype(np.float64)
    target = np.cumsum(rises[::-1])[::-1]
    slopes, last = rises, np.full(years, np.inf)
    for _ in range(options.runs):
        weights = options.alpha / (_LEAST_STEP + np.abs(np.diff(slopes)))
        system = product.copy()
        flat = system.reshape(-1)  # the diagonal and those beside it have a stride of years + 1
        flat[: -1 : years + 1] += weights
        flat[years + 1 :: years + 1] += weights
        flat[1 :: years + 1] -= weights
        flat[years :: years + 1] -= weights
        slopes = np.linalg.solve(system, target)
        if np.abs(last - slopes).max() <= options.tolerance:
            break
        last = slopes
    curve: Floats = np.cumsum(slopes) + values[0]
    return curve


def fit_lines(values: Floats, first: Floats) -> Floats:
    """Return the values of lines that meet at nodes, fitted by least squares.

    Nodes are years in which the angle between the lines before and after is large enough; the fit has other angles, so
    that nodes and fit are found in turns, until the nodes stay (``fit_piecewise_linear.m``). Where nodes of an earlier
    turn come back, this one is the last, because the program would not end.

    Args:
        values: a value for each year, shape (years,).
        first: the series whose angles are the first ones, likewise.
    """
    fitted = first
    known: set[Nodes] = set()
    while (nodes := _nodes(fitted)) not in known:
        known.add(nodes)
        # The share of each node in each year: lines from 1 at the node to 0 at its neighbours.
        shares = np.stack([np.interp(np.arange(len(values)), nodes, row) for row in np.eye(len(nodes))], axis=1)
        fitted = shares @ np.linalg.lstsq(shares, values, rcond=None)[0]
    return fitted


def _nodes(values: Floats) -> Nodes:
    """Return the first and last year, and those at which a series bends."""
    rises = np.diff(values)
    lengths = np.sqrt(_RUN + rises**2)
    cosines = (rises[:-1] * rises[1:] + _RUN) / (lengths[:-1] * lengths[1:])
    bends = np.flatnonzero(1.0 - cosines > _LEAST_BEND) + 1
    return (0, *bends.tolist(), len(values) - 1)
