"""Graphs of geometries, and of functions of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pyproj import Geod

from eechips_local.geometry.geometry import geojson
from eechips_local.values.values import Geometry
from local_tests.support.graphs import Ready, call, invoke

GEOD = Geod(ellps="WGS84")
SPHERE = Geod(a=6371007.180918475, b=6371007.180918475)  # with the surface of the ellipsoid
SMALL = st.tuples(st.floats(-179, 179), st.floats(-75, 75), st.floats(0.001, 3), st.floats(0.001, 3))
"""West and south, width and height of a rectangle, degrees."""


def point(x: float, y: float, **more: Any) -> Ready:
    return invoke("GeometryConstructors.Point", coordinates=[x, y], **more)


def polygon(*ring: tuple[float, float], **more: Any) -> Ready:
    return invoke("GeometryConstructors.Polygon", coordinates=[[list(p) for p in ring]], **more)


def rectangle(west: float, south: float, east: float, north: float, **more: Any) -> Ready:
    return polygon((west, south), (east, south), (east, north), (west, north), **more)


def planar(west: float, south: float, east: float, north: float) -> Ready:
    return rectangle(west, south, east, north, geodesic=False)


def projection(crs: str) -> Ready:
    return invoke("Projection", crs=crs)


def op(name: str, **arguments: Any) -> Any:
    return call(f"Geometry.{name}", **arguments)


def call_bbox(*edges: float) -> Ready:
    return invoke("GeometryConstructors.BBox", **dict(zip(("west", "south", "east", "north"), edges, strict=True)))


def ready(geometry: Geometry) -> Ready:
    """A geometry as a graph that makes it again."""
    shown = geojson(geometry)
    return invoke(f"GeometryConstructors.{shown['type']}", coordinates=shown["coordinates"], geodesic=geometry.geodesic)


def great_circle(a: tuple[float, float], b: tuple[float, float], count: int) -> list[tuple[float, float]]:
    sphere = Geod(a=1.0, f=0.0)
    return [a, *sphere.npts(*a, *b, count), b]
