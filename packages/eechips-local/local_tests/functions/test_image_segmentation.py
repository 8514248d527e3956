"""Superpixels against pysnic, and clusters against scikit-learn and pixels whose clusters are known."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.gmeans import anderson_darling, g_means
from local_tests.support.local_earth_engine import Server
from local_tests.support.served_arrays import read_pixels, serve_arrays

SIDE = 256
RANDOM = np.random.default_rng(11)
ROWS, COLUMNS = np.indices((SIDE + 64, SIDE + 64))

STRIPES = np.stack([COLUMNS // 13 * 37 % 101, ROWS // 11 * 23 % 97]).astype(np.float32)
NOISE = (STRIPES + RANDOM.normal(0, 6, STRIPES.shape)).astype(np.float32)
PYSNIC_SIZES = [242, 493, 193, 193, 259, 277, 411, 186, 211, 269, 396, 258]
"""Pixels of the first clusters of the noise, by pysnic 1.0.4, for where that is not installed."""

CENTRES = np.stack([ROWS // 32 % 2 * 100 + COLUMNS // 16 % 2 * 30, ROWS // 32 % 2 * 50]).astype(np.float32)
BLOBS = CENTRES + RANDOM.uniform(-4, 4, CENTRES.shape).astype(np.float32)
NORMAL = CENTRES + RANDOM.normal(0, 2, CENTRES.shape).astype(np.float32)


@pytest.fixture(scope="module")
def ee(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Any:
    """The client, on stripes, the same with noise, and blobs."""
    arrays = {"test/stripes": STRIPES, "test/noise": NOISE, "test/blobs": BLOBS, "test/normal": NORMAL}
    images = {name: (values, ["B1", "B2"]) for name, values in arrays.items()}
    return serve_arrays(tmp_path_factory.mktemp("segmentation"), serve, images)


def same_parts(left: Any, right: Any) -> bool:
    """Whether two arrays of labels part their pixels in the same way."""
    pairs = np.unique(np.stack([np.ravel(left), np.ravel(right)]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


class TestSeedGrid:
    @pytest.mark.slow
    def test_one_in_each_cell(self, ee: Any) -> None:
        seeds = ee.Algorithms.Image.Segmentation.seedGrid(8)
        assert seeds.bandNames().getInfo() == ["seeds"]
        found = read_pixels(ee, seeds, 0, 0, 64, 48)["seeds"]
        assert (found.reshape(6, 8, 8, 8).sum(axis=(1, 3)) == 1).all()

    def test_neighbours_of_a_hexagonal_grid_are_as_far_in_all_directions(self, ee: Any) -> None:
        found = read_pixels(ee, ee.Algorithms.Image.Segmentation.seedGrid(20, "hex"), 0, 0, 200, 200)["seeds"]
        places = np.argwhere(found)
        middle = places[np.argmin(np.abs(places - 100).sum(axis=1))]
        distances = np.sort(np.hypot(*(places - middle).T))
        assert np.allclose(distances[1:7], 20, rtol=0.05)
        assert distances[7] > 30

    def test_windows_agree(self, ee: Any) -> None:
        seeds = ee.Algorithms.Image.Segmentation.seedGrid(7, "hex")
        whole, part = read_pixels(ee, seeds, 0, 0, 60, 60), read_pixels(ee, seeds, 23, 31, 20, 10)
        assert np.array_equal(whole[31:41, 23:43], part)

    @pytest.mark.slow
    def test_what_cannot_be_is_refused(self, ee: Any) -> None:
        with pytest.raises(ee.EEException, match="Unknown gridType 'round'"):
            ee.Algorithms.Image.Segmentation.seedGrid(7, "round").getInfo()
        with pytest.raises(ee.EEException, match="size must be positive"):
            ee.Algorithms.Image.Segmentation.seedGrid(0).getInfo()


class TestSuperpixels:
    def test_bands_are_those_of_the_reference(self, ee: Any) -> None:
        """apidocs/ee-algorithms-image-segmentation-snic: cluster ids, means, and seeds if none are given."""
        snic = ee.Algorithms.Image.Segmentation.SNIC
        image = ee.Image("test/noise")
        assert snic(image).bandNames().getInfo() == ["clusters", "B1_mean", "B2_mean", "seeds"]
        given = snic(image, seeds=ee.Algorithms.Image.Segmentation.seedGrid(5))
        assert given.bandNames().getInfo() == ["clusters", "B1_mean", "B2_mean"]
        assert given.select("clusters").bandTypes().getInfo()["clusters"]["precision"] == "int"

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "compactness", [pytest.param(0.5, marks=pytest.mark.slow), 20, pytest.param(500, marks=pytest.mark.slow)]
    )
    def test_clusters_are_those_of_pysnic(self, ee: Any, compactness: float) -> None:
        """One tile without margins, and its own seeds."""
        algorithm = pytest.importorskip("pysnic.algorithms.snic")
        image = ee.Image("test/noise")
        snic = ee.Algorithms.Image.Segmentation.SNIC(image, 16, compactness, 4, 0)
        found = read_pixels(ee, snic, 0, 0, SIDE, SIDE)
        seeds = [[column, row] for row, column in np.argwhere(found["seeds"]).tolist()]
        assert len(seeds) == 256
        values = np.moveaxis(NOISE[:, :SIDE, :SIDE].astype(np.float64), 0, -1).tolist()
        expected, _, _ = algorithm.snic(values, seeds, compactness)
        assert same_parts(expected, found["clusters"])

    @pytest.mark.slow
    def test_clusters_are_known_ones(self, ee: Any) -> None:
        snic = ee.Algorithms.Image.Segmentation.SNIC(ee.Image("test/noise"), 16, 20, 4, 0)
        found = read_pixels(ee, snic, 0, 0, SIDE, SIDE)
        sizes = [int((found["clusters"] == n).sum()) for n in found["clusters"][found["seeds"] == 1][:12]]
        assert sizes == PYSNIC_SIZES

    @pytest.mark.slow
    def test_means_are_those_of_the_clusters(self, ee: Any) -> None:
        snic = ee.Algorithms.Image.Segmentation.SNIC(ee.Image("test/noise"), 16, 5, 8, 0)
        found = read_pixels(ee, snic, 0, 0, SIDE, SIDE)
        _, numbers = np.unique(found["clusters"], return_inverse=True)
        for band, name in enumerate(("B1_mean", "B2_mean")):
            values = NOISE[band, :SIDE, :SIDE].ravel().astype(np.float64)
            means = np.bincount(numbers.ravel(), weights=values) / np.bincount(numbers.ravel())
            assert np.allclose(found[name], means[numbers].reshape(SIDE, SIDE), rtol=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("connectivity", "structure"), [(4, None), pytest.param(8, np.ones((3, 3)), marks=pytest.mark.slow)]
    )
    def test_clusters_are_connected(self, ee: Any, connectivity: int, structure: Any) -> None:
        ndimage = pytest.importorskip("scipy.ndimage")
        snic = ee.Algorithms.Image.Segmentation.SNIC(ee.Image("test/noise"), 24, 0, connectivity, 0)
        found = read_pixels(ee, snic.select("clusters"), 0, 0, SIDE, SIDE)["clusters"]
        numbers = np.unique(found)
        assert len(numbers) > 90
        assert all(ndimage.label(found == number, structure)[1] == 1 for number in numbers)

    @pytest.mark.slow
    def test_without_compactness_seeds_find_their_stripes(self, ee: Any) -> None:
        """Each object of one value that has a seed becomes a cluster: nothing else is at distance 0."""
        image = ee.Image("test/stripes").select("B1")
        found = read_pixels(ee, ee.Algorithms.Image.Segmentation.SNIC(image, 6, 0, 8, 0), 0, 0, SIDE, SIDE)
        assert np.array_equal(found["B1_mean"], STRIPES[0, :SIDE, :SIDE])

    @pytest.mark.slow
    def test_seeds_that_touch_are_one_cluster(self, ee: Any) -> None:
        """apidocs: pixels that touch, by the connectivity, belong to the same cluster."""
        here = (
            ee.Image.pixelCoordinates("EPSG:32613")
            .multiply(0)
            .add(ee.Image.pixelCoordinates(ee.Projection("EPSG:32613", [10, 0, 499_200, 0, -10, 4_400_640])))
        )
        x, y = here.select("x").floor(), here.select("y").floor()
        diagonal = x.eq(y).And(x.gte(20)).And(x.lte(23)).Or(x.eq(100).And(y.eq(100)))
        image = ee.Image("test/noise")
        for connectivity, clusters in ((8, 2), (4, 5)):
            snic = ee.Algorithms.Image.Segmentation.SNIC(image, 20, 1, connectivity, 0, diagonal)
            assert len(np.unique(read_pixels(ee, snic, 0, 0, SIDE, SIDE)["clusters"])) == clusters

    @pytest.mark.slow
    def test_masked_pixels_belong_to_no_cluster(self, ee: Any) -> None:
        image = ee.Image("test/noise")
        masked = image.updateMask(image.select("B1").gt(30))
        snic = ee.Algorithms.Image.Segmentation.SNIC(masked, 10, 10, 8, 0)
        mask = read_pixels(ee, snic.select("clusters").mask(), 0, 0, 128, 128)["clusters"]
        inside = NOISE[0, :128, :128] > 30
        assert not mask[~inside].any()
        assert mask[inside].mean() > 0.99

    @pytest.mark.exhaustive
    @pytest.mark.slow
    def test_windows_across_an_edge_of_tiles_agree(self, ee: Any) -> None:
        snic = ee.Algorithms.Image.Segmentation.SNIC(ee.Image("test/noise"), 12, 30)
        whole = read_pixels(ee, snic, 200, 200, 88, 56)
        assert np.array_equal(whole[10:50, 30:80], read_pixels(ee, snic, 230, 210, 50, 40))
        across = whole["clusters"][:, 50:62]
        assert set(np.unique(across[:, :6])) & set(np.unique(across[:, 6:])), "clusters end at the edge of a tile"

    @pytest.mark.exhaustive
    @pytest.mark.slow
    def test_windows_across_a_corner_of_tiles_agree(self, ee: Any) -> None:
        snic = ee.Algorithms.Image.Segmentation.SNIC(ee.Image("test/noise"), 12, 30)
        whole = read_pixels(ee, snic, 0, 0, SIDE + 32, SIDE + 32)
        assert np.array_equal(whole[240:280, 230:280], read_pixels(ee, snic, 230, 240, 50, 40))

    def test_what_cannot_be_is_refused(self, ee: Any) -> None:
        snic, image = ee.Algorithms.Image.Segmentation.SNIC, ee.Image("test/noise")
        for options, message in (
            ({"connectivity": 6}, "connectivity must be 4 or 8; found 6"),
            ({"compactness": -1}, "compactness must not be negative"),
            ({"size": 0}, "size must be positive"),
            ({"neighborhoodSize": -2}, "neighborhoodSize must not be negative"),
            ({"size": 100_000}, "User memory limit exceeded"),
        ):
            with pytest.raises(ee.EEException, match=message):
                snic(image, **options).getInfo()
        with pytest.raises(ee.EEException, match="Array images cannot be segmented"):
            snic(image.toArray()).getInfo()


class TestKMeans:
    @pytest.mark.slow
    def test_blobs_are_found(self, ee: Any) -> None:
        image = ee.Algorithms.Image.Segmentation.KMeans(ee.Image("test/blobs"), 4)
        assert image.bandNames().getInfo() == ["clusters"]
        found = read_pixels(ee, image, 0, 0, SIDE, SIDE)["clusters"]
        expected = ROWS // 32 % 2 * 2 + COLUMNS // 16 % 2
        assert same_parts(found, expected[:SIDE, :SIDE])

    @pytest.mark.slow
    def test_the_sum_of_squares_is_that_of_scikit_learn(self, ee: Any) -> None:
        """Both begin elsewhere; ten beginnings of scikit-learn are not much better than one of ours."""
        cluster = pytest.importorskip("sklearn.cluster")
        found = read_pixels(ee, ee.Algorithms.Image.Segmentation.KMeans(ee.Image("test/noise"), 6), 0, 0, SIDE, SIDE)
        samples = NOISE[:, :SIDE, :SIDE].reshape(2, -1).T.astype(np.float64)
        labels = found["clusters"].ravel()
        squares = sum(
            ((samples[labels == n] - samples[labels == n].mean(axis=0)) ** 2).sum() for n in np.unique(labels)
        )
        assert len(np.unique(labels)) == 6
        assert squares < 1.15 * cluster.KMeans(6, n_init=10, random_state=1).fit(samples).inertia_

    @pytest.mark.slow
    def test_labels_of_cells_are_unique_or_repeat(self, ee: Any) -> None:
        kmeans, image = ee.Algorithms.Image.Segmentation.KMeans, ee.Image("test/blobs")
        unique = read_pixels(ee, kmeans(image, 2, gridSize=32), 0, 0, 128, 128)["clusters"]
        cells = unique.reshape(4, 32, 4, 32).transpose(0, 2, 1, 3).reshape(16, -1)
        found = [set(cell) for cell in cells.tolist()]
        assert all(len(numbers) == 2 for numbers in found)
        assert len(set.union(*found)) == 32
        repeated = kmeans(image, 2, gridSize=32, uniqueLabels=False)
        assert set(np.unique(read_pixels(ee, repeated, 0, 0, 128, 128)["clusters"])) == {0, 1}

    @pytest.mark.slow
    def test_only_cells_of_a_positive_size_replace_tiles(self, ee: Any) -> None:
        """apidocs/ee-algorithms-image-segmentation-kmeans: "if greater than 0"."""
        kmeans, image = ee.Algorithms.Image.Segmentation.KMeans, ee.Image("test/blobs")
        whole = read_pixels(ee, kmeans(image, 4), 0, 0, 64, 64)
        for size in (0, -5):
            assert np.array_equal(read_pixels(ee, kmeans(image, 4, gridSize=size), 0, 0, 64, 64), whole)

    def test_cells_of_few_pixels_have_a_cluster_for_each_value(self, ee: Any) -> None:
        x = ee.Image.pixelCoordinates(ee.Projection("EPSG:32613", [10, 0, 499_200, 0, -10, 4_400_640])).select("x")
        image = ee.Algorithms.Image.Segmentation.KMeans(x.mod(3).floor(), 8, gridSize=3, uniqueLabels=False)
        found = read_pixels(ee, image, 0, 0, 12, 12)["clusters"]
        lines = found.reshape(12, 4, 3)
        assert all(len(set(line)) == 3 for line in lines.reshape(-1, 3).tolist())

    def test_tiles_with_an_overlap_know_what_is_beyond(self, ee: Any) -> None:
        """The clusters of a tile of one value depend on the values around it."""
        x = ee.Image.pixelCoordinates(ee.Projection("EPSG:32613", [10, 0, 499_200, 0, -10, 4_400_640])).select("x")
        image = x.lt(256).multiply(100).add(x.gte(262).multiply(7))
        kmeans = ee.Algorithms.Image.Segmentation.KMeans
        alone = read_pixels(ee, kmeans(image, 2, uniqueLabels=False), 0, 0, SIDE, SIDE)["clusters"]
        assert len(np.unique(alone)) == 1
        grid = kmeans(image, 2, gridSize=16, uniqueLabels=False)
        assert len(np.unique(read_pixels(ee, grid, 256, 0, 16, 16)["clusters"])) == 2

    @pytest.mark.slow
    def test_partly_masked_pixels_are_masked(self, ee: Any) -> None:
        image = ee.Image("test/blobs")
        part = image.updateMask(image.select("B1").gt(60).multiply(0.5).add(0.5))
        mask = read_pixels(ee, ee.Algorithms.Image.Segmentation.KMeans(part, 3).mask(), 0, 0, 64, 64)["clusters"]
        assert np.array_equal(mask == 1, BLOBS[0, :64, :64] > 60)

    @pytest.mark.slow
    def test_what_cannot_be_is_refused(self, ee: Any) -> None:
        kmeans, image = ee.Algorithms.Image.Segmentation.KMeans, ee.Image("test/noise")
        with pytest.raises(ee.EEException, match="mutually exclusive"):
            kmeans(image, gridSize=10, neighborhoodSize=5).getInfo()
        with pytest.raises(ee.EEException, match="numClusters must be positive"):
            kmeans(image, 0).getInfo()
        with pytest.raises(ee.EEException, match="did not converge in 1 iterations"):
            read_pixels(ee, kmeans(image, 20, 1, forceConvergence=True), 0, 0, 64, 64)


class TestGMeans:
    @pytest.mark.slow
    def test_blobs_of_normal_pixels_are_found_without_their_number(self, ee: Any) -> None:
        gmeans = ee.Algorithms.Image.Segmentation.GMeans
        image = gmeans(ee.Image("test/normal"))
        assert image.bandNames().getInfo() == ["clusters"]
        found = read_pixels(ee, image, 0, 0, SIDE, SIDE)["clusters"]
        expected = ROWS // 32 % 2 * 2 + COLUMNS // 16 % 2
        assert same_parts(found, expected[:SIDE, :SIDE])
        cells = read_pixels(ee, gmeans(ee.Image("test/normal"), gridSize=64, uniqueLabels=False), 0, 0, 128, 64)
        assert np.unique(cells["clusters"]).tolist() == [0, 1, 2, 3]

    @pytest.mark.slow
    @pytest.mark.parametrize("shape", ["normal", "uniform", "exponential"])
    def test_the_statistic_is_that_of_scipy(self, shape: str) -> None:
        stats = pytest.importorskip("scipy.stats")
        values = getattr(np.random.default_rng(4), shape)(size=300)
        is_new = "method" in inspect.signature(stats.anderson).parameters  # SciPy 1.17, whose default becomes another
        found = stats.anderson(values, **({"method": "interpolate"} if is_new else {}))
        expected = found.statistic * (1 + 4 / 300 - 25 / 300**2)
        assert anderson_darling(values) == pytest.approx(expected, rel=1e-9)

    def test_what_does_not_vary_is_one_cluster(self) -> None:
        assert g_means(np.full((40, 2), 0.1), 1.87, 10, 1024).tolist() == [0] * 40
        for count in (0, 1, 37, 40):  # the mean of 37 is not 0.1
            assert anderson_darling(np.full(count, 0.1)) == 0

    @pytest.mark.slow
    def test_there_are_no_more_clusters_than_allowed(self) -> None:
        samples = np.random.default_rng(3).uniform(size=(400, 2))
        assert [len(np.unique(g_means(samples, 0.5, 8, most))) for most in (1, 2, 5)] == [1, 2, 5]

    def test_what_cannot_be_is_refused(self, ee: Any) -> None:
        gmeans, image = ee.Algorithms.Image.Segmentation.GMeans, ee.Image("test/noise")
        with pytest.raises(ee.EEException, match="numIterations must be positive"):
            gmeans(image, 0).getInfo()
        with pytest.raises(ee.EEException, match="mutually exclusive"):
            gmeans(image, gridSize=10, neighborhoodSize=5).getInfo()
