"""How long searches of image collections take: filters, orders, sizes and lists of the demo planet and of stubs.

    python benchmarks/image_collections.py --only S2 --seconds 30

Each expression is asked of a server with one worker, by the real client; the first one of a collection also pays for
what its search needs. ``--latest`` asks for the latest image of every collection that is served. Searches that take
longer than ``--seconds`` are printed as refused.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import ee
from google.auth.credentials import AnonymousCredentials
from harness import serving

S2 = "COPERNICUS/S2_SR_HARMONIZED"
PLACE = (7.5, 46.5)
Search = Callable[[Any], Any]


def masked(image: Any) -> Any:
    """The image without clouds, as the catalogue's example does it."""
    clear = image.select("QA60").bitwiseAnd(1 << 10).eq(0)
    return image.updateMask(clear).divide(10_000).copyProperties(image, ["system:time_start"])


def may(images: Any) -> Any:
    return images.filterDate("2023-05-01", "2023-06-01")


def near(images: Any) -> Any:
    return images.filterBounds(ee.Geometry.Point(PLACE))


def latest(images: Any) -> Any:
    return images.sort("system:time_start", False).first().get("system:index")


def regional_mean(images: Any) -> Any:
    box = ee.Geometry.BBox(7.0, 46.0, 8.0, 47.0)
    image = may(images).filterBounds(box).select("B4").median()
    return image.reduceRegion(ee.Reducer.mean(), box, 10, bestEffort=True, maxPixels=1_000_000)


SEARCHES: Mapping[str, tuple[str, Search]] = {
    "MOD11A1, select, then a month": (
        "MODIS/061/MOD11A1", lambda c: may(c.select("LST_Day_1km")).aggregate_array("system:index")),
    "MOD11A1, the latest": ("MODIS/061/MOD11A1", latest),
    "ERA5-Land daily, select, then a month": (
        "ECMWF/ERA5_LAND/DAILY_AGGR", lambda c: may(c.select("temperature_2m")).aggregate_array("system:index")),
    "ERA5-Land daily, the latest": ("ECMWF/ERA5_LAND/DAILY_AGGR", latest),
    "S2, first": (S2, lambda c: c.first().get("system:index")),
    "S2, the latest": (S2, latest),
    "S2, select, then the latest": (S2, lambda c: latest(c.select("B4"))),
    "S2, select, then place and month": (S2, lambda c: may(near(c.select("B4"))).size()),
    "S2, map a mask, then place and month": (S2, lambda c: near(may(c.map(masked))).size()),
    "S2, map a mask, then month and place": (S2, lambda c: may(near(c.select("B4", "QA60").map(masked))).size()),
    "S2, the latest of a place": (S2, lambda c: latest(near(c))),
    "S2, limit": (S2, lambda c: c.limit(10).aggregate_array("system:index")),
    "S2, size": (S2, lambda c: c.size()),
    "S2, size of a month": (S2, lambda c: may(c).size()),
    "S2, clouds of a place and a month": (
        S2, lambda c: may(near(c.select("B4"))).aggregate_array("CLOUDY_PIXEL_PERCENTAGE")),
    "S2, an item of a list": (S2, lambda c: ee.Image(c.select("B4").toList(100).get(50)).get("system:index")),
    "S2, merged with S2, the latest": (S2, lambda c: latest(c.merge(c.select("B4")))),
    "S2, linked, then place and month": (
        S2, lambda c: may(near(c.linkCollection(ee.ImageCollection(
            "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"), ["cs"]))).size()),
    "S2, joined with cloud probability by index": (
        S2, lambda c: ee.ImageCollection(ee.Join.saveFirst("clouds").apply(
            may(near(c)), ee.ImageCollection("COPERNICUS/S2_CLOUD_PROBABILITY"),
            ee.Filter.equals(leftField="system:index", rightField="system:index"))).size()),
    "Landsat 8, a year": (
        "LANDSAT/LC08/C02/T1_L2", lambda c: c.filterDate("2022-01-01", "2023-01-01").size()),
    "S2, mean of a region, best effort": (S2, regional_mean),
}  # fmt: skip


def seconds(search: Any) -> str:
    began = time.perf_counter()
    try:
        search.getInfo()
    except ee.EEException as error:
        return f"{time.perf_counter() - began:8.2f}  refused: {str(error)[:60]}"
    return f"{time.perf_counter() - began:8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="searches, or collections, whose name contains this")
    parser.add_argument("--seconds", default="30", help="of one search")
    parser.add_argument("--latest", action="store_true", help="the latest image of every collection instead")
    options = parser.parse_args()
    limits = ("--rate", "none", "--concurrency", "none", "--seconds", options.seconds, "--workers", "1")
    with serving("emulator", "--demo-datasets", "all", *limits) as server:
        ee.Initialize(AnonymousCredentials(), url=server.url, project="local")
        ee.data.setMaxRetries(0)
        ee.Number(1).getInfo()
        if not options.latest:
            for name, (dataset, search) in SEARCHES.items():
                if options.only in name:
                    print(f"{name:45} {seconds(search(ee.ImageCollection(dataset)))}", flush=True)
            return
        for asset in server.get("_assets")["assets"]:
            if asset["type"] == "IMAGE_COLLECTION" and options.only in asset["id"]:
                print(f"{asset['id']:60} {seconds(latest(ee.ImageCollection(asset['id'])))}", flush=True)


if __name__ == "__main__":
    main()
