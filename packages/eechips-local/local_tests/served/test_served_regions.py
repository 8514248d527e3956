"""Regions through the real client: series, tables, samples and reducers over real imagery, against exactextract."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import exactextract
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.warp import transform_geom

from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.real_store import NAIP

QUAD = "m_4709963_se_14_1_20170827"


@pytest.fixture(scope="module")
def ee(photograph_server: Server) -> Any:
    """The real client, on the photographs of the real data."""
    return initialize(photograph_server)


@pytest.fixture(scope="module")
def naip(real_data: Path) -> Path:
    """A quarter quad in North Dakota."""
    return real_data / "naip" / f"{QUAD}.tif"


def polygon(file: Any, rows: slice, columns: slice) -> tuple[list[Any], dict[str, Any]]:
    """A crooked polygon over a part of a file: its coordinates in degrees, and a feature in the file's projection.

    Edges have many vertices, so that it hardly matters in which of the two they are straight.
    """
    west, north = file.transform * (columns.start, rows.start)
    east, south = file.transform * (columns.stop, rows.stop)
    corners = [(west, (north + south) / 2), ((west + east) / 2, south), (east, north), (west, north)]
    own = shapely.segmentize(shapely.Polygon(corners), (east - west) / 500)
    geometry = shapely.geometry.mapping(own)
    degrees = transform_geom(file.crs, "EPSG:4326", geometry, precision=-1)
    return degrees["coordinates"], {"type": "Feature", "properties": {}, "geometry": geometry}


@pytest.mark.slow
def test_statistics_of_a_polygon(ee: Any, naip: Path) -> None:
    with rasterio.open(naip) as file:
        coordinates, feature = polygon(file, slice(200, 500), slice(100, 520))
    image = ee.Image(f"{NAIP}/{QUAD}")
    region = ee.Geometry.Polygon(coordinates, None, False)
    reducer = (
        ee.Reducer.mean().combine(ee.Reducer.stdDev(), sharedInputs=True).combine(ee.Reducer.sum(), sharedInputs=True)
    )
    found = image.reduceRegion(reducer, region).getInfo()
    (truth,) = exactextract.exact_extract(str(naip), [feature], ["mean", "stdev", "sum"])
    for index, band in enumerate("RGBN", 1):
        for ours, theirs in (("mean", "mean"), ("stdDev", "stdev"), ("sum", "sum")):
            assert found[f"{band}_{ours}"] == pytest.approx(truth["properties"][f"band_{index}_{theirs}"], rel=1e-6)


def test_histograms_and_groups(ee: Any, naip: Path) -> None:
    with rasterio.open(naip) as file:
        window = rasterio.windows.Window(300, 400, 200, 150)
        red, green = file.read([1, 2], window=window)
        west, south, east, north = rasterio.windows.bounds(window, file.transform)
        crs, transform = file.crs.to_string(), list(file.transform)[:6]
    image = ee.Image(f"{NAIP}/{QUAD}").select("R", "G")
    region = ee.Geometry.Rectangle([west, south, east, north], crs, False)
    grid = {"geometry": region, "crs": crs, "crsTransform": transform}
    counts = image.select("R").reduceRegion(ee.Reducer.frequencyHistogram(), **grid).getInfo()["R"]
    assert {int(k): v for k, v in counts.items()} == pytest.approx(dict(Counter(red.ravel().tolist())))
    zones = image.addBands(image.select("R").gt(100).rename("zone"))
    reducer = ee.Reducer.mean().repeat(2).group(2, "zone")
    groups = zones.reduceRegion(reducer, **grid).getInfo()["groups"]
    for group in groups:
        some = (red > 100) == bool(group["zone"])
        assert group["mean"] == pytest.approx([red[some].mean(), green[some].mean()])
    assert len(groups) == 2
    percentiles = image.reduceRegion(ee.Reducer.percentile([2, 98]).unweighted(), **grid).getInfo()
    assert percentiles["R_p2"] == np.percentile(red, 2)
    assert percentiles["G_p98"] == np.percentile(green, 98)
    fixed = image.select("R").reduceRegion(ee.Reducer.fixedHistogram(0, 250, 5).unweighted(), **grid).getInfo()["R"]
    assert [count for _, count in fixed] == np.histogram(red[red < 250], 5, (0, 250))[0].tolist()


@pytest.mark.slow
def test_ten_thousand_points(ee: Any, naip: Path) -> None:
    with rasterio.open(naip) as file:
        image = ee.Image(f"{NAIP}/{QUAD}").select("R", "N")
        points = ee.FeatureCollection.randomPoints(image.geometry(), 10_000, 5)
        reduced = image.reduceRegions(points, ee.Reducer.first())
        columns = reduced.reduceColumns(ee.Reducer.toList(3), ["system:index", "R", "N"]).getInfo()["list"]
        places = points.reduceColumns(ee.Reducer.toList(2), ["system:index", ".geo"]).getInfo()["list"]
        xy = np.array([p["coordinates"] for _, p in places])
        x, y = rasterio.warp.transform("EPSG:4326", file.crs, xy[:, 0], xy[:, 1])
        rows, cols = rasterio.transform.rowcol(file.transform, x, y)
        values = file.read([1, 4])
    inside = (rows >= 0) & (rows < values.shape[1]) & (cols >= 0) & (cols < values.shape[2])
    truth = {places[i][0]: values[:, rows[i], cols[i]].tolist() for i in np.flatnonzero(inside)}
    found = {index: [red, infrared] for index, red, infrared in columns}
    assert len(found) > 9900
    assert {index: truth[index] for index in found} == found


@pytest.mark.slow
def test_sample_regions_and_stratified_sample(ee: Any) -> None:
    image = ee.Image(f"{NAIP}/{QUAD}")
    classes = image.select("R").divide(64).toInt().rename("class").addBands(image)
    region = image.geometry().buffer(-200)
    drawn = classes.stratifiedSample(25, "class", region, seed=3, geometries=True)
    info = drawn.getInfo()["features"]
    assert set(Counter(f["properties"]["class"] for f in info).values()) == {25}
    assert all(f["properties"]["R"] // 64 == f["properties"]["class"] for f in info)
    assert info == classes.stratifiedSample(25, "class", region, seed=3, geometries=True).getInfo()["features"]
    again = image.sampleRegions(drawn, ["class"], geometries=True).getInfo()["features"]
    assert [f["properties"]["R"] for f in again] == [f["properties"]["R"] for f in info]
    for one, other in zip(info, again, strict=True):
        assert one["geometry"]["coordinates"] == pytest.approx(other["geometry"]["coordinates"], abs=1e-7)


def test_features_of_many_regions_flattened(ee: Any) -> None:
    """The idiom fc.map(lambda f: image.sample(...)).flatten()."""
    image = ee.Image(f"{NAIP}/{QUAD}").select("R")
    dots = ee.FeatureCollection.randomPoints(image.geometry().buffer(-300), 3, 1)
    found = dots.map(lambda f: image.sample(f.geometry().buffer(3), 1)).flatten().getInfo()["features"]
    assert {f["id"].split("_")[0] for f in found} == {"0", "1", "2"}
    assert all(isinstance(f["properties"]["R"], int) for f in found)


def test_lists_reduce(ee: Any) -> None:
    numbers = ee.List([5, 1, 4, None, 4])
    assert numbers.reduce(ee.Reducer.mean()).getInfo() == 3.5
    assert numbers.reduce(ee.Reducer.minMax()).getInfo() == {"min": 1, "max": 5}
    assert numbers.reduce(ee.Reducer.mode()).getInfo() == 4
    assert ee.Reducer.mean().combine(ee.Reducer.count(), "n_", True).getOutputs().getInfo() == ["mean", "n_count"]


def test_messages(ee: Any) -> None:
    image = ee.Image(f"{NAIP}/{QUAD}")
    with pytest.raises(ee.EEException, match=r"Image.reduceRegion: Too many pixels .* maxPixels allows only 1000"):
        image.reduceRegion(ee.Reducer.mean(), image.geometry(), maxPixels=1000).getInfo()
    found = image.reduceRegion(ee.Reducer.count(), image.geometry(), maxPixels=1000, bestEffort=True).getInfo()
    assert 0 < found["R"] <= 1000
    with pytest.raises(ee.EEException, match=r"Image.reduceRegion: .* unbounded"):
        ee.Image(1).reduceRegion(ee.Reducer.mean()).getInfo()
    with pytest.raises(ee.EEException, match=r"Reducer\.histogramCombiner"):
        image.reduceRegion(ee.ApiFunction.call_("Reducer.histogramCombiner"), image.geometry()).getInfo()
