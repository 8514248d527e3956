"""Tiles of the satellite embeddings: squares of 163,840 m in each zone of UTM.

Size and zones: https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_SATELLITE_EMBEDDING_V1_ANNUAL. Where
they begin is our own choice: at multiples of their size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.demo.borders import tessellation
from eechips_local.demo.image_search import query_boxes
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.painted_source import outline_around, to_degrees
from eechips_local.evaluation.asset_model import Bounds
from eechips_local.pixels.grids.pixel_grid import PixelGrid

EDGE = 163_840
_PIXEL = 10
_PIXELS = EDGE // _PIXEL
_SOUTH, _NORTH = -56.0, 82.0
_SEA = -12_000.0
"""Units out at sea up to which there are embeddings."""

_FAR = -135_000.0
"""Metres: a tile whose middle is farther out at sea has no land."""


@dataclass(frozen=True, slots=True, order=True)
class EmbeddingTile:
    """A tile.

    Attributes:
        zone: zone of UTM.
        southern: whether northings count from the south.
        column: tiles of easting west of it.
        row: tiles of northing south of it.
    """

    zone: int
    southern: bool
    column: int
    row: int

    @property
    def zone_name(self) -> str:
        """As the property ``UTM_ZONE`` says it: 13N."""
        return f"{self.zone:02d}{'S' if self.southern else 'N'}"

    @property
    def name(self) -> str:
        """As in ``system:index``."""
        return f"{self.zone_name}_{self.column:02d}_{self.row:03d}"

    @property
    def crs(self) -> str:
        """WGS 84 / UTM."""
        return f"EPSG:{(32700 if self.southern else 32600) + self.zone}"

    @property
    def grid(self) -> PixelGrid:
        """Pixels of 10 m."""
        x, y = self.column * float(EDGE), (self.row + 1) * float(EDGE)
        return PixelGrid(self.crs, Affine(_PIXEL, 0.0, x, 0.0, -_PIXEL, y), _PIXELS, _PIXELS)


@lru_cache(maxsize=8192)
def outline(tile: EmbeddingTile) -> shapely.Polygon:
    """Return a tile's outline in degrees; longitudes continue across the antimeridian."""
    west, south, east, north = tile.grid.bounds
    corners = [(west, north), (east, north), (east, south), (west, south)]
    return outline_around(tile.crs, corners, tile.zone * 6.0 - 183.0)


@cache
def _lands() -> tuple[tuple[EmbeddingTile, ...], shapely.STRtree]:
    """Return all tiles that have land and a part of their zone, and boxes around them in a tree."""
    land_tiles, boxes = [], []
    for zone in range(1, 61):
        for southern in (False, True):
            rows = range(22, 62) if southern else range(57)
            columns = range(6)
            tiles = [EmbeddingTile(zone, southern, column, row) for row in rows for column in columns]
            longitude, latitude = _samples(tiles, 1)
            unit = mercator.EQUATOR_UNIT * mercator.cosine_of(mercator.y_of(latitude))
            near = tessellation.inland(mercator.x_of(longitude), mercator.y_of(latitude)) * unit > _FAR
            tiles = [tile for tile, is_near in zip(tiles, near[:, 0].tolist(), strict=True) if is_near]
            if not tiles:
                continue
            longitude, latitude = _samples(tiles, 9)
            inland = tessellation.inland(mercator.x_of(longitude), mercator.y_of(latitude)) > _SEA
            meridian = zone * 6.0 - 183.0
            own: npt.NDArray[np.bool_] = (
                (np.abs(longitude - meridian) <= 3.05) & (latitude > _SOUTH) & (latitude < _NORTH)
            )
            own &= (latitude <= 0.1) if southern else (latitude >= -0.1)
            for tile, used, x, y in zip(tiles, np.any(inland & own, axis=1), longitude, latitude, strict=True):
                if used:
                    land_tiles.append(tile)
                    boxes.append((x.min() - 0.05, y.min() - 0.05, x.max() + 0.05, y.max() + 0.05))
    return tuple(land_tiles), shapely.STRtree(shapely.box(*np.array(boxes).T))


def _samples(tiles: list[EmbeddingTile], count: int) -> tuple[mercator.Floats, mercator.Floats]:
    """Return longitude and latitude of count by count places in tiles of a zone, shape (tiles, places)."""
    steps = np.linspace(0.0, EDGE, count) if count > 1 else np.array([EDGE / 2.0])
    x = np.array([tile.column for tile in tiles])[:, None] * float(EDGE) + np.tile(steps, count)
    y = np.array([tile.row for tile in tiles])[:, None] * float(EDGE) + np.repeat(steps, count)
    longitude, latitude = to_degrees(tiles[0].crs)(x.ravel(), y.ravel())
    meridian = tiles[0].zone * 6.0 - 183.0
    longitude = longitude - np.rint((longitude - meridian) * (1.0 / 360.0)) * 360.0
    return longitude.reshape(x.shape), latitude.reshape(y.shape)


@cache
def _names() -> Mapping[str, EmbeddingTile]:
    return {tile.name: tile for tile in _lands()[0]}


def named(name: str) -> EmbeddingTile | None:
    """Return the tile with land of that name, or None."""
    return _names().get(name)


def tiles(bounds: Bounds | None) -> Iterator[EmbeddingTile]:
    """Yield tiles with land that may meet the bounds."""
    kept, tree = _lands()
    if bounds is None:
        yield from kept
        return
    boxes = query_boxes(bounds)
    for index in np.unique(tree.query(boxes)[1]):
        if any(outline(kept[index]).intersects(box) for box in boxes):
            yield kept[index]
