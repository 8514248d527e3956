"""Plans: ids and names that do not depend on the order, and folders that belong to one run."""

from __future__ import annotations

import io
import logging
import re
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.engine.config import RunConfig
from eechips.engine.plans.changed_options import check_same, describe
from eechips.engine.plans.plan import plan_units
from eechips.engine.plans.planner import GradualPlanning
from eechips.engine.progress import PlanningReport, Progress
from eechips.errors import RunMismatchError, UsageError
from eechips.manifest.manifest_columns import Record, State
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.storage import NameTemplate
from local_tests.support.captured_log import CapturedLog

TEMPLATE = NameTemplate("chips/{id}")


@given(st.lists(st.integers(0, 5), max_size=20), st.randoms())
def test_the_same_units_get_the_same_ids_in_any_order(values: list[int], random: Any) -> None:
    first = {unit.id for unit in plan_units(values, "r", TEMPLATE)}
    random.shuffle(values)
    assert {unit.id for unit in plan_units(values, "r", TEMPLATE)} == first
    assert len(first) == len(values)


@given(st.lists(st.sampled_from(["a", "A", "b c", "b_c", "b/c"]), max_size=12))
def test_names_never_collide(values: list[str]) -> None:
    units = [{"kind": "point", "place": value, "n": n} for n, value in enumerate(values)]
    names = [unit.name.casefold() for unit in plan_units(units, "r", NameTemplate("{place}"))]
    assert len(set(names)) == len(names)


@given(values=st.lists(st.sampled_from(["a", "A", "b c", "b_c", "b/c"]), max_size=12), random=st.randoms())
def test_units_that_were_planned_before_the_others_keep_ids_and_names(values: list[str], random: Any) -> None:
    """An estimate plans some units of a list, in which rows and names may be repeated."""
    units, template = [{"kind": "point", "place": value} for value in values], NameTemplate("{place}")
    drawn = sorted(random.sample(range(len(units)), random.randint(0, len(units))))
    first = list(plan_units([units[position] for position in drawn], "r", template, drawn))
    whole = list(plan_units(units, "r", template, planned={unit.position: unit for unit in first}))
    assert [whole[position] for position in drawn] == first
    assert {unit.id for unit in whole} == {unit.id for unit in plan_units(units, "r", template)}
    assert len({unit.name.casefold() for unit in whole}) == len(units)


def test_a_column_called_id_names_the_files_where_the_user_asks_for_it(caplog: CapturedLog) -> None:
    units = [
        {"kind": "point", "coordinates": [n, 0], "properties": {"id": value, "index": "a", "kind": "oak"}}
        for n, value in enumerate(["007", 8, 2.5, None, "", "007", "A", "a"])
    ]
    mine = NameTemplate("{kind}/{id}", prefers_values=True)
    planned = list(plan_units(units, "r", mine))
    short = [unit.id[:16] for unit in planned]
    assert [unit.name.removeprefix("oak/") for unit in planned] == [
        *("007", "8", "2.5", short[3], short[4], f"007-{short[5]}", "A", f"a-{short[7]}")
    ]
    assert "2 of the names by '{kind}/{id}' were taken, as oak/007" in caplog.text
    assert [unit.name for unit in plan_units(units, "r", TEMPLATE)] == [f"chips/{each}" for each in short]


@pytest.mark.parametrize("text", ["{id}", "{index}", "{id}_{plot}"])
def test_a_template_is_unique_for_units_without_a_column_of_that_name(text: str) -> None:
    template = NameTemplate(text, prefers_values=True)
    assert not template.is_unique
    assert template.is_unique_for({"kind": "call", "value": {"plot": 7}})
    assert not template.is_unique_for({"kind": "call", "value": {"plot": 7, "id": 7, "index": 7}})
    assert NameTemplate(text).is_unique_for({"kind": "call", "value": {"plot": 7, "id": 7, "index": 7}}) == (
        NameTemplate(text).is_unique
    )


def test_a_unit_that_is_no_json_is_shown_alone() -> None:
    with pytest.raises(UsageError, match=r"this one is not \(.*\): \{'kind': 'call', 'value': \{7\}\}$"):
        list(plan_units([{7}], "r", TEMPLATE))


def test_a_template_field_that_units_lack_is_refused() -> None:
    with pytest.raises(UsageError, match="a unit has: kind, value, id, index"):
        list(plan_units([1], "r", NameTemplate("{eco}")))


@dataclass(frozen=True)
class _Recipe:
    name: str = "sample"
    identity: str = "1"
    parameters: dict[str, Any] = field(default_factory=lambda: {"per_ecoregion": 25, "roi": (1, 2)})
    datasets: tuple[str, ...] = ()

    def get_requests(self) -> list[Any]:
        return [1]

    def get_result(self, index: int, unit: Any) -> bytes:
        return b""


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    config = RunConfig(out=tmp_path, local=True)
    described = describe(_Recipe(), config)
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan(described, plan_units([1, 2], "1", TEMPLATE))
        assert check_same(ledger, describe(_Recipe(), config), tmp_path)
        other = _Recipe(parameters={"per_ecoregion": 50, "roi": (1, 2)})
        assert not check_same(ledger, describe(other, config), tmp_path)  # nothing there yet: may be replaced
        ledger.record([Record(position=0, state=State.DONE, file="x.png", bytes=1, sha256="")])
        with pytest.raises(RunMismatchError, match="per_ecoregion: 25 there, 50 here"):
            check_same(ledger, describe(other, config), tmp_path)
        with pytest.raises(RunMismatchError, match="the recipe's code has changed"):
            check_same(ledger, describe(replace(_Recipe(), identity="2"), config), tmp_path)
        elsewhere = RunConfig(out=tmp_path, endpoint="http://127.0.0.1:1")
        with pytest.raises(RunMismatchError, match='source: "local:demo" there'):
            check_same(ledger, describe(_Recipe(), elsewhere), tmp_path)
        named = RunConfig(out=tmp_path, local=True, name="{index}")
        with pytest.raises(RunMismatchError, match="name:"):
            check_same(ledger, describe(_Recipe(), named), tmp_path)


def test_a_file_is_the_same_from_another_folder(tmp_path: Path) -> None:
    def recipe(path: str, sha256: str, identity: str = "1") -> _Recipe:
        return _Recipe(identity=identity, parameters={"points": path, "points_sha256": sha256})

    config = RunConfig(out=tmp_path, local=True)
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan(describe(recipe("a.csv", "5"), config), plan_units([1, 2], "1", TEMPLATE))
        ledger.record([Record(position=0, state=State.DONE, file="x.png", bytes=1, sha256="")])
        assert check_same(ledger, describe(recipe("../a.csv", "5"), config), tmp_path)
        for other in (recipe("../a.csv", "6"), recipe("../a.csv", "5", identity="2")):
            with pytest.raises(RunMismatchError, match=r'points: "a[.]csv" there, '):
                check_same(ledger, describe(other, config), tmp_path)
        with pytest.raises(RunMismatchError, match=r'another run \(points: "a[.]csv" has other contents now\)'):
            check_same(ledger, describe(recipe("a.csv", "6"), config), tmp_path)


def test_a_stored_plan_and_its_comparison_show_no_secret(tmp_path: Path) -> None:
    def recipe(secret: str, path: str = "stac", identity: str = "1") -> _Recipe:
        parameters = {"stac": f"https://me:{secret}@example.com/{path}?sig={secret}", "token": secret}
        return _Recipe(identity=identity, parameters=parameters)

    config = RunConfig(out=tmp_path, local=True)
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan(describe(recipe("5ecre7"), config), plan_units([1, 2], "1", TEMPLATE))
        ledger.record([Record(position=0, state=State.DONE, file="x.png", bytes=1, sha256="")])
        assert check_same(ledger, describe(recipe("renewed"), config), tmp_path)
        with pytest.raises(RunMismatchError) as caught:
            check_same(ledger, describe(recipe("5ecre7", path="other"), config), tmp_path)
        assert "example.com/stac" in str(caught.value)
        assert "5ecre7" not in str(caught.value)
        with pytest.raises(RunMismatchError, match="code, or a secret among its parameters, has changed"):
            check_same(ledger, describe(recipe("renewed", identity="2"), config), tmp_path)
    assert b"5ecre7" not in (tmp_path / LEDGER_NAME).read_bytes()


def test_the_secrets_of_a_run_of_an_earlier_version_are_no_difference_and_not_shown(tmp_path: Path) -> None:
    config = RunConfig(out=tmp_path, local=True)
    here = _Recipe(parameters={"arguments": ["--token", "5ecre7"]})
    described = describe(here, config)
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        stored = {**described, "parameters": here.parameters}
        ledger.store_plan(stored, plan_units([1, 2], "1", TEMPLATE))
        ledger.record([Record(position=0, state=State.DONE, file="x.png", bytes=1, sha256="")])
        assert check_same(ledger, described, tmp_path)
        with pytest.raises(RunMismatchError, match="secret among its parameters, has changed"):
            check_same(ledger, describe(replace(here, identity="2"), config), tmp_path)
        other = replace(here, parameters={"arguments": ["--token", "5ecre7", "-v"]})
        with pytest.raises(RunMismatchError) as caught:
            check_same(ledger, describe(other, config), tmp_path)
    assert "5ecre7" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"executor": "processes:0"},
        {"in_flight": 0},
        {"retries": -1},
        {"rate": 0.0},
        {"read_timeout": 0.0},
        {"method": "magic"},
        {"endpoint": "ftp://x"},
        {"local": True, "endpoint": "http://127.0.0.1:1"},
        {"executor": "dask:"},
        {"executor": "threads:4"},
        {"executor": "processes:many"},
        {"budget": "seconds=4"},
        {"budget": "minutes=0"},
        {"budget": {"requests": 1.5}},
        {"budget": "requests=2MB"},
        {"local": Path("/no/such/folder")},
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RunConfig(out=Path("out"), **options)


def test_defaults_of_options_are_resolved() -> None:
    config = RunConfig(out=Path("out"))
    assert config.requests_per_second == 100.0
    assert config.service == "https://earthengine-highvolume.googleapis.com"
    assert RunConfig(out=Path("out"), local=True).requests_per_second is None
    assert RunConfig(out=Path("out"), local=True, rate=5.0).requests_per_second == 5.0
    assert RunConfig(out=Path("out"), unit_timeout=60.0).policy.total == 60.0


def test_no_time_left_is_shown_while_more_is_planned() -> None:
    stream, now = io.StringIO(), [0.0]
    with Progress(500, 0, 40, stream=stream, clock=lambda: now[0]) as progress:
        progress.is_growing = True
        for second in (10.0, 20.0):
            now[0] = second
            progress.settle(failed=False)
            progress.show(7, 40)
            progress.is_growing = False
    first, second, *_ = stream.getvalue().splitlines()
    assert first == "1/500 units, 0.1/s, 7 of 40 requests in flight, failed 0, still planning"
    assert second == "2/500 units, 0.1/s, 7 of 40 requests in flight, failed 0, 1:23:00 left"


def test_the_bar_of_a_terminal_moves_while_no_unit_settles() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream, now = Terminal(), [0.0]
    with Progress(5, 0, 4, stream=stream, clock=lambda: now[0]) as progress:
        now[0] = 1.0
        progress.show(0, 1, "the service asks to wait 12 s")
        assert "0 of 1 request in flight, failed 0, the service asks to wait 12 s" in stream.getvalue()


def test_progress_grows_until_the_plan_is_complete() -> None:
    class Plan:
        is_done, failure = False, None

        def advance(self) -> int:
            return 0

    plan, progress = Plan(), Progress(500, 0, 40, stream=io.StringIO())
    planning = GradualPlanning(cast("Any", plan))
    planning.run = cast("Any", SimpleNamespace(progress=progress))
    planning.advance(is_draining=False)
    assert progress.is_growing
    plan.is_done = True
    planning.advance(is_draining=False)
    assert not progress.is_growing


def test_off_a_terminal_there_is_a_line_every_ten_seconds() -> None:
    stream, now = io.StringIO(), [0.0]
    with Progress(100, 10, 40, stream=stream, clock=lambda: now[0]) as progress:
        for second in range(25):
            now[0] = float(second)
            progress.settle(failed=second == 3)
            progress.show(7, 40)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "21/100 units, 1.1/s, 7 of 40 requests in flight, failed 1, 1:12 left"
    assert len(lines) == 3
    now[0], once = 0.0, io.StringIO()
    with Progress(1, 0, 40, stream=once, clock=lambda: now[0]) as progress:
        progress.settle(failed=False)
        now[0] = 10.0
        progress.show(0, 40)
    assert once.getvalue() == "1/1 units, 0.1/s, 0 of 40 requests in flight, failed 0\n"
    quiet = io.StringIO()
    with Progress(1, 0, 40, quiet=True, stream=quiet) as progress:
        progress.settle(failed=False)
        progress.say("x")
    assert quiet.getvalue() == ""


def test_planning_that_takes_long_is_reported() -> None:
    reported, lines = threading.Event(), []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            reported.set()

    logger, handler = logging.getLogger("eechips.engine.progress"), Handler()
    throttle = Throttle(None, QuotaLimits(4, 4), clients=1)
    with throttle.client(0).permit() as permit:
        permit.status = 200  # to connect
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)  # forgets what was disabled before
    try:
        with throttle.client(0).permit() as permit, PlanningReport(throttle, first=0.001) as report:
            assert reported.wait(60.0)
            permit.status = 200
        report.close()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert re.fullmatch(r"Planning for \d+ s: 0 requests sent, 1 in flight", lines[0])
