"""``eechips run``: a recipe of one's own, or a script that is there already."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from eechips.engine import Estimate, RunConfig
from eechips.errors import UsageError
from eechips.jobs.options import fetch, slug, split, takes
from eechips.manifest.run import Run
from eechips.recipe import Recipe, load_recipe
from eechips.scripts.source import read_source

_OPTIONS = frozenset({"path", "parameters"})


def script_recipe(options: Mapping[str, Any]) -> tuple[Recipe, RunConfig]:
    """The recipe and the run's config for the options of ``run``.

    A file that defines the two functions, opens no pool outside them, and leaves it to the run to initialise the client
    is a recipe. Any other that does something when it is executed is a script, and is.

    Raises:
        UsageError: if an option is unknown, or the file is neither a recipe nor a script.
    """
    options = dict(options)
    arguments = options.pop("arguments", ())
    source = read_source(Path(options["path"]))
    is_old = source.initializes if source.is_recipe else source.is_script
    is_script = bool(arguments) or (is_old and not options.get("parameters"))
    if not is_script:
        return split(load_recipe, _OPTIONS, options, lambda made: slug(made.name))
    if options.pop("parameters", None):
        raise UsageError(f"-p is for recipes: {source.path} is a script, whose arguments follow after --")
    if options.get("name"):
        raise UsageError(f"--name is for recipes: {source.path} is a script, which names its files itself")
    if options.get("project") is None and not os.environ.get("EECHIPS_PROJECT"):
        options["project"] = source.project
    _, config = split(lambda path: source, frozenset({"path"}), options, lambda made: slug(made.path.stem))
    from eechips.scripts.script import Script

    return Script(source, tuple(arguments), config.out.absolute(), Path.cwd()), config


@overload
def run(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    dry_run: Literal[True],
    **options: Any,
) -> Estimate: ...
@overload
def run(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    dry_run: Literal[False] = False,
    **options: Any,
) -> Run: ...
@takes(RunConfig)
def run(
    path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    dry_run: bool = False,
    **options: Any,
) -> Run | Estimate:
    """Runs a recipe: a Python file with ``get_requests`` and ``get_result``; or a script with a pool of its own.

    Args:
        path: the file.
        parameters: values for a recipe's parameters.
        arguments: for a script: its ``sys.argv[1:]``.
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
    options = {
        "path": path,
        "parameters": texts,
        "arguments": tuple(arguments),
        "out": out,
        "dry_run": dry_run,
        **options,
    }
    return fetch(*script_recipe(options))
