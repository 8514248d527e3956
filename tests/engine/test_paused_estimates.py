"""With an estimate, equivalent requests are tried on the first units, and the cheapest are taken."""

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
from eechips.engine.costs.request_trial import PlanCost, RequestPlan, RequestTrial
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff
from tests.support.commands import run_command

L8 = "LANDSAT/LC08/C02/T1_L2"
READ, COMPUTED = RequestPlan(True, True), RequestPlan(False, True)


@pytest.mark.parametrize(
    ("seconds", "sizes", "eecu", "chosen"),
    [
        ((1.0, 0.5), (100, 100), (0.1, 0.1), COMPUTED),
        ((1.0, 0.99), (100, 100), (0.1, 0.1), READ),  # the difference is small
        ((1.0, 0.5), (100, 100), (0.1, 0.9), READ),  # faster, but with nine times the compute
        ((1.0, 0.5), (100, 100), (None, None), COMPUTED),
        ((1.0, 1.0), (100, 40), (None, None), COMPUTED),
    ],
)
def test_the_plan_that_costs_least_is_chosen(seconds: Any, sizes: Any, eecu: Any, chosen: RequestPlan) -> None:
    costs = (PlanCost(plan, 1.0, *each) for plan, *each in zip((READ, COMPUTED), seconds, sizes, eecu, strict=True))
    assert RequestTrial(tuple(costs)).chosen.plan == chosen


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    """Scenes without a masked pixel."""
    folder = tmp_path_factory.mktemp("trial")
    values = (np.arange(40_000, dtype=np.uint16) + 1).reshape(1, 200, 200)
    write_geotiff(folder / "a.tif", "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000), values)
    ingest(folder / "a.tif", folder / "store", f"{L8}/a", bands=["SR_B4"], time_start="2020-05-01")
    assets = ("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")
    return serve(*assets, "--workers", "1")


def sample(server: Server, out: Path, **chosen: Any) -> eechips.Run:
    given: dict[str, Any] = {"dataset": L8, "bands": "SR_B4", "cells": "regular:480m", "size": 16, "format": "tif"}
    given |= {"roi": "-104.9975,39.73,-104.98,39.746", "start": "2020-01-01", "end": "2021-01-01"}
    given |= {"endpoint": server.url, "rate": None, "quiet": True, "executor": "threads", "out": out}
    return eechips.sample(**{**given, **chosen})


@pytest.mark.exhaustive
def test_the_choice_holds_for_the_run_and_is_in_its_description(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sample(server, tmp_path / "run", estimate=2, confirm=lambda _: True, quiet=False)
    assert capsys.readouterr().err.count("Chosen: ") == 1  # not once more for the units after the estimate
    trial = json.loads((run.path / "run.json").read_text())["request_trial"]
    assert len(trial["costs"]) == 4
    assert all(cost["seconds"] > 0 < cost["bytes"] and cost["eecu_seconds"] > 0 for cost in trial["costs"])
    reads = trial["chosen"]["reads_assets"]
    assert set(run.units["method"]) == {"assets:getPixels" if reads else "image:computePixels"}
    plain = sample(server, tmp_path / "plain", method="pixels")
    assert json.loads((plain.path / "run.json").read_text())["request_trial"] is None
    assert dict(zip(run.units["id"], run.units["sha256"], strict=True)) == dict(
        zip(plain.units["id"], plain.units["sha256"], strict=True)
    )


@pytest.mark.slow
def test_a_paused_run_resumes_with_its_choice(server: Server, tmp_path: Path) -> None:
    paused = sample(server, tmp_path, estimate=2)
    trial = json.loads((tmp_path / "run.json").read_text())["request_trial"]
    assert paused.paused
    resumed = sample(server, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["request_trial"] == trial
    assert set(resumed.units["state"]) == {"done"}


@pytest.mark.slow
def test_a_run_that_is_stopped_in_its_trial_makes_it_again(server: Server, tmp_path: Path) -> None:
    stopped = sample(server, tmp_path, estimate=2, budget="requests=6")
    description = json.loads((tmp_path / "run.json").read_text())
    assert set(stopped.units["state"]) == {"planned"}
    assert description["request_trial"] is None
    sample(server, tmp_path, estimate=2)
    assert json.loads((tmp_path / "run.json").read_text())["request_trial"] is not None


@pytest.mark.slow
def test_the_places_are_asked_for_once(server: Server, tmp_path: Path) -> None:
    requests.post(f"{server.url}/_requests", json={"keep": 10_000}, timeout=60).raise_for_status()
    for options in ({"estimate": 2}, {"estimate": 4, "confirm": lambda _: True}):
        run = sample(server, tmp_path, **options)
    assert run.is_complete
    found = requests.get(f"{server.url}/_requests", timeout=60).json()["requests"]
    asked = Counter(json.dumps(each["body"]) for each in found if each["kind"] == "value:compute")
    assert asked
    assert set(asked.values()) == {1}


@pytest.mark.exhaustive
def test_units_of_an_estimate_are_planned_once_also_for_its_trial(
    tmp_path: Path, serve_briefly: Callable[..., Server]
) -> None:
    """The trial has the first of the units that the estimate plans, whose planning is still told."""
    server = serve_briefly("--demo", "--rate", "none")
    options: dict[str, Any] = {"dataset": "L8", "bands": "SR_B4", "cells": None, "total": 8, "every": "month"}
    options |= {"roi": "-105.3,39.9,-105.2,40.0", "end": "2020-04-01", "estimate": 5}
    planned = []
    for name, method in (("run", "auto"), ("plain", "pixels")):  # with a trial, and without
        requests.post(f"{server.url}/_requests", json={"keep": 10_000}, timeout=60).raise_for_status()
        assert sample(server, tmp_path / name, method=method, **options).paused
        found = requests.get(f"{server.url}/_requests", timeout=60).json()["requests"]
        bodies = [json.dumps(each["body"]) for each in found if each["kind"] == "value:compute"]
        planned.append(sorted(body for body in bodies if "Profile.getProfiles" not in body))
    assert planned[0] == planned[1] != []
    costs = [_estimated(tmp_path / name)["planning"] for name in ("run", "plain")]
    assert costs[0]["requests"] == costs[1]["requests"] > 0
    assert costs[0]["sent"] == costs[1]["sent"] > 0
    assert (costs[0]["compute"] is None) == (costs[1]["compute"] is None)


def _estimated(folder: Path) -> dict[str, Any]:
    """What an estimate said."""
    events = [json.loads(line) for line in (folder / "run.log").read_text().splitlines()]
    (found,) = [event for event in events if event["event"] == "estimated"]
    return dict(found)


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


@pytest.mark.exhaustive
def test_chips_of_a_plan_are_tried_several_at_once(tmp_path: Path, serve_briefly: Callable[..., Server]) -> None:
    """Four units are fetched at once: what is in flight beside are the chips of the trial, of all plans."""
    values = np.ones((1, 200, 200), np.uint16)
    write_geotiff(tmp_path / "a.tif", "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000), values)
    ingest(tmp_path / "a.tif", tmp_path / "store", f"{L8}/a", bands=["SR_B4"], time_start="2020-05-01")
    server = serve_briefly("--assets", str(tmp_path / "store"), "--no-demo", "--rate", "none", "--latency", "0.3")
    assert sample(server, tmp_path / "run", estimate=4).paused
    assert requests.get(f"{server.url}/_stats", timeout=60).json()["in_flight"]["peak"] > 4
