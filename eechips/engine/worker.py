"""What a worker process does: units, a few at a time, each to a staged file and a record."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import connection as mp_connection
from multiprocessing import parent_process
from multiprocessing.connection import Connection as Pipe
from typing import TYPE_CHECKING, Any, cast

from rasterio.errors import NotGeoreferencedWarning

from eechips.client import retry
from eechips.client.classify import classify_exception
from eechips.client.connection import Connection, Target, attach
from eechips.client.documents import DocumentsFile
from eechips.client.fetch import Fetcher
from eechips.client.pixels import Method
from eechips.client.retry import RetryPolicy
from eechips.client.scrub import scrub
from eechips.client.sessions import throttle_others
from eechips.client.throttle import Seat, Stopped, Throttle
from eechips.client.transport import Exchange, Timeouts, Transport, Usage
from eechips.errors import (
    ConfigurationError,
    EechipsError,
    RecipeError,
    StorageError,
    TransientError,
    UsageError,
)
from eechips.manifest.record import LAYER_COLUMNS, LISTS, Planned, Record, State
from eechips.moment import utc_now
from eechips.recipe import Chip, NoData, Recipe, Table, unit_value
from eechips.storage import ID_LENGTH, Stage, Staged, Store, safe_component
from eechips.writers import Expectation, Facts, Written, sniff, validate, writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from eechips.grid import Part

_MAX_TRACEBACK = 8000  # characters
_SWITCH_INTERVAL = 0.0002
"""Seconds after which a thread that computes lets another of its process go on. One that has got the lock of the
throttle holds up all processes until it goes on; the usual 5 ms would be most of the time between two requests."""
_BROKEN_THREAD = 70  # exit status; EX_SOFTWARE of sysexits.h


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Everything a worker is told when it starts.

    Attributes:
        recipe: what to run.
        target: whom to ask, as whom.
        documents: what the client is told when it is initialised.
        policy: of retries.
        timeouts: of requests.
        method: how pixels are asked for.
        store: where results go.
        token: marks this run's temporary files.
        logs: whether every request is noted.
        keeps_empty: whether results without a valid pixel have files.
    """

    recipe: Recipe
    target: Target
    documents: DocumentsFile
    policy: RetryPolicy
    timeouts: Timeouts
    method: Method
    store: Store
    token: str
    logs: bool = False
    keeps_empty: bool = True


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker can take units."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker could not start.

    Attributes:
        reason: what happened.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit.

    Attributes:
        position: of the unit in the plan.
        record: for the ledger; None if the unit was given back because the run stops.
        staged: the file to commit, if there is one.
        fatal: an error that concerns every unit: the run must stop.
        alike: where the recipe raised; equal for failures of the same kind.
        exchanges: the requests that were sent, if they are logged.
        further: more files to commit, of a unit that has several.
        layers: of a unit whose files have names of their own, each file's path, layer, and facts as JSON.
        is_exclusive: whether the recipe did the fetching itself, so that no other unit of the process could.
    """

    position: int
    record: Record | None
    staged: Staged | None = None
    fatal: EechipsError | None = None
    alike: str | None = None
    exchanges: tuple[Exchange, ...] = ()
    further: tuple[Staged, ...] = ()
    layers: tuple[tuple[str, str, str], ...] = ()
    is_exclusive: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # What a dataclass with slots does by itself looks its fields up again for every unit, on both sides.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class File:
    """A file that a recipe has written and checked itself.

    Attributes:
        name: that it is to have below the output folder.
        data: its content.
        facts: what it holds.
    """

    name: str
    data: bytes
    facts: Facts


@dataclass(frozen=True, slots=True)
class Files:
    """A result: files that a recipe has written itself; perhaps none.

    Attributes:
        files: the first is the one whose facts are recorded.
    """

    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A result: a file that a recipe has written and checked itself, in the folder of the results, however large.

    Attributes:
        temporary: its present path below that folder.
        suffix: of the name that it gets, without the dot; empty for none.
        size: bytes.
        sha256: of its content, hexadecimal.
        facts: what it holds.
        sources: ids of what it was made from.
        dates: ISO 8601.
    """

    temporary: str
    suffix: str
    size: int
    sha256: str
    facts: Facts
    sources: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()


def main(setup: WorkerSetup, throttle: Throttle, seat: int, pipe: Pipe, environment: Mapping[str, str]) -> None:
    """The body of a worker process: receives units, sends outcomes, until it is told None or its parent is gone.

    Args:
        setup: what to do.
        throttle: of the run.
        seat: of this worker at the throttle.
        pipe: to the parent.
        environment: of the parent: a fork server has that of the time when it was started.
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _die_with_parent()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        worker = enlist(setup, throttle.seat(seat))
    except Exception as error:  # noqa: BLE001 - told to the parent, which gives up when no worker starts
        pipe.send(Broken(scrub(f"{type(error).__name__}: {error}")))
        return
    pipe.send(Ready())
    crew = Crew(worker, pipe.send, lambda: os._exit(_BROKEN_THREAD))
    while True:
        try:
            task = pipe.recv()
        except (EOFError, ConnectionResetError):  # the latter if the parent was killed
            return
        if task is None:
            return
        crew.take(task)


class Crew:
    """The threads of a worker: as many as there ever were tasks at once.

    Args:
        worker: what they share.
        send: receives every outcome; one thread at a time.
        fail: called, after its traceback was shown, when a thread can work no more, whatever the reason: one that
            ended quietly would leave its unit unfinished for ever.
    """

    def __init__(self, worker: Worker, send: Callable[[Outcome], None], fail: Callable[[], None]) -> None:
        self._worker, self._send, self._fail = worker, send, fail
        self._tasks: queue.SimpleQueue[Planned] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._counting = threading.Lock()
        self._idle = 0

    def take(self, task: Planned) -> None:
        """Has a thread execute a task and send its outcome."""
        with self._counting:
            needs_thread = self._idle == 0
            self._idle -= not needs_thread
        self._tasks.put(task)
        if needs_thread:
            threading.Thread(target=self._work, daemon=True, name="eechips-unit").start()

    def _work(self) -> None:
        try:
            while True:
                outcome = self._worker.execute(self._tasks.get())
                with self._counting:  # before the other side hears of it and sends the next
                    self._idle += 1
                with self._sending:
                    self._send(outcome)
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            traceback.print_exc()
            self._fail()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        mp_connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="eechips-watch-parent").start()


def enlist(setup: WorkerSetup, seat: Seat, stage: Stage | None = None) -> Worker:
    """Makes this process a worker: for good, as what it sends by ``requests`` passes the throttle as well.

    Args:
        setup: what to do.
        seat: of this process at the throttle.
        stage: where results are put until they are committed, if that is not where they go.
    """
    # Its threads decode at the same time, and what would hide a warning for one of them shows it to another.
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    connection = attach(setup.target, seat, setup.policy, setup.timeouts, setup.documents)
    throttle_others(seat, setup.target.endpoint)
    return Worker(setup, connection, stage)


class Worker:
    """Turns units into staged files. Several threads may use it.

    Args:
        setup: what to do.
        connection: of this process.
        stage: where results are put until they are committed, if that is not where they go.
    """

    def __init__(self, setup: WorkerSetup, connection: Connection, stage: Stage | None = None) -> None:
        self._setup = setup
        self._recipe = setup.recipe
        self._store: Stage = setup.store if stage is None else stage
        settle_in = getattr(setup.recipe, "settle_in", None)
        if settle_in is not None:  # a recipe that wants to know where it is
            settle_in(connection, setup.documents)
        self._transport: Transport = connection.transport
        # Recipes need not be written for threads: only the fetching happens in several at once.
        self._is_concurrent = getattr(setup.recipe, "is_concurrent", False)
        self._recipe_turn = contextlib.nullcontext() if self._is_concurrent else threading.Lock()
        self._fetcher = Fetcher(connection, setup.method)

    def execute(self, task: Planned) -> Outcome:
        """Fetches one unit. Whatever goes wrong becomes part of the outcome."""
        began = time.monotonic()
        with self._transport.metered(logs=self._setup.logs) as usage:
            try:
                outcome = self._fetch(task)
            except Stopped:
                outcome = Outcome(task.position, None)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded: a unit fails for itself
                outcome = _failed(task, error)
        return _completed(outcome, usage, time.monotonic() - began)

    def _fetch(self, task: Planned) -> Outcome:
        unit = unit_value(json.loads(task.unit))
        with self._recipe_turn:
            result = self._recipe.get_result(task.position, unit)
        is_exclusive = self._is_exclusive(result)
        if result is None or isinstance(result, NoData):
            record = Record(position=task.position, state=State.DONE if result is None else State.EMPTY)
            return Outcome(task.position, record, is_exclusive=is_exclusive)
        if isinstance(result, Files):
            return self._stage(task, result.files)
        if isinstance(result, Placed):
            name = f"{task.name}.{result.suffix}" if result.suffix else task.name
            placed = Staged(name, result.temporary, result.size, result.sha256)
            return Outcome(task.position, _record(task, result.facts, placed, result), placed)
        if isinstance(result, Mapping):
            return replace(self._fetch_layers(task, result), is_exclusive=is_exclusive)
        written = self._materialize(result)
        if self._is_unwanted(written.facts):
            return Outcome(task.position, _record(task, written.facts, None, result), is_exclusive=is_exclusive)
        name = _own_name(result) or task.name
        staged = self._put(task, f"{name}.{written.suffix}", written.data)
        record = _record(task, written.facts, staged, result)
        return Outcome(task.position, record, staged, is_exclusive=is_exclusive)

    def _fetch_layers(self, task: Planned, results: Mapping[str, Any]) -> Outcome:
        """Fetches all layers of a unit before the first is written: there are all of them, or none."""
        if not results:
            raise RecipeError("get_result returned a mapping without a single result")
        made = {str(layer): (result, self._materialize(result)) for layer, result in results.items()}
        names = {
            layer: f"{_own_name(result) or f'{task.name}.{safe_component(layer)}'}.{written.suffix}"
            for layer, (result, written) in made.items()
        }
        if len(set(names.values())) < len(names):
            raise RecipeError(f"two results of a unit have the same name: {', '.join(names.values())}")
        if self._is_unwanted(*(written.facts for _, written in made.values())):
            records = [_record(task, written.facts, None, result) for result, written in made.values()]
            return Outcome(task.position, _together(records))
        staged: list[Staged] = []
        try:
            for layer, (_, written) in made.items():
                staged.append(self._put(task, names[layer], written.data))
        except StorageError:
            for each in staged:
                self._store.discard(each)
            raise
        records = [
            _record(task, written.facts, file, result)
            for (result, written), file in zip(made.values(), staged, strict=True)
        ]
        layers = tuple((record.file or "", layer, _facts(record)) for layer, record in zip(made, records, strict=True))
        return Outcome(task.position, _together(records), staged[0], further=tuple(staged[1:]), layers=layers)

    def _stage(self, task: Planned, files: tuple[File, ...]) -> Outcome:
        if not files:
            return Outcome(task.position, Record(position=task.position, state=State.DONE), is_exclusive=True)
        if self._is_unwanted(files[0].facts):
            return Outcome(task.position, _record(task, files[0].facts, None, files[0]), is_exclusive=True)
        staged = [self._put(task, file.name, file.data) for file in files]
        record = _record(task, files[0].facts, staged[0], files[0])
        return Outcome(task.position, record, staged[0], further=tuple(staged[1:]), is_exclusive=True)

    def _is_unwanted(self, *facts: Facts) -> bool:
        """Whether results, of which one has no valid pixel, are to have no files."""
        return not self._setup.keeps_empty and any(_is_empty(each) for each in facts)

    def _put(self, task: Planned, name: str, data: bytes) -> Staged:
        # Marked with the unit: temporary files of their own, should two units share a name.
        token = f"{self._setup.token}-{task.id[:ID_LENGTH]}"
        return retry.call(lambda: self._store.stage(name, data, token), self._setup.policy, pause=self._transport.pause)

    def _is_exclusive(self, result: Any) -> bool:
        """Whether nothing of the work was left to do outside the recipe's turn."""
        results = result.values() if isinstance(result, Mapping) else (result,)
        is_left = any(isinstance(each, Chip) or (isinstance(each, Table) and not each.is_made) for each in results)
        return not self._is_concurrent and not is_left

    def _materialize(self, result: Any) -> Written:
        if isinstance(result, Chip):
            return fetch_chip(self._fetcher, result)
        if isinstance(result, Table):
            return self._table(result)
        if isinstance(result, bytes):
            suffix = sniff(result)
            return Written(result, suffix, validate(result, suffix))
        if type(result).__module__ == "numpy" and hasattr(result, "dtype"):
            data = writer("npy").encode(result)
            return Written(data, "npy", validate(data, "npy"))
        raise RecipeError(
            f"get_result returned {type(result).__name__}: it must return a Chip, a Table, bytes, an array, a dict of"
            " these by name, or None"
        )

    def _table(self, table: Table) -> Written:
        from eechips.writers.table import arrange

        names: tuple[str, ...]
        columns: list[Any]
        if table.unpack is not None:
            unpacked = table.unpack(self._fetcher.rows(cast("Any", table.source)))
            names, columns = tuple(unpacked), list(unpacked.values())
        else:
            names, columns = arrange(_rows(self._fetcher, table), table.columns)
        written: Written = writer(table.format).encode(names, columns)
        return written


def fetch_chip(fetcher: Fetcher, chip: Chip) -> Written:
    """Fetches a chip and checks what comes back.

    Raises:
        RequestError: classified.
        ee.EEException: if the service refuses the expression.
    """

    def receive(part: Chip, body: bytes) -> Written:
        written: Written = writer(part.format).receive(body, expect(part))
        return written

    def assemble(parts: Sequence[Part[Written]]) -> Written:
        written: Written = writer(chip.format).assemble(parts, expect(chip))
        return written

    return fetcher.chip(chip, receive, assemble)


def expect(chip: Chip) -> Expectation:
    """What must come back for a chip."""
    width, height = chip.size or (None, None)
    if chip.is_picture:
        return Expectation(width=width, height=height, bands=chip.bands)
    return Expectation(
        width=width,
        height=height,
        bands=chip.bands,
        dtype=chip.dtype,
        crs=chip.grid.crs if chip.grid is not None else chip.crs,
        transform=chip.grid.transform if chip.grid is not None else None,
        has_mask_band=True,
    )


def _rows(fetcher: Fetcher, table: Table) -> list[dict[str, Any]]:
    source: Any = table.source
    if table.is_made:
        if isinstance(source, (list, tuple)):
            return [dict(row) for row in source]
        return [{str(k): v for k, v in row.items()} for row in source.to_dict("records")]
    rows = fetcher.rows(source)
    if table.columns is None:
        for row in rows:
            del row["system:index"], row[".geo"]
    return rows


def _is_empty(facts: Facts) -> bool:
    return facts.valid_fraction == 0.0


def _record(task: Planned, facts: Facts, staged: Staged | None, result: Any) -> Record:
    # Pictures do not say where they lie: the request did.
    grid = result.grid if isinstance(result, Chip) else None
    crs, transform = (facts.crs, facts.transform) if grid is None else (grid.crs, grid.transform)
    return Record(
        position=task.position,
        state=State.EMPTY if _is_empty(facts) else State.DONE,
        file=None if staged is None else staged.name,
        bytes=None if staged is None else staged.size,
        sha256=None if staged is None else staged.sha256,
        width=facts.width,
        height=facts.height,
        bands=_json(facts.bands),
        dtype=facts.dtype,
        crs=crs,
        transform=_json(transform),
        valid_fraction=facts.valid_fraction,
        rows=facts.rows,
        sources=_json(getattr(result, "sources", None)),
        dates=_json(getattr(result, "dates", None)),
    )


def _own_name(result: Any) -> str | None:
    """The name that a recipe has given to a result, if it has."""
    return result.name if isinstance(result, (Chip, Table)) else None


def _together(records: Sequence[Record]) -> Record:
    """What is recorded of a unit with several layers: the first, but for what concerns all of them.

    The valid fraction is the least: a sample that lacks a layer is empty.
    """
    fractions = [record.valid_fraction for record in records if record.valid_fraction is not None]
    is_empty = any(record.state is State.EMPTY for record in records)
    return replace(
        records[0],
        state=State.EMPTY if is_empty else State.DONE,
        valid_fraction=min(fractions, default=None),
        sources=_union(record.sources for record in records),
        dates=_union(record.dates for record in records),
    )


def _union(lists: Iterable[str | None]) -> str | None:
    return _json(dict.fromkeys(value for text in lists if text for value in json.loads(text)))


def _facts(record: Record) -> str:
    """What a layer's file holds, as JSON."""
    values = {name: getattr(record, name) for name in LAYER_COLUMNS}
    return json.dumps({name: json.loads(v) if name in LISTS and v else v for name, v in values.items()})


def _failed(task: Planned, error: BaseException) -> Outcome:
    found = classify_exception(error)
    alike = trace = None
    if found is None or isinstance(found, (RecipeError, UsageError)):
        alike = _place(error)
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        if isinstance(found, RecipeError) and found.traceback:
            trace = found.traceback
        found = found or RecipeError(f"{type(error).__name__}: {error}")
    if isinstance(found, (ConfigurationError, StorageError)):
        return Outcome(task.position, None, fatal=type(found)(scrub(str(found))))
    record = Record(
        position=task.position,
        state=State.FAILED_TRANSIENT if isinstance(found, TransientError) else State.FAILED_PERMANENT,
        error_class=type(found).__name__,
        error=scrub(str(found)),
        traceback=scrub(trace)[-_MAX_TRACEBACK:] if trace else None,
    )
    return Outcome(task.position, record, alike=alike)


def _place(error: BaseException) -> str:
    """Class and place of an exception: what failures of the same cause have in common."""
    frames = traceback.extract_tb(error.__traceback__)
    last = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} {last}"


def _completed(outcome: Outcome, usage: Usage, seconds: float) -> Outcome:
    exchanges = tuple(usage.exchanges or ())
    if outcome.record is None:
        return replace(outcome, exchanges=exchanges)
    record = replace(
        outcome.record,
        attempts=1 + usage.repeats,
        requests=usage.requests,
        seconds=round(seconds, 3),
        finished=utc_now(),
    )
    return replace(outcome, record=record, exchanges=exchanges)


def _json(value: Any) -> str | None:
    return None if not value else json.dumps(list(value))
