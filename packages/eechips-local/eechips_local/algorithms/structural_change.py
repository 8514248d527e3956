"""Breakpoints of linear models, of which the Bayesian information criterion chooses the number (Bai and Perron), as R's
``strucchange::breakpoints`` computes them.

Bai and Perron (2003), "Computation and analysis of multiple structural change models", Journal of Applied Econometrics
18, https://doi.org/10.1002/jae.659; https://doi.org/10.18637/jss.v007.i02.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def find_breakpoints(design: Floats, values: Floats, spacing: int, most: int | None = None) -> list[int]:
    """Return the last observation of each segment but the last one.

    For each number of breakpoints, those are taken that leave the least sum of squares; of the numbers, that with the
    least Bayesian information criterion.

    Args:
        design: shape (n, terms).
        values: shape (n,).
        spacing: least number of observations of a segment; more than terms.
        most: greatest number of breakpoints; None for as many as fit, less one.
    """
    count, terms = design.shape
    fitting = count // spacing - 1
    breaks = max(0, min(fitting, math.ceil(count / spacing) - 2 if most is None else most))
    if not breaks:
        return []
    squares = segment_squares(design, values, spacing)
    # costs[m][j]: least sum of squares of the first j observations with m breakpoints; ways[m][j]: the last of them.
    costs = [np.concatenate([[np.inf], squares[0]])]
    ways: list[npt.NDArray[np.intp]] = []
    for _ in range(breaks):
        previous, cost, way = costs[-1], np.full(count + 1, np.inf), np.zeros(count + 1, dtype=np.intp)
        for end in range(spacing, count + 1):
            options = previous[:end] + squares[:end, end - 1]
            way[end] = int(np.argmin(options))
            cost[end] = options[way[end]]
        costs.append(cost)
        ways.append(way)
    criteria = [_criterion(float(cost[count]), count, (terms + 1) * (m + 1)) for m, cost in enumerate(costs)]
    chosen = int(np.argmin(criteria))
    breakpoints, end = [], count
    for m in range(chosen, 0, -1):
        end = int(ways[m - 1][end])
        breakpoints.append(end - 1)
    return breakpoints[::-1]


def _criterion(squares: float, count: int, parameters: int) -> float:
    """Return the Bayesian information criterion of a linear model with normal errors."""
    if not math.isfinite(squares):
        return math.inf
    least = max(squares, 1e-300)
    return count * (math.log(least) + 1 - math.log(count) + math.log(2 * math.pi)) + math.log(count) * parameters


def segment_squares(design: Floats, values: Floats, spacing: int) -> Floats:
    """Return the sum of squared residuals of a model of the observations from i to j, shape (n, n).

    Infinite for segments that are shorter than ``spacing``.
    """
    count, terms = design.shape
    residual_squares = np.full((count, count), np.inf)
    # Scaled columns, so that sums of products keep their digits.
    spread = np.abs(design - design.mean(axis=0)).max(axis=0)
    offset = np.where(spread > 0, design.mean(axis=0), 0.0)
    scaled = (design - offset) / np.where(spread > 0, spread, 1.0)
    centred = values - values.mean()
    products = np.concatenate([np.zeros((1, terms, terms)), np.cumsum(scaled[:, :, None] * scaled[:, None], axis=0)])
    sides = np.concatenate([np.zeros((1, terms)), np.cumsum(scaled * centred[:, None], axis=0)])
    totals = np.concatenate([[0.0], np.cumsum(centred**2)])
    rounding = totals[-1] * 1e-14
    for start in range(count - spacing + 1):
        ends = np.arange(start + spacing, count + 1)
        gram, side = products[ends] - products[start], sides[ends] - sides[start]
        ridge = 1e-13 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(terms)
        solution = np.linalg.solve(gram + ridge, side[..., None])[..., 0]
        left = totals[ends] - totals[start] - (solution * side).sum(axis=1)
        residual_squares[start, ends - 1] = np.where(left > rounding, left, rounding)
    return residual_squares
