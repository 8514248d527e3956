"""Read, check and execute run files, TOML with a table for each command, whose keys are its options; refuse those of
another user that set more than data.
"""

from __future__ import annotations

import datetime
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from eechips.cli.group import main, show_notes
from eechips.cli.terminal import echo
from eechips.commands.command import TYPED, UNFINISHED, FetchCommand
from eechips.commands.fetching import recipe_of
from eechips.commands.parameters import CONFIGS, command_words
from eechips.commands.untrusted_commands import refused_values
from eechips.errors import EechipsError, RunFileError, UsageError
from eechips.manifest.run_signature import is_own
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.manifest.untrusted_run import read_info
from eechips.option_fields import filled, options_of
from eechips.text.formatting import format_count
from eechips.text.suggestion import did_you_mean, did_you_mean_option, nearest_name
from eechips.text.toml_text import parse_toml

FETCHING = ("sample", "images", "composites", "mosaic", "timeseries", "points", "features", "scenes", "run")
"""Commands that make a run."""
FOLLOWING = ("retry", "verify", "check", "split", "stats", "pack", "card", "report", "preview", "plot")
"""Commands that read a run: of the file's last table that makes one, unless ``folder`` names another."""

_COMMANDS = (*FETCHING, *FOLLOWING)
_ARGUMENTS = "arguments"
"""Key of the words that are typed after ``--``."""


@dataclass(frozen=True, slots=True)
class RunStep:
    """A command of a run file.

    Attributes:
        words: its options and arguments as they are typed.
    """

    verb: str
    words: tuple[str, ...]


def read_run_file(path: Path, root: click.Context, overrides: Mapping[str, Any] | None = None) -> list[RunStep]:
    """Read the steps of a run file, in their order; ``overrides`` replace keys of each table that makes a run.

    Raises:
        RunFileError: if the file has mistakes; it lists all of them.
        UsageError: if the file cannot be read; or if it is another user's, and sets more than data.
    """
    tables = _parse(path)
    if is_received(path) and (refused := _refused(tables, root)):
        raise UsageError(
            f"{path} was written by another user, or lies in the folder of another user's run, and sets more than data"
            f" ({', '.join(refused)}): read it, then copy it to a file of yours in another folder"
        )
    reader = _Reader(root, overrides or {})
    keys = [
        name
        for name, content in tables.items()
        if name not in _COMMANDS and not any(map(_is_table, content if isinstance(content, list) else [content]))
    ]
    if keys:
        reader.problems.append(_misplaced(keys, tables))
    for name, content in tables.items():
        if name not in keys:
            reader.read(name, content)
    reader.problems += [
        f"{key!r} was typed, and no table of the file has this key" for key in reader.overrides_left if reader.has_run
    ]
    if not tables:
        reader.problems.append("it has no table: it needs one such as [sample]")
    if reader.problems:
        count = format_count(len(reader.problems), "mistake")
        raise RunFileError(f"{path} has {count}", reader.problems)
    return reader.steps


def _parse(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a byte order mark
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a run file: it is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except ValueError as error:
        hint = ": two commands of a name are written [[sample]] and [[sample]]" if "twice" in str(error) else ""
        raise UsageError(f"{path} is not a run file: {error}{hint}") from error


def _misplaced(keys: Sequence[str], tables: Mapping[str, Any]) -> str:
    """Describe the mistake of keys above all tables, and what cures it."""
    command = tables.get("command")
    named = nearest_name(command, _COMMANDS) if isinstance(command, str) else None
    there = next((name for name in tables if name in _COMMANDS and name not in keys), None)
    what, them = ("the keys are", "them") if len(keys) > 1 else ("the key is", "it")
    if named is not None:
        cure = f"write [{named}] on a line above {them}, instead of the key command"
    elif there is not None:
        cure = f"move {them} below the line [{there}]"
    else:
        cure = f"write the command on a line above {them}, such as [sample]"
    return f"{', '.join(keys)}: {what} above all tables: {cure}"


def is_received(path: Path) -> bool:
    """Say whether a file is another user's: by its owner, or as it lies in a run folder that another user has made.

    The owner counts if this user is not the superuser, to whom folders of others are given, as in containers.
    """
    user = os.geteuid()
    if user and path.stat().st_uid not in (user, 0):
        return True
    return any((folder / LEDGER_NAME).exists() and not _is_own_run(folder) for folder in path.resolve().parents)


def _is_own_run(folder: Path) -> bool:
    try:
        return is_own(read_info(folder), folder)
    except EechipsError:  # run.json is damaged
        return False


def _refused(tables: Mapping[str, Any], root: click.Context) -> list[str]:
    """Return what tables set that only this user's may: tables of other commands, and options that are no data."""
    refused = []
    for name, content in tables.items():
        command = main.get_command(root, name)
        if not isinstance(command, FetchCommand):
            refused.append(f"[{name}]")
            continue
        names = {key: parameter.name or key for key, parameter in keys_of(command).items()}
        tables_of_name = content if isinstance(content, list) else [content]
        for table in filter(_is_table, tables_of_name):  # others are mistakes
            values = {names.get(key, key): value for key, value in table.items()}
            refused += [f"[{name}] {option}" for option in refused_values(command, values, ())]
    return list(dict.fromkeys(refused))


class _Reader:
    """Turns tables into steps, and collects mistakes.

    Attributes:
        steps: found so far.
        problems: mistakes, each with its table.
        has_run: whether a table makes a run.
        overrides_left: options that replace keys, which no table has so far.
    """

    def __init__(self, root: click.Context, overrides: Mapping[str, Any]) -> None:
        self._root, self._overrides = root, overrides
        self._folder: Path | None = None  # of the last run
        self._place: str | None = None  # of its results
        self._places: dict[str, str] = {}  # labels of tables by the place of their results
        self.has_run = False
        self.overrides_left = dict.fromkeys(overrides)
        self.steps: list[RunStep] = []
        self.problems: list[str] = []

    def read(self, name: str, content: Any) -> None:
        """Read one table, or several of a name: ``[[sample]]``."""
        if name not in _COMMANDS:
            self.problems.append(f"[{name}]: a run file has no such table{did_you_mean(name, _COMMANDS)}")
            return
        tables = content if isinstance(content, list) else [content]
        if not tables:
            self.problems.append(f"{name}: it must be a table, not an empty list")
        for number, table in enumerate(tables, start=1):
            label = f"[{name}]" if len(tables) == 1 else f"[[{name}]] {number}"
            if isinstance(table, dict):
                self._read_table(name, label, table)
            else:
                self.problems.append(f"{name}: it must be a table: write [{name}] on a line, and keys below it")

    def _read_table(self, name: str, label: str, table: Mapping[str, Any]) -> None:
        command = main.get_command(self._root, name)
        assert command is not None
        is_fetching = isinstance(command, FetchCommand)
        problem_count = len(self.problems)
        parameters = keys_of(command)
        replaced = {key: value for key, value in self._overrides.items() if is_fetching and key in parameters}
        for key in replaced:
            self.overrides_left.pop(key, None)
        arguments, options = self._read_settings(label, parameters, {**table, **replaced})
        self.has_run = self.has_run or is_fetching
        if is_fetching:
            self._folder = self._place = None
        if len(self.problems) > problem_count:
            return
        after = arguments.pop(_ARGUMENTS, [])
        typed = [word for words in arguments.values() for word in words] + (["--", *after] if after else [])
        words = (*command_words(command, options), *typed)
        self.steps.append(RunStep(name, words))
        try:
            self._check(command, words)
        except (EechipsError, click.UsageError) as error:
            self.problems.append(f"{label} {_message(error)}")
        if is_fetching and self._place is not None:
            other = self._places.setdefault(self._place, label)
            if other != label:
                self.problems.append(f"{label} has the same output folder as {other}, {self._place}: give each its out")

    def _read_settings(
        self, label: str, parameters: Mapping[str, click.Argument | click.Option], settings: Mapping[str, Any]
    ) -> tuple[dict[str, list[str]], dict[str, Any]]:
        """Return the words of the arguments of a table, and its options; note what is wrong with them."""
        arguments: dict[str, list[str]] = {}
        options: dict[str, Any] = {}
        for key, value in settings.items():
            parameter = parameters.get(key)
            if parameter is None:
                self.problems.append(f"{label} has no key {key!r}{did_you_mean_option(key, list(parameters))}")
            elif isinstance(parameter, click.Argument):
                arguments[key] = self._read_argument(label, key, parameter, value)
            elif self._is_valid(label, key, parameter, value):
                options[parameter.name or key] = _plain(value)
        if "folder" in parameters and self.has_run:  # the table of that run may have mistakes
            arguments.setdefault("folder", [_path_word(str(self._folder or "."))])
        for key, parameter in parameters.items():
            if parameter.required and key not in {*arguments, *settings} and settings.keys() <= parameters.keys():
                self.problems.append(f"{label} needs the key {key!r}")
        return arguments, options

    def _read_argument(self, label: str, key: str, parameter: click.Argument, value: Any) -> list[str]:
        """Return the words of an argument; note what is wrong with it."""
        is_several = parameter.nargs == -1
        values = value if is_several and isinstance(value, list) else [value]
        if any(isinstance(element, (bool, list, dict)) for element in values) or (value == "" and not is_several):
            wanted = "a list of texts and numbers" if is_several else "a text that is not empty"
            self.problems.append(f"{label} {key} must be {wanted}, not {value!r}")
            return []
        return [str(element) if is_several else _path_word(str(element)) for element in values]

    def _check(self, command: click.Command, words: Sequence[str]) -> None:
        """Check the values of a table together, as its command does; remember the folder of a run.

        Raises:
            EechipsError, click.UsageError: for the first value that the command refuses.
        """
        name = command.name or ""
        if isinstance(command, FetchCommand):
            show_notes(is_quiet="--quiet" in words)
            config = recipe_of((name, *words))[1]
            self._folder, self._place = config.out, config.results or str(config.out.resolve())
        else:
            _check_configs(command, command.make_context(name, list(words), parent=self._root).params)

    def _is_valid(self, label: str, key: str, parameter: click.Option, value: Any) -> bool:
        """Convert the value of a key as the command line converts what is typed; note what is wrong with it."""
        problem = None
        if isinstance(value, list) and (shape := _wrong_shape(parameter, value)) is not None:
            problem = f"must be {shape}, not {value!r}"
        elif parameter.is_flag:
            problem = None if isinstance(value, bool) else f"must be true or false, not {value!r}"
        elif isinstance(value, bool):
            problem = None if isinstance(parameter.flag_value, str) else f"must not be {str(value).lower()}"
        else:
            typed = click.Command(label, params=[parameter])
            context = click.Context(typed)
            try:
                for word in command_words(typed, {parameter.name or key: _plain(value)}):
                    if word not in parameter.opts:
                        text = word.partition("=")[2] if word.startswith("--") else word
                        parameter.type.convert(text, parameter, context)
            except (click.BadParameter, UsageError) as error:
                problem = f"is wrong: {_message(error)}"
        if problem is not None:
            self.problems.append(f"{label} {key} {problem}")
        return problem is None


def keys_of(command: click.Command) -> dict[str, click.Option | click.Argument]:
    """Return the parameters of a command by the keys of its table in a run file."""
    parameters: dict[str, click.Option | click.Argument] = {}
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            parameters[_ARGUMENTS if parameter.nargs == -1 else parameter.name or ""] = parameter
        elif isinstance(parameter, click.Option) and parameter.name:
            if not parameter.expose_value or parameter.is_eager or parameter.hidden:
                continue
            flag = max(parameter.opts, key=len)
            parameters[flag[2:].replace("-", "_") if flag.startswith("--") else parameter.name] = parameter
    return parameters


def _check_configs(command: click.Command, values: Mapping[str, Any]) -> None:
    """Make the configs of a command, which raise UsageError for wrong values."""
    for config in getattr(command.callback, CONFIGS, ()):
        names = options_of(config)
        filled(config, {name: value for name, value in values.items() if name in names and value not in (None, ())})


def run_steps(steps: Sequence[RunStep], root: click.Context, *, quiet: bool) -> None:
    """Run the commands of a run file one after the other. A command that fails ends all.

    Commands that read a run are left out after a dry run. A run that is paused after its estimate ends all.

    Raises:
        click.exceptions.Exit: with the status of a command that does not end with 0.
    """
    unfinished = None
    for number, step in enumerate(steps, start=1):
        if unfinished == "dry run" and step.verb in FOLLOWING:
            if not quiet:
                echo(f"[{number}/{len(steps)}] eechips {step.verb} is left out: there is no run yet", err=True)
            continue
        if not quiet:
            echo(f"[{number}/{len(steps)}] eechips {shlex.join((step.verb, *step.words))}", err=True)
        command = main.get_command(root, step.verb)
        assert command is not None
        context = command.make_context(step.verb, list(step.words), parent=root)
        context.meta[TYPED] = ["eechips", step.verb, *step.words]
        with context:
            command.invoke(context)
        unfinished = context.meta.pop(UNFINISHED, unfinished if step.verb in FOLLOWING else None)
        if unfinished == "paused":
            if left := [later_step.verb for later_step in steps[number:]]:
                echo(f"Not run: {', '.join(left)}. To run all: repeat the run file with --yes", err=True)
            return


def _wrong_shape(parameter: click.Option, value: Sequence[Any]) -> str | None:
    """Return what a key must have instead of a list; None if the list is right."""
    if not value:
        return "left out, or have a value"
    names_file = isinstance(parameter.type, click.Path) or re.search("FILE|DIR", parameter.metavar or "") is not None
    if names_file and not parameter.multiple and any(isinstance(element, str) for element in value):
        return "one path"
    inner = [element for element in value if isinstance(element, (list, dict))]
    if inner and not (
        parameter.multiple and all(isinstance(element, list) and not _nested(element) for element in inner)
    ):
        return "a list of texts and numbers"
    return None


def _nested(values: Sequence[Any]) -> bool:
    return any(isinstance(element, (list, dict)) for element in values)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _path_word(path: str) -> str:
    """Return a path as a word that is no option."""
    return f"./{path}" if path.startswith("-") else path


def _plain(value: Any) -> Any:
    """Return a value with its dates as text."""
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    if isinstance(value, list):
        return tuple(_plain(element) for element in value)
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


def _message(error: EechipsError | click.UsageError | click.BadParameter) -> str:
    """Return the message of an error, with the names of options as keys."""
    text = (error.message or error.format_message()) if isinstance(error, click.UsageError) else str(error)
    text = text.rstrip(".").removesuffix(" range")  # "is not a valid integer range"
    return re.sub(r"(?<![\w-])--([a-z][a-z0-9-]+)", lambda match: match[1].replace("-", "_"), text)
