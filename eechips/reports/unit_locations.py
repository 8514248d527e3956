"""Find the location of a unit from its fields, which differ between recipes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.geo.grid import Grid


def grid_of(unit: Mapping[str, Any]) -> Grid | None:
    """Return the planned grid of a unit, which also failed units have; None without one."""
    for layer in (unit, unit.get("value")):
        if isinstance(layer, Mapping) and isinstance(layer.get("grid"), Mapping):
            try:
                return Grid.from_json(layer["grid"])
            except (KeyError, TypeError, ValueError):  # another format of a recipe
                return None
    return None


def recorded_grid(crs: str | None, transform: str | None, width: int | None, height: int | None) -> Grid | None:
    """Return the grid that a manifest has of a file, its transform as JSON.

    Returns:
        None without a grid, and if the manifest of another user has none that is valid.
    """
    if crs is None or transform is None or width is None or height is None:
        return None
    try:
        return Grid.from_json({"crs": crs, "transform": json.loads(transform), "width": width, "height": height})
    except (KeyError, TypeError, ValueError):
        return None


def _layers(unit: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings of a unit that may contain its location."""
    value = unit.get("value")
    for layer in (unit, value, unit.get("properties"), unit.get("geometry")):
        if isinstance(layer, Mapping):
            yield layer
    if isinstance(value, Mapping):
        for name in ("properties", "geometry"):
            if isinstance(value.get(name), Mapping):
                yield value[name]


def centres_of(outlines: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """Return longitude and latitude of the middle of outlines, (n, 2); NaN without an outline."""
    import shapely

    centres = np.full((len(outlines), 2), np.nan)
    known = outlines != None  # noqa: E711 - element by element
    if known.any():
        # A point in the largest part, since the centroid of parts on both sides of the antimeridian is far away.
        largest = [max(shapely.get_parts(outline), key=shapely.area) for outline in outlines[known]]
        centres[known] = shapely.get_coordinates(shapely.centroid(largest))
    return centres


def location_of(unit: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the longitude and latitude in a unit; None if it has none."""
    if (place := _lonlat(unit.get("value"))) is not None:
        return place
    for layer in _layers(unit):
        for candidate in (
            layer.get("coordinates"),
            [layer.get("lon"), layer.get("lat")],
            [layer.get("longitude"), layer.get("latitude")],
        ):
            if (place := _lonlat(candidate)) is not None:
                return place
    return None


def bounds_of(unit: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north in a unit; None if it has none."""
    for layer in _layers(unit):
        bounds = layer.get("bounds")
        if isinstance(bounds, list) and len(bounds) == 4 and _lonlat(bounds[:2]) and _lonlat(bounds[2:]):
            west, south, east, north = map(float, bounds)
            return (west, south, east, north) if west <= east and south <= north else None
    return None


def _lonlat(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in value):
        return None
    return (float(value[0]), float(value[1])) if abs(value[0]) <= 360 and abs(value[1]) <= 90 else None
