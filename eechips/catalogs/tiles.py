"""Grids of one's own: polygons of a GeoJSON file."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.catalogs.areas import MANY
from eechips.catalogs.names import GLOBAL
from eechips.errors import UsageError
from eechips.storage import safe_component

_MOST = 10_000


@dataclass(frozen=True)
class Tiles:
    """Polygons with names.

    Attributes:
        tiles: name, and WKT in longitude and latitude, of each; of several that hold a place the first counts.
    """

    tiles: tuple[tuple[str, str], ...]

    name = "tiles"

    @classmethod
    def read(cls, path: Path) -> Tiles:
        """The polygons of a GeoJSON file, named by their ``id``, or the property ``id`` or ``name``.

        Raises:
            UsageError: if there are none, too many, or some without a name of their own.
        """
        try:
            features = json.loads(path.read_text(encoding="utf-8"))["features"]
            found = [(_name(feature), shapely.to_wkt(_shape(feature), rounding_precision=-1)) for feature in features]
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.GEOSException) as error:
            raise UsageError(f"{path} is no GeoJSON file of polygons: {error}") from error
        names = [name for name, _ in found]
        if not found or len(found) > _MOST:
            raise UsageError(f"{path} has {len(found):,} tiles; it may have 1 to {_MOST:,}")
        if not all(names) or len(set(names)) < len(names):
            raise UsageError(f"{path}: every tile needs a name of its own: an id, or a property id or name")
        return cls(tuple(found))

    def most(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Nobody knows how many tiles items can meet."""
        return np.full(len(metres), MANY)

    def to_json(self) -> dict[str, Any]:
        """``{"name": "tiles", "tiles": {name: WKT, …}}``."""
        return {"name": self.name, "tiles": dict(self.tiles)}

    def homes(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """The tiles that places lie in, ``global`` for places in none."""
        points, tiles = self._tree.query(shapely.points(longitudes, latitudes), predicate="intersects")
        first = np.full(len(longitudes), len(self.tiles))
        np.minimum.at(first, points, tiles)
        names = [*(name for name, _ in self.tiles), GLOBAL]
        return [names[number] for number in first.tolist()]

    def is_over(self, geometry: BaseGeometry, cells: int) -> bool:
        """Whether a geometry meets more than so many tiles."""
        return len(self._tree.query(geometry, predicate="intersects")) > cells

    @functools.cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(shapely.from_wkt([wkt for _, wkt in self.tiles]))


def _name(feature: Any) -> str:
    properties = feature.get("properties") or {}
    name = next((v for v in (feature.get("id"), properties.get("id"), properties.get("name")) if v is not None), "")
    return safe_component(name) if name != "" else ""


def _shape(feature: Any) -> BaseGeometry:
    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a tile is no polygon, but a {shape.geom_type}")
    return shape
