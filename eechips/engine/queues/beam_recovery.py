"""Record the outcomes of a pipeline whose parent was killed, before the run resumes."""

from __future__ import annotations

from collections.abc import Iterator

from eechips.engine.outcome import Finished
from eechips.engine.queues.beam_queue import BeamQueue
from eechips.engine.results.committer import Committer
from eechips.engine.results.result_stores import ImmediateStore
from eechips.engine.run_log import RunLog
from eechips.errors import StorageError
from eechips.files.temporary_names import is_numbered_token
from eechips.manifest.sqlite.ledger import Ledger
from eechips.storage import LocalStore, Store

BEAM_QUEUES = "file_queues"
"""Key in the ledger of the tokens of Beam queues with outcomes that the ledger may lack."""


def note_queue(ledger: Ledger, token: str, has_outcomes: bool) -> None:
    """Record in the ledger whether a Beam queue may hold outcomes."""
    known = [other_token for other_token in ledger.meta().get(BEAM_QUEUES, []) if other_token != token]
    ledger.note(BEAM_QUEUES, [*known, token] if has_outcomes else known)


def recover(ledger: Ledger, store: Store, log: RunLog) -> None:
    """Record the outcomes in the Beam queues of earlier pipelines, and remove the queues."""
    recovered = 0
    immediate = ImmediateStore(store.root) if isinstance(store, LocalStore) else store
    committer = Committer(ledger, immediate)
    for token in ledger.meta().get(BEAM_QUEUES, []):
        if not isinstance(token, str) or not is_numbered_token(token):
            raise StorageError(
                f"the ledger of this run names {token!r} as a folder of its queue, which it is not: the ledger is"
                " damaged or belongs to another user: choose another output folder"
            )
        queue = BeamQueue(immediate, token)
        for name in list(queue.batch_names()):
            events = {event.assignment.position: event for event in _finished(queue, name)}
            settled = [event for event in events.values() if _is_lacking(ledger, event)]
            committer.commit(settled)
            recovered += len(settled)
        queue.clear()
        note_queue(ledger, token, False)
    if recovered:
        log.write("recovered", units=recovered)


def _finished(queue: BeamQueue, name: str) -> Iterator[Finished]:
    for event in queue.read_batch(name).events:
        if isinstance(event, Finished) and event.outcome.record is not None:
            yield event


def _is_lacking(ledger: Ledger, event: Finished) -> bool:
    """Return whether an event has the result of a unit of the plan that is open.

    Units that failed stay open, as what the service refused may concern all of them: the run tries them again.
    """
    position, record = event.assignment.position, event.outcome.record
    unit = next(ledger.open_units(position, position + 1), None)
    is_planned = unit is not None and unit.id == event.assignment.id
    return is_planned and record is not None and record.state.has_result
