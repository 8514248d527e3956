"""Write the outcomes of workers without a common ledger beside their results, and read them.

Every call of a worker writes one file: a line that describes the plan, then a line for each outcome. An outcome has the
id of its unit and the identity of its plan. Other plans have the same names: a result belongs to a unit if an outcome
of that unit, in that plan, has its name and its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any

from eechips.client import retry
from eechips.client.retry import RetryPolicy
from eechips.engine.plans.changed_options import IDENTIFYING, PLAN, differences, plan_identity
from eechips.errors import StorageError, UsageError
from eechips.files.temporary_names import new_writer
from eechips.manifest.manifest_columns import LISTS, RECORD, RECORD_COLUMNS, Record, State, UnitFile, decode_columns
from eechips.manifest.reserved_names import OUTCOMES_FOLDER, result_name
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_unit_files
from eechips.manifest.untrusted_run import known_metadata, known_values
from eechips.processes.parallel_map import parallel_map
from eechips.storage import Store
from eechips.storage.untrusted_files import parse_json
from eechips.text.formatting import short_digest

_SUFFIX = ".jsonl"
_STORED = tuple(column for column in RECORD if column.name in ("file", "bytes", "sha256"))
_READERS = 8  # files that are read at once


@dataclass(frozen=True, slots=True)
class ReportedOutcome:
    """The outcome of a unit, as its worker reported it.

    Attributes:
        unit: id of the unit.
        plan: identity of the plan; empty if the worker has not named it.
        record: for the ledger; its position is not known yet.
        name: name of the unit in the worker's line; empty if the worker has not told it.
    """

    unit: str
    plan: str
    record: Record
    name: str = ""

    @classmethod
    def parse(cls, reported: Any) -> ReportedOutcome:
        """Return the outcome of a JSON object; raise UsageError if it is none as a worker writes it."""
        try:
            identifier, plan = str(reported["id"]), str(reported.get(PLAN) or "")
            bytes.fromhex(identifier + plan)
            values = known_values(reported, RECORD)
            values |= {name: json.dumps(values[name]) for name in LISTS if values.get(name) is not None}
            record = Record(position=0, **{**values, "state": State(reported["state"])}, files=_files(reported))
            return cls(identifier, plan, record, str(reported.get("name") or ""))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"no outcome as `eechips work` writes it ({error!r}): {reported!s:.120}") from None


def _files(reported: Mapping[str, Any]) -> tuple[UnitFile, ...]:
    """Return the files of a unit that have metadata of their own."""
    first = reported.get("file")
    if first is None:
        return ()
    result_name(first)
    if "files" not in reported:
        return ()
    files = []
    for file in reported["files"]:
        stored = known_values(file, _STORED)
        result_name(stored["file"])
        layer, metadata = str(file.get("layer") or ""), json.dumps(known_metadata(file))
        files.append(UnitFile(stored["file"], stored["bytes"], stored["sha256"], layer, metadata))
    if first not in {file.name for file in files}:
        raise ValueError(f"{first} is not among its files")
    return tuple(files)


def report_outcomes(ledger: Ledger, plan: str) -> dict[str, dict[str, Any]]:
    """Return the outcomes of all units of a ledger by id, as :meth:`ReportedOutcome.parse` reads them.

    Args:
        plan: identity of the plan.
    """
    names = ("id", "name", *RECORD_COLUMNS)
    rows = ledger.rows(("lower(hex(id))", *names[1:]))
    outcomes = {row[0]: {**decode_columns(zip(names, row, strict=True)), PLAN: plan} for row in rows}
    for _, identifier, layer, name, size, sha256, metadata in read_unit_files(ledger.database):
        file = {"layer": layer, "file": name, "bytes": size, "sha256": sha256, **json.loads(metadata)}
        outcomes[identifier].setdefault("files", []).append(decode_columns(file.items()))
    return outcomes


def write_outcomes(
    store: Store, described: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]], policy: RetryPolicy
) -> None:
    """Write the outcomes of a worker beside their results. The same outcomes are written to the same file.

    Args:
        described: identifies the run; see :func:`eechips.engine.plans.changed_options.describe`.
        outcomes: outcomes of units of one plan; those of open units are left out.

    Raises:
        TransientError, StorageError: if they cannot be written.
    """
    settled = [outcome for outcome in outcomes if not State(outcome["state"]).is_open]
    if not settled:
        return
    plan = {PLAN: plan_identity(described), **{name: described[name] for name in IDENTIFYING}}
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in (plan, *settled))
    parts = (str(plan[PLAN]), *sorted(str(outcome["id"]) for outcome in settled))
    name = f"{OUTCOMES_FOLDER}/{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:32]}{_SUFFIX}"

    def write() -> None:
        store.commit(store.stage(name, text.encode(errors="backslashreplace"), str(new_writer())))

    retry.call(write, policy)


def read_outcomes(store: Store, policy: RetryPolicy) -> tuple[list[ReportedOutcome], dict[str, Mapping[str, Any]]]:
    """Read the outcomes beside results, and what identifies each plan, by its identity.

    Raises:
        StorageError: if a file is damaged.
        TransientError, ConfigurationError: if the store cannot be read.
    """
    listed = (file.name for file in store.files([OUTCOMES_FOLDER]))
    names = sorted(name for name in listed if name.startswith(f"{OUTCOMES_FOLDER}/") and name.endswith(_SUFFIX))
    outcomes: list[ReportedOutcome] = []
    plans: dict[str, Mapping[str, Any]] = {}
    for name, data in parallel_map(lambda name: (name, retry.call(partial(store.read, name), policy)), names, _READERS):
        for value in _lines(name, data):
            if isinstance(value, ReportedOutcome):
                outcomes.append(value)
            else:
                plans[str(value.get(PLAN) or "")] = value
    return outcomes, plans


def _lines(name: str, data: bytes) -> Iterator[ReportedOutcome | Mapping[str, Any]]:
    """Yield what a file describes: its plan, then its outcomes."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                value = parse_json(line)
                if not isinstance(value, dict):
                    raise ValueError("it is not an object")
                yield ReportedOutcome.parse(value) if "id" in value else value
            except (ValueError, UsageError) as error:
                raise StorageError(
                    f"line {number} of {name} is damaged ({error}): remove the file, and fetch again the units that"
                    " `eechips join` then misses"
                ) from None


_SHOWN = 3  # differences of two plans


class ResultOwners:
    """Outcomes of the units of a plan, and of others whose results may be in the same place.

    Args:
        described: identifies the run of the plan; see :func:`eechips.engine.plans.changed_options.describe`.
        outcomes: outcomes that workers have reported, of any plan.
        plans: what identifies each plan, by its identity; may lack some.
    """

    def __init__(
        self, described: Mapping[str, Any], outcomes: Iterable[ReportedOutcome], plans: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._described, self._plan, self._plans = described, plan_identity(described), plans
        self._own: dict[str, list[ReportedOutcome]] = {}
        self._failed: dict[str, str] = {}
        self._others: list[ReportedOutcome] = []
        for outcome in outcomes:
            state = outcome.record.state
            if outcome.plan != self._plan:
                self._others.append(outcome)
            elif state.has_result:
                known = self._own.setdefault(outcome.unit, [])
                if outcome not in known:
                    known.append(outcome)
            elif state.is_failure:
                self._failed[outcome.unit] = outcome.record.error or state.value

    def outcomes_of(self, unit: str) -> Sequence[ReportedOutcome]:
        """Return the outcomes of a unit of the plan that have a result, the latest first.

        Those without a file are last: nothing proves them, and they would take the place of one whose file is there.
        """
        latest = self._own.get(unit, ())[::-1]
        return sorted(latest, key=lambda outcome: outcome.record.file is None)

    def failures(self) -> dict[str, str]:
        """Return the errors of units of the plan without a result, by id."""
        return {unit: error for unit, error in self._failed.items() if unit not in self._own}

    def refusal(self, unit: str, file: str, sha256: str | None, reported: UnitFile | None = None) -> str:
        """Return the sentence that says why a file is not the result of a unit.

        Args:
            file: path of the file, which has the name of the unit's result.
            sha256: SHA-256 digest of its content, hexadecimal; None if there is no file.
            reported: what the unit's worker has reported of the file; None if no outcome is known.
        """
        short = short_digest(unit)
        if sha256 is None:
            return f"{file} of unit {short} is gone since its worker wrote it: fetch the unit again"
        owner = self._contents.get(sha256) or (None if reported is not None else self._unknown_plans.get(file))
        if owner is None and reported is None:
            return (
                f"{file} is not taken for unit {short}, as no outcome says which unit and plan it belongs to: fetch the"
                " unit again, or give the outcomes of its worker"
            )
        if owner is None:
            return (
                f"{file} is not what the worker of unit {short} made: its sha256 is another ({short_digest(sha256)},"
                f" not {short_digest(reported.sha256) if reported is not None else 'known'}): fetch the unit again"
            )
        if owner.plan == self._plan:
            return f"{file} is the result of unit {short_digest(owner.unit)}, not of unit {short}: fetch the unit again"
        return (
            f"{file} belongs to unit {short_digest(owner.unit)} of another plan{self._difference(owner.plan)}, not to"
            f" unit {short}: fetch the unit again, or join the other plan with its own lines and `out`"
        )

    @cached_property
    def _contents(self) -> dict[str, ReportedOutcome]:
        """The outcome that each content belongs to, by SHA-256; made when the first result is refused."""
        outcomes = chain(self._others, chain.from_iterable(self._own.values()))
        return {file.sha256: outcome for outcome in outcomes for file in outcome.record.every_file}

    @cached_property
    def _unknown_plans(self) -> dict[str, ReportedOutcome]:
        """The outcomes of other plans whose results have each name, by path."""
        return {file.name: outcome for outcome in self._others for file in outcome.record.every_file}

    def _difference(self, plan: str) -> str:
        if not plan:
            return ", which its outcome does not name"
        known = self._plans.get(plan)
        wanted = {name: self._described[name] for name in IDENTIFYING}
        mismatches = [] if known is None else list(differences(known, wanted))
        return f" ({'; '.join(mismatches[:_SHOWN])})" if mismatches else ""
