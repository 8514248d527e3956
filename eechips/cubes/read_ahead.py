"""Read neighbours of a box together with it, once boxes are read one after the other.

Chunks of Dask are read by themselves, and each would take a request. A box that follows one that was read before, in
the order of chunks (columns first, then rows, images, bands), is extended by the chunks that come next. The first
extension is as large as what was read before, so that a sweep takes requests that double up to the service's limit.
What is fetched in advance is never more than what was fetched before, and a box that follows no other is not extended.
"""

from __future__ import annotations

from collections.abc import Sequence

from eechips.cubes.boxes import Box, BoxLimits

_AXES = (3, 2, 1, 0)


def extend_box(box: Box, whole: Box, known: Sequence[Box], limits: BoxLimits, most: int) -> Box:
    """Return a box with those that come next, or the box itself.

    Args:
        box: to read.
        whole: all of the cube.
        known: boxes that were read before, or that are being read.
        limits: of a request.
        most: values of the result at most.
    """
    if not any(_follows(box, other) for other in known):
        return box
    most = min(most, box.size + sum(other.size for other in known))
    found = box
    for axis in _AXES:
        found = _extended(found, axis, whole, known, limits, most)
        if (found.start[axis], found.stop[axis]) != (whole.start[axis], whole.stop[axis]):
            break  # what comes next in the order is no box
    return found


def _follows(box: Box, other: Box) -> bool:
    """Return whether a box begins where another one ends, and has no values beside it."""
    for axis in _AXES:
        if other.stop[axis] == box.start[axis]:
            moved = box.resized(axis, other.start[axis], other.stop[axis])
            if other.contains(moved):
                return True
    return False


def _extended(box: Box, axis: int, whole: Box, known: Sequence[Box], limits: BoxLimits, most: int) -> Box:
    """Return a box that is longer along an axis by multiples of its own length, and overlaps no known box."""
    start, stop = box.start[axis], box.stop[axis]
    beyond = box.resized(axis, stop, max(stop, whole.stop[axis]))
    end = min([whole.stop[axis], *(other.start[axis] for other in known if beyond.overlaps(other))])
    length = stop - start
    found = box
    while found.stop[axis] < end:
        longer = box.resized(axis, start, min(found.stop[axis] + length, end))
        if longer.size > most or not limits.accepts(longer.shape):
            break
        found = longer
    return found
