"""Searches: responses of a STAC API and items that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

import eechips
from eechips.archive.catalogs.ingestion.item_lists import find_lists
from eechips.archive.catalogs.ingestion.list_readers import chunks
from eechips.archive.downloads.assets import select_assets
from eechips.archive.downloads.criteria import Search
from eechips.archive.downloads.document_reader import DocumentReader
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.search import items
from eechips.archive.downloads.signers import Secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.errors import ConfigurationError
from local_tests.support.captured_log import CapturedLog
from local_tests.support.function_server import Answer, serve_function
from tests.support.scene_servers import item
from tests.support.stac_search import as_json, feature, planned, search


@pytest.fixture
def hosts() -> Iterator[HostSessions]:
    with HostSessions(4, 5.0, 5.0) as found:
        yield found


@pytest.mark.parametrize(("status", "page"), [(200, {"links": []}), (200, []), (404, {}), (200, "x")])
def test_invalid_api_responses_are_reported(status: int, page: Any, hosts: HostSessions) -> None:
    signer = make_signer(Auth(), Secrets({}), hosts)
    with (
        serve_function(lambda path, headers, body: (status, {}, json.dumps(page).encode())) as url,
        pytest.raises(ConfigurationError, match="not a STAC catalogue"),
    ):
        list(items(Search(stac=url), DocumentReader(hosts, signer)))


def test_an_item_nested_too_deep_is_reported_and_the_others_are_found(tmp_path: Path, caplog: CapturedLog) -> None:
    known = item("one", assets={"data": {"href": "https://127.0.0.1:9/x.tif"}})
    lines = [json.dumps(known), '{"id": ' + "[" * 100_000, json.dumps({**known, "id": "two"})]
    (tmp_path / "items.ndjson").write_text("\n".join(lines))
    planned = eechips.scenes(str(tmp_path / "items.ndjson"), out=tmp_path / "out", dry_run=True, quiet=True)
    assert planned.units == 2
    assert "items.ndjson:2: not JSON: its values are nested too deep" in caplog.text


ACROSS = {
    "short": ([179, -17, -179, -16], [[179, -17], [-179, -17], [-179, -16], [179, -16], [179, -17]]),
    "wide": ([-179, -17, 179, -16], [[179, -17], [-179, -17], [-179, -16], [179, -16], [179, -17]]),
    "beyond": ([179, -17, 181, -16], [[179, -17], [181, -17], [181, -16], [179, -16], [179, -17]]),
    "before": ([-181, -17, -179, -16], [[-181, -17], [-179, -17], [-179, -16], [-181, -16], [-181, -17]]),
    "polar": ([-180, 80, 180, 90], [[0, 80], [90, 80], [180, 80], [-90, 80], [0, 80]]),
}
"""Outlines across the antimeridian or around a pole that are not cut there, with their boxes."""
CROSSING = ["short", "wide", "beyond", "before"]
AROUND = {(179.4, -16.6): CROSSING, (-179.6, -16.6): CROSSING, (0, -16.6): [], (10, 82): ["polar"], (10, 79): []}
"""Items that meet a box of 0.2 degrees with this corner."""


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["items.json", "items.parquet", "api"])
def test_items_across_the_antimeridian_are_found_where_they_are(name: str, tmp_path: Path) -> None:
    """Those that an API sent were lost on one or both sides, and found on the other side of the Earth."""
    found = [
        feature(key) | {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": box}
        for key, (box, ring) in ACROSS.items()
    ]
    page = {"type": "FeatureCollection", "features": found}
    (tmp_path / "items.json").write_text(json.dumps(page))
    if name.endswith("parquet"):
        arrow = pytest.importorskip("stac_geoparquet.arrow")
        arrow.to_parquet(arrow.parse_stac_items_to_arrow(found), tmp_path / name)

    landing = {
        "type": "Catalog", "id": "a", "description": "a", "stac_version": "1.0.0",
        "links": [{"rel": "search", "href": "/search"}],
    }  # fmt: skip

    def respond(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return as_json(page if path.startswith("/search") else landing)

    with serve_function(respond) as url:
        stac = url if name == "api" else str(tmp_path / name)
        for (west, south), expected in AROUND.items():
            assert search(stac, region=shapely.box(west, south, west + 0.2, south + 0.2)).ids == expected


def band_file(band: str, common: str, size: int, kind: str = "tif", **more: Any) -> dict[str, Any]:
    media_type = {"tif": "image/tiff; application=geotiff", "jp2": "image/jp2"}[kind]
    own = {"gsd": size, "proj:transform": [size, 0, 600000, 0, -size, 3300040], "roles": ["data"], **more}
    bands = [{"name": band, "common_name": common}]
    return {"href": f"https://127.0.0.1:9/{size}/{band}.{kind}", "type": media_type, "eo:bands": bands, **own}


def test_the_finest_geotiff_of_a_band_is_chosen() -> None:
    """Of the files that Earth Search (``blue-jp2``) and stactools for Sentinel-2 (``blue_60m``) have."""
    assets = {
        "blue_60m": band_file("B02", "blue", 60),
        "blue": band_file("B02", "blue", 10),
        "blue_20m": band_file("B02", "blue", 20),
        "blue-jp2": band_file("B02", "blue", 10, "jp2"),
        "rededge1": band_file("B05", "rededge", 20),
        "rededge2": band_file("B06", "rededge", 20),
        "rededge1-jp2": band_file("B05", "rededge", 20, "jp2"),
        "cirrus_60m": {**band_file("B10", "cirrus", 60), "proj:transform": None, "gsd": None},
        "cirrus": {**band_file("B10", "cirrus", 10), "proj:transform": None},
        "aot-jp2": band_file("AOT", "", 20, "jp2"),
    }
    known = {"id": "a", "assets": assets}
    wanted = {"B02": ["blue"], "blue_60m": ["blue_60m"], "B10": ["cirrus"], "AOT": ["aot-jp2"], "none": []}
    for name, keys in wanted.items():
        assert list(select_assets(known, [name])) == keys
    assert list(select_assets(known, ["rededge", "B05", "rededge1-jp2"])) == ["rededge1", "rededge2", "rededge1-jp2"]


def test_a_jpeg_2000_beside_its_geotiff_is_no_data() -> None:
    """An item of Earth Search, as pystac-client's cassette of ``test_filter`` has it, shortened.

    Its clouds and snow are JPEG 2000 only.
    """
    recorded = json.loads((Path(__file__).parent / "earth_search_item.json").read_text())
    keys = list(select_assets(recorded, None))
    geotiffs = [key for key, asset in recorded["assets"].items() if ".tif" in asset["href"] and key != "visual"]
    assert sorted(keys) == sorted([*geotiffs, "cloud", "snow"])
    assert list(select_assets(recorded, ["blue-jp2"])) == ["blue-jp2"]


def test_a_jpeg_2000_of_other_pixels_than_the_geotiffs_is_data() -> None:
    assets = {
        "blue": band_file("B02", "blue", 10),
        "blue-jp2": band_file("B02", "blue", 10, "jp2"),
        "finer": band_file("B02", "blue", 5, "jp2"),
        "green": band_file("B03", "green", 10, "jp2"),
        "errors": band_file("B02", "blue", 10, "jp2", roles=["data", "uncertainty"]),
        "plain": {"href": "a/plain.tif?sig=x", "roles": ["data"]},
        "plain-jp2": {"href": "a/plain.JP2?sig=x", "roles": ["data"]},
        "other year": {"href": "b/plain.jp2", "roles": ["data"]},
        "coarse": band_file("B09", "nir09", 60, gsd=None, **{"proj:transform": None}),
        "undeclared": band_file("B09", "nir09", 10, "jp2", gsd=None, **{"proj:transform": None}),
        "half declared": band_file("B09", "nir09", 60, "jp2"),
        "finer beside": {**band_file("B02", "blue", 10, "jp2"), "gsd": 5, "proj:transform": None},
    }
    kept = ["blue", "finer", "green", "errors", "plain", "other year", "coarse", "undeclared", "finer beside"]
    assert list(select_assets({"assets": assets}, None)) == kept


def test_rasters_without_a_media_type_are_data_beside_those_that_have_one() -> None:
    assets = {
        "red": {"href": "a/red.tif", "type": "application/octet-stream"},
        "swir": {"href": "a/swir.TIF?sig=x"},
        "small": {"href": "a/small.tif", "roles": ["overview"]},
        "page": {"href": "a/page.html"},
    }
    assert list(select_assets({"assets": assets}, None)) == list(assets)
    typed = {"nir": {"href": "a/nir.tif", "type": "image/tiff"}}
    assert list(select_assets({"assets": {**assets, **typed}}, None)) == ["red", "swir", "nir"]


def test_left_out_jpeg_2000_are_counted(tmp_path: Path, caplog: CapturedLog) -> None:
    caplog.set_level("INFO")
    assets = {"blue": band_file("B02", "blue", 10), "blue-jp2": band_file("B02", "blue", 10, "jp2")}
    (tmp_path / "items.json").write_text(json.dumps([item("one", assets), item("two", assets)]))
    assert len(planned(tmp_path / "items.json")) == 2
    assert "2 JPEG 2000 left out: GeoTIFFs have the same pixels" in caplog.text
    caplog.clear()
    assert len(planned(tmp_path / "items.json", assets=("blue",))) == 2
    assert "left out" not in caplog.text


@pytest.mark.parametrize(
    "worse",
    [
        {"href": "a/meta.xml", "type": "application/xml", "roles": ["metadata"]},
        {"href": "a/B02.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
        {"href": "a/B02.png", "type": "image/png", "gsd": 1},
        {"href": "a/B02.png", "type": "image/png", "roles": ["data"], "gsd": 1},
        {"href": "a/clouds.tif", "type": "image/tiff", "roles": ["data-mask"], "gsd": 1},
        {"href": "a/small.tif", "type": "image/tiff", "roles": ["overview"], "gsd": 1},
        {"href": "a/small.tif", "type": "image/tiff", "roles": ["data", "thumbnail"], "gsd": 1},
    ],
)
@pytest.mark.parametrize(
    "file",
    [
        {"href": "a/B02.tif", "type": "image/tiff", "roles": ["data"]},
        {"href": "a/B02", "type": "IMAGE/TIFF; application=geotiff"},
        {"href": "a/B02.tif", "type": "application/octet-stream"},
        {"href": "a/B02.jp2"},
    ],
)
def test_the_data_of_a_band_come_before_its_pictures_and_metadata(worse: dict[str, Any], file: dict[str, Any]) -> None:
    band = {"eo:bands": [{"name": "B02", "common_name": "blue"}]}
    for name in ("B02", "blue"):
        assert list(select_assets({"assets": {"worse": worse | band, "file": file | band}}, [name])) == ["file"]


@pytest.mark.parametrize("role", ["metadata", "thumbnail"])
def test_a_file_without_roles_comes_before_metadata_and_pictures(role: str) -> None:
    worse = {"href": "a/B02.x", "roles": [role], "gsd": 1, "eo:bands": [{"name": "B02"}]}
    file = {"href": "a/B02.h5", "type": "application/x-hdf5", "eo:bands": [{"name": "B02"}]}
    assert list(select_assets({"assets": {"worse": worse, "file": file}}, ["B02"])) == ["file"]


@pytest.mark.parametrize("field", ["gsd", "raster:spatial_resolution"])
def test_the_pixel_size_of_a_band_is_compared(field: str) -> None:
    """STAC 1.1 has fields of assets also in ``bands`` (best practices, bands); the common gsd is the finest."""

    def asset(size: float, **more: Any) -> dict[str, Any]:
        return {"href": f"{size}.tif", "type": "image/tiff", "bands": [{"name": "B02", field: size}], **more}

    for more in ({}, {"gsd": 10}):
        assets = {"coarse": asset(60, **more), "unknown": asset(float("nan")), "fine": asset(10, **more)}
        assert list(select_assets({"assets": assets}, ["B02"])) == ["fine"]


def test_many_names_of_many_bands_are_looked_up_once() -> None:
    class Counted(dict[str, Any]):
        reads = 0

        def get(self, *name: Any) -> Any:
            Counted.reads += 1
            return super().get(*name)

    assets = {f"key{n}": Counted(href=f"{n}.tif", bands=[{"name": f"b{n}"}]) for n in range(50)}
    assert list(select_assets({"assets": assets}, [f"b{n}" for n in range(50)])) == list(assets)
    assert Counted.reads < 50 * 50


@pytest.mark.parametrize("confused", ["a", "c"])
@pytest.mark.parametrize("times", [1, 9])
def test_the_document_of_another_item_is_requested_again(confused: str, times: int) -> None:
    """A cache on the way answered a request with the response to another one, and an item was lost without a word."""
    asked: Counter[str] = Counter()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked[path] += 1
        if path == "/catalog.json":
            links = [{"rel": "item", "href": f"./{name}.json"} for name in "abc"]
            return as_json(
                {"type": "Catalog", "id": "top", "stac_version": "1.0.0", "description": "x", "links": links}
            )
        return as_json(feature("b" if path[1:-5] == confused and asked[path] <= times else path[1:-5]))

    with serve_function(answer) as url:
        found = search(f"{url}/catalog.json")
    if times == 1:
        assert (sorted(found.ids), found.unread) == (["a", "b", "c"], [])
    else:
        first, second = sorted(["b", confused])
        assert found.unread == [(f"{url}/{second}.json", f"it has the same item as {url}/{first}.json: b")]


def _write_items(path: Path) -> Path:
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    to_parquet(parse_stac_items_to_arrow([feature(f"i{n}", box=(n, 0, n + 0.5, 1)) for n in range(3)]), path)
    return path


def _write_with_geopandas(path: Path) -> None:
    """Geopandas takes the column of boxes for an index, and leaves it out."""
    geopandas.read_parquet(_write_items(path)).to_parquet(path)


def _write_texts(path: Path) -> None:
    table = geopandas.read_parquet(_write_items(path))
    columns = {name: list(table[name]) for name in ("id", "datetime")}
    assets = [json.dumps(feature(name)["assets"]) for name in columns["id"]]
    pd.DataFrame({**columns, "assets": assets, "geometry": table.geometry.to_wkt()}).to_parquet(path)


def _write_with_other_name(path: Path) -> None:
    geopandas.read_parquet(_write_items(path)).rename_geometry("footprint").to_parquet(path)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("write", [_write_with_geopandas, _write_texts, _write_with_other_name])
def test_tables_of_items_by_other_programs_are_searched(write: Any, tmp_path: Path) -> None:
    """As `eechips catalog ingest` reads them: without boxes, with assets as JSON and geometries as WKT."""
    write(tmp_path / "items.parquet")
    assert "bbox" not in pq.read_schema(tmp_path / "items.parquet").names
    found = search(str(tmp_path / "items.parquet"), region=shapely.box(0.7, 0, 1.2, 1))
    assert (found.ids, found.unread) == (["i1"], [])
    hrefs = [Path(unit["href"]).name for unit in planned(tmp_path / "items.parquet")]
    assert hrefs == ["i0.tif", "i1.tif", "i2.tif"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_rows_whose_assets_are_none_are_reported(tmp_path: Path) -> None:
    table = pq.read_table(_write_items(tmp_path / "items.parquet"))
    assets = pa.array(range(len(table)), pa.int32())
    pq.write_table(table.set_column(table.column_names.index("assets"), "assets", assets), tmp_path / "items.parquet")
    found = search(str(tmp_path / "items.parquet"))
    assert found.ids == ["i0"]  # 0 is no asset
    assert {reason for _, reason in found.unread} == {"assets or properties are not a JSON object"}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_tables_without_geometries_in_degrees_are_refused(tmp_path: Path) -> None:
    """Metres were read as degrees: no item was in any region."""
    path = tmp_path / "items.parquet"
    frame = geopandas.read_parquet(_write_items(path)).set_crs(4326, allow_override=True)
    frame.to_crs(3857).to_parquet(path)
    with pytest.raises(ConfigurationError, match=r"geometries in WGS 84 / Pseudo-Mercator.*write it in EPSG:4326"):
        search(str(path), region=shapely.box(0.7, 0, 1.2, 1))
    with pytest.raises(ConfigurationError, match="Pseudo-Mercator"):
        [list(entries) for entries in chunks(find_lists([str(path)]), None)]
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"]["geometry"]["crs"] = {"type": "unheard of"}
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo)}), path)
    with pytest.raises(ConfigurationError, match=r"items\.parquet has geometries in .* that is not understood"):
        search(str(path))
    pd.DataFrame(frame.drop(columns="geometry")).to_parquet(path)
    with pytest.raises(ConfigurationError, match="it has no column of geometries"):
        search(str(path))
