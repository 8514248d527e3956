"""Catalogues as stores of assets: what a query gives, beside all items one by one, and what is read for it."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.catalogs.partitions.commit import SCHEMA_NAME
from eechips.archive.catalogs.partitions.layout import Layout, choose_grid
from eechips_local.assets import InvalidStoreError
from eechips_local.assets.ingestion.item_metadata import band_names, rasters
from eechips_local.catalogs import CatalogStore
from eechips_local.catalogs.catalog_schema import DamagedError
from eechips_local.evaluation.asset_model import FolderAsset, ImageAsset, PixelWindow, Query, Range
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.ingested_rasters import noise, raster
from tests.support.catalog_items import item, put
from tests.support.catalog_scenes import COUNT, PLATFORMS, Scenes, collection, scenes, start


@pytest.fixture(scope="module")
def world() -> Scenes:
    return Scenes(scenes(COUNT))


@pytest.fixture(scope="module")
def folder(world: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of them, in some hundred partitions."""
    path = tmp_path_factory.mktemp("served") / "catalog"
    put(path, world.items, layout=Layout(choose_grid("h3", 1, None, None)))
    return path


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[CatalogStore]:
    with CatalogStore(folder) as found:
        yield found


WHOLE = st.floats(-180, 180, allow_nan=False).map(lambda x: round(x, 2))
BOUNDS = st.tuples(WHOLE, st.floats(38, 64), WHOLE, st.floats(0, 6)).map(lambda b: (b[0], b[1], b[2], b[1] + b[3]))
NEAR = st.tuples(st.floats(-180, -60), st.floats(38, 64), st.floats(0, 8)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 180.0), b[1] + b[2] / 2)
)
MOMENTS = st.integers(1_577_000_000_000, 1_595_000_000_000)
RANGES = st.dictionaries(
    st.sampled_from(["eo:cloud_cover", "orbit", "platform", "nothing", "system:time_start", "proj:epsg"]),
    st.builds(Range, st.sampled_from([-np.inf, 0, 10, 2.5]), st.sampled_from([np.inf, 20.0, 3, 90.5]), st.booleans()),
    max_size=2,
)
EQUALS = st.dictionaries(st.just("platform"), st.sampled_from(["sentinel-2a", "x"]), max_size=1) | st.dictionaries(
    st.sampled_from(["orbit", "nothing"]), st.sampled_from([1, 2.0, "1"]), max_size=2
)
QUERIES = st.builds(
    Query, st.none() | BOUNDS | NEAR, st.none() | MOMENTS, st.none() | MOMENTS, EQUALS, RANGES
)  # fmt: skip


@pytest.mark.exhaustive
@given(QUERIES)
def test_queries_agree_with_each_item(world: Scenes, store: CatalogStore, query: Query) -> None:
    found = [image.properties["system:index"] for image in collection(store).images(query)]
    assert found == world.matching(query)


@pytest.mark.exhaustive
def test_file_columns_are_no_properties(store: CatalogStore) -> None:
    """Filters that pass what has no number there pass all, whatever the column of that name has."""
    own = collection(store)
    for name in ("proj:epsg", "datetime", "bbox", "assets"):
        assert list(own.images(Query(None, None, None, {name: 32610}))) == []
        assert len(list(own.images(Query(None, None, None, {}, {name: Range(least=1e9, others=True)})))) == COUNT


@pytest.mark.slow
def test_a_query_reads_the_partitions_that_can_match(store: CatalogStore) -> None:
    own = collection(store)
    store.reads.take()
    assert own.count(Query()) == COUNT
    assert store.reads.take() == {}
    partitions = store.describe()["partitions"]
    box, month = (-110.0, 45.0, -106.0, 47.0), (1_580_515_200_000, 1_583_020_800_000)
    found = list(own.images(Query(bounds=box, start=month[0], end=month[1])))
    reads = store.reads.take()
    assert found
    assert reads["partitions"] < partitions / 15
    assert reads["rows"] < COUNT / 10
    assert "ids" not in reads
    # What the query has looked at is known, and so are place and date.
    assert all(image.properties["system:time_start"] for image in found)
    assert store.reads.take() == {}


@pytest.mark.slow
def test_row_groups_that_cannot_match_are_passed_over(tmp_path: Path, world: Scenes) -> None:
    """Partitions of several row groups: rows lie by place."""
    put(tmp_path / "catalog", world.items, layout=Layout(choose_grid("h3", 0, None, None), "none", 10_000))
    for path in (tmp_path / "catalog").glob("collection=*/**/*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None), path, row_group_size=20)
    store = CatalogStore(tmp_path / "catalog")
    query = Query(bounds=(-110.0, 45.0, -109.5, 45.5))
    found = [image.id for image in collection(store).images(query)]
    assert found
    assert found == [f"test/{name}" for name in world.matching(query)]
    assert store.reads.take()["rows"] < COUNT / 10
    cloudy = Query(ranges={"eo:cloud_cover": Range(least=1000)})
    assert list(collection(store).images(cloudy)) == []
    assert "rows" not in store.reads.take()


@pytest.mark.slow
def test_properties_are_those_of_the_items(world: Scenes, store: CatalogStore) -> None:
    by_id = {value["id"]: value for value in world.items}
    query = Query(bounds=(-100.0, 40.0, -90.0, 50.0))
    for image in collection(store).images(query):
        value = by_id[image.properties["system:index"]]
        wanted = {k: part for k, part in value["properties"].items() if k not in ("datetime", "proj:epsg")}
        own = {"system:index": value["id"], "system:time_start": start(value)}
        assert image.properties.get("platform") == wanted.get("platform")
        assert dict(image.properties) == {**wanted, **own}
        assert image.footprint.equals(shapely.geometry.shape(value["geometry"]))
        assert "datetime" not in image.properties
        assert image.properties.get("assets") is None


def test_one_column_is_read_of_what_one_property_is_asked_for(store: CatalogStore) -> None:
    store.reads.take()
    found = list(collection(store).images(Query(bounds=(-100.0, 40.0, -90.0, 50.0))))
    before = store.reads.take()
    assert {image.properties.get("platform") for image in found} == set(PLATFORMS)
    assert store.reads.take()["row_groups"] <= before["row_groups"]
    assert [image.properties.get("platform") for image in found]
    assert [image.properties.get("title") for image in found] == [None] * len(found)
    assert store.reads.take() == {}


@pytest.mark.slow
def test_an_image_is_found_by_its_id(folder: Path, world: Scenes) -> None:
    store = CatalogStore(folder)
    wanted = world.items[5]["id"]
    image = store.get(f"test/{wanted}")
    assert isinstance(image, ImageAsset)
    assert image.id == f"test/{wanted}"
    store.reads.take()
    assert [found.id for found in collection(store).images(Query(equals={"system:index": wanted}))] == [image.id]
    assert store.reads.take()["partitions"] == 1
    assert store.get("test/nothing") is None
    assert store.get("test/s0") is None
    assert store.get("nothing") is None
    assert store.get("") is None
    fresh = CatalogStore(folder)  # another process: the file of ids is there
    assert fresh.get(f"test/{wanted}") is not None
    assert fresh.reads.take() == {"schemas": 1, "partitions": 1, "row_groups": 1, "rows": pytest.approx(9, abs=8)}


@pytest.mark.exhaustive
def test_all_images_in_order(store: CatalogStore, world: Scenes) -> None:
    ids = sorted(value["id"] for value in world.items)
    assert [image.properties["system:index"] for image in collection(store).images(Query())] == ids
    assert list(store.children("test")) == [f"test/{name}" for name in ids]
    store.reads.take()
    found = next(collection(store).images(Query()))
    assert found.id == f"test/{ids[0]}"
    assert store.reads.take()["partitions"] == 1
    later = collection(store).images_from(COUNT - 3)
    assert [image.id for image in later] == [f"test/{name}" for name in ids[-3:]]
    assert store.reads.take()["partitions"] <= 3


@pytest.mark.slow
def test_walking_through_all_images_does_not_open_partitions_again_and_again(tmp_path: Path) -> None:
    """Ids that lie across all partitions: the more are read at a time, the less often each of those is opened."""
    chance = random.Random(5)
    names = chance.sample(range(10**6), 3000)
    put(
        tmp_path / "c",
        [item(f"i{name:06}", (4.0 * (n % 30), 0.0, 4.0 * (n % 30) + 0.1, 0.1)) for n, name in enumerate(names)],
    )
    store = CatalogStore(tmp_path / "c")
    own = collection(store)
    assert own.image("none") is None  # the file of ids is made
    partitions = len(list((tmp_path / "c").rglob("*.parquet")))
    store.reads.take()
    assert [image.id for image in own.images(Query())] == [f"test/i{name:06}" for name in sorted(names)]
    assert store.reads.take()["partitions"] <= 5 * partitions


def test_collections_are_assets_of_their_ids(tmp_path: Path) -> None:
    folder = tmp_path / "nameless"
    box = (0.0, 0.0, 1.0, 1.0)
    bare = item("c/d", box)
    del bare["collection"]
    put(folder, [item("a", box, collection="NASA/HLS/L30")], [item("b", box, collection="NASA/HLS/L30/b")], [bare])
    put(folder, [item("s", box, collection="sentinel-2-l2a", updated="2021-01-01T00:00:00Z")])
    described = {"type": "Collection", "title": "Scenes", "description": "Of somebody.", "license": "CC-BY-4.0"}
    (folder / "collection=sentinel-2-l2a/_collection.json").write_text(json.dumps(described))
    store = CatalogStore(folder)
    assert list(store.children("")) == ["NASA", "nameless", "sentinel-2-l2a"]
    assert list(store.children("NASA/HLS")) == ["NASA/HLS/L30"]
    assert isinstance(store.get("NASA/HLS"), FolderAsset)
    for asset_id in ("NASA/HLS/L30/a", "NASA/HLS/L30/b/b", "nameless/c/d", "sentinel-2-l2a/s"):
        found = store.get(asset_id)
        assert isinstance(found, ImageAsset), asset_id
        assert found.id == asset_id
    scene = store.get("sentinel-2-l2a/s")
    assert isinstance(scene, ImageAsset)
    assert scene.version == 1_609_459_200_000_000
    properties = collection(store, "sentinel-2-l2a").properties
    assert properties["title"] == "Scenes"
    assert properties["date_range"] == [start(item("x", box)), start(item("x", box))]
    assert store.describe()["collections"]["nameless"] == 1
    (folder).rename(tmp_path / "sentinel-2-l2a")
    with pytest.raises(DamagedError, match="give the folder another name"):
        CatalogStore(tmp_path / "sentinel-2-l2a").get("x")


def test_catalogues_by_mission_are_read(tmp_path: Path) -> None:
    values = [item(f"i{n}", (n, 0.0, n + 1.0, 1.0), platform=f"p{n % 2}") for n in range(8)]
    put(tmp_path / "c", values, layout=Layout(choose_grid("h3", 1, None, None), by="mission"))
    own = collection(CatalogStore(tmp_path / "c"))
    assert [image.id for image in own.images(Query(equals={"platform": "p1"}))] == [f"test/i{n}" for n in (1, 3, 5, 7)]
    assert own.count(Query()) == 8


@pytest.mark.slow
def test_stores_are_serialised_by_path(store: CatalogStore) -> None:
    other = pickle.loads(pickle.dumps(store))
    assert other.path == store.path
    assert collection(other).count(Query()) == COUNT


def test_a_folder_without_a_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidStoreError, match=r"is not a catalogue, it has no _schema\.json"):
        CatalogStore(tmp_path)
    (tmp_path / SCHEMA_NAME).write_text('{"format": 99, "partitions": []}')
    with pytest.raises(DamagedError, match="has format 99"):
        CatalogStore(tmp_path).get("x")
    (tmp_path / SCHEMA_NAME).write_text("{")
    with pytest.raises(DamagedError, match="cannot be understood"):
        CatalogStore(tmp_path).get("x")


# Bands


def test_assets_of_very_many_names_are_stored_as_texts(tmp_path: Path) -> None:
    """As columns they would fill the memory with nulls."""
    box = (0.0, 0.0, 1.0, 1.0)
    grid = {"proj:shape": [2, 2], "proj:transform": [1.0, 0.0, 5.0, 0.0, -1.0, 7.0], "proj:epsg": 32613}
    tif = {"type": "image/tiff", "raster:bands": [{"data_type": "int16"}], "roles": ["data"], **grid}
    put(tmp_path / "c", [item(f"i{n}", box, assets={f"b{n}": {"href": f"/x/{n}.tif", **tif}}) for n in range(1200)])
    image = CatalogStore(tmp_path / "c").get("test/i7")
    assert isinstance(image, ImageAsset)
    assert [(band.name, band.grid.width, band.grid.crs) for band in image.bands] == [("b7", 2, "EPSG:32613")]


def test_assets_of_older_items_change_no_bands_of_others(tmp_path: Path) -> None:
    """Lists of one field that are not alike are stored as texts: STAC 0.8 has positions of bands."""
    tif = {"href": "/x/1.tif", "type": "image/tiff", "roles": ["data"], "eo:bands": [{"name": "B4"}]}
    older = {"href": "/x/2.tif", "type": "image/tiff", "roles": "data", "eo:bands": [3], "proj:shape": "2x2"}
    grid = {"proj:shape": [2, 2], "proj:transform": [1, 0, 5, 0, -1, 7], "proj:epsg": 32613}
    tif |= {"raster:bands": [{"data_type": "int16"}], **grid}
    box = (0.0, 0.0, 1.0, 1.0)
    put(tmp_path / "c", [item("new", box, assets={"red": tif}), item("old", box, assets={"red": older})])
    image = CatalogStore(tmp_path / "c").get("test/new")
    assert isinstance(image, ImageAsset)
    assert [(band.name, band.grid.width, band.grid.crs) for band in image.bands] == [("B4", 2, "EPSG:32613")]


@pytest.mark.parametrize("way", ["renamed", "written over"])
def test_files_that_change_are_opened_again(tmp_path: Path, way: str) -> None:
    file = raster(tmp_path / "a.tif", noise(1, 256, 256, seed=1))
    asset = {"red": {"href": str(file), "type": "image/tiff", "roles": ["data"]}}
    put(tmp_path / "c", [item("a", (-100.0, 30.0, -98.0, 41.0), assets=asset)])
    with CatalogStore(tmp_path / "c") as store:
        for size, seed in ((256, 1), (256, 2), (192, 3)):
            values = noise(1, size, size, seed=seed)
            new = raster(tmp_path / "new.tif", values)
            if way == "renamed":
                new.replace(file)
            else:
                shutil.copyfile(new, file)
            image = store.get("test/a")
            assert isinstance(image, ImageAsset)
            assert (image.bands[0].grid.width, image.bands[0].grid.height) == (size, size)
            found, _ = image.bands[0].source.read((0,), PixelWindow(9, 5, 150, 150), 0)
            assert np.array_equal(found, values[:, 5:155, 9:159])
        file.unlink()
        with pytest.raises(InvalidError, match=r"a\.tif cannot be read"):
            image.bands[0].source.read((0,), PixelWindow(9, 5, 1, 1), 0)


def test_properties_that_are_called_as_parts_of_paths_are(tmp_path: Path) -> None:
    items = [
        item(f"a{year}", (1, 1, 2, 2), when="2020-06-01T00:00:00Z", collection="test", year=year, cell="left")
        for year in range(2000, 2010)
    ]
    put(tmp_path / "catalog", items, layout=Layout(choose_grid("h3", 1, None, None)))
    with CatalogStore(tmp_path / "catalog") as store:
        there = collection(store)
        found = list(there.images(Query(equals={"year": 2004})))
        assert [image.id for image in found] == ["test/a2004"]
        assert found[0].properties["cell"] == "left"
        assert dict(found[0].properties)["year"] == 2004
        ranged = there.images(Query(ranges={"year": Range(2007, 2020)}))
        assert [image.properties["year"] for image in ranged] == [2007, 2008, 2009]
        assert [image.properties["year"] for image in there.images(Query())] == list(range(2000, 2010))


def test_names_of_bands_are_unique() -> None:
    assert band_names([("red", ["B04"]), ("nir", [None])]) == [["B04"], ["nir"]]
    assert band_names([("image", ["R", "G"]), ("qa", [None, None])]) == [["R", "G"], ["qa_1", "qa_2"]]
    # A composite beside its parts.
    named = [("B04", ["B04"]), ("B03", ["B03"]), ("visual", ["B04", "B03", None])]
    assert band_names(named) == [["B04"], ["B03"], ["visual_B04", "visual_B03", "visual_3"]]
    assert band_names([("left", ["b1"]), ("right", ["b1"])]) == [["left"], ["right"]]
    with pytest.raises(ValueError, match="several of its bands are called a_b"):
        band_names([("a", ["b", "c"]), ("a_b", ["c"])])


def test_raster_assets_become_bands() -> None:
    tif, cog = "image/tiff", "image/tiff; application=geotiff; profile=cloud-optimized"
    assets = {
        "red": {"href": "a.tif", "type": cog, "roles": ["data", "reflectance"], "eo:bands": [{"name": "red"}]},
        "red-jp2": {"href": "a.jp2", "type": "image/jp2", "roles": ["data", "reflectance"]},
        "plain": {"href": "https://x.org/B.TIF?sig=1"},
        "visual": {"href": "v.tif", "type": cog, "roles": ["visual"]},
        "thumbnail": {"href": "t.png", "type": "image/png", "roles": ["thumbnail"]},
        "preview": {"href": "t.tif", "type": tif, "roles": ["overview"]},
        "metadata": {"href": "m.xml", "type": "application/xml", "roles": ["metadata"]},
        "table": {"href": "t.parquet"},
    }
    assert [found.key for found in rasters({"properties": {}, "assets": assets})] == ["red", "plain"]
    others = {key: assets[key] for key in assets if key not in ("red", "plain")}
    assert [found.key for found in rasters({"properties": {}, "assets": others})] == ["red-jp2"]


@pytest.mark.parametrize(
    ("asset", "properties", "expected"),
    [
        ({}, {}, None),
        ({"proj:shape": [20, 10], "proj:transform": [10, 0, 5, 0, -10, 7], "proj:epsg": 32613}, {}, (10, 20)),
        ({"proj:code": "EPSG:4326"}, {"proj:shape": [20, 10], "proj:transform": [1, 0, 5, 0, -1, 7, 0]}, (10, 20)),
        # Size of the asset, transform of the item: those of another file perhaps.
        ({"proj:shape": [20, 10]}, {"proj:transform": [10, 0, 5, 0, -10, 7], "proj:epsg": 32613}, None),
        ({"proj:shape": [20, 10], "proj:transform": [10, 0, 5, 0, -10, 7]}, {"proj:epsg": None}, None),
        ({"proj:shape": [20, 10], "proj:transform": [10, 0, 5, 0, -10, 7]}, {"proj:code": "EPSG:99999999"}, None),
        ({"proj:shape": "x", "proj:transform": [10, 0, 5, 0, -10, 7]}, {"proj:epsg": 32613}, None),
    ],
)  # fmt: skip
def test_grids_are_read_from_item_properties(asset: dict[str, Any], properties: dict[str, Any], expected: Any) -> None:
    document = {"properties": properties, "assets": {"red": {"href": "a.tif", **asset}}}
    (found,) = rasters(document)
    assert (None if found.grid is None else (found.grid.width, found.grid.height)) == expected


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        ({}, "there are none"),
        ({"image": {"href": "a.png", "type": "image/png"}}, r"no GeoTIFF or JPEG 2000 file .*: image \(image/png\)"),
        ({"image": {"href": "/etc/hosts.tif"}}, "/etc/hosts.tif, and this server reads files below .* --catalog-files"),
        ({"image": {"href": "https://x.org/a.tif?sig=secret"}}, "https://x.org/a.tif, and .* --allow-remote"),
        ({"image": {"href": "s3://bucket/a.tif"}}, "s3://bucket/a.tif, and .* --allow-remote"),
        ({"image": {"href": "/vsizip/a.zip/a.tif"}}, "what is read are files"),
        ({"image": {"href": "ftp://x.org/a.tif"}}, "what is read are files"),
        ({"image": {"href": "a.tif"}}, "its item does not say where it came from"),
        ({"image": {"href": "", "type": "image/tiff"}}, "which is no file"),
    ],
)  # fmt: skip
def test_unusable_bands_say_why(tmp_path: Path, assets: dict[str, Any], message: str) -> None:
    put(tmp_path / "c", [item("a", (0.0, 0.0, 1.0, 1.0), assets=assets)])
    image = next(collection(CatalogStore(tmp_path / "c")).images(Query()))
    assert image.properties["system:index"] == "a"
    with pytest.raises(InvalidError, match=message) as caught:
        len(image.bands)
    assert "secret" not in str(caught.value)
