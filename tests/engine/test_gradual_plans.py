"""Plans that are made while their first units are fetched, and that resume after an interruption."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ee
import pytest

from eechips.engine.costs.cost_descriptions import Forecast
from eechips.engine.plans.plan import draw_spread
from eechips.errors import RunMismatchError, StorageError, TransientError, UsageError
from eechips.geo.grid import Grid
from eechips.manifest.run import Run, open_run
from eechips.planning.planning_requests import PARALLEL_REQUESTS
from eechips.recipe import Chip, PlanPreview
from eechips.recipe.results import Template
from local_tests.support.captured_log import CapturedLog
from tests.support.engine_service import Service, serving
from tests.support.gradual_recipe import SIZE, Gradual, run_gradual, wait_for

COUNT = 2000


def rows(run: Run) -> list[tuple[object, ...]]:
    units = run.units.reset_index()
    columns = ("position", "id", "name", "state", "file", "sha256")
    return list(zip(*(units[column] for column in columns), strict=True))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    with serving() as service:
        finished = run_gradual(Gradual(COUNT), tmp_path_factory.mktemp("whole") / "out", service.url)
        assert finished.counts == {"done": COUNT}
        assert service.count("value") == COUNT // SIZE
        assert not (finished.path / "planning.sqlite").exists()
        return rows(finished)


@pytest.mark.exhaustive
def test_the_first_results_arrive_before_the_plan_is_complete(
    service: Service, tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    out = tmp_path / "out"

    def before(number: int) -> None:
        if number == 1200:  # fails after a minute if nobody fetches meanwhile
            wait_for(out / str(expected[0][4]))

    finished = run_gradual(Gradual(COUNT, before), out, service.url)
    assert rows(finished) == expected


class Previewed(Gradual):
    """A recipe that knows the number of its units before it plans them."""

    def preview_plan(self) -> PlanPreview:
        return PlanPreview([(0.0, 0.0)] * self.parameters["count"], SIZE)

    def plan_units(self, positions: Sequence[int]) -> Iterator[dict[str, int]]:
        return (unit for position, unit in enumerate(self.get_requests()) if position in positions)


@pytest.mark.exhaustive
def test_an_estimate_plans_what_its_units_need_and_the_run_goes_on(service: Service, tmp_path: Path) -> None:
    seen: list[Forecast] = []
    options = {"executor": "threads", "estimate": 10, "confirm": lambda forecast: bool(seen.append(forecast))}
    for _ in range(2):  # the second has the units already
        paused = run_gradual(Previewed(COUNT), tmp_path / "out", service.url, **options)
        assert (paused.paused, paused.counts) == (True, {"done": 10})
        assert (seen[-1].tried, seen[-1].left, seen[-1].unplanned) == (10, COUNT - 10, COUNT - 10)
    assert service.count("value") <= PARALLEL_REQUESTS  # of 20: those that the recipe has in flight
    planning = seen[0].planning
    assert planning is not None
    assert planning.tried == 10
    assert planning.sent * COUNT // SIZE <= planning.requests <= planning.sent * COUNT // 10
    assert planning.most_seconds is not None
    assert planning.most_seconds > planning.seconds
    assert seen[1].planning is None  # nothing was planned, so nothing is known
    finished = run_gradual(Previewed(COUNT), tmp_path / "out", service.url, executor="threads")
    assert finished.counts == {"done": COUNT}
    assert finished.is_complete
    assert not (tmp_path / "out" / "planning.sqlite").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("count", "estimated"), [(300, 10), (8, 10)])
def test_a_confirmed_estimate_plans_the_rest(service: Service, tmp_path: Path, count: int, estimated: int) -> None:
    options: dict[str, Any] = {"executor": "threads", "estimate": estimated, "confirm": lambda _: True}
    finished = run_gradual(Previewed(count), tmp_path / "out", service.url, **options)
    plain = run_gradual(Gradual(count), tmp_path / "plain", service.url, executor="threads")
    assert rows(finished) == rows(plain)
    assert finished.is_complete


@pytest.mark.slow
def test_an_estimate_draws_its_units_from_the_whole_plan(service: Service, tmp_path: Path) -> None:
    """The first rows of a list may be alike, as those of one district. A larger estimate draws further ones."""
    tried: list[list[int]] = []
    for estimated in (5, 12):
        run = run_gradual(Previewed(300), tmp_path / "out", service.url, executor="threads", estimate=estimated)
        units = run.units.reset_index()
        tried.append(units[units["state"] == "done"]["position"].tolist())
    assert tried[0] == draw_spread(range(300), 5)
    assert tried[0][-1] > 150
    assert (len(tried[1]), set(tried[1]) > set(tried[0])) == (12, True)
    finished = run_gradual(Previewed(300), tmp_path / "out", service.url, executor="threads")
    plain = run_gradual(Gradual(300), tmp_path / "plain", service.url, executor="threads")
    assert rows(finished) == rows(plain)


class Flaky(Previewed):
    """One whose tried units fail at each attempt, by a fault that may pass."""

    def get_result(self, index: int, unit: dict[str, int]) -> Any:
        if unit["number"] in draw_spread(range(60), 3):
            raise TransientError("not now")
        return super().get_result(index, unit)


def test_a_unit_that_failed_within_the_estimate_is_not_tried_again_by_the_rest(
    service: Service, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"executor": "threads", "retries": 0}
    plain = run_gradual(Flaky(60), tmp_path / "plain", service.url, **options)
    estimated = run_gradual(
        Flaky(60), tmp_path / "out", service.url, **options, estimate=3, confirm=lambda forecast: True
    )
    assert not estimated.interrupted
    assert estimated.counts == plain.counts
    assert (tmp_path / "out" / "manifest.parquet").exists()


@pytest.mark.slow
def test_an_estimate_of_a_plan_that_has_changed_is_refused(service: Service, tmp_path: Path) -> None:
    run_gradual(Previewed(COUNT), tmp_path, service.url, executor="threads", estimate=3)
    with pytest.raises(RunMismatchError, match="its first units have changed since"):
        run_gradual(Previewed(COUNT, first=7), tmp_path, service.url, executor="threads", estimate=5)


class Sized(Gradual):
    """A recipe whose results have a known size."""

    def sized_result(self, index: int, unit: dict[str, int]) -> Chip:
        grid = Grid("EPSG:32613", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 64, 64)
        return Chip(Template(ee.Image), grid=grid, bands=("a",), format="tif")


def test_first_units_that_do_not_fit_on_the_disk_are_refused_while_planning_goes_on(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, released = shutil.disk_usage(tmp_path), threading.Event()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))

    def before(number: int) -> None:
        if number == 600:  # the first 500 units are stored, and the plan is not complete
            released.wait(60)

    try:
        with pytest.raises(StorageError, match="has 10 bytes free"):
            run_gradual(Sized(COUNT, before), tmp_path / "out", service.url, executor="threads")
    finally:
        released.set()
    assert set(open_run(tmp_path / "out").counts) == {"planned"}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_plan_resumes_without_repeating_requests(
    service: Service, tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    out, mark = tmp_path / "out", tmp_path / "mark"
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "tests.support.gradual_recipe", str(out), service.url, str(mark)]
    with subprocess.Popen(words, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as process:
        wait_for(mark)
        wait_for(out / str(expected[0][4]))
        process.send_signal(signal.SIGKILL)
    stopped = open_run(out)
    assert not stopped.is_complete
    assert 500 <= sum(stopped.counts.values()) <= 1500
    assert [row[:3] for row in rows(stopped)] == [row[:3] for row in expected][: sum(stopped.counts.values())]
    finished = run_gradual(Gradual(COUNT), out, service.url)
    assert rows(finished) == expected
    assert finished.is_complete
    assert service.count("value") <= COUNT // SIZE + PARALLEL_REQUESTS  # those that were in flight
    assert not (out / "planning.sqlite").exists()


class Whole(Gradual):
    """A recipe that is planned before its first unit is fetched, as most of eechips are."""

    is_builtin = True
    plans_gradually = False


@pytest.mark.slow
def test_a_whole_plan_that_was_stopped_resumes_without_repeating_requests(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: CapturedLog
) -> None:
    def stop(number: int) -> None:
        if number == 500:
            raise KeyboardInterrupt

    stopped = run_gradual(Whole(600, stop), tmp_path / "out", service.url, executor="threads", quiet=False)
    assert stopped.interrupted
    message = "there are no results yet, and what the service has answered is kept. To resume: eechips …"
    assert f"Stopped while planning; {message}" in capsys.readouterr().err
    assert service.count("value") >= 5
    with caplog.at_level("INFO", logger="eechips.engine.connected_run"):
        finished = run_gradual(Whole(600), tmp_path / "out", service.url, executor="threads")
    assert "Planning continues: requests whose responses are stored are not sent again" in caplog.text
    assert finished.counts == {"done": 600}
    assert service.count("value") <= 7  # one may have been in flight
    assert not (tmp_path / "out" / "planning.sqlite").exists()


@pytest.mark.slow
def test_a_plan_that_ends_for_a_fault_that_may_pass_keeps_what_was_planned(service: Service, tmp_path: Path) -> None:
    def run_with(requests: int) -> Run:
        budget = {"requests": requests}
        return run_gradual(Whole(600), tmp_path / "out", service.url, executor="threads", budget=budget)

    with pytest.raises(UsageError, match=r"allow more, or repeat the command: what the service has answered is kept$"):
        run_with(5)
    assert 1 <= service.count("value") <= 3  # two connect
    assert run_with(2000).counts == {"done": 600}
    assert service.count("value") == 600 // SIZE
    for error in (TransientError, UsageError):  # the answers are of use to the same command, not to a corrected one

        def fail(number: int, error: type[Exception] = error) -> None:
            if number == 500:
                raise error("not now")

        with pytest.raises(error, match="not now"):
            run_gradual(Whole(600, fail), tmp_path / error.__name__, service.url, executor="threads")
    assert (tmp_path / "TransientError" / "planning.sqlite").exists()
    assert not (tmp_path / "UsageError").exists()
    for requests in (1, 3):  # so many connect, and nothing is planned
        with pytest.raises(UsageError, match=r"before the first unit: allow more$"):
            run_gradual(Whole(600), tmp_path / "few", service.url, executor="threads", budget={"requests": requests})
        assert not (tmp_path / "few").exists()


@pytest.mark.exhaustive
def test_a_plan_resumed_under_a_budget_is_the_same(
    service: Service, tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    complete = []
    for _ in range(10):  # no run may ask all the questions
        try:
            complete.append(run_gradual(Gradual(COUNT), tmp_path, service.url, budget={"requests": 9}).is_complete)
        except UsageError:  # the first question was not among those that were answered
            complete.append(False)
    assert (complete[0], complete[-1]) == (False, True)
    assert rows(open_run(tmp_path)) == expected


@pytest.mark.exhaustive
def test_a_plan_that_fails_midway_keeps_its_units_and_resumes(
    service: Service, tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    def before(number: int) -> None:
        if number == 1200:
            raise LookupError("the file of places is away")

    with pytest.raises(LookupError, match="file of places"):
        run_gradual(Gradual(COUNT, before), tmp_path / "out", service.url)
    stopped = open_run(tmp_path / "out")
    assert 500 <= sum(stopped.counts.values()) <= 1200
    asked = service.count("value")
    assert rows(run_gradual(Gradual(COUNT), tmp_path / "out", service.url)) == expected
    assert service.count("value") <= max(asked, COUNT // SIZE)


@pytest.mark.slow
def test_a_finished_plan_is_no_longer_said_to_grow(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_gradual(Gradual(600), tmp_path / "out", service.url, quiet=False)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("600/600 units")
    assert "still planning" not in last


@pytest.mark.slow
def test_a_plan_that_fails_at_once_leaves_nothing(service: Service, tmp_path: Path) -> None:
    def before(number: int) -> None:
        raise ValueError("no such place")

    with pytest.raises(ValueError, match="no such place"):
        run_gradual(Gradual(10, before), tmp_path / "out", service.url)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    assert run_gradual(Gradual(10), tmp_path / "out", service.url).counts == {"done": 10}


@pytest.mark.exhaustive
def test_a_plan_that_differs_from_the_interrupted_one_is_refused(service: Service, tmp_path: Path) -> None:
    def before(number: int) -> None:
        if number == 1200:
            raise LookupError("away")

    with pytest.raises(LookupError):
        run_gradual(Gradual(COUNT, before), tmp_path / "out", service.url)
    with pytest.raises(RunMismatchError, match="its first units have changed since"):
        run_gradual(Gradual(COUNT, first=7), tmp_path / "out", service.url)
    assert run_gradual(Gradual(COUNT), tmp_path / "out", service.url).counts == {"done": COUNT}


@pytest.mark.slow
def test_responses_to_the_planner_are_asked_for_again_after_three_days_or_a_damage(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(number: int) -> None:
        if number == 600:
            raise LookupError("away")

    out, answers = tmp_path / "out", tmp_path / "out" / "planning.sqlite"
    counts = []
    for damage in (lambda: None, lambda: age(answers), lambda: answers.write_bytes(b"no database")):
        with contextlib.suppress(FileNotFoundError):
            damage()
        service.forget()
        with pytest.raises(LookupError):
            run_gradual(Gradual(700, before), out, service.url, executor="threads")
        counts.append(service.count("value"))
        service.forget()
        with pytest.raises(LookupError):
            run_gradual(Gradual(700, before), out, service.url, executor="threads")
        assert service.count("value") == 0
    assert counts == [7, 7, 7]
    assert run_gradual(Gradual(700), out, service.url, executor="threads").counts == {"done": 700}


def test_responses_to_a_planner_that_was_killed_after_it_are_removed(service: Service, tmp_path: Path) -> None:
    out, answers = tmp_path / "out", tmp_path / "out" / "planning.sqlite"
    kept: list[bool] = []

    def settled(_: object) -> bool:
        kept.append(answers.exists())
        return False

    options: dict[str, Any] = {"executor": "threads", "estimate": 5, "confirm": settled}
    assert run_gradual(Gradual(20), out, service.url, **options).paused
    assert kept == [False]  # removed with the end of the plan, not with that of the run
    answers.write_bytes(b"left by a kill between the two")
    assert run_gradual(Gradual(20), out, service.url, executor="threads").counts == {"done": 20}
    assert not answers.exists()


def age(answers: Path) -> None:
    """Makes the kept responses older than they may be."""
    with contextlib.closing(sqlite3.connect(answers, isolation_level=None)) as database:
        database.execute("UPDATE responses SET received = received - 3 * 86400 - 1")
