"""Read the samples of an epoch in order, divided among workers and ranks, as they are fetched; wait for them, or say
why the run has stopped.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import RunStoppedError, StorageError, UsageError
from eechips.manifest.extensions import read_completions
from eechips.manifest.folder_lock import is_held
from eechips.manifest.manifest_columns import State
from eechips.manifest.run import Run, open_run
from eechips.manifest.sqlite.database import snapshot
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import UnitOutcome, read_outcomes, sum_totals
from eechips.manifest.stream_epoch import (
    FETCH_SEED,
    EpochPlan,
    ReaderPlace,
    epoch_order,
    last_ids,
    note_place,
    planned_ids,
    share_plan,
)
from eechips.manifest.untrusted_run import read_info
from eechips.storage import Store
from eechips.text.formatting import format_count
from eechips.training.quality.chip_pixels import ChipPixels, FramePixels, decode_file
from eechips.training.sample import Sample, SampleFile
from eechips.training.sample_reader import read_recorded, read_some_samples
from eechips.training.splits import split_table
from eechips.training.streams.background_run import has_whole_plan, read_log

_AHEAD = 32  # units that are looked up at a time
_LOOK = 0.05  # seconds between two looks at the ledger
_GRACE = 5.0  # seconds without a process that fetches, after which a run of others has stopped
_GRACE_OF_START = 60.0  # the same before it was seen under way, as the process of rank 0 may only be starting
_LOG_TAIL = 1 << 16  # bytes of the log that are read for the reason of a stop
_EVENTS = frozenset(
    {"started", "stopped", "interrupted", "killed", "budget exhausted", "time limit reached", "finished"}
)
"""Events of a run's log that tell when a command began, and why it has stopped."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EpochUnits:
    """The units of an epoch.

    Attributes:
        plan: what tells them from others.
        order: their positions in the order of the epoch, int64, (units,).
        completions: units with files of added datasets; see :func:`~eechips.manifest.extensions.read_completions`.
    """

    plan: EpochPlan
    order: npt.NDArray[np.int64]
    completions: Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class StreamPart:
    """The part of an epoch that one reader reads: the ordinals ``reader``, ``reader + readers``, …

    Attributes:
        folder: folder of the run.
        seed: seed of the order; None for that of the plan.
        readers: number of readers of all processes.
        is_followed: whether the run is fetched by others, perhaps in another order.
        lock: folder that is locked while this process has the run fetched; None if it does not.
        is_bounded: whether files are removed from the folder, and fetched again for the next epoch.
        split: split of the units; None for all.
        is_shared: whether other readers are to read the same units, in processes of their own.
    """

    folder: Path
    seed: int | None
    epoch: int
    reader: int
    readers: int
    is_followed: bool = False
    lock: Path | None = None
    is_bounded: bool = False
    split: str | None = None
    is_shared: bool = False

    @property
    def is_under_way(self) -> bool:
        """Whether a process fetches the run, or is about to."""
        return is_held(self.folder) or (self.lock is not None and is_held(self.lock))

    def plan(self, ledger: Ledger, digest: str | None) -> EpochUnits | None:
        """Return the units of the epoch; None while it is unknown in which order they are fetched.

        Args:
            ledger: ledger of the run.
            digest: digest of the plan in which the reader resumes.

        Raises:
            UsageError: if the run is under way in another order than that of the first epoch; if the run has no such
                split; or if units or splits were replaced by others while readers began the epoch.
        """
        fetched = ledger.meta().get(FETCH_SEED)
        if self.is_followed and fetched != self.seed and ledger.count_open():
            if fetched is None and not sum_totals(ledger.database).units and is_held(self.folder):
                return None
            asked = "seed=None" if fetched is None else f"seed={fetched}"
            raise UsageError(
                f"{self.folder} is fetched in another order than that of seed={self.seed}, so that its first sample may"
                f" come last: give {asked}, or read it once it is complete"
            )
        own = self._planned(ledger, ledger.end)
        shared = self._share(own.plan, digest)
        chosen = own if shared == own.plan else self._planned(ledger, shared.end)
        if chosen.plan != shared:
            raise UsageError(
                f"{self.folder} has other units or splits than when another reader began epoch {self.epoch}: begin the"
                " epoch again in all processes"
            )
        return chosen

    def _share(self, own: EpochPlan, digest: str | None) -> EpochPlan:
        """Return the plan that all readers of the epoch share."""
        if not self.is_shared:
            return own
        try:
            return share_plan(self.folder, self.reader, own, digest)
        except StorageError as error:
            if self.reader == 0 and self.readers > 1:
                _log.warning(
                    "%s: do not extend the run while an epoch begins, as its readers cannot share their plan: %s",
                    self.folder, error,
                )  # fmt: skip
            return own

    def _planned(self, ledger: Ledger, end: int) -> EpochUnits:
        """Return the units of the epoch that were planned before a position."""
        ids = planned_ids(ledger.database, end)
        completions = {
            position: [other for other in further if other < end]
            for position, further in read_completions(ledger).items()
            if position < end
        }
        completing = set(chain.from_iterable(completions.values()))
        positions = np.array([position for position in ids if position not in completing], dtype=np.int64)
        order = positions[epoch_order(len(positions), self.seed, self.epoch)]
        if self.split is not None:
            splits = split_table.read(self.folder)
            split_table.check_names(self.folder, splits, self.split)
            members = set(splits.index[splits == self.split])
            last = last_ids(ledger.database, ids)  # of the samples, as the splits are
            ids = {position: ids[position] for position, identifier in last.items() if identifier.hex() in members}
            order = order[np.isin(order, list(ids))]
        digest = hashlib.sha256(b"".join(ids.values())).hexdigest()[:16]
        plan = EpochPlan(self.readers, self.epoch, self.seed, self.split, end, digest)
        return EpochUnits(plan, order, completions)


@dataclass(frozen=True, slots=True)
class StreamItem:
    """A sample of a stream.

    Attributes:
        ordinal: its number in the order of the epoch, from 0.
        sample: its metadata and files; neither its split nor its flags are read.
    """

    ordinal: int
    sample: Sample
    _run: Run
    _store: Store
    _contents: Mapping[str, bytes] | None = None  # by name of the file, if the files may be removed

    def read(self, file: SampleFile) -> bytes:
        """Read a file and compare it with its recorded checksum.

        Raises:
            UsageError: if it is missing, cannot be read, or has changed.
        """
        return (
            read_recorded(self._run, self._store, file.name, file.sha256)
            if self._contents is None
            else self._contents[file.name]
        )

    @property
    def pixels(self) -> dict[str, ChipPixels | FramePixels]:
        """The pixels of each layer, read from the files; ``image`` for a sample with one file.

        Raises:
            UsageError: if a file is missing, has changed, or has no pixels.
        """
        return {file.label: decode_file(self.read(file), file.suffix, file.frames) for file in self.sample.files}


class StreamReader(Iterator[StreamItem]):
    """Iterate over the samples of one reader's part, and wait for those that are not fetched yet.

    Units that failed, are marked as bad, or were empty and have no file, are passed over; the number of failed ones is
    logged at the end.

    Args:
        part: what to read.
        ordinal: first ordinal that counts.
        parent: process id of the parent whose end ends the iteration; None to go on without it.
        plan: digest of the plan of which ``ordinal`` is; None for any.
    """

    def __init__(self, part: StreamPart, ordinal: int = 0, parent: int | None = None, plan: str | None = None) -> None:
        self._part, self._parent, self._plan = part, parent, plan
        self._ordinal = self._head = self._first_from(ordinal)
        self._planned: EpochUnits | None = None
        self._ready: deque[tuple[int, Sample]] = deque()
        self._failed: set[int] = set()  # ordinals
        self._removed: Sample | None = None  # the latest whose files were removed before they were read
        self._noted: ReaderPlace | None = None
        self._note_time = 0.0
        self._idle_since: float | None = None
        self._is_over = False
        self._grace = 0.0 if part.lock is not None else _GRACE_OF_START
        self._pause = threading.Event()

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch: after the sample that was returned last."""
        part = self._part
        return {
            "seed": part.seed, "epoch": part.epoch, "reader": part.reader, "readers": part.readers,
            "ordinal": self._ordinal, "plan": self._plan, "split": part.split,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at a place of the same epoch.

        Raises:
            UsageError: if it is that of another reader, seed or epoch; when the plan is known, if it is of another.
        """
        own = self.state_dict()
        different = [name for name in ("seed", "epoch", "reader", "readers", "split") if state.get(name) != own[name]]
        if different:
            shown = ", ".join(f"{name} {state.get(name)} there, {own[name]} here" for name in different)
            raise UsageError(f"the state is that of another stream: {shown}")
        self._plan, self._planned = state.get("plan"), None  # the units are read again, and the plan compared
        self._ordinal = self._head = self._first_from(state["ordinal"])
        self._ready.clear()

    def __next__(self) -> StreamItem:
        planned = self.wait_for_plan()
        while (item := self._take()) is None:
            if self._head >= len(planned.order):
                self._note_place(is_urgent=True)
                self._report()
                raise StopIteration
            if not self._look(planned):
                self._note_place(is_urgent=True)
                self._wait()
        self._ordinal = item.ordinal + self._part.readers
        self._note_place()
        return item

    def _take(self) -> StreamItem | None:
        """Return the next of the samples that were looked up; None if there is none, or its files were removed."""
        if not self._ready:
            return None
        ordinal, sample = self._ready.popleft()
        item = StreamItem(ordinal, sample, self._run, self._store)
        if not self._part.is_bounded:
            return item
        try:
            return replace(item, _contents={file.name: item.read(file) for file in sample.files})
        except UsageError:
            # The ledger says that a unit is planned again before its files are removed.
            if sample == self._removed:
                raise
        self._removed, self._head = sample, ordinal
        self._ready.clear()
        return None

    def _note_place(self, *, is_urgent: bool = False) -> None:
        """Tell the process that fetches which sample comes next, a few times a second at most unless it is urgent."""
        if not self._part.is_bounded or (time.monotonic() < self._note_time + _LOOK and not is_urgent):
            return
        part = self._part
        ordinal = self._ready[0][0] if self._ready else self._head
        place = ReaderPlace(part.reader, part.readers, part.epoch, ordinal)
        if place != self._noted:
            note_place(part.folder, place)
            self._noted, self._note_time = place, time.monotonic()

    @cached_property
    def _run(self) -> Run:
        return open_run(self._part.folder)

    @cached_property
    def _store(self) -> Store:
        return self._run.store

    def _first_from(self, ordinal: int) -> int:
        """Return the first ordinal of the reader from an ordinal on."""
        return ordinal + (self._part.reader - ordinal) % self._part.readers

    def wait_for_plan(self) -> EpochUnits:
        """Return the units of the epoch, once the plan is whole.

        Raises:
            RunStoppedError: if there is none, and no process makes one.
            UsageError: see :meth:`StreamPart.plan`; or if the place in the epoch is one of another plan.
        """
        while self._planned is None:
            if has_whole_plan(self._part.folder):
                with Ledger(self._part.folder / LEDGER_NAME, readonly=True) as ledger:
                    self._planned = self._part.plan(ledger, self._plan)
            if self._planned is None:
                self._wait()
                if self._is_over:
                    raise RunStoppedError(
                        f"{self._part.folder} has no whole plan, and no process makes one{self._reason()}: start the"
                        " process of rank 0, or fetch the run"
                    )
        if self._plan not in (None, self._planned.plan.digest):
            self._planned = None
            raise UsageError(
                f"the state does not belong to the plan of {self._part.folder}, but to another run, or to this one"
                " before it was extended or split again. Begin the epoch again, without the state"
            )
        self._plan = self._planned.plan.digest
        return self._planned

    def _look(self, planned: EpochUnits) -> bool:
        """Take the next units that are settled; return whether there was one."""
        ordinals = range(self._head, len(planned.order), self._part.readers)[:_AHEAD]
        positions = {ordinal: int(planned.order[ordinal]) for ordinal in ordinals}
        # In one snapshot: a unit that is planned again after the first query would have no sample in the last one.
        with Ledger(self._part.folder / LEDGER_NAME, readonly=True) as ledger, snapshot(ledger.database):
            outcomes = read_outcomes(ledger.database, list(positions.values()))
            ends: dict[int, int] = {}  # position of the unit that has the sample of an ordinal
            for ordinal, position in positions.items():
                outcome, position = self._last_outcome(ledger, position, outcomes[position])
                further = read_outcomes(ledger.database, planned.completions.get(position, ())).values()
                if not all(map(self._is_settled, (outcome, *further))):
                    break
                self._head = ordinal + self._part.readers
                if any(settled.state.is_failure for settled in (outcome, *further)):
                    self._failed.add(ordinal)
                if outcome.state.has_result and outcome.has_file:
                    ends[ordinal] = position
            samples = read_some_samples(ledger, list(ends.values()), planned.completions) if ends else {}
        # Units that are marked as bad have no sample.
        self._ready.extend((ordinal, samples[position]) for ordinal, position in ends.items() if position in samples)
        if self._head > ordinals[0]:
            self._idle_since, self._is_over = None, False
        return self._head > ordinals[0]

    @staticmethod
    def _last_outcome(ledger: Ledger, position: int, outcome: UnitOutcome) -> tuple[UnitOutcome, int]:
        """Return the outcome of the unit that replaces a unit at last, and its position."""
        while outcome.replacement is not None:
            position = outcome.replacement
            outcome = read_outcomes(ledger.database, [position])[position]
        return outcome, position

    def _is_settled(self, outcome: UnitOutcome) -> bool:
        """Return whether the run is done with a unit."""
        if outcome.state == State.FAILED_TRANSIENT:  # the next command tries it again
            return self._is_over or (outcome.finished or "") >= self._started()
        if outcome.state == State.PLANNED and self._is_over:
            if not self._part.is_under_way:
                raise RunStoppedError(
                    f"{self._part.folder} has stopped before all of its units were settled{self._reason()}. Start the"
                    " training again to resume both, or fetch the rest"
                )
            self._is_over = False
        return not outcome.state.is_open

    def _started(self) -> str:
        """Return when the latest command of the run began, ISO 8601, UTC: the log tells it before run.json."""
        events = read_log(self._part.folder, -_LOG_TAIL)
        logged = [str(event.get("time")) for event in events if event.get("event") == "started"]
        return max([*logged, str(read_info(self._part.folder).get("started") or "")])

    def _wait(self) -> None:
        """Wait a moment, and note if no process fetches the run any more."""
        self._pause.wait(_LOOK)
        if self._parent is not None and os.getppid() != self._parent:
            raise RunStoppedError("the training has ended")
        if self._part.is_under_way:
            self._idle_since, self._grace = None, min(self._grace, _GRACE)
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        self._is_over = self._idle_since is not None and time.monotonic() - self._idle_since >= self._grace

    def _reason(self) -> str:
        """Return why the run has stopped, as its log tells."""
        events = [event for event in read_log(self._part.folder, -_LOG_TAIL) if event.get("event") in _EVENTS]
        last = [number for number, event in enumerate(events) if event["event"] == "started"]
        ends = events[last[-1] + 1 :] if last else events
        if not ends:
            return ": its process was killed, or the disk was full" if last else ""
        if ends[0]["event"] == "finished":
            return f": it finished, but some are to be fetched again (eechips retry {self._part.folder})"
        error = ends[0].get("error")
        return f": {ends[0]['event']}" if error is None else f": {ends[0].get('error_class')}: {error}"

    def _report(self) -> None:
        """Log how many units failed, once."""
        if self._failed:
            _log.warning(
                "%s of reader %d of %d failed, and were left out of epoch %d: eechips failures %s",
                format_count(len(self._failed), "unit"), self._part.reader + 1, self._part.readers, self._part.epoch,
                self._part.folder,
            )  # fmt: skip
            self._failed.clear()
