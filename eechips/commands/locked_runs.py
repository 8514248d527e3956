"""Lock a run, and fetch the run of a lockfile again (:func:`lock`, :func:`rebuild`); refuse changed recipes, and
lockfiles of others that execute code.

A lockfile names the command that fetches, and its options.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from eechips.commands.command import FetchCommand, VerbOption
from eechips.commands.fetching import find_command
from eechips.commands.parameters import LocalPath, declared_options
from eechips.commands.recorded_service import (
    SERVICE_OPTIONS,
    no_queries,
    service_of_run,
    service_of_source,
    service_queries,
)
from eechips.commands.untrusted_commands import refused_values
from eechips.engine.config import RunConfig
from eechips.engine.plans.changed_options import describe
from eechips.engine.progress import Progress
from eechips.engine.run import run as run_recipe
from eechips.errors import EechipsError, UsageError
from eechips.lockfile.locked_plan import drops_empty, rebuilt_options, store_inputs, store_locked_plan
from eechips.lockfile.lockfile_format import Lockfile
from eechips.lockfile.lockfile_records import LockHeader
from eechips.lockfile.lockfile_writer import ServiceQueries, lock_run_results
from eechips.lockfile.rebuild_comparison import Rebuild, check_identity, compare
from eechips.manifest.run import Run, open_run
from eechips.option_fields import takes
from eechips.recipe import Recipe, SupportsExtension, SupportsInteractiveRun
from eechips.storage import is_address, local_path
from eechips.text.formatting import format_count, some_of

_log = logging.getLogger(__name__)

_EXECUTE_CODE = frozenset({"run"})
_LOCKED = frozenset({"sample", "images", "composites", "mosaic", "timeseries", "points", "features", *_EXECUTE_CODE})
"""Commands that a lockfile may name."""
_OF_RECIPE = frozenset({"path", "parameters"})
"""Options of a lockfile of a recipe, which only its own user may set."""
_OF_LOCKFILE = (
    *("out", "results", "name", "on_empty", "extend", "dry_run", "estimate", "confirm", "confirm_start", "command"),
)
"""Options of a run that a lockfile decides, or that have no meaning for one."""

MOST_SHOWN = 20
"""Files or assets that are printed; the tables have all."""
LOCKFILE_NAME = "chips.lock"
"""The lockfile, unless the caller names another."""


def lock(
    run: str | Path | Run,
    out: str | Path = LOCKFILE_NAME,
    *,
    versions: bool = True,
    project: str | None = None,
    credentials: str | Path | None = None,
    endpoint: str | None = None,
    send_credentials: bool = False,
    local: bool | str | Path = False,
    archive: str | Path | Sequence[str | Path] = (),
) -> Path:
    """Write a lockfile: what a run needs to be fetched again elsewhere, and compared, without its files.

    Args:
        run: the run, or its folder; finished.
        out: the lockfile.
        versions: ask the service for the versions of assets, and hash the expressions. The service is that of the
            run, unless the further arguments name another.
        project: Google Cloud project.
        credentials: file of credentials, such as the key of a service account.
        endpoint: base URL of the service.
        send_credentials: send credentials to ``endpoint`` even if it is not https at a host of Google.
        local: start a local Earth Engine; a folder of assets to serve, or True for the demo planet.
        archive: start one that serves open archives: names, addresses of STAC APIs, or files.

    Returns:
        The path of the lockfile.

    Raises:
        UsageError: if the run is not finished, or nothing can make it again, as for a script.
        ConfigurationError: if credentials, project or endpoint do not work.
        StorageError: if a file is missing or has changed, or the lockfile cannot be written.

    Example:
        >>> eechips.lock("outputs/sample-naip", "naip.lock")
    """
    options = {
        "project": project,
        "credentials": None if credentials is None else Path(credentials),
        "endpoint": endpoint,
        "send_credentials": send_credentials,
        "local": local,
        "archive": archive,
    }
    opened_run = open_run(run)
    _, replaced = lock_run(opened_run, Path(out), quiet=True, versions=versions, options=options)
    for line in describe_replaced(replaced):
        _log.warning("%s", line)
    return Path(out)


@takes(RunConfig)
def rebuild(
    lockfile: str | Path,
    out: str | Path,
    *,
    trust: bool = False,
    compare_with: str | Path | Run | None = None,
    **options: Any,
) -> Rebuild:
    """Fetch the run of a lockfile again, and compare the results.

    The lockfile holds the units: nothing is planned or drawn again. To resume, repeat the call.

    Args:
        lockfile: a file that :func:`eechips.lock` has written.
        out: folder of the new run.
        trust: execute the recipe in the lockfile even if somebody else wrote it.
        compare_with: the run that was locked, or its folder, for exact shares of changed pixels.
        options: fields of ``RunConfig``.

    Returns:
        The new run, the files that are not the same to the byte, with what has changed, and the assets that have
        another version.

    Raises:
        UsageError: if it is no lockfile, names files of this machine, or was made by a version that requests other
            results; or if it executes code and is not trusted.
        StorageError: if the lockfile is damaged.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> found = eechips.rebuild("naip.lock", "outputs/again", project="my-project")
        >>> found.is_same, [each.file for each in found.differences], [each.id for each in found.replaced]
    """
    for name in options:
        if name in _OF_LOCKFILE:
            raise UsageError(f"`{name}` is decided by the lockfile")
    return rebuild_run(Path(lockfile), out, trust=trust, compare_with=compare_with, **options)


def rebuild_parameters() -> list[click.Parameter]:
    """Return the parameters of ``eechips rebuild``."""
    return [
        click.Argument(["lockfile"], type=LocalPath(), metavar="LOCKFILE"),
        click.Argument(["out"], metavar="DIR"),
        click.Option(
            ["--trust"], is_flag=True, help="Execute the recipe in the lockfile even if somebody else wrote it."
        ),
        click.Option(
            ["--compare-with"],
            type=LocalPath(file_okay=False, exists=True),
            metavar="DIR",
            help="Folder of the run that was locked, if you have it: shares of changed pixels are then exact.",
        ),
        *declared_options(RunConfig, without=_OF_LOCKFILE),
    ]


def lock_run(
    run: Run, path: Path, *, quiet: bool, versions: bool, options: Mapping[str, Any]
) -> tuple[LockHeader, tuple[str, ...]]:
    """Write a lockfile; see :func:`lock`. It takes the options of the service.

    Returns:
        The header, and the assets that have changed since the run has fetched them.
    """

    @contextlib.contextmanager
    def ask(header: LockHeader, inputs: Mapping[tuple[str, str], str]) -> Iterator[ServiceQueries]:
        if header.command in _EXECUTE_CODE:
            _check_unchanged(run, header, inputs)
        if not versions or not header.source:
            yield no_queries()
            return
        chosen = {name: value for name, value in options.items() if value and name in SERVICE_OPTIONS}
        run_options = {**chosen, **service_of_run(run, header.source, chosen), "out": run.path, "executor": "threads"}
        recipe = None
        if header.command not in _EXECUTE_CODE:
            recipe, config = _make(_command(header, run.path), header, inputs, run_options, run.path)
            recipe = recipe if recipe.identity == header.identity else None  # another version of eechips made the run
        else:
            config = RunConfig(**run_options)
        with service_queries(recipe, config) as queries:
            yield queries

    with Progress(sum(run.counts.values()), 0, None, quiet=quiet, unit="units locked") as progress:
        return lock_run_results(run, path, _input_options, ask, progress.step)


def _check_unchanged(run: Run, header: LockHeader, inputs: Mapping[tuple[str, str], str]) -> None:
    """Raise UsageError if the recipe of a run has changed; nothing of it is executed."""
    run_options = {"out": run.path, "executor": "threads"}
    recipe, _ = _make(_command(header, run.path), header, inputs, run_options, run.path)
    if recipe.identity != header.identity:
        names = ", ".join(locked_input.name for locked_input in header.inputs) or header.recipe
        raise UsageError(
            f"{run.path} cannot be locked: {names} has changed since the run. Restore it, or run it in another folder"
            " and lock that"
        )


def _untrusted(path: Path, header: LockHeader) -> UsageError:
    names = ", ".join(locked_input.name for locked_input in header.inputs) or header.recipe
    return UsageError(
        f"{path} was written by somebody else, and its recipe executes code: read {names} in it, then give `trust`"
    )


def rebuild_run(
    lockfile: Path,
    out: str | Path,
    *,
    trust: bool = False,
    compare_with: str | Path | Run | None = None,
    show: Callable[[RunConfig], object] | None = None,
    **options: Any,
) -> Rebuild:
    """Fetch the run of a lockfile again; see :func:`rebuild`.

    Args:
        show: called before the run starts; progress is shown unless it is None.
    """
    old, folder = None if compare_with is None else open_run(compare_with), _folder(str(out))
    with Lockfile(lockfile) as locked:
        header = locked.header
        command = _command(header, lockfile)
        if header.command in _EXECUTE_CODE and not trust and not locked.is_own:
            raise _untrusted(lockfile, header)
        run_options = {**options, **service_of_source(header.source, options), "out": folder}
        inputs = store_inputs(locked, folder.absolute())
        recipe, config = _make(command, header, inputs, run_options, lockfile)
        check_identity(header, recipe.identity, version("eechips"))
        if isinstance(recipe, SupportsInteractiveRun):
            raise UsageError(
                f"{lockfile} cannot be used: {recipe.name} is a script, whose units are unknown before it runs"
            )
        config = dataclasses.replace(
            config,
            on_empty="skip" if drops_empty(locked) else "keep",
            command=shlex.join(["eechips", "rebuild", str(lockfile), str(folder)]),
        )
        if show is not None:
            show(config)
        store_locked_plan(locked, folder, describe(recipe, config))
        with _translate_unit_errors(locked):
            done = run_recipe(recipe, config)
            if done.interrupted:
                return Rebuild(done, 0, header.files, 0, (), is_finished=False)
            queries = service_queries(recipe, config) if header.source else contextlib.nullcontext(no_queries())
            counted = Progress(header.units, 0, None, quiet=config.quiet or show is None, unit="units compared")
            with queries as now, counted:
                return compare(locked, open_run(done.path), now, old, counted.step)


@contextlib.contextmanager
def _translate_unit_errors(lockfile: Lockfile) -> Iterator[None]:
    """Convert what a recipe raises for units that it did not plan, unless this user has written the lockfile."""
    try:
        yield
    except EechipsError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        if lockfile.is_own:
            raise
        reason = f"{lockfile.path} cannot be used: its command does not plan its units: {error!r}"
        raise UsageError(reason[:300]) from error


def _command(header: LockHeader, path: Path) -> FetchCommand:
    """Return the command of a lockfile.

    Raises:
        UsageError: if there is none that a lockfile may name, or it sets more than data, such as an endpoint. The
            recipe and its parameters are for the caller to check.
    """
    if header.command not in _LOCKED:
        raise UsageError(f"{path} cannot be used: it names the command {header.command!r:.60}")
    command = find_command(header.command)
    supplied = {(locked_input.option, locked_input.path) for locked_input in header.inputs}
    of_recipe = _OF_RECIPE if header.command in _EXECUTE_CODE else frozenset()
    data = {name: value for name, value in header.options.items() if name not in of_recipe}
    if refused := refused_values(command, data, supplied):
        raise UsageError(f"{path} cannot be used: its options set more than data: {', '.join(refused)}"[:300])
    return command


def _input_options(name: str) -> frozenset[str]:
    """Return the names of the options of a command that may be paths of files."""
    if name in _EXECUTE_CODE:
        return frozenset({"path"})
    parameters = find_command(name).params
    return frozenset(
        str(parameter.name) for parameter in parameters if isinstance(parameter, VerbOption) and parameter.is_input
    )


def _make(
    command: FetchCommand,
    header: LockHeader,
    inputs: Mapping[tuple[str, str], str],
    run_options: Mapping[str, Any],
    path: Path,
) -> tuple[Recipe, RunConfig]:
    """Make the recipe of a lockfile; ``inputs`` are the paths of the files that it reads, by option and value."""
    options = rebuilt_options(header, inputs, _input_options(header.command), path)
    try:
        recipe, config = command.make({**options, **run_options})
        if header.extensions and isinstance(recipe, SupportsExtension):
            recipe = recipe.continuing_from(header.extensions[0].parameters, header.extensions[-1].parameters)
        return recipe, config
    except EechipsError:
        raise
    except Exception as error:  # the options of others may have values of any type
        raise UsageError(f"{path} cannot be used: its options are wrong: {error}"[:300]) from error


def _folder(text: str) -> Path:
    if is_address(text):
        raise UsageError(f"a lockfile is rebuilt in a folder of this machine, not in {text}")
    return local_path(text)


def describe_replaced(names: Sequence[str]) -> list[str]:
    """Describe the assets that have no version, as they have changed since a run has fetched them."""
    if not names:
        return []
    count = format_count(len(names), "asset")
    return [
        f"{count} changed at the source after the run had fetched them, so their old versions are unknown, and"
        f" a rebuild will find other pixels: {some_of(names, MOST_SHOWN)}"
    ]
