"""A run reuses the plan and the fetched units of its estimate, and sends none of these requests again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from affine import Affine

import eechips
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff
from tests.support.commands import run_command

L8 = "LANDSAT/LC08/C02/T1_L2"


def sample(server: Server, out: Path, **chosen: Any) -> eechips.Run:
    given: dict[str, Any] = {"dataset": L8, "bands": "SR_B4", "cells": "regular:480m", "size": 16, "format": "tif"}
    given |= {"roi": "-104.9975,39.73,-104.98,39.746", "start": "2020-01-01", "end": "2021-01-01"}
    given |= {"endpoint": server.url, "rate": None, "quiet": True, "executor": "threads", "out": out}
    return eechips.sample(**{**given, **chosen})


@pytest.mark.slow
def test_the_places_are_asked_for_once(tmp_path: Path, serve_briefly: Callable[..., Server]) -> None:
    """The scene has no masked pixel."""
    values = (np.arange(40_000, dtype=np.uint16) + 1).reshape(1, 200, 200)
    write_geotiff(tmp_path / "a.tif", "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000), values)
    ingest(tmp_path / "a.tif", tmp_path / "store", f"{L8}/a", bands=["SR_B4"], time_start="2020-05-01")
    server = serve_briefly("--assets", str(tmp_path / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")
    requests.post(f"{server.url}/_requests", json={"keep": 10_000}, timeout=60).raise_for_status()
    for options in ({"estimate": 2}, {"estimate": 4, "confirm": lambda _: True}):
        run = sample(server, tmp_path / "out", **options)
    assert run.is_complete
    found = requests.get(f"{server.url}/_requests", timeout=60).json()["requests"]
    asked = Counter(json.dumps(each["body"]) for each in found if each["kind"] == "value:compute")
    assert asked
    assert set(asked.values()) == {1}


@pytest.mark.slow
def test_an_image_that_appears_after_the_estimate_is_in_the_other_units(
    tmp_path: Path, serve_briefly: Callable[..., Server]
) -> None:
    values = np.ones((1, 200, 200), np.uint16)
    write_geotiff(tmp_path / "a.tif", "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000), values)

    def add(name: str, date: str) -> None:
        ingest(tmp_path / "a.tif", tmp_path / "store", f"{L8}/{name}", bands=["SR_B4"], time_start=date)

    add("first", "2020-05-01")
    server = serve_briefly("--assets", str(tmp_path / "store"), "--no-demo", "--rate", "none")
    for estimated in (2, 3):
        paused = sample(server, tmp_path / "out", estimate=estimated)
        assert paused.counts == {"done": estimated}
    total = paused.status().total + (paused.status().unplanned or 0)
    assert total > 3
    tried = set(paused.units.index)
    shown = run_command("status", paused.path).output
    assert f"{total}, of which {total - 3} are not planned yet" in shown
    add("second", "2020-06-01")
    run = sample(server, tmp_path / "out")
    assert run.counts == {"done": total}
    assert run.status().unplanned == 0
    images = {unit_id: unit["image"] for unit_id, unit in run.units["unit"].items()}
    assert images == {unit_id: "first" if unit_id in tried else "second" for unit_id in run.units.index}
