"""The Hough transform: straight lines through pixels.

By Duda and Hart (1972), "Use of the Hough transformation to detect lines and curves in pictures", Communications of
the ACM 15(1), 11-15, https://doi.org/10.1145/361237.361242.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Votes = npt.NDArray[np.int64]

_ANGLES = np.deg2rad(np.arange(180.0))
"""Directions of the normals of lines, in radians."""


def _distances(shape: tuple[int, int], angle: float) -> npt.NDArray[np.intp]:
    """Return, at each pixel, the distance of the line through it from the first pixel, in whole pixels.

    It is x cos(angle) + y sin(angle), of columns x and rows y: equation 1 of the paper.
    """
    x, y = np.arange(shape[1]) * np.cos(angle), np.arange(shape[0]) * np.sin(angle)
    distances: npt.NDArray[np.intp] = np.floor(y[:, None] + x + 0.5).astype(np.intp)
    return distances


def _reach(shape: tuple[int, int]) -> int:
    """Return a distance that no line is beyond, on either side of the first pixel."""
    return int(np.ceil(np.hypot(*shape))) + 1


def count_votes(active: Bools) -> Votes:
    """Return the number of active pixels on each line.

    Args:
        active: pixels of an image.

    Returns:
        Shape (2 * reach + 1, 180): distances from -reach to reach in whole pixels, and angles of whole degrees.
    """
    reach = _reach(active.shape)
    votes = [np.bincount(_distances(active.shape, a)[active] + reach, minlength=2 * reach + 1) for a in _ANGLES]
    return np.stack(votes, axis=1)


def smoothed(votes: Votes) -> Floats:
    """Return means of 3 by 3 cells; after the last angle come the first, with distances of the other sign."""
    turned = np.concatenate([votes[::-1, -1:], votes, votes[::-1, :1]], axis=1)
    padded = np.pad(turned, ((1, 1), (0, 0)))
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    means: Floats = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9.0
    return means


def find_lines(active: Bools, threshold: float, is_smooth: bool, check_time: Callable[[], None]) -> Bools:
    """Return the pixels of all lines that have enough votes.

    Args:
        active: pixels of an image.
        threshold: votes that make a line.
        is_smooth: whether votes are smoothed before.
        check_time: raises where the request's time is over.
    """
    votes = count_votes(active)
    enough = (smoothed(votes) if is_smooth else votes) >= threshold
    on_line = np.zeros(active.shape, dtype=bool)
    reach = _reach(active.shape)
    for place in np.flatnonzero(enough.any(axis=0)):
        check_time()
        on_line |= enough[:, place][_distances(active.shape, _ANGLES[place]) + reach]
    return on_line
