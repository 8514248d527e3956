"""``FeatureCollection.draw`` and ``style``: features drawn in colours, the markers of points, types of lines, widths,
opacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry
from shapely.ops import substring

from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.registration import function
from eechips_local.geometry.longitude_boxes import lonlat_bounds
from eechips_local.geometry.map_projection import WGS84
from eechips_local.geometry.shapes import leaves
from eechips_local.pixels.grids.area_fractions import in_pixels
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.pixels.types import BYTE
from eechips_local.pixels.vector_image import outlined, within_bounds
from eechips_local.protocol.request_errors import InvalidError, check_choice
from eechips_local.values.colors import parse_color, parse_opacity
from eechips_local.values.element_properties import property_of
from eechips_local.values.values import Collection, Feature, Geometry

_TOLERANCE = 0.05  # pixels
_FILL_OPACITY = 0.66  # of the fill, where only the line's colour is given (apidocs/ee-featurecollection-style)
_MOST_REACH = 256
_PATTERNS: Mapping[str, tuple[float, float]] = {"dotted": (1.0, 2.0), "dashed": (4.0, 3.0)}
"""Strokes and gaps, in widths of the line."""


@dataclass(frozen=True, slots=True)
class FeatureStyle:
    """Style in which a feature is drawn.

    Attributes:
        color: color of lines: red, green, blue (0 to 255) and opacity (0 to 1).
        fill: fill of polygons and markers, likewise.
        size: radius of markers in pixels.
        shape: shape of markers.
        width: width of lines in pixels.
        line: "solid", "dotted" or "dashed".
    """

    color: tuple[float, float, float, float]
    fill: tuple[float, float, float, float]
    size: float
    shape: str
    width: float
    line: str


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of ``FeatureCollection.style`` by their documented names."""

    color: Any
    pointSize: Any  # noqa: N815 - named as Earth Engine does
    pointShape: Any  # noqa: N815
    width: Any
    fillColor: Any  # noqa: N815
    lineType: Any  # noqa: N815

    def style(self) -> FeatureStyle:
        """Check the options.

        Raises:
            InvalidError: if one makes no sense.
        """
        color = _color(self.color)
        fill = (*color[:3], color[3] * _FILL_OPACITY) if self.fillColor is None else _color(self.fillColor)
        # Google's example of sat-io/open-datasets/us-drought-monitor names it 'CIRCLE'.
        shape = self.pointShape.lower() if isinstance(self.pointShape, str) else self.pointShape
        if shape not in MARKERS:
            raise InvalidError(f"Unknown pointShape '{self.pointShape}'.")
        check_choice("lineType", self.lineType, ("solid", *_PATTERNS))
        size, width = _size(self.pointSize, "pointSize"), _size(self.width, "width")
        return FeatureStyle(color, fill, size, shape, width, self.lineType)


def _color(value: Any) -> tuple[float, float, float, float]:
    if not isinstance(value, str):
        raise InvalidError(f"A color must be a string; found an object of type {type_name(value)}.")
    color, opacity = parse_opacity(value)
    return (*parse_color(color), opacity)


def _size(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_REACH:
        raise InvalidError(f"'{name}' must be a number from 0 to {_MOST_REACH}.")
    return float(value)


@dataclass(frozen=True, slots=True, eq=False)
class _DrawnFeatures:
    """Red, green and blue of styled features, with their opacity as the mask.

    Attributes:
        collection: the features, the last on top.
        options: options of all of them.
        property: holds a dictionary of options of each feature.
        reach: pixels by which features may reach into a grid from beside it.
    """

    collection: Collection
    options: _Options
    property: str | None
    reach: int

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Draw all features once for all three bands."""
        drawing: Sequence[Pixels] = render.note(("drawing", self, grid), lambda: self._drawn(grid))
        return [drawing[band] for band in bands]

    def _style(self, feature: Feature, whole: FeatureStyle) -> FeatureStyle:
        feature_style = None if self.property is None else property_of(feature, self.property)
        if feature_style is None:
            return whole
        if not isinstance(feature_style, Mapping):
            raise InvalidError(f"The property '{self.property}' must hold a dictionary of style options.")
        known = {
            name: value for name, value in feature_style.items() if name in _Options.__slots__ and value is not None
        }
        return replace(self.options, **known).style()

    def _drawn(self, grid: PixelGrid) -> list[Pixels]:
        bounds, whole = lonlat_bounds(grid.around(self.reach)), self.options.style()
        color, opacity = np.zeros((3, *grid.shape)), np.zeros(grid.shape)
        for element in self.collection if bounds is None else self.collection.filtered(within_bounds(bounds)):
            feature = outlined(element)
            if feature.geometry is None:
                continue
            style = self._style(feature, whole)
            for shape, (*rgb, alpha) in _strokes(feature.geometry, style, grid):
                for where, part in _burnt(shape, grid):
                    below = opacity[where] * (1 - alpha * part)
                    total = alpha * part + below
                    share = np.divide(alpha * part, total, out=np.zeros_like(total), where=total > 0)
                    for layer, level in zip(color, rgb, strict=True):
                        layer[where] += (level - layer[where]) * share
                    opacity[where] = total
        return [Pixels(np.floor(layer + 0.5).astype(np.uint8), opacity) for layer in color]


def _burnt(shape: BaseGeometry, grid: PixelGrid) -> Iterator[tuple[tuple[slice, slice], npt.NDArray[np.float64]]]:
    """Yield the window of a grid that a shape in its pixels takes up, and 1 where centres lie inside."""
    if shape.is_empty:
        return
    west, north, east, south = np.clip(shape.bounds, -1, [grid.width + 1, grid.height + 1] * 2)
    left, top = max(0, int(np.floor(west))), max(0, int(np.floor(north)))
    right, bottom = min(grid.width, int(np.ceil(east))), min(grid.height, int(np.ceil(south)))
    if left >= right or top >= bottom:
        return
    part = rasterize(
        [(shape, 1)], out_shape=(bottom - top, right - left), transform=Affine.translation(left, top), dtype=np.uint8
    )
    yield (slice(top, bottom), slice(left, right)), part.astype(np.float64)


def _strokes(
    geometry: Geometry, style: FeatureStyle, grid: PixelGrid
) -> Iterator[tuple[BaseGeometry, tuple[float, float, float, float]]]:
    """Yield what is painted for a geometry, in pixels, one over the other: fills, then lines."""
    shape = in_pixels(geometry, grid, _TOLERANCE)
    window = shapely.box(-_MOST_REACH, -_MOST_REACH, grid.width + _MOST_REACH, grid.height + _MOST_REACH)
    for leaf in leaves(shape):
        if leaf.is_empty:
            continue
        if leaf.geom_type == "Point":
            marker = MARKERS[style.shape](leaf.x, leaf.y, style.size)
            filled, line = (marker, marker.boundary) if marker.geom_type == "Polygon" else (None, marker)
        elif leaf.geom_type == "Polygon":
            filled, line = leaf, leaf.boundary
        else:
            filled, line = None, leaf
        if filled is not None:
            yield filled, style.fill
        if style.width > 0:
            yield _patterned(shapely.intersection(line, window), style).buffer(style.width / 2), style.color


def _patterned(line: BaseGeometry, style: FeatureStyle) -> BaseGeometry:
    """Return a line cut into dots or dashes."""
    if style.line == "solid":
        return line
    stroke, gap = (length * max(style.width, 1.0) for length in _PATTERNS[style.line])
    pieces = [
        substring(part, start, min(start + stroke, part.length))
        for part in leaves(line)
        if part.geom_type in ("LineString", "LinearRing")
        for start in np.arange(0.0, part.length, stroke + gap)
    ]
    return shapely.geometrycollections(pieces)


def _image(collection: Collection, options: _Options, property: str | None, reach: float) -> Image:
    options.style()
    if not 0 <= reach <= _MOST_REACH:
        raise InvalidError(f"The neighborhood must be from 0 to {_MOST_REACH}; found {reach}.")
    raster = _DrawnFeatures(collection, options, property, int(np.ceil(reach)))
    return Image(
        tuple(
            ImageBand(name, BYTE, WGS84, raster, index, fixed=False)
            for index, name in enumerate(("vis-red", "vis-green", "vis-blue"))
        )
    )


@function("Collection.draw")
def draw(collection: Collection, color: str, pointRadius: int, strokeWidth: int) -> Image:
    """Return features in one colour: translucent with solid outlines."""
    options = _Options(color, pointRadius, "circle", strokeWidth, None, "solid")
    return _image(collection, options, None, pointRadius + strokeWidth)


@function("Collection.style")
def style(
    collection: Collection,
    color: str,
    pointSize: int,
    pointShape: str,
    width: float,
    fillColor: str | None,
    styleProperty: str | None,
    neighborhood: int,
    lineType: str,
) -> Image:
    """Return features in a style, of which each may override parts."""
    options = _Options(color, pointSize, pointShape, width, fillColor, lineType)
    return _image(collection, options, styleProperty, max(neighborhood, pointSize + width))


Marker = Callable[[float, float, float], BaseGeometry]
"""From a centre and a radius, in pixels (y grows downwards), to a shape."""


def _corners(count: int, turn: float = 0.0, inner: float | None = None) -> Marker:
    """Return a regular polygon with a corner at the top, or a star with that many points.

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


def _crossed_lines(turn: float) -> Marker:
    """Return two lines that cross in the middle."""

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
    "cross": _crossed_lines(45), "x": _crossed_lines(45),
    "plus": _crossed_lines(0), "+": _crossed_lines(0),
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
