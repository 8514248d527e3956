"""Budgets and estimates of a run, over real HTTP, counted at the server."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from eechips import Run, open_run
from eechips.engine.costs.cost_descriptions import Forecast
from eechips.engine.plans.plan import draw_spread
from tests.cli.test_commands import eechips, one_sentence
from tests.support.engine_recipes import CHIPS, run_chips
from tests.support.engine_service import ALGORITHMS, DISCOVERY, Service
from tests.support.terminal import answer_question

FAST = ["--executor", "processes:2", "--method", "pixels", "--rate", "none"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a recipe of 40 chips."""
    (tmp_path / "recipe.py").write_text(CHIPS.replace("count=12", "count=40"))
    return tmp_path


def all_there(run: Run) -> bool:
    return run.counts == {"done": 40} and run.verify() == []


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 2, 17])
def test_the_request_budget_is_kept_and_a_later_run_resumes(service: Service, home: Path, most: int) -> None:
    """Retries count as well; the last run needs no limit."""
    service.plan(3, "503", "503")
    command = ["run", "recipe.py", *FAST, "--endpoint", service.url]
    result = eechips(*command, "--budget", f"requests={most}", cwd=home)
    assert 0 < len(service.requests) <= most
    if most < 3:  # the client's two documents are all that it may have
        assert "took all of the budget of requests or bytes, before the first unit" in one_sentence(result)
    else:
        assert result.returncode == 130, result.stderr
        assert "Stopping: the limit of requests or bytes is reached." in result.stderr
        assert f"To resume: eechips {' '.join(command)} --budget requests={most}" in result.stderr
        run = open_run(home / "outputs" / "recipe")
        assert 0 < run.counts["done"] < 40
        assert "failed" not in " ".join(run.counts)
        assert run.verify() == []
        assert list(run.path.rglob("*.part")) == []
    assert eechips(*command, cwd=home).returncode == 0
    assert all_there(open_run(home / "outputs" / "recipe"))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_no_request_is_sent_after_the_byte_budget(service: Service, home: Path) -> None:
    command = ["run", "recipe.py", *FAST, "--in-flight", "2", "--endpoint", service.url]
    documents = 2 * len(DISCOVERY) + len(ALGORITHMS)
    result = eechips(*command, "--budget", f"bytes={documents + 1500}", cwd=home)
    assert result.returncode == 130, result.stderr
    assert "Stopping: the limit of requests or bytes is reached." in result.stderr
    run = open_run(home / "outputs" / "recipe")
    done = run.units["bytes"].dropna()
    assert 1500 <= done.sum() < 1500 + 2 * done.max()  # what was in flight
    assert service.count("compute") == len(done) < 40
    assert eechips(*command, cwd=home).returncode == 0
    assert all_there(open_run(home / "outputs" / "recipe"))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_no_unit_starts_after_the_time_budget(service: Service, home: Path) -> None:
    service.latency = 0.2
    command = ["run", "recipe.py", *FAST, "--in-flight", "2", "--endpoint", service.url]
    result = eechips(*command, "--budget", "minutes=0.02", cwd=home)
    assert result.returncode == 130, result.stderr
    assert "Stopping: the time limit is reached; finishing the requests in flight." in result.stderr
    run = open_run(home / "outputs" / "recipe")
    assert service.count("compute") == run.counts.get("done", 0) < 40
    service.latency = 0.0
    service.forget()
    missing = run.counts["planned"]
    assert eechips(*command, cwd=home).returncode == 0
    assert service.count("compute") == missing
    assert all_there(run)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_rest_is_estimated_from_the_first_units(service: Service, tmp_path: Path) -> None:
    """240 chips of a tenth of a second, four at once, one of the first repeated: and so it comes."""
    service.latency = 0.1
    service.plan(draw_spread(range(240), 40)[2], "503")
    seen: list[Forecast] = []
    moments: list[float] = []

    def confirm(forecast: Forecast) -> bool:
        seen.append(forecast)
        moments.append(time.monotonic())
        assert service.count("compute") == 41
        return True

    began = time.monotonic()
    finished = run_chips(
        tmp_path,
        service.url,
        parameters={"count": 240},
        method="pixels",
        in_flight=4,
        executor="processes:2",
        retry_delay=0.05,
        estimate=40,
        confirm=confirm,
    )
    assert finished.counts == {"done": 240}
    assert not finished.paused
    (forecast,) = seen
    assert (forecast.tried, forecast.left, forecast.slots) == (40, 200, 4)
    assert forecast.requests == round(200 * 41 / 40)
    assert forecast.bytes == pytest.approx(finished.units["bytes"][40:].sum(), rel=0.1)
    assert forecast.request_seconds >= 0.99 * 200 * 41 / 40 * 0.1  # no request is answered sooner
    # The 200 that are left take five times what the first 40 took, with all that came before them.
    assert 0.99 * 200 * 0.1 / 4 <= forecast.seconds < 1.1 * 5 * (moments[0] - began)
    events = [json.loads(line) for line in (finished.path / "run.log").read_text().splitlines()]
    assert [event["left"] for event in events if event["event"] == "estimated"] == [200]
    assert not [event for event in events if event["event"] == "request"]


@pytest.mark.slow
def test_without_confirmation_the_run_pauses_and_resumes_on_confirmation(service: Service, tmp_path: Path) -> None:
    options = {"parameters": {"count": 20}, "method": "pixels", "estimate": 8}
    paused = run_chips(tmp_path, service.url, **options)
    assert (paused.paused, paused.interrupted) == (True, False)
    assert paused.counts == {"planned": 12, "done": 8}
    done = [position for position, state in enumerate(paused.units["state"]) if state == "done"]
    assert done == draw_spread(range(20), 8) != list(range(8))  # from each half of the plan
    seen: list[Forecast] = []
    service.forget()
    refused = run_chips(tmp_path, service.url, **options, confirm=lambda forecast: bool(seen.append(forecast)))
    assert refused.paused
    assert service.count("compute") == 0, "units that are done already count"
    assert (seen[0].tried, seen[0].left, seen[0].requests) == (8, 12, 12)
    assert seen[0].seconds > 0
    more = run_chips(tmp_path, service.url, **{**options, "estimate": 15})
    assert more.counts == {"planned": 5, "done": 15}
    assert run_chips(tmp_path, service.url, **options, confirm=lambda _: True).counts == {"done": 20}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_prints_an_estimate(service: Service, home: Path) -> None:
    command = ["run", "recipe.py", *FAST, "--endpoint", service.url, "--estimate", "10"]
    result = eechips(*command, cwd=home)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (lines["tried"], lines["left"]) == ("10 units", "30 units")
    assert lines["requests"] == "about 30"
    assert lines["time"].endswith("requests in flight")
    assert "the service reports no EECU" in lines["compute"]
    assert f"To resume: eechips {' '.join(command)} --yes" in result.stderr
    assert open_run(home / "outputs" / "recipe").counts == {"planned": 30, "done": 10}
    assert service.count("compute") == 10
    result = eechips(*command, "--yes", cwd=home)
    assert result.returncode == 0, result.stderr
    assert "40 of 40 results" in result.stdout
    assert all_there(open_run(home / "outputs" / "recipe"))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_terminal_prompts_for_confirmation(service: Service, home: Path) -> None:
    command = ["run", "recipe.py", *FAST, "--endpoint", service.url, "--estimate", "10"]
    text = answer_question("n\n", *command, cwd=home)
    assert f"To resume: eechips {' '.join(command)} --yes" in text
    assert open_run(home / "outputs" / "recipe").counts == {"planned": 30, "done": 10}
    assert "40 of 40 results" in answer_question("y\n", *command, cwd=home)
    assert all_there(open_run(home / "outputs" / "recipe"))
