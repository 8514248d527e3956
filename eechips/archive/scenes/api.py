"""Fetch scenes, as ``eechips scenes`` does, refuse options of Earth Engine, and search the catalogue of a run again for
new assets (``refresh``).
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

from eechips.archive.downloads.integrity import release
from eechips.archive.downloads.partial_files import forget
from eechips.archive.downloads.transfer_limits import check_free
from eechips.archive.scenes.download import describe_unit, partial_folder
from eechips.archive.scenes.recipe import READ_TIMEOUT, Scenes
from eechips.archive.scenes.scenes_options import ScenesOptions
from eechips.builtin_recipes.recipe_options import option_names, run_recipe, slug, split_options
from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import Estimate
from eechips.engine.plans.changed_options import check_same, describe
from eechips.engine.plans.plan import name_template
from eechips.engine.run_log import RunLog
from eechips.errors import UsageError
from eechips.files.temporary_names import new_writer
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.option_fields import takes
from eechips.recipe import Unit, canonical_json, unit_id, unit_value
from eechips.storage import ID_LENGTH, NameTemplate, UniqueNames

_log = logging.getLogger(__name__)


def refresh_scenes(recipe: Scenes, config: RunConfig) -> int:
    """Search the catalogue of a run again, and add new assets to its plan. Nothing is downloaded yet.

    Assets that were removed from the catalogue are kept. Assets that have changed there (another URL, size or checksum)
    are logged and kept if their file was downloaded; otherwise they are planned with their new properties.

    Returns:
        Number of added and replaced units.

    Raises:
        UsageError: if the folder holds another run, or is in use.
        ConfigurationError: if the catalogue does not respond.
    """
    if not (config.out / LEDGER_NAME).exists():
        return 0
    with lock_folder(config.out), Ledger(config.out / LEDGER_NAME) as ledger, RunLog(config.out) as log:
        if not ledger.has_plan or not check_same(ledger, describe(recipe, config), config.out):
            return 0
        further = _Further(ledger, recipe.identity, name_template(recipe, config))
        added = [planned for unit in recipe.ask_again(config.out, log) if (planned := further.of(unit)) is not None]
        every = [*added, *further.amended.values()]
        check_free(config.out, sum(json.loads(planned.unit)["expected"].get("size") or 0 for planned in every))
        ledger.add(added)
        ledger.amend(further.amended.values())
        writer = new_writer(ledger.writer_name)
        for identifier in further.amended:  # their partial and quarantined files are useless now
            release(config.out, identifier[:ID_LENGTH])
            forget(partial_folder(config.out, identifier[:ID_LENGTH]), writer)
        log.write("refreshed", added=len(added), amended=len(further.amended), changed=len(further.changed))
        for unit in further.changed:
            log.write("changed", **describe_unit(unit))
    message = f"{len(added):,} new"
    if further.amended:
        message += f"; {len(further.amended):,} changed without a file, planned again"
    if further.changed:
        message += f"; {len(further.changed):,} changed, with the old file kept: use another folder for the new ones"
    _log.info("%s", message)
    return len(every)


class _Further:
    """Find which units of a search a plan does not have yet.

    Attributes:
        changed: units whose asset has a file, but another URL or other expected properties.
        amended: new plans for units without a file, by the ids of these.
    """

    def __init__(self, ledger: Ledger, identity: str, template: NameTemplate) -> None:
        self._identity, self._template, self._end = identity, template, ledger.end
        self._ids: set[str] = set()
        self._keys: set[int] = set()
        self._names = UniqueNames()
        self.changed: list[Unit] = []
        self.amended: dict[str, WorkUnit] = {}
        self._without: dict[int, tuple[int, str, str]] = {}
        columns = ("position", "lower(hex(id))", "unit", "name", "file")
        for position, identifier, unit, name, file in ledger.rows(columns):
            key = _key(unit_value(json.loads(unit)))
            self._ids.add(identifier)
            self._keys.add(key)
            self._names.add(name)
            if file is None:
                self._without[key] = position, identifier, name

    def of(self, unit: Unit) -> WorkUnit | None:
        """Return the unit to add to the plan; None if the plan has its asset."""
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
        name = self._names.choose(self._template.render(unit, identifier, self._end), identifier)
        self._end += 1
        return WorkUnit(self._end - 1, identifier, canonical_json(unit), name)


def _key(unit: Mapping[str, Any]) -> int:
    return hash((unit["collection"], unit["item"], unit["asset"]))


_UNIT_TIMEOUT = 86400.0  # seconds: a large file may take a day
_OF_EARTH_ENGINE = (
    "local", "archive", "endpoint", "project", "credentials", "send_credentials", "pipeline_options", "export_to",
)  # fmt: skip


def _folder(recipe: Scenes) -> str:
    return f"scenes-{slug('-'.join(recipe.collections) or 'stac')}"


def scenes_recipe(options: Mapping[str, Any]) -> tuple[Scenes, RunConfig]:
    """Return the recipe and the run's config for the options of ``scenes``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    chosen = dict(options)
    for option in _OF_EARTH_ENGINE:
        if chosen.pop(option, None):
            raise UsageError(f"{option} is an option of Earth Engine and its workers: scenes are read from a catalogue")
    if chosen.pop("executor", "threads") != "threads":
        raise UsageError("executor must be 'threads': downloads share connections, tokens and the bandwidth")
    for name, value in {"read_timeout": READ_TIMEOUT, "unit_timeout": _UNIT_TIMEOUT}.items():
        chosen.setdefault(name, value)
    recipe, config = split_options(Scenes, option_names(ScenesOptions), chosen, _folder)
    if config.results is not None:
        raise UsageError("scenes need a local folder, in which downloads resume: set `out`")
    return recipe, dataclasses.replace(config, executor="threads")


@overload
def scenes(
    stac: str, *, out: str | Path | None = None, refresh: bool = False, dry_run: Literal[True], **options: Any
) -> Estimate: ...
@overload
def scenes(
    stac: str, *, out: str | Path | None = None, refresh: bool = False, dry_run: Literal[False] = False, **options: Any
) -> Run: ...
@takes(ScenesOptions, RunConfig)
def scenes(
    stac: str, *, out: str | Path | None = None, refresh: bool = False, dry_run: bool = False, **options: Any
) -> Run | Estimate:
    """Download whole scenes that a STAC search finds, one checked file for each asset.

    Args:
        stac: URL of a STAC API or a static catalogue, or path or URL of STAC GeoParquet.
        out: folder of the results; None for ``outputs/scenes-<collection>``.
        refresh: search again, and add new assets to the existing run.
        dry_run: only search.
        options: fields of ``ScenesOptions`` and ``RunConfig``; the options of Earth Engine are left out.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong, or nothing was found.
        ConfigurationError: if the catalogue does not respond, or a secret is missing.

    Example:
        >>> run = eechips.scenes("https://earth-search.aws.element84.com/v1", collection="sentinel-2-l2a",
        ...                      roi="-105.3,39.8,-105.2,40.0", start="2023-06-01", end="2023-07-01",
        ...                      where="eo:cloud_cover < 20", assets="red,nir", max_items=4)
        >>> run.units[["file", "bytes", "crs"]]
    """
    recipe, config = scenes_recipe({"stac": str(stac), "out": out, "dry_run": dry_run, **options})
    if refresh and not dry_run:
        refresh_scenes(recipe, config)
    return run_recipe(recipe, config)
