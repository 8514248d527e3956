"""Calls of the real client of many kinds, whose results are compared between services."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import requests

import eechips

PLACE = (-105.5, 39.7)
COLLECTION = "MODIS/061/MOD11A2"
ELEVATION = "USGS/SRTMGL1_003"
COUNTIES = "FAO/GAUL_SIMPLIFIED_500m/2015/level2"
MISSING = "USGS/SRTMGL1_004"

Results = dict[str, Any]


def call_client(ee: Any) -> Results:
    """Return results of raw calls by name: values as they are, files as their bytes' SHA-256."""
    found: Results = {}
    for name, call in _CALLS.items():
        result = call(ee)
        found[name] = hashlib.sha256(result).hexdigest() if isinstance(result, bytes) else result
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def run_commands(endpoint: str, out: Path) -> Results:
    """Run commands of eechips that send few requests; return the SHA-256 of their results by path."""
    common: Mapping[str, Any] = {"endpoint": endpoint, "executor": "threads", "rate": None, "quiet": True}
    area = "-105.1,39.9,-105.0,40.0"
    places = pd.DataFrame({"lon": [-105.5, -105.4, -105.3], "lat": [39.7, 39.8, 39.9], "id": [1, 2, 3]})
    eechips.sample("NAIP", per_ecoregion=1, limit=3, size=64, out=out / "pictures", **common)
    eechips.sample("NAIP", total=2, roi=area, size=32, format="tif", method="url", out=out / "urls", **common)
    eechips.points("S2", places, bands="B4,B8", start="2019-06-01", end="2019-06-20", out=out / "points", **common)
    eechips.timeseries(
        COLLECTION, regions=COUNTIES, columns="id=ADM2_CODE", reducer="mean", bbox="-105.1,39.6,-105.0,39.7",
        start="2019-01-01", end="2019-03-01", out=out / "series", **common,
    )  # fmt: skip
    eechips.mosaic(ELEVATION, roi=area, scale=90, out=out / "mosaic", **common)
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".png", ".tif", ".csv") and path.is_file() and ".eechips" not in path.parts
    }


def _grid(width: int = 16) -> dict[str, Any]:
    return {
        "dimensions": {"width": width, "height": 12},
        "affineTransform": {
            "scaleX": 0.001, "shearX": 0, "translateX": PLACE[0], "shearY": 0, "scaleY": -0.001, "translateY": PLACE[1],
        },
        "crsCode": "EPSG:4326",
    }  # fmt: skip


def _region(ee: Any) -> Any:
    return ee.Geometry.Point(PLACE).buffer(2000)


def _dates(ee: Any) -> Any:
    return ee.ImageCollection(COLLECTION).filterDate("2019-01-01", "2019-02-15").select("LST_Day_1km")


def _reduce(ee: Any) -> Any:
    reducer = ee.Reducer.mean().combine(ee.Reducer.stdDev(), sharedInputs=True)
    return ee.Image(ELEVATION).reduceRegion(reducer, _region(ee), 90).getInfo()


def _map(ee: Any) -> Any:
    def mean(image: Any) -> Any:
        values = image.reduceRegion(ee.Reducer.mean(), _region(ee), 1000)
        return ee.Feature(None, values).set("day", image.date().format("YYYY-MM-dd"))

    return ee.FeatureCollection(_dates(ee).map(mean)).aggregate_array("LST_Day_1km").getInfo()


def _nested(ee: Any) -> Any:
    rows = ee.List.sequence(1, 4)
    return rows.map(lambda row: rows.map(lambda cell: ee.Number(row).multiply(cell).sqrt())).getInfo()


def _pixels(file_format: str) -> Callable[[Any], bytes]:
    def fetch(ee: Any) -> bytes:
        image = ee.Terrain.slope(ee.Image(ELEVATION)).rename("slope").addBands(ee.Image(ELEVATION)).toFloat()
        request = {"expression": image, "fileFormat": file_format, "grid": _grid()}
        return bytes(ee.data.computePixels(request))

    return fetch


def _picture(ee: Any) -> bytes:
    image = ee.Image(ELEVATION).visualize(min=1000, max=3500, palette=["000000", "00ff00", "ffffff"])
    return bytes(ee.data.computePixels({"expression": image, "fileFormat": "PNG", "grid": _grid()}))


def _asset_pixels(ee: Any) -> bytes:
    asset = {"assetId": ELEVATION, "bandIds": ["elevation"], "fileFormat": "NPY", "grid": _grid(20)}
    return bytes(ee.data.getPixels(asset))


def _get(url: str) -> bytes:
    response = requests.get(url, timeout=300)
    response.raise_for_status()
    return response.content


def _thumbnail(ee: Any) -> bytes:
    options = {"region": _region(ee), "dimensions": "40x30", "format": "png", "min": 1000, "max": 3500}
    return _get(ee.Image(ELEVATION).getThumbURL(options))


def _archive(ee: Any) -> bytes:
    return _get(ee.Image(ELEVATION).getDownloadURL({"region": _region(ee), "scale": 500, "name": "dem"}))


def _table(ee: Any) -> bytes:
    return _get(_counties(ee).getDownloadURL("CSV", ["ADM2_CODE", "ADM2_NAME"], "counties"))


def _tile(ee: Any) -> bytes:
    tiles = ee.Image(ELEVATION).getMapId({"min": 1000, "max": 3500})["tile_fetcher"]
    return _get(tiles.format_tile_url(105, 194, 9))


def _counties(ee: Any) -> Any:
    return ee.FeatureCollection(COUNTIES).filterBounds(ee.Geometry.Point(PLACE).buffer(60_000)).sort("ADM2_CODE")


def _features(ee: Any) -> Any:
    found, token = [], None
    while True:
        page = {"pageToken": token} if token else {}
        response = ee.data.computeFeatures({"expression": _counties(ee).select(["ADM2_NAME"]), "pageSize": 2, **page})
        found += [feature["properties"] for feature in response["features"]]
        token = response.get("nextPageToken")
        if not token:
            return found


def _images(ee: Any) -> Any:
    listed = ee.data.listImages({
        "parent": f"projects/earthengine-public/assets/{COLLECTION}",
        "startTime": "2019-01-01T00:00:00Z", "endTime": "2019-03-01T00:00:00Z", "pageSize": 3, "view": "BASIC",
    })  # fmt: skip
    return [image["id"] for image in listed["images"]]


def _computed_images(ee: Any) -> Any:
    listed = ee.data.computeImages({"expression": _dates(ee)})
    return [image["id"] for image in listed["images"]]


def _asset(ee: Any) -> Any:
    return {name: ee.data.getAsset(ELEVATION)[name] for name in ("id", "type", "bands")}


def _error(ee: Any) -> str:
    try:
        ee.Image(MISSING).getInfo()
    except ee.EEException as error:
        return str(error)
    raise AssertionError("the image is there")


def _sample(ee: Any) -> Any:
    image = ee.Image(ELEVATION).addBands(ee.Image.pixelLonLat())
    return image.sample(_region(ee), 300, numPixels=20, seed=3).aggregate_stats("elevation").getInfo()


def _array(ee: Any) -> Any:
    return ee.Array([[1, 2], [3, 4.5]]).matrixInverse().getInfo()


def _numpy(ee: Any) -> Any:
    import numpy as np

    pixels = np.load(io.BytesIO(_asset_pixels(ee)), allow_pickle=False)
    return int(pixels["elevation"].astype("int64").sum())


_CALLS: Mapping[str, Callable[[Any], Any]] = {
    "reduceRegion": _reduce,
    "map": _map,
    "nested functions": _nested,
    "NPY": _pixels("NPY"),
    "GeoTIFF": _pixels("GEO_TIFF"),
    "PNG": _picture,
    "getPixels": _asset_pixels,
    "sum of getPixels": _numpy,
    "thumbnail": _thumbnail,
    "archive": _archive,
    "table": _table,
    "tile": _tile,
    "computeFeatures": _features,
    "listImages": _images,
    "computeImages": _computed_images,
    "getAsset": _asset,
    "error": _error,
    "sample": _sample,
    "matrix": _array,
}
