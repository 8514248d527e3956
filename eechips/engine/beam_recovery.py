"""Record the outcomes of a pipeline whose parent was killed, before the run resumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from eechips.client.throttle import Throttle
from eechips.engine.beam_queue import BeamQueue
from eechips.engine.executors.executor import Executor, WorkerHandle
from eechips.engine.interrupt import Interrupt
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.progress import Progress
from eechips.engine.result_stores import ImmediateStore
from eechips.engine.run_context import SchedulerContext
from eechips.engine.run_log import RunLog
from eechips.engine.run_monitor import RunMonitor
from eechips.engine.scheduler import Scheduler
from eechips.errors import StorageError
from eechips.files.temporary_names import is_numbered_token
from eechips.manifest.ledger import Ledger
from eechips.manifest.unit_record import WorkUnit
from eechips.storage import LocalStore, Store

BEAM_QUEUES = "file_queues"
"""Key in the ledger of the tokens of Beam queues with outcomes that the ledger may lack."""


def note_queue(ledger: Ledger, token: str, has_outcomes: bool) -> None:
    """Record in the ledger whether a Beam queue may hold outcomes."""
    known = [other_token for other_token in ledger.meta().get(BEAM_QUEUES, []) if other_token != token]
    ledger.note(BEAM_QUEUES, [*known, token] if has_outcomes else known)


def recover(ledger: Ledger, store: Store, throttle: Throttle, log: RunLog, interrupt: Interrupt) -> int:
    """Record the outcomes in the Beam queues of earlier pipelines, remove the queues; count the settled units."""
    settled = 0
    immediate = ImmediateStore(store.root) if isinstance(store, LocalStore) else store
    for token in ledger.meta().get(BEAM_QUEUES, []):
        if not isinstance(token, str) or not is_numbered_token(token):
            raise StorageError(
                f"the ledger of this run names {token!r} as a folder of its queue, which it is not: the ledger is"
                " damaged or belongs to another user: choose another output folder"
            )
        queue = BeamQueue(immediate, token)
        names = list(queue.batch_names())
        mismatched = {
            position
            for name in names
            for event in _finished(queue, name)
            for mismatch in event.outcome.mismatches
            for position in mismatch.positions
        }
        ledger.reopen(ledger.with_results(mismatched, or_empty=True))
        for name in names:
            events = list(_finished(queue, name))
            open_units = [unit for unit in _still_open(ledger, events) if unit.position not in mismatched]
            ids = {unit.id for unit in open_units}
            outcomes = {
                e.assignment.position: replace(e.outcome, mismatches=()) for e in events if e.assignment.id in ids
            }
            if open_units:
                settled += len(open_units)
                progress = Progress(len(open_units), 0, None, quiet=True)
                replay = _Replay(throttle, outcomes)
                context = SchedulerContext(
                    ledger=ledger,
                    store=immediate,
                    executor=replay,
                    progress=progress,
                    log=log,
                    interrupt=interrupt,
                    features=(RunMonitor(replay),),
                )
                Scheduler(context, iter(open_units), len(open_units)).run()
        queue.clear()
        note_queue(ledger, token, False)
    if settled:
        log.write("recovered", units=settled)
    return settled


def _finished(queue: BeamQueue, name: str) -> Iterator[Finished]:
    for event in queue.read_batch(name).events:
        if isinstance(event, Finished) and event.outcome.record is not None:
            yield event


def _still_open(ledger: Ledger, events: Iterable[Finished]) -> Iterator[WorkUnit]:
    """Yield the units of a batch's events that belong to the plan and are open."""
    seen: set[int] = set()
    for event in events:
        position = event.assignment.position
        unit = next(ledger.open_units(position, position + 1), None)
        if unit is not None and unit.id == event.assignment.id and position not in seen:
            seen.add(position)
            yield unit


class _Replay(Executor[WorkerHandle]):
    """An executor that has every outcome already."""

    def __init__(self, throttle: Throttle, outcomes: dict[int, Outcome]) -> None:
        super().__init__(throttle, float("inf"))
        self._outcomes = outcomes
        self._handles.append(WorkerHandle(is_ready=True))

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        """Do nothing."""
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Return the outcomes of all submitted units."""
        (handle,) = self._handles
        outcomes = [self._outcomes[position] for position in handle.assignments]
        return [event for outcome in outcomes if (event := self._finish(handle, outcome)) is not None]

    def kill(self) -> None:
        """Forget what was submitted."""
        self._handles[0].assignments.clear()

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        """Note the assignment, whose outcome is known."""
        self._assign(assignment, alone=alone)

    def _capacity(self, handle: WorkerHandle) -> int:
        return len(self._outcomes)
