"""States of the conterminous United States as the atlas has them: straight lines between a few corners."""

from __future__ import annotations

from functools import cache

import numpy as np
import shapely

from eechips_local.demo.borders import political_atlas
from eechips_local.demo.land_character import places, records
from eechips_local.demo.painting.mercator import Floats


@cache
def corners() -> Floats:
    """Return longitude and latitude of the corners, shape (n, 2)."""
    return places(political_atlas.STATE_NODES)


@cache
def rings() -> dict[str, list[list[int]]]:
    """Return corners of the rings of each state, alphabetically."""
    return {
        name: [[int(n) for n in ring.split()] for ring in text.split("/")]
        for name, text in records(political_atlas.STATES)
    }


@cache
def states() -> dict[str, shapely.MultiPolygon]:
    """Return coarse shapes of the states; neighbours share their edges."""
    points = corners()
    return {name: shapely.MultiPolygon([shapely.Polygon(points[r]) for r in parts]) for name, parts in rings().items()}


@cache
def degrees() -> dict[tuple[int, int], int]:
    """Return square degrees that land of the states may reach into, and the number of the state that has most of each.

    Keys are (degrees north of the southern edge, degrees west of the eastern edge).
    """
    shapes = list(states().values())
    tree = shapely.STRtree(shapes)
    rows, columns = np.indices((26, 60))
    latitudes, longitudes = 24 + rows.ravel(), 66 + columns.ravel()
    boxes = shapely.box(-longitudes - 1, latitudes, -longitudes, latitudes + 1)
    # Coasts are drawn by noise around the coarse shapes: the margin holds what may grow beyond them.
    hits = tree.query(boxes, predicate="dwithin", distance=0.6)
    shares: dict[tuple[int, int], tuple[float, int]] = {}
    for box, state in zip(*hits, strict=True):
        key = (int(latitudes[box]), int(longitudes[box]))
        area = float(boxes[box].intersection(shapes[state]).area)
        if key not in shares or area > shares[key][0]:
            shares[key] = (area, int(state))
    return {key: state for key, (_, state) in shares.items()}
