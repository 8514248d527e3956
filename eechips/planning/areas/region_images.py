"""Find the images and the pixel grid of each of many regions."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import ee
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.client.chip_parameters import grid_rectangle
from eechips.errors import RegionError
from eechips.geo.crs import parse_crs, unproject
from eechips.geo.ellipsoid import Geometries
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid, metres_per_unit
from eechips.geo.polygons import enlarge_bounds, region_centre
from eechips.planning.areas.region_overlaps import Overlap
from eechips.planning.areas.regions import planar_geometry
from eechips.planning.areas.separate_regions import SeparateRegions
from eechips.planning.grid_alignment import GridAlignment, cover_region
from eechips.planning.imagery import inventory
from eechips.planning.imagery.inventory import Scene, SceneQuery
from eechips.planning.planning_requests import request_each
from eechips.text.formatting import format_count

MOST_REGIONS = 100
"""Maximum regions of a planning request."""

_AT_ONCE = 1000  # regions whose images are in memory
_CELL = 1.0  # degrees: regions of a request are in one cell
_BODY = 5_000_000  # bytes of the polygons of a request
_BYTES_PER_VERTEX = 30
_NEAR = 1e-4  # degrees, added to boxes in which images are listed: 11 m
_SMALL = 64  # pixels of a grid in which a region may contain no pixel's centre
_SHOWN = 5  # regions that a message names
_PHASES = 1_000_000  # parts of a pixel to which origins of grids are compared

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegionScenes:
    """The images of a region on one pixel grid.

    Attributes:
        region: id of the region.
        grid: its pixels, the same for all images.
        scenes: images that meet the region, by time.
        native: CRS and transform of most of the images.
    """

    region: str | int | float
    grid: Grid
    scenes: tuple[Scene, ...]
    native: Grid

    def is_native(self, scene: Scene) -> bool:
        """Return whether the pixels of an image coincide with those of :attr:`native`."""
        return _phase(scene.grid) == _phase(self.native)


def find_region_scenes(query: SceneQuery, regions: SeparateRegions, alignment: GridAlignment) -> Iterator[RegionScenes]:
    """Find the images that meet each region, and the grid of its pixels: two requests or more for 100 regions.

    The grid covers the region and its margin. By default its pixels are those of most images of the region.

    Args:
        query: the images, anywhere on the Earth, with the band whose grid they are described by.
        regions: the regions; those near each other are yielded together. Those without images are left out, which is
            logged.

    Raises:
        RegionError: if a region is not within the area of the CRS.
    """
    geometries = regions.zones.geometries
    assert geometries is not None
    placement = alignment.resolved()
    missing = []
    for numbers in _nearby(geometries):
        for number, scenes in zip(numbers.tolist(), _find(query, geometries[numbers], None), strict=True):
            region = regions.zones.ids[number]
            placed = place_region(regions, region, scenes, placement)
            if placed is None:
                missing.append(region)
            else:
                yield placed
    warn_of_missing(missing)


def place_region(
    regions: SeparateRegions, region: str | int | float, scenes: Sequence[Scene], placement: GridAlignment
) -> RegionScenes | None:
    """Return the grid of one of several regions, with its margin; see :func:`place_scenes`.

    Raises:
        RegionError: if the region is not within the area of the CRS; the message names it.
    """
    try:
        return place_scenes(region, regions.polygon_of(region), scenes, placement, regions.margin)
    except RegionError as error:
        raise RegionError(f"region {region}: {error}") from error


def warn_of_missing(regions: Sequence[object]) -> None:
    """Log the ids of regions that no image shows."""
    if regions:
        _log.warning("%s without an image: %s", format_count(len(regions), "region"), _names(regions))


def find_grid_scenes(query: SceneQuery, places: Iterator[RegionScenes]) -> Iterator[RegionScenes]:
    """Replace the images that meet regions by those that meet the grids of their pixels."""
    while batch := list(itertools.islice(places, _AT_ONCE)):
        yield from _with_grid_scenes(query, batch)


class RegionPlace(Protocol):
    """A region and its pixel grid."""

    @property
    def region(self) -> Any:
        """Id of the region."""

    @property
    def grid(self) -> Grid:
        """Its pixels."""


Placed = TypeVar("Placed", bound=RegionPlace)


def warn_of_small(regions: SeparateRegions, places: Iterator[Placed]) -> Iterator[Placed]:
    """Pass regions on, and log those that contain no centre of a pixel: clipped to them, an image is empty."""
    small = []
    for place in places:
        if place.grid.width * place.grid.height <= _SMALL and not _has_centre(
            place.grid, regions.polygon_of(place.region)
        ):
            small.append(place.region)
        yield place
    if small:
        _log.warning(
            "%s without the centre of a pixel inside: clipped to them, files have no data: %s. Leave `clip` out, or"
            " take a smaller `scale`",
            format_count(len(small), "region"),
            _names(small),
        )


def _with_grid_scenes(query: SceneQuery, places: Sequence[RegionScenes]) -> Iterator[RegionScenes]:
    grids = [place.grid for place in places]
    outlines = footprints(grids)
    for place, scenes in zip(places, _find(query, outlines, grids), strict=True):
        yield replace(place, scenes=tuple(scenes))


def _nearby(shapes: Geometries) -> Iterator[npt.NDArray[np.int_]]:
    """Yield indices of shapes, at most ``_AT_ONCE``, in the order of cells of a degree."""
    bounds = shapely.bounds(shapes)
    column, row = np.floor((bounds[:, :2] + bounds[:, 2:]).T / 2 / _CELL)
    order = np.lexsort((column, row))
    for start in range(0, len(order), _AT_ONCE):
        yield order[start : start + _AT_ONCE]


def _find(query: SceneQuery, shapes: Geometries, grids: Sequence[Grid] | None) -> Iterator[list[Scene]]:
    """Yield the images that meet each shape, or each grid if there are grids, by time."""

    def ask(numbers: Sequence[int]) -> list[list[Scene]]:
        near = query.over(planar_geometry(_boxes(shapes[list(numbers)])))
        places = [planar_geometry(shapes[n]) if grids is None else grid_rectangle(grids[n]) for n in numbers]

        def list_indices(place: object) -> ee.ComputedObject:
            return near.over(ee.Geometry(place)).collection.aggregate_array("system:index")

        indices: Any = ee.List(places).map(list_indices).getInfo()
        if not any(indices):
            return [[] for _ in numbers]
        scenes = inventory.list_scenes(near)
        return [[scene for scene in scenes if scene.index in some] for some in map(frozenset, indices)]

    costs = (shapely.get_num_coordinates(shapes) * (_BYTES_PER_VERTEX / _BODY)).tolist()
    cure = "`start` and `end` that are nearer to each other, or regions with simpler outlines"
    yield from request_each(range(len(shapes)), ask, size=MOST_REGIONS, costs=costs, noun="regions", cure=cure)


def _boxes(shapes: Geometries) -> BaseGeometry:
    """Return the union of boxes around the parts of shapes, slightly enlarged."""
    bounds = enlarge_bounds(shapely.bounds(shapely.get_parts(shapes)), _NEAR)
    return shapely.union_all(shapely.box(*bounds.T))


def place_scenes(
    region: str | int | float,
    shape: BaseGeometry,
    scenes: Sequence[Scene],
    placement: GridAlignment,
    margin: float = 0.0,
) -> RegionScenes | None:
    """Return the grid of a region and the images that show it; None if there are none.

    Args:
        region: id of the region.
        shape: its polygons in longitude and latitude.
        scenes: images near it, by time.
        margin: metres around the region.

    Raises:
        RegionError: if the region is not within the area of the CRS.
    """
    overlap = Overlap(shape, placement)
    shown = tuple(
        scene for scene in scenes if not scene.is_bounded or overlap.window(scene.grid, is_bounded=True) is not None
    )
    if not shown:
        return None
    alike: dict[object, list[Grid]] = defaultdict(list)
    for scene in shown:
        alike[_phase(scene.grid)].append(scene.grid)
    (phase, _), *_ = Counter({phase: len(some) for phase, some in alike.items()}).most_common(1)
    native = alike[phase][0]
    return RegionScenes(region, region_grid(shape, placement, native, margin), shown, native)


def region_grid(shape: BaseGeometry, placement: GridAlignment, native: Grid, margin: float) -> Grid:
    """Return the pixels of a region and its margin.

    Args:
        shape: its polygons in longitude and latitude.
        native: pixel grid of an image.
        margin: metres around the region.

    Raises:
        RegionError: if the region is not within the area of the CRS.
    """
    centre = region_centre(shape)
    return _widened(cover_region(placement.base_grid(native, centre), shape), margin, centre[1])


def _phase(grid: Grid) -> tuple[object, ...]:
    """Return what grids have in common whose pixels coincide."""
    a, b, _, d, e, _ = grid.transform
    column, row = (round(float(place % 1) * _PHASES) % _PHASES for place in grid.pixel(0.0, 0.0))
    return grid.crs, a, b, d, e, column, row


def _widened(grid: Grid, margin: float, latitude: float) -> Grid:
    """Return a grid with more pixels on all sides: at least ``margin`` metres."""
    if margin == 0.0:
        return grid
    crs = parse_crs(grid.crs)
    width, height = (edge * metres_per_unit(crs) for edge in grid.resolution)
    if crs.is_geographic:
        width *= math.cos(math.radians(latitude))
    columns, rows = math.ceil(margin / width - 1e-6), math.ceil(margin / height - 1e-6)
    return grid.window(-columns, -rows, grid.width + 2 * columns, grid.height + 2 * rows)


def _has_centre(grid: Grid, polygon: BaseGeometry) -> bool:
    """Return whether the centre of a pixel of a small grid is in a polygon."""
    centres = [grid.xy(column + 0.5, row + 0.5) for row in range(grid.height) for column in range(grid.width)]
    return bool(shapely.contains_xy(polygon, *unproject(grid.crs, centres).T).any())


def _names(regions: Sequence[object]) -> str:
    more = f" and {len(regions) - _SHOWN:,} more" if len(regions) > _SHOWN else ""
    return ", ".join(map(str, regions[:_SHOWN])) + more
