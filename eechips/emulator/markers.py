"""Shapes of the markers that stand for points on a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import shapely
from shapely.geometry.base import BaseGeometry

Marker = Callable[[float, float, float], BaseGeometry]
"""From a centre and a radius, in pixels (y grows downwards), to a shape."""


def _corners(count: int, turn: float = 0.0, inner: float | None = None) -> Marker:
    """A regular polygon with a corner at the top, or a star with that many points.

    Args:
        count: corners, or points.
        turn: degrees clockwise.
        inner: radius of a star's inner corners, as a part of the outer.
    """
    steps = count if inner is None else 2 * count

    def shape(x: float, y: float, radius: float) -> BaseGeometry:
        points = []
        for step in range(steps):
            angle = math.radians(turn) + 2 * math.pi * step / steps
            length = radius * (inner if inner is not None and step % 2 else 1.0)
            points.append((x + length * math.sin(angle), y - length * math.cos(angle)))
        return shapely.Polygon(points)

    return shape


def _strokes(turn: float) -> Marker:
    """Two lines that cross in the middle."""

    def shape(x: float, y: float, radius: float) -> BaseGeometry:
        lines = []
        for angle in (math.radians(turn), math.radians(turn + 90)):
            dx, dy = radius * math.sin(angle), radius * math.cos(angle)
            lines.append([(x - dx, y - dy), (x + dx, y + dy)])
        return shapely.MultiLineString(lines)

    return shape


def _circle(x: float, y: float, radius: float) -> BaseGeometry:
    return shapely.Point(x, y).buffer(radius)


def _square(x: float, y: float, radius: float) -> BaseGeometry:
    return shapely.box(x - radius, y - radius, x + radius, y + radius)


_PENTAGRAM = (3 - math.sqrt(5)) / 2  # the inner corners of a regular pentagram
_HEXAGRAM = 1 / math.sqrt(3)

MARKERS: Mapping[str, Marker] = {
    "circle": _circle, "o": _circle,
    "square": _square, "s": _square,
    "diamond": _corners(4), "d": _corners(4),
    "cross": _strokes(45), "x": _strokes(45),
    "plus": _strokes(0), "+": _strokes(0),
    "pentagram": _corners(5, inner=_PENTAGRAM), "p": _corners(5, inner=_PENTAGRAM),
    "star5": _corners(5, inner=_PENTAGRAM),
    "hexagram": _corners(6, inner=_HEXAGRAM), "h": _corners(6, inner=_HEXAGRAM),
    "star6": _corners(6, inner=_HEXAGRAM),
    "triangle": _corners(3), "triangle_up": _corners(3), "^": _corners(3),
    "triangle_down": _corners(3, 180), "v": _corners(3, 180),
    "triangle_left": _corners(3, 270), "<": _corners(3, 270),
    "triangle_right": _corners(3, 90), ">": _corners(3, 90),
    "pentagon": _corners(5), "hexagon": _corners(6),
}  # fmt: skip
"""Markers by the names that ``ee.FeatureCollection.style`` documents."""
