"""Geometries with more edges than Earth Engine takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import geopandas
import pytest
import shapely

from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, initialize

pytestmark = pytest.mark.slow

TABLE = "projects/edges/assets/outlines"


@pytest.fixture(scope="module")
def client(serve: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Serve three features: of 2,000,004 edges, and of 1,200,000 each."""
    folder = tmp_path_factory.mktemp("edges")
    squares = [shapely.box(x, 0, x + 1, 1) for x in (0, 2, 4)]
    shapes = shapely.segmentize(squares, [4 / 2_000_004, 4 / 1_200_000, 4 / 1_200_000])
    table = geopandas.GeoDataFrame({"n": [0, 1, 2]}, geometry=shapes, crs="EPSG:4326")
    table.to_parquet(folder / "outlines.parquet")
    ingest(folder / "outlines.parquet", folder / "store", TABLE)
    return initialize(serve("--assets", str(folder / "store"), "--no-demo"))


@pytest.mark.exhaustive
def test_operations_on_more_than_two_million_edges_are_refused(client: Any) -> None:
    table = client.FeatureCollection(TABLE)
    large, small = (client.Feature(table.filter(client.Filter.eq("n", n)).first()) for n in (0, 1))
    assert small.geometry().bounds(1).coordinates().get(0).getInfo()
    for operation, name in (
        (large.geometry().simplify(1000), "Geometry.simplify"),
        (large.intersection(client.Geometry.Point(0, 0), 1), "Feature.intersection"),
        (client.Geometry.Point(0, 0).distance(large.geometry(), 1), "Geometry.distance"),
    ):
        message = rf"{re.escape(name)}: Geometry has too many edges \(20000\d\d > 2000000\)\."
        with pytest.raises(client.EEException, match=message):
            operation.getInfo()
    assert large.geometry().type().getInfo() == "Polygon"
    both = table.filter(client.Filter.gt("n", 0))
    assert both.size().getInfo() == 2
    with pytest.raises(client.EEException, match=r"Collection\.geometry: Geometry has too many edges \(24000\d\d > "):
        both.geometry(1000).type().getInfo()
