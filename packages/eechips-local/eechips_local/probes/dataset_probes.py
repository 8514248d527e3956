"""Probes: what the images of popular datasets are like, and how quickly many of them are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from eechips_local.probes.probe import ANY_VALUE, OPEN, Build, ExpectedResult, Probe, info, value
from eechips_local.probes.probe_client import ProbeClient

_NAIP, _S1, _S2 = "USDA/NAIP/DOQQ", "COPERNICUS/S1_GRD", "COPERNICUS/S2_SR_HARMONIZED"
_STATES = {
    "colorado": (-105.1, 39.9), "florida": (-81.5, 28.3), "iowa": (-93.6, 42.0), "arizona": (-112.0, 33.4),
    "texas": (-97.7, 30.3), "oregon": (-122.7, 44.0),
}  # fmt: skip
_POINTS = 500


def _layouts(dataset: str, point: tuple[float, float], band: int, start: str, end: str) -> Build:
    """Return what lists bands, types and pixel sizes of the images at a point."""

    def build(ee: Any) -> Any:
        def describe(image: Any) -> Any:
            image = ee.Image(image)
            projection = image.select(band).projection()
            return ee.Dictionary({
                "index": image.get("system:index"), "bands": image.bandNames(), "types": image.bandTypes(),
                "crs": projection.crs(), "metres": projection.nominalScale(),
                "has_footprint": image.propertyNames().contains("system:footprint"),
                "has_time": image.propertyNames().contains("system:time_start"),
            })  # fmt: skip

        collection = ee.ImageCollection(dataset).filterBounds(ee.Geometry.Point(list(point))).filterDate(start, end)
        return collection.toList(40).map(describe)

    return build


def _s2_properties(start: str, end: str) -> Build:
    def build(ee: Any) -> Any:
        collection = ee.ImageCollection(_S2).filterBounds(ee.Geometry.Point([-105.1, 39.9])).filterDate(start, end)
        return collection.limit(20).map(lambda image: ee.Feature(None, image.toDictionary()).set(
            "names", image.bandNames()))  # fmt: skip

    return build


_LAYOUTS: tuple[tuple[str, str, str, Build, ExpectedResult], ...] = (
    *(
        (f"naip-{state}", f"Which bands and pixel sizes has NAIP in {state.title()}?", "naip-layouts",
         _layouts(_NAIP, point, 0, "2003-01-01", "2024-01-01"), OPEN)
        for state, point in _STATES.items()
    ),
    *(
        (f"s1-{name}", f"Which bands has Sentinel-1 {place}?", "s1-layouts",
         _layouts(_S1, point, 0, "2020-06-01", "2020-06-20"), OPEN)
        for name, place, point in (
            ("land", "in Colorado", (-105.1, 39.9)), ("arctic", "on Svalbard", (16.0, 78.5)),
            ("ocean", "south of Iceland", (-20.0, 62.0)), ("antarctic", "at the Ross Sea", (170.0, -75.0)),
        )
    ),
    *(
        (f"s2-bands-{year}", f"Which bands and types has Sentinel-2 in {year}?", "s2-layouts",
         _layouts(_S2, (-105.1, 39.9), 1, f"{year}-06-01", f"{year}-06-11"), OPEN)
        for year in (2018, 2021, 2022, 2024)
    ),
    *(
        (f"s2-properties-{year}", f"Which properties has Sentinel-2 in {year}?", "s2-layouts",
         _s2_properties(f"{year}-06-01", f"{year}-06-06"), OPEN)
        for year in (2018, 2024)
    ),
    ("s2-duplicates", "How many images has a pass over the overlap of two tiles?", "s2-layouts",
     lambda ee: ee.ImageCollection(_S2).filterBounds(ee.Geometry.Point([-105.0, 39.75])).filterDate(
         "2020-06-01", "2020-06-21").aggregate_array("system:index"), OPEN),
    ("modis-days", "Which days of 2016 and 2022 lack in MOD11A1?", "modis-gaps",
     lambda ee: ee.List([ee.ImageCollection("MODIS/061/MOD11A1").filterDate(f"{year}-01-01", f"{year + 1}-01-01").size()
                         for year in (2016, 2020, 2022)]), OPEN),
    ("modis-16-days", "Which dates has MOD13Q1 in 2019?", "modis-gaps",
     lambda ee: ee.ImageCollection("MODIS/061/MOD13Q1").filterDate("2019-01-01", "2020-01-01").aggregate_array(
         "system:index"), OPEN),
    ("modis-layout", "Which bands has MOD13Q1?", "modis-gaps",
     _layouts("MODIS/061/MOD13Q1", (-105.1, 39.9), 0, "2019-06-01", "2019-07-01"), OPEN),
    ("landsat7-layout", "Which bands has Landsat 7?", "asset-records",
     _layouts("LANDSAT/LE07/C02/T1_L2", (-105.1, 39.9), 0, "2010-06-01", "2010-07-01"), OPEN),
    ("ecoregions", "How many ecoregions has the world, and Colorado?", "strata",
     lambda ee: ee.List([
         ee.FeatureCollection("RESOLVE/ECOREGIONS/2017").size(),
         ee.FeatureCollection("RESOLVE/ECOREGIONS/2017").filterBounds(
             ee.Geometry.BBox(-109.05, 37, -102.05, 41)).size()]), OPEN),
    ("ecoregion-vertices", "How many vertices have the ecoregions of Colorado?", "strata",
     lambda ee: ee.FeatureCollection("RESOLVE/ECOREGIONS/2017").filterBounds(
         ee.Geometry.BBox(-109.05, 37, -102.05, 41)).map(lambda each: ee.Feature(None, {
             "id": each.get("ECO_ID"), "numbers": each.geometry().coordinates().flatten().length()})), OPEN),
    ("ecoregion-intersection", "Is an ecoregion intersected with a box at a margin of 100 m?", "strata",
     lambda ee: ee.FeatureCollection("RESOLVE/ECOREGIONS/2017").filterBounds(ee.Geometry.Point([-105.1, 39.9]))
     .map(lambda each: ee.Feature(None, {"area": each.geometry().intersection(
         ee.Geometry.BBox(-106, 39, -105, 40), 100).area(100)})), ANY_VALUE),
)  # fmt: skip


def _find_grids(dataset: str, start: str, end: str, band: str, count: int) -> Callable[[ProbeClient], Any]:
    """Ask for the latest image, and its grid, at points of Colorado, in one request."""

    def ask(client: ProbeClient) -> Any:
        points = [(-105.9 + 1.7 * (n * 0.618 % 1), 38.1 + 2.7 * n / count) for n in range(count)]
        ee = client.ee
        collection = ee.ImageCollection(dataset).filterDate(start, end)

        def find(point: Any) -> Any:
            latest = (
                collection.filterBounds(ee.Geometry.Point(ee.List(point))).sort("system:time_start", False).limit(1)
            )
            return latest.toList(1).map(describe)

        def describe(image: Any) -> Any:
            image = ee.Image(image)
            return ee.List([image.get("system:index"), image.select([band]).projection()])

        latest_images = ee.List(points).map(find).getInfo()
        images = Counter(listed[0][0] if listed else "none" for listed in latest_images)
        return {"points": len(latest_images), "images": len(images), "without": images["none"]}

    return ask


_QUERIES = tuple(
    Probe(f"planning/{name}", f"How long take the grids of {count} points of {title}?", "grid-queries",
          _find_grids(dataset, start, end, band, count), expected)
    for name, title, dataset, start, end, band, count, expected in (
        ("naip-50", "NAIP", _NAIP, "2003-01-01", "2024-01-01", "R", 50, value({"points": 50, "without": 0})),
        ("naip-500", "NAIP", _NAIP, "2003-01-01", "2024-01-01", "R", _POINTS,
         value({"points": _POINTS, "without": 0})),
        ("s2-month", "Sentinel-2 of a month", _S2, "2020-06-01", "2020-07-01", "B4", _POINTS,
         value({"points": _POINTS, "without": 0})),
        ("s2-years", "Sentinel-2 of three years", _S2, "2022-01-01", "2025-01-01", "B4", _POINTS, OPEN),
    )
)  # fmt: skip


def _record(asset_id: str) -> Any:
    return lambda client: client.send("GET", f"projects/earthengine-public/assets/{asset_id}")


def _list(client: ProbeClient) -> Any:
    page = client.send("GET", f"projects/earthengine-public/assets/{_NAIP}:listImages?pageSize=2&view=FULL"
                       "&startTime=2019-01-01T00:00:00Z&endTime=2020-01-01T00:00:00Z")  # fmt: skip
    return {"images": len(page["images"]), "fields": sorted(page["images"][0]), "has_next": "nextPageToken" in page}


PROBES = (
    *(Probe(f"datasets/{name}", question, fact, info(build), expected)
      for name, question, fact, build, expected in _LAYOUTS),
    *_QUERIES,
    *(Probe(f"assets/{name}", f"What has the record of {asset_id}?", "asset-records", _record(asset_id), ANY_VALUE)
      for name, asset_id in (
          ("naip", _NAIP), ("s2", _S2), ("ecoregions", "RESOLVE/ECOREGIONS/2017"),
          ("srtm", "USGS/SRTMGL1_003"), ("landsat", "LANDSAT/LC08/C02/T1_TOA/LC08_044034_20140318"))),
    Probe("assets/pages", "What has a page of listImages?", "lists-of-images", _list,
          value({"images": 2, "has_next": True})),
)  # fmt: skip
"""Probes of datasets, plans and assets."""
