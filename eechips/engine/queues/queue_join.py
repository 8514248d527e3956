"""Join the result files of separate queue workers into one run: check their names and SHA-256, and list missing ones.

Workers of a queue do not know of each other. Their outcomes lie beside the results, and say which unit of which plan
each file belongs to. :func:`join_results` reads every file of every unit: each must match the SHA-256 that its worker
reported, and decode. A file without an outcome, and one of another plan, is no result, whatever its name. The ledger
then equals that of a run on a single machine, and the recipe can assemble its results.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eechips.client import retry
from eechips.client.access.connection import NO_SERVICE
from eechips.engine.config import RunConfig
from eechips.engine.plans.changed_options import check_same, describe
from eechips.engine.progress import Progress
from eechips.engine.queues.queue_items import WorkItem, check_ids
from eechips.engine.queues.reported_outcomes import ReportedOutcome, ResultOwners, read_outcomes
from eechips.engine.results.outcome_records import unit_failure
from eechips.engine.results.result_assembly import assembler, keep_part
from eechips.engine.results.result_stores import store_of
from eechips.engine.results.run_records import encode_info, info_of
from eechips.errors import RunMismatchError, UsageError, ValidationError
from eechips.files.temporary_names import new_writer
from eechips.formats import validate
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.reserved_names import check_new
from eechips.manifest.run import INFO_NAME
from eechips.manifest.run_signature import is_own
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.untrusted_run import check_paths, check_values, read_info
from eechips.processes.parallel_map import parallel_map
from eechips.recipe import Recipe, traits_of
from eechips.storage import ObjectStore, Store, make_folder, write_file
from eechips.text.formatting import format_count
from eechips.text.timestamps import utc_now

_CONCURRENCY = 8  # concurrent reads
_BATCH = 500  # units per transaction


@dataclass(frozen=True, slots=True)
class JoinResult:
    """The results that were found, and those that were not.

    Attributes:
        missing: those without a result.
        damaged: files that are not taken: name of the unit, and the sentence that says why.
        failed: errors that workers have reported of units without a result, by id.
    """

    total: int
    missing: tuple[WorkItem, ...]
    damaged: tuple[tuple[str, str], ...]
    failed: Mapping[str, str]


def join_results(
    recipe: Recipe, config: RunConfig, items: Iterable[WorkItem], outcomes: Iterable[Mapping[str, Any]] = ()
) -> JoinResult:
    """Record the results of a plan. Units that are recorded already are skipped.

    Args:
        config: configuration of the run that it becomes: its folder, and where the results are.
        outcomes: outcomes that workers have reported, in addition to those beside the results; of several of a unit,
            one whose files are there counts.

    Returns:
        The missing results. If there are none, :func:`eechips.engine.run.run` can finish the run.

    Raises:
        UsageError: if lines of the plan are missing.
        RunMismatchError: if a line is of another plan, or the folder holds another run.
        ConfigurationError: if the store cannot be read.
    """
    plan = _whole(recipe, items)
    described = describe(recipe, config)
    further_outcomes = [ReportedOutcome.parse(outcome) for outcome in outcomes]
    make_folder(config.out)
    store = store_of(config)
    with lock_folder(config.out), _open_ledger(config.out) as ledger:
        stored_outcomes, plans = read_outcomes(store, config.policy)
        owners = ResultOwners(described, (*stored_outcomes, *further_outcomes), plans)
        _store_plan(recipe, config, ledger, plan, described)
        missing, damaged = _record_all(recipe, config, ledger, store, owners)
        store.sweep(new_writer(ledger.writer_name))  # files of workers that were killed; workers do not sweep
    by_position = {item.unit.position: item for item in plan}
    absent = {planned.id for planned in missing}
    return JoinResult(
        total=len(plan),
        missing=tuple(by_position[planned.position] for planned in missing),
        damaged=tuple(damaged),
        failed={identifier: error for identifier, error in owners.failures().items() if identifier in absent},
    )


def _open_ledger(folder: Path) -> Ledger:
    """Open the ledger of a folder, which may be one of an earlier join."""
    if not (folder / LEDGER_NAME).exists():
        check_new(folder)
    with contextlib.ExitStack() as unless_checked:
        ledger = unless_checked.enter_context(Ledger(folder / LEDGER_NAME))
        if ledger.has_plan:
            check_paths(ledger)
            if not is_own(read_info(folder), folder):
                check_values(ledger)
        unless_checked.pop_all()
    return ledger


def _whole(recipe: Recipe, items: Iterable[WorkItem]) -> list[WorkItem]:
    """Return the items of one plan, each once, in its order."""
    items_by_position: dict[int, WorkItem] = {}
    for item in items:
        item.check_recipe(recipe)
        known = items_by_position.setdefault(item.unit.position, item)
        if known.unit.id != item.unit.id:
            raise RunMismatchError(
                f"there are lines of two plans: {known.unit.id[:16]} and {item.unit.id[:16]} have one place"
            )
    if not items_by_position:
        raise UsageError("there is no line of a plan: give those that `eechips plan` has written, all of them")
    lost = next((number for number in range(len(items_by_position)) if number not in items_by_position), None)
    if lost is not None:
        raise UsageError(
            f"the plan is not whole: {format_count(len(items_by_position), 'line')} given, and line {lost + 1:,} is"
            " missing"
        )
    plan = [items_by_position[position] for position in sorted(items_by_position)]
    check_ids((item.unit for item in plan), recipe)
    return plan


def _store_plan(
    recipe: Recipe, config: RunConfig, ledger: Ledger, plan: Sequence[WorkItem], described: Mapping[str, Any]
) -> None:
    """Store a plan and run.json, unless an earlier join has stored the same plan."""
    is_planned = ledger.has_plan and check_same(ledger, described, config.out)
    if not is_planned:
        meta = {**described, "eechips": version("eechips"), "planned": utc_now()}
        ledger.store_plan(meta, (item.unit for item in plan))
    elif [identifier for (identifier,) in ledger.rows(("lower(hex(id))",))] != [t.unit.id for t in plan]:
        raise RunMismatchError(f"{config.out} holds another plan, of the same command: choose another folder")
    if not (is_planned and (config.out / INFO_NAME).exists()):
        write_file(config.out / INFO_NAME, encode_info(info_of(recipe, config, described, NO_SERVICE, ())))


def _record_all(
    recipe: Recipe, config: RunConfig, ledger: Ledger, store: Store, owners: ResultOwners
) -> tuple[list[WorkUnit], list[tuple[str, str]]]:
    """Record results that are not recorded yet; return the units without one, and the damaged files."""
    planned = list(ledger.open_units())
    files = _files(store, [unit for unit in planned if not owners.outcomes_of(unit.id)])
    names = {unit.name for unit in planned}
    results = _Results(recipe, config, store, owners, _shared(ledger, planned, owners, names), files, names)
    missing: list[WorkUnit] = []
    damaged: list[tuple[str, str]] = []
    batch: list[Record] = []
    with Progress(len(planned), 0, None, quiet=config.quiet, unit="results found") as progress:
        for unit, record in parallel_map(lambda unit: (unit, results.record_of(unit)), planned, _CONCURRENCY):
            if isinstance(record, Record):
                batch.append(record)
            else:
                missing.append(unit)
                damaged += [] if record is None else [(unit.name, record)]
            if len(batch) >= _BATCH:
                ledger.record(batch)
                batch.clear()
            progress.settle(failed=not isinstance(record, Record))
            progress.show(0, 0)
    ledger.record(batch)
    return missing, damaged


def _shared(ledger: Ledger, planned: Sequence[WorkUnit], owners: ResultOwners, unit_names: Set[str]) -> set[str]:
    """Return the names that several units gave to a file. A unit that an earlier join recorded with such a name fails
    now.

    Workers of a queue overwrite results of the same name, so the owner of the file is unknown.
    """
    open_ids = {assignment.id for assignment in planned}
    named = (
        {
            file.name
            for outcome in owners.outcomes_of(unit.id)
            for file in outcome.record.every_file
            if _other_unit(file.name, unit, unit_names) is None
        }
        for unit in {unit.id: unit for unit in planned}.values()
    )
    counts = Counter(name for names in named for name in names)
    shared = {name for name, count in counts.items() if count > 1}
    for name in counts:
        owner = ledger.owner(name)
        if owner is not None and ledger.unit(owner).id not in open_ids:
            shared.add(name)
            ledger.record([_two_of_one_name(owner, name)])
    return shared


def _two_of_one_name(position: int, name: str) -> Record:
    error = UsageError(f"two units have the same name, {name}: results must be named apart")
    return unit_failure(position, error, 1, 0)


def _files(store: Store, planned: Sequence[WorkUnit]) -> dict[str, list[str]]:
    """Find the files of units by their planned names, those of layers included, with one listing."""
    wanted = {assignment.name for assignment in planned}
    files_by_name: dict[str, list[str]] = {}
    for file in store.files(sorted({posixpath.dirname(name) for name in wanted})):
        if (name := _unit_name(file.name, wanted)) is not None:
            files_by_name.setdefault(name, []).append(file.name)
    return files_by_name


def _unit_name(file: str, wanted: Set[str]) -> str | None:
    """Return the name of the unit that a file is named after, with or without the name of a layer; None if no unit."""
    folder, slash, name = file.rpartition("/")
    while "." in name:
        name = name.rpartition(".")[0]
        if f"{folder}{slash}{name}" in wanted:
            return f"{folder}{slash}{name}"
    return None


def _other_unit(file: str, unit: WorkUnit, names: Set[str]) -> str | None:
    """Return the name of another unit that a file of a unit has; None if it has its own, or one from the recipe."""
    return None if file.startswith(f"{unit.name}.") else _unit_name(file, names)


@dataclass(frozen=True, slots=True)
class _Results:
    """The results of a plan, which are compared with what their workers have reported.

    Attributes:
        shared: names of files of several units.
        files: files of units without an outcome, by the names of the units.
        names: names of the units.
    """

    recipe: Recipe
    config: RunConfig
    store: Store
    owners: ResultOwners
    shared: Collection[str]
    files: Mapping[str, Sequence[str]]
    names: Set[str]

    def record_of(self, unit: WorkUnit) -> Record | str | None:
        """Return the record of a unit; without a result, a sentence that says why its files are none, if it has any."""
        outcomes = self.owners.outcomes_of(unit.id)
        names = (file.name for outcome in outcomes for file in outcome.record.every_file)
        own_names = (name for name in names if _other_unit(name, unit, self.names) is None)
        if (disputed := next((name for name in own_names if name in self.shared), None)) is not None:
            return _two_of_one_name(unit.position, disputed)
        refusal = self._refuse_unreported(unit)
        for outcome in outcomes:
            own_refusal = self._refuse_outcome(unit, outcome.record) or self._refuse(unit, outcome.record)
            if outcome.name not in ("", unit.name):
                own_refusal = (
                    f"{outcome.record.file} of unit {unit.id[:16]} has another name than {unit.name}, that of the plan:"
                    " somebody has changed its line. Fetch the unit again"
                )
            if own_refusal is None:
                return replace(outcome.record, position=unit.position)
            refusal = refusal or own_refusal
        return refusal

    def _refuse_unreported(self, unit: WorkUnit) -> str | None:
        """Return why files with the name of a unit without an outcome are not its results; None if there are none."""
        for file in self.files.get(unit.name, ()):
            if (data := self._read(file)) is not None:
                return self.owners.refusal(unit.id, file, hashlib.sha256(data).hexdigest())
        return None

    def _refuse_outcome(self, unit: WorkUnit, record: Record) -> str | None:
        """Return the sentence that says why no worker has reported an outcome of a unit; None if one may have."""
        if record.state is State.DONE and record.file is None and traits_of(self.recipe).is_builtin:
            return f"the outcome of unit {unit.id[:16]} is done, and names no file: fetch the unit again"
        for file in record.every_file:
            if (other := _other_unit(file.name, unit, self.names)) is not None:
                return f"{file.name} of unit {unit.id[:16]} has the name of another one, {other}: fetch the unit again"
        return None

    def _refuse(self, unit: WorkUnit, record: Record) -> str | None:
        """Return the sentence that says why a file is not what the worker has reported; None if all are."""
        for file in record.every_file:
            data = self._read(file.name)
            digest = None if data is None else hashlib.sha256(data).hexdigest()
            if data is None or digest != file.sha256:
                return self.owners.refusal(unit.id, file.name, digest, file)
            try:
                if not traits_of(self.recipe).is_foreign:
                    validate(data, file.name.rpartition(".")[2])
            except ValidationError as error:
                return f"{file.name} of unit {unit.id[:16]} is damaged: {error}: fetch the unit again"
            if file.name == record.file and isinstance(self.store, ObjectStore) and assembler(self.recipe) is not None:
                keep_part(self.config.out, file.name, data)
        return None

    def _read(self, file: str) -> bytes | None:
        """Return the content of a result; None if there is none."""
        try:
            data: bytes = retry.call(lambda: self.store.read(file), self.config.policy)
        except FileNotFoundError:
            return None
        return data
