"""Tell the status of a run: how many units are done, how fast it goes, over time as well without pauses, and what is
left.

A run may be made by several commands with days between them. Its time is that in which one of them ran: the
pauses are left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.manifest.extensions import PreviewRecord
from eechips.manifest.folder_lock import is_held
from eechips.manifest.manifest_columns import State
from eechips.manifest.sqlite.database import Connection
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import count_exports, count_failures, read_status_numbers, sum_bytes
from eechips.manifest.stream_epoch import StreamEpoch, read_epoch
from eechips.storage import resolve_inside
from eechips.storage.untrusted_files import parse_json
from eechips.text.timestamps import parse_timestamp

LOG_NAME = "run.log"
_STARTED, _THROUGHPUT = '"event": "started"', '"event": "throughput"'
_LONGEST = 1 << 20  # bytes of a line of the log that is looked at
_GREATEST = 1e12  # number in it
_RECENT = 60.0  # seconds that tell how fast a run is now


@dataclass(frozen=True, slots=True)
class History:
    """Outcomes of a run's units over time, in intervals of equal length.

    Attributes:
        seconds: length of an interval; the last one may be shorter.
        rates: units settled a second, for each interval.
        in_flight: requests in flight, the mean of looks every few seconds; empty for runs of less than that.
        limits: requests that could be in flight, the mean of such looks; empty for runs of less than that.
        duration: seconds in which a command ran, up to the last unit, or to now.
        commands: commands that settled units.
        rate: units settled a second over the whole run, between the first and the last one of each command: without
            planning, and without the units of the first second, which took longer; None if there are too few.
        recent: units settled a second in the last minute; None if nothing runs, or nothing was settled.
        failed: units that failed, in each interval.
        rejected: requests that the service rejected in each interval, as far as looks every few seconds tell; empty for
            runs of less than that.
    """

    seconds: int
    rates: tuple[float, ...]
    in_flight: tuple[float, ...]
    limits: tuple[float, ...]
    duration: float
    commands: int
    rate: float | None
    recent: float | None
    failed: tuple[int, ...] = ()
    rejected: tuple[int, ...] = ()


def _settled(database: Connection) -> list[tuple[int, int, int]]:
    """Return times (seconds since 1970), numbers of completed units, and numbers of failures, in order."""
    query = (
        "SELECT substr(finished, 1, 19) AS second, count(*), sum(state LIKE 'failed%') FROM units"
        " WHERE finished IS NOT NULL GROUP BY second ORDER BY second"
    )
    rows = ((_moment(text), count, failed) for text, count, failed in database.execute(query))
    return [(int(moment), count, failed) for moment, count, failed in rows if moment is not None]


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time in which commands ran, without pauses.

    Attributes:
        begins: start of every stretch, seconds since 1970.
        ends: end of every stretch.
    """

    begins: tuple[float, ...]
    ends: tuple[float, ...]

    @property
    def duration(self) -> float:
        return sum(end - begin for begin, end in zip(self.begins, self.ends, strict=True))

    def stretch(self, moment: float) -> int:
        """Return the number of the period that a moment belongs to; -1 before the first."""
        return bisect_right(self.begins, moment) - 1

    def place(self, moment: float) -> float:
        """Return the seconds of running time before a moment."""
        number = self.stretch(moment)
        if number < 0:
            return 0.0
        before = sum(self.ends[n] - self.begins[n] for n in range(number))
        return before + min(moment, self.ends[number]) - self.begins[number]


def read_history(folder: Path, now: float, *, intervals: int = 60, is_running: bool = False) -> History:
    """Read the throughput of the run in a folder.

    Args:
        now: seconds since 1970.
        intervals: how many at most; none is shorter than a second.
        is_running: whether the last command still runs.
    """
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        outcomes = _settled(ledger.database)
    settled = [(second, count) for second, count, _ in outcomes]
    log = folder / LOG_NAME
    axis = _axis(settled, [moment for moment, _ in _records(log, _STARTED)], now if is_running else None)
    length = max(1, math.ceil(axis.duration / intervals))
    count = math.ceil(axis.duration / length)
    counts, failed = [0] * count, [0] * count
    for second, number, failures in outcomes:
        interval = min(int(axis.place(second) / length), count - 1)
        counts[interval] += number
        failed[interval] += failures
    firsts: dict[int, int] = {}  # units of the first second, by the command
    busy = 0.0
    for second, number in settled:
        if (command := axis.stretch(second)) not in firsts:
            firsts[command] = number
            busy += axis.ends[command] - second - 1.0
    lengths = [min(length, axis.duration - number * length) for number in range(count)]
    looks = _looks(log, axis)
    since = max(now - _RECENT, axis.begins[-1]) if axis.begins else now
    recent = sum(number for second, number in settled if second >= since) if is_running else 0
    return History(
        seconds=length,
        rates=tuple(number / seconds for number, seconds in zip(counts, lengths, strict=True)),
        in_flight=_means([(at, n) for at, n, *_ in looks], length, count),
        limits=_means([(at, limit) for at, _, limit, _ in looks], length, count),
        duration=axis.duration,
        commands=len(axis.begins),
        rate=(sum(number for _, number in settled) - sum(firsts.values())) / busy if busy else None,
        recent=recent / max(1.0, now - since) if recent else None,
        failed=tuple(failed),
        rejected=_sums([(at, rejected) for at, *_, rejected in looks], length, count),
    )


def _axis(settled: Sequence[tuple[int, int]], starts: Sequence[float], now: float | None) -> _Axis:
    """Return the periods in which units were completed: from the start of a command to its last unit, or to now."""
    begins = sorted(map(math.floor, starts))
    if settled and (not begins or begins[0] > settled[0][0]):
        begins.insert(0, settled[0][0])
    ends: list[float | None] = [None] * len(begins)
    for second, _ in settled:
        ends[max(0, bisect_right(begins, second) - 1)] = second + 1.0
    if begins and now is not None:
        ends[-1] = max(now, ends[-1] or now)
    kept = [(begin, max(end, begin)) for begin, end in zip(begins, ends, strict=True) if end is not None]
    return _Axis(tuple(begin for begin, _ in kept), tuple(end for _, end in kept))


def _looks(log: Path, axis: _Axis) -> list[tuple[float, float, float, int]]:
    """Return the lines of the log on the throughput.

    Returns:
        Seconds of running time, requests in flight, how many could be, and how many were rejected since the last look.
    """
    looks = []
    stretch, before = -1, 0
    for moment, line in _records(log, _THROUGHPUT):
        rejected = int(_number(line.get("rejected")))
        if (number := axis.stretch(moment)) != stretch:
            stretch, before = number, 0  # each command counts from 0
        looks.append(
            (axis.place(moment), _number(line.get("in_flight")), _number(line.get("limit")), rejected - before)
        )
        before = rejected
    return looks


def _means(values: Sequence[tuple[float, float]], length: int, count: int) -> tuple[float, ...]:
    """Average values in each interval; intervals without values take that of the interval before, or the first."""
    if not values or not count:
        return ()
    last = values[0][1]
    means = []
    for interval_values in _intervals(values, length, count):
        last = sum(interval_values) / len(interval_values) if interval_values else last
        means.append(last)
    return tuple(means)


def _sums(values: Sequence[tuple[float, int]], length: int, count: int) -> tuple[int, ...]:
    """Sum values at moments for each interval; return an empty list if there are none."""
    return tuple(map(sum, _intervals(values, length, count))) if values else ()


def _intervals(values: Sequence[tuple[float, Any]], length: int, count: int) -> list[list[Any]]:
    """Return the values of each of so many intervals."""
    intervals: list[list[Any]] = [[] for _ in range(count)]
    for moment, value in values if count else ():
        intervals[min(int(moment / length), count - 1)].append(value)
    return intervals


def _records(log: Path, event: str) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the lines of a log, perhaps of another user, for an event with their times; skip others, truncated ones."""
    with contextlib.suppress(FileNotFoundError), resolve_inside(log, log.parent).open("rb") as file:
        wanted = event.encode()
        while line := file.readline(_LONGEST):
            if wanted not in line or not line.endswith(b"}\n"):
                continue
            try:
                record = parse_json(line.decode(errors="replace"))
            except ValueError:
                continue
            moment = _moment(record.get("time")) if isinstance(record, dict) else None
            if moment is not None:
                yield moment, record


def _moment(text: object) -> float | None:
    """Convert a timestamp to seconds since 1970; None if the text is not a timestamp."""
    try:
        moment = parse_timestamp(str(text))
        return None if moment is None else moment.timestamp()
    except OverflowError:
        return None


def _number(value: object) -> float:
    """Return a number of a line of the log; 0 if the value is not a number."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < _GREATEST else 0.0


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
