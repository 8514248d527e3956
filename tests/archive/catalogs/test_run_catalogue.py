"""Catalogues of runs: made by the command, read by pystac, DuckDB, geopandas, pyarrow and stac-geoparquet."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import shapely
from click.testing import Result
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation import validate_dict
from rasterio.warp import transform, transform_bounds
from stac_geoparquet.arrow import stac_table_to_items

import eechips
from eechips.errors import UsageError
from eechips.files.hashes import hash_file
from local_tests.support.object_server import missing_packages, serving_objects
from tests.support.catalog_items import write_run
from tests.support.commands import run_command
from tests.support.programs import run_program

UTM = {"crs": "EPSG:32613", "width": 64, "height": 32, "dtype": "uint16", "bands": ["B4", "B3"]}
NAIP = {
    "id": "USDA/NAIP/DOQQ",
    "title": "NAIP",
    "licence": "US public domain; credit is asked for",
    "citation": "USDA [year]",
    "source": "https://example.org/naip",
}


def chip(number: int, **columns: Any) -> dict[str, Any]:
    """A chip of the 13th zone, 10 km east of the one before, a month later."""
    date = f"2020-{number % 12 + 1:02}-15T17:30:00Z"
    return {
        "unit": {"kind": "point", "number": number, "eco_name": f"zone {number % 3}", "date": date},
        **UTM,
        "transform": [10.0, 0.0, 450_000.0 + 10_000 * number, 0.0, -10.0, 4_420_000.0],
        "dates": [date],
        "sources": [f"USDA/NAIP/DOQQ/{number}"],
        "valid_fraction": 0.5,
        "finished": "2021-01-01T00:00:00.000Z",
        **columns,
    }


def cli(*arguments: object, status: int | None = None) -> Result:
    return run_command("catalog", *arguments, status=status)


def catalogued(folder: Path, chips: list[dict[str, Any]], *options: str, **info: Any) -> list[pystac.Item]:
    """The items of a run, all of them valid."""
    write_run(folder, chips, **info)
    cli(folder, *options, status=0)
    found = [pystac.Item.from_dict(value) for value in eechips.open_catalog(folder / "catalog").items()]
    for value in found:
        assert_valid(value.to_dict(transform_hrefs=False))
    return found


def assert_valid(value: dict[str, Any]) -> None:
    """By STAC's own schemas, which pystac carries; those of extensions would have to be fetched."""
    validate_dict({**value, "stac_extensions": []})


@pytest.mark.slow
def test_chips_become_items(tmp_path: Path) -> None:
    found = catalogued(tmp_path / "chips", [chip(n) for n in range(20)], datasets=[NAIP], notes=["Synthetic."])
    assert len(found) == 20
    (value,) = (value for value in found if value.properties["eechips:number"] == 3)
    assert value.collection_id == "chips"
    assert value.datetime is not None
    assert value.datetime.isoformat() == "2020-04-15T17:30:00+00:00"
    projection = ProjectionExtension.ext(value)
    assert (projection.code, projection.shape) == ("EPSG:32613", [32, 64])
    assert projection.transform == [10.0, 0.0, 480_000.0, 0.0, -10.0, 4_420_000.0]
    asset = value.assets["image"]
    assert asset.href == str(tmp_path / "chips" / "chips" / f"{value.id}.tif")
    assert asset.media_type == pystac.MediaType.GEOTIFF
    file = FileExtension.ext(asset)
    assert (file.size, file.checksum) == (1003, "1220" + "ab" * 32)
    assert asset.extra_fields["bands"] == [{"name": "B4"}, {"name": "B3"}]
    corners = transform_bounds("EPSG:32613", "EPSG:4326", 480_000, 4_419_680, 480_640, 4_420_000)
    assert value.bbox == pytest.approx(corners, abs=1e-9)
    assert shapely.geometry.shape(value.geometry).bounds == pytest.approx(value.bbox)
    assert value.properties["license"] == "other"
    (licence,) = value.get_links("license")
    assert (licence.href, licence.title) == (NAIP["source"], NAIP["licence"])
    described = value.get_collection()
    assert described is not None
    described.validate()
    assert described.description == "Chips of NAIP, made by `eechips sample`. Synthetic."
    assert described.providers is not None
    assert described.providers[0].name == "USDA 2020"
    assert described.extent.spatial.bboxes[0][0] == min(v.bbox[0] for v in found if v.bbox)
    (interval,) = described.extent.temporal.intervals
    assert [moment.isoformat()[:10] for moment in interval if moment] == ["2020-01-15", "2020-12-15"]


def test_units_of_several_files_are_one_item(tmp_path: Path) -> None:
    own = {**UTM, "transform": chip(0)["transform"]}
    other = {**own, "crs": "EPSG:32614", "transform": [10.0, 0.0, 450_000.0, 0.0, -10.0, 4_420_000.0]}
    layers = {"S2": own, "DEM": {**own, "bands": ["elevation"]}, "far": other}
    (value,) = catalogued(tmp_path / "chips", [chip(0, layers=layers)])
    assert sorted(value.assets) == ["DEM", "S2", "far"]
    assert value.assets["DEM"].extra_fields["bands"] == [{"name": "elevation"}]
    assert "proj:code" not in value.assets["DEM"].extra_fields
    assert value.assets["far"].extra_fields["proj:code"] == "EPSG:32614"
    assert value.geometry is not None
    assert value.geometry["type"] == "MultiPolygon"
    assert value.assets["DEM"].href.endswith(".DEM.tif")


def test_items_have_the_times_of_their_units(tmp_path: Path) -> None:
    several = chip(0, dates=["2020-03-05T10:00:00Z", "2020-03-01T10:00:00Z"])
    period = chip(1, dates=None, unit={"kind": "dates", "start": "2020-05-01", "end": "2020-06-01"})
    span = chip(2, dates=None, unit={"kind": "point"})
    parameters = {"start": "2019-01-01", "end": "2020-01-01"}
    found = catalogued(tmp_path / "chips", [several, period, span], parameters=parameters)
    landsat = [chip(0, dates=["2015-03-05T05:19:37.9237880Z"]), chip(1, dates=["5 March"], unit={"start": 7})]
    moments = [v.properties["start_datetime"] for v in catalogued(tmp_path / "l", landsat, parameters=parameters)]
    assert moments == ["2015-03-05T05:19:37.923788Z", "2019-01-01T00:00:00Z"]
    times = {(v.properties["start_datetime"][:10], v.properties["end_datetime"][:10]) for v in found}
    assert times == {("2020-03-01", "2020-03-05"), ("2020-05-01", "2020-06-01"), ("2019-01-01", "2020-01-01")}
    assert all(value.datetime is None for value in found)


def test_assets_have_the_times_of_their_frames(tmp_path: Path) -> None:
    own, moment = {**UTM, "transform": chip(0)["transform"]}, "2020-05-03T17:53:12Z"
    may, june = ({"start": f"2020-0{month}-01", "end": f"2020-0{month + 1}-01"} for month in (5, 6))
    layers = {"t00": {**own, **may, "dates": [moment]}, "t01": {**own, **june}, "DEM": own}
    (value,) = catalogued(tmp_path / "chips", [chip(0, dates=[moment], layers=layers)])
    names = ("datetime", "start_datetime", "end_datetime")
    assert {key: [asset.extra_fields.get(name) for name in names] for key, asset in value.assets.items()} == {
        "t00": [moment] * 3,
        "t01": [None, "2020-06-01T00:00:00Z", "2020-07-01T00:00:00Z"],
        "DEM": [None] * 3,
    }
    assert "datetime" not in value.assets["DEM"].extra_fields


def test_the_dates_of_a_dataset_of_one_time_are_known(tmp_path: Path) -> None:
    (value,) = catalogued(tmp_path / "chips", [chip(0, dates=None)], datasets=[{"id": "USGS/SRTMGL1_003"}])
    assert value.properties["start_datetime"][:10] == "2000-02-11"
    assert value.properties["end_datetime"][:19] == "2000-02-22T23:59:59"


def test_chips_without_a_date_need_one(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [chip(0), chip(1, dates=None)])
    result = cli(tmp_path / "run", status=2)
    assert "1 of 2 chips has no date, which STAC requires: set --date" in result.output
    assert not (tmp_path / "run/catalog").exists()
    cli(tmp_path / "run", "--date", "2021-01-01/2021-12-31", status=0)
    found = {v["properties"]["end_datetime"][:19] for v in eechips.open_catalog(tmp_path / "run/catalog").items()}
    assert found == {"2020-01-15T17:30:00", "2021-12-31T23:59:59"}
    for date, told in (("soon", "not a date such as"), ("2021-01-02/2021-01-01", "ends before it begins")):
        assert told in cli(tmp_path / "run", "--date", date).output


def test_items_lie_across_the_antimeridian_and_around_poles(tmp_path: Path) -> None:
    """Across the antimeridian, around a pole, in a projection that has no code."""
    at_180 = {**UTM, "crs": "EPSG:32601", "transform": [10.0, 0.0, 168_500.0, 0.0, -10.0, 1_000_000.0], "width": 300}
    pole = {**UTM, "crs": "EPSG:3413", "transform": [1000.0, 0.0, -32_000.0, 0.0, -1000.0, 16_000.0]}
    modis = {**UTM, "crs": "SR-ORG:6974", "transform": [926.6, 0.0, -9e6, 0.0, -926.6, 4.4e6]}
    chips = [chip(0, **at_180), chip(1, **pole), chip(2, **modis)]
    found = catalogued(tmp_path / "chips", chips)
    crossing, around, sinusoidal = sorted(found, key=lambda value: value.properties["eechips:number"])
    assert crossing.bbox is not None
    assert crossing.bbox[0] > 179.9
    assert crossing.bbox[2] < -179.9
    assert crossing.geometry is not None
    assert crossing.geometry["type"] == "MultiPolygon"
    assert around.bbox is not None
    assert around.bbox[3] == 90.0
    assert "proj:code" not in sinusoidal.properties
    assert sinusoidal.properties["proj:wkt2"].startswith("PROJCRS[")
    catalog = eechips.open_catalog(tmp_path / "chips/catalog")
    assert [v["id"] for v in catalog.items(bbox=(179.99, 0, -179.99, 20))] == [crossing.id]
    assert {v["id"] for v in catalog.items(bbox=(-180, 89.9, 180, 90))} == {around.id}


def test_results_that_lie_nowhere_are_left_out(tmp_path: Path) -> None:
    table = {"crs": None, "transform": None, "width": None, "height": None, "rows": 3}
    write_run(tmp_path / "run", [chip(0), chip(1, **table), chip(2, crs="IAU_2015:49900")])  # of Mars
    result = cli(tmp_path / "run", status=0)
    assert "2 results without a location left out" in result.output
    write_run(tmp_path / "tables", [chip(1, **table)])
    result = cli(tmp_path / "tables", status=2)
    assert "no chips for a catalogue: none of 1 result has a location" in result.output
    write_run(tmp_path / "none", [chip(1, file=None, state="failed_permanent")])
    assert "there are no results" in cli(tmp_path / "none").output
    assert not any((tmp_path / name / "catalog").exists() for name in ("none", "tables"))
    (tmp_path / "tables/catalog").mkdir()
    cli(tmp_path / "tables", status=2)
    assert (tmp_path / "tables/catalog").exists()  # somebody else made it


def test_catalogues_are_not_written_to_object_stores(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [chip(0)])
    result = cli(tmp_path / "run", "--out", "s3://bucket/catalog", status=2)
    assert "written to a local folder, not to s3://bucket/catalog" in result.output


def test_runs_share_a_catalogue(tmp_path: Path) -> None:
    out = tmp_path / "catalog"
    write_run(tmp_path / "one", [chip(n) for n in range(5)])
    write_run(tmp_path / "two", [chip(n) for n in range(3)])
    assert "items: 5 new; partitions changed: 5" in cli(tmp_path / "one", "--out", out).output
    assert "items: 3 new; partitions changed: 3" in cli("--out", out, tmp_path / "two", "--base", "s3://b/two/").output
    assert "items: 5 existing; partitions changed: 0" in cli("build", tmp_path / "one", "--out", out).output
    assert "8 items in 8 partitions" in cli(tmp_path / "two", "--out", out, "--base", "s3://b/two").output
    hrefs = {value["assets"]["image"]["href"] for value in eechips.open_catalog(out).items(collections="two")}
    assert all(href.startswith("s3://b/two/chips/") for href in hrefs)
    result = cli(tmp_path / "one", "--out", out, "--resolution", 5, status=2)
    assert "has another layout: h3 resolution 2, period month, most cells 10, not h3 resolution 5" in result.output


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of two runs, one of which has layers."""
    place = tmp_path_factory.mktemp("shared")
    layers = {"S2": {**UTM, "transform": chip(0)["transform"]}, "DEM": {**UTM, "transform": chip(0)["transform"]}}
    write_run(place / "naip", [chip(n) for n in range(24)], datasets=[NAIP])
    write_run(place / "pairs", [chip(n, layers=layers) for n in range(4)])
    for name in ("naip", "pairs"):
        cli(place / name, "--out", place / "catalog", status=0)
    return place / "catalog"


@pytest.mark.slow
def test_duckdb_reads_the_partitions_that_it_needs(shared: Path) -> None:
    source = f"read_parquet('{shared}/**/*.parquet', hive_partitioning = true, union_by_name = true)"
    assert duckdb.sql(f"SELECT count(*), count(DISTINCT (collection, id)) FROM {source}").fetchall() == [(28, 28)]
    by_month = duckdb.sql(f"SELECT year, month, count(*) FROM {source} GROUP BY ALL ORDER BY ALL").fetchall()
    assert by_month == [(2020, month, 3 if month <= 4 else 2) for month in range(1, 13)]
    one = source.replace("**", "collection=naip/**", 1)  # DuckDB 2.0.0 fails on fields that not all files have
    (row,) = duckdb.sql(
        f"""SELECT id, assets.image.href, "eechips:eco_name", collection FROM {one}
        WHERE year = 2020 AND month = 6 AND bbox.xmax < -104.9"""
    ).fetchall()
    assert row[1].endswith(f"{row[0]}.tif")
    assert row[2:] == ("zone 2", "naip")
    layered = duckdb.sql(f"SELECT assets FROM {source} WHERE collection = 'pairs'").fetchall()
    assert all(assets["DEM"]["href"].endswith(".DEM.tif") and assets["image"] is None for (assets,) in layered)
    partitions = eechips.open_catalog(shared).partitions(
        bbox=(-105.1, 39, -104.9, 41), start="2020-06-01", end="2020-07-01"
    )
    files = [str(shared / partition.path) for partition in partitions]
    assert 0 < len(files) < 4
    assert duckdb.sql(f"SELECT id FROM read_parquet({files}) WHERE bbox.xmax < -104.9").fetchall() == [row[:1]]


def test_geopandas_and_pyarrow_read_the_whole_folder(shared: Path) -> None:
    frame = geopandas.read_parquet(shared / "collection=naip")
    assert len(frame) == 24
    assert frame.crs.to_epsg() == 4326 or frame.crs.to_authority() == ("OGC", "CRS84")
    assert set(frame["month"]) == set(range(1, 13))
    boxes = frame.geometry.bounds
    assert boxes["minx"].between(-106, -102).all()
    assert len(geopandas.read_parquet(shared / "collection=naip", bbox=(-105.6, 39, -105, 41))) < 24
    assert pq.read_table(shared / "collection=naip", columns=["id"], filters=[("month", "=", 6)]).num_rows == 2
    assert len(geopandas.read_parquet(shared)) == 28


def test_files_are_what_stac_geoparquet_says(shared: Path) -> None:
    for path in shared.rglob("*.parquet"):
        file = pq.ParquetFile(path)
        assert json.loads(file.metadata.metadata[b"stac-geoparquet"])["version"].startswith("1.")
        geo = json.loads(file.metadata.metadata[b"geo"])
        assert (geo["version"], geo["columns"]["geometry"]["encoding"]) == ("1.1.0", "WKB")
        assert geo["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
        for value in stac_table_to_items(file.read()):
            assert_valid(value)


def test_partitions_are_listed(shared: Path) -> None:
    every = cli("partitions", shared).output.splitlines()
    assert sorted(every) == sorted(map(str, shared.rglob("*.parquet")))
    box = cli("partitions", shared, "--bbox=-105.6,39.9,-105.5,39.95", "--start", "2020-01-01", "--end", "2020-02-01")
    ((lon,), (lat,)) = transform("EPSG:32613", "EPSG:4326", [450_320], [4_419_840])
    point = cli("partitions", shared, f"--point={lon},{lat}", "--end", "2020-02-01")
    assert point.output == box.output
    assert len(box.output.splitlines()) == 2
    assert cli("partitions", shared, "--point=10,10").output == ""
    (one,) = json.loads(cli("partitions", shared, "--json", "--collection", "naip", f"--point={lon},{lat}").output)[:1]
    assert one["path"].startswith("collection=naip/cell=")
    assert {"items", "bbox", "start", "end", "sha256", "cell"} <= one.keys()
    assert hash_file(shared / one["path"]) == one["sha256"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--bbox", "1,2,3"], "'1,2,3' is not a box W,S,E,N"),
        (["--bbox", "0,0,1,1", "--point", "0,0"], "choose one of --bbox and --point"),
        (["--start", "soon"], "'soon' is not a date"),
    ],
)
def test_queries_that_make_no_sense_are_refused(shared: Path, arguments: list[str], told: str) -> None:
    result = cli("partitions", shared, *arguments, status=2)
    assert told in result.output


def test_an_unreadable_partition_is_reported_with_exit_status_1(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [chip(n) for n in range(4)])
    cli(tmp_path / "run")
    broken = sorted((tmp_path / "run/catalog").rglob("*.parquet"))[0]
    broken.write_bytes(b"PAR1PAR1")
    result = cli(tmp_path / "run", status=1)
    assert "cannot be read and is left unchanged" in result.output
    assert "1 item could not be added: restore these files and repeat the command" in result.output
    assert broken.read_bytes() == b"PAR1PAR1"
    result = cli(tmp_path / "run", "--give-up-unreadable", status=0)
    assert "was removed" in result.output
    assert len(eechips.open_catalog(tmp_path / "run/catalog")) == 4


@pytest.mark.slow
@pytest.mark.skipif(missing_packages("s3") is not None, reason=str(missing_packages("s3")))
def test_a_copy_in_an_object_store_is_read_there(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    with serving_objects("catalogs", "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        address = f"{server.bucket}/copy"
        assert f"{address} is not a catalogue" in cli("partitions", address).output
        fsspec.filesystem("s3").put(f"{shared}/", address.removeprefix("s3://"), recursive=True)
        here, there = eechips.open_catalog(shared), eechips.open_catalog(address)
        assert there.schema == here.schema
        assert repr(there).endswith(f"in {address}>")
        query = {"bbox": (-105.6, 39, -105, 41), "start": "2020-02-01"}
        assert list(there.items(**query)) == list(here.items(**query))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="is not a folder"):
            _ = there.path
        listed = cli("partitions", address, "--collection", "naip", "--end", "2020-03-01").output.splitlines()
        local = cli("partitions", shared, "--collection", "naip", "--end", "2020-03-01").output.splitlines()
        assert listed == [f"{address}/{Path(line).relative_to(shared)}" for line in local]


def test_help_needs_none_of_the_packages_that_catalogues_need() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from eechips.cli import main;"
        "CliRunner().invoke(main, ['catalog', '-h']);"
        "print(sorted({'h3', 'pyarrow', 'stac_geoparquet', 'pandas'} & set(sys.modules)))"
    )
    done = run_program(sys.executable, "-c", code, status=0)
    assert done.stdout.strip() == "[]"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_real_run_from_sample_to_items(tmp_path: Path) -> None:
    run = eechips.sample("NAIP", total=4, roi="-105.1,39.9,-105.0,40.0", local=True, out=tmp_path / "run", format="tif")
    built = eechips.catalog(run)
    assert (built.outcome.new, built.without_place) == (4, 0)
    for value in built.catalog.items():
        assert_valid(value)
        asset = value["assets"]["image"]
        assert asset["file:checksum"] == "1220" + hash_file(Path(asset["href"]))
        with rasterio.open(asset["href"]) as file:
            assert [*file.transform[:6]] == value["properties"]["proj:transform"]
            assert list(file.shape) == value["properties"]["proj:shape"]
            bounds = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        assert value["bbox"] == pytest.approx(bounds, abs=1e-7)
    assert built.catalog.schema == eechips.open_catalog(tmp_path / "run/catalog").schema
