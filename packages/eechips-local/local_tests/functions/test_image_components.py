"""Connected pixels, spectra and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from rasterio.features import rasterize, shapes

from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, constant, evaluate, pixel, read, stored, values_of


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.booleans())
def test_counts_are_the_areas_of_gdal_s_polygons(seed: int, classes: int, eight: bool) -> None:
    values = np.random.default_rng(seed).integers(0, classes, (48, 64)).astype(np.uint8)
    image = evaluate(
        invoke("Image.connectedPixelCount", input=stored(), maxSize=1024, eightConnected=eight), asset(values)
    )
    expected = np.zeros(values.shape)
    for geometry, _ in shapes(values, connectivity=8 if eight else 4):
        polygon = shapely.geometry.shape(geometry)
        expected[rasterize([(polygon, 1)], out_shape=values.shape) == 1] = polygon.area
    assert np.array_equal(values_of(image), np.minimum(expected, 1024))


def test_counts_end_at_the_largest_size_and_leave_masked_pixels_out() -> None:
    values, valid = np.ones((48, 64), dtype=np.uint8), np.ones((48, 64), dtype=bool)
    valid[:, 10] = False
    image = evaluate(invoke("Image.connectedPixelCount", input=stored(), maxSize=500), asset(values, valid=valid))
    found = values_of(image)
    assert (found[:, :10] == 480).all()
    assert np.isnan(found[:, 10]).all()
    assert (found[:, 11:] == 500).all()
    assert np.array_equal(values_of(image, UTM.window(3, 3, 5, 5)), np.full((5, 5), 480))
    with pytest.raises(InvalidError, match="maxSize"):
        evaluate(invoke("Image.connectedPixelCount", input=constant(1), maxSize=5000))


@pytest.mark.slow
def test_a_winding_path_is_one_component() -> None:
    snake = np.zeros((48, 64), dtype=np.uint8)
    snake[::2] = 1
    for row in range(1, 47, 2):
        snake[row, -1 if row % 4 == 1 else 0] = 1
    found = values_of(
        evaluate(invoke("Image.connectedPixelCount", input=stored(), maxSize=1024, eightConnected=False), asset(snake))
    )
    assert (found[snake == 1] == 1024).all()


class TestSpectra:
    def distance(self, metric: str, a: list[float], b: list[float]) -> Any:
        return pixel(invoke("Image.spectralDistance", image1=constant(*a), image2=constant(*b), metric=metric))[0]

    def test_metrics(self) -> None:
        assert self.distance("sam", [1, 0], [0, 2]) == pytest.approx(np.pi / 2)
        assert self.distance("sam", [1, 2], [2, 4]) == pytest.approx(0, abs=1e-7)
        assert self.distance("sed", [1, 5], [4, 1]) == 25
        assert self.distance("sid", [1, 2, 3], [1, 2, 3]) == pytest.approx(0)
        p, q = np.array([1, 2, 7]) / 10, np.array([4, 4, 2]) / 10
        expected = (p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()
        assert self.distance("sid", [1, 2, 7], [4, 4, 2]) == pytest.approx(expected)
        with pytest.raises(InvalidError):
            self.distance("cosine", [1, 2], [3, 4])

    def test_unmix(self) -> None:
        ends = [[0.1, 0.4, 0.9], [0.8, 0.3, 0.05]]
        mixed = 0.3 * np.array(ends[0]) + 0.6 * np.array(ends[1])
        assert pixel(invoke("Image.unmix", image=constant(*mixed), endmembers=ends)) == pytest.approx([0.3, 0.6])
        with pytest.raises(InvalidError, match="Each endmember"):
            pixel(invoke("Image.unmix", image=constant(*mixed), endmembers=[[1]]))

    @pytest.mark.parametrize("whole", [False, True])
    @pytest.mark.parametrize("positive", [False, True])
    def test_constrained_shares_are_the_best_there_are(self, whole: bool, positive: bool) -> None:
        """No share near the solution that obeys the constraints comes closer to what was seen."""
        random = np.random.default_rng(12)
        ends, seen = random.uniform(0, 1, (3, 5)), random.uniform(0, 1, 5)
        found = np.array(
            pixel(
                invoke(
                    "Image.unmix", image=constant(*seen), endmembers=ends.tolist(), sumToOne=whole,
                    nonNegative=positive,
                )
            )
        )  # fmt: skip
        steps = random.normal(0, 0.05, (4000, 3))
        if whole:
            assert found.sum() == pytest.approx(1)
            steps -= steps.mean(axis=1, keepdims=True)
        if positive:
            assert (found >= 0).all()
        others = found + steps
        others = others[(others >= 0).all(axis=1)] if positive else others
        assert len(others)
        assert (((others @ ends - seen) ** 2).sum(axis=1) >= ((found @ ends - seen) ** 2).sum() - 1e-12).all()


def test_gradient_is_per_metre() -> None:
    """As slopes, on the mean sphere."""
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    sphere, to_degrees = Geod(a=6_371_008.8, b=6_371_008.8), Transformer.from_crs(UTM.crs, 4326, always_xy=True)
    left, top = UTM.transform.c, UTM.transform.f
    lon, lat = to_degrees.transform(np.array([left, left + 640, left]), np.array([top, top, top - 480]))
    _, _, (across, down) = sphere.inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])
    image = evaluate(invoke("Image.gradient", input=stored()), asset(3.0 * x + 5.0 * y))
    assert [b.name for b in image.bands] == ["x", "y"]
    east, north = read(image)
    assert np.allclose(east.values[1:-1, 1:-1], 3.0 * 64 / across, rtol=1e-4)
    assert np.allclose(north.values[1:-1, 1:-1], -5.0 * 48 / down, rtol=1e-4)


class TestObjects:
    """Labels and statistics of objects, against GDAL's polygons."""

    VALUES = np.random.default_rng(4).integers(0, 3, (48, 64)).astype(np.uint8)
    WEIGHT = np.random.default_rng(5).integers(0, 99, (48, 64)).astype(np.uint8)

    def objects(self, eight: bool) -> list[np.ndarray]:
        return [
            rasterize([(shapely.geometry.shape(outline), 1)], out_shape=self.VALUES.shape).astype(bool)
            for outline, _ in shapes(self.VALUES, connectivity=8 if eight else 4)
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("eight", [False, True])
    def test_labels(self, eight: bool) -> None:
        kernel = invoke("Kernel.square" if eight else "Kernel.plus", radius=1)
        image = evaluate(
            invoke("Image.connectedComponents", image=stored(), connectedness=kernel, maxSize=20), asset(self.VALUES)
        )
        assert [band.name for band in image.bands] == ["B1", "labels"]
        values, labels = read(image)
        seen = set()
        for where in self.objects(eight):
            if not eight:  # GDAL's 8-connected polygons touch themselves, which rasterizing does not bring back
                assert labels.valid[where].all() == values.valid[where].all() == (where.sum() <= 20)
            found = set(labels.values[where & labels.valid].tolist())
            if not eight:
                assert len(found) == (1 if where.sum() <= 20 else 0)
                assert not found & seen
            seen |= found

    def test_labels_are_the_same_on_neighbouring_tiles(self) -> None:
        kernel = invoke("Kernel.plus", radius=1)
        call = invoke("Image.connectedComponents", image=stored(), connectedness=kernel, maxSize=20)
        image = evaluate(call, asset(self.VALUES))
        whole = read(image)[1]
        for part, columns in ((UTM.window(0, 0, 20, 48), slice(0, 20)), (UTM.window(20, 0, 44, 48), slice(20, 64))):
            tile = read(image, part)[1]
            assert np.array_equal(tile.valid, whole.valid[:, columns])
            assert np.array_equal(tile.values[tile.valid], whole.values[:, columns][tile.valid])

    @pytest.mark.slow
    def test_reductions(self) -> None:
        image = evaluate(
            invoke(
                "Image.reduceConnectedComponents", image=stored(), reducer=invoke("Reducer.minMax"), labelBand="label",
                maxSize=200,
            ),
            asset(np.stack([self.WEIGHT, self.VALUES]), names=["w", "label"]),
        )  # fmt: skip
        assert [band.name for band in image.bands] == ["w_min", "w_max"]
        least, most = read(image)
        sizes = values_of(
            evaluate(invoke("Image.connectedPixelCount", input=stored(), maxSize=1024), asset(self.VALUES))
        )
        kernel = invoke("Kernel.square", radius=1)
        labels = read(
            evaluate(
                invoke("Image.connectedComponents", image=stored(), connectedness=kernel, maxSize=1024),
                asset(self.VALUES),
            )
        )[1]
        assert labels.valid.any()
        for label in np.unique(labels.values[labels.valid]):
            where = labels.valid & (labels.values == label)
            assert (sizes[where] == where.sum()).all()
            assert (least.values[where] == self.WEIGHT[where].min()).all()
            assert (most.values[where] == self.WEIGHT[where].max()).all()

    def test_components_larger_than_the_neighbourhood_are_masked(self) -> None:
        bars = np.zeros((48, 64), dtype=np.uint8)
        bars[10, :30], bars[20, :9] = 1, 2
        image = evaluate(
            invoke("Image.reduceConnectedComponents", image=stored(), reducer=invoke("Reducer.count"), maxSize=10),
            asset(np.stack([bars, bars]), names=["label", "v"]),
        )
        (found,) = read(image)
        assert np.array_equal(found.valid, bars == 2)
        assert (found.values[found.valid] == 9).all()
