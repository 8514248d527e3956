"""Items of static catalogues, lists of items and GeoParquet, written by pystac, stac-geoparquet and rustac."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pystac
import pytest

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription, ItemQuery, ItemSearch
from eechips_local.archives.items.file_items import resolve_path
from eechips_local.archives.items.item_search import open_search
from eechips_local.evaluation.asset_model import Range
from local_tests.archives.stac_server import make_item

JUNE = datetime(2024, 6, 1, tzinfo=timezone.utc).timestamp() * 1000.0
DAY = 86_400_000.0


def items() -> list[dict[str, Any]]:
    """Thirty items of one collection and five of another; some have assets that others have not."""
    found = [make_item(n, day=f"2024-06-{n + 1:02d}", west=float(n % 3) * 20.0, cloud=float(n)) for n in range(30)]
    for item in found[::2]:
        item["assets"]["B08"] = {"href": "./B08.tif", "raster:bands": [{"nodata": 0, "offset": -0.1}]}
    return found + [make_item(100 + n, collection="naip") for n in range(5)]


def open_items(path: Path) -> ItemSearch:
    """The search of a file."""
    return open_search(ArchiveDescription(name="mine", title="Mine", file=str(path)), None)


def write_catalogue(folder: Path) -> Path:
    """Write a static catalogue with pystac."""
    catalogue = pystac.Catalog("mine", "Mine")
    extent = pystac.Extent(pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]]))
    for name in ("s2", "naip"):
        collection = pystac.Collection(name, name, extent)
        collection.add_items(
            pystac.Item.from_dict(copy.deepcopy(item)) for item in items() if item["collection"] == name
        )
        catalogue.add_child(collection)
    catalogue.normalize_and_save(str(folder), pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


def write_list(folder: Path) -> Path:
    """Write a list of items."""
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items()}))
    return path


def write_parquet(folder: Path) -> Path:
    """Write GeoParquet with stac-geoparquet; some items and assets have outlines in their own CRS, as of rio-stac."""
    arrow = pytest.importorskip("stac_geoparquet.arrow")
    path, written = folder / "items.parquet", copy.deepcopy(items())
    for item in written[::2]:
        for part in (item["properties"], *item["assets"].values()):
            part["proj:geometry"] = item["geometry"]
    arrow.to_parquet(arrow.parse_stac_items_to_arrow(written), path)
    return path


def write_null_asset(folder: Path) -> Path:
    """Write GeoParquet with an asset that no item has, as Arrow infers one of nulls."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = write_parquet(folder)
    table = pq.read_table(path)
    assets = table["assets"].combine_chunks()
    columns = {field.name: assets.field(field.name) for field in assets.type} | {"none": pa.nulls(len(table))}
    whole = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    pq.write_table(table.set_column(table.schema.get_field_index("assets"), "assets", whole), path)
    return path


def write_with_geopandas(folder: Path) -> Path:
    """Write GeoParquet with geopandas, which leaves out the column of boxes."""
    geopandas, path = pytest.importorskip("geopandas"), write_parquet(folder)
    geopandas.read_parquet(path).to_parquet(path)
    return path


def write_rustac(folder: Path) -> Path:
    """Write GeoParquet with rustac."""
    rustac = pytest.importorskip("rustac")
    path = folder / "rustac.parquet"

    async def write() -> None:
        await rustac.write(str(path), copy.deepcopy(items()))

    asyncio.run(write())
    return path


def found(search: ItemSearch, query: ItemQuery, collection: str = "s2") -> list[str]:
    """Ids of found items."""
    return sorted(item["id"] for item in search.items(collection, query))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tables_in_metres_are_refused(tmp_path: Path) -> None:
    """Metres were read as degrees: no item was in any region."""
    path = write_with_geopandas(tmp_path)
    frame = pytest.importorskip("geopandas").read_parquet(path).set_crs(4326, allow_override=True)
    frame.to_crs(3857).to_parquet(path)
    with pytest.raises(ArchiveRefusedError, match=r"geometries in WGS 84 / Pseudo-Mercator.*write it in EPSG:4326"):
        found(open_items(path), ItemQuery())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "write", [write_catalogue, write_list, write_parquet, write_null_asset, write_with_geopandas, write_rustac]
)
def test_files_of_items_are_searched_like_an_archive(write: Any, tmp_path: Path) -> None:
    search = pickle.loads(pickle.dumps(open_items(write(tmp_path))))
    assert sorted(search.collections()) == ["naip", "s2"]
    everything = [item["id"] for item in items() if item["collection"] == "s2"]
    assert found(search, ItemQuery()) == everything
    assert len(found(search, ItemQuery(), "naip")) == 5
    assert found(search, ItemQuery(), "none") == []
    assert found(search, ItemQuery(start=JUNE + 3 * DAY, end=JUNE + 5 * DAY)) == ["item-0003", "item-0004"]
    assert found(search, ItemQuery(bounds=(20.5, 46.1, 20.6, 46.2))) == everything[1::3]
    assert found(search, ItemQuery(bounds=(40.5, 46.1, -150.0, 46.2))) == everything[2::3]
    assert found(search, ItemQuery(ids=("item-0007", "none"))) == ["item-0007"]
    assert found(search, ItemQuery(ranges={"eo:cloud_cover": Range(greatest=1.5)})) == ["item-0000", "item-0001"]
    item = next(iter(search.items("s2", ItemQuery(ids=("item-0002",)))))
    assert item["assets"]["B04"]["href"] == "https://files.example/2/B04.tif"
    assert item["assets"]["B08"]["href"].startswith(str(tmp_path))
    assert item["assets"]["B08"]["raster:bands"] == [{"nodata": 0, "offset": -0.1}]
    assert json.loads(json.dumps(item["properties"]))["eo:cloud_cover"] == 2.0
    assert item["properties"]["datetime"].startswith("2024-06-03T10:00:00")
    odd = next(iter(search.items("s2", ItemQuery(ids=("item-0003",)))))
    assert sorted(odd["assets"]) == ["B04"]


@pytest.mark.parametrize("write", [write_list, write_parquet])
def test_image_is_found_by_its_own_time_which_was_rounded_up(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items of Landsat have times to the microsecond (LC08_L2SP_033032_20231008 in pystac-client's cassettes)."""
    scene = make_item(1)
    scene["properties"]["datetime"] = "2023-10-08T17:37:26.656958Z"
    monkeypatch.setattr("local_tests.archives.test_file_items.items", lambda: [scene])
    search = open_items(write(tmp_path))
    taken = datetime(2023, 10, 8, 17, 37, 26, 657_000, tzinfo=timezone.utc).timestamp() * 1000.0
    assert found(search, ItemQuery(start=taken, end=taken + 1.0)) == [scene["id"]]
    assert found(search, ItemQuery(start=taken - 1.0, end=taken)) == []


@pytest.mark.parametrize("write", [write_list, write_parquet])
@pytest.mark.parametrize("box", [(179.5, -179.5), (179.5, 180.5), (-180.5, -179.5), (-179.5, 179.5)])
def test_item_across_180_degrees_is_found_on_both_sides(
    box: tuple[float, float], write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last box is that of the corners of an outline which is not cut."""
    scene = make_item(1)
    scene["bbox"] = [box[0], -17.6, box[1], -17.4]
    monkeypatch.setattr("local_tests.archives.test_file_items.items", lambda: [scene])
    search = open_items(write(tmp_path))
    for west in (179.8, -179.9):
        assert found(search, ItemQuery(bounds=(west, -17.5, west + 0.1, -17.5))) == [scene["id"]]


def test_a_catalogue_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = write_list(tmp_path)
    search = open_items(path)
    assert len(found(search, ItemQuery())) == 30
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items()[:3]}))
    assert len(found(search, ItemQuery())) == 3


def test_a_catalogue_that_contains_itself_ends(tmp_path: Path) -> None:
    links = [{"rel": "child", "href": "./catalog.json"}, {"rel": "item", "href": "item.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "a", "links": [*links, *links]}))
    (tmp_path / "item.json").write_text(json.dumps(make_item(1)))
    assert found(open_items(tmp_path / "catalog.json"), ItemQuery()) == ["item-0001"]


@pytest.mark.parametrize(
    "href",
    ["../secret.json", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/a.json", "link.json", "/vsicurl/http://a",
     "file://host/a.json", "s3://a/b.json", "sub/../../secret.json"],
)  # fmt: skip
def test_a_catalogue_leads_nowhere_outside_of_its_folder(href: str, tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (tmp_path / "secret.json").write_text(json.dumps(make_item(1)))
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    path = folder / "catalog.json"
    path.write_text(json.dumps({"type": "Catalog", "id": "a", "links": [{"rel": "item", "href": href}]}))
    with pytest.raises(ArchiveRefusedError):
        found(open_items(path), ItemQuery())
    with pytest.raises(ArchiveRefusedError):
        resolve_path(folder, href, path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"type": "Other"}', b"[" * 200_000, b'{"type": "Feature"}', b"\xff"]
)
def test_what_is_no_catalogue_is_an_error(content: bytes, tmp_path: Path) -> None:
    for name in ("catalog.json", "items.parquet"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ArchiveRefusedError):
            found(open_items(path), ItemQuery())
    with pytest.raises(ArchiveRefusedError, match="There is no file"):
        open_items(tmp_path / "none.json")
