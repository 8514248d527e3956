"""The status of a run: how many units are done, how fast it goes, and what is left."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from eechips.manifest.reader_places import StreamEpoch
from eechips.manifest.run_history import History


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
