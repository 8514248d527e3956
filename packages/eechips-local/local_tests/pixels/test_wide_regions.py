"""``getRegion`` of collections and regions that are too large to be listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
import shapely

from eechips_local.evaluation.asset_model import ImageAsset, Query
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import Graph, Ready, invoke
from local_tests.support.images import asset

VALUES = np.arange(48 * 64, dtype=np.int16).reshape(48, 64)
WORLD = [[-170, -50], [170, 50]]


class Planet:
    """A stored collection of images in Colorado, and of ever more images elsewhere."""

    id = "test/planet"
    properties: Mapping[str, Any] = {}

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Yield the images that a query does not exclude; without bounds, there is no end."""
        for number in range(3) if query.bounds is not None else count():
            image = asset(VALUES + number, id=f"test/planet/{number}")
            if query.bounds is None or image.footprint.intersects(shapely.box(*query.bounds)):
                yield image

    def get(self, asset_id: str) -> Planet | None:
        return self if asset_id == self.id else None

    def children(self, parent: str) -> tuple[str, ...]:
        return ()

    def describe(self) -> Mapping[str, Any]:
        return {}


def region(geometry: Ready, scale: float) -> Any:
    """Return the table of a region of all images of the planet."""
    images = invoke("ImageCollection.load", id="test/planet")
    table = invoke("ImageCollection.getRegion", collection=images, geometry=geometry, scale=scale, crs="EPSG:4326")
    return Evaluator(Graph().expression(table), Context(Planet())).evaluate()


def shape(kind: str, coordinates: Sequence[Any]) -> Ready:
    return invoke(f"GeometryConstructors.{kind}", coordinates=coordinates, geodesic=False)


def test_only_images_at_the_region_are_made() -> None:
    header, *rows = region(invoke("GeometryConstructors.Point", coordinates=[-104.999, 39.749]), 10)
    assert header == ["id", "longitude", "latitude", "time", "B1"]
    values = [row[4] for row in rows]
    assert np.diff(values).tolist() == [1, 1]


def test_a_region_without_images_has_none() -> None:
    assert len(region(invoke("GeometryConstructors.Point", coordinates=[20, 10]), 10)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Rectangle", "LineString"])
def test_regions_of_too_many_pixels_are_refused_at_once(kind: str) -> None:
    with pytest.raises(InvalidError, match=r"Too many values: \d+ points x 1 bands x 5000 images > 1048576"):
        region(shape(kind, WORLD), 1)
