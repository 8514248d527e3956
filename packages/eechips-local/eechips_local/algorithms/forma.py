"""The trends of FORMA: of a whole series, of its steepest fall, and whether they are stable.

Formulas as in https://github.com/wri/forma-clj, ``src/clj/forma/trends/analysis.clj``: ordinary least squares, and
Hansen (1992), "Testing for Parameter Instability in Linear Models", Journal of Policy Modeling 14(4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LEAST = 3
"""Values of which a line leaves a residual."""


@dataclass(frozen=True, slots=True)
class FormaTrend:
    """Trends of a series; NaN where it is too short for one, or where a line fits it exactly.

    Attributes:
        long: slope of the line through all values, a step.
        short: the least slope of lines through as many values in a row as the window has.
        t_statistic: the long slope by its standard error.
        break_statistic: Hansen's statistic of the stability of the line.
    """

    long: float = math.nan
    short: float = math.nan
    t_statistic: float = math.nan
    break_statistic: float = math.nan


def find_trends(steps: Floats, values: Floats, window: int) -> FormaTrend:
    """Return the trends of a series.

    Args:
        steps: positions of the values in time, ascending.
        values: as many.
        window: values of a window.
    """
    if len(values) < _LEAST:
        return FormaTrend()
    times = steps - steps.mean()
    squares = float(times @ times)
    slope = float(times @ values) / squares
    residuals = values - values.mean() - slope * times
    remaining = float(residuals @ residuals)
    short = _least_slope(steps, values, window)
    if remaining <= np.finfo(np.float64).eps * float(values @ values) * len(values):
        return FormaTrend(slope, short)
    error = math.sqrt(remaining / (len(values) - 2) / squares)
    return FormaTrend(slope, short, slope / error, _break_statistic(times, residuals))


def _least_slope(steps: Floats, values: Floats, window: int) -> float:
    if len(values) < window or window < 2:
        return math.nan
    times, parts = (np.lib.stride_tricks.sliding_window_view(column, window) for column in (steps, values))
    centred = times - times.mean(axis=1, keepdims=True)
    return float(((centred * parts).sum(axis=1) / (centred**2).sum(axis=1)).min())


def _break_statistic(times: Floats, residuals: Floats) -> float:
    """Return Hansen's statistic from the first-order conditions of the line and of the variance of its residuals."""
    squares = residuals**2
    conditions = np.stack([residuals * times, residuals, squares - squares.mean()])
    sums = conditions.cumsum(axis=1)
    try:
        solved = np.linalg.solve(conditions @ conditions.T * len(residuals), sums @ sums.T)
    except np.linalg.LinAlgError:
        return math.nan
    return float(np.trace(solved))
