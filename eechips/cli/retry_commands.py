"""Repeat the command of a run, or sign it: ``eechips retry`` and ``trust``."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eechips.cli.command import IN_PYTHON, TYPED, FetchCommand, VerbCommand
from eechips.cli.finish import recipe_of
from eechips.cli.group import main
from eechips.cli.parameters import HELP, LocalPath
from eechips.cli.terminal import ask, echo, echo_quoted
from eechips.cli.untrusted_commands import refused_words
from eechips.engine.run_json import encode_info
from eechips.errors import UsageError
from eechips.manifest.code_changes import code_changes
from eechips.manifest.exclusions import has_excluded_units
from eechips.manifest.failures import reopen_failures
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.reserved_names import CALLS_FOLDER
from eechips.manifest.run import INFO_NAME, Run, open_run
from eechips.manifest.run_repair import awaits_assembly
from eechips.manifest.run_signature import FOLDER, is_own, sealing_key, signed_folder
from eechips.manifest.unit_record import State
from eechips.scripts.call_folder import seal_results
from eechips.storage import write_file
from eechips.text.formatting import format_count
from eechips.web.redaction import REDACTED

_REBUILD = "rebuild"
"""The only command beside those that fetch that makes a run."""


@click.command("retry", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Only errors of this class. May be repeated.")
@click.option(
    "--unit",
    "ids",
    multiple=True,
    metavar="ID",
    help="Only this unit, by its id or the beginning of it. May be repeated.",
)
@click.option("--trust", is_flag=True, help="Execute the command of run.json even if somebody else wrote it.")
def retry_command(folder: Path, classes: tuple[str, ...], ids: tuple[str, ...], trust: bool) -> None:
    """Run failed units again: all, those with a class of error, or single ones.

    The command in run.json is executed again, in the folder where it was typed, with the same endpoint and project.
    Like every resumed run, it also fetches planned units, those that failed for a transient reason, and replacements
    of dropped ones. A changed recipe is refused. The exit status is that of the run.

    If you made the run, and neither its folder has moved nor its recipe has changed, the command is executed at once.
    Otherwise it is shown with the options that set more than data, and executed if you confirm it or give --trust;
    credentials are then sent to Google's own endpoints only.

    \b
    Examples:
      eechips retry outputs/sample-naip
      eechips retry outputs/sample-naip --class permanent
      eechips retry outputs/sample-naip --unit 3f2a9c71
    """
    run = open_run(folder)
    words, place = recorded_words(run), run.path.resolve()
    has_open = any(State(s).is_failure or State(s).is_open for s in run.counts)
    has_open = has_open or has_excluded_units(run.path) or awaits_assembly(run.path)
    if not classes and not ids and not has_open:
        echo("No failed units: nothing to retry.")
        return
    info, is_here = run.info, is_own_run(run)  # before the working folder changes
    with as_recorded(words, run) as again:
        if not (is_here and str(Path.cwd()) == info.get("directory") and is_same_recipe(again, words, info)):
            ask_permission(run, words, trust=trust)
            again.params["send_credentials"] = False
        _resume(again, words, reopen_failures(place, classes, ids))


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
    folder = run.path if isinstance(run, Run) else Path(run)
    words = [str(folder), *(["--trust"] if trust else [])]
    words += [word for name in classes for word in ("--class", name)]
    words += [word for name in units for word in ("--unit", name)]
    try:
        main.main(["--debug", "retry", *words], prog_name="eechips", standalone_mode=False, obj=IN_PYTHON)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    return open_run(folder)


def is_own_run(run: Run) -> bool:
    """Say whether this user made a run, in the folder where it is."""
    return is_own(run.info, run.path)


def is_same_recipe(again: click.Context, words: Sequence[str], info: Mapping[str, Any]) -> bool:
    """Say whether the recipe of a command is still the one that its run.json names last; it is not executed.

    Args:
        again: context of the command.
        words: words of the command, with ``eechips``.
        info: run.json.
    """
    if words[1] == _REBUILD:
        return True
    named = [str(info.get("identity")), *(change.after for change in code_changes(info))]
    return recipe_of(again, words[1:])[0].identity == named[-1]


def _resume(again: click.Context, words: Sequence[str], reopening: contextlib.AbstractContextManager[int]) -> None:
    """Execute a command again, with the state of failed units reset."""
    with reopening as count:
        what = f"Retrying {format_count(count, 'failed unit')}" if count else "Finishing the run"
        echo(f"{what} with: {shlex.join(words)}", err=True)
        with again:
            again.command.invoke(again)


def ask_permission(run: Run, words: Sequence[str], *, trust: bool) -> None:
    """Show a command that somebody else wrote, or that would be executed in another folder, and ask for permission.

    Raises:
        UsageError: if it is not given.
    """
    endpoint = run.info.get("endpoint") or "no service"
    echo(
        "This run was made by somebody else, or in another place, or its recipe has changed since. Its command, for"
        f" {endpoint}, in {Path.cwd()}:",
        err=True,
    )
    echo_quoted(shlex.join(words), err=True)
    if refused := _refused(words):
        echo(f"It sets more than data: {', '.join(refused)}", err=True)
    if trust:
        return
    if sys.stdin.isatty() and sys.stderr.isatty() and ask("Execute it?"):
        return
    raise UsageError(f"the command of {run.path} was not executed: read it and its recipe, then give `trust`")


def _refused(words: Sequence[str]) -> list[str]:
    """Return the options of a recorded command that only its own user may set; its folder is that of the run."""
    if words[1] == _REBUILD:
        return ["LOCKFILE"]
    return refused_words(click.get_current_context(), words[1:], ("out", "ledger"))


def recorded_words(run: Run) -> list[str]:
    """Return the words of the command that made a run.

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
    words = shlex.split(command)
    if len(words) < 2 or words[0] != "eechips":
        raise UsageError(
            f"{run.path} was made by a program: repeat its call inside"
            f" `with eechips.manifest.failures.reopen_failures({str(run.path)!r}):`"
        )
    return words


@contextlib.contextmanager
def as_recorded(words: Sequence[str], run: Run) -> Iterator[click.Context]:
    """Parse a command as it was typed: in the same folder, with the same endpoint and project.

    These two may have come from the environment; run.json records them, but no credentials. Inside the block the
    folder is the working directory; the verb records the same words in run.json.

    Args:
        words: of the command.
        run: the run that it made; results go to its folder, even if that was renamed.
    """
    place, info = run.path.resolve(), run.info
    root = click.get_current_context().find_root()
    assert isinstance(root.command, click.Group)
    verb = root.command.get_command(root, words[1])
    if verb is None or not (isinstance(verb, FetchCommand) or words[1] == _REBUILD):
        raise UsageError(f"{run.path} was made by `eechips {words[1]}`, which makes no run in this version")
    option = "ledger" if info.get("results") else "out"  # names the folder of the run
    named = verb.make_context(words[1], list(words[2:]), parent=root, resilient_parsing=True).params.get(option)
    with _inside(_directory(info, named, place)):
        again = verb.make_context(words[1], list(words[2:]), parent=root)
        again.params[option] = place
        again.meta[TYPED] = list(words)
        for name in _kept(info, is_local=bool(again.params.get("local"))):
            if again.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                again.params[name] = info.get(name)
        yield again


def _kept(info: Mapping[str, Any], *, is_local: bool) -> tuple[str, ...]:
    """Return the parameters that run.json records: none for a run without a service."""
    if not info.get("endpoint"):
        return ()
    return ("project",) if is_local else ("endpoint", "project")  # a local server has any port


def _directory(info: Mapping[str, Any], named: str | Path | None, place: Path) -> Path:
    """Return the folder where a command was typed.

    Args:
        info: run.json.
        named: the folder of the run as the command names it, if it does.
        place: of the run, absolute.

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


_CONFIRMED = {
    "command": "Command",
    "call": "Options",
    "directory": "typed in",
    "endpoint": "Endpoint",
    "project": "Project",
    "results": "Results",
}


@click.command("trust", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def trust_command(folder: Path, yes: bool) -> None:
    """Take over a run that somebody else made: show its run.json, ask for confirmation, and sign it.

    Commands that read a run execute no code from it and never leave its folder. Results in an object store, such as
    s3://bucket/folder, are read and changed with your credentials, so only in runs that you made or trust. The same
    holds for resuming a script: the return values of its calls are stored as Python objects, which may execute code.

    \b
    Examples:
      eechips trust downloads/sample-naip
    """
    run = open_run(folder)
    info = run.info
    if is_own(info, run.path):
        echo(f"{folder} is yours already")
        return
    if not info:
        raise UsageError(f"{folder} has no {INFO_NAME}: there is nothing to trust")
    for name, title in _CONFIRMED.items():
        echo(f"{title}:", err=True)
        echo_quoted(str(info.get(name) or "none"), err=True)
    if not yes and not (sys.stdin.isatty() and ask("Trust it?")):
        raise UsageError(f"{folder} is not trusted: read the above, then give --yes")
    if (run.path / CALLS_FOLDER).exists():
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            seal_results(run.path / CALLS_FOLDER, sealing_key(str(ledger.meta().get("identity"))))
    signed = encode_info({**info, FOLDER: signed_folder(run.path)})
    write_file(run.path / INFO_NAME, signed)
    if not is_own(run.info, run.path):
        raise UsageError("your key cannot be stored: set EECHIPS_CACHE to a folder that only you can write to")
    echo(f"{folder} is trusted")
