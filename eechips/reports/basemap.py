"""Countries, and the states of the United States, as a map has them in the background.

From Natural Earth (https://www.naturalearthdata.com), which is in the public domain; ``docs/outlines.py`` makes
basemap.json of it. They are coarse: right to a few kilometres.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt


@cache
def outlines() -> dict[str, Any]:
    """Outlines as basemap.json has them.

    ``source``; ``step``, degrees of which coordinates are multiples; ``shapes``, each with a ``name`` and ``rings`` of
    whole numbers: the first place, then the way from each place to the next.
    """
    found: dict[str, Any] = json.loads(text())
    return found


@cache
def text() -> str:
    """basemap.json itself, on one line."""
    return (files("eechips.reports") / "basemap.json").read_text(encoding="utf-8").strip()


def names_of(places: npt.NDArray[np.float64]) -> list[str | None]:
    """The country or state that holds each place, roughly.

    Args:
        places: longitude and latitude, (n, 2); NaN where there is none.
    """
    import shapely

    names, tree = _tree()
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    lonlat = places[known].copy()
    lonlat[:, 0] = (lonlat[:, 0] + 180.0) % 360.0 - 180.0
    found: list[str | None] = [None] * len(places)
    for number, shape in sorted(tree.query(shapely.points(lonlat), predicate="intersects").T.tolist()):
        found[known[number]] = names[shape]  # the smallest: Lesotho, and not South Africa around it
    return found


@cache
def _tree() -> tuple[list[str], Any]:
    import shapely

    found = []
    for shape in outlines()["shapes"]:
        for ring in shape["rings"]:
            coordinates = np.cumsum(np.reshape(ring, (-1, 2)), axis=0) * outlines()["step"]
            found.append((shapely.make_valid(shapely.Polygon(coordinates)), shape["name"]))
    found.sort(key=lambda each: -each[0].area)
    return [name for _, name in found], shapely.STRtree([polygon for polygon, _ in found])
