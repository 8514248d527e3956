"""``eechips.load`` and ``eechips.stack``: tables and cubes equal the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.warp
import shapely
import xarray as xr

import eechips
from eechips.errors import UsageError
from eechips.manifest.manifest_columns import COLUMNS, Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.quality.chip_pixels import decode
from eechips.training.splits import split_table
from local_tests.support.local_earth_engine import Server
from tests.support.finished_run import png_of, write_run

BOX = "-105.30,39.90,-105.28,39.92"


def sample(server: Server, out: Path, dataset: Any, **options: Any) -> eechips.Run:
    given: dict[str, Any] = {"roi": BOX, "size": 32, **options}
    run = eechips.sample(dataset, endpoint=server.url, rate=None, out=out, executor="threads", quiet=True, **given)
    assert isinstance(run, eechips.Run)
    return run


@pytest.fixture(scope="module")
def layered(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Places of some classes, each with an image and a map."""
    out = tmp_path_factory.mktemp("load") / "layers"
    options = {"per_class": "2:WORLDCOVER", "bands": {"NAIP": "R,N"}, "limit": 6}
    return sample(demo_server, out, ["NAIP", "WORLDCOVER"], **options)


@pytest.fixture(scope="module")
def pictures(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    return sample(demo_server, tmp_path_factory.mktemp("load") / "pictures", "NAIP", total=5)


@pytest.fixture(scope="module")
def series(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """A table of months for two places."""
    folder = tmp_path_factory.mktemp("series")
    boxes = [shapely.box(x, 39.6, x + 0.02, 39.62) for x in (-105.4, -105.2)]
    gpd.GeoDataFrame({"place": ["west", "east"]}, geometry=boxes, crs="EPSG:4326").to_file(folder / "places.gpkg")
    run = eechips.timeseries(
        "MODIS_LST", endpoint=demo_server.url, rate=None, out=folder / "out", executor="threads", quiet=True,
        regions=str(folder / "places.gpkg"), columns="id=place", every="1 month", reducer="mean,max", output="one",
        start="2019-01-01", end="2019-07-01", bands="LST_Day_1km",
    )  # fmt: skip
    assert isinstance(run, eechips.Run)
    return run


@pytest.mark.slow
def test_a_unit_has_its_manifest_its_place_and_its_outline(pictures: eechips.Run) -> None:
    frame = eechips.load(pictures)
    assert isinstance(frame, gpd.GeoDataFrame)
    assert frame.crs == "EPSG:4326"
    units = pictures.units
    pd.testing.assert_frame_equal(pd.DataFrame(frame[list(units.columns)]), units)
    for row in frame.itertuples():
        assert decode(Path(row.path).read_bytes(), "png").values.shape == (3, row.height, row.width)
        assert row.geometry.contains(shapely.Point(row.lon, row.lat))
        assert [row.lon, row.lat] == row.unit["coordinates"]
        expected = rasterio.transform.array_bounds(row.height, row.width, rasterio.Affine(*row.transform))
        assert row.geometry.bounds == pytest.approx(expected, abs=1e-12)  # its crs is EPSG:4326
    assert "split" not in frame
    assert "flags" not in frame


@pytest.mark.slow
def test_files_of_several_layers(layered: eechips.Run) -> None:
    frame = eechips.load(layered.path, rows="files")
    layers = layered.layers
    assert frame.index.tolist() == layers.index.tolist()
    for name in ("id", "file", "bytes", "sha256", "bands", "dtype", "width", "crs", "transform", "valid_fraction"):
        assert frame[name].tolist() == layers[name].tolist()
    assert set(frame["class"]) <= {10, 30, 40, 50, 60, 70, 80}
    for row in frame.itertuples():
        with rasterio.open(row.path) as file:
            box = shapely.geometry.mapping(shapely.box(*file.bounds))
            outline = shapely.geometry.shape(rasterio.warp.transform_geom(file.crs, "EPSG:4326", box))
        assert row.geometry.symmetric_difference(outline).area < 1e-12
    assert len(eechips.load(layered)) == len(frame) / 2


@pytest.mark.slow
def test_splits_and_flags_are_joined_by_id(layered: eechips.Run, tmp_path: Path) -> None:
    units = layered.units
    chosen = units["id"].tolist()[1:]  # the first has no split
    table = pd.DataFrame({"id": chosen[::-1], "split": ["train", "test"] * 2 + ["none"], "block": "b"})
    path = split_table.write(layered.path, table, {"seed": 1})
    try:
        frame = eechips.load(layered)
        files = eechips.load(layered, rows="files")
    finally:
        path.unlink()
    found = dict(zip(table["id"], table["split"], strict=True))
    assert [None if pd.isna(s) else s for s in frame["split"]] == [found.get(i) for i in units["id"]]
    assert [None if pd.isna(s) else s for s in files["split"]] == [found.get(i) for i in files["id"]]


@pytest.mark.slow
def test_a_loaded_table_equals_the_file(series: eechips.Run) -> None:
    table = eechips.load(series)
    assert not isinstance(table, gpd.GeoDataFrame)
    stored = pd.read_parquet(series.path / "series.parquet")
    assert table.drop(columns="date").equals(stored.drop(columns="date"))
    assert table["date"].dt.strftime("%Y-%m-%d").tolist() == stored["date"].astype(str).tolist()
    assert len(eechips.load(series, rows="units")) == len(series.units)


@pytest.mark.slow
def test_a_table_of_points_has_points(demo_server: Server, tmp_path: Path) -> None:
    plots = Path(__file__).resolve().parents[2] / "recipes" / "plots.csv"
    run = eechips.points(
        "DEM", points=plots, endpoint=demo_server.url, rate=None, out=tmp_path / "out", executor="threads", quiet=True,
        format="csv",
    )  # fmt: skip
    table = eechips.load(run)
    assert isinstance(table, gpd.GeoDataFrame)
    given = pd.read_csv(plots)
    assert table.geometry.x.tolist() == given["lon"].tolist()
    assert table.geometry.y.tolist() == given["lat"].tolist()
    assert table["elevation"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["date=date:%d/%m/%Y", ""])
def test_dates_of_points_are_those_of_the_file(demo_server: Server, tmp_path: Path, columns: str) -> None:
    places = tmp_path / "places.csv"
    places.write_text("site,lon,lat,date\na,-105.2,39.9,12/09/2020\nb,-105.1,39.9,27/08/2020\n")
    options = {"endpoint": demo_server.url, "rate": None, "executor": "threads", "quiet": True, "format": "csv"}
    near = {"near": "15d"} if columns else {"start": "2020-09-01", "end": "2020-09-06"}
    run = eechips.points("S2", points=places, columns=columns, bands="B4", out=tmp_path / "out", **near, **options)
    dates = eechips.load(run)["date"]
    if not columns:  # the column has no meaning for eechips
        assert dates.tolist() == ["12/09/2020", "27/08/2020"]
    else:
        assert dates.dt.strftime("%Y-%m-%d").tolist() == ["2020-09-12", "2020-08-27"]
    with pytest.raises(UsageError, match="has no time series: it has values at points"):  # read as 9 December
        eechips.plot(run)


def test_long_integers_of_units_keep_their_digits_beside_missing_ones(tmp_path: Path) -> None:
    long = 2**53 + 1  # pandas makes floats of a column with a missing value
    places = [{"coordinates": [-105, 40], "properties": {"n": value, "m": 7}} for value in (long, 3)]
    run = write_run(tmp_path, [(place, None) for place in (*places, {"coordinates": [-105, 40]})])
    frame = eechips.load(run.path, rows="units")
    assert frame["n"].tolist()[:2] == [long, 3]
    assert frame["n"].isna().tolist() == [False, False, True]
    assert frame["m"].dtype == np.float64


def test_a_place_of_a_csv_file_is_numbers_and_its_other_columns_are_text(tmp_path: Path) -> None:
    columns = {"lon": "-105.10", "lat": "40.00", "plot": "007"}
    write_run(tmp_path, [({"coordinates": [-105.1, 40.0], "properties": columns}, None)])
    assert eechips.load(tmp_path)[["lon", "lat", "plot"]].iloc[0].tolist() == [-105.1, 40.0, "007"]


def test_an_unfinished_run_has_outlines_of_planned_units(tmp_path: Path) -> None:
    grid = {"crs": "EPSG:32601", "transform": [10, 0, 358_000, 0, -10, 7_300_000], "width": 1024, "height": 1024}
    properties = {"state": "AK", "plot": 7}
    units = [
        {"kind": "point", "coordinates": [-180.0, 65.8], "grid": grid, "properties": properties},
        {"kind": "call", "value": 3},
    ]
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        plan = [WorkUnit(n, f"{n:064x}", json.dumps(unit), f"chips/{n}") for n, unit in enumerate(units)]
        ledger.store_plan({"recipe": "sample", "parameters": {}}, plan)
        frame = eechips.load(tmp_path)
        assert frame["state"].tolist() == ["planned", "planned"]
        assert frame["unit_state"][0] == "AK"
        assert pd.isna(frame["unit_state"][1])
        assert frame["path"].isna().all()
        first, second = frame.geometry
        assert first.geom_type == "MultiPolygon"
        assert second is None
        assert len(eechips.load(tmp_path, rows="files")) == 0
        failed = Record(position=1, state=State.FAILED_PERMANENT, error_class="PermanentError", error="no")
        ledger.record([failed])
    assert eechips.load(tmp_path)["state"].tolist() == ["planned", "failed_permanent"]
    with pytest.raises(UsageError, match="no table"):
        eechips.load(tmp_path, rows="table")
    with pytest.raises(UsageError, match="no chips"):
        eechips.stack(tmp_path)


def test_invalid_rows_and_missing_runs_are_refused(tmp_path: Path, pictures: eechips.Run) -> None:
    with pytest.raises(UsageError, match="units, files or table"):
        eechips.load(pictures, rows="chips")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="holds no run"):
        eechips.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [True, False])
def test_chips_are_stacked_value_for_value(layered: eechips.Run, lazy: bool) -> None:
    cube = eechips.stack(layered, lazy=lazy)
    assert (cube.NAIP.chunks is not None) == lazy
    assert cube.NAIP.dims == ("sample", "NAIP_band", "y", "x")
    assert cube.NAIP_band.values.tolist() == ["R", "N"]
    assert cube.NAIP.dtype == np.uint8
    assert cube.WORLDCOVER.dtype == np.uint8
    for (_, layer), row in layered.layers.iterrows():
        with rasterio.open(layered.path / row["file"]) as file:
            np.testing.assert_array_equal(cube[layer].sel(sample=row["id"]).values, file.read())
            assert tuple(cube["transform"].sel(sample=row["id"]).values) == tuple(file.transform)[:6]
            assert str(cube["crs"].sel(sample=row["id"]).values) == file.crs.to_string()
    assert cube["class"].values.tolist() == eechips.load(layered)["class"].tolist()


def test_only_what_describes_a_sample_is_beside_its_pixels(pictures: eechips.Run) -> None:
    """How a file was requested describes no sample: ``method`` and ``shared_request`` stood there."""
    beside = set(eechips.stack(eechips.load(pictures, rows="units"), lazy=False).coords)
    assert beside & COLUMNS.keys() == {"crs", "transform", "state", "valid_fraction"}


def test_rows_of_a_frame_are_stacked_in_their_order(layered: eechips.Run) -> None:
    frame = eechips.load(layered)
    cube = eechips.stack(frame.iloc[[4, 1]])
    assert cube.sample.values.tolist() == frame["id"].iloc[[4, 1]].tolist()
    assert cube.chips.dims == ("sample", "band", "y", "x")
    alone = eechips.stack(eechips.load(layered, rows="files"), layer="WORLDCOVER")
    assert list(alone.data_vars) == ["WORLDCOVER"]
    with pytest.raises(UsageError, match="there is no layer 'DEM'; there are: NAIP, WORLDCOVER"):
        eechips.stack(layered, layer="DEM")


def test_masked_pixels_become_nan(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "shore.csv").write_text("lon,lat\n-105.3,39.9\n-105.25,39.9\n")
    options = {"points": tmp_path / "shore.csv", "roi": None, "format": "npy", "size": 16}
    run = sample(demo_server, tmp_path / "out", "DEM", **options)
    array = np.load(run.path / run.units["file"][0])
    array["mask"][:3] = False
    np.save(run.path / run.units["file"][0], array)
    with pytest.raises(UsageError, match="has changed since it was fetched: eechips verify lists such files"):
        eechips.stack(run, lazy=False)
    own = eechips.load(run).drop(columns="sha256")  # a file of one's own
    cube = eechips.stack(own, masked=True).chips
    assert cube.dtype == np.float32
    assert np.isnan(cube[0, 0, :3]).all()
    assert not np.isnan(cube[0, 0, 3:]).any()
    np.testing.assert_array_equal(cube[0, 0, 3:].values, array["elevation"][3:])
    assert eechips.stack(own).chips.dtype == np.int16


def test_chips_that_do_not_fit_are_refused(layered: eechips.Run, pictures: eechips.Run) -> None:
    both = pd.concat([eechips.load(layered), eechips.load(pictures)], ignore_index=True)
    with pytest.raises(UsageError, match=r"differ in bands .*: select some"):
        eechips.stack(both)
    other = eechips.load(pictures)
    other.loc[0, "width"] = 31
    with pytest.raises(UsageError, match=r"differ in height and width \(32, 32 of 4; 32, 31 of 1\)"):
        eechips.stack(other)
    other["width"] = 31
    with pytest.raises(UsageError, match="the file was changed"):
        eechips.stack(other, lazy=False)


@pytest.mark.slow
def test_a_series_is_stacked_by_region_and_time(series: eechips.Run) -> None:
    cube = eechips.stack(series)
    assert dict(cube.sizes) == {"region": 2, "time": 6}
    assert cube.region.values.tolist() == ["east", "west"]
    table = pd.read_parquet(series.path / "series.parquet")
    for row in table.itertuples():
        value = cube["LST_Day_1km_mean"].sel(region=row.place, time=str(row.date)).item()
        assert value == row.LST_Day_1km_mean or (np.isnan(value) and np.isnan(row.LST_Day_1km_mean))
    assert isinstance(cube, xr.Dataset)
    with pytest.raises(UsageError, match="no time series"):
        eechips.stack(pd.DataFrame({"plot": [1], "B4": [2.0]}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of mlcroissant
def test_a_card_of_a_table_has_its_rows(series: eechips.Run) -> None:
    import mlcroissant  # with PyTorch, which takes seconds

    made = eechips.card(series)
    assert made.sheet is None
    text = made.readme.read_text()
    assert "Tables of 12 rows" in text
    assert "`series.parquet`" in text
    found = pd.DataFrame(mlcroissant.Dataset(str(made.croissant)).records("rows"))
    stored = pd.read_parquet(series.path / "series.parquet")
    assert [name.removeprefix("rows/") for name in found.columns] == list(stored.columns)
    assert found["rows/place"].str.decode("utf-8").tolist() == stored["place"].tolist()
    np.testing.assert_array_equal(found["rows/LST_Day_1km_max"].astype(float), stored["LST_Day_1km_max"])


def test_ids_of_tables_keep_their_zeros(tmp_path: Path) -> None:
    """Codes such as FIPS are digits; each file has one region's."""
    tables = [f"code,date,value\n{code},2020-01-01,1\n".encode() for code in ("08013", "10001", "A1")]
    tables.append(b"code,date,value\n")
    units = [({"kind": "region", "id": number}, {"": ("csv", table)}) for number, table in enumerate(tables)]
    table = eechips.load(write_run(tmp_path, units), rows="table")
    assert table["code"].tolist() == ["08013", "10001", "A1"]
    assert table["value"].dtype == np.int64


def test_a_table_that_is_missing_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, [({"kind": "region", "id": 1}, {"": ("csv", b"date,value\n2020-01-01,1\n")})])
    (run.path / run.units["file"][0]).unlink()
    with pytest.raises(UsageError, match="is missing: eechips verify"):
        eechips.load(run, rows="table")


def test_a_grid_of_a_recipe_that_is_no_grid_has_no_outline(tmp_path: Path) -> None:
    picture = png_of(np.zeros((3, 8, 8), np.uint8))
    units = [({"kind": "point", "grid": {"row": number}}, {"": ("png", picture)}) for number in range(2)]
    frame = eechips.load(write_run(tmp_path, units))
    assert frame.geometry.isna().all()
    assert [unit["grid"] for unit in frame["unit"]] == [{"row": 0}, {"row": 1}]
