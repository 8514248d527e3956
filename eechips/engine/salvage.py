"""What workers of a pipeline have told to a parent that was no more: it goes into the ledger before anything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from eechips.client.throttle import Throttle
from eechips.engine.dispatcher import Dispatcher, Interrupt
from eechips.engine.executors.executor import Desk, Executor, Finished, Lost
from eechips.engine.log import RunLog
from eechips.engine.mailbox import Mailbox
from eechips.engine.outcome import Outcome
from eechips.engine.progress import Progress
from eechips.engine.station import PromptStore
from eechips.errors import StorageError
from eechips.manifest.ledger import Ledger
from eechips.manifest.record import Planned
from eechips.staging import is_numbered_token
from eechips.storage import LocalStore, Store

MAILBOXES = "mailboxes"
"""Key in the ledger of the tokens of mailboxes that may hold what the ledger does not."""


def note_mailbox(ledger: Ledger, token: str, is_begun: bool) -> None:
    """Keeps in mind that a mailbox holds something, or that it does not any more."""
    known = [each for each in ledger.meta().get(MAILBOXES, []) if each != token]
    ledger.note(MAILBOXES, [*known, token] if is_begun else known)


def salvage(ledger: Ledger, store: Store, throttle: Throttle, log: RunLog, interrupt: Interrupt) -> int:
    """Records what mailboxes of earlier pipelines hold, and removes them.

    Args:
        ledger: of the run; has a plan.
        store: of the results.
        throttle: of the run.
        log: of the run.
        interrupt: tells when to stop.

    Returns:
        How many units were settled.
    """
    settled = 0
    prompt = PromptStore(store.root) if isinstance(store, LocalStore) else store
    for token in ledger.meta().get(MAILBOXES, []):
        if not isinstance(token, str) or not is_numbered_token(token):
            raise StorageError(
                f"the ledger of this run names {token!r} as a folder of its queue, which it is not: the ledger is"
                " damaged or was made by somebody else; choose another folder with --out"
            )
        mailbox = Mailbox(prompt, token)
        names = list(mailbox.told())
        doubtful = {
            position
            for name in names
            for event in _finished(mailbox, name)
            for doubt in event.outcome.doubts
            for position in doubt.positions
        }
        ledger.reopen(ledger.with_results(doubtful, or_empty=True))
        for name in names:
            found = {e.task.position: replace(e.outcome, doubts=()) for e in _finished(mailbox, name)}
            open_units = [unit for unit in _still_open(ledger, mailbox, name) if unit.position not in doubtful]
            if open_units:
                settled += len(open_units)
                progress = Progress(len(open_units), 0, None, quiet=True)
                replay = _Replay(throttle, found)
                dispatcher = Dispatcher(ledger, prompt, replay, progress, log, check=lambda: None)
                dispatcher.run(iter(open_units), len(open_units), interrupt)
        mailbox.clear()
        note_mailbox(ledger, token, False)
    if settled:
        log.write("salvaged", units=settled)
    return settled


def _finished(mailbox: Mailbox, name: str) -> Iterator[Finished]:
    for event in mailbox.read(name).events:
        if isinstance(event, Finished) and event.outcome.record is not None:
            yield event


def _still_open(ledger: Ledger, mailbox: Mailbox, name: str) -> Iterator[Planned]:
    """The units of a shard that are those of the plan, and open."""
    seen: set[int] = set()
    for event in _finished(mailbox, name):
        position = event.task.position
        unit = next(ledger.open_units(position, position + 1), None)
        if unit is not None and unit.id == event.task.id and position not in seen:
            seen.add(position)
            yield unit


class _Replay(Executor[Desk]):
    """Has done every task already.

    Args:
        throttle: of the run.
        outcomes: by position.
    """

    def __init__(self, throttle: Throttle, outcomes: dict[int, Outcome]) -> None:
        super().__init__(throttle, float("inf"))
        self._outcomes = outcomes
        self._desks.append(Desk(is_ready=True))

    def staff(self, slots: int, tasks: int, *, exclusive: bool) -> bool:
        """There is nothing to do."""
        return False

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """What became of all that was submitted."""
        (desk,) = self._desks
        outcomes = [self._outcomes[position] for position in desk.tasks]
        return [event for outcome in outcomes if (event := self._finish(desk, outcome)) is not None]

    def kill(self) -> None:
        """Forgets what was submitted."""
        self._desks[0].tasks.clear()

    def _send(self, desk: Desk, task: Planned) -> None:
        """It is done."""

    def _depth(self, desk: Desk) -> int:
        return len(self._outcomes)
