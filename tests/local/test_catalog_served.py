"""Catalogues that the local Earth Engine serves, asked by the real client."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely

from eechips.archive.catalogs.partitions.layout import Layout, choose_grid
from eechips_local.catalogs.catalog_schema import PENDING
from local_tests.support.local_earth_engine import Server, initialize, start_server, stop_server
from tests.support.catalog_items import item, put
from tests.support.catalog_scenes import COUNT, Scenes, reads, scenes, start
from tests.support.commands import run_command

pytestmark = pytest.mark.slow

QUIET = ("--no-demo", "--rate", "none", "--concurrency", "none")


@pytest.fixture(scope="module")
def world() -> Scenes:
    return Scenes(scenes(COUNT, "sentinel-2-l2a"))


@pytest.fixture(scope="module")
def scened(world: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "catalog"
    put(folder, world.items, layout=Layout(choose_grid("h3", 1, None, None)))
    return folder


@pytest.fixture(scope="module")
def server(scened: Path) -> Iterator[Server]:
    running = start_server("--catalog", str(scened), *QUIET, "--workers", "2")
    yield running
    stop_server(running)


@pytest.mark.exhaustive
def test_filters_agree_with_each_item(server: Server, world: Scenes) -> None:
    """Places, dates and properties, alone and together; the exact geometry counts, and not its box."""
    ee = initialize(server)
    chance = random.Random(3)
    shapes = {value["id"]: shapely.geometry.shape(value["geometry"]) for value in world.items}
    everything = ee.ImageCollection("sentinel-2-l2a")
    assert everything.size().getInfo() == COUNT
    for number in range(12):
        query, wanted = everything, dict.fromkeys(sorted(shapes))
        own = {value["id"]: value["properties"] for value in world.items}
        if number % 3 != 1:
            west, south = chance.uniform(170, 290), chance.uniform(40, 60)
            corners = [(west, south), (west + 9, south + 1), (west + 4, south + 5)]  # some across the antimeridian
            query = query.filterBounds(ee.Geometry.Polygon([corners], None, False))
            sides = shapely.union_all([shapely.Polygon([(x - turn, y) for x, y in corners]) for turn in (0, 360)])
            wanted = {name: None for name in wanted if shapes[name].intersects(sides)}
        if number % 3 != 2:
            month = chance.randrange(1, 6)
            query = query.filterDate(f"2020-0{month}-10", f"2020-0{month + 1}-05")
            starts = {value["id"]: value["properties"]["datetime"] for value in world.items}
            wanted = {n: None for n in wanted if f"2020-0{month}-10" <= starts[n] < f"2020-0{month + 1}-05"}
        if number % 2:
            query = query.filter(ee.Filter.lt("eo:cloud_cover", 20))
            wanted = {name: None for name in wanted if own[name].get("eo:cloud_cover", 99) < 20}
        if number % 4 == 3:
            query = query.filter("platform == 'sentinel-2a' && orbit >= 2")
            wanted = {n: None for n in wanted if own[n].get("platform") == "sentinel-2a" and own[n]["orbit"] >= 2}
        before = reads(server)
        assert query.aggregate_array("system:index").getInfo() == list(wanted)
        assert query.size().getInfo() == len(wanted)
        if number % 3 == 0:  # a place and a month
            assert reads(server)["partitions"] - before["partitions"] < 80
            assert reads(server)["rows"] - before["rows"] < COUNT / 5


@pytest.mark.exhaustive
def test_dates_of_every_form_filter_items(server: Server, world: Scenes) -> None:
    """As in the examples of developers.google.com/earth-engine/apidocs/ee-imagecollection-filterdate."""
    ee = initialize(server)
    everything = ee.ImageCollection("sentinel-2-l2a")
    starts = {value["id"]: value["properties"]["datetime"] for value in world.items}
    march = sorted(name for name in starts if "2020-03-01" <= starts[name] < "2020-04-01")
    assert march
    for dates in (
        ("2020-03", "2020-04"),
        (1583020800000, 1585699200000),
        (ee.Date("2020-03-01"), ee.Date("2020-03-01").advance(1, "month")),
        (ee.DateRange("2020-03-01", "2020-04-01"),),
        (ee.Date("2020-03-17").getRange("month"),),
    ):
        assert everything.filterDate(*dates).aggregate_array("system:index").getInfo() == march


def test_properties_of_images_are_those_of_items(server: Server, world: Scenes) -> None:
    ee = initialize(server)
    scene = world.items[0]
    image = ee.ImageCollection("sentinel-2-l2a").filter(ee.Filter.eq("system:index", scene["id"])).first()
    assert image.get("orbit").getInfo() == scene["properties"]["orbit"]
    assert image.date().millis().getInfo() == start(scene)
    assert image.id().getInfo() == scene["id"]
    outline = shapely.geometry.shape(image.geometry().getInfo())
    assert outline.equals(shapely.geometry.shape(scene["geometry"]))
    orbits = ee.ImageCollection("sentinel-2-l2a").filterDate("2020-03-01", "2020-03-03").aggregate_array("orbit")
    within = [v for v in world.items if "2020-03-01" <= v["properties"]["datetime"] < "2020-03-03"]
    assert orbits.getInfo() == [v["properties"]["orbit"] for v in sorted(within, key=lambda v: str(v["id"]))]


@pytest.mark.exhaustive
def test_catalogue_assets_are_listed(server: Server, world: Scenes) -> None:
    ee = initialize(server)
    assert [asset["id"] for asset in ee.data.listAssets("projects/earthengine-public/assets")["assets"]] == [
        "sentinel-2-l2a"
    ]
    ids = sorted(f"sentinel-2-l2a/{value['id']}" for value in world.items)
    found = ee.data.listAssets({"parent": "sentinel-2-l2a", "view": "BASIC"})["assets"]
    assert [asset["id"] for asset in found] == ids
    before = reads(server)
    page = ee.data.listAssets({"parent": "sentinel-2-l2a", "pageSize": 10, "pageToken": "1500", "view": "BASIC"})
    assert [asset["id"] for asset in page["assets"]] == ids[1500:1510]
    assert reads(server)["partitions"] - before["partitions"] <= 100
    clear = ee.data.listAssets(
        {"parent": "sentinel-2-l2a", "filter": 'properties.orbit = 3 AND startTime >= "2020-05-01T00:00:00Z"',
         "view": "BASIC"}
    )["assets"]  # fmt: skip
    wanted = [v for v in world.items if v["properties"]["orbit"] == 3 and v["properties"]["datetime"] >= "2020-05-01"]
    assert [asset["id"] for asset in clear] == sorted(f"sentinel-2-l2a/{v['id']}" for v in wanted)
    described = ee.data.getAsset("sentinel-2-l2a")
    assert described["type"] == "IMAGE_COLLECTION"
    # The bands of these images are in files that may not be read: lists do without them.
    whole = ee.data.listImages({"parent": "sentinel-2-l2a", "pageSize": 3})["images"]
    assert [(image["id"], image.get("bands", [])) for image in whole] == [(name, []) for name in ids[:3]]
    with pytest.raises(ee.EEException, match=r"refers to /data/s\d+\.tif, and this server reads files below"):
        ee.data.getAsset(ids[0])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_responses_during_merges_come_from_one_version(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Every item gets a new version in each merge: no answer has two, lacks one, or is to be asked for again."""

    def versions(version: int) -> list[dict[str, Any]]:
        stamp = f"2022-01-01T{version // 60:02}:{version % 60:02}:00Z"
        return [item(f"i{n}", (n, 0.0, n + 0.5, 1.0), updated=stamp, version=version) for n in range(60)]

    put(tmp_path / "catalog", versions(1))
    server = serve("--catalog", str(tmp_path / "catalog"), *QUIET, "--workers", "2")
    ee = initialize(server)
    enough = threading.Event()
    last = 1

    def merge() -> None:
        nonlocal last
        while not enough.is_set():
            last += 1
            put(tmp_path / "catalog", versions(last))

    merging = threading.Thread(target=merge, daemon=True)
    merging.start()
    query = ee.ImageCollection("test").filterBounds(ee.Geometry.Rectangle([-1, -1, 70, 2], None, False))
    twice = ee.List([query.aggregate_array("version"), ee.ImageCollection("test").aggregate_array("version")])
    seen = set()
    try:
        while len(seen) < 6:
            one, other = twice.getInfo()  # never HTTP 503: the client does not try again
            assert len(one) == 60
            assert set(one) == set(other)
            assert len(set(one)) == 1
            seen.add(one[0])
    finally:
        enough.set()
        merging.join()
    assert set(query.aggregate_array("version").getInfo()) == {last}
    assert set(server.stats()["answers"]["value:compute"]) == {"200"}


@pytest.mark.exhaustive
def test_requests_with_a_short_deadline_fail_in_time_during_a_change(tmp_path: Path) -> None:
    put(tmp_path / "catalog", [item("a", (0.0, 0.0, 1.0, 1.0))])
    pending = tmp_path / "catalog" / PENDING
    pending.parent.mkdir()
    pending.write_text("{}")  # as a merge leaves it that was killed
    server = start_server("--catalog", str(tmp_path / "catalog"), *QUIET, "--seconds", "1")
    try:
        ee = initialize(server)
        with pytest.raises(ee.EEException, match="is being changed: retry the request") as caught:
            ee.ImageCollection("test").size().getInfo()
        assert caught.value.__context__.resp.status == 503
    finally:
        stop_server(server)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_serves_catalogues_beside_assets_and_the_demo(scened: Path, tmp_path: Path) -> None:
    refused = run_command("serve", "--catalog", tmp_path, status=2)
    assert "is not a catalogue, it has no _schema.json" in refused.output
    process = subprocess.Popen(
        [sys.executable, "-c", "from eechips.cli import main\nif __name__ == '__main__': main()",
         "serve", "--catalog", str(scened), "--demo", "--port", "0", "--workers", "1"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        ee = initialize(Server(url))
        assert ee.ImageCollection("sentinel-2-l2a").size().getInfo() == COUNT
        assert ee.Image("USGS/SRTMGL1_003").bandNames().getInfo() == ["elevation"]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
