"""Items whose numbers are none, too large or infinite, and boxes across the antimeridian."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from eechips_local.archives.archive_collection import ArchiveCollection
from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ItemQuery
from eechips_local.archives.archive_opening import open_archive
from eechips_local.archives.archive_record import ValueRule
from eechips_local.archives.files.range_cache import RangeCache
from eechips_local.archives.items import file_items
from eechips_local.archives.items.file_items import StaticItems
from eechips_local.archives.items.item_conditions import is_match
from eechips_local.archives.items.item_images import outline_of
from eechips_local.archives.items.item_properties import PropertyRule
from eechips_local.archives.named_archive import find_archive
from eechips_local.assets.ingestion.item_metadata import bands_of, grid_of
from eechips_local.evaluation.asset_model import Query, Range
from eechips_local.pixels.grids.pixel_grid import UnknownCrsError, parse_crs

HUGE, NAN, INFINITE = 10**400, float("nan"), float("inf")
GRID = {"proj:code": "EPSG:32632", "proj:shape": [64, 64], "proj:transform": [10.0, 0, 0, 0, -10, 0]}


def test_box_of_numbers_that_no_float_holds_may_match() -> None:
    assert is_match({"id": "a", "bbox": [HUGE, 0, 1, 1]}, ItemQuery(bounds=(0.0, 0.0, 1.0, 1.0)))


@pytest.mark.parametrize("cloud", ["12.5", " 12.50", "1.25e1", 12.5])
def test_numbers_that_are_written_as_text_are_filtered_as_numbers(cloud: Any) -> None:
    item = {"id": "a", "properties": {"eo:cloud_cover": cloud, "sat:relative_orbit": "8", "platform": "8"}}
    assert PropertyRule.of("eo:cloud_cover").value(item["properties"]) == 12.5
    assert PropertyRule.of("platform").value(item["properties"]) == "8"
    orbit = PropertyRule.of("sat:relative_orbit")
    assert orbit.value(item["properties"]) == 8
    assert is_match(item, ItemQuery(equals=dict([orbit.equal(8)])))  # type: ignore[list-item]
    assert not is_match(item, ItemQuery(equals={"sat:relative_orbit": 9}))
    assert is_match(item, ItemQuery(ranges={"eo:cloud_cover": Range(greatest=20.0)}))
    assert not is_match(item, ItemQuery(ranges={"eo:cloud_cover": Range(greatest=12.0)}))


@pytest.mark.parametrize("cloud", ["unknown", "nan", "1e999", "", True, HUGE, NAN])
def test_what_is_no_number_is_left_out_of_images_and_filters(cloud: Any) -> None:
    item = {"id": "a", "properties": {"eo:cloud_cover": cloud}}
    assert PropertyRule.of("eo:cloud_cover").value(item["properties"]) in (None, True)
    assert not is_match(item, ItemQuery(ranges={"eo:cloud_cover": Range(greatest=20.0)}))
    assert is_match(item, ItemQuery(ranges={"eo:cloud_cover": Range(greatest=20.0, others=True)}))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"proj:shape": shape} for shape in (-1, True, [INFINITE, 1], [NAN, 1], [1], "64")),
        *({"proj:transform": transform} for transform in (5, [HUGE, 0, 0, 0, 1, 0], [None] * 6, {"a": 1})),
        *({"proj:transform": [size, 0, 0, 0, -size, 0]} for size in (0, NAN, INFINITE, 1e300, 1e-300)),
        {"proj:transform": [10, 10, 0, 10, 10, 0]},
    ],
)
def test_grid_of_other_values_is_none(wrong: dict[str, Any]) -> None:
    assert grid_of(GRID, {}) is not None
    assert grid_of({**GRID, **wrong}, {}) is None


@pytest.mark.parametrize("bands", [3, "B4", {"name": "B4"}, [None], ["B4"]])
@pytest.mark.parametrize("name", ["eo:bands", "raster:bands", "bands"])
def test_bands_that_are_no_objects_say_nothing(bands: Any, name: str) -> None:
    assert bands_of({name: bands}) == ([{}] if isinstance(bands, list) else [])
    assert bands_of({name: bands, "bands": [{"name": "B4"}]}) == [{"name": "B4"}]


@pytest.mark.parametrize(
    "crs",
    [
        "+init=/elsewhere/init:1",
        "+proj=longlat +ellps=bessel +nadgrids=https://elsewhere.example/grid.tif",
        "+proj=longlat +ellps=bessel +nadgrids=@null,/elsewhere/grid.gsb",
        'PROJCRS["p",BASEGEOGCRS["x",DATUM["d",ELLIPSOID["e",6378137,298]]],CONVERSION["c",METHOD["PROJ tinshift '
        'file=/elsewhere/shift.json"]],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
    ],
)
def test_crs_that_names_a_file_is_not_opened(crs: str) -> None:
    assert grid_of({**GRID, "proj:code": crs}, {}) is None
    with pytest.raises(UnknownCrsError):
        parse_crs(crs)


@pytest.mark.parametrize("number", [HUGE, NAN, INFINITE, "x", None])
def test_outline_of_other_values_is_an_error_of_the_archive(number: Any) -> None:
    ring = [[number, 0], [1, 0], [1, 1], [number, 0]]
    for item in ({"geometry": {"type": "Polygon", "coordinates": [ring]}}, {"bbox": [number, "y", 1, 1]}):
        with pytest.raises(ArchiveRefusedError, match="no outline that can be understood"):
            outline_of({"id": "a", **item})


@pytest.mark.parametrize("number", [-70_000, 70_000, NAN])
def test_numbers_that_the_dataset_cannot_have_are_refused(number: float) -> None:
    rule = ValueRule("uint16")
    values, valid = np.array([[3.0, number]]), np.array([[True, True]])
    with pytest.raises(ArchiveRefusedError, match=r"has numbers from .* but the dataset's are uint16"):
        rule.apply(values, valid)
    there, _ = rule.apply(values, np.array([[True, False]]))
    assert (there[0, 0], there.dtype) == (3, np.uint16)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes by name")
def test_a_pipe_in_a_static_catalogue_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    links = [{"rel": "child", "href": "pipe.json"}]
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps({"type": "Catalog", "id": "mine", "links": links}))
    with pytest.raises(ArchiveRefusedError, match="it is no file"):
        StaticItems(path).collections()


def test_of_a_large_outline_that_crosses_itself_the_box_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapely, "make_valid", None)  # would take minutes for some ten thousand corners
    ring = np.random.default_rng(0).uniform(0.0, 10.0, (6000, 2)).tolist()
    item = {"id": "a", "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}}
    assert outline_of({**item, "bbox": [0.0, 0.0, 10.0, 10.0]}).equals(shapely.box(0, 0, 10, 10))
    with pytest.raises(ArchiveRefusedError, match="no outline that can be understood") as refused:
        outline_of(item)
    assert str(refused.value.__cause__) == "it has no box, and declares no grid"


def test_parts_of_an_outline_are_mended_one_by_one() -> None:
    """Two parts of few corners, of which one crosses itself, beside a large one that is valid."""
    bow = [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]
    large = shapely.segmentize(shapely.box(20, 20, 30, 30), 0.005)
    parts = [[bow], [[[5, 5], [6, 5], [6, 6], [5, 5]]], [[list(at) for at in large.exterior.coords]]]
    outline = outline_of({"id": "a", "geometry": {"type": "MultiPolygon", "coordinates": parts}, "bbox": [0, 0, 99, 9]})
    assert outline.area == pytest.approx(0.5 + 0.5 + 100)


def test_numbers_without_a_range_are_not_copied_to_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ValueRule, "_check_range")
    values = np.array([[1e300, 0.5]])
    with np.errstate(over="ignore"):
        numbers, valid = ValueRule("float32").apply(values, np.array([[False, True]]))
    assert (numbers.dtype, numbers.tolist(), valid.tolist()) == (np.float32, [[0.0, 0.5]], [[False, True]])


def test_box_across_the_antimeridian_has_two_parts() -> None:
    outline = outline_of({"id": "a", "bbox": [170.0, 0.0, -170.0, 1.0]})
    assert outline.area == 20.0
    assert not outline.intersects(shapely.Point(0, 0.5))


def test_half_a_surrogate_pair_in_an_address_is_kept_as_others_are(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 1000)
    cache.put("https://host/\ud800.tif", b"1")
    assert cache.get("https://host/\ud800.tif") == b"1"


@pytest.mark.parametrize("kind", ["image/tiff", None])
@pytest.mark.parametrize(
    "href", ["http://[::1/a.tif", "http://a]b/a.tif", "http://a:x/a.tif", "//[", "s3://[/a.tif", "file://["]
)
def test_href_that_is_no_address_is_refused_with_its_text(tmp_path: Path, href: str, kind: str | None) -> None:
    catalogue = tmp_path / "items.json"
    asset = {"href": href, "type": kind}
    item = {"type": "Feature", "id": "a", "collection": "sentinel-1-rtc", "bbox": [0, 0, 1, 1], "assets": {"vv": asset}}
    catalogue.write_text(json.dumps({"type": "FeatureCollection", "features": [{**item, "properties": {}}]}))
    images = open_archive(find_archive(str(catalogue))).get("PLANETARY_COMPUTER/SENTINEL1_RTC")
    assert isinstance(images, ArchiveCollection)
    with pytest.raises(ArchiveRefusedError, match=re.escape(f"The archive refers to {href!r}, which is no address.")):
        list(next(images.images(Query())).bands)


def test_an_item_of_many_assets_is_refused_before_their_addresses_are_made(tmp_path: Path) -> None:
    assets = {f"B{number}": {"href": "a.tif"} for number in range(2_001)}
    item = {"type": "Feature", "id": "a", "collection": "naip", "properties": {}, "assets": assets}
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    with pytest.raises(ArchiveRefusedError, match="Item 'a' has 2,001 assets"):
        list(StaticItems(tmp_path / "items.json").items("naip", ItemQuery()))


def test_a_document_of_many_empty_lists_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_items, "_CONTAINERS", 100)
    text = json.dumps({"type": "FeatureCollection", "features": [], "more": [[] for _ in range(99)]})
    (tmp_path / "items.json").write_text(text)
    with pytest.raises(ArchiveRefusedError, match="more than 100 objects"):
        list(StaticItems(tmp_path / "items.json").items("naip", ItemQuery()))


def test_links_that_name_one_document_in_many_ways_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_items, "_DOCUMENTS", 20)
    links = [{"rel": "child", "href": f"{'./' * number}catalog.json"} for number in range(20)]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "a", "links": links * 2}))
    assert list(StaticItems(tmp_path / "catalog.json").items("naip", ItemQuery())) == []
    links.append({"rel": "child", "href": f"{'./' * 20}catalog.json"})
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "a", "links": links}))
    with pytest.raises(ArchiveRefusedError, match="more than 20 documents"):
        list(StaticItems(tmp_path / "catalog.json").items("naip", ItemQuery()))


def test_crs_of_an_asset_comes_before_that_of_its_item() -> None:
    """An item may declare it as STAC 1.1 does, and its asset as STAC 1.0."""
    grid = grid_of({"proj:epsg": 32631}, GRID)
    assert grid is not None
    assert grid.crs == "EPSG:32631"
