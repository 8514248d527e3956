"""Write the run file of a command."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eechips.cli.run_file import keys_of
from eechips.commands.parameters import Assignment, typed_text
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

    Args:
        folder: folder of the run.
        root: context of ``eechips``.

    Raises:
        UsageError: if the command sets more than data, and is another user's.
    """
    run = open_run(folder)
    verb, *words = recorded_words(run)[1:]
    if not is_own(run.info, run.path) and (refused := refused_words((verb, *words))):
        raise UsageError(
            f"{folder} was made by another user, or moved, and its command sets more than data ({', '.join(refused)}):"
            f" read it in run.json, then: eechips trust {folder}"
        )
    assert isinstance(root.command, click.Group)
    command = root.command.get_command(root, verb)
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
    if isinstance(value, (int, float)) and math.isfinite(value):
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
