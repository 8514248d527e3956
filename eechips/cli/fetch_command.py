"""Build the commands of the verbs that fetch, from the options that their configs declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import click

from eechips.cli.command import FetchCommand, VerbOption, option_names
from eechips.cli.finish import finish
from eechips.cli.options import HELP, FunctionT, given, meta_flag
from eechips.cli.parameter_types import AffineTransform, Bytes, Names, Rate, Size, Slots
from eechips.engine.config import RUN, LedgerOptions, RunConfig
from eechips.recipe import Recipe
from eechips.signature import Option, options_of

NO_REDRAW: Mapping[str, Mapping[str, Any]] = {
    "on_empty": {
        "choices": ("keep", "skip"),
        "help": "What to do with results without a single valid pixel. keep: write the file. skip: write no file. Not"
        " for jpg, which has no mask.",
    }
}
"""Changes of ``--on-empty`` for verbs that draw no random points."""

_TYPES: dict[str, Any] = {
    "text": str,
    "integer": int,
    "number": float,
    "bytes": Bytes(),
    "names": Names(),
    "size": Size(),
    "transform": AffineTransform(),
    "count_or_auto": Slots(),
    "rate": Rate(),
    "file": click.Path(path_type=Path, dir_okay=False),
    "folder": click.Path(path_type=Path, file_okay=False),
}


def declared_options(
    config: type, *, without: Collection[str] = (), changes: Mapping[str, Mapping[str, Any]] | None = None
) -> list[VerbOption]:
    """Make the options of a command from the fields of a config.

    An option that is not typed has no value here: the config's own default counts.

    Args:
        config: a dataclass whose fields are declared by :func:`eechips.signature.option`.
        without: names of fields that the command does not have.
        changes: attributes of :class:`eechips.signature.Option` that differ for this command, by name of the field.
    """
    made = []
    for name, (field, option) in options_of(config).items():
        if option.is_listed and name not in without:
            made.append(_option(name, field, dataclasses.replace(option, **(changes or {}).get(name, {}))))
    return made


def _option(name: str, field: dataclasses.Field[Any], option: Option) -> VerbOption:
    flag = f"--{name.replace('_', '-')}"
    attributes: dict[str, Any] = {}
    if isinstance(field.default, bool):
        attributes |= {"is_flag": True, "default": False}
        flag = f"{flag}/--no-{flag[2:]}" if option.has_negation else flag
    else:
        attributes |= {"type": _type(option), "metavar": option.metavar, "multiple": option.is_multiple}
    if option.bare_value is not None:
        attributes |= {"is_flag": False, "flag_value": option.bare_value}
    if option.variable is not None:
        attributes |= {"envvar": option.variable, "show_envvar": True}
    default = option.default or _default(field)
    text = option_names(option.help) + (f" [default: {option_names(default)}]" if default else "")
    is_required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    return VerbOption(
        [*option.flags, flag, name],
        help=text,
        heading=option.heading,
        is_advanced=option.is_advanced,
        required=is_required and option.default is None,
        **attributes,
    )


def _type(option: Option) -> Any:
    if option.choices:
        return click.Choice(tuple(option.choices))
    if option.kind == "integer" and option.least is not None:
        return click.IntRange(option.least)
    return _TYPES[option.kind]


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING or value is None or value is False or value in ("", ()):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def run_parameters(
    *, without: Collection[str] = (), changes: Mapping[str, Mapping[str, Any]] | None = None
) -> list[click.Parameter]:
    """Return the options of a run, which every verb that fetches has; see :func:`declared_options`."""
    flags = [
        meta_flag("yes", "-y", "--yes", help="With --estimate: continue without asking.", heading=RUN),
        meta_flag("no report", "--no-report", help="Make no report.html at the end.", heading=RUN, is_advanced=True),
        meta_flag("debug", "--debug", help="Show the traceback of an error.", heading=RUN, is_advanced=True),
    ]
    arguments = click.Argument(["pipeline_options"], nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
    declared = [
        option
        for config in (RunConfig, LedgerOptions)
        for option in declared_options(config, without=without, changes=changes)
    ]
    return [arguments, *declared, *flags]


def run_options(
    *, without: Collection[str] = (), changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[FunctionT], FunctionT]:
    """Add the options of a run to a function that :func:`click.command` makes a command of."""

    def decorate(function: FunctionT) -> FunctionT:
        # As click's own decorators do: parameters are noted in reverse order.
        noted = function.__dict__.setdefault("__click_params__", [])
        noted.extend(reversed(run_parameters(without=without, changes=changes)))
        return function

    return decorate


def fetch_command(
    name: str,
    config: type,
    make: Callable[[dict[str, Any]], tuple[Recipe, RunConfig]],
    help: str,
    *,
    without: Collection[str] = (),
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> click.Command:
    """Make the command of a verb whose options are the fields of a config and those of the run.

    Args:
        name: of the verb.
        config: the recipe of the verb.
        make: makes the recipe, and the config of its run, from the options that were given.
        help: description and examples.
        without: options of the run that the verb does not have.
        changes: what differs in options of the run; see :func:`declared_options`.
    """

    def call(**options: Any) -> None:
        finish(*make(given(options)))

    own, shared = declared_options(config), run_parameters(without=without, changes=changes)
    return FetchCommand(name, params=[*own, *shared], callback=call, help=help, context_settings=HELP)
