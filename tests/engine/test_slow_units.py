"""Messages of runs in which no unit finishes."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.engine.executors.executor import Executor, WorkerHandle
from eechips.engine.interrupt import Interrupt
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.progress import Progress
from eechips.engine.run_features.run_monitor import RunMonitor, SlowUnitReports, advice_for
from eechips.engine.run_log import LOG_NAME, RunLog
from eechips.engine.scheduler import Scheduler
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.recipe import load_recipe
from eechips.storage import LocalStore


def planned(position: int, unit: str = '{"kind":"call","value":7}') -> WorkUnit:
    return WorkUnit(position, f"{position:064x}", unit, f"chips/{position}")


def test_after_a_minute_without_a_unit_the_longest_is_named() -> None:
    now = [0.0]
    slow = SlowUnitReports(lambda: "Add .filterBounds(region).", lambda: now[0])
    assert slow.message() is None  # nothing is under way
    now[0] = 500.0
    slow.prepare(planned(0))
    now[0] = 510.0
    slow.prepare(planned(1))
    now[0] = 559.9
    assert slow.message() is None
    now[0] = 560.0
    assert slow.message() == (
        'No unit has finished for 60 s: 2 units are under way, the longest for 60 s, unit 0: {"kind":"call","value":7}'
        ". Add .filterBounds(region)."
    )
    now[0] = 600.0
    assert slow.message() is None  # once
    now[0] = 620.0
    again = slow.message()
    assert again is not None
    assert again.startswith("No unit has finished for 2 min")
    assert "filterBounds" not in again


def test_rejections_before_the_units_are_not_told_again() -> None:
    """Planning, or an earlier run of the session, has met the limit."""
    shown, now = io.StringIO(), [0.0]
    throttle = Throttle(None, QuotaLimits(4, 4), clients=1, clock=lambda: now[0])
    throttle.lead(1, is_learned=False)
    for _ in range(9):
        with throttle.client(0).permit() as permit:
            permit.status = 429
    progress = Progress(9, 0, 4, stream=shown, clock=lambda: now[0])
    control: Any = SimpleNamespace(
        throttle=throttle, progress=progress, log=SimpleNamespace(write=lambda *_, **__: None)
    )
    monitor, slow = RunMonitor(Slow(throttle, now)), SlowUnitReports(str, lambda: now[0])
    monitor.start(control)
    slow.start(control)
    slow.prepare(planned(0))
    now[0] = 70.0
    monitor.watch()
    slow.watch()
    assert "rejected" not in shown.getvalue()
    assert "No unit has finished" in shown.getvalue()


def test_a_finished_unit_resets_the_minute() -> None:
    now = [0.0]
    slow, throttle = (
        SlowUnitReports(str, lambda: now[0]),
        Throttle(None, QuotaLimits(4), clients=1, clock=lambda: now[0]),
    )
    control: Any = SimpleNamespace(throttle=throttle)
    slow.start(control)
    slow.prepare(planned(0))
    slow.prepare(planned(1))
    now[0] = 59.0
    slow.note([Lost(planned(0), "", None)])
    now[0] = 100.0
    assert slow.message() is None
    with throttle.client(0).permit() as permit:
        permit.status, permit.retry_after = 503, 1.0
    slow.watch()  # the service asks to wait
    now[0] = 159.0
    assert slow.message() is None
    now[0] = 160.0
    assert "1 unit is under way, the longest for 3 min, unit 1" in str(slow.message())
    slow.note([Lost(planned(1), "", None)])
    now[0] = 1000.0
    assert slow.message() is None


def test_long_units_are_named() -> None:
    now = [0.0]
    slow = SlowUnitReports(str, lambda: now[0])
    slow.prepare(planned(0, "x" * 1000))
    now[0] = 60.0
    assert str(slow.message()).endswith(", the longest for 60 s, unit 0: chips/0")


GLOBAL_MEDIAN = """
import ee
def get_requests(): return [1]
def get_result(index, unit): return ee.ImageCollection("COPERNICUS/S2").filterDate("2020", "2021").median()
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GLOBAL_MEDIAN, "recipe.py reads an ImageCollection without filterBounds"),
        (GLOBAL_MEDIAN.replace(".median", ".filterBounds(unit).median"), "Usual cures: filterBounds and filterDate"),
        (GLOBAL_MEDIAN.replace(".median", ".filter(ee.Filter.bounds(unit)).median"), "Usual cures"),
        ("def get_requests(): return [1]\ndef get_result(index, unit): return b''\n", "Usual cures"),
    ],
)
def test_the_advice_is_that_of_the_recipe(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "recipe.py").write_text(text)
    assert advice_for(load_recipe(tmp_path / "recipe.py")).startswith(said)


def test_the_advice_of_a_command_names_its_options() -> None:
    recipe = ChipSample(dataset="NAIP", total=1, roi="0,0,1,1")
    assert "--scale" in advice_for(recipe)
    assert advice_for(recipe, ("planetary-computer",)).startswith("planetary-computer, or the service of its tokens,")


class Slow(Executor[WorkerHandle]):
    """Has its unit finished when the clock has come to two minutes."""

    def __init__(self, throttle: Throttle, now: list[float]) -> None:
        super().__init__(throttle, float("inf"))
        self._now = now
        self._handles += [WorkerHandle(is_ready=True)]

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        self._now[0] += 10.0
        if self._now[0] < 120.0:
            return []
        done = (
            self._finish(handle, Outcome(assignment.position, Record(position=assignment.position, state=State.DONE)))
            for handle in self._handles
            for assignment, _ in list(handle.assignments.values())
        )
        return [each for each in done if each is not None]

    def kill(self) -> None:
        self._handles.clear()

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        self._assign(assignment, alone=alone)

    def _capacity(self, handle: WorkerHandle) -> int:
        return 1


def test_a_run_says_and_logs_what_takes_so_long(tmp_path: Path) -> None:
    shown, now = io.StringIO(), [0.0]

    def clock() -> float:
        return now[0]

    with (
        Ledger(tmp_path / LEDGER_NAME) as ledger,
        RunLog(tmp_path) as log,
        Progress(1, 0, 4, stream=shown, clock=clock) as progress,
    ):
        ledger.store_plan({}, [planned(0)])
        executor = Slow(Throttle(None, QuotaLimits(4, 4), clients=1), now)
        scheduler = Scheduler(
            ledger.open_units(), 1, ledger=ledger, store=LocalStore(tmp_path), executor=executor, progress=progress,
            log=log, interrupt=Interrupt(), clock=clock,
            features=(SlowUnitReports(lambda: "Add .filterBounds(region).", clock),),
        )  # fmt: skip
        assert scheduler.run()
    assert shown.getvalue().count("No unit has finished for") == 1
    assert "Add .filterBounds(region)." in shown.getvalue()
    assert '"slow"' in (tmp_path / LOG_NAME).read_text()


def test_a_run_that_the_service_rejects_says_so_and_calls_no_unit_slow() -> None:
    shown, now = io.StringIO(), [0.0]
    throttle = Throttle(None, QuotaLimits(4, 4), clients=1, clock=lambda: now[0])
    throttle.lead(1, is_learned=False)
    progress = Progress(9, 0, 4, stream=shown, clock=lambda: now[0])
    control: Any = SimpleNamespace(throttle=throttle, progress=progress, log=None)
    monitor = RunMonitor(Slow(throttle, now))
    slow = SlowUnitReports(str, lambda: now[0])
    monitor.run = slow.run = control
    slow.prepare(planned(0))
    for retry_after in (None, None, None, None, None, 12.0):
        with throttle.client(0).permit() as permit:
            permit.status, permit.retry_after = 429, retry_after
    monitor.watch()
    now[0] = 10.0
    monitor.watch()
    assert shown.getvalue() == (
        "0/9 units, 0.0/s, 0 of 1 request in flight, failed 0, 6 rejected (429) since the last result,"
        " the service asks to wait 2 s\n"
    )
    now[0] = 70.0
    slow.watch()
    assert "No unit has finished" not in shown.getvalue()
    monitor.settle([Record(position=0, state=State.DONE)])
    now[0] = 80.0
    monitor.watch()
    assert (
        shown.getvalue()
        .splitlines()[-1]
        .startswith("1/9 units, 0.8/min, 0 of 1 request in flight, failed 0, 10:40 left")
    )


def test_a_mode_that_changes_while_it_is_read_is_told_in_pairs() -> None:
    """Another process may hear of the restricted mode, and of its end, between two reads."""

    class Changing(Throttle):
        answers = iter((True, False, False, False))

        @property
        def is_restricted(self) -> bool:
            return next(self.answers)

    shown, now = io.StringIO(), [0.0]
    events: list[str] = []
    throttle = Changing(None, QuotaLimits(4, 4), clients=1, clock=lambda: now[0])
    progress = Progress(9, 0, 4, stream=shown, clock=lambda: now[0])
    log = SimpleNamespace(write=lambda event, **_: events.append(event))
    control: Any = SimpleNamespace(throttle=throttle, progress=progress, log=log)
    monitor = RunMonitor(Slow(throttle, now))
    monitor.start(control)
    monitor.watch()
    monitor.watch()
    assert events == ["restricted", "unrestricted"]
