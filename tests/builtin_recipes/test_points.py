"""``points`` end to end: the command and the function, the real client, the local Earth Engine over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from click.testing import Result
from exactextract import exact_extract
from pyproj import Transformer

import eechips
from eechips.errors import RegionError, UsageError
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, wait_until
from local_tests.support.stack_store import CRS, DATES, SHAPE, STACK, TRANSFORM, Stack
from tests.support.coded_store import write_geotiff
from tests.support.commands import run_command

MOMENTS = pd.to_datetime(list(DATES), utc=True)


def lonlat(x: Any, y: Any, crs: str = CRS) -> tuple[Any, Any]:
    found: tuple[Any, Any] = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return found


@pytest.fixture(scope="module")
def plots() -> pd.DataFrame:
    """300 points, of which some are outside of the stack, some under its mask, one twice, and one without a place."""
    random = np.random.default_rng(11)
    column, row = random.uniform(-10, SHAPE[1] + 10, 300), random.uniform(-10, SHAPE[0] + 10, 300)
    column[:5], row[:5] = random.uniform(0, 7, 5), random.uniform(0, 5, 5)  # masked
    column[7], row[7] = column[9], row[9]
    lon, lat = lonlat(*(TRANSFORM * (column, row)))
    lon[20] = lat[20] = np.nan
    labels = pd.Series(random.choice(["rye", "oats"], 300), dtype="category")
    days = pd.to_datetime("2020-01-20") + pd.to_timedelta(random.integers(0, 80, 300), "D")
    frame = pd.DataFrame(
        {
            "plot": [f"{i:04d}" for i in range(300)],
            "label": labels,
            "lat": lat,
            "lon": lon,
            "day": days,
            "column": column,
        }
    )
    return frame.assign(row=row)


def expected(plots: pd.DataFrame, stack: Stack) -> np.ndarray:
    """Shape (plot, image, band): the pixel under each plot; NaN for none."""
    found = np.full((len(plots), len(DATES), 2), np.nan)
    column, row = np.floor(plots["column"]).astype(int), np.floor(plots["row"]).astype(int)
    inside = (column >= 0) & (column < SHAPE[1]) & (row >= 0) & (row < SHAPE[0]) & plots["lon"].notna()
    for index in np.flatnonzero(inside):
        values = stack.pixels[:, :, row[index], column[index]].astype(float)
        found[index] = np.where(values == 0, np.nan, values)
    return found


@pytest.fixture
def points(stack_server: Server, tmp_path: Path) -> Callable[..., Any]:
    """Runs ``points`` on the stack and reads the table."""

    def run(places: Any, **options: Any) -> pd.DataFrame:
        done = eechips.points(
            STACK, places, out=tmp_path / "out", endpoint=stack_server.url, quiet=True, executor="threads", **options
        )
        assert done.failures.empty
        (path,) = done.assembled
        assert done.verify() == []
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)

    return run


@pytest.mark.slow
def test_each_image_is_the_pixel_under_the_point(points: Callable[..., Any], plots: pd.DataFrame, stack: Stack) -> None:
    table = points(plots, each_image=True, bands="nir,red")
    assert list(table.columns) == [*plots.columns, "image", "image_date", "nir", "red"]
    values = expected(plots, stack)
    assert list(dict.fromkeys(table["plot"])) == list(plots["plot"])
    for (plot, rows), (_, row), value in zip(table.groupby("plot", sort=False), plots.iterrows(), values, strict=True):
        assert plot == row["plot"]
        if np.isnan(row["lon"]):
            assert (len(rows), rows["image"].isna().all(), rows["red"].isna().all()) == (1, True, True)
            continue
        if len(rows) == 1:  # outside of the images
            assert rows["image"].isna().all()
            assert np.isnan(value).all()
            continue
        assert list(rows["image_date"]) == list(MOMENTS)
        assert list(rows["image"]) == [f"image_{i}" for i in range(4)]
        np.testing.assert_array_equal(rows[["red", "nir"]].to_numpy(dtype=float), value)
    for column in plots.columns:
        first = table.groupby("plot", sort=False)[column].first().reset_index(drop=True)
        pd.testing.assert_series_equal(first, plots[column], check_dtype=column != "label", check_names=False,
                                       check_categorical=False)  # fmt: skip
    inside = ~np.isnan(values).all(axis=(1, 2))
    assert (table.groupby("plot", sort=False).size().to_numpy()[inside] == 4).all()


@pytest.mark.slow
def test_points_read_only_images_that_meet_the_conditions(
    points: Callable[..., Any], plots: pd.DataFrame, stack: Stack
) -> None:
    table = points(plots, composite="max", bands=["red"], where=["kind = k1", "cloud < 20"])
    np.testing.assert_array_equal(table["red"], expected(plots, stack)[:, 1, 0])


@pytest.mark.exhaustive
@pytest.mark.parametrize("composite", [None, "mean", "max", "count"])
def test_points_of_composites_equal_numpy(
    points: Callable[..., Any], plots: pd.DataFrame, stack: Stack, composite: str | None
) -> None:
    table = points(plots, composite=composite, bands=["red"])
    assert len(table) == len(plots)
    values = pd.DataFrame(expected(plots, stack)[:, :, 0].T)
    found = {None: values.ffill().iloc[-1], "mean": values.mean(), "max": values.max()}.get(composite)
    if composite == "count":  # nothing where there is no image
        found = values.count().astype(float)
        assert (table["red"].fillna(0) == found).all()
    else:
        assert found is not None
        np.testing.assert_allclose(table["red"], found, rtol=1e-12)


@pytest.mark.slow
def test_the_image_nearest_to_a_rows_date(points: Callable[..., Any], plots: pd.DataFrame, stack: Stack) -> None:
    table = points(plots, columns="date=day", near="10d", bands=["red"])
    values = expected(plots, stack)[:, :, 0]
    noon = plots["day"].dt.tz_localize("UTC") + pd.Timedelta(hours=12)
    for index, row in table.iterrows():
        apart = np.abs((MOMENTS - noon[index]).to_numpy())
        near = (apart <= np.timedelta64(10 * 24 + 12, "h")) & ~np.isnan(values[index])
        if near.any():
            nearest = int(np.argmin(np.where(near, apart, np.timedelta64(10**4, "D"))))
            assert (row["image"], row["red"]) == (f"image_{nearest}", values[index, nearest])
            assert row["image_date"] == MOMENTS[nearest]
        else:
            assert np.isnan(row["red"])
    assert table["red"].notna().sum() > 100
    assert table["red"].isna().sum() > 50


@pytest.mark.slow
def test_a_masked_image_is_passed_over_for_one_farther_in_time(
    tmp_path: Path, serve: Callable[..., Server], capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    for day, value in [("2020-03-01", 7), ("2020-03-10", 0), ("2020-03-20", 9)]:
        path = tmp_path / f"{day}.tif"
        write_geotiff(path, CRS, TRANSFORM, np.full((1, 4, 4), value, dtype=np.int16), dtype="int16", nodata=0)
        ingest(path, store, f"users/me/gaps/{day}", time_start=day, bands=["v"])
    server = serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")
    lon, lat = lonlat(500_015, 4_399_985)
    frame = pd.DataFrame({"lon": lon, "lat": lat, "day": ["2020-03-10", "2020-03-10", "2020-02-01", None]})
    run = eechips.points("users/me/gaps", frame, columns="date=day", near="30d", out=tmp_path / "out", quiet=True,
                         endpoint=server.url, executor="threads")  # fmt: skip
    table = pd.read_parquet(run.assembled[0])
    assert table["v"].tolist()[:3] == [7, 7, 7]
    assert np.isnan(table["v"][3])
    few = eechips.points("users/me/gaps", frame[:3], columns="date=day", near="8d", out=tmp_path / "few",
                         endpoint=server.url, executor="threads")  # fmt: skip
    near = pd.read_parquet(few.assembled[0])
    assert near[["image", "image_date", "v"]].isna().all(axis=None)  # that of March 10 is masked there
    said = "3 of 3 rows in points.parquet without a value: no image within 8d of its date has data there"
    assert said in capfd.readouterr().err
    assert len(pd.read_parquet(run.path / "manifest.parquet")) == 1


@pytest.mark.slow
def test_two_utm_zones_each_keep_their_own_pixels(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Two overlapping images of different zones, whose pixels say their own number."""
    store, folder = tmp_path / "store", tmp_path
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32613", always_xy=True).transform(-102.0, 40.0)
    x2, y2 = Transformer.from_crs("EPSG:4326", "EPSG:32614", always_xy=True).transform(-102.0, 40.0)
    images = {}
    for number, (crs, left, top) in enumerate([("EPSG:32613", x - 903, y + 507), ("EPSG:32614", x2 - 1201, y2 + 401)]):
        transform = Affine(30, 0, left, 0, -30, top)
        pixels = (np.arange(40 * 80).reshape(40, 80) + 1 + 10_000 * number).astype(np.int32)
        pixels[:, -20:] = 0 if number else pixels[:, -20:]
        path = folder / f"{number}.tif"
        write_geotiff(path, crs, transform, pixels[None], dtype="int32", nodata=0)
        ingest(path, store, f"users/me/zones/z{number}", time_start=f"2020-01-0{number + 1}", bands=["n"])
        images[number] = (crs, transform, pixels)
    random = np.random.default_rng(3)
    lon, lat = random.uniform(-102.02, -101.98, 200), random.uniform(39.99, 40.01, 200)
    values = np.full((2, 200), np.nan)
    for number, (crs, transform, pixels) in images.items():
        px, py = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
        columns, rows = (np.floor(part).astype(int) for part in ~transform * (px, py))
        inside = (columns >= 0) & (columns < 80) & (rows >= 0) & (rows < 40)
        values[number, inside] = pixels[rows[inside], columns[inside]]
    values[values == 0] = np.nan
    server = serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")
    frame = pd.DataFrame({"lon": lon, "lat": lat})
    options: dict[str, Any] = {"endpoint": server.url, "quiet": True, "executor": "threads"}
    latest = eechips.points("users/me/zones", frame, out=tmp_path / "latest", **options)
    table = pd.read_parquet(latest.assembled[0])
    np.testing.assert_array_equal(table["n"], np.where(np.isnan(values[1]), values[0], values[1]))
    assert 0 < np.isnan(values[1]).sum() < 200
    each = eechips.points("users/me/zones", frame, each_image=True, out=tmp_path / "each", **options)
    table = pd.read_parquet(each.assembled[0])
    for number in (0, 1):
        rows = table[table["image"] == f"z{number}"].drop_duplicates(["lon", "lat"]).set_index("lon")["n"]
        np.testing.assert_array_equal(rows.reindex(lon), values[number])


@pytest.mark.slow
def test_polygons_have_statistics_and_counts(
    points: Callable[..., Any], stack: Stack, stack_server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    x, y = np.random.default_rng(5).uniform((500_300, 4_398_400), (502_700, 4_399_700), (12, 2)).T
    shapes = [shapely.Point(a, b).buffer(150) for a, b in zip(x, y, strict=True)]
    frame = geopandas.GeoDataFrame({"field": np.arange(12)}, geometry=shapes, crs=CRS)
    frame = frame.set_geometry(frame.segmentize(5)).to_crs("EPSG:4326")
    table = points(frame, each_image=True, reducer="mean,max", bands="red,nir")
    assert list(table.columns) == ["field", "image", "image_date", "red_mean", "red_max", "nir_mean", "nir_max",
                                   "red_count", "nir_count"]  # fmt: skip
    assert len(table) == 12 * 4
    oracle = exact_extract(str(stack.files[2]), frame.to_crs(CRS), ["mean"], output="pandas")
    found = table[table["image"] == "image_2"]
    np.testing.assert_allclose(found["red_mean"], oracle["band_1_mean"], rtol=1e-4)
    np.testing.assert_allclose(found["nir_mean"], oracle["band_2_mean"], rtol=1e-4)
    assert found["red_count"].between(600, 800).all()
    tiny = frame.head(1).set_geometry([shapely.Point(lonlat(x[0], y[0])).buffer(1e-6)], crs="EPSG:4326")
    run = eechips.points(STACK, tiny, each_image=True, bands="red", out=tmp_path / "tiny", endpoint=stack_server.url,
                         executor="threads")  # fmt: skip
    assert pd.read_parquet(run.assembled[0])["red"].isna().all()
    said = "1 of 1 rows in points.parquet without a value: no image has data there, or the polygons are smaller than"
    assert said in capfd.readouterr().err


def test_csv_keeps_the_columns_of_the_input(points: Callable[..., Any], plots: pd.DataFrame, tmp_path: Path) -> None:
    some = plots.head(30)
    text = "id;note;Lon;Lat\n" + "".join(
        f'{i:03d};"a; ""b""";{row.lon};{row.lat}\n' for i, row in enumerate(some.itertuples())
    ).replace("nan", "")
    (tmp_path / "plots.csv").write_text(text)
    table = points(tmp_path / "plots.csv", format="csv", bands=["red"], prefix="s_")
    assert list(table.columns) == ["id", "note", "Lon", "Lat", "s_red"]
    assert table["id"].tolist() == [f"{i:03d}" for i in range(30)]
    assert set(table["note"]) == {'a; "b"'}
    numbers = table["s_red"].dropna()
    assert not numbers.str.contains(".", regex=False).any()
    assert table["s_red"].isna()[20]


@pytest.mark.slow
def test_bands_of_different_pixels_and_one_request_per_cell(demo_server: Server, tmp_path: Path, demo_ee: Any) -> None:
    ee = demo_ee
    random = np.random.default_rng(8)
    lon, lat = random.uniform(-105.2, -105.1, 40), random.uniform(40.0, 40.1, 40)
    frame = pd.DataFrame({"lon": lon, "lat": lat})
    run = eechips.points("S2", frame, bands="B4,B11,B1", each_image=True, start="2019-06-05", end="2019-06-07",
                         out=tmp_path / "out", endpoint=demo_server.url, quiet=True, executor="threads")  # fmt: skip
    table = pd.read_parquet(run.assembled[0])
    assert run.units["requests"].tolist() == [1]
    image = ee.Image(f"COPERNICUS/S2_SR_HARMONIZED/{table['image'][0]}")
    for index in (0, 17, 39):
        row = table[(table["lon"] == lon[index]) & (table["image"] == table["image"][0])].iloc[0]
        for band in ("B4", "B11", "B1"):
            alone = image.select([band]).reduceRegion(ee.Reducer.first(), ee.Geometry.Point([lon[index], lat[index]]))
            assert row[band] == alone.getInfo()[band]


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits", [("--response", "20000"), ("--payload", "12000"), ("--response", "20000", "--payload", "12000")]
)
def test_requests_above_the_limits_are_split(
    limits: tuple[str, ...], stack: Stack, plots: pd.DataFrame, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    server = serve("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none", *limits)
    run = eechips.points(
        STACK, plots, each_image=True, out=tmp_path / "out", endpoint=server.url, quiet=True, executor="threads"
    )
    assert run.failures.empty
    assert run.units["requests"].tolist()[0] > 3
    table = pd.read_parquet(run.assembled[0])
    values = expected(plots, stack)
    some = ~np.isnan(values).all(axis=(1, 2))
    found = table[table["plot"].isin(plots["plot"][some])][["red", "nir"]].to_numpy(dtype=float)
    np.testing.assert_array_equal(found.reshape(-1, 4, 2), values[some])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_run_resumes(stack: Stack, tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve("--assets", str(stack.path), "--no-demo", "--latency", "0.5")
    column, row = np.random.default_rng(9).uniform(8, 200, (2, 12_000))
    lon, lat = lonlat(*(TRANSFORM * (column, row)))
    frame = pd.DataFrame({"lon": lon, "lat": lat})
    frame.to_csv(tmp_path / "places.csv", index=False)
    command = [sys.executable, "-m", "eechips", "points", "--dataset", STACK, "--points", str(tmp_path / "places.csv"),
               "--out", str(tmp_path / "out"), "--endpoint", server.url, "--executor", "processes:1",
               "--in-flight", "1", "-q"]  # fmt: skip
    with subprocess.Popen(command, start_new_session=True) as process:
        wait_until(lambda: len(list((tmp_path / "out").glob("cells/*.parquet"))) >= 2)
        os.killpg(process.pid, signal.SIGKILL)
    recorded = eechips.open_run(tmp_path / "out").units["file"].dropna()  # a file that is not is fetched once more
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / file for file in recorded)}
    assert not (tmp_path / "out" / "points.parquet").exists()
    subprocess.run(command, check=True)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    table = pd.read_parquet(tmp_path / "out" / "points.parquet")
    np.testing.assert_array_equal(table[["lon", "lat"]], frame)
    found = stack.pixels[-1, 0, np.floor(row).astype(int), np.floor(column).astype(int)]
    np.testing.assert_array_equal(table["red"], found)
    before = (tmp_path / "out" / "points.parquet").stat().st_mtime_ns
    subprocess.run(command, check=True)
    assert (tmp_path / "out" / "points.parquet").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "out" / "run.json").read_text())["parameters"]["points_sha256"]


def command(*arguments: str, status: int | None = None) -> Result:
    return run_command("points", *arguments, status=status)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "NOPE"), "no dataset called 'NOPE'"),
        (("--dataset", "S2", "--each-image", "--composite", "mean"), "--each-image and --composite exclude each other"),
        (("--dataset", "S2", "--columns", "date=day"), "--columns date=NAME and --near belong together"),
        (("--dataset", "S2", "--columns", "date=day", "--near", "ten"), "--near ten is not a time"),
        (("--dataset", "S2", "--columns", "date=dya", "--near", "3d"), "has no column 'dya'; did you mean 'day'?"),
        (("--dataset", "S2", "--reducer", "mean"), "--reducer is for polygons"),
        (("--dataset", "S2", "--columns", "id=day"), "rows 1, 2 have the same day"),
        (("--dataset", "S2", "--mask", "nothing"), "has no such mask"),
        (("--dataset", "S2", "--bands", "B4,B4"), "a band is asked for twice"),
        (("--dataset", "S2", "--scale", "0"), "--scale must be 0.001 to 40,075,017 metres"),
        (("--dataset", "S2", "--columns", "lon=lom"), "has no column 'lom'; did you mean 'lon'?"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "plots.csv").write_text("lon,lat,day\n8,47,2020-01-01\n9,47,2020-01-01\n")
    result = command("--points", str(tmp_path / "plots.csv"), "--out", str(tmp_path / "out"), *arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "SRTM", "each_image": True}, "is a single image: leave `each_image` out"),
        ({"dataset": "SRTM", "bands": "elevatoin"}, "no band 'elevatoin'; did you mean 'elevation'"),
        ({"dataset": "SRTM"}, "has a column 'elevation' already: choose a `prefix`"),
        ({"dataset": "S2", "start": "1990-01-01", "end": "1991-01-01"}, "has no image between"),
        (
            {"dataset": "S2", "columns": "date=day", "near": "10d", "start": "2020-06-01"},
            "near the dates of .* are of 2020-05-04 to before 2020-05-26: `start` and `end` leave these days out",
        ),
    ],
)
def test_options_that_do_not_suit_the_dataset_are_refused(
    options: dict[str, Any], message: str, demo_server: Server, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"lon": [-105.0], "lat": [40.0], "elevation": [1.0], "day": ["2020-05-14"]})
    with pytest.raises(UsageError, match=message):
        eechips.points(places := options.pop("dataset"), frame, out=tmp_path / places, endpoint=demo_server.url,
                       quiet=True, **options)  # fmt: skip


def test_a_frame_without_places_or_a_crs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegionError, match=r"no row of .* has coordinates"):
        eechips.points("SRTM", pd.DataFrame({"lon": [None], "lat": [None]}), out=tmp_path / "out", quiet=True)
    frame = geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.Point(1, 2)])
    with pytest.raises(RegionError, match="does not say what coordinate reference system"):
        eechips.points("SRTM", frame, out=tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match="`points` must be a text"):
        eechips.points("SRTM", [1, 2], out=tmp_path / "out", quiet=True)
