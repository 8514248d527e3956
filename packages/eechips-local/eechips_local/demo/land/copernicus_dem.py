"""COPERNICUS/DEM/GLO30 and GLO30_2024_1: heights of the surface, trees and houses included, 30 m.

Bands, classes and dates: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_DEM_GLO30_2024_1. Tiles
and the width of their pixels by latitude:
https://dataspace.copernicus.eu/sites/default/files/media/files/2024-06/geo1988-copernicusdem-spe-002_producthandbook_i5.0.pdf
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import ImageSearch, is_in_time, query_boxes
from eechips_local.demo.land import elevation, ground_cover, landcover
from eechips_local.demo.painting import upsampling
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import PaintedSource, Rounded
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.geometry.longitude_boxes import split_bounds
from eechips_local.pixels.grids.pixel_grid import PixelGrid

BANDS = (("DEM", "float32"), ("EDM", "uint8"), ("FLM", "uint8"), ("HEM", "float32"), ("WBM", "uint8"))
_ROWS = 3600  # of a degree
# Latitude up to which pixels have that many seconds of longitude.
_WIDTHS = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0))
_TREES, _HOUSES = 14.0, 6.0
"""Metres by which closed forests and dense towns rise above the ground."""

# Water by the codes of WBM: none, ocean, lake, river; as EDM and FLM have it.
_EDITED, _FILLED = (1, 8, 9, 10), (2, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class SurfaceHeights(Rounded):
    """Height of the surface, how it was edited and filled, its error, and water."""

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        ground = ground_cover.ground(rect, date(2013, 7, 1))
        land, up = ground.terrain, upsampling.Upsampler(rect, ground.terrain.rect)
        parts = landcover.shares(ground)
        coast, lake = up(land.character("coast")), up(land.lake)
        wet = landcover.fraction(parts, "water") > 0.5
        water = np.select([coast <= 0.0, wet & (lake > -0.02), wet], [1, 2, 3], default=0)
        over = landcover.fraction(parts, "tree") * np.float32(_TREES)
        if ground.houses is not None:
            over = over + ground.houses * np.float32(_HOUSES)
        height = np.maximum(up(land.height), 0.0) + over * ~wet
        known = (
            np.where(water == 1, 0.0, height),
            np.array(_EDITED)[water],
            np.array(_FILLED)[water],
            np.where(water == 0, 0.35 + 2.5 * up(land.slope), 0.0),
            water,
        )
        return np.stack([known[band] for band in bands]).astype(np.float32), None


@dataclass(frozen=True, slots=True, order=True)
class Degree:
    """A tile: latitude and longitude of its south-western corner, degrees."""

    south: int
    west: int

    @property
    def name(self) -> str:
        """As in ``system:index``."""
        latitude = f"{'S' if self.south < 0 else 'N'}{abs(self.south):02d}_00"
        return f"Copernicus_DSM_10_{latitude}_{'W' if self.west < 0 else 'E'}{abs(self.west):03d}_00"

    @property
    def grid(self) -> PixelGrid:
        """Pixels of a second of latitude; centres lie on all edges, as in the DGED files that Earth Engine has.

        The sizes are those that Xee recorded (xee/ext_integration_test.py) and that the files' own have:
        https://copernicus-dem-30m.s3.amazonaws.com/readme.html.
        """
        away = max(abs(self.south), abs(self.south + 1))
        wide = next(seconds for limit, seconds in _WIDTHS if away <= limit) / 3600.0
        high = 1.0 / _ROWS
        corner = (self.west - wide / 2.0, self.south + 1 + high / 2.0)
        columns, rows = round(1.0 / wide) + 1, _ROWS + 1
        return PixelGrid("EPSG:4326", Affine(wide, 0.0, corner[0], 0.0, -high, corner[1]), columns, rows)


@cache
def _degrees() -> Mapping[str, Degree]:
    """Return all tiles with land by name, in the order of names."""
    rows, columns = np.nonzero(elevation.tiles())
    land_degrees = [Degree(int(row) - 90, int(column) - 180) for row, column in zip(rows, columns, strict=True)]
    return {degree.name: degree for degree in sorted(land_degrees, key=lambda degree: degree.name)}


@dataclass(frozen=True, slots=True)
class CopernicusDem(ImageSearch):
    """A ``CollectionAsset`` of tiles of a degree.

    Attributes:
        id: the full Earth Engine id.
        title: as in the catalogue.
        span: start and end of all images, milliseconds.
        extra: more properties of every image.
    """

    id: str
    title: str
    span: tuple[int, int]
    extra: tuple[tuple[str, Any], ...] = ()

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.marked({"title": self.title, "date_range": list(self.span)})

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """See ``CollectionAsset.images``."""
        if is_in_time(self.span[0], query):
            yield from ImageSearch.images(self, query)

    def times(self, query: Query) -> Sequence[float]:
        """See ``Dated.times``."""
        return [self.span[0]] if is_in_time(self.span[0], query) else []

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        for degree in _degrees().values() if query.bounds is None else _near(query.bounds):
            yield self._image(degree)

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        degree = _degrees().get(index)
        return self._image(degree) if degree is not None else None

    def _image(self, degree: Degree) -> ImageAsset:
        grid = degree.grid
        sources = {dtype: PaintedSource(grid, SurfaceHeights(), dtype, dtype == "float32") for _, dtype in BANDS}
        properties = {
            "system:index": degree.name,
            "system:time_start": self.span[0],
            "system:time_end": self.span[1],
            **dict(self.extra),
        }
        bands = tuple(
            BandInfo(name, PixelType.of(dtype), grid, sources[dtype], n) for n, (name, dtype) in enumerate(BANDS)
        )
        return synthetic_label.image(self.id, bands, properties, shapely.box(*grid.bounds))


def _near(bounds: tuple[float, float, float, float]) -> list[Degree]:
    """Return tiles that may meet bounds, in the order of their names."""
    _, south, _, north = bounds
    known = _degrees()
    # Tiles reach half a pixel beyond their degree.
    margin = 0.01
    columns = {
        (column + 180) % 360 - 180
        for part in split_bounds(bounds)
        for column in range(math.floor(part[0] - margin), math.floor(part[2] + margin) + 1)
    }
    rows = range(max(-90, math.floor(south - margin)), min(89, math.floor(north + margin)) + 1)
    candidates = [Degree(row, column) for row in rows for column in columns]
    near = [degree for degree in candidates if degree.name in known]
    boxes = query_boxes(bounds)
    kept = [degree for degree in near if any(shapely.box(*degree.grid.bounds).intersects(box) for box in boxes)]
    return sorted(kept, key=lambda degree: degree.name)


def collections() -> tuple[CopernicusDem, CopernicusDem]:
    """Return the deprecated collection and its successor."""
    first = synthetic_label.millis(2010, 12, 1)
    return (
        CopernicusDem(
            "COPERNICUS/DEM/GLO30",
            "Copernicus DEM GLO-30: Global 30m Digital Elevation Model [deprecated]",
            (first, synthetic_label.millis(2015, 1, 31)),
        ),
        CopernicusDem(
            "COPERNICUS/DEM/GLO30_2024_1",
            "Copernicus DEM GLO-30 (2024_1): Global 30m Digital Elevation Model",
            (first, synthetic_label.millis(2020, 11, 13)),
            (("tile_version", "02"),),
        ),
    )
