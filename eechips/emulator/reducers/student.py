"""Student's t distribution, for the p-values of correlations and regressions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TINY = 1e-300
_TERMS = 300


def _log_beta(a: Floats, b: Floats) -> Floats:
    log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
    found: Floats = log_gamma(a) + log_gamma(b) - log_gamma(a + b)
    return found


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """Return the continued fraction of the incomplete beta function, DLMF 8.17.22, by Lentz's method."""
    c = np.ones_like(x)
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    found = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = np.ones_like(x)
        for term in (even, odd):
            d = 1.0 + term * d
            c = 1.0 + term / c
            d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
            c = np.where(np.abs(c) < _TINY, _TINY, c)
            step = c * d
            found = found * step
        if np.all(np.abs(step - 1.0) < 1e-15):
            break
    return found


def regularized_beta(x: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Return the regularized incomplete beta function I_x(a, b) for 0 <= x <= 1, DLMF 8.17."""
    x, a, b = (np.asarray(v, dtype=np.float64) for v in np.broadcast_arrays(x, a, b))
    inner = np.clip(x, 1e-300, 1.0 - 1e-16)
    front = np.exp(a * np.log(inner) + b * np.log1p(-inner) - _log_beta(a, b))
    swap = inner > (a + 1.0) / (a + b + 2.0)
    first = np.where(swap, b, a)
    second = np.where(swap, a, b)
    tail = front * _fraction(first, second, np.where(swap, 1.0 - inner, inner)) / first
    found: Floats = np.where(x <= 0, 0.0, np.where(x >= 1, 1.0, np.where(swap, 1.0 - tail, tail)))
    return found


def two_sided(t: npt.ArrayLike, degrees: npt.ArrayLike) -> Floats:
    """Return the probability that a t statistic with so many degrees of freedom is at least that far from 0."""
    t, degrees = (np.asarray(v, dtype=np.float64) for v in np.broadcast_arrays(t, degrees))
    return regularized_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)
