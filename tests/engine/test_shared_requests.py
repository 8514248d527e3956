"""Neighbouring chips are fetched in one request: the same files and records as alone, in fewer requests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eechips
from eechips.client.chip_groups import share_chips
from eechips.client.fetcher import Fetcher
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import fetch_shared
from eechips.engine.service.session import connect
from eechips.geo.grid import Grid
from eechips.recipe import Chip
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.coded_store import write_geotiff

L8, SOIL = "LANDSAT/LC08/C02/T1_L2", "users/someone/soil"
CRS, TRANSFORM, SHAPE = "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000), (200, 200)
ROI = "-104.9975,39.715,-104.965,39.746"
COSTS = ["attempts", "requests", "seconds", "finished", "shared_request", "method", "eecu_seconds"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes, of which the later one covers the east, with masked pixels; and one image."""
    folder = tmp_path_factory.mktemp("neighbours")
    values = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)
    for number, first in enumerate((0, 90)):
        part = values[:, first:] + number
        part[20 + number : 25, :] = 0
        path = folder / f"{number}.tif"
        write_geotiff(path, CRS, TRANSFORM @ Affine.translation(first, 0), np.stack([part, part + 7]), nodata=0)
        ingest(path, folder / "store", f"{L8}/s{number}", bands=["SR_B4", "SR_B5"], time_start=f"2020-05-0{number + 1}")
    write_geotiff(folder / "soil.tif", CRS, TRANSFORM, values[None].astype(np.float32) / 3)
    ingest(folder / "soil.tif", folder / "store", SOIL, bands=["clay"])
    return folder / "store"


def options(store: Path) -> list[str]:
    return ["--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "1"]


@pytest.fixture(scope="module")
def server(store: Path, serve: Callable[..., Server]) -> Server:
    return serve(*options(store))


def sample(server: Server, out: Path, **chosen: Any) -> eechips.Run:
    values: dict[str, Any] = {"dataset": L8, "bands": "SR_B4,SR_B5", "cells": "regular:480m", "roi": ROI, "size": 16}
    values |= {"start": "2020-01-01", "end": "2021-01-01", "format": "tif", "in_flight": 1}
    values |= {"executor": "threads"}
    return eechips.sample(**{**values, "rate": None, "endpoint": server.url, "out": out, "quiet": True, **chosen})


def files(run: eechips.Run) -> dict[str, bytes]:
    found = {str(path.relative_to(run.path)): path.read_bytes() for path in (run.path / "chips").rglob("*.*")}
    assert found
    return found


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"dataset": [L8, SOIL], "bands": [f"{L8}:SR_B4", f"{SOIL}:clay"]},
        *slow_except(
            [
                {"index": "NDVI", "mask": "none"},
                {"crs": "EPSG:32614", "scale": 30.0},
                {"executor": "processes:2"},
                {"method": "url"},
                {"format": "npy"},
                {"every": "month:mosaic", "start": "2020-04-01", "end": "2020-06-01"},
            ]
        ),
    ],
)
def test_files_and_records_are_those_of_chips_alone(server: Server, tmp_path: Path, chosen: dict[str, Any]) -> None:
    shared = sample(server, tmp_path / "shared", **chosen)
    alone = sample(server, tmp_path / "alone", share_requests=False, **chosen)
    assert files(shared) == files(alone)
    rows, expected = (run.units.sort_values("id").reset_index(drop=True) for run in (shared, alone))
    pd.testing.assert_frame_equal(rows.drop(columns=COSTS), expected.drop(columns=COSTS, errors="ignore"))
    assert len(rows) > 25
    assert rows["requests"].sum() < 0.4 * expected["requests"].sum()
    assert rows["shared_request"].notna().mean() > 0.8  # a few lie between the two scenes
    groups = rows.dropna(subset="shared_request").groupby("shared_request")
    assert (groups["requests"].apply(lambda each: (each > 0).sum()) == 1).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize("chosen", slow_except([{}, {"format": "tif-stack"}, {"format": "npy"}, {"method": "url"}], {}))
def test_frames_of_a_place_come_in_one_request(server: Server, tmp_path: Path, chosen: dict[str, Any]) -> None:
    """Eleven periods have an image in one only; the bands of all, and of a second dataset, are in a few requests."""
    values: dict[str, Any] = {"cells": None, "total": 3, "min_distance": "1500m", "every": "month:max"}
    values |= {"start": "2020-01-01", "end": "2020-12-01", "executor": "threads", **chosen}
    shared = sample(server, tmp_path / "shared", **values)
    alone = sample(server, tmp_path / "alone", share_requests=False, **values)
    assert files(shared) == files(alone)
    per_request = 2 if chosen.get("method") == "url" else 1
    assert (shared.units["requests"] == per_request).all()
    assert (alone.units["requests"] == 11 * per_request).all()
    columns = ["file", "sha256", "bytes", "state", "valid_fraction"]
    pd.testing.assert_frame_equal(shared.units[columns], alone.units[columns])


@pytest.mark.slow
def test_pictures_and_scattered_chips_are_fetched_alone(server: Server, tmp_path: Path) -> None:
    for name, chosen in {
        "pictures": {"format": "png", "bands": "SR_B4", "stretch": (0, 1000)},
        "scattered": {"cells": None, "total": 9, "min_distance": "1500m", "seed": 5},
    }.items():
        run = sample(server, tmp_path / name, **chosen)
        assert (run.units["requests"] == 1).all()


@pytest.mark.exhaustive
def test_units_of_a_failed_request_are_fetched_alone(store: Path, serve: Callable[..., Server], tmp_path: Path) -> None:
    """The shared request fails for good; each unit has a request of its own then, and none is lost."""
    plan = tmp_path / "faults.json"
    plan.write_text(json.dumps({"faults": [{"type": "status", "status": 500, "on": "*computePixels", "times": 1}]}))
    server = serve(*options(store), "--faults", str(plan))
    run = sample(server, tmp_path / "run", retries=0)
    whole = sample(server, tmp_path / "whole", share_requests=False)
    assert set(run.units["state"]) == {"done"}
    assert files(run) == files(whole)


@pytest.mark.slow
@pytest.mark.parametrize("verb", slow_except([eechips.images, eechips.composites], eechips.images))
def test_images_and_composites_of_the_same_pixels_are_bands_of_one_request(
    server: Server, tmp_path: Path, verb: Callable[..., eechips.Run]
) -> None:
    values: dict[str, Any] = {"bands": "SR_B4,SR_B5", "start": "2020-01-01", "end": "2021-01-01", "format": "tif"}
    values |= {"roi": "-104.966,39.72,-104.955,39.73", "endpoint": server.url, "quiet": True, "executor": "threads"}
    values |= {"rate": None, "in_flight": 1} | (
        {"every": "month", "mask": "none"} if verb is eechips.composites else {}
    )
    if verb is eechips.composites:
        values |= {"every": "day", "start": "2020-05-01", "end": "2020-05-04"}
    shared = verb(L8, out=tmp_path / "shared", **values)
    alone = verb(L8, out=tmp_path / "alone", share_requests=False, **values)
    assert shared.units["file"].notna().sum() == 2
    assert shared.units["sha256"].tolist() == alone.units["sha256"].tolist()
    assert (shared.units["requests"].sum(), alone.units["requests"].sum()) == (1, 2)


SCRIPT = f"""
import ee
from eechips import Chip, Grid

WHOLE = Grid("{CRS}", {tuple(TRANSFORM)[:6]}, 200, 200)

def get_requests():
    return [[column, row] for row in range(0, 160, 16) for column in range(0, 160, 16)]

def request_window(corner):
    return None if corner[0] == 0 else (corner[1], WHOLE.window(*corner, 16, 16))

def get_result(index, corner):
    if corner == [32, 32]:
        raise ValueError("this one fails")
    band = "clay" if corner != [48, 48] else "sand"
    return Chip(ee.Image("{SOIL}"), grid=WHOLE.window(*corner, 16, 16), bands=(band,), format="tif", dtype="float32")
"""


@pytest.mark.slow
def test_units_of_a_script_that_says_where_they_are_share_requests(server: Server, tmp_path: Path) -> None:
    """A unit whose recipe raises, or whose image does not exist, fails alone; its neighbours share a request."""
    path = tmp_path / "soil.py"
    path.write_text(SCRIPT)
    values: dict[str, Any] = {
        "endpoint": server.url,
        "quiet": True,
        "executor": "threads",
        "in_flight": 1,
        "rate": None,
    }
    shared = eechips.run(path, out=tmp_path / "shared", **values)
    alone = eechips.run(path, out=tmp_path / "alone", share_requests=False, **values)
    assert files(shared) == files(alone)
    columns = ["state", "error_class", "error", "file", "sha256"]
    pd.testing.assert_frame_equal(shared.units[columns], alone.units[columns])
    assert shared.counts == {"done": 98, "failed_permanent": 2}
    corners = [[column, row] for row in range(0, 160, 16) for column in range(0, 160, 16)]
    has_shared = shared.units["shared_request"].notna()
    alone_always = {number for number, (x, y) in enumerate(corners) if x == 0 or (x, y) in ((32, 32), (48, 48))}
    assert not alone_always & set(has_shared[has_shared].index)
    assert has_shared.sum() > 50  # of 88: those that are planned when a worker asks for units
    assert shared.units["requests"].sum() < 0.5 * alone.units["requests"].sum()
    with rasterio.open(shared.path / shared.units["file"][1]) as one:
        expected = np.arange(200 * 200, dtype=np.uint16).reshape(SHAPE)[:16, 16:32].astype(np.float32) / 3
        assert (one.read(1) == expected).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize("chosen", slow_except([{}, {"format": "npy", "dataset": SOIL, "bands": "clay"}], {}))
def test_queue_workers_share_the_requests_of_a_batch(server: Server, tmp_path: Path, chosen: dict[str, Any]) -> None:
    """Two workers fetch the lines of a plan; the joined run has the files and records of chips alone."""
    values: dict[str, Any] = {"dataset": L8, "bands": "SR_B4,SR_B5", "cells": "regular:480m", "roi": ROI, "size": 16}
    values |= {"format": "tif", **({} if chosen else {"start": "2020-01-01", "end": "2021-01-01"}), **chosen}
    lines = list(eechips.plan("sample", values.pop("dataset"), endpoint=server.url, **values))
    options: dict[str, Any] = {"executor": "threads", "quiet": True, "rate": None, "in_flight": 1}
    batches = [lines[: len(lines) // 2], lines[len(lines) // 2 :]]
    outcomes = [each for batch in batches for each in eechips.work(batch, tmp_path / "joined", **options)]
    joined = eechips.join(lines, tmp_path / "joined", outcomes=outcomes, quiet=True)
    none: dict[str, Any] = {"start": None, "end": None} if chosen else {}
    alone = sample(server, tmp_path / "alone", share_requests=False, **none, **chosen)
    assert files(joined) == files(alone)
    rows, expected = joined.units, alone.units
    pd.testing.assert_frame_equal(rows.drop(columns=COSTS), expected.drop(columns=COSTS, errors="ignore"))
    assert rows["requests"].sum() < 0.4 * expected["requests"].sum()
    groups = rows.dropna(subset="shared_request").groupby("shared_request")
    assert len(groups) >= 2
    for first, units in groups:
        assert units.index[0] == first
        assert (units["requests"] > 0).tolist() == [True] + [False] * (len(units) - 1)
        assert len({position < len(batches[0]) for position in units.index}) == 1


@pytest.mark.exhaustive
def test_a_run_that_stops_and_resumes_has_each_file_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "soil.py"
    path.write_text(SCRIPT)
    values: dict[str, Any] = {"endpoint": server.url, "quiet": True, "executor": "threads", "rate": None}
    stopped = eechips.run(path, out=tmp_path / "run", budget={"requests": 8}, in_flight=2, **values)
    assert 0 < (stopped.units["state"] == "done").sum() < 98
    resumed = eechips.run(path, out=tmp_path / "run", in_flight=3, **values)
    whole = eechips.run(path, out=tmp_path / "whole", share_requests=False, **values)
    assert files(resumed) == files(whole)


@pytest.mark.slow
def test_the_compute_of_a_shared_request_is_divided_among_its_units(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "out", profile_every=1, workload_tag="divided")
    units = run.units
    groups = units.dropna(subset=["shared_request"]).groupby("shared_request")["eecu_seconds"]
    assert groups.count().max() > 1
    assert groups.nunique().eq(1).all(), "chips of the same size"
    found = server.stats()["compute"]["workload_tags"]["divided"]
    planning = run.info["compute"]["planning_eecu_seconds"]
    rounding = 0.0005 * found["requests"]
    assert units["eecu_seconds"].sum() + planning == pytest.approx(found["eecu_seconds"], abs=rounding)


@pytest.mark.exhaustive
def test_a_request_that_is_too_large_is_divided_and_its_files_are_the_same(
    store: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(*options(store), "--pixels", str(6 * 16 * 16 * 3 * 3))
    run = sample(server, tmp_path / "run", in_flight=1)
    rejected = server.stats()["statuses"].get("400", 0)
    whole = sample(server, tmp_path / "whole", share_requests=False)
    assert files(run) == files(whole)
    assert 1 <= rejected <= 8
    assert set(run.units["state"]) == {"done"}


@pytest.mark.exhaustive
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(
        st.tuples(st.integers(-20, 190), st.integers(-20, 190), st.integers(1, 40), st.integers(1, 40)),
        min_size=2,
        max_size=12,
        unique=True,
    ),
    file_format=st.sampled_from(["tif", "npy"]),
)
def test_pixels_that_are_cut_out_are_those_of_windows_of_the_file(
    server: Server, store: Path, places: list[tuple[int, int, int, int]], file_format: str
) -> None:
    """Windows of any size that overlap, touch, or lie partly beyond the image, against rasterio's reads of the file."""
    whole = Grid(CRS, (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_400_000.0), *SHAPE)
    with connect(RunConfig(out=Path("unused"), endpoint=server.url, rate=None, retries=0)) as session:
        fetcher, image = Fetcher(session.connection, "pixels"), ee.Image(f"{L8}/s0")
        bands = ("SR_B4", "SR_B5")
        chips = [Chip(image, grid=whole.window(*place), bands=bands, format=file_format) for place in places]
        found: dict[int, Any] = {}
        for shared in share_chips(chips):
            found |= fetch_shared(fetcher, shared, chips)[0]
    with rasterio.open(store.parent / "0.tif") as source:
        for index, written in found.items():
            column, row, width, height = places[index]
            window = rasterio.windows.Window(column, row, width, height)
            expected = source.read(window=window, boundless=True, fill_value=0)
            if file_format == "npy":
                array = np.load(io.BytesIO(written.data))
                values = np.stack([array["SR_B4"], array["SR_B5"]])
            else:
                with rasterio.MemoryFile(written.data) as memory, memory.open() as file:
                    values, transform = file.read(), file.transform
                assert transform == source.window_transform(window)
                assert ((file_mask(written.data) != 0) == (expected[0] != 0)).all()
            assert (values == expected)[:, expected[0] != 0].all()


def file_mask(data: bytes) -> Any:
    with rasterio.MemoryFile(data) as memory, memory.open() as file:
        return file.dataset_mask()
