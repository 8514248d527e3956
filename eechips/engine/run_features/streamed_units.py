"""Fetch what the readers of a stream read next, and remove what they read last, within a number of bytes
(``max_disk``).

The order of each epoch is known, so that the process that fetches knows when each unit is read next. While the files
exceed the bound, those that are read latest are removed, and their units are planned again. A file is removed only for
one that is read earlier ("do no harm": P. Cao, E. W. Felten, A. R. Karlin, K. Li: A study of integrated prefetching and
caching strategies, SIGMETRICS 1995); half of the bound is for units that are read soon, and the other half keeps what
it has, which saves requests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.engine.run_context import RunControl, RunFeature
from eechips.errors import UsageError
from eechips.manifest.exclusions import release_units
from eechips.manifest.extensions import read_completions
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_files
from eechips.manifest.stream_epoch import (
    FETCH_SEED,
    ReaderPlace,
    count_steps,
    epoch_order,
    note_epoch,
    planned_positions,
    read_places,
)
from eechips.storage import Store
from eechips.text.formatting import format_bytes, format_count


class ShuffledUnits(RunFeature):
    """Submit the open units in the order of the first epoch, by a seed or as planned, once the plan is whole."""

    def __init__(self, ledger: Ledger, seed: int | None) -> None:
        self._ledger, self._seed = ledger, seed

    def divert(self, units: Iterator[WorkUnit | None]) -> Iterator[WorkUnit | None]:
        """Yield the units in the shuffled order; None while the plan is not whole."""
        if self._ledger.meta().get(FETCH_SEED) != self._seed:
            self._ledger.note(FETCH_SEED, self._seed)
        return self._diverted(units)

    def _diverted(self, units: Iterator[WorkUnit | None]) -> Iterator[WorkUnit | None]:
        open_units: set[int] = set()
        for unit in units:
            if unit is None:
                yield None
            else:
                open_units.add(unit.position)
        yield from self._ordered(open_units)

    def _ordered(self, open_units: set[int]) -> Iterator[WorkUnit | None]:
        """Yield the open units, given by their positions; None while one has to wait."""
        planned = planned_positions(self._ledger.database)
        for position in planned[epoch_order(len(planned), self._seed)].tolist():
            if position in open_units:
                yield self._ledger.unit(position)
        for position in sorted(open_units.difference(planned.tolist())):
            yield self._ledger.unit(position)


_FEWEST = 64  # units that are chosen for the same places of the readers, if the plan has few
_PAUSE = 10.0  # pause after a choice without a unit, in times of what it took


class BoundedUnits(ShuffledUnits):
    """Submit the open units that are read next, as long as the files do not exceed a number of bytes.

    The sizes of units under way are unknown: each is taken for as large as the largest that was fetched, the first one
    is fetched alone, and no more are under way than were fetched. If a unit is larger, and the files exceed the bound,
    the files that are read last are removed at once. A unit that failed and may succeed later is tried again for the
    next epoch.

    Args:
        seed: seed of the order; None for the order of the plan.
        most: bytes.
    """

    def __init__(self, ledger: Ledger, store: Store, folder: Path, seed: int | None, most: int) -> None:
        super().__init__(ledger, seed)
        self._store, self._folder, self._most = store, folder, most
        # How many samples are read before a unit, by position: of units under way, and of those that have failed.
        self._under_way: dict[int, float] = {}
        self._failed: dict[int, float] = {}
        self._largest = self._used = self._count = 0  # bytes of a unit, and of all; units of the plan
        self._measured = 0  # units whose files were measured
        self._steps = np.zeros(0, dtype=np.float64)  # samples that are read before each unit, by position
        self._samples = np.zeros(0, dtype=np.int64)  # number of the sample of each unit, by position
        self._sizes = np.zeros(0, dtype=np.int64)  # bytes of the files of each unit, by position
        self._is_open = np.zeros(0, dtype=np.bool_)  # likewise: whether it is to be submitted
        self._readers = 1
        self._is_waiting = False  # for the readers, who tell their places in files

    def start(self, run: RunControl) -> None:
        """Take part in a run."""
        super().start(run)
        if read_completions(self._ledger):
            run.end_with(UsageError("`max_disk` is not for a run with added datasets: leave it out"))

    @property
    def is_busy(self) -> bool:
        """Whether there are units to submit, perhaps once the readers have gone on."""
        return bool(self._is_open.any())

    @property
    def is_expecting(self) -> bool:
        """Whether units wait for the readers."""
        return self._is_waiting

    def settle(self, records: Sequence[Record]) -> None:
        """Count the files of units."""
        for record in records:
            position = record.position
            steps = self._under_way.pop(position, None)
            if record.state is State.FAILED_TRANSIENT and steps is not None:
                self._failed[position] = steps
            if position >= len(self._sizes):  # it replaces another: its file stays until the next command
                self._sizes = np.append(self._sizes, np.zeros(position + 1 - len(self._sizes), dtype=np.int64))
            size = sum(file.size for file in read_files(self._ledger.database, [position]))
            self._set_size(position, size)
            self._largest = max(self._largest, size)
            self._measured += size > 0
        self._check_bound()
        self._remove_excess()

    def _remove_excess(self) -> None:
        """Remove the files that are read last while they exceed the bound, as some were larger than any before."""
        if self._used <= self._most:
            return
        kept = np.flatnonzero(self._sizes[: len(self._steps)])
        for position in kept[np.argsort(-self._steps[kept], kind="stable")].tolist():
            self._release(position)
            if self._used <= self._most:
                return

    def _set_size(self, position: int, size: int) -> None:
        self._used += size - int(self._sizes[position])
        self._sizes[position] = size

    def _check_bound(self) -> None:
        """End the run if a reader may wait for a sample, and the disk be full of those that the others read next."""
        need = self._largest * self._readers
        if need > self._most and not self.run.throttle.is_stopped:
            what = format_count(self._readers, "reader")
            self.run.end_with(
                UsageError(
                    f"`max_disk` of {format_bytes(self._most)} is too little for {what}: each needs as much as the"
                    f" largest sample, {format_bytes(self._largest)}"
                )
            )

    def _ordered(self, open_units: set[int]) -> Iterator[WorkUnit | None]:
        self._read_ledger(open_units)
        looked: Any = None  # places and files for which no unit could be submitted
        again = 0.0
        while self.is_busy:
            places = read_places(self._folder) or frozenset({ReaderPlace(0, 1, 0, 0)})
            state = (places, len(self._under_way), self._used)
            began = time.monotonic()
            if state != looked and began >= again:
                looked, self._readers = state, len(places)
                note_epoch(self._ledger, places)
                self._check_bound()
                if self.run.throttle.is_stopped:
                    return
                for position in self._choose(places):
                    looked = None
                    yield self._ledger.unit(position)
                again = 0.0 if looked is None else began + _PAUSE * (time.monotonic() - began)
            self._is_waiting = looked is not None
            if self._is_waiting:
                yield None

    def _read_ledger(self, open_units: set[int]) -> None:
        """Read how large the files are, and which units are open."""
        end = self._ledger.end
        planned = planned_positions(self._ledger.database)
        self._count = len(planned)
        self._samples = np.zeros(end, dtype=np.int64)
        self._samples[planned] = np.arange(len(planned))
        query = "SELECT position, replaces FROM units WHERE replaces IS NOT NULL ORDER BY position"
        for position, replaced in self._ledger.database.execute(query):
            self._samples[position] = self._samples[replaced]
        self._sizes = np.zeros(end, dtype=np.int64)
        for file in read_files(self._ledger.database):
            self._sizes[file.position] += file.size
        self._largest, self._used = int(self._sizes.max(initial=0)), int(self._sizes.sum())
        self._measured = int(np.count_nonzero(self._sizes))
        self._is_open = np.zeros(end, dtype=np.bool_)
        self._is_open[list(open_units)] = True

    def _choose(self, places: frozenset[ReaderPlace]) -> Iterator[int]:
        """Yield the next units to submit, now under way. Files of other units are removed to make room for them."""
        steps = count_steps(self._count, self._seed, places)[self._samples]
        self._reopen_failed(steps)
        self._steps = steps
        has_files = self._sizes[: len(steps)] > 0
        soon = max(1.0, has_files.sum() / 2 / len(places))
        latest = iter(self._least(-steps, has_files))
        for position in self._least(steps, self._is_open & np.isfinite(steps)):
            if len(self._under_way) >= max(1, self._measured):
                return
            # Each unit under way may be as large as the largest.
            while self._used + self._largest * (len(self._under_way) + 1) > self._most:
                last = next(latest, None)
                if last is None or steps[last] <= steps[position] or steps[position] > soon:
                    return
                self._release(last)
            self._is_open[position] = False
            self._under_way[position] = float(steps[position])
            yield position

    def _reopen_failed(self, steps: npt.NDArray[np.float64]) -> None:
        """Plan units again that have failed, once they were passed over, so that they are read in the next epoch."""
        passed = [position for position, before in self._failed.items() if steps[position] > before]
        if passed:
            self._ledger.reopen(passed)
            self._is_open[passed] = True
            self.run.grow(len(passed))
        self._failed = {p: float(steps[p]) for p in self._failed if p not in passed}

    def _least(self, values: npt.NDArray[np.float64], among: npt.NDArray[np.bool_]) -> list[int]:
        """Return the positions of the least values among some, in their order: as many as are chosen at once."""
        positions, most = np.flatnonzero(among), max(_FEWEST, self._count // 1000)
        if len(positions) > most:
            positions = positions[np.argpartition(values[positions], most)[:most]]
        chosen: list[int] = positions[np.argsort(values[positions], kind="stable")].tolist()
        return chosen

    def _release(self, position: int) -> None:
        """Remove the files of a unit, which is open again then."""
        # Else it was opened again for another reason.
        if next(read_files(self._ledger.database, [position]), None) is not None:
            release_units(self._ledger, self._store, [position])
            self._is_open[position] = True
            self.run.grow(1)
        self._set_size(position, 0)
