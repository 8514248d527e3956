"""Write the outcomes of workers without a common ledger beside their results, and read them.

Every call of a worker writes one file: a line that describes the plan, then a line for each outcome. An outcome has the
id of its unit and the identity of its plan, so that no result is taken by its name alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from eechips.client import retry
from eechips.client.retry import RetryPolicy
from eechips.engine.resumed_options import PLAN, plan_identity
from eechips.errors import StorageError, UsageError
from eechips.files.temporary_names import new_writer
from eechips.manifest.reserved_names import OUTCOMES_FOLDER, result_name
from eechips.manifest.unit_record import LAYER_COLUMNS, LISTS, RECORD_COLUMNS, Record, State
from eechips.processes.parallel_map import parallel_map
from eechips.storage import Store
from eechips.storage.received_files import parse_json

_SUFFIX = ".jsonl"
_READERS = 8  # files that are read at once
_DESCRIBED = ("recipe", "identity", "parameters", "source")


@dataclass(frozen=True, slots=True)
class ReportedFile:
    """A file that a worker has reported.

    Attributes:
        name: path below the output folder.
        sha256: SHA-256 digest of its content, hexadecimal.
        size: bytes.
        layer: its name among the files of the unit; empty if it has none.
        metadata: metadata of the file, as JSON.
    """

    name: str
    sha256: str
    size: int
    layer: str = ""
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class ReportedOutcome:
    """The outcome of a unit, as its worker reported it.

    Attributes:
        unit: id of the unit.
        plan: identity of the plan; empty if the worker has not named it.
        record: for the ledger; its position is not known yet.
        files: every file, the first one first; empty if the result has none.
    """

    unit: str
    plan: str
    record: Record
    files: tuple[ReportedFile, ...] = ()

    @classmethod
    def parse(cls, reported: Any) -> ReportedOutcome:
        """Return the outcome of a JSON object.

        Raises:
            UsageError: if it is none as a worker writes it.
        """
        try:
            identifier, plan = str(reported["id"]), str(reported.get(PLAN) or "")
            bytes.fromhex(identifier + plan)
            values = {name: reported[name] for name in RECORD_COLUMNS if name in reported}
            values |= {name: json.dumps(values[name]) for name in LISTS if values.get(name) is not None}
            record = Record(position=0, **{**values, "state": State(reported["state"])})
            return cls(identifier, plan, record, () if record.file is None else _files(record.file, reported))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"no outcome as `eechips work` writes it ({error!r}): {reported!s:.120}") from None


def _files(first: str, reported: Mapping[str, Any]) -> tuple[ReportedFile, ...]:
    result_name(first)
    if "files" not in reported:
        return (ReportedFile(str(first), str(reported["sha256"]), int(reported["bytes"])),)
    files = tuple(
        ReportedFile(
            name=str(reported_file["file"]),
            sha256=str(reported_file["sha256"]),
            size=int(reported_file["bytes"]),
            layer=str(reported_file.get("layer") or ""),
            metadata=json.dumps({name: reported_file.get(name) for name in LAYER_COLUMNS}),
        )
        for reported_file in reported["files"]
    )
    for file in files:
        result_name(file.name)
    if first not in {file.name for file in files}:
        raise ValueError(f"{first} is not among its files")
    return files


@dataclass(frozen=True, slots=True)
class StoredOutcomes:
    """The outcomes beside results.

    Attributes:
        outcomes: outcomes of the units of all plans.
        plans: what identifies each plan, by its identity.
    """

    outcomes: tuple[ReportedOutcome, ...]
    plans: Mapping[str, Mapping[str, Any]]


def write_outcomes(
    store: Store, described: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]], policy: RetryPolicy
) -> None:
    """Write the outcomes of a worker beside their results. The same outcomes are written to the same file.

    Args:
        store: store of the results.
        described: identifies the run; see :func:`eechips.engine.resumed_options.describe`.
        outcomes: outcomes of units of one plan; those of open units are left out.
        policy: policy of retries.

    Raises:
        TransientError, StorageError: if they cannot be written.
    """
    settled = [outcome for outcome in outcomes if not State(outcome["state"]).is_open]
    if not settled:
        return
    plan = {PLAN: plan_identity(described), **{name: described[name] for name in _DESCRIBED}}
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in (plan, *settled))
    parts = (str(plan[PLAN]), *sorted(str(outcome["id"]) for outcome in settled))
    name = f"{OUTCOMES_FOLDER}/{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:32]}{_SUFFIX}"

    def write() -> None:
        store.commit(store.stage(name, text.encode(errors="backslashreplace"), str(new_writer())))

    retry.call(write, policy)


def read_outcomes(store: Store, policy: RetryPolicy) -> StoredOutcomes:
    """Read the outcomes beside results.

    Args:
        store: store of the results.
        policy: policy of retries.

    Raises:
        StorageError: if a file is damaged.
        TransientError, ConfigurationError: if the store cannot be read.
    """
    listed = (name for name, _ in store.sizes([OUTCOMES_FOLDER]))
    names = sorted(name for name in listed if name.startswith(f"{OUTCOMES_FOLDER}/") and name.endswith(_SUFFIX))
    outcomes: list[ReportedOutcome] = []
    plans: dict[str, Mapping[str, Any]] = {}
    for name, data in parallel_map(lambda name: (name, retry.call(partial(store.read, name), policy)), names, _READERS):
        for value in _lines(name, data):
            if isinstance(value, ReportedOutcome):
                outcomes.append(value)
            else:
                plans[str(value.get(PLAN) or "")] = value
    return StoredOutcomes(tuple(outcomes), plans)


def _lines(name: str, data: bytes) -> Iterator[ReportedOutcome | Mapping[str, Any]]:
    """Yield what a file describes: its plan, then its outcomes."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                value = parse_json(line)
                if not isinstance(value, dict):
                    raise ValueError("it is no object")
                yield ReportedOutcome.parse(value) if "id" in value else value
            except (ValueError, UsageError) as error:
                raise StorageError(
                    f"line {number} of {name} is damaged ({error}): remove the file, and fetch again the units that"
                    " `eechips join` then misses"
                ) from None
