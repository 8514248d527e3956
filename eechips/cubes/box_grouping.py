"""Group chunks into requests: read neighbours of a box with it, once boxes are read one beside the other.

Chunks of Dask are read by themselves, and each would take a request. A box beside one that was read before is extended
by the chunks around it: along the columns, then the rows, the images, the bands. Dask reads chunks from the last to the
first as well, so that both directions are tried. The first extension is as large as what was read before: a sweep takes
requests that double up to the service's limit. What is fetched in advance is never more than what was fetched before,
and a box that is beside no other is not extended.
"""

from __future__ import annotations

from collections.abc import Sequence

from eechips.cubes.boxes import Box, BoxLimits

_AXES = (3, 2, 1, 0)


def extend_box(box: Box, whole: Box, known: Sequence[Box], limits: BoxLimits, most: int) -> Box:
    """Return a box with those around it, or the box itself.

    Args:
        known: boxes that were read before, or that are being read.
        most: values of the result at most.
    """
    if not any(_is_beside(box, other) for other in known):
        return box
    most = min(most, box.size + sum(other.size for other in known))
    extended = box
    for axis in _AXES:
        extended = _extended(extended, axis, whole, known, limits, most)
        if (extended.start[axis], extended.stop[axis]) != (whole.start[axis], whole.stop[axis]):
            break  # what comes next is no box
    return extended


def _is_beside(box: Box, other: Box) -> bool:
    """Return whether another box has all values on one side of a box."""
    for axis in _AXES:
        if box.start[axis] == other.stop[axis] or box.stop[axis] == other.start[axis]:
            moved = box.resized(axis, other.start[axis], other.stop[axis])
            if other.contains(moved):
                return True
    return False


def _extended(box: Box, axis: int, whole: Box, known: Sequence[Box], limits: BoxLimits, most: int) -> Box:
    """Return a box that is longer along an axis by multiples of its own length, and overlaps no known box.

    A box at the end of the cube may be shorter than the other chunks: it is extended to edges of known boxes.
    """
    start, stop = box.start[axis], box.stop[axis]
    length = stop - start
    after = box.resized(axis, stop, max(stop, whole.stop[axis]))
    before = box.resized(axis, whole.start[axis], start)
    # A known box may overlap the box itself, which is then not extended to that side.
    end = min([whole.stop[axis], *(max(stop, other.start[axis]) for other in known if after.overlaps(other))])
    first = max([whole.start[axis], *(min(start, other.stop[axis]) for other in known if before.overlaps(other))])
    longest = max(other.stop[axis] - other.start[axis] for other in known)
    is_short = stop == whole.stop[axis] and length < longest
    edges = {edge for other in known for edge in (other.start[axis], other.stop[axis])} if is_short else set()
    extended = box
    while (start, stop) != (first, end):
        if stop < end:
            stop = min(stop + length, end)
        else:
            start = max([first, *(edge for edge in edges if edge < start)]) if edges else max(start - length, first)
        longer = box.resized(axis, start, stop)
        if longer.size > most or not limits.accepts(longer.shape):
            break
        extended = longer
    return extended
