"""``eechips run``: a recipe of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eechips.engine import RunConfig
from eechips.engine import run as run_recipe
from eechips.jobs.options import slug, split, takes
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


@takes(RunConfig)
def run(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    **options: Any,
) -> Run:
    """Runs a recipe script: a Python file with ``get_requests`` and ``get_result``.

    Args:
        path: the script.
        parameters: values for its parameters.
        out: folder of the results; None for ``outputs/<name of the script>``.
        options: those of ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``.

    Raises:
        UsageError: if an option is wrong, or the script is no recipe.
        RecipeError: if the script raises while it plans.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.run("recipes/naip_chips.py", {"per_ecoregion": 25}, local=True)
    """
    given = (parameters or {}).items()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given}
    return run_recipe(*script_recipe({"path": path, "parameters": texts, "out": out, **options}))
