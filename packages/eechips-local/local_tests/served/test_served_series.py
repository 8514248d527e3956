"""A series of 811 images through the real client, against rasterio and exactextract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exactextract
import pytest
import rasterio
import rasterio.warp
from exactextract.raster import RasterioRasterSource

from local_tests.served.test_served_regions import polygon
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.real_store import LST

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ee(real_server: Server) -> Any:
    """The real client, on the real data."""
    return initialize(real_server)


def test_a_series_of_811_dates_in_one_request(ee: Any, real_data: Path) -> None:
    stack = real_data / "lst" / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
    with rasterio.open(stack) as file:
        coordinates, feature = polygon(file, slice(5, 40), slice(8, 44))
    region = ee.Geometry.Polygon(coordinates, None, False)

    def reduced(image: Any) -> Any:
        mean = ee.Feature(None, image.reduceRegion(ee.Reducer.mean(), region))
        return mean.set("date", image.date().format("YYYY-MM-dd"))

    series = ee.ImageCollection(LST).map(reduced)
    dates = series.aggregate_array("date").getInfo()
    assert len(dates) == 811
    found = series.reduceColumns(ee.Reducer.toList(2, 1), ["date", "LST_Day_1km"]).getInfo()["list"]
    assert [date for date, _ in found] == dates
    with rasterio.open(stack) as file:
        for index in range(0, 811, 40):
            source = RasterioRasterSource(file, index + 1)
            (truth,) = exactextract.exact_extract(source, [feature], ["mean", "count"])
            mean, count = truth["properties"]["mean"], truth["properties"]["count"]
            if count == 0:
                assert found[index][1] is None
            elif count > 1e-3:
                assert found[index][1] == pytest.approx(mean, rel=1e-6)


def test_get_region_of_a_series(ee: Any, real_data: Path) -> None:
    stack = real_data / "lst" / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
    with rasterio.open(stack) as file:
        values = file.read()[:, 20, 30]
        x, y = file.transform * (30.5, 20.5)
        (longitude,), (latitude,) = rasterio.warp.transform(file.crs, "EPSG:4326", [x], [y])
    images = ee.ImageCollection(LST)
    native = images.first().projection()
    table = images.getRegion(ee.Geometry.Point(longitude, latitude), None, native).getInfo()
    assert table[0] == ["id", "longitude", "latitude", "time", "LST_Day_1km"]
    assert len(table) == 812
    assert [row[4] for row in table[1:]] == [int(v) if v else None for v in values]
    times = [row[3] for row in table[1:]]
    assert times == sorted(times)
    assert table[1][1:3] == pytest.approx([longitude, latitude], abs=1e-6)
