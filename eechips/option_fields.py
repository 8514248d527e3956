"""Declare options once, as fields of frozen dataclasses, for signatures, documentation and the command line; refuse
unknown options and values of a wrong type.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from eechips.errors import UsageError
from eechips.text.suggestion import did_you_mean_option

ConfigT = TypeVar("ConfigT")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

OptionKind = Literal[
    "text",
    "integer",
    "number",
    "metres",
    "share",
    "bytes",
    "names",
    "size",
    "count_or_auto",
    "rate",
    "file",
    "folder",
    "assets",
]

Decision = Literal["data", "input", "run", "code", "credentials", "network", "path"]
"""What the value of an option decides. A stranger, such as the author of a line in a queue, may set ``data``, and
``input`` unless its value is the path of a file; see :mod:`eechips.commands.untrusted_commands`.

``data``: what is fetched: bands, dates, sizes, formats. ``input``: what is fetched, perhaps from a file. ``run``: how a
run proceeds, and how much of the machine and the quota it uses. ``code``: what is executed. ``credentials``: which
secrets are used, who receives them, and who pays. ``network``: which servers receive requests. ``path``: which files
and folders are written or served."""

_KEY = "option"  # key of a field's metadata
_NUMBERS: Mapping[str, OptionKind] = {
    "int": "integer",
    "int | None": "integer",
    "float": "number",
    "float | None": "number",
}
_WIDTH = 112  # characters of a line of documentation
_ARGUMENTS = re.compile(r"^( *)options: .*\n", re.MULTILINE)  # the line of a docstring that the fields replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Documentation of a field of a config, and its form on the command line.

    Attributes:
        help: one or more sentences. Names of options are in backquotes; the command line shows them as ``--names``.
        heading: heading of the section of the help that lists the option.
        metavar: placeholder of the value, such as ``DATE``.
        kind: conversion of text to a value; of a field of one number it is that number's if nothing else is said. A
            field whose default is a boolean is always a flag.
        choices: allowed values; any if empty.
        default: description of the default if it is not the field's own value: "the dataset's".
        least: lower bound of an integer.
        most: upper bound of an integer.
        is_multiple: whether the option may be repeated.
        bare_value: value if the option is given without one; None if it requires a value.
        is_advanced: whether only ``--help-all`` lists it.
        is_listed: whether the command line has it.
        decides: what the value decides. An option without it is refused in everything that comes from others.
        flags: further names on the command line, such as ``-q``.
        long_flag: the name on the command line, if it is not that of the field: ``--split`` of ``splits``.
        variable: environment variable that gives the value.
    """

    help: str
    heading: str = ""
    metavar: str | None = None
    kind: OptionKind = "text"
    choices: Sequence[str] = ()
    default: str | None = None
    least: int | None = None
    most: int | None = None
    is_multiple: bool = False
    bare_value: str | None = None
    is_advanced: bool = False
    is_listed: bool = True
    decides: Decision | None = None
    flags: tuple[str, ...] = ()
    long_flag: str | None = None
    variable: str | None = None

    @property
    def is_input(self) -> bool:
        """Whether the value may be the path of a file that the recipe reads."""
        return self.decides == "input"


def option(help: str, heading: str = "", **details: Any) -> Mapping[str, Option]:
    """Make the metadata of a field that is an option, from the attributes of :class:`Option`.

    Example:
        >>> seed: int = field(default=0, metadata=option("The same seed draws the same points."))
    """
    return {_KEY: Option(help=help, heading=heading, **details)}


def option_field(value: Any, help: str, heading: str = "", /, **details: Any) -> Any:
    """Declare a field with a default that is an option, from the attributes of :class:`Option`.

    Example:
        >>> seed: int = option_field(0, "The same seed draws the same points.")
    """
    return dataclasses.field(default=value, metadata=option(help, heading, **details))


def data_field(value: Any, help: str, heading: str, /, **details: Any) -> Any:
    """Declare a field that is an option, and decides only what is fetched; see :func:`option_field`."""
    return option_field(value, help, heading, decides="data", **details)


def options_of(config: type) -> dict[str, tuple[dataclasses.Field[Any], Option]]:
    """Return the fields of a config that are declared as options, by name."""
    fields = (field for field in dataclasses.fields(config) if _KEY in field.metadata)
    return {field.name: (field, _with_kind(field.metadata[_KEY], field.type)) for field in fields}


def _with_kind(option: Option, annotation: Any) -> Option:
    """Return an option of a number with that kind, unless it has another."""
    is_number = option.kind == "text" and annotation in _NUMBERS
    return dataclasses.replace(option, kind=_NUMBERS[annotation]) if is_number else option


def chosen_options(config: object) -> dict[str, Any]:
    """Return the options of a config whose values differ from their defaults, as JSON values by name."""
    chosen = {}
    for name, (field, _) in options_of(type(config)).items():
        value = getattr(config, name)
        if field.default is dataclasses.MISSING or value != field.default:
            chosen[name] = _as_json(value)
    return chosen


def _as_json(value: Any) -> Any:
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _as_json(element) for key, element in value.items()}
    if isinstance(value, Sequence):
        return [_as_json(element) for element in value]
    return str(value)


def documented(config: type[ConfigT]) -> type[ConfigT]:
    """Add the section "Attributes" to the docstring of a config, from the options that it declares."""
    fields = {name: option for name, (_, option) in options_of(config).items()}
    lines = [line for name, option in fields.items() for line in _entry(name, option, "    ")]
    text = inspect.cleandoc(config.__doc__ or "")  # from Python 3.13 on, the compiler has removed the indent
    before, raises, after = text.partition("\nRaises:\n")
    config.__doc__ = f"{before.rstrip()}\n\nAttributes:\n" + "\n".join(lines) + "\n" + raises + after
    return config


def takes(*configs: type, further: str | None = None) -> Callable[[FunctionT], FunctionT]:
    """Give a function of ``**options`` the signature and the documentation of its configs.

    ``help``, completion and the documentation then show every option. In the docstring the line
    ``options: …`` is replaced by an entry for each option that the docstring does not describe itself.

    Args:
        configs: dataclasses; where several have a field of a name, the first counts.
        further: name of the keywords that the function takes besides, if it takes any.
    """

    def decorate(function: FunctionT) -> FunctionT:
        own, text = inspect.signature(function), function.__doc__ or ""
        parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        names = {parameter.name for parameter in parameters}
        entries: dict[str, Option] = {}
        for config in configs:
            for field in dataclasses.fields(config):
                is_internal = bool(options_of(config)) and _KEY not in field.metadata
                if field.init and not is_internal and field.name not in names:
                    names.add(field.name)
                    parameters.append(_parameter(field))
                elif field.name not in own.parameters or re.search(rf"^ +{field.name}: ", text, re.MULTILINE):
                    continue  # documented by another config, or by the function
                if _KEY in field.metadata:
                    entries.setdefault(field.name, field.metadata[_KEY])
        if further is not None:
            parameters.append(inspect.Parameter(further, inspect.Parameter.VAR_KEYWORD, annotation=Any))
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        if entries and text:
            function.__doc__ = _with_entries(text, entries)
        return function

    return decorate


_KINDS: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    Callable: "a function",
    Path: "a path",
    str: "a text, as on the command line",
}


def check_types(config: type, options: Mapping[str, Any], *, allows_none: bool = True) -> dict[str, Any]:
    """Check the types of options. Choices of words are checked where they are read.

    Args:
        config: a dataclass.
        options: by name. Numbers are taken for each other if no fraction is lost.
        allows_none: whether None stands for the default of a field that has one.

    Returns:
        The options, with numbers as the command line has them: a scale of 20 is 20.0, for the same run.

    Raises:
        UsageError: if one has another type; the message names the option.
    """
    hints, checked = get_type_hints(config), dict(options)
    for field in (field for field in dataclasses.fields(config) if field.name in options):
        value, kinds = options[field.name], _divide(hints[field.name])
        is_default = allows_none and value is None and field.default is not dataclasses.MISSING
        is_choice = all(get_origin(kind) is Literal or kind is NoneType for kind in kinds)
        if not is_default and not is_choice and not _is_one_of(value, kinds):
            bare = field.metadata[_KEY].bare_value if _KEY in field.metadata else None
            raise type_error(field.name, value, kinds, "" if value is not True or bare is None else bare)
        if not isinstance(value, bool) and isinstance(value, Real):
            checked[field.name] = next((kind(options[field.name]) for kind in (int, float) if kind in kinds), value)
    return checked


def takes_none(config: type, name: str) -> bool:
    """Return whether a field of a dataclass takes None."""
    return NoneType in _divide(get_type_hints(config).get(name))


def _divide(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the only one."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_one_of(value: Any, kinds: Collection[Any]) -> bool:
    return any(_is_of(value, kind) for kind in kinds)


def _is_of(value: Any, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in arguments
    if origin is Callable:
        return callable(value)
    if origin is None:
        is_number = kind in (int, float) and isinstance(value, Real)  # numpy's numbers among them
        return isinstance(value, kind) or (is_number and (kind is float or value == value // 1))
    if issubclass(origin, Mapping):
        has_names = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
        return has_names and all(_is_one_of(element, _divide(arguments[1])) for element in value.values())
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    is_long = origin is not tuple or arguments[-1] is Ellipsis or len(value) == len(arguments)
    return is_long and all(_is_one_of(element, _divide(arguments[0])) for element in value)


def type_error(name: str, value: Any, kinds: Collection[Any], usual: str = "") -> UsageError:
    """Return an error that names an option, its value, and what it must be; and the usual value, if there is one."""
    kind = type(value).__name__
    if usual:
        given = f"{kind}: write {name}={usual!r}"
    elif type(value).__module__.startswith("ee."):
        given = f"ee.{kind}, which only Earth Engine knows: give the id of an asset, a file, dates or numbers"
    elif hasattr(value, "to_file") or hasattr(value, "to_parquet"):
        given = f"{kind}. Write it to a file, as with `to_file` or `to_parquet`, and give the file's path"
    elif hasattr(value, "__geo_interface__"):
        given = f"{kind}. Write it to a file, as with `geopandas.GeoSeries([…], crs=4326).to_file`, and give its path"
    else:
        given = f"{kind}: {' '.join(repr(value).split()):.60}"
    origins = [get_origin(kind) for kind in kinds]
    words = [
        text for of, text in _KINDS.items() if (of in kinds or of in origins) and not (of is Path and str in kinds)
    ]
    words += [f"{word!r}" for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    wanted = " or ".join(words)
    if tuple in origins:
        wanted += " or a pair of them"
    elif Sequence in origins:
        wanted += " or a list"
    elif Mapping in origins:
        wanted += " or a dictionary"
    return UsageError(f"`{name}` must be {wanted}, not {given}")


def filled(config: Callable[..., ConfigT], options: Mapping[str, Any]) -> ConfigT:
    """Make a config from options.

    Args:
        config: a dataclass.
        options: values by name.

    Raises:
        UsageError: if an option is unknown; the message suggests a similar name.
    """
    names = [field.name for field in dataclasses.fields(config) if field.init]  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            raise UsageError(f"there is no option {name!r}{did_you_mean_option(name, names)}")
    return config(**options)


def _parameter(field: dataclasses.Field[Any]) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)


def _with_entries(text: str, entries: Mapping[str, Option]) -> str:
    def fill(match: re.Match[str]) -> str:
        lines = [line for name, option in entries.items() for line in _entry(name, option, match[1])]
        return "\n".join(lines) + "\n"

    return _ARGUMENTS.sub(fill, text, count=1)


def _entry(name: str, option: Option, indent: str) -> Iterator[str]:
    """Yield the lines of an option in a docstring."""
    text = f"{name}: {option.help.replace('`', '``')}"
    if option.choices:
        text += f" One of: {', '.join(option.choices)}."
    if option.default:
        text += f" Default: {option.default}."
    yield from textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ")
