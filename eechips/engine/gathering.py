"""Results that others have made of a plan, through a queue, as one run: found, checked, recorded, and put together.

Nobody who makes a unit of a queue knows of the others. Whoever has the plan finds the results by their names, which it
says, and looks at every one: it must decode, and be what its worker has told of it, where that was kept. Then there is
a ledger as if one machine had made them all, and what a recipe makes of all results can be made.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from eechips.client import retry
from eechips.engine.assembly import assembler, keep_part
from eechips.engine.config import RunConfig
from eechips.engine.info import encoded, info_of
from eechips.engine.plan import check_same, describe
from eechips.engine.progress import Progress
from eechips.engine.records import record_of
from eechips.engine.run import store_of
from eechips.engine.tickets import Ticket
from eechips.errors import RunMismatchError, UsageError, ValidationError
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.lock import locked
from eechips.manifest.record import LISTS, RECORD_COLUMNS, Planned, Record, State
from eechips.manifest.run import INFO_NAME
from eechips.moment import utc_now
from eechips.objects import ObjectStore, in_order
from eechips.recipe import Recipe
from eechips.storage import Staged, Store, make_folder, write_file
from eechips.writers import validate

_AT_ONCE = 8  # results that are read at once
_BATCH = 500  # units that are recorded at once


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found.

    Attributes:
        total: units of the plan.
        missing: those without a result.
        damaged: results that are no longer what they were, or do not decode: name, and what is wrong.
        failed: what workers have told of units without a result: id, and error.
    """

    total: int
    missing: tuple[Ticket, ...]
    damaged: tuple[tuple[str, str], ...]
    failed: Mapping[str, str]


def gather(
    recipe: Recipe, config: RunConfig, tickets: Iterable[Ticket], outcomes: Iterable[Mapping[str, Any]] = ()
) -> Gathered:
    """Records what there is of the results of a plan; units that are recorded already are not looked at again.

    Args:
        recipe: that planned it.
        config: of the run that it becomes: its folder, and where the results are.
        tickets: all of the plan.
        outcomes: what workers have told, as far as that was kept; of several of a unit, the last with a result counts.

    Returns:
        What is missing. With nothing missing, the run can be finished by :func:`eechips.engine.run`.

    Raises:
        UsageError: if lines of the plan are missing.
        RunMismatchError: if a line is of another plan, or the folder holds another run.
        ConfigurationError: if the store cannot be read.
    """
    plan = _whole(recipe, tickets)
    told, failed = _told(outcomes)
    make_folder(config.out)
    store = store_of(config)
    with locked(config.out), Ledger(config.out / LEDGER_NAME) as ledger:
        described = describe(recipe, config)
        is_planned = ledger.has_plan and check_same(ledger, described, config.out)
        if not is_planned:
            meta = {**described, "eechips": version("eechips"), "planned": utc_now()}
            ledger.store_plan(meta, (ticket.planned for ticket in plan))
        elif [row[0] for rows in ledger.batches(("lower(hex(id))",)) for row in rows] != [t.planned.id for t in plan]:
            raise RunMismatchError(f"{config.out} holds another plan, of the same command: choose another folder")
        if not (is_planned and (config.out / INFO_NAME).exists()):
            write_file(config.out / INFO_NAME, encoded(info_of(recipe, config, described, "", "", ())))
        missing, damaged = _record_all(recipe, config, ledger, store, told)
    by_position = {ticket.planned.position: ticket for ticket in plan}
    absent = {planned.id for planned in missing}
    return Gathered(
        total=len(plan),
        missing=tuple(by_position[planned.position] for planned in missing),
        damaged=tuple(damaged),
        failed={identifier: error for identifier, error in failed.items() if identifier in absent},
    )


def _whole(recipe: Recipe, tickets: Iterable[Ticket]) -> list[Ticket]:
    """The lines of one plan, each once, in its order."""
    found: dict[int, Ticket] = {}
    for ticket in tickets:
        if ticket.identity != recipe.identity:
            raise RunMismatchError(
                f"unit {ticket.planned.id[:16]} was planned by another version of {recipe.name}: plan again"
            )
        known = found.setdefault(ticket.planned.position, ticket)
        if known.planned.id != ticket.planned.id:
            raise RunMismatchError(
                f"there are lines of two plans: {known.planned.id[:16]} and {ticket.planned.id[:16]} have one place"
            )
    if not found:
        raise UsageError("there is no line of a plan: give those that `eechips plan` has written, all of them")
    lost = next((number for number in range(len(found)) if number not in found), None)
    if lost is not None:
        raise UsageError(f"the plan is not whole: its line {lost + 1:,} is not among the {len(found):,} that are given")
    return [found[position] for position in sorted(found)]


def _told(outcomes: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """What is told of units with a result, and the errors of those without, by their ids."""
    there: dict[str, Mapping[str, Any]] = {}
    failed: dict[str, str] = {}
    for outcome in outcomes:
        try:
            identifier, state = str(outcome["id"]), State(outcome["state"])
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"no outcome as `eechips work` writes it ({error!r}): {outcome!s:.120}") from None
        if state.has_result:
            there[identifier] = outcome
        elif state.is_failure:
            failed[identifier] = str(outcome.get("error", state.value))
    return there, {identifier: error for identifier, error in failed.items() if identifier not in there}


def _record_all(
    recipe: Recipe, config: RunConfig, ledger: Ledger, store: Store, told: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Planned], list[tuple[str, str]]]:
    """Records results that are not recorded yet; returns the units without one, and what is wrong with some."""
    planned = list(ledger.open_units())
    files = _files(store, planned)
    missing: list[Planned] = []
    damaged: list[tuple[str, str]] = []
    batch: list[Record] = []

    def look(task: Planned) -> tuple[Planned, Record | str | None]:
        return task, _look(recipe, config, store, task, files.get(task.name, []), told.get(task.id))

    with Progress(len(planned), 0, None, quiet=config.quiet, unit="results found") as progress:
        for task, found in in_order(look, planned, _AT_ONCE):
            if isinstance(found, Record):
                batch.append(found)
            else:
                missing.append(task)
                if found is not None:
                    damaged.append((task.name, found))
            if len(batch) >= _BATCH:
                ledger.record(batch)
                batch.clear()
            progress.settle(failed=not isinstance(found, Record))
            progress.show(0, 0)
    ledger.record(batch)
    return missing, damaged


def _files(store: Store, planned: Sequence[Planned]) -> dict[str, list[str]]:
    """The files of units, by the names that the plan has for them, by one listing."""
    wanted = {task.name for task in planned}
    found: dict[str, list[str]] = {}
    for file, _ in store.sizes(sorted({posixpath.dirname(name) for name in wanted})):
        name, _, _ = file.rpartition(".")
        if name in wanted:
            found.setdefault(name, []).append(file)
    return found


def _look(
    recipe: Recipe,
    config: RunConfig,
    store: Store,
    task: Planned,
    files: Sequence[str],
    told: Mapping[str, Any] | None,
) -> Record | str | None:
    """What is recorded of a unit; a text if its file is damaged, None if there is none."""
    if told is not None and told.get("file") is None:
        return _recorded(task, told)  # a result without a file
    if told is not None:
        files = [str(told["file"])]
    if not files:
        return None
    if len(files) > 1:
        raise UsageError(f"unit {task.id[:16]} has several files, {', '.join(files)}: --outcomes would say which")
    (file,) = files
    try:
        data: bytes = retry.call(lambda: store.read(file), config.policy)
    except FileNotFoundError:
        return None
    digest = hashlib.sha256(data).hexdigest()
    if told is not None and told.get("sha256") != digest:
        return f"{file} is not what was made: its sha256 is another"
    try:
        facts = validate(data, file.rpartition(".")[2])
    except ValidationError as error:
        return f"{file} is damaged: {error}"
    if isinstance(store, ObjectStore) and assembler(recipe) is not None:
        keep_part(config.out, file, data)
    if told is not None:
        return _recorded(task, told)
    return record_of(task, facts, Staged(file, file, len(data), digest), None)


def _recorded(task: Planned, told: Mapping[str, Any]) -> Record:
    values = {name: told[name] for name in RECORD_COLUMNS if name in told}
    for name in LISTS:
        if values.get(name) is not None:
            values[name] = json.dumps(values[name])
    return Record(position=task.position, **{**values, "state": State(told["state"])})
