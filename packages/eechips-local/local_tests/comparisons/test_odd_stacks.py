"""Stacks of images, coordinates and areas of pixels on unusual grids, against numpy, scipy, pandas and PROJ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scipy.stats
from pyproj import Geod, Transformer
from scipy import ndimage

from local_tests.comparisons.odd_rasters import ODD_RASTERS
from local_tests.comparisons.test_odd_neighborhoods import pixels
from local_tests.comparisons.test_odd_pixels import grid

pytestmark = pytest.mark.slow

Stack = np.ndarray


def layers(folder: Path) -> Stack:
    """Nine layers of a raster with missing pixels, NaN where they are masked, shape (9, height, width)."""
    with rasterio.open(folder / "nodata_deflate.tif") as file:
        bands = file.read(masked=True).astype(np.float64).filled(np.nan)
    moved = [np.roll(bands[i % 3], (i, 2 * i), (0, 1)) for i in range(9)]
    return np.stack([layer + 10 * i for i, layer in enumerate(moved)])


def stack(ee: Any) -> Any:
    """The same as images of a collection; those at the edges of the raster differ, which a margin leaves out."""
    image = ee.Image("odd/nodata_deflate")
    projection = image.projection()

    def layer(i: int) -> Any:
        moved = image.select([i % 3], ["v"]).translate(20 * i, -10 * i, "meters", projection).toFloat()
        return moved.add(10 * i).toFloat().set("system:time_start", 86_400_000 * i * i, "i", i)

    return ee.ImageCollection([layer(i) for i in range(9)])


def _nanmode(values: Stack) -> Any:
    return scipy.stats.mode(np.sort(values, axis=0), axis=0, nan_policy="omit").mode


STACKS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Stack], Any]]] = {
    "mean": (lambda ee, c: c.mean(), lambda v: np.nanmean(v, axis=0)),
    "median": (lambda ee, c: c.median(), lambda v: np.nanmedian(v, axis=0)),
    "percentile": (
        lambda ee, c: c.reduce(ee.Reducer.percentile([35])),
        lambda v: np.nanpercentile(v, 35, axis=0, method="hazen"),
    ),
    "stdDev": (lambda ee, c: c.reduce(ee.Reducer.sampleStdDev()), lambda v: np.nanstd(v, axis=0, ddof=1)),
    "skew": (lambda ee, c: c.reduce(ee.Reducer.skew()), lambda v: scipy.stats.skew(v, axis=0, nan_policy="omit")),
    "count": (lambda ee, c: c.count(), lambda v: (~np.isnan(v)).sum(axis=0)),
    "mosaic": (
        lambda ee, c: c.mosaic(),
        lambda v: np.take_along_axis(v, (len(v) - 1 - np.argmax(~np.isnan(v[::-1]), axis=0))[None], 0)[0],
    ),
    "first": (
        lambda ee, c: c.reduce(ee.Reducer.firstNonNull()),
        lambda v: np.take_along_axis(v, np.argmax(~np.isnan(v), axis=0)[None], 0)[0],
    ),
    "range": (lambda ee, c: c.max().subtract(c.min()), lambda v: np.nanmax(v, axis=0) - np.nanmin(v, axis=0)),
    "mode": (lambda ee, c: c.map(lambda i: i.divide(700).floor()).mode(), lambda v: _nanmode(np.floor(v / 700))),
    "quality": (
        lambda ee, c: c.map(lambda i: i.addBands(i.multiply(-1).rename("q"))).qualityMosaic("q"),
        lambda v: np.nanmin(v, axis=0),
    ),
    "slope": (
        lambda ee, c: c.map(lambda i: ee.Image(ee.Number(i.get("i"))).toFloat().addBands(i)).reduce(
            ee.Reducer.linearFit()
        ),
        lambda v: _slopes(v),
    ),
    "sens": (
        lambda ee, c: c.map(lambda i: ee.Image(ee.Number(i.get("i"))).toFloat().addBands(i)).reduce(
            ee.Reducer.sensSlope()
        ),
        lambda v: _each(v, lambda y, x: scipy.stats.theilslopes(y, x)[0]),
    ),
    "kendall": (
        lambda ee, c: c.map(lambda i: ee.Image(ee.Number(i.get("i"))).toFloat().addBands(i)).reduce(
            ee.Reducer.kendallsCorrelation(2)
        ),
        lambda v: _each(v, lambda y, x: scipy.stats.kendalltau(x, y).statistic),
    ),
    "array sorted": (
        lambda ee, c: c.map(lambda i: i.unmask(-1, False)).toArray().arrayProject([0]).arraySort().arrayGet([4]),
        lambda v: np.sort(np.nan_to_num(v, nan=-1), axis=0)[4],
    ),
    "array length": (lambda ee, c: c.toArray().arrayLength(0), lambda v: (~np.isnan(v)).sum(axis=0)),
    "array norm": (
        lambda ee, c: c.toArray().arrayProject([0]).pow(2).arrayReduce("sum", [0]).arrayGet([0]).sqrt(),
        lambda v: np.sqrt(np.nansum(v**2, axis=0)),
    ),
    "bands": (
        lambda ee, c: c.map(lambda i: i.unmask(0, False)).toBands().reduce("max"),
        lambda v: np.nan_to_num(v).max(axis=0),
    ),
    "iterate": (
        lambda ee, c: ee.Image(
            c.iterate(lambda i, p: ee.Image(p).multiply(0.5).add(ee.Image(i).unmask(0, False)), ee.Image(0).toDouble())
        ),
        lambda v: sum(0.5 ** (8 - i) * np.nan_to_num(layer) for i, layer in enumerate(v)),
    ),
    "interval": (
        lambda ee, c: c.filterDate(86_400_000 * 4, 86_400_000 * 30).sum(),
        lambda v: np.nansum(v[2:6], axis=0),
    ),
    "sorted": (
        lambda ee, c: c.sort("i", False).mosaic(),
        lambda v: np.take_along_axis(v, np.argmax(~np.isnan(v), axis=0)[None], 0)[0],
    ),
    "or": (
        lambda ee, c: c.map(lambda i: i.gt(2900)).reduce(ee.Reducer.anyNonZero()),
        lambda v: (np.nan_to_num(v) > 2900).any(axis=0),
    ),
}


def _each(values: Stack, statistic: Callable[[Stack, Stack], float]) -> Stack:
    out = np.full(values.shape[1:], np.nan)
    for row, column in np.ndindex(*out.shape):
        there = ~np.isnan(values[:, row, column])
        if there.sum() > 1:
            out[row, column] = statistic(values[there, row, column], np.flatnonzero(there).astype(float))
    return out


def _slopes(values: Stack) -> Stack:
    return _each(values, lambda y, x: float(np.polyfit(x, y, 1)[0]))


@pytest.mark.parametrize("key", STACKS)
def test_stacks_are_reduced_as_by_numpy(ee: Any, odd_folder: Path, key: str) -> None:
    ours, theirs = STACKS[key]
    margin = 18
    found = pixels(ee, ours(ee, stack(ee)), "nodata_deflate", margin)
    expected = np.asarray(theirs(layers(odd_folder)[:, margin:-margin, margin:-margin]), float)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["turned_int8", "nan_zstd", "sheared", "sinusoidal", "antimeridian", "masked"])
def test_coordinates_of_pixels_are_projs(ee: Any, name: str) -> None:
    odd = ODD_RASTERS[name]
    columns, rows = np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5)
    x, y = odd.transform * (columns, rows)
    longitudes, latitudes = Transformer.from_crs(odd.crs, "EPSG:4326", always_xy=True).transform(x, y)
    image = ee.Image.pixelLonLat().addBands(ee.Image.pixelCoordinates(ee.Image(f"odd/{name}").select(0).projection()))
    crs = ee.Image(f"odd/{name}").select(0).projection().getInfo()
    where = grid(crs.get("crs", crs.get("wkt")), odd.transform, 20, 20)
    found = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": where})
    turns = (found["longitude"] - longitudes) / 360
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    np.testing.assert_allclose(found["latitude"], latitudes, atol=1e-8)
    np.testing.assert_allclose(found["x"] % 1000, columns % 1000, atol=1e-5)
    np.testing.assert_allclose(found["y"], rows, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["turned_int8", "nan_zstd", "sheared", "sinusoidal", "antimeridian", "flat_pixels", "one_row"]
)
def test_areas_of_pixels_are_those_on_the_ellipsoid(ee: Any, name: str) -> None:
    odd = ODD_RASTERS[name]
    _, height, width = odd.values.shape
    crs = ee.Image(f"odd/{name}").select(0).projection().getInfo()
    where = grid(crs.get("crs", crs.get("wkt")), odd.transform, width, height)
    request = {"expression": ee.Image.pixelArea(), "fileFormat": "NUMPY_NDARRAY", "grid": where}
    found = ee.data.computePixels(request)["area"]
    to = Transformer.from_crs(odd.crs, "EPSG:4326", always_xy=True)
    for row, column in ((0, 0), (height - 1, width // 2), (height // 2, width - 1)):
        ring = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)]
        edge = [
            (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t)
            for a, b in zip(ring, ring[1:] + ring[:1], strict=True)
            for t in (0, 0.25, 0.5, 0.75)
        ]
        degrees = [to.transform(*(odd.transform * corner)) for corner in edge]
        expected = abs(Geod(ellps="WGS84").polygon_area_perimeter(*zip(*degrees, strict=True))[0])
        assert found[row, column] == pytest.approx(expected, rel=2e-3)


@pytest.mark.exhaustive
def test_components_are_reduced_as_by_scipy(ee: Any, odd_folder: Path) -> None:
    """reduceConnectedComponents: the mean of a band over each component of the zones."""
    with rasterio.open(odd_folder / "zones.tif") as file:
        zones = file.read(1)
    columns = np.indices(zones.shape)[1].astype(float)
    expected = np.zeros(zones.shape)
    for value in np.unique(zones):
        labels, count = ndimage.label(zones == value, np.ones((3, 3)))
        means = ndimage.mean(columns, labels, np.arange(1, count + 1))
        expected += np.where(labels > 0, np.append(0, means)[labels], 0)
    projection = ee.Image("odd/zones").projection()
    labels = ee.Image("odd/zones").connectedComponents(ee.Kernel.square(1), 1024).select("labels")
    image = ee.Image.pixelCoordinates(projection).select("x").subtract(0.5).addBands(labels)
    found = pixels(ee, image.reduceConnectedComponents(ee.Reducer.mean(), "labels", 1024), "zones", 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["turned_int8", "south_up_float64", "masked"])
def test_rectangles_of_samples_are_blocks(ee: Any, odd_folder: Path, name: str) -> None:
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        expected = file.read(1, masked=True)[10:22, 7:27].astype(float).filled(-1)
    image = ee.Image(f"odd/{name}").select([0], ["v"])
    region = ee.Geometry.Rectangle([7.2, 10.2, 26.8, 21.8], image.projection(), False)
    found = np.array(image.sampleRectangle(region, [], -1).get("v").getInfo(), float)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("name", ["nan_zstd", "nodata_deflate", "antimeridian"])
def test_values_of_points_are_rasterios(ee: Any, odd_folder: Path, name: str) -> None:
    """sampleRegions and getRegion at twenty points in degrees, against ``rasterio.sample``."""
    odd = ODD_RASTERS[name]
    _, height, width = odd.values.shape
    random = np.random.default_rng(9)
    columns, rows = random.uniform(0, width, 20), random.uniform(0, height, 20)
    x, y = odd.transform * (columns, rows)
    with rasterio.open(odd_folder / f"{name}.tif") as file:
        values = [
            v[0] if not np.ma.getmaskarray(v)[0] else None for v in file.sample(zip(x, y, strict=True), 1, masked=True)
        ]
    longitudes, latitudes = Transformer.from_crs(odd.crs, "EPSG:4326", always_xy=True).transform(x, y)
    places = list(map(list, zip(longitudes.tolist(), latitudes.tolist(), strict=True)))
    image = ee.Image(f"odd/{name}").select([0], ["v"])
    table = ee.FeatureCollection([ee.Feature(ee.Geometry.Point(place), {"n": i}) for i, place in enumerate(places)])
    drawn = image.sampleRegions(table, ["n"]).reduceColumns(ee.Reducer.toList(2), ["n", "v"]).getInfo()["list"]
    assert dict(drawn) == pytest.approx({i: v for i, v in enumerate(values) if v is not None})
    reduced = image.reduceRegions(table, ee.Reducer.first().setOutputs(["v"]))
    assert len(reduced.filter(ee.Filter.notNull(["v"])).aggregate_array("n").getInfo()) == sum(
        v is not None for v in values
    )
