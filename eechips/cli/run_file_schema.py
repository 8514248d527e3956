"""Describe run files by a JSON schema, which editors use to complete and check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from eechips.cli.run_file import FETCHING, FOLLOWING, keys_of
from eechips.commands.parameters import Assignment, Names, Rate, Size, Slots

_TEXT: Mapping[str, Any] = {"type": "string"}
_NUMBER: Mapping[str, Any] = {"type": "number"}
_INTEGER: Mapping[str, Any] = {"type": "integer"}
_LIST: Mapping[str, Any] = {"type": "array", "items": {"type": ["string", "number"]}}


def run_file_schema(root: click.Context) -> dict[str, Any]:
    """Return the schema (https://json-schema.org/draft/2020-12) of run files.

    Args:
        root: context of ``eechips``, which knows the commands.
    """
    assert isinstance(root.command, click.Group)
    tables = {}
    for verb in (*FETCHING, *FOLLOWING):
        command = root.command.get_command(root, verb)
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
    if isinstance(kind, (Slots, Rate, Size)) or kind.name.startswith("N|"):
        return {"type": ["number", "string", "array"]}
    if isinstance(kind, (Names, Assignment, click.Path)):
        return _TEXT
    if isinstance(kind, click.types.StringParamType):
        return {"type": ["string", "number"]}  # numbers, and dates, are read as text
    return {"type": ["string", "array"]}
