"""Decide what a command from elsewhere (run.json, queue, lockfile, run file) may set without ``trust``: data, and
nothing else; refuse changed files.

A line of a queue, a run folder, a lockfile and a run file each name a command with its options. This user's own are
signed (:mod:`eechips.manifest.run_signature`). A command of anyone else may set the options that decide data, and those
that may be files if their value is none; see :data:`eechips.option_fields.Decision`. Every other option is refused, and
so is one that does not declare what it decides.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.commands.command import FetchCommand, VerbCommand, VerbOption
from eechips.commands.fetching import find_command
from eechips.errors import UsageError
from eechips.files.local_paths import expand_home
from eechips.geo.vector_paths import hash_vectors, is_vector_file
from eechips.storage.untrusted_files import is_local_path

if TYPE_CHECKING:
    from eechips.engine.queues.queue_items import WorkItem

_AFTER = "--"


def check_planned(item: WorkItem, own: Collection[str], *, is_own: bool) -> None:
    """Refuse the command of an item that is not as this user has planned it, unless all that it sets is data.

    Args:
        item: the item, or one of several of the same command.
        own: names of the options that this user gives instead of the command; ``out`` is always this user's.
        is_own: whether this user has signed the item, and all others of the command.

    Raises:
        UsageError: if the command is refused.
    """
    if not is_own:
        if refused := refused_words(item.job, {*own, "out"}):
            raise UsageError(
                "these units were planned by another user, on another machine or by another version, or were changed"
                f" since, and their command sets more than data ({', '.join(refused)}): eechips"
                f" {shlex.join(item.job)}. Give these options here yourself. Give `trust` to execute the command as"
                " it is"
            )
        return
    planned = dict(item.files)
    for path, digest in hash_files(item.job).items():
        if planned.get(path) != digest:
            raise UsageError(
                f"{path} is not the file with which these units were planned: plan again. Give `trust` to execute"
                f" eechips {shlex.join(item.job)} with the file as it is"
            )


def refused_words(words: Sequence[str], own: Collection[str] = ()) -> list[str]:
    """Return the options of a command that only its own user may set.

    Args:
        own: names of parameters whose last value is this user's, typed after the words.

    Returns:
        The options as they are typed; none if all that the command sets is data.

    Raises:
        UsageError: if it is no command that fetches, or has no such option.
    """
    values, parameters = _parse(find_command(words[0]), words)
    refused = [_label(parameter) for parameter in parameters if not _is_settable(parameter, values, own)]
    return list(dict.fromkeys([*refused, *([f"arguments after {_AFTER}"] if _AFTER in words else [])]))


def refused_values(
    command: FetchCommand, values: Mapping[str, Any], supplied: Collection[tuple[str, str]]
) -> list[str]:
    """Return the options of a command that only its own user may set, of JSON values by name.

    Args:
        supplied: names and values of the options whose files came with the command.
    """
    parameters = {str(declared.name): declared for declared in command.params}
    refused = []
    for name, value in values.items():
        parameter = parameters.get(name)
        left = [text for text in _texts(value) if (name, text) not in supplied]
        if parameter is None or not _is_settable(parameter, {name: left}, ()):
            refused.append(name if parameter is None else _label(parameter))
    return refused


def hash_files(words: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of the files that a command reads: its recipe, and those that its options name.

    Returns:
        Hexadecimal digits by path, as it is typed. Files that are not there are left out.

    Raises:
        UsageError: if it is no command that fetches, or has no such option.
    """
    values, parameters = _parse(find_command(words[0]), words)
    read = [parameter for parameter in parameters if _reads_file(parameter)]
    named = dict.fromkeys(text for parameter in read for text in _texts(values.get(parameter.name or "")))
    return {text: hash_vectors(path) for text in named if is_vector_file(path := Path(expand_home(text)))}


def parameter_names(verb: str, words: Sequence[str]) -> frozenset[str]:
    """Return the names of the parameters of a command that words set.

    Raises:
        UsageError: if it is no command that fetches, or has no such option.
    """
    return frozenset(str(parameter.name) for parameter in _parse(find_command(verb), (verb, *words))[1])


def _parse(command: click.Command, words: Sequence[str]) -> tuple[Mapping[str, Any], list[click.Parameter]]:
    """Return the values that words set, as text by parameter, and the parameters; nothing is converted or called.

    Raises:
        UsageError: if the command has no such option, or one lacks its value.
    """
    context = click.Context(command, info_name=words[0], **command.context_settings)
    typed = command.separate(words[1:]) if isinstance(command, VerbCommand) else list(words[1:])
    try:
        values, _, order = command.make_parser(context).parse_args(typed)
    except click.UsageError as error:
        raise UsageError(f"eechips {shlex.join(words)}: {error.format_message()}") from None
    # The parser lists all arguments, also those without a word.
    return values, [p for p in order if not isinstance(p, click.Argument) or _texts(values.get(p.name or ""))]


def _is_settable(parameter: click.Parameter, values: Mapping[str, Any], own: Collection[str]) -> bool:
    if parameter.name in own and not parameter.multiple:
        return True
    decides = parameter.decides if isinstance(parameter, VerbOption) else None
    texts = _texts(values.get(parameter.name or ""))
    return decides == "data" or (decides == "input" and not any(map(is_local_path, texts)))


def _reads_file(parameter: click.Parameter) -> bool:
    """Say whether a parameter may be a file that a recipe is made of, or reads."""
    if isinstance(parameter, VerbOption):
        return parameter.is_input
    return isinstance(parameter, click.Argument) and isinstance(parameter.type, click.Path)


def _label(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.human_readable_name if parameter.nargs == 1 else f"arguments after {_AFTER}"
    return max(parameter.opts, key=len)


def _texts(value: Any) -> list[str]:
    values: Iterable[Any] = value if isinstance(value, (list, tuple)) else [value]
    return [text for text in values if isinstance(text, str)]
