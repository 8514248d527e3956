"""Neighbourhoods, terrain, paths and colours of unusual rasters, against scipy, matplotlib and formulas of papers."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage, special
from scipy.optimize import nnls
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from local_tests.comparisons.odd_rasters import ODD_RASTERS

pytestmark = pytest.mark.slow

Arrays = np.ndarray


def pixels(ee: Any, image: Any, name: str, margin: int = 8) -> Arrays:
    """Return the first band of an image on the grid of a raster, without a margin; NaN where it is masked."""
    odd = ODD_RASTERS[name]
    _, height, width = odd.values.shape
    a, b, c, d, e, f = (odd.transform * Affine.translation(margin, margin))[:6]
    affine = {"scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e, "translateY": f}
    size = {"width": width - 2 * margin, "height": height - 2 * margin}
    image = ee.Image(image).select([0], ["v"])
    both = image.toDouble().unmask(0, False).addBands(image.mask().rename("mask"))
    grid = {"crsCode": odd.crs, "affineTransform": affine, "dimensions": size}
    found = ee.data.computePixels({"expression": both, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    return np.where(found["mask"] > 0, found["v"], np.nan)


def read(folder: Path, name: str) -> Arrays:
    with rasterio.open(folder / f"{name}.tif") as file:
        return file.read(1).astype(np.float64)


def inner(values: Arrays, margin: int = 8) -> Arrays:
    return values[margin:-margin, margin:-margin]


def disc(radius: float) -> Arrays:
    reach = int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.hypot(rows, columns) <= radius


Both = tuple[Callable[[Any, Any], Any], Callable[[Arrays], Arrays]]
PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
SKEWED = np.array([[1, 2, 0, -1, 3], [0, 4, -2, 1, 1], [2, 0, 5, 0, -3]])

FOCAL: dict[str, Both] = {
    "focalMax disc": (
        lambda ee, i: i.focalMax(3, "circle"),
        lambda v: ndimage.maximum_filter(v, footprint=disc(3), mode="nearest"),
    ),
    "focalMin square": (lambda ee, i: i.focalMin(2, "square"), lambda v: ndimage.minimum_filter(v, 5)),
    "focalMedian plus": (lambda ee, i: i.focalMedian(1, "plus"), lambda v: ndimage.median_filter(v, footprint=PLUS)),
    "focalMean square": (lambda ee, i: i.focalMean(3, "square"), lambda v: ndimage.uniform_filter(v, 7)),
    "focalMean twice": (
        lambda ee, i: i.focalMean(1, "square", "pixels", 2),
        lambda v: ndimage.uniform_filter(ndimage.uniform_filter(v, 3), 3),
    ),
    "opening": (lambda ee, i: i.focalMin(1, "square").focalMax(1, "square"), lambda v: ndimage.grey_opening(v, (3, 3))),
    "closing": (lambda ee, i: i.focalMax(1, "square").focalMin(1, "square"), lambda v: ndimage.grey_closing(v, (3, 3))),
    "gradient of morphology": (
        lambda ee, i: i.focalMax(1, "square").subtract(i.focalMin(1, "square")),
        lambda v: ndimage.morphological_gradient(v, 3),
    ),
    "convolve asymmetric": (
        lambda ee, i: i.convolve(ee.Kernel.fixed(5, 3, SKEWED.tolist(), 2, 1, False)),
        lambda v: ndimage.correlate(v, SKEWED.astype(float)),
    ),
    "convolve rotated": (
        lambda ee, i: i.convolve(ee.Kernel.fixed(5, 3, SKEWED.tolist(), 2, 1, False).rotate(1)),
        lambda v: ndimage.correlate(v, np.rot90(SKEWED, -1).astype(float)),
    ),
    "sobel": (lambda ee, i: i.convolve(ee.Kernel.sobel()), lambda v: ndimage.correlate(v, SOBEL.astype(float))),
    "gaussian": (
        lambda ee, i: i.convolve(ee.Kernel.gaussian(6, 1.5)),
        lambda v: ndimage.gaussian_filter(v, 1.5, truncate=4.0),
    ),
    "laplacian4": (lambda ee, i: i.convolve(ee.Kernel.laplacian4()), lambda v: ndimage.laplace(v)),
    "stdDev": (
        lambda ee, i: i.reduceNeighborhood(ee.Reducer.stdDev(), ee.Kernel.square(2)),
        lambda v: ndimage.generic_filter(v, np.std, 5),
    ),
    "percentile": (
        lambda ee, i: i.reduceNeighborhood(ee.Reducer.percentile([30]), ee.Kernel.square(1)),
        lambda v: ndimage.generic_filter(v, lambda w: np.percentile(w, 30, method="hazen"), 3),
    ),
    "weighted mean": (
        lambda ee, i: i.reduceNeighborhood(
            ee.Reducer.mean(), ee.Kernel.fixed(3, 3, [[1, 2, 1], [2, 4, 2], [1, 2, 1]], -1, -1, False)
        ),
        lambda v: ndimage.correlate(v, np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16),
    ),
    "kurtosis": (
        lambda ee, i: i.reduceNeighborhood(ee.Reducer.kurtosis(), ee.Kernel.square(2)),
        lambda v: ndimage.generic_filter(v, lambda w: ((w - w.mean()) ** 4).mean() / w.var() ** 2 - 3, 5),
    ),
    "translate": (lambda ee, i: i.translate(60, -90, "meters", i.projection()), lambda v: np.roll(v, (3, 2), (0, 1))),
}


@pytest.mark.parametrize("key", FOCAL)
def test_neighbourhoods_are_scipys(ee: Any, odd_folder: Path, key: str) -> None:
    ours, theirs = FOCAL[key]
    values = read(odd_folder, "dem")
    found = pixels(ee, ours(ee, ee.Image("odd/dem")), "dem")
    np.testing.assert_allclose(found, inner(theirs(values)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["turned_int8", "south_up_float64", "uint32_lzw"])
@pytest.mark.parametrize("key", ["focalMax disc", "convolve asymmetric", "focalMean square"])
def test_neighbourhoods_of_odd_grids(ee: Any, odd_folder: Path, name: str, key: str) -> None:
    """Kernels in pixels lie on rows and columns, wherever north is."""
    ours, theirs = FOCAL[key]
    found = pixels(ee, ours(ee, ee.Image(f"odd/{name}").select(0)), name)
    expected = inner(theirs(read(odd_folder, name)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_distances_are_those_of_scipy(ee: Any, odd_folder: Path) -> None:
    """fastDistanceTransform: squared distances in pixels to the nearest pixel that is not zero."""
    goal = read(odd_folder, "dem") > 1500
    image = ee.Image("odd/dem").gt(1500)
    expected = ndimage.distance_transform_edt(~goal) ** 2
    found = pixels(ee, image.fastDistanceTransform(64), "dem", 0)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("eight", [True, False])
def test_components_are_those_of_scipy(ee: Any, odd_folder: Path, eight: bool) -> None:
    zones = read(odd_folder, "zones")
    expected = np.zeros(zones.shape)
    structure = np.ones((3, 3)) if eight else None
    for value in np.unique(zones):
        labels, _ = ndimage.label(zones == value, structure)
        expected += np.where(zones == value, np.bincount(labels.ravel())[labels], 0)
    found = pixels(ee, ee.Image("odd/zones").connectedPixelCount(1024, eight), "zones", 0)
    np.testing.assert_array_equal(found, expected)


def test_labels_part_what_scipy_parts(ee: Any, odd_folder: Path) -> None:
    zones = read(odd_folder, "zones")
    image = ee.Image("odd/zones").eq(2).selfMask()
    kernel = ee.Kernel.plus(1)
    found = pixels(ee, image.connectedComponents(kernel, 1024).select("labels"), "zones", 0)
    labels, count = ndimage.label(zones == 2)
    assert np.array_equal(np.isnan(found), labels == 0)
    pairs = set(zip(labels[labels > 0].tolist(), found[labels > 0].tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == count


def test_least_costs_are_those_of_dijkstra(ee: Any, odd_folder: Path) -> None:
    """A step costs its length times the mean of both pixels' costs; eight neighbours; nothing leads round the image."""
    cost = read(odd_folder, "dem") / 100
    height, width = cost.shape
    index = np.arange(cost.size).reshape(cost.shape)
    edges = []
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - row, max(0, -column) : width - max(0, column)]
        there = np.s_[row:, max(0, column) : width + min(0, column)]
        length = 30 * np.hypot(row, column)
        edges.append((index[here].ravel(), index[there].ravel(), ((cost[here] + cost[there]) / 2 * length).ravel()))
    start, end, weight = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = coo_matrix((weight, (start, end)), (cost.size, cost.size)).tocsr()
    expected = dijkstra(graph, directed=False, indices=index[11, 17]).reshape(cost.shape)
    t = ODD_RASTERS["dem"].transform
    point = ee.Geometry.Point(list(t * (17.5, 11.5)), "EPSG:25832")
    source = ee.Image(0).toByte().paint(ee.FeatureCollection([ee.Feature(point)]), 1)
    image = ee.Image("odd/dem").divide(100).cumulativeCost(source, 4000, False)
    found = pixels(ee, image, "dem", 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def four(values: Arrays, size: tuple[float, float]) -> tuple[Arrays, Arrays]:
    """Rises to the east and to the north by four neighbours, as the reference of ee.Terrain.slope says."""
    east = (np.roll(values, -1, 1) - np.roll(values, 1, 1)) / (2 * size[0])
    north = (np.roll(values, 1, 0) - np.roll(values, -1, 0)) / (2 * size[1])
    return east, north


@pytest.mark.parametrize(("azimuth", "elevation"), [(315, 30), (90, 60), (200, 45)])
def test_terrain_by_its_formulas(ee: Any, odd_folder: Path, azimuth: float, elevation: float) -> None:
    """Zevenbergen and Thorne's slope and aspect, and Lambert's law, on metres of UTM, 0.3% from the sphere's."""
    values = read(odd_folder, "dem")
    east, north = four(values, (30, 30))
    slope, aspect = np.arctan(np.hypot(east, north)), np.arctan2(-east, -north)
    image = ee.Image("odd/dem").rename("elevation")
    found = pixels(ee, ee.Terrain.slope(image), "dem")
    np.testing.assert_allclose(found, inner(np.degrees(slope)), rtol=4e-3)
    turned = np.abs((pixels(ee, ee.Terrain.aspect(image), "dem") - inner(np.degrees(aspect)) + 180) % 360 - 180)
    assert turned.max() < 2.5
    zenith = np.radians(90 - elevation)
    shade = np.cos(zenith) * np.cos(slope) + np.sin(zenith) * np.sin(slope) * np.cos(np.radians(azimuth) - aspect)
    found = pixels(ee, ee.Terrain.hillshade(image, azimuth, elevation), "dem")
    assert np.abs(found - inner(np.clip(255 * shade, 0, 255))).max() <= 1.5


@pytest.mark.parametrize("name", ["south_up_float64", "turned_int8", "flat_pixels"])
def test_slopes_of_odd_grids(ee: Any, odd_folder: Path, name: str) -> None:
    """On a grid that is south-up, turned, or of degrees that are no squares."""
    values = read(odd_folder, name)
    t = ODD_RASTERS[name].transform
    size = np.hypot(t.a, t.d), np.hypot(t.b, t.e)
    tolerance = 0.02
    if name == "flat_pixels":
        latitude = np.radians((t * (0, 30))[1])
        size = size[0] * 111_412.84 * np.cos(latitude) - 93.5 * np.cos(3 * latitude) * size[0], size[1] * 111_170
        tolerance = 0.05
    east, north = four(values, size)
    expected = inner(np.degrees(np.arctan(np.hypot(east, north))))
    found = pixels(ee, ee.Terrain.slope(ee.Image(f"odd/{name}").rename("elevation")), name)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=0.01)


def test_spectral_gradients(ee: Any, odd_folder: Path) -> None:
    """By metres of UTM, 0.3% from the sphere's."""
    values = read(odd_folder, "dem")
    gradient = ee.Image("odd/dem").gradient()
    east, north = four(values, (30, 30))
    np.testing.assert_allclose(pixels(ee, gradient.select("x"), "dem"), inner(east), rtol=4e-3, atol=1e-4)
    np.testing.assert_allclose(pixels(ee, gradient.select("y"), "dem"), inner(north), rtol=4e-3, atol=1e-4)


def _bands(folder: Path) -> Arrays:
    with rasterio.open(folder / "jpeg.tif") as file:
        return file.read().astype(np.float64)


def test_hue_saturation_and_value(ee: Any, odd_folder: Path) -> None:
    red, green, blue = _bands(odd_folder)[:, ::9, ::7] / 255
    image = ee.Image("odd/jpeg").divide(255)
    for index, name in enumerate(("hue", "saturation", "value")):
        found = pixels(ee, image.rgbToHsv().select(name), "jpeg", 0)[::9, ::7]
        expected = np.vectorize(lambda r, g, b, index=index: colorsys.rgb_to_hsv(r, g, b)[index])(red, green, blue)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_colours_return_from_hsv(ee: Any, odd_folder: Path) -> None:
    image = ee.Image("odd/jpeg").divide(255)
    for index, band in enumerate(_bands(odd_folder) / 255):
        found = pixels(ee, image.rgbToHsv().hsvToRgb().select(index), "jpeg", 0)
        np.testing.assert_allclose(found, band, atol=1e-6)


ENDMEMBERS = np.array([[200.0, 20, 10], [30, 180, 40], [15, 60, 220]])


@pytest.mark.parametrize(("sums", "positive"), [(False, False), (False, True), (True, True), (True, False)])
def test_mixtures(ee: Any, odd_folder: Path, sums: bool, positive: bool) -> None:
    """Least squares: numpy's, scipy's nnls, and with a heavy row of ones where the fractions sum to one."""
    bands = _bands(odd_folder)[:, ::11, ::13].reshape(3, -1).T
    matrix = ENDMEMBERS.T
    image = ee.Image("odd/jpeg").unmix(ENDMEMBERS.tolist(), sums, positive)
    found = np.stack([pixels(ee, image.select(i), "jpeg", 0)[::11, ::13].ravel() for i in range(3)], axis=1)
    for ours, pixel in zip(found, bands, strict=True):
        heavy = 1e5
        left = np.vstack([matrix, heavy * np.ones(3)]) if sums else matrix
        right = np.append(pixel, heavy) if sums else pixel
        expected = nnls(left, right)[0] if positive else np.linalg.lstsq(left, right, rcond=None)[0]
        np.testing.assert_allclose(ours, expected, atol=2e-4)


MATH: dict[str, Both] = {
    "log10": (lambda ee, i: i.log10(), np.log10),
    "cbrt": (lambda ee, i: i.cbrt(), np.cbrt),
    "exp": (lambda ee, i: i.divide(1000).exp(), lambda v: np.exp(v / 1000)),
    "atan2": (lambda ee, i: i.atan2(ee.Image(700)), lambda v: np.arctan2(700, v)),
    "sinh": (lambda ee, i: i.divide(500).sinh(), lambda v: np.sinh(v / 500)),
    "erf": (lambda ee, i: i.divide(1200).erf(), lambda v: special.erf(v / 1200)),
    "mod": (lambda ee, i: i.mod(97), lambda v: v % 97),
    "pow": (lambda ee, i: i.pow(1.3), lambda v: v**1.3),
    "signum": (lambda ee, i: i.subtract(1000).signum(), lambda v: np.sign(v - 1000)),
    "firstNonZero": (lambda ee, i: i.gt(900).firstNonZero(i), lambda v: np.where(v > 900, 1, v)),
    "leftShift": (lambda ee, i: i.leftShift(3), lambda v: v * 8),
    "bitCount": (lambda ee, i: i.bitCount(), lambda v: np.vectorize(lambda n: int(n).bit_count())(v)),
    "unitScale": (lambda ee, i: i.unitScale(300, 1800), lambda v: (v - 300) / 1500),
    "clamp": (lambda ee, i: i.clamp(500, 900), lambda v: np.clip(v, 500, 900)),
    "interpolate": (
        lambda ee, i: i.interpolate([300, 600, 1800], [0, 10, -5]),
        lambda v: np.interp(v, [300, 600, 1800], [0, 10, -5]),
    ),
    "remap": (
        lambda ee, i: i.divide(100).int().remap(list(range(3, 19)), [n * n for n in range(3, 19)]),
        lambda v: (v // 100) ** 2,
    ),
    "polynomial": (
        lambda ee, i: i.divide(1000).polynomial([1, -2, 0.5, 3]),
        lambda v: np.polyval([3, 0.5, -2, 1], v / 1000),
    ),
    "where": (lambda ee, i: i.where(i.lt(800), i.multiply(-1)), lambda v: np.where(v < 800, -v, v)),
    "toUint8": (lambda ee, i: i.toUint8(), lambda v: np.clip(v, 0, 255)),
    "sldStyle": (lambda ee, i: i.toInt16().bitwiseXor(1234), lambda v: v.astype(int) ^ 1234),
    "digamma": (lambda ee, i: i.divide(100).digamma(), lambda v: special.digamma(v / 100)),
    "gammainc": (lambda ee, i: ee.Image(2.5).gammainc(i.divide(500)), lambda v: special.gammainc(v / 500, 2.5)),
}


@pytest.mark.parametrize("key", MATH)
def test_arithmetic_is_numpys(ee: Any, odd_folder: Path, key: str) -> None:
    ours, theirs = MATH[key]
    found = pixels(ee, ours(ee, ee.Image("odd/dem")), "dem", 0)
    np.testing.assert_allclose(found, theirs(read(odd_folder, "dem")), rtol=1e-6, atol=1e-9)
