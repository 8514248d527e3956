"""Define pixel grids (a CRS, an affine transform and a size), and parse a CRS: EPSG and SR-ORG codes, WKT, codes that
are unknown.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from eechips_local.assets.vectors.vector_formats import RefusedFileError, check_crs

Floats = npt.NDArray[np.float64]

# The sinusoidal grid of MODIS has no EPSG code; Earth Engine names it SR-ORG:6974.
# Sphere radius and parameters: MODIS Land, "MODIS grids", https://modis-land.gsfc.nasa.gov/MODLAND_grid.html.
# SR-ORG:6627: "the Google Maps Mercator projection", developers.google.com/earth-engine/apidocs/export-video-todrive.
_SR_ORG = {
    "SR-ORG:6974": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs",
    "SR-ORG:6842": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs",
    "SR-ORG:6627": "EPSG:3857",
}


_NOT_PARSED = "The CRS of a map projection could not be parsed."

# Projections of this many descriptions are kept: clients may send any number of different ones.
_REMEMBERED = 512


_NAME = re.compile(r"\s*([a-z][\w-]*:\w+|urn:[\w.:-]+|[a-z]\w*\s*[\[(].*)\s*", re.DOTALL | re.IGNORECASE)
"""A code, a URN, or WKT."""

UNKNOWN_CODES = frozenset({"EPSG:6933"})
"""Codes that Earth Engine does not know (github.com/google/earthengine-community/issues/971), though it takes their
WKT (github.com/openforis/sepal, ``samplingGridCrs.js``).
"""


def code_of(crs: str) -> str | None:
    """Return the code that Earth Engine prints of a CRS; None where it prints WKT."""
    return crs if ":" in crs and "[" not in crs and "(" not in crs and crs not in UNKNOWN_CODES else None


class UnknownCrsError(ValueError):
    """A CRS that neither PROJ nor the table of SR-ORG codes knows."""


def named_crs(name: str) -> CRS:
    """Return the pyproj CRS that a client names: by a code or as WKT, the two that Google documents.

    https://developers.google.com/earth-engine/apidocs/ee-projection, and PixelGrid of the REST reference. Users report
    that PROJ strings are refused; WKT may contain one. URNs are taken as well, as GeoJSON has them.

    Raises:
        UnknownCrsError: if it is neither, cannot be understood, or has no place on Earth.
    """
    if not _NAME.fullmatch(name) or _is_unknown(name):
        raise UnknownCrsError(_NOT_PARSED)
    transformer(name.strip(), "EPSG:4326")
    return parse_crs(name.strip())


@lru_cache(_REMEMBERED)
def _is_unknown(name: str) -> bool:
    """Return whether a code, in whatever spelling, is one that Earth Engine does not know."""
    if "[" in name or "(" in name:
        return False
    return f"EPSG:{parse_crs(name.strip()).to_epsg(100)}" in UNKNOWN_CODES


@lru_cache(_REMEMBERED)
def parse_crs(crs: str) -> CRS:
    """Return the pyproj CRS of an ``EPSG:``/``SR-ORG:`` code, WKT or PROJ string.

    Raises:
        UnknownCrsError: if it cannot be understood, or names a file.
    """
    try:
        check_crs(crs)
        return CRS.from_user_input(_SR_ORG.get(crs, crs))
    except (CRSError, RefusedFileError) as error:
        raise UnknownCrsError(_NOT_PARSED) from error


@lru_cache(_REMEMBERED)
def _are_same_plane(one: str, other: str) -> bool:
    """Return whether two CRS are equal but for names and the order of axes, as EPSG:3857 and ESRI:102100."""
    return one == other or parse_crs(one).equals(parse_crs(other), ignore_axis_order=True)


@lru_cache(_REMEMBERED)
def metres_per_unit(crs: str) -> float:
    """Return metres in one unit of a CRS's axes.

    A degree counts as 111,319.49079327358 m, the length of a degree of the WGS84 equator: that is how
    Earth Engine turns scales into degrees (``ee.Projection('EPSG:4326').nominalScale()``).
    """
    parsed = parse_crs(crs)
    if parsed.is_geographic:
        return 6_378_137.0 * math.pi / 180.0
    return float(parsed.axis_info[0].unit_conversion_factor) if parsed.axis_info else 1.0


@lru_cache(_REMEMBERED)
def transformer(source: str, target: str) -> Transformer:
    """Return a pyproj transformer with x, y (longitude, latitude) axis order on both sides.

    Raises:
        UnknownCrsError: if one of them is none, or nothing leads between them, as from a local one.
    """
    try:
        return Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)
    except ProjError as error:
        raise UnknownCrsError(_NOT_PARSED) from error


def apply(transform: Affine, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Apply an affine transform to arrays of coordinates."""
    t = transform
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """A rectangle of pixels.

    Attributes:
        crs: code or WKT, as Earth Engine would print it.
        transform: maps pixel corners (column, row) to CRS coordinates (x, y).
        width: columns.
        height: rows.
    """

    crs: str
    transform: Affine
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns: the shape of this grid's arrays."""
        return self.height, self.width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least x, least y, greatest x, greatest y in CRS units."""
        # Written out: a product of Affine objects takes 30 times as long, and an image is made of many grids.
        a, b, c, d, e, f = self.transform[:6]
        columns, rows = (0, self.width), (0, self.height)
        xs = [i * a + j * b + c for j in rows for i in columns]
        ys = [i * d + j * e + f for j in rows for i in columns]
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def short_crs(self) -> str:
        """The CRS as messages show it."""
        return self.crs if len(self.crs) < 20 else "a CRS without a code"

    def lies_on(self, other: PixelGrid, pixels: float) -> bool:
        """Return whether the corners are those of another grid of this size, to a share of its pixels."""
        if ":" in self.crs and ":" in other.crs and not _are_same_plane(self.crs, other.crs):
            return False
        t = other.transform
        edge = min(abs(t.a) + abs(t.b), abs(t.d) + abs(t.e))
        columns, rows = np.array([0.0, self.width, 0.0]), np.array([0.0, 0.0, self.height])
        corners = zip(apply(self.transform, columns, rows), apply(t, columns, rows), strict=True)
        return all(bool((np.abs(a - b) <= pixels * edge).all()) for a, b in corners)

    @property
    def nominal_scale(self) -> float:
        """Edge of a pixel in metres, as ``ee.Projection.nominalScale`` gives it."""
        t = self.transform
        edge = math.sqrt(abs(t.a * t.e - t.b * t.d))
        return edge * metres_per_unit(self.crs)

    def window(self, column: int, row: int, width: int, height: int) -> PixelGrid:
        """Return the sub-grid that starts at (column, row); it may reach outside this grid."""
        a, b, c, d, e, f = self.transform[:6]
        moved = Affine(a, b, a * column + b * row + c, d, e, d * column + e * row + f)
        return PixelGrid(self.crs, moved, width, height)

    def around(self, pixels: int) -> PixelGrid:
        """Return the grid with so many more pixels on each side."""
        return self.window(-pixels, -pixels, self.width + 2 * pixels, self.height + 2 * pixels)

    def level(self, factor: int, *, keeps_extent: bool = True) -> PixelGrid:
        """Return the grid of the pyramid level that is decimated by ``factor``. Sizes are rounded up.

        Args:
            keeps_extent: whether the pixels are stretched so that the extent is kept, as in GDAL's overviews; else
                each covers a block of factor x factor pixels, as in Earth Engine's pyramids
                (https://developers.google.com/earth-engine/guides/scale), and those of the last column and row may
                reach outside the extent.
        """
        if factor == 1:
            return self
        width, height = math.ceil(self.width / factor), math.ceil(self.height / factor)
        edges = (self.width / width, self.height / height) if keeps_extent else (factor, factor)
        return PixelGrid(self.crs, self.transform @ Affine.scale(*edges), width, height)

    def stretched(self, width: int, height: int) -> PixelGrid:
        """Return a grid of other numbers of columns and rows with the same extent."""
        scale = Affine.scale(self.width / width, self.height / height)
        return PixelGrid(self.crs, self.transform @ scale, width, height)
