"""Searches of two STAC APIs that are not ours, with the same results as a filter of the items by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pystac_client
import pytest

from eechips_local.archives.archive_model import ArchiveDescription, ItemQuery
from eechips_local.archives.items.item_search import ApiSearch
from eechips_local.evaluation.asset_model import Range
from local_tests.archives.stac_services import find_pgstac, pgstac_api, rustac_api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

YEAR = datetime(2024, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def make_scene(day: int, tile: str, west: float, south: float) -> dict[str, Any]:
    """Return an item of Sentinel-2 in the size and the shape that the Planetary Computer has."""
    moment = YEAR + day * DAY + timedelta(hours=10)
    name = f"S2B_MSIL2A_{moment:%Y%m%dT%H%M%S}_R122_T{tile}_{moment:%Y%m%dT%H%M%S}"
    ring = [[west, south], [west + 1.4, south], [west + 1.4, south + 1.0], [west, south + 1.0], [west, south]]
    bands = [f"B{number:02d}" for number in range(1, 13)] + ["B8A", "SCL", "AOT", "WVP"]
    properties = {
        "datetime": f"{moment:%Y-%m-%dT%H:%M:%S.024000Z}", "platform": "Sentinel-2B",
        "eo:cloud_cover": (day * 37) % 100,
        "s2:mgrs_tile": tile, "s2:processing_baseline": "05.10", "proj:epsg": 32632, "sat:relative_orbit": 122,
        "s2:product_uri": f"{name}.SAFE",
    }  # fmt: skip
    assets = {
        band: {
            "href": f"https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/{name}/{band}_10m.tif", "gsd": 10.0,
            "type": "image/tiff; application=geotiff; profile=cloud-optimized", "proj:shape": [10980, 10980],
            "proj:bbox": [499980.0, 5190240.0, 609780.0, 5300040.0], "roles": ["data"],
            "proj:transform": [10.0, 0.0, 499980.0, 0.0, -10.0, 5300040.0],
        }
        for band in bands
    }  # fmt: skip
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a", "links": [],
        "bbox": [west, south, west + 1.4, south + 1.0], "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties, "assets": assets,
    }  # fmt: skip


def make_year() -> list[dict[str, Any]]:
    """Return a year of five tiles, every five days, one of them at the antimeridian."""
    tiles = [
        ("32TPT", 10.0, 46.0),
        ("32TQT", 11.2, 46.0),
        ("32TPS", 10.0, 45.1),
        ("32TQS", 11.2, 45.1),
        ("01KAB", -180.0, -18.0),
    ]
    return [make_scene(day, *tile) for day in range(0, 366, 5) for tile in tiles]


@pytest.fixture(scope="module", params=["pgstac", "rustac"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveDescription]:
    """A STAC API that has the year."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "rustac":
        opened = rustac_api(make_year(), folder)
    else:
        opened = pgstac_api(make_year(), find_pgstac(folder / "environment"))
    with opened as url:
        yield ArchiveDescription(
            name=request.param, title=request.param, api=url, has_cql2=request.param == "pgstac", page_items=100
        )


def milliseconds(moment: datetime) -> float:
    """Return a time as searches have it."""
    return moment.timestamp() * 1000.0


QUERIES = {
    "all": ItemQuery(),
    "point": ItemQuery(bounds=(10.5, 46.3, 10.51, 46.31)),
    "month": ItemQuery(start=milliseconds(YEAR), end=milliseconds(YEAR + 30 * DAY)),
    "tile": ItemQuery(equals={"s2:mgrs_tile": "32TQT"}),
    "clouds": ItemQuery(ranges={"eo:cloud_cover": Range(least=10.0, greatest=30.0)}),
    "orbit": ItemQuery(equals={"sat:relative_orbit": 122, "platform": "Sentinel-2B"}),
    "antimeridian": ItemQuery(bounds=(179.5, -17.9, -179.5, -17.5)),
    "both": ItemQuery(
        bounds=(11.3, 45.2, 11.4, 45.9),
        start=milliseconds(YEAR + 100 * DAY),
        end=milliseconds(YEAR + 200 * DAY),
        ranges={"eo:cloud_cover": Range(greatest=50.0)},
    ),
}


def is_expected(item: dict[str, Any], query: ItemQuery) -> bool:
    """Return whether an item matches, as the specification of STAC says it."""
    properties, box = item["properties"], item["bbox"]
    moment = milliseconds(datetime.fromisoformat(properties["datetime"].replace("Z", "+00:00")))
    if (query.start is not None and moment < query.start) or (query.end is not None and moment >= query.end):
        return False
    if query.bounds is not None:
        west, south, east, north = query.bounds
        spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        if not any(box[0] <= last and box[2] >= first for first, last in spans) or box[1] > north or box[3] < south:
            return False
    return all(properties[name] == value for name, value in query.equals.items()) and all(
        value.least <= properties[name] <= value.greatest for name, value in query.ranges.items()
    )


@pytest.mark.parametrize("name", QUERIES)
def test_searches_find_what_matches(service: ArchiveDescription, name: str) -> None:
    query = QUERIES[name]
    items = list(ApiSearch(service, None).items("sentinel-2-l2a", query))
    found = [item["id"] for item in items]
    expected = {item["id"]: item for item in make_year() if is_expected(item, query)}
    assert len(found) == len(set(found))
    assert set(found) == set(expected)
    for item in items:
        whole = expected[item["id"]]
        assert item["properties"]["s2:product_uri"] == whole["properties"]["s2:product_uri"]
        assert {key: asset["href"] for key, asset in item["assets"].items()} == {
            key: asset["href"] for key, asset in whole["assets"].items()
        }


def test_ids_and_collections_are_found(service: ArchiveDescription) -> None:
    search = ApiSearch(service, None)
    ids = tuple(item["id"] for item in make_year()[::40])
    assert sorted(item["id"] for item in search.items("sentinel-2-l2a", ItemQuery(ids=ids))) == sorted(ids)
    assert list(search.items("none", ItemQuery())) == []
    assert set(search.collections()) == {"sentinel-2-l2a"}


def test_results_equal_pystac_client_s_own(service: ArchiveDescription) -> None:
    client = pystac_client.Client.open(service.api)
    theirs = client.search(
        collections=["sentinel-2-l2a"], bbox=[10.5, 46.3, 10.51, 46.31], datetime="2024-03-01/2024-04-01", limit=50
    )
    query = ItemQuery(
        bounds=(10.5, 46.3, 10.51, 46.31),
        start=milliseconds(datetime(2024, 3, 1, tzinfo=timezone.utc)),
        end=milliseconds(datetime(2024, 4, 2, tzinfo=timezone.utc)),
    )
    ours = {item["id"] for item in ApiSearch(service, None).items("sentinel-2-l2a", query)}
    assert {item["id"] for item in theirs.items_as_dicts()} == ours
    assert ours


def test_a_year_is_searched_once_and_planned_again_offline(service: ArchiveDescription, tmp_path: Path) -> None:
    query = ItemQuery(
        bounds=(10.4, 45.3, 12.0, 46.8),
        start=milliseconds(YEAR),
        end=milliseconds(YEAR + 366 * DAY),
        ranges={"eo:cloud_cover": Range(greatest=60.0)},
    )
    search = ApiSearch(service, tmp_path)
    first = list(search.items("sentinel-2-l2a", query))
    (counts,) = search.counts().values()
    matches = [item for item in make_year() if is_expected(item, query)]
    pages = -(-len(matches) // 100)
    assert {item["id"] for item in first} == {item["id"] for item in matches}
    # An archive that filters by properties gives the pages that match; the landing page of another says that it cannot.
    assert counts.requests <= (pages if service.has_cql2 else 5)
    assert counts.received < 3 * len(json.dumps(make_year()))
    again = ApiSearch(service, tmp_path)
    chips = [
        ItemQuery(bounds=(west, 45.6, west + 0.02, 45.62), start=query.start, end=query.end, ranges=query.ranges)
        for west in (10.41, 10.93, 11.55)
    ]
    assert list(again.items("sentinel-2-l2a", query)) == first
    for chip in chips:
        assert list(again.items("sentinel-2-l2a", chip))
    assert again.counts() == {}
