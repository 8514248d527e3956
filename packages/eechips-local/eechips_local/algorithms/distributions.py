"""Distributions of test statistics: Student's t, Fisher's F and chi-square, and the incomplete beta function."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TINY = 1e-300
_TERMS = 300


def _log_beta(a: Floats, b: Floats) -> Floats:
    log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
    logarithm: Floats = log_gamma(a) + log_gamma(b) - log_gamma(a + b)
    return logarithm


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """Return the continued fraction of the incomplete beta function, DLMF 8.17.22, by Lentz's method."""
    c = np.ones_like(x)
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    fraction = d
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
            fraction = fraction * step
        if np.all(np.abs(step - 1.0) < 1e-15):
            break
    return fraction


def regularized_beta(x: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Return the regularized incomplete beta function I_x(a, b) for 0 <= x <= 1, DLMF 8.17."""
    x, a, b = (np.asarray(v, dtype=np.float64) for v in np.broadcast_arrays(x, a, b))
    inner = np.clip(x, 1e-300, 1.0 - 1e-16)
    front = np.exp(a * np.log(inner) + b * np.log1p(-inner) - _log_beta(a, b))
    swap = inner > (a + 1.0) / (a + b + 2.0)
    first = np.where(swap, b, a)
    second = np.where(swap, a, b)
    tail = front * _fraction(first, second, np.where(swap, 1.0 - inner, inner)) / first
    shares: Floats = np.where(x <= 0, 0.0, np.where(x >= 1, 1.0, np.where(swap, 1.0 - tail, tail)))
    return shares


def two_sided(t: npt.ArrayLike, degrees: npt.ArrayLike) -> Floats:
    """Return the probability that a t statistic with so many degrees of freedom is at least that far from 0."""
    t, degrees = (np.asarray(v, dtype=np.float64) for v in np.broadcast_arrays(t, degrees))
    return regularized_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)


def exceeding_f(f: float, above: int, below: int) -> float:
    """Return the probability that an F statistic is at least that large.

    Args:
        above: degrees of freedom of the numerator, an even number: the incomplete beta function is a finite sum then.
        below: degrees of freedom of the denominator.
    """
    x = below / (below + above * max(f, 0.0))
    term = total = float(x ** (below / 2))
    for j in range(1, above // 2):
        term *= (below / 2 + j - 1) / j * (1 - x)
        total += term
    return min(total, 1.0)


def chi_square_quantile(probability: float, degrees: int) -> float:
    """Return the value that a chi-square statistic exceeds with probability ``1 - probability``, by bisection.

    Args:
        probability: from 0 to 1.
        degrees: degrees of freedom, from 1 on.
    """
    if probability <= 0:
        return 0.0
    if probability >= 1:
        return math.inf
    low, high = 0.0, float(degrees)
    while chi_square_below(high, degrees) < probability:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if chi_square_below(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def chi_square_below(value: float, degrees: int) -> float:
    """Return the probability that a chi-square statistic is less than a value: DLMF 8.11.4."""
    if value <= 0:
        return 0.0
    half, x = degrees / 2, value / 2
    term = math.exp(half * math.log(x) - x - math.lgamma(half + 1))
    total, step = term, half
    while term > total * 1e-17 and step < 100_000:
        step += 1
        term *= x / step
        total += term
    return min(total, 1.0)
