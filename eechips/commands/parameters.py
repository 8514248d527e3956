"""Declare the parameters of commands: their types (metres, bytes, sizes, ``NAME=VALUE``, ``auto|N``), options made from
the fields of a config, and values as they are typed.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from eechips.commands.command import OPTIONAL_FOLDER, VerbCommand, VerbOption
from eechips.commands.option_names import option_names
from eechips.errors import UsageError
from eechips.option_fields import Option, options_of
from eechips.storage import local_path
from eechips.text.formatting import parse_bytes, parse_distance
from eechips.text.suggestion import did_you_mean_option

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

CONFIGS = "configs"
"""Attribute of the function of a command: the configs that declare its options."""

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of every command's context."""


class LocalPath(click.Path):
    """A file or a folder of this machine; see :func:`eechips.storage.local_path`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(path_type=Path, **attributes)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if self.allow_dash and value == "-":
            return super().convert(value, param, ctx)
        try:
            path = local_path(value)
        except UsageError as error:
            return self.fail(str(error), param, ctx)
        return super().convert(str(path), param, ctx)


# ParamType is generic in the newest click only, and cannot be subscripted in older ones.
class Names(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas: ``R,G,B``."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, without the spaces around them."""
        return value if isinstance(value, tuple) else tuple(part.strip() for part in str(value).split(","))


class Size(click.ParamType):  # type: ignore[type-arg]
    """An edge, or width and height: ``256`` or ``512x256``."""

    name = "N|WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
        """Return the edge, or both."""
        if isinstance(value, (int, tuple)):
            return value
        try:
            numbers = [int(part) for part in str(value).lower().split("x")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            return numbers[0]
        if len(numbers) == 2:
            return numbers[0], numbers[1]
        return self.fail(f"{value!r} is not a number of pixels, nor WIDTHxHEIGHT", param, ctx)


class Assignment(click.ParamType):  # type: ignore[type-arg]
    """A name and a value: ``name=value``."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return the two."""
        if isinstance(value, tuple):
            return value[0], value[1]
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            return self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


class NumberOrWord(click.ParamType):  # type: ignore[type-arg]
    """A number, or a word: ``auto|N``.

    Args:
        name: placeholder of the value.
        number: reads a number.
        meaning: what the number is, and which words there are, for the message.
        words: values of the words.
    """

    def __init__(self, name: str, number: Callable[[str], float], meaning: str, **words: str | float) -> None:
        self.name, self._number, self._meaning, self.words = name, number, meaning, words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or the value of the word."""
        if not isinstance(value, str):
            return value
        if value.lower() in self.words:
            return self.words[value.lower()]
        try:
            return self._number(value)
        except ValueError:
            return self.fail(f"{value!r} is not {self._meaning}", param, ctx)


class AssetFolder(click.types.StringParamType):
    """A folder of assets, or ``demo``."""

    name = OPTIONAL_FOLDER


class Number(click.types.FloatParamType):
    """A number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        try:
            return float(value)
        except ValueError:
            return self.fail(f"{value!r} is not a number", param, ctx)


class Metres(Number):
    """A length in metres: ``10``, ``10m``, ``1km``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the metres."""
        text = str(value).strip().lower()
        try:
            return parse_distance("", text, may_be_zero=True) if text.endswith("m") else float(text)
        except (ValueError, UsageError):
            return self.fail(f"{value!r} is not a number of metres, such as 10 or 10m", param, ctx)


class Bytes(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: ``500MB``, ``2.5GB``, ``1000000``."""

    name = "N|NMB|NGB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return parse_bytes(value)
        except UsageError as error:
            return self.fail(str(error), param, ctx)


_TYPES: dict[str, Any] = {
    "text": str,
    "integer": int,
    "number": Number(),
    "metres": Metres(),
    "share": click.FloatRange(0.0, 1.0),
    "bytes": Bytes(),
    "names": Names(),
    "size": Size(),
    "count_or_auto": NumberOrWord("auto|N", int, "a number of requests, nor auto", auto="auto"),
    "rate": NumberOrWord(
        "auto|none|N", float, "a number of requests a second, nor auto, nor none", auto="auto", none=math.inf
    ),
    "file": LocalPath(dir_okay=False),
    "folder": LocalPath(file_okay=False),
    "assets": AssetFolder(),
}


def run_command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command whose first argument is the folder of a run."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        folder = click.argument("folder", type=LocalPath(), metavar="DIR")
        return click.command(name, cls=VerbCommand, context_settings=HELP)(folder(function))

    return decorate


def declared_options(
    config: type,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[VerbOption]:
    """Make the options of a command from the fields of a config.

    An option that is not typed has no value here: the config's own default counts.

    Args:
        config: a dataclass whose fields are declared by :func:`eechips.option_fields.option`.
        only: names of fields that the command has; None for all.
        without: names of fields that the command does not have.
        changes: attributes of :class:`eechips.option_fields.Option` that differ for this command, by name of the field.
    """
    options = []
    for name, (field, option) in options_of(config).items():
        if option.is_listed and name not in without and (only is None or name in only):
            options.append(_option(name, field, dataclasses.replace(option, **(changes or {}).get(name, {}))))
    return options


def config_options(config: type, **selection: Any) -> Callable[[FunctionT], FunctionT]:
    """Add the :func:`declared_options` of a config to a function that :func:`click.command` makes a command of."""

    def decorate(function: FunctionT) -> FunctionT:
        # As click's own decorators do: parameters are noted in reverse order.
        function.__dict__.setdefault("__click_params__", []).extend(reversed(declared_options(config, **selection)))
        function.__dict__.setdefault(CONFIGS, []).append(config)
        return function

    return decorate


def _option(name: str, field: dataclasses.Field[Any], option: Option) -> VerbOption:
    flag = option.long_flag or f"--{name.replace('_', '-')}"
    attributes: dict[str, Any] = {}
    if isinstance(field.default, bool) and option.bare_value is None:
        attributes |= {"is_flag": True, "default": field.default}
    else:
        attributes |= {
            "type": _type(option),
            "metavar": option.metavar or _range(option),
            "multiple": option.is_multiple,
        }
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
        decides=option.decides,
        required=is_required and option.default is None,
        **attributes,
    )


def _range(option: Option) -> str | None:
    """Return the values that a number may have, as the placeholder of the value; None if they are not bounded."""
    if option.kind == "share":
        return "0-1"
    return None if option.least is None or option.most is None else f"{option.least}-{option.most}"


def _type(option: Option) -> Any:
    if option.choices:
        return click.Choice(tuple(option.choices))
    if option.kind == "integer" and (option.least is not None or option.most is not None):
        return click.IntRange(option.least, option.most)
    return _TYPES[option.kind]


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is dataclasses.MISSING or value is None or value is False or value in ("", ()):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def command_words(command: click.Command, options: Mapping[str, Any]) -> list[str]:
    """Return the words that a user types for options that a Python caller gives.

    Raises:
        UsageError: if the command has no such option.
    """
    parameters = {p.name: p for p in command.params if isinstance(p, click.Option) and p.name}
    words: list[str] = []
    for name, value in options.items():
        parameter = parameters.get(name)
        if parameter is None:
            raise UsageError(f"there is no option {name!r}{did_you_mean_option(name, list(parameters))}")
        flag = max(parameter.opts, key=len)
        if parameter.is_flag:
            words += [flag] if value else parameter.secondary_opts[:1]
            continue
        if isinstance(value, bool) and isinstance(parameter.flag_value, str):  # it may be left out, as of --mask
            words += [flag] if value else []
            continue
        is_several = parameter.multiple and isinstance(value, (tuple, list, Mapping))
        for element in _pairs(value, parameter.type) if is_several else [value]:
            text = typed_text(element, parameter.type)
            if text is not None:
                words += [f"{flag}={text}"] if flag.startswith("--") else [flag, text]
    return words


def typed_text(value: Any, kind: Any) -> str | None:
    """Return a value as it is typed; None if it stands for an option that is not given."""
    if isinstance(kind, NumberOrWord) and "none" in kind.words and value in (None, math.inf):
        return "none"
    if value is None:
        return None
    if isinstance(value, Mapping):
        return ",".join(f"{name}={member}" for name, member in value.items())
    if isinstance(value, (tuple, list)):
        return ("x" if isinstance(kind, Size) else ",").join(map(str, value))
    return str(value)


def _pairs(values: Sequence[Any] | Mapping[str, Any], kind: Any) -> Sequence[Any]:
    """Return the values of a repeated option; those of a mapping with their names: ``S2:B4,B3``, or ``count=3``."""
    if not isinstance(values, Mapping):
        return values
    if isinstance(kind, Assignment):  # of a parameter of a recipe, which reads lists and booleans as JSON
        return [f"{name}={_json_or_text(value, kind)}" for name, value in values.items()]
    return [f"{name}:{typed_text(value, kind)}" for name, value in values.items()]


def _json_or_text(value: Any, kind: Any) -> str | None:
    is_json = isinstance(value, (bool, list, tuple, Mapping))
    return json.dumps(value, ensure_ascii=False) if is_json else typed_text(value, kind)
