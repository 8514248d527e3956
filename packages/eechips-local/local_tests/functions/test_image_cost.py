"""Distances in one direction, and least costs against scipy's shortest paths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pyproj import Geod

from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored, values_of

SHAPE = UTM.shape


class TestDirectionalDistance:
    def distances(self, values: Any, angle: float, most: int = 20, **more: Any) -> Any:
        call = invoke("Image.directionalDistanceTransform", source=stored(), angle=angle, maxDistance=most, **more)
        return evaluate(call, asset(values))

    @pytest.mark.parametrize(
        ("angle", "row", "column"), [(0, 0, 1), (90, -1, 0), (180, 0, -1), (270, 1, 0), (45, -1, 1), (225, 1, -1)]
    )
    def test_the_nearest_pixel_in_a_direction(self, angle: float, row: int, column: int) -> None:
        values = np.zeros(SHAPE, dtype=np.uint8)
        values[24, 32] = 1
        found = values_of(self.distances(values, angle, 10))
        assert found[24, 32] == 0
        for steps in range(1, 5):
            assert math.isclose(
                found[24 - steps * row, 32 - steps * column], steps * math.hypot(row, column), rel_tol=1e-6
            )
        assert np.isnan(found[24 + row, 32 + column])
        assert np.nanmax(found) <= 10

    def test_a_cloud_s_shadow_lies_away_from_the_sun(self) -> None:
        """As in the tutorial sentinel-2-s2cloudless: 90 less the sun's azimuth. With the sun in the south-east, shadows
        fall to the north-west.
        """
        cloud = np.zeros(SHAPE, dtype=np.uint8)
        cloud[20:24, 30:34] = 1
        (pixels,) = read(self.distances(cloud, 90 - 135, 8))
        rows, columns = np.nonzero(pixels.valid)
        assert rows.max() == 23
        assert columns.max() == 33
        assert pixels.valid[16, 26]

    def test_other_bands_are_those_of_the_pixel_that_was_found(self) -> None:
        values = np.zeros((2, *SHAPE), dtype=np.uint8)
        values[0, 24, 32], values[1] = 1, np.arange(SHAPE[1])
        image = self.distances(values, 0, 10, labelBand="B1")
        assert [band.name for band in image.bands] == ["B2", "distance"]
        other, distance = read(image)
        assert (other.values[24, 22:33] == 32).all()
        assert distance.values[24, 22:33].tolist() == list(range(10, -1, -1))
        with pytest.raises(InvalidError, match="Band 'B9' not found"):
            self.distances(values, 0, 10, labelBand="B9")
        with pytest.raises(InvalidError, match="must have one scalar band"):
            self.distances(values, 0, 10)


def shortest(cost: Any, source: Any, edge: float) -> Any:
    """Least costs by Dijkstra's algorithm, as scipy has it."""
    sparse = pytest.importorskip("scipy.sparse")
    from scipy.sparse.csgraph import dijkstra

    height, width = cost.shape
    number = np.arange(cost.size, dtype="int32").reshape(cost.shape)
    rows, columns, prices = [], [], []
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = slice(0, height - row), slice(max(0, -column), width - max(0, column))
        there = slice(row, height), slice(max(0, column), width - max(0, -column))
        rows.append(number[here].ravel())
        columns.append(number[there].ravel())
        prices.append((cost[here] + cost[there]).ravel() / 2 * edge * math.hypot(row, column))
    graph = sparse.coo_array(
        (np.concatenate(prices), (np.concatenate(rows), np.concatenate(columns))), shape=(cost.size, cost.size)
    )
    found = dijkstra(graph.tocsr(), directed=False, indices=np.flatnonzero(source.ravel()), min_only=True)
    return found.reshape(cost.shape)


def costs(values: Any, sources: Any, grid: PixelGrid = UTM, valid: Any = None, **more: Any) -> Any:
    call = invoke("Image.cumulativeCost", cost=stored("test/cost"), source=stored("test/source"), **more)
    return evaluate(call, asset(values, grid, id="test/cost", valid=valid), asset(sources, grid, id="test/source"))


class TestCumulativeCost:
    def test_against_dijkstra(self) -> None:
        random = np.random.default_rng(5)
        cost = random.uniform(0.5, 20, SHAPE)
        source = np.zeros(SHAPE, dtype=np.uint8)
        source[10, 12] = source[30, 50] = 1
        image = costs(cost, source, maxDistance=2000, geodeticDistance=False)
        assert [band.name for band in image.bands] == ["cumulative_cost"]
        assert np.allclose(values_of(image), shortest(cost, source, 10.0), rtol=1e-9)

    def test_masked_pixels_are_walls(self) -> None:
        source = np.zeros(SHAPE, dtype=np.uint8)
        source[24, 5] = 1
        wall = np.ones(SHAPE, dtype=bool)
        wall[:47, 20] = False
        found = values_of(costs(np.ones(SHAPE), source, valid=wall, maxDistance=1000, geodeticDistance=False))
        around = found[24, 21]
        assert np.isnan(found[24, 20])
        assert around > 2 * 10 * 20
        wall[:, 20] = False
        found = values_of(costs(np.ones(SHAPE), source, valid=wall, maxDistance=1000, geodeticDistance=False))
        assert np.isnan(found[:, 20:]).all()

    def test_longer_ways_are_masked(self) -> None:
        source = np.zeros(SHAPE, dtype=np.uint8)
        source[24, 5] = 1
        found = values_of(costs(np.full(SHAPE, 3.0), source, maxDistance=100, geodeticDistance=False))
        assert found[24, 5:16].tolist() == [30.0 * n for n in range(11)]
        assert np.isnan(found[24, 16])

    def test_geodetic_lengths_are_those_of_the_sphere(self) -> None:
        from affine import Affine

        grid = PixelGrid("EPSG:4326", Affine(0.01, 0, -105, 0, -0.01, 60), 12, 9)
        source = np.zeros(grid.shape, dtype=np.uint8)
        source[4, 2] = 1
        image = costs(np.ones(grid.shape), source, grid, maxDistance=20_000)
        sphere = Geod(a=6_378_137.0, b=6_378_137.0)
        lat = 60 - 0.045
        for steps in (1, 5):
            expected = steps * sphere.inv(-104.975, lat, -104.965, lat)[2]
            assert math.isclose(values_of(image, grid)[4, 2 + steps], expected, rel_tol=1e-9)

    def test_windows_agree(self) -> None:
        cost = np.random.default_rng(6).uniform(1, 4, SHAPE)
        source = np.zeros(SHAPE, dtype=np.uint8)
        source[24, 32] = 1
        image = costs(cost, source, maxDistance=600, geodeticDistance=False)
        part = values_of(image, UTM.window(40, 20, 10, 10))
        assert np.allclose(part, values_of(image)[20:30, 40:50], equal_nan=True)

    def test_what_cannot_be_is_refused(self) -> None:
        with pytest.raises(InvalidError, match="Costs must not be negative"):
            values_of(costs(np.full(SHAPE, -1.0), np.ones(SHAPE, dtype=np.uint8), maxDistance=50))
        with pytest.raises(InvalidError, match="maxDistance must be positive"):
            costs(np.ones(SHAPE), np.ones(SHAPE, dtype=np.uint8), maxDistance=0)
