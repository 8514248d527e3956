"""Neighbouring chips are fetched in one request: the same files and records as alone, in fewer requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from affine import Affine

import eechips
from eechips.emulator.assets import ingest
from tests.support.coded_store import write
from tests.support.local_earth_engine import Server

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
        write(path, CRS, TRANSFORM @ Affine.translation(first, 0), np.stack([part, part + 7]), nodata=0)
        ingest(path, folder / "store", f"{L8}/s{number}", bands=["SR_B4", "SR_B5"], time_start=f"2020-05-0{number + 1}")
    write(folder / "soil.tif", CRS, TRANSFORM, values[None].astype(np.float32) / 3)
    ingest(folder / "soil.tif", folder / "store", SOIL, bands=["clay"])
    return folder / "store"


def options(store: Path) -> list[str]:
    return ["--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "1"]


@pytest.fixture(scope="module")
def server(store: Path, serve: Callable[..., Server]) -> Server:
    return serve(*options(store))


def sample(server: Server, out: Path, **chosen: Any) -> eechips.Run:
    given: dict[str, Any] = {"dataset": L8, "bands": "SR_B4,SR_B5", "spacing": "480m", "roi": ROI, "size": 16}
    given |= {"start": "2020-01-01", "end": "2021-01-01", "format": "tif", "in_flight": 1}
    given |= {"executor": "threads"}
    return eechips.sample(**{**given, "rate": None, "endpoint": server.url, "out": out, "quiet": True, **chosen})


def files(run: eechips.Run) -> dict[str, bytes]:
    found = {str(path.relative_to(run.path)): path.read_bytes() for path in (run.path / "chips").rglob("*.*")}
    assert found
    return found


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"executor": "processes", "processes": 2},
        {"method": "url"},
        {"format": "npy"},
        {"index": "NDVI", "mask": "none"},
        {"dataset": [L8, SOIL], "bands": [f"{L8}:SR_B4", f"{SOIL}:clay"]},
        {"every": "month", "reducer": "mosaic", "start": "2020-04-01", "end": "2020-06-01"},
        {"crs": "EPSG:32614", "scale": 30.0},
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


@pytest.mark.parametrize("chosen", [{}, {"format": "npy"}, {"format": "tif-stack"}, {"method": "url"}])
def test_frames_of_a_place_come_in_one_request(server: Server, tmp_path: Path, chosen: dict[str, Any]) -> None:
    """Eleven periods have an image in one only; the bands of all, and of a second dataset, are in a few requests."""
    given: dict[str, Any] = {"spacing": None, "total": 3, "min_distance": "1500m", "every": "month", "reducer": "max"}
    given |= {"start": "2020-01-01", "end": "2020-12-01", "executor": "threads", **chosen}
    shared = sample(server, tmp_path / "shared", **given)
    alone = sample(server, tmp_path / "alone", share_requests=False, **given)
    assert files(shared) == files(alone)
    per_request = 2 if chosen.get("method") == "url" else 1
    assert (shared.units["requests"] == per_request).all()
    assert (alone.units["requests"] == 11 * per_request).all()
    columns = ["file", "sha256", "bytes", "state", "valid_fraction"]
    pd.testing.assert_frame_equal(shared.units[columns], alone.units[columns])


def test_pictures_and_scattered_chips_are_fetched_alone(server: Server, tmp_path: Path) -> None:
    for name, chosen in {
        "pictures": {"format": "png", "bands": "SR_B4", "min": 0, "max": 1000},
        "scattered": {"spacing": None, "total": 9, "min_distance": "1500m", "seed": 5},
    }.items():
        run = sample(server, tmp_path / name, **chosen)
        assert (run.units["requests"] == 1).all()


def test_units_of_a_failed_request_are_fetched_alone(store: Path, serve: Callable[..., Server], tmp_path: Path) -> None:
    """The shared request fails for good; each unit has a request of its own then, and none is lost."""
    plan = tmp_path / "faults.json"
    plan.write_text(json.dumps({"faults": [{"type": "status", "status": 500, "on": "*computePixels", "times": 1}]}))
    server = serve(*options(store), "--faults", str(plan))
    run = sample(server, tmp_path / "run", retries=0)
    whole = sample(server, tmp_path / "whole", share_requests=False)
    assert set(run.units["state"]) == {"done"}
    assert files(run) == files(whole)


def test_a_run_that_stops_and_resumes_has_each_file_once(server: Server, tmp_path: Path) -> None:
    stopped = sample(server, tmp_path / "run", max_requests=8)
    assert 0 < (stopped.units["state"] == "done").sum() < len(stopped.units)
    resumed = sample(server, tmp_path / "run")
    whole = sample(server, tmp_path / "whole", share_requests=False)
    assert files(resumed) == files(whole)


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
