"""Decide where the pixels of chips, scenes and mosaics lie (``crs``, ``scale``, ``grid``): each is a window of a base
grid. Refuse places where a CRS has no coordinates.

A base grid is a :class:`~eechips.geo.grid.Grid` whose size is ignored; its CRS and transform determine the pixel
corners. Pixels of rasters on the same base grid coincide exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError, UsageError
from eechips.geo.crs import find_utm_crs, parse_crs, project, utm_crs
from eechips.geo.ellipsoid import Floats
from eechips.geo.grid import Grid, Transform, metres_per_unit, nominal_scale
from eechips.geo.polygons import join_at_antimeridian, wrap_longitudes
from eechips.planning.asset_metadata import fetch_metadata

_UTM_REACH = 9.0
"""Degrees from a zone's central meridian within which UTM enlarges pixels by at most 1%."""
_PARTS = 100  # segments of a region's longer side, since straight edges are curved in another projection
_CLOSE = Fraction(1, 10**6)  # of a pixel: tolerance within which a bound is on a pixel corner
_LEAST_SCALE, _MOST_SCALE = 0.001, 40_075_017.0  # metres: a millimetre, and the circumference of the Earth
_NEIGHBOURS = 1.0  # units of a CRS: places within this distance are the same
_FARTHEST = 1e9
"""Largest coordinate in metres, 25 circumferences of the Earth: PROJ gives 4e23 for the pole opposite to a map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridAlignment:
    """The requested pixel grid.

    Attributes:
        crs: ``native`` for the source's own pixels, ``utm`` for the WGS84 UTM zone of the place, else a code or WKT.
            Pixel corners are at multiples of the scale, except for ``native``, which keeps the source's origin.
        scale: edge of a pixel in metres; None for the source's. Degrees are converted at the equator, as by
            ``ee.Projection.nominalScale``.
        align: id of an image whose pixel grid is used; excludes the other attributes.
        transform: exact transform of the base grid, in the units of ``crs``; excludes ``scale``, and requires a
            ``crs`` other than ``native`` and ``utm``.

    Raises:
        UsageError: if the attributes contradict each other.
    """

    crs: str = "native"
    scale: float | None = None
    align: str | None = None
    transform: Transform | None = None

    def __post_init__(self) -> None:
        others = {"`crs`": self.crs != "native", "`scale`": self.scale is not None}
        check_scale(self.scale)
        if self.align is not None:
            extra_options = [name for name, is_given in others.items() if is_given]
            if extra_options:
                raise UsageError(
                    f"grid='{self.align}' takes the pixels of an image as they are: leave {extra_options[0]} out"
                )
        if self.transform is not None:
            if self.scale is not None:
                raise UsageError("`grid` says how large a pixel is: leave `scale` out")
            if not self.is_fixed:
                raise UsageError("`grid` needs the coordinates that its numbers count in: as crs='EPSG:4326'")
            try:
                Grid(self.crs, self.transform, 1, 1)
            except ValueError as error:
                raise UsageError(f"`grid`: {error}") from None
        if self.is_fixed:
            parse_crs(self.crs)

    @property
    def is_native(self) -> bool:
        """Return whether pixels have the source's CRS and origin, perhaps at another scale."""
        return self.crs == "native" and self.align is None

    @property
    def is_stored(self) -> bool:
        """Return whether pixels are those of the source."""
        return self.is_native and self.scale is None

    @property
    def is_fixed(self) -> bool:
        """Return whether the CRS is given by code or WKT."""
        return self.crs not in ("native", "utm")

    @property
    def parameters(self) -> dict[str, object]:
        """Return a JSON value for run.json and the identity of the run."""
        transform = None if self.transform is None else list(self.transform)
        return {"crs": self.crs, "scale": self.scale, "align": self.align, "transform": transform}

    def resolved(self) -> GridAlignment:
        """Replace ``align`` by the CRS and transform of that image's first band, with north at the top.

        ``ee`` must be initialised.

        Raises:
            UnknownDatasetError: if there is no such image.
        """
        if self.align is None:
            return self
        grid = fetch_metadata(self.align).bands[0].grid.north_up()
        return replace(self, align=None, crs=grid.crs, transform=grid.transform)

    def base_grid(self, native: Grid, place: tuple[float, float]) -> Grid:
        """Return the base grid at a place.

        Args:
            native: the source's own grid; without one, any grid with the default scale.
            place: longitude and latitude in degrees.

        Raises:
            RegionError: if the place has no UTM zone.
        """
        if self.align is not None:
            raise UsageError("an alignment has to be resolved first")
        if self.transform is not None:
            return Grid(self.crs, self.transform, 1, 1)
        if self.crs == "native":
            return rescale_grid(native.north_up(), self.scale)
        scale = nominal_scale(native) if self.scale is None else self.scale
        return aligned_grid(find_utm_crs(*place) if self.crs == "utm" else self.crs, scale)


def check_scale(scale: float | None) -> None:
    """Check the edge of a pixel in metres; None is accepted.

    Raises:
        UsageError: if it is below a millimetre, or above the circumference of the Earth.
    """
    if scale is not None and not _LEAST_SCALE <= scale <= _MOST_SCALE:
        raise UsageError(f"`scale` must be {_LEAST_SCALE:g} to {_MOST_SCALE:,.0f} metres, not {scale:g}")


def choose_grid(grid: str | Sequence[float] | None, crs: str, scale: float | None) -> GridAlignment:
    """Return the pixel grid that options request.

    Args:
        grid: id of an image, or the six numbers of a transform, also as text; None for the source's grid.
        crs: see :class:`GridAlignment`.
        scale: see :class:`GridAlignment`.

    Raises:
        UsageError: if the grid is neither, or the options contradict each other.
    """
    if grid is None or (isinstance(grid, str) and "/" in grid):
        return GridAlignment(crs=crs, scale=scale, align=grid)
    try:
        a, b, c, d, e, f = map(float, grid.split(",") if isinstance(grid, str) else grid)
    except ValueError:
        raise UsageError(f"`grid` {grid!r} is neither the id of an image nor six numbers: A,B,C,D,E,F") from None
    return GridAlignment(crs=crs, scale=scale, transform=(a, b, c, d, e, f))


def aligned_grid(crs: str, scale: float) -> Grid:
    """Return a north-up grid of a CRS with pixel corners at multiples of the pixel's edge.

    Args:
        crs: code or WKT.
        scale: edge in metres; for a CRS in degrees, converted at the equator.
    """
    edge = scale / metres_per_unit(parse_crs(crs))
    return Grid(crs, (edge, 0.0, 0.0, 0.0, -edge, 0.0), 1, 1)


def rescale_grid(grid: Grid, scale: float | None) -> Grid:
    """Return a grid with pixels of another size, in metres, and the same origin and axes; None keeps the size."""
    a, b, c, d, e, f = grid.transform
    factor = 1.0 if scale is None else scale / nominal_scale(grid)
    return Grid(grid.crs, (a * factor, b * factor, c, d * factor, e * factor, f), 1, 1)


def cover_region(base_grid: Grid, region: BaseGeometry) -> Grid:
    """Return the smallest window of a base grid that contains a region.

    Args:
        base_grid: CRS and transform.
        region: polygons or points in longitude and latitude, with edges straight in that plane. Parts that touch the
            antimeridian from both sides are joined; in a CRS in degrees the window then extends beyond 180.

    Raises:
        RegionError: if the region is not within the area of the CRS.
    """
    crs = parse_crs(base_grid.crs)
    joined = join_at_antimeridian(region)
    west, south, east, north = shapely.bounds(joined)
    _refuse_far_from_zone(crs, west, east)
    step = max(east - west, north - south) / _PARTS
    points = shapely.get_coordinates(shapely.segmentize(joined, step) if step > 0 else joined)
    turns = np.floor((points[:, 0] + 180.0) / 360.0)
    xy = points
    if crs.to_epsg() != 4326:
        xy = project(base_grid.crs, points - np.column_stack([turns * 360.0, np.zeros(len(points))]))
        if crs.is_geographic:
            xy[:, 0] += turns * 360.0
        elif turns.any():
            _refuse_cut(base_grid.crs, (south + north) / 2.0)
    if not _are_coordinates(crs, xy):
        raise RegionError(f"the region reaches beyond where {base_grid.crs} has coordinates: choose another `crs`")
    return _window(base_grid, xy)


def snap_chip(grid: Grid, point: tuple[float, float], size: tuple[int, int]) -> Grid:
    """Return the window of a grid around a point.

    Args:
        grid: CRS and transform; the size is ignored.
        point: longitude and latitude in degrees.
        size: width and height in pixels.

    Raises:
        RegionError: if the pixel grid's CRS has no coordinates there.
    """
    crs = parse_crs(grid.crs)
    x, y = point if crs.to_epsg() == 4326 else project(grid.crs, [point])[0].tolist()
    if not _are_coordinates(crs, (x, y)):
        raise RegionError(f"{grid.crs} has no coordinates at {point[0]:g}, {point[1]:g}: choose another `crs`")
    return grid.snap_around(x, y, size)


def align_chip(placement: GridAlignment, native: Grid, point: tuple[float, float], size: tuple[int, int]) -> Grid:
    """Return the grid of a chip around a point, with a given grid alignment.

    Args:
        native: the source's own grid.
        point: longitude and latitude in degrees.
        size: width and height in pixels.

    Raises:
        RegionError: if the CRS does not reach there.
    """
    base_grid = placement.base_grid(native, point)
    if not placement.is_native:
        _refuse_far_from_zone(parse_crs(base_grid.crs), point[0], point[0])
    elif parse_crs(native.crs).is_geographic and point[0] < native.transform[2] - 180.0:
        # An image that begins more than 180 degrees east of the place, and shows it, crosses the antimeridian.
        point = (point[0] + 360.0, point[1])
    return snap_chip(base_grid, point, size)


def utm_grid(point: tuple[float, float], scale: float) -> Grid:
    """Return a grid for a point that no image contains: its UTM zone, pixel corners at multiples of the scale."""
    return aligned_grid(utm_crs(*point), scale)


def pixel_span(places: Sequence[Fraction]) -> tuple[int, int]:
    """Return the range of pixels along an axis that covers places.

    Args:
        places: pixel coordinates along the axis, as :meth:`eechips.geo.grid.Grid.pixel` returns them. Within a
            millionth of a pixel from a corner they are on the corner.

    Returns:
        First pixel, and the one after the last; equal if all places are at one corner.
    """
    return math.floor(min(places) + _CLOSE), math.ceil(max(places) - _CLOSE)


def _are_coordinates(crs: CRS, xy: npt.ArrayLike) -> bool:
    """Return whether a CRS has such coordinates: finite ones, not farther away than any map of the Earth extends."""
    return bool((np.abs(xy) * metres_per_unit(crs) <= _FARTHEST).all())  # NaN is not


def _refuse_far_from_zone(crs: CRS, west: float, east: float) -> None:
    if crs.utm_zone is None:
        return
    meridian = 6.0 * int(crs.utm_zone[:-1]) - 183.0
    reach = max(abs(wrap_longitudes(longitude - meridian)) for longitude in (west, east))
    if reach > _UTM_REACH:
        raise RegionError(
            f"the region reaches {reach:.1f} degrees from the middle of UTM zone {crs.utm_zone}, where a pixel is no "
            "longer as large as it says: divide it, or choose another `crs`"
        )


def _refuse_cut(crs: str, latitude: float) -> None:
    """Raise RegionError for a CRS that ends at the antimeridian."""
    sides = project(crs, [(180.0 - 1e-9, latitude), (-180.0 + 1e-9, latitude)])
    if not np.isfinite(sides).all() or float(np.abs(sides[0] - sides[1]).max()) > _NEIGHBOURS:
        raise RegionError(f"the region crosses the antimeridian, where {crs} ends: choose crs='utm' or crs='EPSG:4326'")


def _window(base_grid: Grid, xy: Floats) -> Grid:
    (west, south), (east, north) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
    corners = [base_grid.pixel(x, y) for x in (west, east) for y in (south, north)]
    (column, end_column), (row, end_row) = map(pixel_span, zip(*corners, strict=True))
    return base_grid.window(column, row, max(1, end_column - column), max(1, end_row - row))
