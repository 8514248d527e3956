"""Asking the catalogue of a run of scenes again: what it has beyond the stored plan."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from eechips.downloads.integrity import release
from eechips.downloads.partial import forget
from eechips.downloads.transfer_limits import DiskBudget
from eechips.engine import RunConfig
from eechips.engine.plan import check_same, describe, name_template
from eechips.engine.run_log import RunLog
from eechips.jobs.scenes.download import describe_unit, partial_folder
from eechips.jobs.scenes.recipe import Scenes
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.lock import locked
from eechips.manifest.record import WorkUnit
from eechips.recipe import Unit, canonical_json, unit_id, unit_value
from eechips.staging import new_writer
from eechips.storage import ID_LENGTH, NameTemplate, folded

_log = logging.getLogger(__name__)


def refresh_scenes(recipe: Scenes, config: RunConfig) -> int:
    """Asks the catalogue of a run again, and adds what is new to its plan. Nothing is fetched yet.

    What the catalogue has not any more stays. What it has changed (another address, size or checksum) stays as it was,
    and is told, if it is here; if it has failed, or was not asked for yet, it is planned as the catalogue has it now.

    Args:
        recipe: of the run.
        config: of the run; where there is none yet, nothing happens.

    Returns:
        Units that were added, or planned anew.

    Raises:
        UsageError: if the folder holds another run, or is in use.
        ConfigurationError: if the catalogue does not answer.
    """
    if not (config.out / LEDGER_NAME).exists():
        return 0
    with locked(config.out), Ledger(config.out / LEDGER_NAME) as ledger, RunLog(config.out) as log:
        if not ledger.has_plan or not check_same(ledger, describe(recipe, config), config.out):
            return 0
        further = _Further(ledger, recipe.identity, name_template(recipe, config))
        added = [planned for unit in recipe.ask_again(config.out, log) if (planned := further.of(unit)) is not None]
        every = [*added, *further.amended.values()]
        DiskBudget(config.out).check_free(sum(json.loads(each.unit)["expected"].get("size") or 0 for each in every))
        ledger.add(added)
        ledger.amend(further.amended.values())
        writer = new_writer(ledger.run_identity)
        for identifier in further.amended:  # what came of it is of no use any more
            release(config.out, identifier[:ID_LENGTH])
            forget(partial_folder(config.out, identifier[:ID_LENGTH]), writer)
        log.write("refreshed", added=len(added), amended=len(further.amended), changed=len(further.changed))
        for unit in further.changed:
            log.write("changed", **describe_unit(unit))
    told = f"{len(added):,} new"
    if further.amended:
        told += f"; {len(further.amended):,} that have changed and are not here are tried anew"
    if further.changed:
        told += f"; {len(further.changed):,} that have changed stay as they were: another --out has them anew"
    _log.info("%s", told)
    return len(every)


class _Further:
    """Tells units that a plan has from those that it has not.

    Attributes:
        changed: units whose asset is here, by another address or with another expected.
        amended: what is planned in the place of units without a file, by the ids of these.

    Args:
        ledger: has the plan.
        identity: of the recipe.
        template: of the names.
    """

    def __init__(self, ledger: Ledger, identity: str, template: NameTemplate) -> None:
        self._identity, self._template, self._end = identity, template, ledger.end
        self._ids: set[str] = set()
        self._keys: set[int] = set()
        self._names: set[int] = set()
        self.changed: list[Unit] = []
        self.amended: dict[str, WorkUnit] = {}
        self._without: dict[int, tuple[int, str, str]] = {}
        for rows in ledger.batches(("position", "lower(hex(id))", "unit", "name", "file")):
            for position, identifier, unit, name, file in rows:
                key = _key(unit_value(json.loads(unit)))
                self._ids.add(identifier)
                self._keys.add(key)
                self._names.add(hash(folded(name)))
                if file is None:
                    self._without[key] = position, identifier, name

    def of(self, unit: Unit) -> WorkUnit | None:
        """What is to be added to the plan for a unit; None if its asset is in there."""
        identifier = unit_id(unit, self._identity)
        if identifier in self._ids:
            return None
        self._ids.add(identifier)
        if (without := self._without.get(_key(unit))) is not None:
            position, before, name = without
            self.amended[before] = WorkUnit(position, identifier, canonical_json(unit), name)
            return None
        if _key(unit) in self._keys:
            self.changed.append(unit)
            return None
        self._keys.add(_key(unit))
        name = self._template.render(unit, identifier, self._end)
        # As in a plan that is made at once: folded, since some file systems do not record upper from lower case.
        if not self._template.is_unique and hash(folded(name)) in self._names:
            name = f"{name}-{identifier[:ID_LENGTH]}"
        self._names.add(hash(folded(name)))
        self._end += 1
        return WorkUnit(self._end - 1, identifier, canonical_json(unit), name)


def _key(unit: Mapping[str, Any]) -> int:
    return hash((unit["collection"], unit["item"], unit["asset"]))
