"""Derivatives, spectral morphology, distances and their reverse, filled minima and warps, against numpy and scipy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from local_tests.support.local_earth_engine import Server
from local_tests.support.served_arrays import read_pixels, serve_arrays

ndimage = pytest.importorskip("scipy.ndimage")

SIDE = 64
RANDOM = np.random.default_rng(13)
SPECTRA = RANDOM.uniform(0.05, 0.6, (4, SIDE, SIDE))
BANDS = ["B1", "B2", "B3", "B4"]
HEIGHTS = np.cumsum(np.cumsum(RANDOM.integers(-9, 10, (1, SIDE, SIDE)), axis=1), axis=2).astype(np.int16)
SHAPES = (ndimage.gaussian_filter(RANDOM.normal(size=(300, 300)), 6) < 0.02).astype(np.uint8)[None]


@pytest.fixture(scope="module")
def ee(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Any:
    """The client, on random spectra, heights, and shapes of zeros."""
    images = {
        "test/spectra": (SPECTRA, BANDS), "test/heights": (HEIGHTS, ["B1"]), "test/shapes": (SHAPES, ["B1"])
    }  # fmt: skip
    return serve_arrays(tmp_path_factory.mktemp("morphology"), serve, images)


def read(ee: Any, image: Any, side: int = SIDE) -> Any:
    return read_pixels(ee, image, 0, 0, side, side)


@pytest.mark.slow
def test_derivatives_are_those_of_numpy(ee: Any) -> None:
    """apidocs/ee-image-derivative: two bands for each, with the suffixes _x and _y, in pixel coordinates."""
    image = ee.Image("test/spectra").select(["B1", "B2"]).derivative()
    assert image.bandNames().getInfo() == ["B1_x", "B1_y", "B2_x", "B2_y"]
    found, mask = read(ee, image), read(ee, image.mask())
    inner = np.s_[1:-1, 1:-1]
    for band in (0, 1):
        down, across = np.gradient(SPECTRA[band])
        assert np.allclose(found[f"B{band + 1}_x"][inner], across[inner])
        assert np.allclose(found[f"B{band + 1}_y"][inner], down[inner])
    assert not mask["B1_x"][:, 0].any()
    assert mask["B1_x"][0, 1:-1].all()
    assert not mask["B1_y"][0].any()


class TestSpectralDistance:
    @pytest.mark.slow
    def test_the_earth_mover_s_distance_is_that_of_scipy(self, ee: Any) -> None:
        stats = pytest.importorskip("scipy.stats")
        image = ee.Image("test/spectra")
        found = read(ee, image.spectralDistance(image.translate(10, 0), "emd"))["distance"]
        for row, column in ((5, 5), (20, 40), (60, 1)):
            here, west = SPECTRA[:, row, column], SPECTRA[:, row, column - 1]
            expected = stats.wasserstein_distance(np.arange(4), np.arange(4), here, west)
            assert found[row, column] == pytest.approx(expected)

    def test_unknown_metrics_are_refused(self, ee: Any) -> None:
        image = ee.Image("test/spectra")
        for call in (image.spectralErosion, image.spectralGradient):
            with pytest.raises(
                ee.EEException, match=r"Unknown metric 'far'\. Must be one of 'emd', 'sam', 'sed', 'sid'"
            ):
                call("far").getInfo()


def angle(a: Any, b: Any) -> float:
    """The spectral angle (Kruse et al. 1993)."""
    return float(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


def squares(a: Any, b: Any) -> float:
    return float(((a - b) ** 2).sum())


class TestSpectralMorphology:
    @pytest.mark.parametrize(("name", "metric"), [("sam", angle), ("sed", squares)])
    @pytest.mark.parametrize("centroid", [False, True])
    def test_spectra_are_picked_by_their_distance(self, ee: Any, name: str, metric: Any, centroid: bool) -> None:
        """Plaza et al. 2002: the pixel under the kernel that is nearest, or farthest, and the distance of both."""
        image = ee.Image("test/spectra")
        eroded, dilated = image.spectralErosion(name, None, centroid), image.spectralDilation(name, None, centroid)
        assert eroded.bandNames().getInfo() == dilated.bandNames().getInfo() == BANDS
        gradient = image.spectralGradient(name, None, centroid)
        assert gradient.bandNames().getInfo() == ["gradient"]
        near, far, size = read(ee, eroded), read(ee, dilated), read(ee, gradient)["gradient"]
        for row, column in ((1, 1), (17, 40), (62, 33)):
            window = SPECTRA[:, row - 1 : row + 2, column - 1 : column + 2].reshape(4, 9).T
            origin = window.mean(axis=0) if centroid else SPECTRA[:, row, column]
            distances = [metric(spectrum, origin) for spectrum in window]
            nearest, farthest = window[np.argmin(distances)], window[np.argmax(distances)]
            assert np.allclose([near[band][row, column] for band in BANDS], nearest)
            assert np.allclose([far[band][row, column] for band in BANDS], farthest)
            assert size[row, column] == pytest.approx(metric(farthest, nearest))

    def test_the_kernel_says_who_is_a_neighbour(self, ee: Any) -> None:
        kernel = ee.Kernel.fixed(3, 1, [[0, 0, 1]])
        found = read(ee, ee.Image("test/spectra").spectralDilation("sed", kernel))
        assert np.allclose(found["B3"][:, :-1], SPECTRA[2][:, 1:])

    def test_masked_neighbours_do_not_count(self, ee: Any) -> None:
        image = ee.Image("test/spectra")
        alone = image.updateMask(image.select("B1").gt(2).Or(ee.Image.pixelLonLat().select("longitude").gt(-180)))
        assert np.allclose(read(ee, alone.spectralErosion("sed"))["B2"], SPECTRA[1])
        bright = image.updateMask(image.select("B1").gt(0.3))
        mask = read(ee, bright.spectralGradient().mask())["gradient"]
        assert np.array_equal(mask == 1, SPECTRA[0] > 0.3)


class TestReverseDistance:
    def test_discs_are_those_of_a_buffer(self, ee: Any) -> None:
        """apidocs/ee-image-rsedtransform: a buffer of each pixel by the square root of its value."""
        rows, columns = np.indices((SIDE, SIDE))
        heights = np.zeros((SIDE, SIDE), dtype=int)
        for row, column, value in ((20, 20, 50), (24, 25, 100), (50, 40, 7)):
            heights[row, column] = value
        lattice = ee.Projection("EPSG:32613", [10, 0, 499_200, 0, -10, 4_400_640])
        here = ee.Image.pixelCoordinates(lattice).floor()
        x, y = here.select("x"), here.select("y")
        image = ee.Image(0)
        for row, column in np.argwhere(heights).tolist():
            image = image.add(x.eq(column).And(y.eq(row)).multiply(int(heights[row, column])))
        (name,) = image.bandNames().getInfo()
        found = read(ee, image.rsedTransform(30))[name]
        surfaces = [
            heights[row, column] - (rows - row) ** 2 - (columns - column) ** 2
            for row, column in np.argwhere(heights).tolist()
        ]
        assert np.array_equal(found, np.maximum(np.max(surfaces, axis=0), 0))

    @pytest.mark.slow
    def test_the_medial_axis_restores_its_shape(self, ee: Any) -> None:
        """Coeurjolly and Montanvert 2007: the discs of the power points cover the shape, and nothing else."""
        axis = ee.Image("test/shapes").medialAxis(64)
        assert axis.bandNames().getInfo() == ["medial", "coverage", "xlabel", "ylabel"]
        found = read(ee, axis, 256)
        shape = SHAPES[0, :256, :256] == 0
        restored = read(ee, axis.select("medial").rsedTransform(64), 256)["medial"] > 0
        inner = np.s_[64:192, 64:192]
        assert np.array_equal(restored[inner], shape[inner])
        assert 0 < np.count_nonzero(found["medial"]) < 0.5 * shape.sum()
        squares_of = ndimage.distance_transform_edt(SHAPES[0] == 0)[:256, :256] ** 2
        medial = found["medial"] > 0
        assert np.allclose(found["medial"][medial], squares_of[medial])

    def test_labels_lead_to_power_points(self, ee: Any) -> None:
        axis = ee.Image("test/shapes").medialAxis(64)
        found, mask = read(ee, axis, 256), read(ee, axis.select("xlabel").mask(), 256)["xlabel"] == 1
        assert np.array_equal(mask, SHAPES[0, :256, :256] == 0)
        rows, columns = np.indices(mask.shape)
        to = (rows + found["ylabel"])[mask], (columns + found["xlabel"])[mask]
        inside = (to[0] >= 0) & (to[0] < 256) & (to[1] >= 0) & (to[1] < 256)
        reached = np.zeros(mask.shape, dtype=int)
        np.add.at(reached, (to[0][inside], to[1][inside]), 1)
        inner = np.s_[64:192, 64:192]
        assert np.array_equal(reached[inner], found["coverage"][inner])

    def test_what_cannot_be_is_refused(self, ee: Any) -> None:
        image = ee.Image("test/shapes")
        for call in (image.medialAxis, image.rsedTransform):
            with pytest.raises(ee.EEException, match="Only 'pixels' are supported"):
                call(10, "meters").getInfo()
            with pytest.raises(ee.EEException, match="neighborhood must be positive"):
                call(0).getInfo()


def reconstructed(values: Any, border: int | None) -> Any:
    """Morphological reconstruction by erosion (Soille 1999), by scipy's erosion until nothing changes."""
    outer = (
        np.pad(values.astype(float), 1, mode="edge")
        if border is None
        else np.pad(values.astype(float), 1, constant_values=border)
    )
    marker = np.full(outer.shape, outer.max())
    marker[[0, -1]], marker[:, [0, -1]] = outer[[0, -1]], outer[:, [0, -1]]
    while True:
        eroded = np.maximum(ndimage.grey_erosion(marker, size=(3, 3)), outer)
        eroded[[0, -1]], eroded[:, [0, -1]] = outer[[0, -1]], outer[:, [0, -1]]
        if np.array_equal(eroded, marker):
            return marker[1:-1, 1:-1]
        marker = eroded


class TestFillMinima:
    @pytest.mark.parametrize("border", [None, -30])
    def test_minima_are_filled_as_by_reconstruction(self, ee: Any, border: int | None) -> None:
        image = ee.Terrain.fillMinima(ee.Image("test/heights"), border, 0)
        found, expected = read(ee, image)["B1"], reconstructed(HEIGHTS[0], border)
        assert (found > HEIGHTS[0]).mean() > 0.01
        assert np.array_equal(found, expected)
        other = ee.ApiFunction.call_("FMask.fillMinima", ee.Image("test/heights"), border, 0)
        assert np.array_equal(read(ee, other)["B1"], expected)

    def test_only_whole_numbers_are_filled(self, ee: Any) -> None:
        with pytest.raises(ee.EEException, match="Only bands of integer types"):
            ee.Terrain.fillMinima(ee.Image("test/spectra")).getInfo()


class TestDisplace:
    @pytest.mark.parametrize(("mode", "order"), [("nearest_neighbor", 0), ("bilinear", 1)])
    def test_places_are_those_of_scipy(self, ee: Any, mode: str, order: int) -> None:
        """apidocs/ee-image-displace: the vector, in metres, is added to the place of the pixel."""
        lattice = ee.Projection("EPSG:32613", [10, 0, 499_200, 0, -10, 4_400_640])
        here = ee.Image.pixelCoordinates(lattice)
        displacement = here.select("x").multiply(1.7).subtract(31).addBands(here.select("y").multiply(-2.3).add(44))
        image = ee.Image("test/spectra").displace(displacement, mode)
        assert image.bandNames().getInfo() == BANDS
        found = read(ee, image)
        rows, columns = np.indices((SIDE, SIDE)).astype(float)
        columns, rows = columns + (1.7 * (columns + 0.5) - 31) / 10, rows - (-2.3 * (rows + 0.5) + 44) / 10
        inside = (columns > 0.5) & (columns < SIDE - 1.5) & (rows > 0.5) & (rows < SIDE - 1.5)
        assert inside.mean() > 0.5
        for band, name in enumerate(BANDS):
            expected = ndimage.map_coordinates(SPECTRA[band], [rows, columns], order=order)
            assert np.allclose(found[name][inside], expected[inside], atol=1e-6)

    def test_displacements_in_degrees_of_another_projection_are_in_metres(self, ee: Any) -> None:
        """A degree of WGS 84 has the 111,319 m of the equator, as in scales."""
        east = ee.Image.constant([111.319490793, 0]).setDefaultProjection("EPSG:4326", None, 100)
        image = ee.Image.pixelLonLat().reproject("EPSG:4326", None, 10).displace(east, "bilinear")
        place = ee.Geometry.Point(-105.1, 39.7)
        found = image.reduceRegion("first", place, 1, "EPSG:4326").getInfo()
        assert found["longitude"] == pytest.approx(-105.099, abs=1e-5)
        assert found["latitude"] == pytest.approx(39.7, abs=1e-5)

    def test_offsets_beyond_the_greatest_are_masked(self, ee: Any) -> None:
        lattice = ee.Projection("EPSG:32613", [10, 0, 499_200, 0, -10, 4_400_640])
        displacement = ee.Image.pixelCoordinates(lattice).select("x").multiply(10).addBands(ee.Image(0).rename("y"))
        image = ee.Image("test/spectra").displace(displacement, "bilinear", 105)
        mask = read(ee, image.mask())["B1"]
        assert mask[:, :10].all()
        assert not mask[:, 11:].any()

    def test_what_cannot_be_is_refused(self, ee: Any) -> None:
        image = ee.Image("test/spectra")
        with pytest.raises(ee.EEException, match="Unknown mode 'cubic'"):
            image.displace(ee.Image([1, 1]), "cubic").getInfo()
        with pytest.raises(ee.EEException, match="must have two scalar bands"):
            image.displace(ee.Image(1)).getInfo()
