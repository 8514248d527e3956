"""The compute of runs: profiles of a sample, the account, the estimate and the budget, against the server's account."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

import eechips
from eechips.client.compute_profiles import parse_profile
from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import ComputeAccount, ComputeSample
from eechips.engine.run import run
from eechips.engine.run_features.compute_budget import _Assignment
from eechips.engine.service.workload_tag import check_workload_tag, workload_tag_of
from eechips.errors import ProjectUnavailableError, UsageError
from eechips.manifest.run import Run
from eechips.recipe import load_recipe
from eechips.text.formatting import format_compute
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.cli.test_commands import eechips as eechips_command
from tests.support.engine_recipes import with_workers
from tests.support.programs import run_program

NOVEMBER = datetime(2026, 11, 20, tzinfo=timezone.utc)
DECEMBER = datetime(2026, 12, 1, 8, 0, tzinfo=timezone.utc)  # midnight Pacific time

RECIPE = """
import ee
from eechips import Chip

def get_requests():
    return [{"n": n} for n in range(COUNT)]

def get_result(index, unit):
    side = 64 + 32 * (unit["n"] * 7 % 5)
    image = ee.Image("USGS/SRTMGL1_003")
    for _ in range(1 + unit["n"] % 4):
        image = image.add(1)
    corner = ee.Geometry.Rectangle(8, 46, 8.1, 46.1)
    return Chip(image, region=corner, dimensions=(side, side), format="npy")
"""


SCRIPT = """
import ee, multiprocessing, requests

def getResult(index, side):
    region = ee.Geometry.Rectangle(8, 46, 8.1, 46.1)
    options = {"min": 0, "max": 4000, "region": region, "dimensions": side, "format": "png"}
    response = requests.get(ee.Image("USGS/SRTMGL1_003").getThumbURL(options))
    response.raise_for_status()
    open(f"{index}.png", "wb").write(response.content)
    print(ee.Number(1).add(index).getInfo())

if __name__ == "__main__":
    ee.Initialize()
    with multiprocessing.Pool(2) as pool:
        pool.starmap(getResult, enumerate([16, 128]))
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[int], Any]:
    """Make a recipe of chips that differ in size and in what is computed."""

    def make(count: int) -> Any:
        path = tmp_path / f"chips_{count}_{tmp_path.name}.py"
        path.write_text(RECIPE.replace("COUNT", str(count)))
        return load_recipe(path, {})

    return make


def config(server: Server, out: Path, **options: Any) -> RunConfig:
    given = {"executor": "threads", "in_flight": 4, "rate": None, "quiet": True, "profile_every": 1}
    return RunConfig(**{"out": out, "endpoint": server.url, "project": "local", **given, **options})


def charged(server: Server, tag: str) -> float:
    """EECU-seconds of a workload tag, by the server's own account."""
    seconds: float = server.stats()["compute"]["workload_tags"][tag]["eecu_seconds"]
    return seconds


def equal_to(seconds: float, requests: int) -> Any:
    """To 1%, or as well as profiles of few small chips are rounded."""
    return pytest.approx(seconds, rel=0.01, abs=0.0005 * requests)


def compute(done: eechips.Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.path / "run.json").read_text())["compute"]
    return found


def post(server: Server, path: str, value: Any) -> None:
    request = Request(f"{server.url}{path}", json.dumps(value).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as response:
        assert response.status == 200


def test_the_first_column_of_a_profile_is_summed() -> None:
    text = (
        " EECU·s PeakMem Count  Description\n  0.072   47k  44  (plumbing)\n      -  1k 2  Loading\n  1.500 1k 1  A\n"
    )
    assert parse_profile(text) == pytest.approx(1.572)
    for wrong in ("", "no table\n1 2", " PeakMem EECU·s\n 1k 2\n", " EECU·s PeakMem\n  x 1k\n"):
        with pytest.raises(ValueError, match=r"."):
            parse_profile(wrong)


@pytest.mark.exhaustive
@pytest.mark.parametrize("executor", slow_except(["threads", "processes", "dask", "beam"], "threads"))
def test_all_profiled_units_and_planning_equal_the_account_of_the_server(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path, executor: str
) -> None:
    tag = f"all-{executor}"
    done = run(recipe(12), config(demo_server, tmp_path / "out", workload_tag=tag, executor=with_workers(executor, 1)))
    seconds = done.units["eecu_seconds"]
    assert seconds.notna().all()
    assert seconds.nunique() > 3
    found = compute(done)
    assert seconds.sum() + found["planning_eecu_seconds"] == equal_to(charged(demo_server, tag), requests=13)
    assert found["eecu_seconds"] == found["low"] == found["high"]
    assert found["eecu_seconds"] == pytest.approx(seconds.sum() + found["planning_eecu_seconds"])
    assert json.loads((done.path / "run.json").read_text())["workload_tag"] == tag


@pytest.mark.exhaustive
@pytest.mark.slow
def test_requests_of_a_script_have_the_tag_and_profiles(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    options = {
        "endpoint": demo_server.url,
        "executor": "processes:1",
        "rate": None,
        "workload_tag": "script",
        "profile_every": 1,
    }
    code = f"import eechips; eechips.run('script.py', out='out', **{options!r})"
    run_program(sys.executable, "-c", code, status=0, cwd=tmp_path)
    found = demo_server.stats()["compute"]["workload_tags"]["script"]
    assert found["requests"] == 4, "two thumbnails and two values"
    units = eechips.open_run(tmp_path / "out").units
    assert units["eecu_seconds"].notna().all()
    assert units["eecu_seconds"].sum() == pytest.approx(found["eecu_seconds"], abs=4 * 0.0005)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_compute_of_a_script_is_printed(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = ["run", "script.py", "--endpoint", demo_server.url, "--executor", "processes:1", "--rate", "none"]
    result = eechips_command(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    used = compute(eechips.open_run(tmp_path / "outputs" / "script"))
    assert f"Compute: about {format_compute(used['eecu_seconds'])}" in result.stderr


@pytest.mark.slow
def test_one_unit_in_n_is_profiled_by_one_request(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eechips.engine.costs.profile_fetcher._WAIT_SECONDS", 600.0)  # however long the run takes
    server = demo_server
    before = server.requests().get("value:compute", 0)
    done = run(recipe(20), config(server, tmp_path / "out", profile_every=5, workload_tag="one-in-five"))
    assert done.units["eecu_seconds"].notna().sum() == 4
    assert done.units["requests"].sum() == 20, "the request of the profiles is not one of a unit"
    assert server.requests()["value:compute"] - before == 1
    found = compute(done)
    assert found["eecu_seconds"] == pytest.approx(charged(server, "one-in-five"), rel=0.5), "of four units"
    assert found["low"] < found["eecu_seconds"] < found["high"]


@pytest.mark.slow
def test_without_profiles_the_column_is_empty(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path
) -> None:
    done = run(recipe(3), config(demo_server, tmp_path / "out", profile_every=0, workload_tag="none"))
    assert done.units["eecu_seconds"].isna().all()
    assert compute(done) is None


@pytest.mark.slow
def test_attempts_whose_response_was_damaged_are_counted(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path
) -> None:
    """Rejected requests cost nothing; a body that is cut off was computed, and its profile is known by the header."""
    server = demo_server
    rules = [{"type": kind, "on": "image:computePixels", "times": 2} for kind in ("truncate", "reset-body", "reject")]
    post(server, "/_faults", {"faults": rules})
    done = run(recipe(8), config(server, tmp_path / "out", retry_delay=0.01, workload_tag="faults"))
    post(server, "/_faults", {"faults": []})
    assert done.counts == {"done": 8}
    assert done.units["attempts"].sum() == 8 + 6
    total = done.units["eecu_seconds"].sum() + compute(done)["planning_eecu_seconds"]
    assert total == equal_to(charged(server, "faults"), requests=12)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_budget_stops_the_run_and_the_next_month_resumes_it(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path
) -> None:
    """The months are the client's; the server only keeps account.

    A request that is repeated without a response costs compute that the client cannot see; units whose profiles do not
    come are estimated.
    """
    budget = 3.5  # EECU-seconds, of some 8.6

    def near(expected: float, stopped: Run) -> Any:
        cost = stopped.units["eecu_seconds"].max()
        repeats = (stopped.units["attempts"] - 1).clip(lower=0).sum()
        known = compute(stopped)
        doubt = (known["high"] - known["low"]) / 2  # 0 if all profiles came
        return pytest.approx(expected, abs=0.02 * expected + repeats * cost + doubt)

    how = config(
        demo_server, tmp_path / "out", workload_tag="budget", profile_every=20, budget={"eecu_hours": budget / 3600}
    )
    stopped = run(recipe(240), how, now=lambda: NOVEMBER)
    assert stopped.interrupted
    assert charged(demo_server, "budget") == near(budget, stopped), (stopped.counts, compute(stopped))
    planned = stopped.counts["planned"]
    again = run(recipe(240), how, now=lambda: NOVEMBER)
    assert again.interrupted
    assert again.counts["planned"] == planned, "nothing is left of this month"
    later = run(recipe(240), how, now=lambda: DECEMBER)
    assert charged(demo_server, "budget") == near(2 * budget, later), (later.counts, compute(later))
    assert later.counts["planned"] < planned
    assert compute(later)["months"] == {"2026-11": near(budget, stopped), "2026-12": near(budget, later)}


def test_a_budget_of_a_few_units_is_kept_too(demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path) -> None:
    """What a unit costs is known before many are under way."""
    budget = 0.15  # EECU-seconds, of some four units
    how = config(
        demo_server,
        tmp_path / "out",
        in_flight=16,
        workload_tag="few",
        profile_every=20,
        budget={"eecu_hours": budget / 3600},
    )
    stopped = run(recipe(60), how, now=lambda: NOVEMBER)
    assert stopped.interrupted
    assert 2 <= stopped.counts["done"] <= 8
    dearest = stopped.units["eecu_seconds"].max()
    assert charged(demo_server, "few") == pytest.approx(budget, abs=dearest)


@pytest.mark.slow
def test_profiles_are_fetched_again_while_the_run_stops(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path
) -> None:
    """The throttle repeats no request of a run that stops; the compute of its last units is known all the same."""
    server = demo_server
    post(server, "/_faults", {"seed": 3, "faults": [{"type": "status", "on": "value:compute", "probability": 0.6}]})
    how = config(server, tmp_path / "out", retry_delay=0.01, workload_tag="late", budget={"eecu_hours": 1.5 / 3600})
    stopped = run(recipe(240), how, now=lambda: NOVEMBER)
    post(server, "/_faults", {"faults": []})
    assert stopped.interrupted
    done = stopped.units[stopped.units["state"] == "done"]
    assert done["eecu_seconds"].notna().all()
    total = done["eecu_seconds"].sum() + compute(stopped)["planning_eecu_seconds"]
    assert total == equal_to(charged(server, "late"), requests=len(done))
    assert "profiles unknown" not in (stopped.path / "run.log").read_text()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_profiles_that_do_not_come_are_in_the_log(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path
) -> None:
    server = demo_server
    post(server, "/_faults", {"faults": [{"type": "status", "status": 400, "on": "value:compute"}]})
    done = run(recipe(6), config(server, tmp_path / "out", workload_tag="unknown"))
    post(server, "/_faults", {"faults": []})
    assert done.counts["done"] > 0
    events = [json.loads(line) for line in (done.path / "run.log").read_text().splitlines()]
    unknown = [event for event in events if event["event"] == "profiles unknown"]
    units = done.units[done.units["state"] == "done"]
    assert units["eecu_seconds"].isna().all()
    assert sum(event["profiles"] for event in unknown) >= len(units)
    assert all(event["error"] and event["error_class"].endswith("Error") for event in unknown)


@pytest.mark.slow
def test_past_the_quota_of_the_month_the_run_stops_until_the_next(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path
) -> None:
    server = demo_server
    used = server.stats()["compute"]["month_eecu_seconds"]
    post(server, "/_quota", {"eecu_hours": (used + 0.07) / 3600})
    how = config(server, tmp_path / "out", workload_tag="quota", profile_every=0)
    with pytest.raises(
        ProjectUnavailableError, match=r"compute of the month.*Pacific time.*after \d{4}-\d\d-01"
    ) as caught:
        run(recipe(40), how)
    post(server, "/_quota", {"eecu_hours": None})  # as in the next month
    assert caught.value.until is not None
    done = eechips.open_run(tmp_path / "out").counts
    assert done["done"] > 0
    assert done.keys() == {"done", "planned"}
    assert run(recipe(40), how).counts == {"done": 40}


def test_a_service_without_profiles_stops_a_run_with_a_budget(
    service: Any, tmp_path: Path, recipe: Callable[[int], Any]
) -> None:
    """A budget that nobody measures is none."""
    how = config(service, tmp_path / "out", budget={"eecu_hours": 1.0})
    stopped = run(recipe(60), how)
    assert stopped.interrupted
    assert 10 <= stopped.counts["done"] < 15


@pytest.mark.slow
def test_the_forecast_has_the_compute_of_the_rest(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path
) -> None:
    seen: list[Any] = []
    how = config(demo_server, tmp_path / "out", estimate=20, confirm=lambda f: bool(seen.append(f)), profile_every=20)
    paused = run(recipe(80), how)
    assert paused.paused
    (forecast,) = seen
    tried = paused.units["eecu_seconds"].dropna()
    assert len(tried) == 20
    assert forecast.compute.seconds == pytest.approx(3 * tried.sum(), rel=1e-6)
    assert forecast.compute.low < forecast.compute.seconds < forecast.compute.high


def test_the_range_of_an_estimate_covers_the_truth() -> None:
    """Of assignments of one to nine units, whose compute differs: 95% of the ranges hold the sum of the rest."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        units = generator.integers(1, 10, 200)
        seconds = units * generator.lognormal(-3, 0.5, 200)
        sample = ComputeSample()
        for count, value in zip(units[:30], seconds[:30], strict=True):
            sample = sample.add(int(count), float(value))
        found = sample.estimate(int(units[30:].sum()))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= seconds[30:].sum() <= found.high
    assert 0.90 <= covered / 400 <= 0.99


def test_an_account_survives_the_ledger() -> None:
    account = ComputeAccount()
    account.add_profiled(NOVEMBER, 3, 0.3)
    account.add_unprofiled(NOVEMBER, 10)
    account.add_planning(DECEMBER, 0.5)
    again = ComputeAccount.from_json(json.loads(json.dumps(account.to_json())))
    assert again == account
    spent = [account.spent_in_month(now) for now in (NOVEMBER, DECEMBER)]
    assert [found.seconds for found in spent if found is not None] == pytest.approx([1.3, 0.5])


def test_the_default_workload_tag_names_the_recipe(recipe: Callable[[int], Any]) -> None:
    tags = {workload_tag_of(recipe(count)) for count in (3, 3, 4)}
    assert len(tags) == 2
    for tag in tags:
        check_workload_tag(tag)
        assert tag.startswith("eechips-chips-")


def test_a_variable_names_the_workload_tag_of_all_runs(
    demo_server: Server, recipe: Callable[[int], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_WORKLOAD_TAG", "team-forest")
    done = run(recipe(2), config(demo_server, tmp_path / "out", executor="threads"))
    assert done.info["workload_tag"] == "team-forest"
    assert charged(demo_server, "team-forest") > 0
    monkeypatch.setenv("EECHIPS_WORKLOAD_TAG", "Team")
    with pytest.raises(UsageError, match="'Team' is not valid"):
        run(recipe(2), config(demo_server, tmp_path / "other", executor="threads"))


@pytest.mark.parametrize("tag", ["", "Upper", "-dash", "dash-", "a" * 64, "a.b", "ä"])
def test_a_workload_tag_that_the_service_would_reject_is_rejected(tag: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="workload_tag"):
        RunConfig(out=tmp_path, workload_tag=tag)


def test_an_assignment_that_waits_looks_at_its_own_profiles_alone() -> None:
    """Thousands wait while a thousand profiles come at once."""
    hashed = 0

    class Profile(str):
        def __hash__(self) -> int:
            nonlocal hashed
            hashed += 1
            return super().__hash__()

    fetched: dict[str, float | None] = {Profile(number): 1.0 for number in range(1000)}
    waiting = _Assignment(NOVEMBER, 1, (), {"7", "new"}, {"": 0.0})
    hashed = 0
    waiting.take(fetched)
    assert (waiting.left, waiting.seconds) == ({"new"}, {"": 0.0, "7": 1.0})
    assert hashed < 10
