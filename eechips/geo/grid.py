"""Define pixel grids: exact location, scale and metres per unit of their pixels, CRS as the service takes it, windows,
and columns at the antimeridian.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from affine import Affine

if TYPE_CHECKING:
    from pyproj import CRS

Transform = tuple[float, float, float, float, float, float]
"""``(a, b, c, d, e, f)``: x = a*column + b*row + c and y = d*column + e*row + f, for pixel corners.

This is the order of Earth Engine's ``crs_transform`` and of ``affine.Affine``, not of GDAL's geotransform.
"""

T = TypeVar("T")

# Earth Engine accepts these as CRS codes; others are sent as WKT.
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*:[A-Za-z0-9._-]+")
_NO_CODES = frozenset({"EPSG:6933"})


def service_crs(crs: str) -> str:
    """Return a CRS as Earth Engine takes it: WKT 1 for a code that it does not know.

    Of EPSG:6933 it says "The CRS of a map projection could not be parsed", but it takes the WKT:
    github.com/google/earthengine-community/issues/971, and ``samplingGridCrs.js`` of github.com/openforis/sepal.
    """
    if crs.upper() not in _NO_CODES:
        return crs
    from eechips.geo.crs import parse_crs  # pyproj, for which workers of windows have no memory

    return parse_crs(crs).to_wkt("WKT1_GDAL")


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a grid's pixels.

    Attributes:
        width: columns, at least 1.
        height: rows, at least 1.
    """

    column: int
    row: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices of rows and columns for an array of the grid's shape."""
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)

    def split(self, least: int = 1) -> tuple[Window, ...]:
        """Return this window cut into quarters, in row-major order.

        Args:
            least: minimum side of a part in pixels. A side whose halves would be shorter is not divided, so that there
                are two parts, or only this window.
        """
        rows, columns = _halves(self.height, least), _halves(self.width, least)
        return tuple(Window(self.column + c, self.row + r, w, h) for r, h in rows for c, w in columns)

    def estimate_bytes(self, bands: int, dtype: npt.DTypeLike) -> int:
        """Estimate the bytes of the pixels as Earth Engine counts them against its limits.

        Nothing is compressed, and every value counts with a byte of mask: 48 bands of 512 x 256 doubles are
        56,623,104 bytes (https://github.com/google/Xee/issues/50).
        """
        return self.pixels * bands * (np.dtype(dtype).itemsize + 1)


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Content that belongs to one window of a grid.

    Attributes:
        window: position in the grid.
        content: any object.
    """

    window: Window
    content: T


@dataclass(frozen=True, slots=True)
class Grid:
    """A rectangle of pixels.

    Attributes:
        crs: code ("EPSG:26913", "SR-ORG:6974") or WKT, as Earth Engine takes it.
        transform: maps pixel corners (column, row) to CRS coordinates (x, y); see ``Transform``.
        width: columns, at least 1.
        height: rows, at least 1.

    Raises:
        ValueError: if the size is not positive, or the transform is not finite or not invertible.
    """

    crs: str
    transform: Transform
    width: int
    height: int

    def __post_init__(self) -> None:
        if not self.crs:
            raise ValueError("a grid needs a CRS")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a grid needs at least one pixel, not {self.width}x{self.height}")
        a, b, _, d, e, _ = self.transform
        if not all(math.isfinite(value) for value in self.transform) or a * e - b * d == 0:
            raise ValueError(f"not an invertible transform: {self.transform}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns: the shape of this grid's arrays."""
        return self.height, self.width

    @property
    def affine(self) -> Affine:
        """The transform as rasterio takes it."""
        return Affine(*self.transform)

    @property
    def resolution(self) -> tuple[float, float]:
        """Edges of a pixel along columns and along rows, in CRS units, positive."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(a, d), math.hypot(b, e)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Minimum x, minimum y, maximum x, maximum y of the four corners, in CRS units."""
        corners = [self.xy(*c) for c in ((0, 0), (self.width, 0), (0, self.height), (self.width, self.height))]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def xy(self, column: float, row: float) -> tuple[float, float]:
        """Return CRS coordinates of a place in pixels; whole numbers are pixel corners, ``+ 0.5`` is a centre."""
        a, b, c, d, e, f = self.transform
        # The order of the terms is affine's, so that windows agree with rasterio's to the last bit.
        return a * column + b * row + c, d * column + e * row + f

    def pixel(self, x: float, y: float) -> tuple[Fraction, Fraction]:
        """Return the exact column and row of a place in the CRS.

        Floats are rational numbers, and so is the inverse of the transform. Computed with fractions, a place on a
        pixel's edge stays on the edge, even with large coordinates.
        """
        a, b, c, d, e, f = map(Fraction, self.transform)
        dx, dy = Fraction(x) - c, Fraction(y) - f
        determinant = a * e - b * d
        return (e * dx - b * dy) / determinant, (a * dy - d * dx) / determinant

    def north_up(self) -> Grid:
        """Return the same pixels with their rows from north to south: pictures have no transform, and readers of arrays
        expect north at the top. A rotated grid stays as it is.
        """
        a, b, c, d, e, f = self.transform
        if b or d or e < 0:
            return self
        return Grid(self.crs, (a, b, c, d, -e, f + e * self.height), self.width, self.height)

    def window(self, column: int, row: int, width: int, height: int) -> Grid:
        """Return the grid of a rectangle of this grid's pixels, which may extend beyond this grid.

        Args:
            column: first column.
            row: first row.
            width: columns.
            height: rows.
        """
        a, b, _, d, e, _ = self.transform
        x, y = self.xy(column, row)
        return Grid(self.crs, (a, b, x, d, e, y), width, height)

    def snap_around(self, x: float, y: float, size: tuple[int, int]) -> Grid:
        """Return the window of this grid's pixels whose centre is nearest to a place.

        Distance is measured along the grid's axes, in pixels. Windows of even size are centred on a pixel corner,
        windows of odd size on the centre of the pixel that contains the place. Of two equally near windows, that with
        the greater column (or row) is returned. The window may extend beyond this grid.

        Args:
            x: CRS coordinate.
            y: CRS coordinate.
            size: width and height of the window in pixels.
        """
        width, height = size
        column, row = self.pixel(x, y)
        first_column = math.floor(column - Fraction(width - 1, 2))
        first_row = math.floor(row - Fraction(height - 1, 2))
        return self.window(first_column, first_row, width, height)

    def to_pixel_grid(self) -> dict[str, Any]:
        """Return the ``PixelGrid`` of Earth Engine's REST interface.

        https://developers.google.com/earth-engine/reference/rest/v1/PixelGrid
        """
        a, b, c, d, e, f = self.transform
        crs = service_crs(self.crs)
        return {
            "dimensions": {"width": self.width, "height": self.height},
            "affineTransform": {"scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e, "translateY": f},
            "crsCode" if _CODE.fullmatch(crs) else "crsWkt": crs,
        }

    def to_json(self) -> dict[str, Any]:
        """Return a small JSON value, which ``from_json`` reads back unchanged: {crs, transform, width, height}."""
        return {"crs": self.crs, "transform": list(self.transform), "width": self.width, "height": self.height}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Grid:
        """Read the value of :meth:`to_json`.

        Raises:
            KeyError: if a part is missing.
            ValueError: if it is not a grid.
        """
        try:
            a, b, c, d, e, f = (float(number) for number in value["transform"])
            return cls(str(value["crs"]), (a, b, c, d, e, f), int(value["width"]), int(value["height"]))
        except OverflowError as error:  # of an infinite size, or a number beyond doubles
            raise ValueError(f"not a grid: {error}") from None

    @classmethod
    def of_band(cls, band: Mapping[str, Any]) -> Grid:
        """Return the grid of a band, as Earth Engine describes it in the JSON of an image; of one pixel without a size.

        Raises:
            KeyError: if a part is missing.
        """
        a, b, c, d, e, f = (float(number) for number in band["crs_transform"])
        width, height = map(int, band.get("dimensions") or (1, 1))
        column, row = map(int, band.get("origin") or (0, 0))
        grid = cls(band.get("crs") or band["crs_wkt"], (a, b, c, d, e, f), width, height)
        return grid.window(column, row, width, height)


def _halves(length: int, least: int) -> tuple[tuple[int, int], ...]:
    """Return start and length of the halves of a length, or of the whole if a half would be shorter than ``least``."""
    half = length // 2
    return ((0, length),) if half < least else ((0, half), (half, length - half))


# Earth Engine counts a degree as a degree of the WGS84 equator: ee.Projection("EPSG:4326").nominalScale().
METRES_PER_DEGREE = 6_378_137.0 * math.pi / 180.0


def nominal_scale(grid: Grid) -> float:
    """Return the edge of a grid's pixels in metres, as ``ee.Projection.nominalScale`` does."""
    a, b, _, d, e, _ = grid.transform
    return math.sqrt(abs(a * e - b * d)) * metres_per_unit(_parsed(grid))


def metres_per_unit(crs: CRS) -> float:
    """Return the length of a CRS's unit in metres, as Earth Engine converts it."""
    return METRES_PER_DEGREE if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor)


TURN = 360
"""Degrees of longitude around the Earth."""


def wrap_longitude(grid: Grid) -> Grid:
    """Move a window of degrees beyond the antimeridian by 360 degrees, to where the service expects it."""
    a, b, c, d, e, f = grid.transform
    centre = grid.xy(grid.width / 2, grid.height / 2)[0]
    turns = math.floor((centre + TURN / 2) / TURN) if _parsed(grid).is_geographic else 0
    return Grid(grid.crs, (a, b, c - TURN * turns, d, e, f), grid.width, grid.height) if turns else grid


def antimeridian_columns(grid: Grid) -> tuple[int, ...]:
    """Return the columns of a grid in degrees at which an antimeridian begins: the first centre on it or beyond.

    These are the columns of 180 degrees, and of -180 degrees for a grid that begins before it; none for other grids.
    """
    a, b, c, _, _, _ = grid.transform
    if b != 0.0 or a <= 0.0 or not _parsed(grid).is_geographic:
        return ()
    columns = (math.ceil((edge - Fraction(c)) / Fraction(a) - Fraction(1, 2)) for edge in (-TURN // 2, TURN // 2))
    return tuple(column for column in columns if 0 < column < grid.width)


def columns_around_earth(grid: Grid) -> int | None:
    """Return how many columns of a grid in degrees go around the Earth; None if no whole number does."""
    a, b, *_ = grid.transform
    if b != 0.0 or a <= 0.0 or not _parsed(grid).is_geographic:
        return None
    columns = TURN / a
    return round(columns) if abs(columns - round(columns)) < 1e-6 * columns else None


def _parsed(grid: Grid) -> CRS:
    from eechips.geo.crs import parse_crs  # pyproj, for which workers of windows have no memory

    return parse_crs(grid.crs)
