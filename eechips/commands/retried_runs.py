"""Execute the command that made a run again, in the same folder and with the same service, if it is trusted:
:func:`retry`.

:mod:`eechips.manifest.failures` opens the failed units again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eechips.commands.command import TYPED, FetchCommand, typed_options
from eechips.commands.fetching import find_command, recipe_of
from eechips.commands.locked_runs import rebuild_parameters, rebuild_run
from eechips.commands.parameters import HELP
from eechips.commands.untrusted_commands import refused_words
from eechips.engine.run import run as run_recipe
from eechips.errors import UsageError
from eechips.manifest.exclusions import has_excluded_units
from eechips.manifest.extensions import code_changes
from eechips.manifest.failures import reopen_failures
from eechips.manifest.manifest_columns import State
from eechips.manifest.run import Run, open_run
from eechips.manifest.run_repair import awaits_assembly
from eechips.manifest.run_signature import FOLDER, signed_folder
from eechips.manifest.run_signature import is_own as is_signed_for
from eechips.web.redaction import REDACTED

REBUILD = "rebuild"
"""The only command beside those that fetch that makes a run."""


def retry(run: str | Path | Run, *, classes: Sequence[str] = (), units: Sequence[str] = (), trust: bool = False) -> Run:
    """Run failed units of a run again, with the command that made the run, in the folder where it was typed.

    Like every resumed run, it also fetches planned units, and those that failed for a transient reason.

    Args:
        run: the run, or its folder.
        classes: only errors of these classes: names such as ``PermanentError``, or ``permanent``. All if empty.
        units: only these units, by their id or its beginning. All if empty.
        trust: execute the command of run.json even if somebody else wrote it.

    Returns:
        The run; units may have failed again.

    Raises:
        UsageError: if the folder holds no run, or a program made the run (repeat its call inside
            :func:`eechips.manifest.failures.reopen_failures`), or the command is somebody else's.

    Example:
        >>> eechips.retry("outputs/sample-naip", classes=["permanent"]).failures
    """
    opened_run = open_run(run)
    words, place = recorded_words(opened_run), opened_run.path.resolve()
    if not classes and not units and not has_open_units(opened_run):
        return opened_run
    try:
        with (
            as_recorded(words, opened_run, partial(require_trust, trust=trust)) as again,
            reopen_failures(place, classes, units),
        ):
            _execute(again, words)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    return open_run(place)


def _execute(again: click.Context, words: Sequence[str]) -> None:
    """Execute a command, as a function does."""
    if not isinstance(again.command, FetchCommand):
        with again:
            rebuild_run(**typed_options(again.params))
        return
    recipe, config = again.command.receive(again)
    if again.meta.get("yes"):
        config = dataclasses.replace(config, confirm=lambda _: True)
    run_recipe(recipe, dataclasses.replace(config, command=shlex.join(words)))


def has_open_units(run: Run) -> bool:
    """Say whether there is something to fetch, assemble or write: failed, open, excluded or replaced units, or the
    manifest of a run that was killed at its end.
    """
    has_open = any(State(state).is_failure or State(state).is_open for state in run.counts)
    is_left = has_open or has_excluded_units(run.path) or awaits_assembly(run.path)
    return is_left or not run.info.get("finished")


def find_recorded(verb: str) -> click.Command:
    """Return a command that makes a run; raise UsageError if there is none of this name."""
    if verb == REBUILD:
        return click.Command(REBUILD, params=rebuild_parameters(), context_settings=HELP)
    return find_command(verb)


def require_trust(run: Run, words: Sequence[str], reason: str, *, trust: bool) -> None:
    """Refuse to execute a recorded command that needs permission for a reason, unless the user trusts it."""
    if trust:
        return
    sets = f" (sets more than data: {', '.join(refused)})" if (refused := refused_options(words)) else ""
    raise UsageError(
        f"the command of {run.path} was not executed: read it and its recipe, then give `trust`:"
        f" {shlex.join(words)}{sets}. It needs permission, as {reason}"
    )


def _is_same_recipe(words: Sequence[str], info: Mapping[str, Any]) -> bool:
    """Say whether the recipe of a command is still the one that its run.json names last; it is not executed."""
    if words[1] == REBUILD:
        return True
    named = [str(info.get("identity")), *(change.after for change in code_changes(info))]
    return recipe_of(words[1:])[0].identity == named[-1]


def refused_options(words: Sequence[str]) -> list[str]:
    """Return the options of a recorded command that only its own user may set; its folder is that of the run."""
    return ["LOCKFILE"] if words[1] == REBUILD else refused_words(words[1:], ("out", "ledger"))


def recorded_words(run: Run, *, repeats: str | None = None) -> list[str]:
    """Return the words of the command that made a run.

    Args:
        repeats: how to repeat the call of a program; None for a retry.

    Raises:
        UsageError: if a program made the run, or its command contained a secret, which is not recorded.
    """
    command = run.info.get("command") or ""
    if REDACTED in command:
        raise UsageError(
            f"the command of {run.path} contained a secret, which run.json does not record ({command}): repeat the"
            f" command to retry transient failures; to retry all, repeat it inside"
            f" `with eechips.manifest.failures.reopen_failures({str(run.path)!r}):`"
        )
    try:
        words = shlex.split(command)
    except ValueError:  # no command that eechips has written
        words = []
    if len(words) < 2 or words[0] != "eechips":
        inside = f"inside `with eechips.manifest.failures.reopen_failures({str(run.path)!r}):`"
        raise UsageError(f"{run.path} was made by a program: repeat its call {repeats or inside}")
    return words


@contextlib.contextmanager
def as_recorded(
    words: Sequence[str],
    run: Run,
    permit: Callable[[Run, Sequence[str], str], object],
    find: Callable[[str], click.Command | None] = find_recorded,
    *,
    is_extended: bool = False,
) -> Iterator[click.Context]:
    """Parse a command as it was typed: in the same folder, with the same endpoint and project.

    These two may have come from the environment; run.json records them, but no credentials. Inside the block the
    folder is the working directory; the verb records the same words in run.json.

    A command of this user, typed in this folder, with the same recipe is executed unasked. Others need permission, and
    send credentials to Google's own endpoints only.

    Args:
        run: the run that it made; results go to its folder, even if that was renamed.
        permit: raises UsageError if a command that needs permission, for a reason, has none.
        find: returns a command by its name, if there is one.
        is_extended: whether the recipe is to have a later end than the recorded one.

    Raises:
        UsageError: if this version has no such command that makes a run.
    """
    place, info = run.path.resolve(), run.info
    run = dataclasses.replace(run, path=place)  # the working folder changes
    root = click.Context(click.Command("eechips"), info_name="eechips")
    verb = find(words[1])
    if verb is None or not (isinstance(verb, FetchCommand) or words[1] == REBUILD):
        raise UsageError(f"{run.path} was made by `eechips {words[1]}`, which makes no run in this version")
    option = "ledger" if info.get("results") else "out"  # names the folder of the run
    named = verb.make_context(words[1], list(words[2:]), parent=root, resilient_parsing=True).params.get(option)
    with _inside(_directory(info, named, place)):
        again = verb.make_context(words[1], list(words[2:]), parent=root)
        again.params[option] = place
        again.meta[TYPED] = list(words)
        for name in _kept(info, is_local=any(again.params.get(name) for name in ("local", "archive"))):
            if again.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                again.params[name] = info.get(name)
        if reason := _why_unsafe(words, run, is_extended=is_extended):
            permit(run, words, reason)
            again.params["send_credentials"] = False
        yield again


def _why_unsafe(words: Sequence[str], run: Run, *, is_extended: bool) -> str:
    """Return why a command needs permission, in the folder where it is to be executed; empty if it needs none."""
    if run.info.get(FOLDER) != signed_folder(run.path):
        return "the run was made in another folder, by you or by somebody else"
    if not is_signed_for(run.info, run.path):
        return "somebody else made the run, or HOME or EECHIPS_CACHE, where your key is, has changed"
    if str(Path.cwd()) != run.info.get("directory"):
        return "the folder where it was typed is gone"
    return "" if is_extended or _is_same_recipe(words, run.info) else "its recipe has changed since the run was made"


def _kept(info: Mapping[str, Any], *, is_local: bool) -> tuple[str, ...]:
    """Return the parameters that run.json records: none for a run without a service."""
    if not info.get("endpoint"):
        return ()
    return ("project",) if is_local else ("endpoint", "project")  # a local server has any port


def _directory(info: Mapping[str, Any], named: str | Path | None, place: Path) -> Path:
    """Return the folder where a command was typed.

    Args:
        named: the folder of the run as the command names it, if it does.
        place: place of the run, absolute.

    Returns:
        The first folder from which the command writes to ``place``: the recorded one; or, if the whole project has
        moved, the one above ``place``; else the recorded one if it is there still, or the present one.
    """
    relative = Path(named or Path("outputs") / place.name)
    recorded = Path(info["directory"]) if info.get("directory") else None
    depth = len(relative.parts)
    above = None if relative.is_absolute() or depth >= len(place.parts) else place.parents[depth - 1]
    for folder in (recorded, above):
        if folder is not None and folder.is_dir() and (folder / relative).resolve() == place:
            return folder
    return recorded if recorded is not None and recorded.is_dir() else Path.cwd()


@contextlib.contextmanager
def _inside(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
