"""``eechips run``: a recipe of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

from eechips.engine import Estimate, RunConfig
from eechips.jobs.options import fetch, slug, split, takes
from eechips.manifest.run import Run
from eechips.recipe import ScriptRecipe, load_recipe

_OPTIONS = frozenset({"path", "parameters"})


def script_recipe(options: Mapping[str, Any]) -> tuple[ScriptRecipe, RunConfig]:
    """The recipe and the run's config for the options of ``run``.

    Raises:
        UsageError: if an option is unknown, or the script is no recipe.
    """
    recipe, config = split(load_recipe, _OPTIONS, options, lambda made: slug(made.name))
    return recipe, config


@overload
def run(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    dry_run: Literal[True],
    **options: Any,
) -> Estimate: ...
@overload
def run(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    dry_run: Literal[False] = False,
    **options: Any,
) -> Run: ...
@takes(RunConfig)
def run(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    dry_run: bool = False,
    **options: Any,
) -> Run | Estimate:
    """Runs a recipe script: a Python file with ``get_requests`` and ``get_result``.

    Args:
        path: the script.
        parameters: values for its parameters.
        out: folder of the results; None for ``outputs/<name of the script>``.
        dry_run: estimate only: plan, and send no pixel request.
        options: those of ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong, or the script is no recipe.
        RecipeError: if the script raises while it plans.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.run("recipes/naip_chips.py", {"per_ecoregion": 25}, local=True)
    """
    given = (parameters or {}).items()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given}
    options = {"path": path, "parameters": texts, "out": out, "dry_run": dry_run, **options}
    return fetch(*script_recipe(options))
