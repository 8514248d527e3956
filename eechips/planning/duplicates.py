"""Places that need to be asked for once: what is the same, or lies in the same pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.geo.grid import Grid
from eechips.planning.projection import project

_CLOSE = 1e-6  # of a pixel: a point so near to an edge is not taken to be on either side of it


def merge(
    shapes: npt.NDArray[np.object_], moments: npt.NDArray[np.float64] | None, lattice: Grid | None
) -> list[npt.NDArray[np.int64]]:
    """Places of which one stands for all: equal ones, and points of one pixel.

    Args:
        shapes: points or polygons in longitude and latitude.
        moments: of each, in milliseconds; those of different moments are different. None for none.
        lattice: under whose pixels points have equal values; None if there is none, and for polygons.

    Returns:
        Positions of the places that are one, in order of the first of each.
    """
    keys = np.array(shapely.to_wkb(shapes), dtype=object)
    if lattice is not None:
        a, b, c, d, e, f = lattice.transform
        xy = project(lattice.crs, shapely.get_coordinates(shapes)) - (c, f)
        pixel = np.column_stack([e * xy[:, 0] - b * xy[:, 1], a * xy[:, 1] - d * xy[:, 0]]) / (a * e - b * d)
        is_within: npt.NDArray[np.bool_] = np.isfinite(pixel) & (np.abs(pixel - np.round(pixel)) > _CLOSE)
        inside = np.asarray(is_within.all(axis=1))
        whole = np.floor(np.where(inside[:, None], pixel, 0)).astype(np.int64)
        keys[inside] = [pair.tobytes() for pair in whole[inside]]
    found: dict[Any, list[int]] = {}
    for index, key in enumerate(keys.tolist()):
        found.setdefault(key if moments is None else (key, moments[index]), []).append(index)
    return [np.array(indices) for indices in found.values()]
