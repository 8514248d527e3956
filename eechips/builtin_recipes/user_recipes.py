"""Run recipes of users, as two functions or a file, and existing scripts, as ``eechips run`` does; check their
arguments, and test a recipe with three units.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from eechips.builtin_recipes.function_recipe import FunctionRecipe, parameter_names
from eechips.builtin_recipes.recipe_check import RecipeCheck, check_recipe
from eechips.builtin_recipes.recipe_options import RUN_OPTIONS, run_recipe, slug, split_options
from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import Estimate
from eechips.engine.run_options import LedgerOptions
from eechips.errors import UsageError
from eechips.files.scratch_folders import temporary_folder
from eechips.manifest.run import Run
from eechips.option_fields import takes
from eechips.recipe import Recipe, load_recipe
from eechips.scripts.script_source import is_notebook, read_source
from eechips.storage import is_address
from eechips.text.suggestion import did_you_mean_option

_OPTIONS = frozenset({"path", "parameters"})
_OF_FUNCTIONS = frozenset({"get_requests", "get_result", "parameters", "redraw", "assemble"})


def script_recipe(options: Mapping[str, Any]) -> tuple[Recipe, RunConfig]:
    """Make the recipe and the config of the run for the options of ``run``.

    A file is a recipe if it defines the two functions, opens no pool outside them, does not initialise the client, and
    the second function returns what to fetch.
    Any other file whose execution has an effect is a script.

    Raises:
        UsageError: if an option is unknown, or the file is neither a recipe nor a script.
    """
    options = dict(options)
    arguments = options.pop("arguments", ())
    source = read_source(Path(options["path"]))
    is_old = source.is_standalone if source.is_recipe else source.is_script
    values = [text for text in arguments if "=" in text and text.partition("=")[0].isidentifier()]
    if source.is_recipe and not is_old and values:
        raise UsageError(f"unexpected argument {values[0]!r}; parameters of a recipe are given by -p: -p {values[0]}")
    is_script = bool(arguments) or is_notebook(source.path) or (is_old and not options.get("parameters"))
    if not is_script:
        return split_options(load_recipe, _OPTIONS, options, lambda job_recipe: slug(job_recipe.name))
    if options.pop("parameters", None):
        raise UsageError(f"-p is for recipes: {source.path} is a script, whose arguments follow after --")
    if options.get("name"):
        raise UsageError(f"`name` is for recipes: {source.path} is a script, which names its files itself")
    if options.get("project") is None and not os.environ.get("EECHIPS_PROJECT"):
        options["project"] = source.project
    _, config = split_options(
        lambda path: source, frozenset({"path"}), options, lambda job_recipe: slug(job_recipe.path.stem)
    )
    from eechips.scripts.script_execution import ScriptRecipe

    return ScriptRecipe(source, tuple(arguments), config.out.absolute(), Path.cwd()), config


def function_recipe(options: Mapping[str, Any]) -> tuple[Recipe, RunConfig]:
    """Make the recipe and the config of the run of two functions and the options of ``run``.

    Raises:
        UsageError: if an option is unknown, or the functions are not those of a recipe.
        RecipeError: if they cannot be pickled.
    """
    return split_options(FunctionRecipe, _OF_FUNCTIONS, options, lambda job_recipe: slug(job_recipe.name))


def checked(make: Callable[[Mapping[str, Any]], tuple[Recipe, RunConfig]], options: Mapping[str, Any]) -> RecipeCheck:
    """Test a recipe with three units in a temporary folder; with ``out``, their files are kept in ``out/check``.

    Args:
        options: options of ``make``.

    Raises:
        UsageError, ConfigurationError, RecipeError, RequestError: as a run.
    """
    out = options.get("out")
    keep = None if out is None or is_address(str(out)) else Path(out)
    options = {name: value for name, value in options.items() if name != "ledger"}
    with temporary_folder() as folder:
        recipe, config = make({**options, "out": folder})
        return check_recipe(recipe, config, keep=keep)


@overload
def run(
    recipe: str | Path | Callable[..., Iterable[Any]],
    get_result: Callable[..., Any] | Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    dry_run: Literal[True],
    check: Literal[False] = False,
    **keywords: Any,
) -> Estimate: ...
@overload
def run(
    recipe: str | Path | Callable[..., Iterable[Any]],
    get_result: Callable[..., Any] | Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    dry_run: Literal[False] = False,
    check: Literal[True],
    **keywords: Any,
) -> RecipeCheck: ...
@overload
def run(
    recipe: str | Path | Callable[..., Iterable[Any]],
    get_result: Callable[..., Any] | Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    dry_run: Literal[False] = False,
    check: Literal[False] = False,
    **keywords: Any,
) -> Run: ...
@takes(RunConfig, LedgerOptions, further="keywords")
def run(
    recipe: str | Path | Callable[..., Iterable[Any]],
    get_result: Callable[..., Any] | Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    dry_run: bool = False,
    check: bool = False,
    redraw: Callable[..., Any] | None = None,
    assemble: Callable[[Any], None] | None = None,
    **keywords: Any,
) -> Run | Estimate | RecipeCheck:
    """Run a recipe (two functions, or a Python file with them), or a script with a pool.

    Functions may be defined in a notebook, in a program without a main guard, or at Python's prompt. They are sent to
    the workers with the helpers, variables and imports that they use.

    Args:
        recipe: the function ``get_requests``; or a file.
        get_result: the function ``get_result``, if ``recipe`` is a function.
        parameters: values for parameters of the two functions whose names are also options of ``run``.
        arguments: ``sys.argv[1:]`` of a script.
        out: folder of the results; None for ``outputs/<name of the file>``, or ``outputs/notebook``.
        dry_run: plan and estimate only; send no request for pixels.
        check: test three units only, in a temporary folder; with ``out``, their files are kept in ``out/check``.
        redraw: with two functions: ``redraw(unit, number)``, which returns a unit that replaces one without data, for
            ``on_empty="redraw"``.
        assemble: with two functions: ``assemble(results)``, which makes files of all results.
        keywords: the options of ``RunConfig``; others are parameters of the two functions, as ``-p`` of the command.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``dry_run``, the estimate. With ``check``,
        the results of the three units.

    Raises:
        UsageError: if an option is wrong, or the file is neither a recipe nor a script.
        RecipeError: if the recipe raises an exception while it plans, or uses something that cannot be pickled.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Examples:
        >>> eechips.run(get_requests, get_result, per_side=3, local=True, out="outputs/grid")
        >>> eechips.run("recipes/naip_chips.py", per_ecoregion=25, local=True)
    """
    if isinstance(get_result, Mapping):  # run(path, {"name": value})
        parameters = {**get_result, **(parameters or {})}
        get_result = None
    options = {name: value for name, value in keywords.items() if name in RUN_OPTIONS}
    further = {name: value for name, value in keywords.items() if name not in RUN_OPTIONS}
    options.update(out=out, dry_run=dry_run)
    recipe_parameters = {**(parameters or {}), **further}
    if callable(recipe):
        if get_result is None:
            raise UsageError("a recipe is two functions: run(get_requests, get_result, ...)")
        if arguments:
            raise UsageError("arguments are for scripts: functions have parameters, given by name")
        _refuse_within_recipe(recipe)
        _refuse_unknown(further, parameter_names(recipe, get_result, redraw))
        options.update(
            get_requests=recipe, get_result=get_result, parameters=recipe_parameters, redraw=redraw, assemble=assemble
        )
        make = function_recipe
    else:
        if get_result is not None or redraw is not None or assemble is not None:
            raise UsageError(
                f"a file has its functions in it: run({str(recipe)!r}, ...), or run(get_requests, get_result, ...)"
            )
        texts = _file_parameters(Path(recipe), recipe_parameters, further)
        options.update(path=recipe, parameters=texts, arguments=tuple(arguments))
        make = script_recipe
    return checked(make, options) if check else run_recipe(*make(options))


def _file_parameters(path: Path, parameters: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a file as the command line has them.

    Raises:
        UsageError: if it does not have those that are given by name.
    """
    has_functions = bool(named) and bool(read_source(path).functions)  # a script has no parameters
    _refuse_unknown(named, load_recipe(path).parameter_names if has_functions else ())
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}


def _refuse_unknown(keywords: Mapping[str, Any], parameters: Sequence[str]) -> None:
    for name in keywords:
        if name not in parameters:
            takes = f"; the recipe's parameters: {', '.join(parameters)}" if parameters else ""
            hint = did_you_mean_option(name, [*parameters, *RUN_OPTIONS, "check", "arguments"])
            raise UsageError(f"there is no option {name!r}{hint or takes}")


def _refuse_within_recipe(function: Callable[..., Any]) -> None:
    """Raise UsageError for a call of ``run`` in a file that ``eechips run`` executes to read its functions."""
    there = getattr(function, "__globals__", {})
    if str(there.get("__name__")).startswith("recipe_") and there.get("__spec__") is None:
        raise UsageError(
            f"{there.get('__file__')} calls eechips.run itself: run it with python, or put the call below"
            " `if __name__ == '__main__':`"
        )
