"""Reductions of unusual rasters over regions, against exactextract, numpy, scipy, pandas and scikit-learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import scipy.stats
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from pyproj import Transformer
from rasterio.features import geometry_mask, rasterize, shapes
from sklearn.linear_model import LinearRegression, Ridge

from local_tests.comparisons.odd_rasters import ODD_RASTERS, OddRaster
from local_tests.support.region_weights import counted, moments

pytestmark = pytest.mark.slow

Region = tuple[np.ma.MaskedArray, np.ndarray, dict[str, Any], Any]


def ring(odd: OddRaster) -> shapely.Polygon:
    """A star with a hole within a raster, in pixels."""
    _, height, width = odd.values.shape
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False) + 0.1
    radii = np.where(np.arange(14) % 2, 0.47, 0.21)
    star = np.stack([width * (0.5 + radii * np.cos(angles)), height * (0.5 + radii * np.sin(angles))], axis=1)
    hole = [(width * 0.5, height * 0.5), (width * 0.58, height * 0.52), (width * 0.53, height * 0.6)]
    return shapely.Polygon(star, [hole])


def planar(ee: Any, name: str, shape: shapely.Polygon) -> Any:
    """A polygon in columns and rows of an image: the coordinates of its projection with a transform."""
    rings = [[list(at) for at in ring.coords] for ring in (shape.exterior, *shape.interiors)]
    return ee.Geometry.Polygon(rings, ee.Image(f"odd/{name}").select(0).projection(), False)


def cover(odd: OddRaster, values: np.ma.MaskedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of pixels in the star, by exactextract, and whether their centres are in it, by GDAL.

    In pixels, with rows upwards, so that neither shear nor rotation matters.
    """
    height, width = values.shape
    shape = shapely.transform(ring(odd), lambda at: at * [1, -1] + [0, height])
    source = NumPyRasterSource(np.arange(values.size, dtype=np.float64).reshape(values.shape), 0, 0, width, height)
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
    found = exact_extract(source, [feature], ["values", "coverage"])[0]["properties"]
    parts = np.zeros(values.shape)
    parts.ravel()[np.asarray(found["values"]).astype(int)] = counted(found["coverage"])
    inside = rasterize([ring(odd)], values.shape).astype(bool)
    return parts, inside


NAMES = [
    "turned_int8", "south_up_float64", "uint32_lzw", "nan_zstd", "nodata_deflate", "masked", "sheared", "dem",
    "centimetres", "pole",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_weighted_moments(ee: Any, odd_folder: Path, name: str) -> None:
    odd = ODD_RASTERS[name]
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values = file.read(1, masked=True)
    parts, inside = cover(odd, values)
    valid = ~np.ma.getmaskarray(values)
    r = ee.Reducer
    reducer = r.mean().combine(r.sum(), None, True).combine(r.variance(), None, True).combine(r.stdDev(), None, True)
    reducer = reducer.combine(r.count(), None, True).combine(r.minMax(), None, True)
    found = ee.Image(f"odd/{name}").select([0], ["v"]).reduceRegion(reducer, planar(ee, name, ring(odd))).getInfo()
    taken = valid & (parts > 0)
    expected = moments(values.data[taken].astype(np.float64), parts[taken])
    for key, number in expected.items():
        assert found[f"v_{key}"] == pytest.approx(number, rel=1e-5), key
    centres = values.data[valid & inside]
    assert found["v_count"] == len(centres)
    assert (found["v_min"], found["v_max"]) == (centres.min(), centres.max())


def _kendall(a: Any, b: Any) -> float:
    return float(scipy.stats.kendalltau(a, b).statistic)


def _ridge(a: np.ndarray, b: np.ndarray, penalty: float) -> list[list[float]]:
    """Slope and intercept, with the penalty on the standardised variable."""
    fit = Ridge(penalty).fit((a[:, None] - a.mean()) / a.std(), b)
    slope = fit.coef_[0] / a.std()
    return [[slope], [fit.intercept_ - slope * a.mean()]]


UNWEIGHTED: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = {
    "median": (lambda r: r.median(), np.median),
    "mode": (lambda r: r.mode(), lambda v: scipy.stats.mode(v).mode),
    "p7": (lambda r: r.percentile([7]), lambda v: np.percentile(v, 7, method="hazen")),
    "p93": (lambda r: r.percentile([93]), lambda v: np.percentile(v, 93)),
    "range": (lambda r: r.minMax(), lambda v: np.ptp(v.astype(int))),
    "sampleVariance": (lambda r: r.sampleVariance(), lambda v: np.var(v, ddof=1)),
    "sampleStdDev": (lambda r: r.sampleStdDev(), lambda v: np.std(v, ddof=1)),
    "skew": (lambda r: r.skew(), scipy.stats.skew),
    "kurtosis": (lambda r: r.kurtosis(), scipy.stats.kurtosis),
    "product": (lambda r: r.product(), lambda v: np.prod(v.astype(float))),
    "countDistinct": (lambda r: r.countDistinct(), lambda v: len(np.unique(v))),
    "countDistinctNonNull": (lambda r: r.countDistinctNonNull(), lambda v: len(np.unique(v))),
    "countRuns": (lambda r: r.countRuns(), lambda v: 1 + int((np.diff(v.astype(float)) != 0).sum())),
    "first": (lambda r: r.first(), lambda v: v[0]),
    "last": (lambda r: r.last(), lambda v: v[-1]),
    "toList": (lambda r: r.toList(), lambda v: v.tolist()),
    "anyNonZero": (lambda r: r.anyNonZero(), lambda v: int(v.any())),
    "allNonZero": (lambda r: r.allNonZero(), lambda v: int(v.all())),
    "frequencyHistogram": (
        lambda r: r.frequencyHistogram(),
        lambda v: {str(k): n for k, n in Counter(v.tolist()).items()},
    ),
    "fixedHistogram": (
        lambda r: r.fixedHistogram(-60, 60, 8),
        lambda v: np.stack([np.linspace(-60, 60, 9)[:-1], np.histogram(v[v < 60], 8, (-60, 60))[0]], 1).tolist(),
    ),
    "intervalMean": (
        lambda r: r.intervalMean(20, 80, 4096),
        lambda v: np.mean(np.sort(v)[(np.arange(len(v)) >= 0.2 * len(v)) & (np.arange(len(v)) < 0.8 * len(v))]),
    ),
    "bitwiseOr": (lambda r: r.bitwiseOr(), lambda v: int(np.bitwise_or.reduce(v.astype(np.int64)))),
    "bitwiseAnd": (lambda r: r.bitwiseAnd(), lambda v: int(np.bitwise_and.reduce(v.astype(np.int64)))),
    "geometricMedian": (lambda r: r.geometricMedian(1), np.median),
    "circularMean": (
        lambda r: r.circularMean(),
        lambda v: np.arctan2(np.sin(v.astype(float)).mean(), np.cos(v.astype(float)).mean()),
    ),
    "circularVariance": (lambda r: r.circularVariance(), lambda v: scipy.stats.circvar(v.astype(float))),
    "circularStddev": (lambda r: r.circularStddev(), lambda v: scipy.stats.circstd(v.astype(float))),
}


@pytest.mark.parametrize("key", UNWEIGHTED)
def test_unweighted_statistics(ee: Any, odd_folder: Path, key: str) -> None:
    """Over pixels of a turned grid whose centres lie in a star, in the order of rows."""
    name = "turned_int8"
    odd = ODD_RASTERS[name]
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values = file.read(1)
    ours, theirs = UNWEIGHTED[key]
    image = ee.Image(f"odd/{name}").select([0], ["v"])
    if key == "product":
        values, image = values / 100, image.divide(100)
    reducer = ours(ee.Reducer).unweighted()
    found = image.reduceRegion(reducer, planar(ee, name, ring(odd))).getInfo()
    (value,) = (found["v_max"] - found["v_min"],) if key == "range" else found.values()
    expected = theirs(values[rasterize([ring(odd)], values.shape).astype(bool)])
    if key == "geometricMedian":  # of an even number: any point between the two in the middle
        assert abs(value - expected) <= 0.5
    elif key == "intervalMean":
        assert value == pytest.approx(float(expected), abs=1)
    elif isinstance(expected, dict | list):
        assert value == expected
    else:
        assert value == pytest.approx(float(expected), rel=1e-6)


PAIRED: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray, np.ndarray], dict[str, Any]]]] = {
    "linearFit": (
        lambda r: r.linearFit(),
        lambda a, b: dict(zip(("scale", "offset"), np.polyfit(a, b, 1), strict=True)),
    ),
    "pearsonsCorrelation": (
        lambda r: r.pearsonsCorrelation(),
        lambda a, b: {
            "correlation": scipy.stats.pearsonr(a, b).statistic,
            "p-value": scipy.stats.pearsonr(a, b).pvalue,
        },
    ),
    "spearmansCorrelation": (
        lambda r: r.spearmansCorrelation(),
        lambda a, b: {"correlation": scipy.stats.spearmanr(a, b).statistic},
    ),
    "kendallsCorrelation": (lambda r: r.kendallsCorrelation(2), lambda a, b: {"tau": _kendall(a, b)}),
    "sensSlope": (lambda r: r.sensSlope(), lambda a, b: {"slope": scipy.stats.theilslopes(b, a)[0]}),
    "covariance": (lambda r: r.covariance(), lambda a, b: {"covariance": np.cov(a, b, ddof=0).tolist()}),
    "centeredCovariance": (
        lambda r: r.centeredCovariance(),
        lambda a, b: {"covariance": np.array([a, b]) @ np.array([a, b]).T / len(a)},
    ),
    "linearRegression": (
        lambda r: r.linearRegression(2, 1),
        lambda a, b: {
            "coefficients": np.polyfit(a, b, 1)[::-1, None],
            "residuals": [np.sqrt(np.mean((b - np.polyval(np.polyfit(a, b, 1), a)) ** 2))],
        },
    ),
    "ridgeRegression": (lambda r: r.ridgeRegression(1, 1, 3.5), lambda a, b: {"coefficients": _ridge(a, b, 3.5)}),
}


@pytest.mark.parametrize("key", PAIRED)
def test_statistics_of_two_bands(ee: Any, odd_folder: Path, key: str) -> None:
    name = "nodata_deflate"
    odd = ODD_RASTERS[name]
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        bands = file.read([1, 2], masked=True)
    inside = rasterize([ring(odd)], bands.shape[1:]).astype(bool) & ~np.ma.getmaskarray(bands).any(axis=0)
    a, b = bands.data[:, inside].astype(np.float64)
    b = b + 0.3 * a
    image = ee.Image(f"odd/{name}").select([0, 1], ["a", "b"])
    image = image.select("a").addBands(image.select("b").add(image.select("a").multiply(0.3)))
    ours, theirs = PAIRED[key]
    if "ovariance" in key:
        image = image.toArray()
    elif key == "linearRegression":
        image = ee.Image(1).addBands(image)
    found = image.reduceRegion(
        ours(ee.Reducer).unweighted(), planar(ee, name, ring(odd)), None, ee.Image(f"odd/{name}").projection()
    ).getInfo()
    for output, expected in theirs(a, b).items():
        value = found.get(output, found.get("array"))
        np.testing.assert_allclose(
            np.asarray(value, float), expected, rtol=1e-5, atol=1e-9, err_msg=f"{output} of {found}"
        )


def test_grouped_sums_of_zones(ee: Any, odd_folder: Path) -> None:
    """Areas and means by zone: pandas' groupby, with weights of exactextract."""
    odd = ODD_RASTERS["zones"]
    with rasterio.open(odd_folder / "zones.tif") as file:
        zones = np.ma.array(file.read(1))
    _, columns = np.indices(zones.shape)
    parts, _ = cover(odd, zones)
    frame = pd.DataFrame({"zone": zones.data.ravel(), "part": parts.ravel(), "product": (parts * columns).ravel()})
    grouped = frame[frame.part > 0].groupby("zone").sum()
    projection = ee.Image("odd/zones").projection()
    place = ee.Image.pixelCoordinates(projection).select("x").subtract(0.5)
    image = ee.Image(1).addBands(place).addBands(ee.Image("odd/zones"))
    reducer = ee.Reducer.sum().repeat(2).group(2, "zone")
    found = image.reduceRegion(reducer, planar(ee, "zones", ring(odd)), None, projection).getInfo()["groups"]
    assert [group["zone"] for group in found] == grouped.index.tolist()
    for group, row in zip(found, grouped.itertuples(), strict=True):
        assert group["sum"] == pytest.approx([row.part, row.product], rel=1e-5)


@pytest.mark.parametrize("name", ["south_up_float64", "nodata_deflate", "masked"])
def test_regions_of_a_table(ee: Any, odd_folder: Path, name: str) -> None:
    """reduceRegions of twelve rectangles on edges of pixels: plain means of blocks."""
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values = file.read(1, masked=True)
    boxes = [(3 + 7 * i % 30, 2 + 5 * i % 21, 4 + i % 5, 3 + i % 7) for i in range(12)]
    corners = [shapely.box(x, y, x + w, y + h) for x, y, w, h in boxes]
    features = [ee.Feature(planar(ee, name, shape), {"n": i}) for i, shape in enumerate(corners)]
    table = ee.Image(f"odd/{name}").select(0).reduceRegions(ee.FeatureCollection(features), ee.Reducer.mean())
    found = table.reduceColumns(ee.Reducer.toList(2), ["n", "mean"]).getInfo()["list"]
    expected = [values[y : y + h, x : x + w].astype(float).mean() for x, y, w, h in boxes]
    assert [n for n, _ in found] == list(range(12))
    assert [mean for _, mean in found] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["south_up_float64", "turned_int8"])
def test_best_effort_takes_pixels_of_the_whole_region(ee: Any, odd_folder: Path, name: str) -> None:
    """Every fourth pixel of a region, where larger pixels are wanted: small rasters have no pyramid."""
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values = file.read(1)
    region = planar(ee, name, shapely.box(4, 4, 52, 36))
    image = ee.Image(f"odd/{name}")
    found = image.reduceRegion(ee.Reducer.toList(), region, maxPixels=100, bestEffort=True).getInfo()["b1"]
    assert found == values[6:36:4, 6:52:4].ravel().tolist()


def test_vectors_are_gdals_polygons(ee: Any, odd_folder: Path) -> None:
    with rasterio.open(odd_folder / "zones.tif") as file:
        zones, transform = file.read(1), file.transform
    table = ee.Image("odd/zones").reduceToVectors(
        geometry=ee.Image("odd/zones").geometry(), eightConnected=False, geometryInNativeProjection=True, maxPixels=1e6
    )
    info = table.getInfo()["features"]
    found = Counter((f["properties"]["label"], f["properties"]["count"]) for f in info)
    own = [(shapely.geometry.shape(shape), int(value)) for shape, value in shapes(zones, transform=transform)]
    assert found == Counter((value, round(shape.area / 3600)) for shape, value in own)
    ours = sorted((f["properties"]["label"], *shapely.geometry.shape(f["geometry"]).bounds) for f in info)
    theirs = sorted((value, *shape.bounds) for shape, value in own)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_painted_shapes_are_gdals(ee: Any) -> None:
    odd = ODD_RASTERS["dem"]
    _, height, width = odd.values.shape
    random = np.random.default_rng(3)
    polygons = [shapely.Polygon(random.uniform(4, 58, (3, 2))) for _ in range(6)]
    features = [ee.Feature(planar(ee, "dem", shape), {"n": i + 1}) for i, shape in enumerate(polygons)]
    painted = ee.Image(0).toByte().paint(ee.FeatureCollection(features), "n")
    a, b, c, d, e, f = odd.transform[:6]
    affine = {"scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e, "translateY": f}
    grid = {"crsCode": odd.crs, "affineTransform": affine, "dimensions": {"width": width, "height": height}}
    found = ee.data.computePixels({"expression": painted, "fileFormat": "NUMPY_NDARRAY", "grid": grid})["constant"]
    expected = rasterize([(shape, i + 1) for i, shape in enumerate(polygons)], (height, width))
    np.testing.assert_array_equal(found, expected)


def test_samples_are_the_pixels_of_the_region(ee: Any, odd_folder: Path) -> None:
    """``sample`` without a number takes each pixel whose centre is inside; masked ones only with dropNulls off."""
    odd = ODD_RASTERS["masked"]
    with rasterio.open(odd_folder / "masked.tif") as file:
        values = file.read(masked=True)
    inside = rasterize([ring(odd)], values.shape[1:]).astype(bool)
    valid = inside & ~np.ma.getmaskarray(values[0])
    image = ee.Image("odd/masked")
    region = planar(ee, "masked", ring(odd))
    table = image.sample(region, geometries=False)
    found = table.reduceColumns(ee.Reducer.toList(2), ["b1", "b2"]).getInfo()["list"]
    assert sorted(map(tuple, found)) == sorted(zip(*values.data[:, valid].tolist(), strict=True))
    assert image.sample(region, dropNulls=False).size().getInfo() == inside.sum()


def test_strata_have_so_many_points(ee: Any, odd_folder: Path) -> None:
    odd = ODD_RASTERS["zones"]
    with rasterio.open(odd_folder / "zones.tif") as file:
        zones = file.read(1)
    inside = rasterize([ring(odd)], zones.shape).astype(bool)
    there = Counter(zones[inside].tolist())
    drawn = ee.Image("odd/zones").stratifiedSample(
        40, "b1", planar(ee, "zones", ring(odd)), classValues=[0, 2], classPoints=[10_000, 7], seed=5
    )
    counts = drawn.aggregate_histogram("b1").getInfo()
    expected = {0: there[0], 1: min(40, there[1]), 2: 7, 3: min(40, there[3])}
    assert counts == {str(k): n for k, n in expected.items()}


def test_regression_of_several_bands(ee: Any, odd_folder: Path) -> None:
    with rasterio.open(odd_folder / "jpeg.tif") as file:
        bands = file.read().astype(np.float64)
    image = ee.Image("odd/jpeg")
    both = ee.Image(1).addBands(image)
    reducer = ee.Reducer.linearRegression(3, 1).unweighted()
    found = both.reduceRegion(reducer, image.geometry(), None, image.projection()).getInfo()
    x, y = bands[:2].reshape(2, -1).T, bands[2].ravel()
    fit = LinearRegression().fit(x, y)
    np.testing.assert_allclose(np.ravel(found["coefficients"]), [fit.intercept_, *fit.coef_], rtol=1e-5)


def test_pixels_of_a_line_and_of_points(ee: Any, odd_folder: Path) -> None:
    """A line takes the pixels that it touches: GDAL's ``all_touched``."""
    odd = ODD_RASTERS["dem"]
    with rasterio.open(odd_folder / "dem.tif") as file:
        values, transform, shape = file.read(1), file.transform, file.shape
    ends = [transform * (4.3, 5.1), transform * (57.2, 33.8), transform * (20.6, 61.9)]
    line = shapely.LineString(ends)
    touched = ~geometry_mask([line], shape, transform, all_touched=True)
    region = ee.Geometry.LineString([list(end) for end in ends], odd.crs, False)
    reducer = ee.Reducer.count().combine(ee.Reducer.max(), None, True)
    found = ee.Image("odd/dem").reduceRegion(reducer, region).getInfo()
    assert found == {"b1_count": touched.sum(), "b1_max": values[touched].max()}


@pytest.mark.parametrize("name", ["disc", "zones", "pole", "sheared"])
def test_points_all_over_the_world_take_the_pixels_of_pyproj(ee: Any, odd_folder: Path, name: str) -> None:
    """Points that a projection cannot show have no pixel."""
    places = np.stack(np.meshgrid(np.arange(-179.3, 180, 11), np.arange(-88.7, 90, 7)), axis=-1).reshape(-1, 2)
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values, transform, crs = file.read(1), file.transform, file.crs
    with np.errstate(invalid="ignore"):
        columns, rows = ~transform * Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(*places.T)
    held = (columns >= 0) & (columns < values.shape[1]) & (rows >= 0) & (rows < values.shape[0])
    expected = values[rows[held].astype(int), columns[held].astype(int)].tolist()
    features = [ee.Feature(ee.Geometry.Point(place), {"n": n}) for n, place in enumerate(places.tolist())]
    image, table = ee.Image(f"odd/{name}"), ee.FeatureCollection(features)
    reduced = image.reduceRegions(table, ee.Reducer.first()).filter(ee.Filter.notNull(["first"]))
    for found, column in [(reduced, "first"), (image.sampleRegions(table), "b1")]:
        rows_found = found.reduceColumns(ee.Reducer.toList(2), ["n", column]).getInfo()["list"]
        assert rows_found == [list(row) for row in zip(np.flatnonzero(held).tolist(), expected, strict=True)]


def test_the_disc_of_a_satellite_is_its_own_region(ee: Any, odd_folder: Path) -> None:
    with rasterio.open(odd_folder / "disc.tif") as file:
        values, crs, bounds = file.read(1), file.crs, file.bounds
    x, y = np.meshgrid(
        np.arange(bounds.left, bounds.right, 181_000) + 90_500, np.arange(bounds.top, bounds.bottom, -181_000) - 90_500
    )
    seen = np.isfinite(Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)[0])
    found = ee.Image("odd/disc").reduceRegion(ee.Reducer.sum().unweighted()).getInfo()
    assert found == {"b1": values[seen].sum()}
    world = ee.Geometry.Rectangle([-170, -80, 0, 80], None, False)
    with pytest.raises(ee.EEException, match="lies outside of what the projection can show"):
        ee.Image("odd/disc").reduceRegion(ee.Reducer.sum(), world).getInfo()
