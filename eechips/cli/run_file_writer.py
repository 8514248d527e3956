"""Write the run file of a command, and the JSON schema of run files, which editors use to complete and check them."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eechips.cli.group import main
from eechips.cli.run_file import FETCHING, FOLLOWING, keys_of
from eechips.commands.parameters import Assignment, Names, NumberOrWord, Size, typed_text
from eechips.commands.retried_runs import recorded_words
from eechips.commands.untrusted_commands import refused_words
from eechips.errors import UsageError
from eechips.manifest.run import open_run
from eechips.manifest.run_signature import is_own
from eechips.storage import write_file

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def typed_keys(context: click.Context) -> dict[str, Any]:
    """Return the options that were typed for a command, by their keys of a run file, as values of TOML."""
    options = {}
    for key, parameter in keys_of(context.command).items():
        value = context.params.get(parameter.name or "")
        is_typed = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if is_typed and value not in (None, ()):
            options[key] = _plain(parameter, value)
    return options


def write_run_file(path: Path, context: click.Context) -> None:
    """Write a command as a run file.

    Raises:
        StorageError: if it cannot be written.
    """
    heads, tables = [f"[{context.info_name}]"], []
    for key, value in typed_keys(context).items():
        if isinstance(value, Mapping):
            tables += [
                "",
                f"[{context.info_name}.{key}]",
                *(f"{_key(k)} = {format_value(v)}" for k, v in value.items()),
            ]
        else:
            heads.append(f"{key} = {format_value(value)}")
    write_file(path, ("\n".join([*heads, *tables]) + "\n").encode())


def recorded_context(folder: Path, root: click.Context) -> click.Context:
    """Return the context of the command that made a run.

    Raises:
        UsageError: if the command sets more than data, and is another user's.
    """
    run = open_run(folder)
    verb, *words = recorded_words(run, repeats="instead: only a command becomes a run file")[1:]
    if not is_own(run.info, run.path) and (refused := refused_words((verb, *words))):
        raise UsageError(
            f"{folder} was made by another user, or moved, and its command sets more than data ({', '.join(refused)}):"
            f" read it in run.json, then: eechips trust {shlex.quote(str(folder))}"
        )
    command = main.get_command(root, verb)
    if command is None:
        raise UsageError(f"{folder} was made by `eechips {verb}`, which this version does not have")
    return command.make_context(verb, words, parent=root)


def _plain(parameter: click.Parameter, value: Any) -> Any:
    """Return a converted value as a value of TOML."""
    if isinstance(value, bool):
        return value
    if isinstance(parameter.type, Assignment) and parameter.multiple:
        return dict(value)
    if parameter.multiple or parameter.nargs == -1:
        return [_single(parameter, element) for element in value]
    return _single(parameter, value)


def _single(parameter: click.Parameter, value: Any) -> Any:
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, tuple) and all(isinstance(element, str) for element in value):
        return list(value)
    return typed_text(value, parameter.type)


def format_value(value: Any) -> str:
    """Return a text, a number or a list of them as TOML.

    Its basic strings have the escapes of JSON, and need one for DEL as well.
    """
    if isinstance(value, list):
        return f"[{', '.join(map(format_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else format_value(name)


_TEXT: Mapping[str, Any] = {"type": "string"}
_NUMBER: Mapping[str, Any] = {"type": "number"}
_INTEGER: Mapping[str, Any] = {"type": "integer"}
_LIST: Mapping[str, Any] = {"type": "array", "items": {"type": ["string", "number"]}}


def run_file_schema(root: click.Context) -> dict[str, Any]:
    """Return the schema (https://json-schema.org/draft/2020-12) of run files."""
    tables = {}
    for verb in (*FETCHING, *FOLLOWING):
        command = main.get_command(root, verb)
        assert command is not None
        table = _table(command)
        tables[verb] = {"anyOf": [table, {"type": "array", "items": table}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Run file of eechips",
        "description": "A table for each command to run, in their order; the keys are the command's options.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": tables,
    }


def _table(command: click.Command) -> dict[str, Any]:
    keys = keys_of(command)
    required = [key for key, parameter in keys.items() if parameter.required and key != "folder"]
    schema: dict[str, Any] = {
        "type": "object",
        "description": command.get_short_help_str(200),
        "additionalProperties": False,
        "properties": {key: _value(parameter) for key, parameter in keys.items()},
    }
    return {**schema, "required": required} if required else schema


def _value(parameter: click.Option | click.Argument) -> dict[str, Any]:
    if isinstance(parameter, click.Argument):
        return dict(_LIST) if parameter.nargs == -1 else dict(_TEXT)
    help_text = {"description": parameter.help} if parameter.help else {}
    if parameter.is_flag:
        return {"type": "boolean", **help_text}
    kinds = [_kind(parameter.type)]
    if isinstance(parameter.flag_value, str):
        kinds.append({"const": True})
    if isinstance(parameter.type, (Names, click.types.StringParamType)) or parameter.multiple:
        kinds.append(_LIST)
    if parameter.multiple:
        kinds.append({"type": "object"})
    elif "NAME=" in (parameter.metavar or ""):
        kinds.append({"type": "object", "additionalProperties": {"type": ["string", "number"]}})
    return {**(kinds[0] if len(kinds) == 1 else {"anyOf": [dict(kind) for kind in kinds]}), **help_text}


def _kind(kind: Any) -> Mapping[str, Any]:
    """Return the schema of a single value."""
    if isinstance(kind, click.Choice):
        return {"enum": list(kind.choices)}
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        bounds = {"minimum": kind.min, "maximum": kind.max}
        base = _INTEGER if isinstance(kind, click.IntRange) else _NUMBER
        return {**base, **{name: value for name, value in bounds.items() if value is not None}}
    if isinstance(kind, click.types.IntParamType):
        return _INTEGER
    if isinstance(kind, click.types.FloatParamType):
        return _NUMBER
    if isinstance(kind, (NumberOrWord, Size)) or kind.name.startswith("N|"):
        return {"type": ["number", "string", "array"]}
    if isinstance(kind, (Names, Assignment, click.Path)):
        return _TEXT
    if isinstance(kind, click.types.StringParamType):
        return {"type": ["string", "number"]}  # numbers, and dates, are read as text
    return {"type": ["string", "array"]}
