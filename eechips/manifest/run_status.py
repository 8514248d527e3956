"""The status of a run: how many units are done, how fast it goes, and what is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.manifest.extensions import PreviewRecord
from eechips.manifest.folder_lock import is_held
from eechips.manifest.run_history import History, read_history
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import count_exports, count_failures, read_status_numbers, sum_bytes
from eechips.manifest.sqlite.unit_record import State
from eechips.manifest.stream_epoch import StreamEpoch, read_epoch

OUTSIDE_FILES = "outside"
"""In the ledger: ``files``, the number that a script has written outside the run's folder, and their ``folders``."""


@dataclass(frozen=True, slots=True)
class Status:
    """Status of a run.

    Attributes:
        counts: units by state; states without units are left out.
        failures: failed units by class of their error.
        dropped: empty units whose file was not kept.
        without_file: units that are done and have no file, as their recipe or script has returned none.
        without_rows: units whose file is a table without rows.
        outside: files that a script has written outside the run's folder, and the folders where they lie.
        exporting: units that wait for batch tasks of Earth Engine.
        oldest_export: ISO 8601, when the first of these tasks was started; None if no unit waits.
        bytes: number of bytes of all files.
        requests: sent for all units.
        rate: results a second while units were fetched; None for fewer than two, and for a stream with a bound, as its
            units are fetched again for later epochs.
        is_running: whether a process works in the folder now.
        seconds_left: estimate at the speed of the last minute; None if nothing runs, without an estimate, or if the
            number of units is unknown.
        stream: how far the readers of a stream with a bound are; None without one.
        unplanned: units that the plan lacks, as it is not complete; None if their number is unknown.
        history: how fast it went, over time.
        started: ISO 8601, of the latest command.
        finished: ISO 8601, of the latest command; None while it runs or if it was interrupted.
    """

    counts: dict[str, int]
    failures: dict[str, int]
    dropped: int
    without_file: int
    without_rows: int
    outside: tuple[int, tuple[str, ...]]
    exporting: int
    oldest_export: str | None
    bytes: int
    requests: int
    rate: float | None
    is_running: bool
    seconds_left: float | None
    stream: StreamEpoch | None
    unplanned: int | None
    history: History
    started: str | None
    finished: str | None

    @property
    def total(self) -> int:
        """Units that are planned."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return dataclasses.asdict(self) | {"total": self.total}


def read_status(folder: Path, ledger: Ledger, info: Mapping[str, Any], now: float, intervals: int) -> Status:
    """Read the status of the run in a folder.

    Args:
        info: content of run.json.
        now: seconds since 1970.
        intervals: intervals of the history, at most.
    """
    is_running, counts, meta = is_held(folder), ledger.counts(), ledger.meta()
    numbers, stream = read_status_numbers(ledger.database), read_epoch(folder, ledger)
    outside = meta.get(OUTSIDE_FILES) or {"files": 0, "folders": []}
    exporting, oldest_export = count_exports(ledger.database)
    size = PreviewRecord.read(ledger).size
    lacking = None if size is None else max(0, size - sum(counts.values()))
    unplanned = lacking if ledger.is_partial else 0
    history = read_history(folder, now, intervals=intervals, is_running=is_running)
    planned, recent = counts.get(State.PLANNED, 0), None if stream is not None else history.recent
    return Status(
        counts={state.value: counts[state] for state in State if state in counts},
        failures=count_failures(ledger.database),
        dropped=numbers.dropped,
        without_file=numbers.without_file,
        without_rows=numbers.without_rows,
        outside=(outside["files"], tuple(outside["folders"])),
        exporting=exporting,
        oldest_export=oldest_export,
        bytes=sum_bytes(ledger.database),
        requests=numbers.requests,
        rate=None if stream is not None else history.rate if history.commands > 1 else numbers.rate,
        is_running=is_running,
        seconds_left=(planned + unplanned) / recent if recent and unplanned is not None else None,
        stream=stream,
        unplanned=unplanned,
        history=history,
        started=info.get("started"),
        finished=info.get("finished"),
    )
