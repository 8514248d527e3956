"""Special functions that neither Python nor numpy has: gamma, digamma, trigamma, Lanczos, inverse error functions,
incomplete gamma.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LARGE = 49.0  # from here on the asymptotic series is exact to the last digits
_LANCZOS = (
    57.156235665862923517, -59.597960355475491248, 14.136097974741747174, -0.49191381609762019978,
    0.33994649984811888699e-4, 0.46523628927048575665e-4, -0.98374475304879564677e-4, 0.15808870322491248884e-3,
    -0.21026444172410488319e-3, 0.21743961811521264320e-3, -0.16431810653676389022e-3, 0.84418223983852743293e-4,
    -0.26190838401581408670e-4, 0.36899182659531622704e-5,
)  # fmt: skip
_LANCZOS_BASE = 0.99999999999999709182


def gamma(x: float) -> float:
    """Return the gamma function: NaN at zero and the negative integers, infinity where it exceeds a double."""
    if x <= 0 and (math.isinf(x) or x == math.floor(x)):
        return math.nan
    try:
        return math.gamma(x)
    except OverflowError:
        return math.inf


def digamma(x: float) -> float:
    """Return the logarithmic derivative of the gamma function; minus infinity at zero and the negative integers."""
    if not math.isfinite(x):
        return x if x > 0 else math.nan
    if x <= 0:
        if x == math.floor(x):
            return -math.inf
        return digamma(1 - x) - math.pi / math.tan(math.pi * x)
    total = 0.0
    while x < _LARGE:
        total -= 1 / x
        x += 1
    inverse = 1 / (x * x)
    # https://dlmf.nist.gov/5.11.E2
    return (
        total + math.log(x) - 0.5 / x - inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse / 240)))
    )


def trigamma(x: float) -> float:
    """Return the derivative of the digamma function; infinity at zero and the negative integers."""
    if not math.isfinite(x):
        return 0.0 if x > 0 else math.nan
    if x <= 0:
        if x == math.floor(x):
            return math.inf
        reflected = math.pi / math.sin(math.pi * x)
        return -trigamma(1 - x) + reflected * reflected  # a product, as a power would not overflow to infinity
    total = 0.0
    while x < _LARGE:
        total += (1 / x) * (1 / x)
        x += 1
    inverse = 1 / (x * x)
    series = 1 / 6 - inverse * (1 / 30 - inverse * (1 / 42 - inverse / 30))
    return total + 1 / x + inverse / 2 + inverse / x * series


def lanczos(x: float) -> float:
    """Return Lanczos' approximation with g = 607/128 and 15 terms, as Apache Commons Math has it.

    ``gamma(x + 1) = sqrt(2 pi) (x + g + 1/2) ** (x + 1/2) exp(-(x + g + 1/2)) lanczos(x)``, divided by x for
    ``gamma(x)``.
    """
    total = 0.0
    for position, term in reversed(list(enumerate(_LANCZOS, 1))):
        if x == -position:
            return math.copysign(math.inf, term)
        total += term / (x + position)
    return total + _LANCZOS_BASE


def erf_inverse(y: float) -> float:
    """Return the inverse of the error function, to the last digits; infinite at -1 and 1, NaN outside."""
    if not -1 <= y <= 1:
        return math.nan
    if abs(y) == 1:
        return math.copysign(math.inf, y)
    if abs(y) > 0.5:
        return math.copysign(erfc_inverse(1 - abs(y)), y)
    x = y * math.sqrt(math.pi) / 2
    for _ in range(50):
        step = (math.erf(x) - y) * math.sqrt(math.pi) / 2 * math.exp(x * x)
        x -= step / (1 + x * step)  # Halley's
        if abs(step) <= 1e-16 * abs(x):
            break
    return x


def erfc_inverse(y: float) -> float:
    """Return the inverse of the complementary error function; infinite at 0 and 2, NaN outside."""
    if not 0 <= y <= 2:
        return math.nan
    if y in (0, 2):
        return math.inf if y == 0 else -math.inf
    if y > 1:
        return -erfc_inverse(2 - y) if y > 1.5 else -erf_inverse(y - 1)
    if y > 0.5:
        return erf_inverse(1 - y)
    # erfc falls as exp(-x²) / (x sqrt(pi)): start there, and iterate on its logarithm, which is nearly a parabola.
    x = math.sqrt(max(-math.log(y * math.sqrt(math.pi)), 0.1))
    target = math.log(y)
    for _ in range(100):
        value = math.erfc(x)
        if value == 0:
            x *= 0.99
            continue
        slope = -2 / math.sqrt(math.pi) * math.exp(-x * x) / value
        step = (math.log(value) - target) / slope
        x -= step
        if abs(step) <= 2e-16 * abs(x):
            break
    return x


_ROUNDS = 20_000  # of a series: enough for parameters up to about 1e7
_SMALL = 1e-300
_EPSILON = 1e-16


def regularized_gamma(x: npt.ArrayLike, a: npt.ArrayLike) -> Floats:
    """Return the regularized lower incomplete gamma function P(a, x): NaN unless a > 0 and x >= 0.

    The power series (https://dlmf.nist.gov/8.7.E1) where x is less than a + 1, elsewhere the continued fraction of
    the upper function (https://dlmf.nist.gov/8.9.E2) by Lentz's method.

    Args:
        x: limits of the integral; broadcast against ``a``.
        a: parameters.
    """
    limits, parameters = (np.asarray(v, dtype=np.float64) for v in np.broadcast_arrays(x, a))
    unclipped = np.full(limits.shape, np.nan)
    known = (parameters > 0) & (limits >= 0) & np.isfinite(parameters)
    unclipped[known & (limits == 0)] = 0.0
    unclipped[known & np.isinf(limits)] = 1.0
    some = known & (limits > 0) & np.isfinite(limits)
    below = some & (limits < parameters + 1)
    above = some & ~below
    unclipped[below] = _lower_series(limits[below], parameters[below])
    unclipped[above] = 1.0 - _upper_fraction(limits[above], parameters[above])
    shares: Floats = np.clip(unclipped, 0.0, 1.0)
    return shares


def _front(x: Floats, a: Floats) -> Floats:
    """Return x ** a * exp(-x) / Gamma(a)."""
    single, where = np.unique(a, return_inverse=True)
    logarithms = np.array([math.lgamma(value) for value in single.tolist()])
    leading_factor: Floats = np.exp(a * np.log(x) - x - logarithms[where.reshape(a.shape)])
    return leading_factor


def _lower_series(x: Floats, a: Floats) -> Floats:
    term = 1.0 / a
    total, step = term.copy(), a.copy()
    for _ in range(_ROUNDS):
        step += 1.0
        term *= x / step
        total += term
        if (term <= total * _EPSILON).all():
            break
    return total * _front(x, a)


def _upper_fraction(x: Floats, a: Floats) -> Floats:
    b = x + 1.0 - a
    c, d = np.full(x.shape, 1.0 / _SMALL), 1.0 / np.where(b == 0, _SMALL, b)
    fraction = d.copy()
    for step in range(1, _ROUNDS):
        factor = -step * (step - a)
        b = b + 2.0
        d = factor * d + b
        d = 1.0 / np.where(np.abs(d) < _SMALL, _SMALL, d)
        c = b + factor / c
        c = np.where(np.abs(c) < _SMALL, _SMALL, c)
        change = c * d
        fraction *= change
        if (np.abs(change - 1.0) <= 4 * _EPSILON).all():
            break
    return fraction * _front(x, a)
