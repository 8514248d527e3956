"""Exchange units and outcomes between a parent and workers through files, where they cannot send messages.

The parent writes the units into partitions, one file each, as many as the run has slots: a worker that processes a
partition owns its slot. Workers write outcomes in batches, JSON Lines files with unique names that appear atomically.
Two batches may contain the same unit. The folder is in the place of the results, on a disk or in an object store, until
the ledger has recorded everything in it: of a pipeline whose parent was killed, the run that resumes records it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cloudpickle  # type: ignore[import-untyped]

from eechips import errors
from eechips.client.compute_profiles import ProfileShare
from eechips.client.quota.permits import UsageDelta
from eechips.client.quota.usage import RequestLog
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.results.committer import Committer
from eechips.engine.results.result_stores import ImmediateStore
from eechips.engine.run_log import RunLog
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import EechipsError, ProjectUnavailableError, StorageError, UsageError
from eechips.files.removal import ListedFile, remove_empty, remove_tree
from eechips.files.temporary_names import is_numbered_token, new_writer
from eechips.manifest.manifest_columns import LISTS, RECORD, Record, State, UnitFile, WorkUnit
from eechips.manifest.reserved_names import result_name
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.untrusted_run import known_values
from eechips.recipe import canonical_json
from eechips.storage import LocalStore, ObjectStore, StagedFile, Store, write_file

FOLDER = "beam"
"""Folder of all Beam queues, below the output folder."""
_MARKS = 64  # bits in the names of batches that encode their partitions
_UNITS, _OUTCOMES, _STOP = "units", "outcomes", "stop"

_BATCH = re.compile(rf"{_OUTCOMES}-[0-9a-f]{{{_MARKS // 4}}}-[0-9a-f]+\.jsonl")

StopMode = Literal["finish", "now"]
"""How to stop: after the requests in flight, or at once."""


@dataclass(frozen=True, slots=True)
class OutcomeBatch:
    """Outcomes that a worker writes at once.

    Attributes:
        events: events of units, in the order of their completion.
        worker: name of the worker process.
        usage: use of the quota since the previous batch; None if the worker knows of none.
    """

    worker: str
    events: tuple[Finished | Lost, ...] = ()
    usage: UsageDelta | None = None


@dataclass(frozen=True)
class BeamQueue:
    """A folder of partitions and batches, ``token``. Picklable; every process reads and writes it directly."""

    store: Store
    token: str
    _folder: Store = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        place = f"{FOLDER}/{self.token}"
        if isinstance(self.store, ObjectStore):
            folder: Store = ObjectStore(f"{self.store.url}/{place}")
        else:
            assert isinstance(self.store, LocalStore)
            folder = LocalStore(self.store.root / place)
        object.__setattr__(self, "_folder", folder)

    def write_partitions(self, assignments: Sequence[WorkUnit], partitions: int) -> list[int]:
        """Distribute units over partitions of equal length, in turns, so that the first units come first.

        Returns:
            The numbers of the partitions: one for each slot, at most one for each unit.
        """
        numbers = list(range(min(partitions, len(assignments))))
        for partition in numbers:
            self._put(_partition_name(partition), map(_encode_unit, assignments[partition :: len(numbers)]))
        return numbers

    def read_units(self, partition: int) -> list[WorkUnit]:
        """Return the units of a partition; raise FileNotFoundError if this process cannot access the folder."""
        return [_decode_unit(line) for line in self._lines(_partition_name(partition))]

    def write_batch(self, partitions: Iterable[int], batch: OutcomeBatch) -> None:
        """Write a batch."""
        about = {"worker": batch.worker, "usage": batch.usage and dataclasses.asdict(batch.usage)}
        name = f"{_OUTCOMES}-{_marks(partitions):0{_MARKS // 4}x}-{uuid.uuid4().hex}.jsonl"
        self._put(name, (about, *map(_encode_event, batch.events)))

    def batch_names(self, partitions: Iterable[int] | None = None) -> list[str]:
        """Return the names of all batches, or of those of some partitions and perhaps a few others."""
        names = (file.name for file in self._folder.files(["."]) if _BATCH.fullmatch(file.name))
        wanted = None if partitions is None else _marks(partitions)
        return sorted(name for name in names if wanted is None or int(name.split("-")[1], 16) & wanted)

    def read_batch(self, name: str) -> OutcomeBatch:
        """Return a batch; raise StorageError if it is damaged."""
        try:
            about, *lines = self._lines(name)
            usage = None if about["usage"] is None else UsageDelta(**about["usage"])
            return OutcomeBatch(about["worker"], tuple(map(_decode_event, lines)), usage)
        except (UsageError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise StorageError(
                f"{FOLDER}/{self.token}/{name} is damaged ({error!r:.100}): remove it, and its units are fetched again"
            ) from error

    def completed_ids(self, partitions: Iterable[int]) -> set[str]:
        """Return the ids of the units that batches of these partitions contain."""
        return {event.assignment.id for name in self.batch_names(partitions) for event in self.read_batch(name).events}

    def stop(self, how: StopMode) -> None:
        """Make all workers stop."""
        self._put(_STOP, ({"how": how},))

    @property
    def stop_mode(self) -> StopMode | None:
        """Return the way in which workers must stop; None if they continue."""
        try:
            (stop_request,) = self._lines(_STOP)
        except FileNotFoundError:
            return None
        return "now" if stop_request["how"] == "now" else "finish"

    def clear(self) -> None:
        """Remove the folder and its content."""
        if isinstance(self._folder, LocalStore):
            remove_tree(self._folder.root, ListedFile())  # with what writers that were killed have left
            remove_empty(self._folder.root.parent)
            return
        for file in self._folder.files(["."]):
            self._folder.remove(file.name)

    def _put(self, name: str, lines: Iterable[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self._folder.commit(self._folder.stage(name, text.encode(), str(new_writer())))

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        # Not splitlines(): it knows more ends of lines than JSON does.
        return map(json.loads, self._folder.read(name).decode().rstrip("\n").split("\n"))


def _marks(partitions: Iterable[int]) -> int:
    """Return a bit mask of partitions. Masks of common partitions have a common bit; masks of others rarely do."""
    return sum({1 << partition % _MARKS for partition in partitions})


def _partition_name(partition: int) -> str:
    return f"{_UNITS}-{partition:05d}.jsonl"


def _encode_unit(assignment: WorkUnit) -> dict[str, Any]:
    fields = {**dataclasses.asdict(assignment), "unit": json.loads(assignment.unit)}
    del fields["joined"]  # assignments of a queue have one unit
    return fields


def _decode_unit(line: dict[str, Any]) -> WorkUnit:
    return WorkUnit(**{**line, "unit": canonical_json(line["unit"]), "exported": tuple(line["exported"])})


def _encode_event(event: Finished | Lost) -> dict[str, Any]:
    if isinstance(event, Lost):
        return {"assignment": _encode_unit(event.assignment), "lost": event.reason, "blame": event.blame}
    outcome = event.outcome
    record = {} if outcome.record is None else dataclasses.asdict(outcome.record)
    files = record.pop("files", ())
    fields = {
        "record": {name: value for name, value in record.items() if value is not None} or None,
        "files": [[entry.name, entry.size, entry.sha256] for entry in outcome.staged],
        "layers": [[file["name"], file["layer"], file["metadata"]] for file in files],
        "fatal": None if outcome.fatal is None else _encode_error(outcome.fatal),
        "recipe_failure": outcome.recipe_failure,
        "service_failure": outcome.service_failure,
        "request_logs": [dataclasses.asdict(entry) for entry in outcome.request_logs],
        "is_exclusive": outcome.is_exclusive,
    }
    profiles = {}
    if outcome.profiles is not None:
        profiles["profiles"] = [[entry.profile, entry.share] for entry in outcome.profiles]
    return {
        "assignment": _encode_unit(event.assignment),
        **{name: value for name, value in fields.items() if value},
        **profiles,
    }


def _decode_event(line: dict[str, Any]) -> Finished | Lost:
    assignment = _decode_unit(line["assignment"])
    if "lost" in line:
        return Lost(assignment, line["lost"], line["blame"])
    record = line.get("record")
    staged = tuple(StagedFile(result_name(name), name, size, sha256) for name, size, sha256 in line.get("files", ()))
    sizes = {file.name: (file.size, file.sha256) for file in staged}
    if record is not None and record["position"] != assignment.position:
        raise ValueError(f"the outcome of unit {assignment.position} is that of unit {record['position']}")
    if record is not None:
        known_values({**record, **{name: json.loads(record[name]) for name in LISTS & record.keys()}}, RECORD)
    first = None if record is None else record.get("file")
    if record is not None and first is not None and sizes.get(first) != (record.get("bytes"), record.get("sha256")):
        raise ValueError(f"{first} is not among the files of unit {assignment.position}")
    files = tuple(UnitFile(path, *sizes[path], layer, metadata) for path, layer, metadata in line.get("layers", ()))
    outcome = Outcome(
        assignment.position,
        None if record is None else Record(**{**record, "state": State(record["state"])}, files=files),
        staged,
        fatal=_decode_error(*line["fatal"]) if "fatal" in line else None,
        recipe_failure=line.get("recipe_failure"),
        service_failure=(int(line["service_failure"][0]), str(line["service_failure"][1]))
        if "service_failure" in line
        else None,
        request_logs=tuple(RequestLog(**fields) for fields in line.get("request_logs", ())),
        is_exclusive=line.get("is_exclusive", False),
        profiles=tuple(ProfileShare(str(name), float(share)) for name, share in line["profiles"])
        if "profiles" in line
        else None,
    )
    return Finished(assignment, outcome)


def _encode_error(error: EechipsError) -> list[str]:
    until = error.until if isinstance(error, ProjectUnavailableError) else None
    return [type(error).__name__, str(error), *([until] if until else [])]


def _decode_error(name: str, text: str, until: str | None = None) -> EechipsError:
    kind = getattr(errors, name)
    if not (isinstance(kind, type) and issubclass(kind, EechipsError)):
        raise ValueError(f"{name} is no error of eechips")
    return ProjectUnavailableError(text, until=until) if kind is ProjectUnavailableError else kind(text)


LOCAL_RUNNERS = ("DirectRunner", "FnApiRunner")
FAILED = 1
"""Exit status after a failed pipeline; the reason is in the job's failure file."""
WRONG = 2
"""Exit status if the options are wrong; likewise."""


LOST = 3
"""Exit status after the loss of a worker on this machine."""


@dataclass(frozen=True, slots=True)
class PipelineJob:
    """A pipeline to submit.

    Attributes:
        rate: requests per second for each slot; None for no limit.
        options: options of Beam, as on a command line.
        failure: file for the error if the pipeline fails.
    """

    spec: WorkerSpec
    rate: float | None
    queue: BeamQueue
    partitions: tuple[int, ...]
    options: tuple[str, ...]
    failure: Path

    @property
    def is_local(self) -> bool:
        """Return whether Beam's own runner executes it, with workers on this machine."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--runner", default=LOCAL_RUNNERS[0])
        return parser.parse_known_args(self.options)[0].runner in LOCAL_RUNNERS

    def save(self, path: Path) -> None:
        """Write the job to a file, atomically."""
        write_file(path, cloudpickle.dumps(self))


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
            finished = [event for event in queue.read_batch(name).events if isinstance(event, Finished)]
            events = {event.assignment.position: event for event in finished if event.outcome.record is not None}
            settled = [event for event in events.values() if _is_lacking(ledger, event)]
            committer.commit(settled)
            recovered += len(settled)
        queue.clear()
        note_queue(ledger, token, False)
    if recovered:
        log.write("recovered", units=recovered)


def _is_lacking(ledger: Ledger, event: Finished) -> bool:
    """Return whether an event has the result of a unit of the plan that is open.

    Units that failed stay open, as what the service refused may concern all of them: the run tries them again.
    """
    position, record = event.assignment.position, event.outcome.record
    unit = next(ledger.open_units(position, position + 1), None)
    is_planned = unit is not None and unit.id == event.assignment.id
    return is_planned and record is not None and record.state.has_result
