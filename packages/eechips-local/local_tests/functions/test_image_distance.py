"""Distances to the nearest pixel and the nearest feature, against every pixel looked at one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyproj import Geod

from eechips_local.protocol.request_errors import InvalidError, LimitError
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored

RANDOM = np.random.default_rng(8)
VALUES = (RANDOM.random((48, 64)) < 0.02).astype(np.uint8) * 3
VALID = RANDOM.random((48, 64)) < 0.9


def brute(metric: str, reach: int) -> np.ndarray:
    """The least distance within a square, infinite where there is none."""
    found = np.full(VALUES.shape, np.inf)
    targets = np.argwhere((VALUES != 0) & VALID)
    for row in range(48):
        for column in range(64):
            down, across = np.abs(targets - [row, column]).T
            distance = {
                "squared_euclidean": down**2 + across**2, "manhattan": down + across,
                "chebyshev": np.maximum(down, across),
            }[metric]  # fmt: skip
            near = np.maximum(down, across) <= reach
            found[row, column] = distance[near].min() if near.any() else np.inf
    return found


def pixels(call: Ready) -> Any:
    (found,) = read(evaluate(call, asset(VALUES, valid=VALID)), UTM)
    return found


@pytest.mark.parametrize("metric", ["squared_euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("reach", [3, 11, 80])
def test_fast_distance_transform(metric: str, reach: int) -> None:
    found = pixels(invoke("Image.fastDistanceTransform", image=stored(), neighborhood=reach, metric=metric))
    expected = brute(metric, reach)
    near = np.isfinite(expected)
    assert found.valid.all()
    assert np.array_equal(found.values[near], expected[near])
    corner = {"squared_euclidean": 2 * reach**2, "manhattan": 2 * reach, "chebyshev": reach}[metric]
    assert (found.values[~near] > corner).all()
    assert near.all() == (reach > 3)


def test_erosion() -> None:
    """A mask eroded by the distance from its outside keeps its middle, as ee-packages-py erodes (see its docstring)."""
    square = np.zeros((48, 64), dtype=np.uint8)
    square[10:40, 10:50] = 1
    away = invoke("Image.fastDistanceTransform", image=invoke("Image.not", value=stored()), neighborhood=4)
    near = invoke("Image.lte", image1=invoke("Image.sqrt", value=away), image2=invoke("Image.constant", value=4))
    (eroded,) = read(evaluate(invoke("Image.not", value=near), asset(square, valid=np.ones((48, 64), dtype=bool))), UTM)
    expected = np.zeros((48, 64), dtype=bool)
    expected[14:36, 14:46] = True
    assert eroded.valid.all()
    assert np.array_equal(eroded.values != 0, expected)


@pytest.mark.parametrize("kind", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("units", ["pixels", "meters"])
@pytest.mark.parametrize("skip", [True, False])
def test_distance_under_a_kernel(kind: str, units: str, skip: bool) -> None:
    unit = 10 if units == "meters" else 1
    kernel = invoke(f"Kernel.{kind}", radius=7 * unit, units=units)
    found = pixels(invoke("Image.distance", image=stored(), kernel=kernel, skipMasked=skip))
    expected = brute("squared_euclidean" if kind == "euclidean" else kind, 7)
    expected = (np.sqrt(expected) if kind == "euclidean" else expected) * unit
    assert np.array_equal(found.valid, np.isfinite(expected) & (VALID | (not skip)))
    assert np.allclose(found.values[found.valid], expected[found.valid])


def test_names() -> None:
    made = evaluate(invoke("Image.fastDistanceTransform", image=stored()), asset(VALUES))
    assert [band.name for band in made.bands] == ["distance"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (invoke("Image.distance", image=stored(), kernel=invoke("Kernel.square", radius=2)), InvalidError),
        (invoke("Image.distance", image=stored()), InvalidError),
        (invoke("Image.fastDistanceTransform", image=stored(), units="meters"), InvalidError),
        (invoke("Image.fastDistanceTransform", image=stored(), metric="cosine"), InvalidError),
        (invoke("Image.fastDistanceTransform", image=stored(), neighborhood=0), InvalidError),
        (invoke("Image.fastDistanceTransform", image=stored(), neighborhood=10**9), LimitError),
    ],
)
def test_refused(call: Ready, error: type[Exception]) -> None:
    with pytest.raises(error):
        pixels(call)


class TestFeatures:
    """``FeatureCollection.distance`` against pyproj, for a point, and for the edges of a rectangle."""

    def test_points(self) -> None:
        places = [(-105.0, 39.75), (-104.99, 39.74), (-104.2, 39.7)]
        points = [
            invoke("Feature", geometry=invoke("GeometryConstructors.Point", coordinates=list(p)), metadata={})
            for p in places
        ]
        call = invoke("Collection.distance", features=invoke("Collection", features=points), searchRadius=400)
        found = pixels(call)
        lonlat = read(evaluate(invoke("Image.pixelLonLat")), UTM)
        lon, lat = (p.values for p in lonlat)
        geod = Geod(ellps="WGS84")
        expected = np.min(
            [geod.inv(lon, lat, np.full_like(lon, x), np.full_like(lat, y))[2] for x, y in places], axis=0
        )
        assert np.array_equal(found.valid, expected <= 400)
        assert 0 < found.valid.sum() < found.valid.size
        assert np.allclose(found.values[found.valid], expected[found.valid], atol=0.01)

    def test_inside_a_polygon_the_edge_counts(self) -> None:
        box = invoke("GeometryConstructors.BBox", west=-105.01, south=39.73, east=-104.98, north=39.76)
        call = invoke("Collection.distance", features=invoke("Collection", features=[invoke("Feature", geometry=box)]))
        found = pixels(call)
        lon, lat = (p.values for p in read(evaluate(invoke("Image.pixelLonLat")), UTM))
        inside = (lon > -105.01) & (lon < -104.98) & (lat > 39.73) & (lat < 39.76)
        assert inside.any()
        degree_x, degree_y = 85_700.0, 111_030.0  # metres at this latitude, to a few parts in a thousand
        expected = np.minimum(
            np.minimum(lon + 105.01, -104.98 - lon) * degree_x, np.minimum(lat - 39.73, 39.76 - lat) * degree_y
        )
        assert np.allclose(found.values[inside], expected[inside], rtol=0.01)
