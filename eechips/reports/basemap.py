"""Load the borders of countries and US states for the background of maps.

They come from Natural Earth (https://www.naturalearthdata.com), which is in the public domain; ``tools/outlines.py``
writes basemap.json. They are accurate to a few kilometres.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.geo.polygons import wrap_longitudes


@cache
def load_basemap() -> dict[str, Any]:
    """Load the borders.

    Returns:
        ``source``; ``step``, the resolution of the coordinates in degrees; ``shapes``, each with a ``name`` and
        ``rings`` of integers: the first vertex, then the difference of each vertex from the previous one.
    """
    borders: dict[str, Any] = json.loads(text())
    return borders


@cache
def text() -> str:
    """Return the text of basemap.json, on one line."""
    return (files("eechips.reports") / "basemap.json").read_text(encoding="utf-8").strip()


def names_of(places: npt.NDArray[np.float64]) -> list[str | None]:
    """Return the country or state that contains each place, approximately.

    Args:
        places: longitude and latitude, (n, 2); NaN for unknown places.
    """
    import shapely

    names, tree = _tree()
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    lonlat = places[known].copy()
    lonlat[:, 0] = wrap_longitudes(lonlat[:, 0])
    place_names: list[str | None] = [None] * len(places)
    for number, shape in sorted(tree.query(shapely.points(lonlat), predicate="intersects").T.tolist()):
        place_names[known[number]] = names[shape]  # the smallest shape: Lesotho, not South Africa around it
    return place_names


@cache
def _tree() -> tuple[list[str], Any]:
    import shapely

    named_polygons = []
    for shape in load_basemap()["shapes"]:
        for ring in shape["rings"]:
            coordinates = np.cumsum(np.reshape(ring, (-1, 2)), axis=0) * load_basemap()["step"]
            named_polygons.append((shapely.make_valid(shapely.Polygon(coordinates)), shape["name"]))
    named_polygons.sort(key=lambda named_polygon: -named_polygon[0].area)
    return [name for _, name in named_polygons], shapely.STRtree([polygon for polygon, _ in named_polygons])
