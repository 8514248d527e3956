"""Declare the commands that fetch, from ``eechips sample`` to ``run``, with the options of their configs, and the
options of a run that a command lacks or changes; refuse a data file in the place of a recipe.

A command is made when it is asked for: the modules of the recipes import numpy, pandas and ee.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from eechips.commands.command import FetchCommand, VerbOption
from eechips.commands.parameters import HELP, Assignment, LocalPath, declared_options
from eechips.errors import UsageError

if TYPE_CHECKING:
    from eechips.engine.config import RunConfig
    from eechips.recipe import Recipe

Changes = Mapping[str, Mapping[str, Any]]
"""Attributes of :class:`eechips.option_fields.Option` that differ for a command, by name of the field."""

_SEARCH = "Search"  # of eechips.archive.scenes.scenes_options

_OF_SOME = {"accept_changed_code": ("run",), "extend": ("sample", "images", "composites", "timeseries")}
"""Options of a run that only some commands have."""

_NO_REDRAW: Changes = {
    "on_empty": {
        "choices": ("keep", "skip"),
        "help": "What to do with results without a single valid pixel. keep: write the file. skip: write no file. Not"
        " for jpg, which has no mask.",
    }
}
"""Changes of ``--on-empty`` for commands that draw no random points."""

_NOT_FOR_SCENES = frozenset({
    "local", "archive", "endpoint", "project", "credentials", "send_credentials", "ledger", "executor",
    "method", "on_empty", "export_to", "accept_changed_code",
})  # fmt: skip
"""Options of a run that concern Earth Engine and its workers."""
_SCENE_CHANGES: Changes = {
    "out": {"default": "outputs/scenes-<collection>"},
    "name": {"help": "Template of the files' names, as in '{item}/{asset}'."},
    "in_flight": {"help": "Maximum number of transfers at a time; auto: 10."},
    "rate": {"help": "Maximum number of requests per second; auto: no limit."},
    "unit_timeout": {"help": "Seconds that one file may take; the part that has arrived is kept.", "default": "86400"},
    "dry_run": {"help": "Only ask the catalogue: how many files, and how large they are."},
}
"""Options of a run that have another meaning for scenes."""


@dataclass(frozen=True, slots=True)
class _Declaration:
    """What differs between commands that fetch.

    Attributes:
        options: the config that declares the options, as ``module:name``.
        recipe: the class of the recipe, or a function that makes it and the config of its run, likewise.
        without: options of the run that the command does not have.
        changes: what differs in options of the run; see :func:`declared_options`.
        further: further parameters, which follow those of the config.
        adapt: changes options before the recipe is made of them.
        read: see :class:`eechips.commands.command.FetchCommand`.
    """

    options: str | None
    recipe: str
    without: Collection[str] = ()
    changes: Changes | None = None
    further: Sequence[click.Parameter] = ()
    adapt: Callable[[dict[str, Any]], dict[str, Any]] = dict
    read: Callable[[dict[str, Any]], dict[str, Any]] | None = None


def find_command(verb: str, **attributes: Any) -> FetchCommand:
    """Return a command that fetches; text from elsewhere may name no other.

    Raises:
        UsageError: if there is none of this name.
    """
    declared = _DECLARATIONS.get(verb)
    if declared is None:
        raise UsageError(f"eechips {verb} has no units: it fetches nothing, or this version has no such command")

    def make(options: Mapping[str, Any]) -> tuple[Recipe, RunConfig]:
        from eechips.builtin_recipes.recipe_options import make_recipe

        return make_recipe(pkgutil.resolve_name(declared.recipe), declared.adapt(dict(options)))

    own: list[click.Parameter] = []
    if declared.options is not None:
        own += declared_options(pkgutil.resolve_name(declared.options))
    without = {*declared.without, *(option for option, verbs in _OF_SOME.items() if verb not in verbs)}
    shared = _run_parameters(without=without, changes=declared.changes)
    return FetchCommand(
        verb,
        make=make,
        read=declared.read,
        params=[*own, *declared.further, *shared],
        context_settings=HELP,
        **attributes,
    )


def parse_words(words: Sequence[str]) -> tuple[FetchCommand, click.Context]:
    """Parse the words of a command that fetches, which may come from elsewhere, such as a queue.

    Raises:
        UsageError: if it is no command that fetches.
        click.UsageError: if it has no such options.
    """
    command = find_command(words[0])
    root = click.Context(click.Command("eechips"), info_name="eechips")
    return command, command.make_context(words[0], list(words[1:]), parent=root)


def recipe_of(words: Sequence[str]) -> tuple[Recipe, RunConfig]:
    """Return the recipe and the config that a command would run.

    Raises:
        UsageError, click.UsageError: see :func:`parse_words`.
    """
    command, context = parse_words(words)
    return command.receive(context)


def _single_dataset(typed: dict[str, Any]) -> dict[str, Any]:
    """Return options of which a dataset that is named once is the only one: its files have no name of a dataset."""
    names = typed["dataset"]
    return {**typed, "dataset": names[0]} if not isinstance(names, str) and len(names) == 1 else typed


_REFRESH = VerbOption(
    ["--refresh"],
    is_flag=True,
    heading=_SEARCH,
    decides="network",
    help="Ask the catalogue again, and add new items to the existing run.",
)
_OF_RECIPE: Sequence[click.Parameter] = (
    click.Argument(["recipe"], type=LocalPath()),
    VerbOption(
        ["-p", "parameters"],
        type=Assignment(),
        multiple=True,
        decides="code",
        help="Value of a parameter of the recipe.",
    ),
    VerbOption(
        ["--max-memory"],
        metavar="SIZE",
        decides="code",
        help="Memory of a worker, Python included, as 256MB, for recipes that size their units by it. The same as"
        " -p max_memory=SIZE.",
    ),
    VerbOption(
        ["--check"],
        is_flag=True,
        decides="run",
        help="Try three units of the plan, show their results, and estimate the run. The files are deleted, unless"
        " --out is given: then they are in DIR/check.",
    ),
)


_OF_DATA = (".yaml", ".yml", ".json")


def _read_recipe(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a recipe, with its parameters by name."""
    recipe = options.pop("recipe")
    if recipe.suffix.lower() == ".toml":
        raise UsageError(f"{recipe} is a run file, which has no units of its own: name one of its commands")
    if recipe.suffix.lower() in _OF_DATA:
        raise UsageError(f"{recipe} is no script, recipe or notebook, and run files are TOML: {recipe.stem}.toml")
    options.pop("check", None)
    values = dict(options.pop("parameters", ()))
    if (memory := options.pop("max_memory", None)) is not None:
        values["max_memory"] = memory
    return {"path": recipe, "parameters": values, **_shared_out(options)}


def _shared_out(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the arguments after ``--`` divided between the script and Beam."""
    words = options.pop("pipeline_options", ())
    if str(options.get("executor")).partition(":")[0] != "beam":
        return {**options, "arguments": words}
    last = max((number for number, word in enumerate(words) if word == "--"), default=-1)
    return {**options, "arguments": words[: max(last, 0)], "pipeline_options": words[last + 1 :]}


def _run_parameters(*, without: Collection[str] = (), changes: Changes | None = None) -> list[click.Parameter]:
    """Return the options of a run, which every command that fetches has; see :func:`declared_options`."""
    from eechips.engine.config import RunConfig
    from eechips.engine.run_options import RUN, LedgerOptions

    def note_consent(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:  # it is no parameter of the function
            ctx.meta["yes"] = True

    yes = VerbOption(
        ["-y", "--yes"],
        is_flag=True,
        expose_value=False,
        callback=note_consent,
        help="Do not ask for confirmation, with --estimate or before a run that may use a tenth of a month's compute.",
        heading=RUN,
        decides="run",
    )
    arguments = click.Argument(["pipeline_options"], nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
    declared = [
        option
        for config in (RunConfig, LedgerOptions)
        for option in declared_options(config, without=without, changes=changes)
    ]
    return [arguments, *declared, yes]


_DECLARATIONS: Mapping[str, _Declaration] = {
    "sample": _Declaration(
        "eechips.builtin_recipes.samples.sample_options:SampleOptions",
        "eechips.builtin_recipes.samples.chips:sample_recipe",
        adapt=_single_dataset,
    ),
    "images": _Declaration(
        "eechips.builtin_recipes.rasters.imagery_options:ImagesOptions",
        "eechips.builtin_recipes.rasters.images:Images",
        changes=_NO_REDRAW,
    ),
    "composites": _Declaration(
        "eechips.builtin_recipes.rasters.imagery_options:CompositesOptions",
        "eechips.builtin_recipes.rasters.composites:Composites",
        changes=_NO_REDRAW,
    ),
    "mosaic": _Declaration(
        "eechips.builtin_recipes.rasters.imagery_options:MosaicOptions",
        "eechips.builtin_recipes.rasters.mosaic:MosaicRecipe",
        without=("on_empty",),
    ),
    "timeseries": _Declaration(
        "eechips.builtin_recipes.tables.table_options:TimeSeriesOptions",
        "eechips.builtin_recipes.tables.timeseries:TimeSeries",
        without=("on_empty",),
    ),
    "points": _Declaration(
        "eechips.builtin_recipes.tables.table_options:PointsOptions",
        "eechips.builtin_recipes.tables.points:PointValues",
        without=("on_empty",),
    ),
    "features": _Declaration(
        "eechips.builtin_recipes.tables.table_options:FeaturesOptions",
        "eechips.builtin_recipes.tables.table_features:Features",
        without=("on_empty",),
    ),
    "scenes": _Declaration(
        "eechips.archive.scenes.scenes_options:ScenesOptions",
        "eechips.archive.scenes.api:scenes_recipe",
        without=_NOT_FOR_SCENES,
        changes=_SCENE_CHANGES,
        further=(_REFRESH,),
        read=lambda options: {name: value for name, value in options.items() if name != "refresh"},
    ),
    "run": _Declaration(
        None, "eechips.builtin_recipes.user_recipes:script_recipe", further=_OF_RECIPE, read=_read_recipe
    ),
}
