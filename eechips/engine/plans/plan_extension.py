"""Extend a finished run: add the units that its plan lacks, and keep everything that is there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eechips.engine.config import RunConfig
from eechips.engine.plans.changed_options import differences
from eechips.engine.plans.plan import name_template, planner_errors, read_inputs
from eechips.engine.plans.resumed_files import warn_of_results
from eechips.errors import RunMismatchError, UsageError
from eechips.manifest.exclusions import EXCLUSIONS, OPEN
from eechips.manifest.extensions import (
    EXTENSIONS,
    KEPT_CHANGES,
    PlanIds,
    PlanPart,
    PlanUnits,
    plan_parts,
    read_completions,
)
from eechips.manifest.manifest_columns import State, WorkUnit
from eechips.manifest.metadata_keys import ASSEMBLED
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.untrusted_run import read_info
from eechips.recipe import ChangedUnit, EarlierPlan, Recipe, SupportsExtension, Unit, canonical_json, to_unit, unit_id
from eechips.recipe.units import COMPLETES
from eechips.storage import UniqueNames, safe_component
from eechips.text.formatting import format_count
from eechips.text.timestamps import utc_now

_SHOWN = 5  # differences and changed results that a message names
_log = logging.getLogger(__name__)


def continue_extended(recipe: Recipe, config: RunConfig, ledger: Ledger) -> Recipe:
    """Return the recipe for the units of all plans, if the run was extended or is about to be.

    Raises:
        UsageError: if an extension is asked for, and the recipe has none.
    """
    if not ledger.has_plan:
        return recipe
    meta = ledger.meta()
    if config.extend and not isinstance(recipe, SupportsExtension):
        raise UsageError(
            f"`extend` is not for {recipe.name}, whose results are one whole: choose another output folder"
        )
    return _continued(recipe, meta) if plan_parts(meta) or config.extend else recipe


def _continued(recipe: Recipe, stored: Mapping[str, Any]) -> Recipe:
    """Return the recipe for the units of all plans of a run, by its description; itself if it has no extensions."""
    if not isinstance(recipe, SupportsExtension):
        return recipe
    parts, latest = plan_parts(stored), stored.get("parameters") or {}
    return recipe.continuing_from(parts[0].parameters if parts else latest, latest)


def check_growth(recipe: Recipe, ledger: Ledger, described: Mapping[str, Any], folder: Path) -> None:
    """Raise RunMismatchError if another option than those that may grow differs, or the plan is not whole.

    Args:
        described: the command's run; see :func:`eechips.engine.plans.changed_options.describe`.
    """
    stored = ledger.meta()
    if ledger.is_partial:
        raise RunMismatchError(f"the plan of {folder} is not whole: finish its run first, by its own command")
    wanted, kept = comparable(recipe, described, stored)
    conflicts = list(differences(kept, wanted))
    if conflicts:
        raise RunMismatchError(
            f"{folder} cannot be extended by other options than those that may grow"
            f" ({'; '.join(conflicts[:_SHOWN])}): choose another output folder for these"
        )


def addable_parameters(recipe: Recipe, ledger: Ledger) -> frozenset[str]:
    """Return the names of the parameters in which an extension of a run may differ; none if there is no plan."""
    return _growing_parameters(_continued(recipe, ledger.meta())) if ledger.has_plan else frozenset()


def _growing_parameters(recipe: Recipe) -> frozenset[str]:
    """Return the names of the parameters that may differ in an extension; none if the recipe has no extensions."""
    return recipe.growing if isinstance(recipe, SupportsExtension) else frozenset()


def comparable(
    recipe: Recipe, described: Mapping[str, Any], stored: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what must be the same in a run and its extension: of the command's run, and of the one that is there.

    Args:
        described: the command's run.
        stored: the other one, as it was described.
    """
    growing = _growing_parameters(recipe)
    parameters, there = described["parameters"], stored.get("parameters")
    there = there if isinstance(there, dict) else {}
    has_grown = any(parameters.get(name) != there.get(name) for name in growing)
    wanted = {name: value for name, value in described.items() if name != "identity" or not has_grown}
    wanted["parameters"] = {name: value for name, value in parameters.items() if name not in growing}
    kept = {name: stored.get(name) for name in wanted}
    kept["parameters"] = {name: value for name, value in there.items() if name not in growing}
    return wanted, kept


def extend_plan(
    recipe: Recipe, config: RunConfig, ledger: Ledger, described: Mapping[str, Any], *, is_complete: bool
) -> int:
    """Plan again, and add the units that the ledger lacks: all in one transaction, with the options that they came by.

    A complete run to which there is nothing to add keeps its options.

    Args:
        described: the command's run.
        is_complete: nothing of the run is open.

    Returns:
        Number of units that were added, planned again as they have images now, or replaced again.

    Raises:
        ConfigurationError, RequestError, RecipeError: if planning fails; the run stays as it was.
        UsageError: if a result that is there would have to change.
    """
    assert isinstance(recipe, SupportsExtension)
    stored = ledger.meta()
    read_inputs(recipe)
    with planner_errors():
        extension = recipe.extend_plan(_earlier_plan(ledger, stored.get("parameters") or {}))
    completed = {unit[COMPLETES] for unit in extension.units if isinstance(unit, dict) and COMPLETES in unit}
    amended, kept = _amend(extension.changed, completed, recipe, ledger)
    warn_of_results([entry["text"] for entry in kept if entry["text"]], _SHOWN)
    added = _name_units(extension.units, recipe, config, ledger)
    values: dict[str, Any] = {KEPT_CHANGES: kept}
    if added or amended or extension.chosen or not is_complete:
        values |= described
    if extension.chosen:
        values[EXCLUSIONS] = OPEN
    if added:
        first = ledger.end
        parts = plan_parts(stored) or [_first_part(stored, config.out, first)]
        part = PlanPart(len(parts), first, len(added), utc_now(), config.command, described["parameters"])
        values |= {EXTENSIONS: list(map(asdict, (*parts, part))), ASSEMBLED: None}
        _log.info("%s are there, %s new", format_count(sum(ledger.counts().values()), "unit"), f"{len(added):,}")
    ledger.add(added, values, extension.chosen)
    return len(added) + amended + len(extension.chosen)


def _earlier_plan(ledger: Ledger, parameters: Mapping[str, Any]) -> EarlierPlan:
    """Return the plan of a run that is extended."""

    def ids(condition: str) -> frozenset[str]:
        return frozenset(i for (i,) in ledger.database.execute(f"SELECT lower(hex(id)) FROM units WHERE {condition}"))

    return EarlierPlan(
        parameters,
        PlanUnits(ledger),
        PlanIds(ledger),
        dropped=ids(f"state = '{State.SKIPPED.value}'"),
        replacing=ids("replaces IS NOT NULL"),
    )


def _amend(
    changed: Sequence[ChangedUnit], completed: Collection[str], recipe: Recipe, ledger: Ledger
) -> tuple[int, list[dict[str, Any]]]:
    """Plan changed units without a file again; return their number, and text and position of those that are kept.

    Units of one sample, of which some name the id of another, are planned again together or not at all.
    """
    query = "SELECT position, lower(hex(id)), name, file FROM units ORDER BY position LIMIT 1 OFFSET ?"
    rows = [(entry, *ledger.database.execute(query, (entry.index,)).fetchone()) for entry in changed]
    further = read_completions(ledger) if rows else {}
    first_of = {position: first for first, positions in further.items() for position in positions}
    known = {position for _, position, *_ in rows}
    fixed = {first for first, positions in further.items() if not known.issuperset(positions)}
    fixed |= {
        first_of.get(position, position)
        for _, position, identifier, _, file in rows
        if file is not None or identifier in completed
    }
    kept: list[dict[str, Any]] = []
    amended: list[WorkUnit] = []
    for entry, position, _, name, _ in rows:
        if first_of.get(position, position) in fixed:
            kept.append({"text": entry.text, "position": position})
        else:
            unit = to_unit(entry.unit)
            amended.append(WorkUnit(position, unit_id(unit, recipe.identity), canonical_json(unit), name))
    ledger.amend(amended)
    return len(amended), kept


def _first_part(stored: Mapping[str, Any], folder: Path, units: int) -> PlanPart:
    """Return the part of the run before it was extended."""
    return PlanPart(
        number=0,
        first=0,
        units=units,
        planned=str(stored.get("planned") or ""),
        command=str(read_info(folder).get("command") or ""),
        parameters=stored.get("parameters") or {},
    )


def _name_units(values: Iterable[Any], recipe: Recipe, config: RunConfig, ledger: Ledger) -> list[WorkUnit]:
    """Return the units that the ledger lacks, with ids, and names that no other unit has.

    A name that is taken gets what tells the unit apart appended: its layer if it completes another unit, its first
    date, else the beginning of the id.
    """
    template = name_template(recipe, config)
    names_by_id = dict(ledger.rows(("lower(hex(id))", "name")))
    ids, names = set(names_by_id), UniqueNames(names_by_id.values())
    added: list[WorkUnit] = []
    end = ledger.end
    for value in values:
        unit, position = to_unit(value), end + len(added)
        identifier = unit_id(unit, recipe.identity)
        if identifier not in ids:
            ids.add(identifier)
            name = template.render(unit, identifier, position)
            name = names.choose(name, identifier, _longer_names(name, unit))
            added.append(WorkUnit(position, identifier, canonical_json(unit), name))
    return added


def _longer_names(name: str, unit: Unit) -> list[str]:
    if COMPLETES in unit:
        layers = unit.get("layers") or ()
        return [f"{name}.{safe_component(layer)}" for layer in layers if len(layers) == 1]
    return [f"{name}_{unit['start']}"] if isinstance(unit.get("start"), str) else []
