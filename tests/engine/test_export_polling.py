"""Units that wait for batch tasks: they are ready when all of their tasks have ended, and resume from the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from eechips.client.error_classification import classify_response
from eechips.client.exports.export_tasks import ExportTask, TaskStatus
from eechips.client.http.transport import current_transport, use_transport
from eechips.engine.outcome import Finished, Outcome, StartedExports
from eechips.engine.run_features import export_polling
from eechips.engine.run_features.export_polling import ExportMonitor
from eechips.engine.run_log import RunLog
from eechips.errors import PermanentError, StorageError, TransientError
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import count_exports, read_exports
from eechips.manifest.untrusted_run import check_values
from local_tests.support.local_earth_engine import wait_until

UNITS = [WorkUnit(position, f"{position:064x}", "{}", f"chips/{position}") for position in range(3)]
RUNNING, DONE = TaskStatus(False, None, 0.5), TaskStatus(True, None, 2.0)


class Tasks:
    """The states of tasks, as a service gives them."""

    def __init__(self) -> None:
        self.states: dict[str, TaskStatus | Exception] = {}
        self.transport: object = None  # that of the last request

    def __call__(self, names: set[str]) -> dict[str, TaskStatus]:
        self.transport = current_transport()
        found = {name: self.states.get(name, RUNNING) for name in names}
        for state in found.values():
            if isinstance(state, Exception):
                raise state
        return {name: state for name, state in found.items() if isinstance(state, TaskStatus)}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Request states soon: what is tested is what follows from them."""
    monkeypatch.setattr(export_polling, "_FIRST_WAIT", 0.02)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "manifest.sqlite") as found:
        found.store_plan({}, UNITS)
        yield found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with RunLog(tmp_path) as found:
        yield found


@dataclass
class Run:
    """What the monitor does to its run."""

    held: list[WorkUnit] = field(default_factory=list)
    ready: list[WorkUnit] = field(default_factory=list)
    failures: list[Finished] = field(default_factory=list)
    eecu_seconds: list[float] = field(default_factory=list)

    def hold(self, unit: WorkUnit) -> None:
        self.held.append(unit)

    def release(self, unit: WorkUnit) -> None:
        self.ready.append(unit)

    def settle(self, events: list[Finished]) -> None:
        self.failures += events


@contextlib.contextmanager
def monitoring(ledger: Ledger, log: RunLog, tasks: Tasks, **options: Any) -> Iterator[ExportMonitor]:
    run = Run()
    with contextlib.closing(ExportMonitor(ledger, log, run.eecu_seconds.append, tasks, **options)) as found:
        found.start(cast("Any", run))
        yield found


def add(monitor: ExportMonitor, unit: WorkUnit, exports: StartedExports) -> None:
    assert monitor.claim(Finished(unit, Outcome(unit.position, None, exports=exports)))


def started(*names: str) -> StartedExports:
    return StartedExports(tuple(ExportTask(name, f"gs://bucket/{name}.tif") for name in names), requests=2, seconds=300)


def wait(monitor: ExportMonitor) -> Run:
    """Return what becomes of the units whose tasks end next."""
    run = cast("Any", monitor.run)
    run.ready, run.failures = [], []
    run.eecu_seconds.clear()

    def has_ended() -> bool:
        monitor.advance(is_draining=False)
        return bool(run.ready or run.failures)

    wait_until(has_ended)
    return cast("Run", run)


def test_a_unit_of_several_tasks_is_ready_when_the_last_has_ended(ledger: Ledger, log: RunLog) -> None:
    tasks = Tasks()
    transport = cast("Any", object())
    with monitoring(ledger, log, tasks) as monitor:
        with use_transport(transport):
            add(monitor, UNITS[0], started("a", "b"))
        add(monitor, UNITS[1], started("c"))
        tasks.states = {"a": DONE, "c": DONE}
        found = wait(monitor)
        assert tasks.transport is transport  # that of its run, whatever other runs the process has
        assert [(unit.position, unit.exported) for unit in found.ready] == [(1, ("gs://bucket/c.tif",))]
        assert monitor.is_busy
        tasks.states["b"] = DONE
        found = wait(monitor)
        assert [unit.exported for unit in found.ready] == [("gs://bucket/a.tif", "gs://bucket/b.tif")]
        assert found.eecu_seconds == [4.0]
        record = monitor.charge(Record(position=0, state=State.DONE, seconds=1.0))
        assert (record.attempts, record.requests, record.seconds, record.eecu_seconds) == (2, 2, 301.0, 4.0)
        assert monitor.charge(Record(position=2, state=State.DONE)) == Record(position=2, state=State.DONE)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Cannot write.", "Cannot write."),
        ("An internal error has occurred.", "An internal error has occurred."),
        (
            "Execution failed; out of memory.",
            "Execution failed; out of memory. What helps: fewer regions, bands or dates, smaller chips, a coarser"
            " scale.",
        ),
        (
            "Exported bands must have compatible data types; found inconsistent types: Int16 and Byte.",
            "Exported bands must have compatible data types; found inconsistent types: Int16 and Byte. What helps: in"
            " the recipe, one type for all bands: toFloat(), or the chip's `dtype`.",
        ),
        (
            "Unable to write to bucket demo_0001 (permission denied).",
            "Unable to write to bucket demo_0001 (permission denied). To resume: give your account the role Storage"
            " Object Admin for the bucket, or name another one (`export_to`).",
        ),
    ],
)
def test_one_failed_task_fails_its_unit_with_what_helps(ledger: Ledger, log: RunLog, message: str, error: str) -> None:
    tasks = Tasks()
    tasks.states = {"b": TaskStatus(True, classify_response(400, message), 1.0)}
    with monitoring(ledger, log, tasks) as monitor:
        add(monitor, UNITS[0], started("a", "b"))
        (failure,) = wait(monitor).failures
        record = failure.outcome.record
        assert record is not None
        assert record.state is State.FAILED_PERMANENT
        assert record.error == f"the export task 'b' failed: {error} eechips retry starts another one"
        assert not monitor.is_busy


def test_the_next_run_takes_the_stored_tasks_and_those_of_recorded_units_are_forgotten(
    ledger: Ledger, log: RunLog
) -> None:
    tasks = Tasks()
    with monitoring(ledger, log, tasks) as monitor:
        for unit, name in zip(UNITS, "abc", strict=True):
            add(monitor, unit, started(name))
    ledger.record([Record(position=0, state=State.DONE), Record(position=1, state=State.FAILED_TRANSIENT)])
    assert count_exports(ledger.database)[0] == 2
    assert sorted(read_exports(ledger.database)) == [1, 2]  # a transient failure, such as of the store, keeps its task
    tasks.states = {"b": DONE, "c": DONE}
    with monitoring(ledger, log, tasks) as monitor:
        left = list(monitor.divert(iter([UNITS[0], None, UNITS[1], UNITS[2]])))
        assert left == [UNITS[0], None]
        assert cast("Any", monitor.run).held == UNITS[1:]
        ready = wait(monitor).ready
        assert {unit.exported for unit in ready} <= {("gs://bucket/b.tif",), ("gs://bucket/c.tif",)}


@pytest.mark.parametrize("started", ["2026-11-23T02:00:00.000Z", "\x1b[2J", "yesterday"])
def test_received_ledgers_say_when_tasks_were_started_or_are_damaged(ledger: Ledger, started: str) -> None:
    ledger.add_exports(0, [("a", "gs://bucket/a.tif")], 1, 2.0, started)
    if started.startswith("20"):
        check_values(ledger)
        assert count_exports(ledger.database) == (1, started)
    else:
        with pytest.raises(StorageError, match="no run records"):
            check_values(ledger)


def test_states_that_do_not_come_are_requested_again_and_refusals_end_the_run(ledger: Ledger, log: RunLog) -> None:
    tasks = Tasks()
    tasks.states = {"a": TransientError("Unavailable.")}
    with monitoring(ledger, log, tasks) as monitor:
        add(monitor, UNITS[0], started("a"))
        wait_until(lambda: "tasks unknown" in (ledger.path.parent / "run.log").read_text())
        tasks.states = {"a": DONE}
        assert wait(monitor).ready
        tasks.states = {"b": PermanentError("Permission denied.")}
        add(monitor, UNITS[1], started("b"))
        with pytest.raises(PermanentError, match="Permission denied"):
            wait(monitor)


def test_a_task_has_ended_only_when_several_responses_do_not_know_it(ledger: Ledger, log: RunLog) -> None:
    """One response may be that of a proxy, or of a server that has not learned of the task yet."""
    unknown = TaskStatus(True, PermanentError("unknown"), 0.0, is_known=False)
    states = {"a": [unknown, unknown, RUNNING, unknown, unknown, unknown, DONE], "b": [unknown] * 9}

    class Responses(Tasks):
        def __call__(self, names: set[str]) -> dict[str, TaskStatus]:
            return {name: states[name].pop(0) for name in names}

    with monitoring(ledger, log, Responses()) as monitor:
        add(monitor, UNITS[0], started("a"))
        assert [unit.exported for unit in wait(monitor).ready] == [("gs://bucket/a.tif",)]
        add(monitor, UNITS[1], started("b"))
        assert [failure.assignment for failure in wait(monitor).failures] == [UNITS[1]]
    assert len(states["b"]) == 5


def test_messages_come_at_the_first_unit_and_every_ten_minutes(ledger: Ledger, log: RunLog) -> None:
    now = [0.0]
    with monitoring(ledger, log, Tasks(), clock=lambda: now[0]) as monitor:
        assert monitor.message() is None
        add(monitor, UNITS[0], started("a"))
        assert "1 unit so far" in (monitor.message() or "")
        now[0] = 599.0
        assert monitor.message() is None
        now[0] = 601.0
        assert monitor.message() == "Waiting for batch tasks of Earth Engine: 1 unit."


def test_a_run_says_that_the_states_of_its_tasks_are_unknown(ledger: Ledger, log: RunLog) -> None:
    later = [0.0]
    tasks = Tasks()
    tasks.states = {"a": TransientError("a web page came back")}
    with monitoring(ledger, log, tasks, clock=lambda: time.monotonic() + later[0]) as monitor:
        add(monitor, UNITS[0], started("a"))
        assert "1 unit so far" in (monitor.message() or "")
        wait_until(lambda: "tasks unknown" in (ledger.path.parent / "run.log").read_text())
        later[0] = 601.0
        waiting = "Waiting for batch tasks of Earth Engine: 1 unit."
        assert monitor.message() == f"{waiting} Their states are unknown: a web page came back"
        tasks.states["b"] = DONE
        del tasks.states["a"]
        add(monitor, UNITS[1], started("b"))
        assert wait(monitor).ready
        later[0] = 1300.0
        assert monitor.message() == waiting
