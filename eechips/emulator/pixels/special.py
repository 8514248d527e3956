"""Special functions of arrays, to double precision: what numpy lacks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Bernoulli numbers B(2k) for the asymptotic series of digamma and trigamma (Abramowitz & Stegun 6.3.18, 6.4.12).
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_ASYMPTOTIC_FROM = 8.0
_MOST_TERMS = 10_000


def _each(function: Callable[[float], float]) -> Callable[[Floats], Floats]:
    """A function of the math module for arrays; NaN where it is not defined."""

    def safe(value: float) -> float:
        try:
            return function(value)
        except (ValueError, OverflowError):
            return math.nan

    call = np.frompyfunc(safe, 1, 1)

    def run(values: Floats) -> Floats:
        found: Floats = np.asarray(call(values), dtype=np.float64)
        return found

    return run


erf = _each(math.erf)
erfc = _each(math.erfc)
log_gamma = _each(math.lgamma)
_gamma = _each(math.gamma)


def gamma(values: Floats) -> Floats:
    """The gamma function; infinite where it overflows, NaN at its poles."""
    found = _gamma(values)
    return np.where(values > 171.7, np.inf, found)


def digamma(values: Floats) -> Floats:
    """The derivative of the logarithm of gamma: reflection, recurrence, then the asymptotic series."""
    x = values.astype(np.float64, copy=True)
    pole = (x <= 0) & (x == np.floor(x))
    negative = x < 0
    result = np.where(negative, -np.pi / np.tan(np.pi * np.where(pole, 0.5, x)), 0.0)
    x = np.where(negative, 1 - x, x)
    x = np.where(pole, 1.0, x)
    for _ in range(int(_ASYMPTOTIC_FROM)):
        small = x < _ASYMPTOTIC_FROM
        result = result - np.where(small, 1 / x, 0)
        x = np.where(small, x + 1, x)
    result += np.log(x) - 0.5 / x
    for k, bernoulli in enumerate(_BERNOULLI, 1):
        result -= bernoulli / (2 * k * x ** (2 * k))
    return np.where(pole, np.nan, result)


def trigamma(values: Floats) -> Floats:
    """The derivative of digamma: reflection, recurrence, then the asymptotic series."""
    x = values.astype(np.float64, copy=True)
    pole = (x <= 0) & (x == np.floor(x))
    negative = x < 0
    reflected = (np.pi / np.sin(np.pi * np.where(pole, 0.5, x))) ** 2
    x = np.where(pole, 1.0, np.where(negative, 1 - x, x))
    result = np.zeros(x.shape)
    for _ in range(int(_ASYMPTOTIC_FROM)):
        small = x < _ASYMPTOTIC_FROM
        result += np.where(small, 1 / x**2, 0)
        x = np.where(small, x + 1, x)
    result += 1 / x + 0.5 / x**2
    for k, bernoulli in enumerate(_BERNOULLI, 1):
        result += bernoulli / x ** (2 * k + 1)
    return np.where(pole, np.nan, np.where(negative, reflected - result, result))


def erf_inverse(values: Floats) -> Floats:
    """The inverse of erf: infinite at the ends, NaN outside -1 to 1."""
    tail = erfc_inverse(1 - np.abs(values))
    return np.sign(values) * np.where(np.abs(values) < 0.5, _near_zero(np.abs(values)), tail)


def _near_zero(values: Floats) -> Floats:
    """The inverse of erf below a half, by Newton's method, where erf is steep."""
    target = np.where(values < 0.5, values, 0.0)
    x = target * math.sqrt(math.pi) / 2
    for _ in range(8):
        x = x - (erf(x) - target) * np.exp(x * x) * math.sqrt(math.pi) / 2
    return x


def erfc_inverse(values: Floats) -> Floats:
    """The inverse of erfc: infinite at 0 and 2, NaN outside."""
    upper = np.where(values > 1, 2 - values, values)
    inside = (upper > 0) & (upper <= 1)
    target = np.where(inside, upper, 0.5)
    # Newton on log erfc, which is close to a parabola.
    x = np.sqrt(np.maximum(-np.log(target) - 0.5 * np.log(np.maximum(-np.log(target), 1.0)), 0.0))
    for _ in range(60):
        tail = erfc(x)
        step = (np.log(tail) - np.log(target)) * tail * np.exp(x * x) * math.sqrt(math.pi) / 2
        x = x + step
        if float(np.max(np.abs(step), initial=0.0)) < 1e-15:
            break
    found = np.where(values > 1, -x, x)
    found = np.where(values == 0, np.inf, np.where(values == 2, -np.inf, found))
    return np.where((values < 0) | (values > 2), np.nan, found)


def gamma_incomplete(a: Floats, x: Floats) -> Floats:
    """The regularised lower incomplete gamma function P(a, x): series or continued fraction (Numerical Recipes 6.2)."""
    a, x = (v.astype(np.float64) for v in np.broadcast_arrays(a, x))
    bad = (a <= 0) | (x < 0) | np.isnan(a) | np.isnan(x)
    a, y = np.where(bad, 1.0, a), np.where(bad, 0.0, x)
    scale = np.exp(-y + a * np.log(np.where(y > 0, y, 1.0)) - log_gamma(a))
    small = y < a + 1
    found = np.where(small, scale * _series(a, np.where(small, y, 0.0)), 1 - scale * _fraction(a, y, ~small))
    return np.where(bad, np.nan, np.where(y == 0, 0.0, found))


def _series(a: Floats, x: Floats) -> Floats:
    term = 1 / a
    total, n = term.copy(), a.copy()
    for _ in range(_MOST_TERMS):
        n = n + 1
        term = term * x / n
        total += term
        if bool((np.abs(term) <= np.abs(total) * 1e-16).all()):
            break
    return total


def _fraction(a: Floats, x: Floats, active: npt.NDArray[np.bool_]) -> Floats:
    """Lentz's continued fraction for the upper incomplete gamma function."""
    tiny = 1e-300
    x = np.where(active, x, a + 2)
    b = x + 1 - a
    c, d = np.full(x.shape, 1 / tiny), 1 / b
    h = d.copy()
    for i in range(1, _MOST_TERMS):
        an = -i * (i - a)
        b = b + 2
        d = an * d + b
        d = 1 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + an / np.where(np.abs(c) < tiny, tiny, c)
        delta = c * d
        h = h * delta
        if bool((np.abs(delta - 1) < 1e-16).all()):
            break
    return h
