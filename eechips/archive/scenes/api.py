"""Fetch scenes: the function and the options behind ``eechips scenes``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

from eechips.archive.scenes.recipe import READ_TIMEOUT, Scenes
from eechips.archive.scenes.refresh import refresh_scenes
from eechips.archive.scenes.scenes_options import ScenesOptions
from eechips.engine.config import RunConfig
from eechips.engine.costs import Estimate
from eechips.errors import UsageError
from eechips.jobs.recipe_options import option_names, run_recipe, slug, split_options, takes
from eechips.manifest.run import Run

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
