"""Choose the frames of a time series from the images of a place: the best, evenly spread, or around a date."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Choice = Literal["clearest", "spread", "nearest", "before-after"]
"""How frames are chosen: see :func:`choose_frames`."""

CHOICES: tuple[Choice, ...] = ("clearest", "spread", "nearest", "before-after")

SAME_PASS = 120_000
"""Milliseconds between two images below which they are one acquisition: neighbouring tiles or scenes of one pass.

Tiles of a Sentinel-2 datatake that overlap are sensed some 15 s apart, scenes of a Landsat path some 24 s.
"""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """An interval of time.

    Attributes:
        start: milliseconds since 1970, inclusive.
        end: milliseconds since 1970, exclusive.
    """

    start: int
    end: int

    @property
    def middle(self) -> int:
        """The moment between start and end."""
        return (self.start + self.end) // 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that a frame may show.

    Attributes:
        index: its ``system:index``.
        time: its ``system:time_start`` in milliseconds since 1970.
        clear: share of the chip's pixels that it shows clear, 0 to 1.
        score: the user's own; None if images have none, or the formula has no value on any clear pixel.
    """

    index: str
    time: int
    clear: float
    score: float | None = None

    @property
    def merit(self) -> tuple[float, float]:
        """What images are ordered by, the best has the greatest: score, then clear share. No score is the least."""
        return (-math.inf if self.score is None else self.score, self.clear)


def choose_frames(
    candidates: Iterable[Candidate],
    count: int,
    window: TimeWindow,
    choice: Choice,
    *,
    moment: int | None = None,
    min_clear: float = 0.0,
) -> list[Candidate | None]:
    """Choose frames from the images of a place.

    - ``clearest``: those with the greatest clear share; of equally clear ones, those farthest apart in time, from the
      earliest on. A single frame is the one nearest to the middle of the window.
    - ``spread``: the clearest of each of ``count`` intervals of equal length; of equally clear ones, the one nearest to
      the middle of its interval.
    - ``nearest``: those nearest to the moment; of equally near ones the earlier.
    - ``before-after``: the clearest half of the frames before the moment, and the clearest half from it on; of equally
      clear ones, those nearest to it.

    If images have scores, the greatest score comes before the clearest: of equal scores, the clearest is taken.
    Images less than :data:`SAME_PASS` apart are one acquisition, of which at most one is chosen. An image that shows
    no clear pixel is never chosen.

    Args:
        count: number of frames; even for ``before-after``.
        moment: date of the place, milliseconds since 1970; for ``nearest`` and ``before-after``.

    Returns:
        ``count`` frames by time. Missing ones are None: in their interval or half, otherwise at the end.
    """
    if choice == "spread":
        return choose_of_windows(candidates, split_window(window, count), min_clear)
    suitable = _suitable(candidates, min_clear)
    if choice == "clearest":
        return _padded(_best(suitable, count, window.middle if count == 1 else None), count)
    if moment is None:
        raise ValueError(f"{choice} needs a moment")
    if choice == "nearest":
        ordered = sorted(
            suitable,
            key=lambda candidate: (abs(candidate.time - moment), candidate.time, -candidate.clear, candidate.index),
        )
        return _padded(_distinct(ordered, count), count)
    half = count // 2
    before = _best([candidate for candidate in suitable if candidate.time < moment], half, moment)
    after = _best([candidate for candidate in suitable if candidate.time >= moment], count - half, moment)
    return [*_padded(before, half), *_padded(after, count - half)]


def choose_of_windows(
    candidates: Iterable[Candidate], windows: Sequence[TimeWindow], min_clear: float = 0.0
) -> list[Candidate | None]:
    """Choose the best image of each interval, of equally good ones that nearest to its middle.

    Returns:
        An image for each interval; None where none is clear enough.
    """
    suitable = _suitable(candidates, min_clear)
    chosen = []
    for window in windows:
        within = [candidate for candidate in suitable if window.start <= candidate.time < window.end]
        chosen += _padded(_best(within, 1, window.middle), 1)
    return chosen


def split_window(window: TimeWindow, count: int) -> list[TimeWindow]:
    """Divide an interval into parts of equal length, to the millisecond."""
    edges = [window.start + (window.end - window.start) * i // count for i in range(count + 1)]
    return [TimeWindow(first, last) for first, last in itertools.pairwise(edges)]


def _suitable(candidates: Iterable[Candidate], min_clear: float) -> list[Candidate]:
    """Return the images that show enough clear pixels, at least one."""
    return [candidate for candidate in candidates if candidate.clear > 0.0 and candidate.clear >= min_clear]


def _best(candidates: Sequence[Candidate], count: int, moment: int | None = None) -> list[Candidate]:
    """Return the best images, one of each acquisition, by time: those with the greatest score, or the clearest.

    Of equally good images, the one nearest to the moment is chosen first; without a moment, the one farthest in time
    from those that are chosen already, and at first the earliest.
    """
    left = sorted(
        candidates, key=lambda candidate: (*(-value for value in candidate.merit), candidate.time, candidate.index)
    )
    chosen: list[Candidate] = []
    while left and len(chosen) < count:
        equal = [candidate for candidate in left if candidate.merit == left[0].merit]
        if moment is not None:
            best = min(equal, key=lambda candidate: abs(candidate.time - moment))
        elif chosen:
            best = max(equal, key=lambda candidate: min(abs(candidate.time - other.time) for other in chosen))
        else:
            best = equal[0]
        chosen.append(best)
        left = [candidate for candidate in left if abs(candidate.time - best.time) >= SAME_PASS]
    return sorted(chosen, key=lambda candidate: (candidate.time, candidate.index))


def _distinct(ordered: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return the first images of different acquisitions, by time."""
    chosen: list[Candidate] = []
    for candidate in ordered:
        if len(chosen) == count:
            break
        if all(abs(candidate.time - other.time) >= SAME_PASS for other in chosen):
            chosen.append(candidate)
    return sorted(chosen, key=lambda candidate: (candidate.time, candidate.index))


def _padded(chosen: Sequence[Candidate], count: int) -> list[Candidate | None]:
    return [*chosen, *[None] * (count - len(chosen))]
