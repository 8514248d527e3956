"""Learn how long shared requests take, and choose how many units to fetch in one."""

from __future__ import annotations

import math
from itertools import chain, combinations
from typing import Any

import numpy as np

from eechips.client.chip_groups import MOST_PIXELS

MOST_UNITS = 256
"""Units of an assignment: each is written by the thread that fetches it."""
_MEGAPIXEL = 1 << 20
_PRIOR = (1.0, 4.0, 0.0)
"""Seconds of a request, for each megapixel, and for each squared megapixel, until the run has measured its own."""
_PRIOR_SIZES = (1 / 256, 1 / 16)  # megapixels at which the prior counts as measured
_PRIOR_WEIGHT = 0.5  # of each of these, in measurements
_KEPT = 0.97  # weight of earlier measurements after each new one: the last 30 count
_FIRST_PIXELS = 1 << 18
"""Pixels of a request before any is measured: 64 chips of 64x64. They double at most at a time."""
_FIRST_SHARE = 0.5
"""Part of the units that requests may have together before one that large is measured: if pixels cost more than
expected, the other units are requested as these say."""
_VARIATION = 0.5
"""Part of its mean time by which the last request of a run takes longer than the mean."""
_FINISHING = 0.005
"""Seconds to cut out, encode and write a unit."""
_INDIFFERENT = 1.5
"""Ratio of times within which fewer requests are preferred: each costs quota."""
_PATIENCE = 20
"""Requests that work at a lowered size before a larger one is tried again; twice as many after each failure."""


class RequestCosts:
    """The time that shared requests of a run take, by their pixels.

    The seconds of a request are ``a + b * megapixels + c * megapixels ** 2``, with coefficients of 0 or more, fitted to
    the last 30 or so requests by least squares of the relative errors. The square describes a service that takes
    disproportionately long for large windows.
    """

    def __init__(self) -> None:
        self._most_pixels = min(_FIRST_PIXELS, MOST_PIXELS)
        self._measured_pixels = 0  # of the largest request that worked
        self._left = 0  # requests that have to work until a lowered size is raised
        self._patience = _PATIENCE
        self._gram, self._sums = np.zeros((3, 3)), np.zeros(3)  # the normal equations of the fit
        self._fitted: np.ndarray[Any, Any] | None = None
        for size in _PRIOR_SIZES:
            self._add(size, float(_powers(size) @ _PRIOR), _PRIOR_WEIGHT)

    @property
    def most_pixels(self) -> int:
        """Pixels that a request may have at present."""
        return self._most_pixels

    def note(self, pixels: int, seconds: float) -> None:
        """Note how long a request took that worked at once."""
        self._measured_pixels = max(self._measured_pixels, pixels)
        self._gram, self._sums = _KEPT * self._gram, _KEPT * self._sums
        self._add(pixels / _MEGAPIXEL, max(seconds, 1e-3), 1.0)
        if self._left:
            self._left -= 2 * pixels >= self._most_pixels
            if not self._left:
                self._most_pixels = min(MOST_PIXELS, 2 * self._most_pixels)
        else:
            self._most_pixels = min(MOST_PIXELS, max(self._most_pixels, 2 * pixels))

    def note_too_large(self, pixels: int, worked: int) -> None:
        """Note that a request was too large for the service.

        Requests that were sent before the size was lowered say nothing new: they lower it at most.

        Args:
            worked: number of pixels that was not too large, or may not be.
        """
        if pixels <= self._most_pixels:
            self._patience *= 2 if self._left else 1
            self._left = self._patience
        self._most_pixels = max(1, min(self._most_pixels, worked))

    def estimate_seconds(self, pixels: int) -> float:
        """Return the seconds that a request for so many pixels takes."""
        if self._fitted is None:
            self._fitted = _fit(self._gram, self._sums)
        return float(_powers(pixels / _MEGAPIXEL) @ self._fitted)

    def choose_units(self, left: int, slots: int, pixels: int) -> int:
        """Return how many units to fetch in one request, so that the run ends soonest.

        With k units in a request, the slots take ``left / (k * slots)`` rounds, of which the last may be partly idle.
        Large requests spend less time on what every request costs; small ones leave less to wait for at the end.
        The result is never expected to take longer than requests of one unit.

        Args:
            left: units that are not requested yet.
            slots: requests that may be in flight.
        """
        first = left if slots <= 1 else math.ceil(_FIRST_SHARE * left / slots)  # a single slot waits for no other
        tried = max(first, 2 * self._measured_pixels // pixels)
        most = max(1, min(MOST_UNITS, self._most_pixels // pixels, left, tried))
        times = {}
        units = 1
        while True:
            seconds = self.estimate_seconds(units * pixels)
            rounds = math.ceil(left / (units * max(1, slots)))
            times[units] = (rounds + _VARIATION) * seconds + units * _FINISHING
            if units == most:
                break
            units = min(most, units + math.ceil(units / 8))
        longest = min(_INDIFFERENT * min(times.values()), times[1])
        return max(units for units, time in times.items() if time <= longest)

    def _add(self, size: float, seconds: float, weight: float) -> None:
        features = _powers(size) / seconds
        self._gram = self._gram + weight * np.outer(features, features)
        self._sums = self._sums + weight * features
        self._fitted = None


def _powers(megapixels: float) -> np.ndarray[Any, Any]:
    return np.array([1.0, megapixels, megapixels * megapixels])


def _fit(gram: np.ndarray[Any, Any], sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the coefficients of 0 or more with the least squared error, of the normal equations.

    The best solution has some coefficients of 0, and solves the equations of the others: all choices are tried.
    """
    solutions = []
    for chosen in map(list, chain.from_iterable(combinations(range(3), count) for count in (1, 2, 3))):
        solution = np.zeros(3)
        solution[chosen] = np.linalg.lstsq(gram[np.ix_(chosen, chosen)], sums[chosen], rcond=None)[0]
        if (solution >= 0).all():  # always so of a single coefficient, as sums are positive
            solutions.append(solution)
    return min(solutions, key=lambda solution: float(solution @ gram @ solution - 2 * solution @ sums))
