"""Lock and rebuild a run: ``eechips lock`` and ``rebuild``, and the functions of the same names.

The functions are here because a lockfile names the command that fetches, whose recipe the command line makes."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.cli.command import FetchCommand, VerbCommand, VerbOption
from eechips.cli.finish import show_log
from eechips.cli.group import FAILURES, INTERRUPTED, main
from eechips.cli.parameters import HELP, config_options, debug_option, typed_options
from eechips.client.credentials import HIGH_VOLUME_ENDPOINT
from eechips.engine.config import RunConfig
from eechips.engine.progress import Progress
from eechips.engine.run import run as run_recipe
from eechips.engine.run_identity import describe
from eechips.errors import EechipsError, UsageError
from eechips.jobs.recipe_options import RUN_OPTIONS
from eechips.lockfile.content_hashes import ContentChange
from eechips.lockfile.lockfile_format import Lockfile, LockHeader
from eechips.lockfile.rebuild import (
    REBUILD_NAME,
    Difference,
    Rebuild,
    RebuiltFile,
    check_identity,
    compare,
    drops_empty,
    rebuilt_options,
    store_inputs,
    store_locked_plan,
)
from eechips.lockfile.run_locking import lock_run_results
from eechips.manifest.run import Run, open_run
from eechips.manifest.run_signature import is_own_lockfile
from eechips.option_fields import takes
from eechips.recipe import SupportsInteractiveRun
from eechips.storage import is_address
from eechips.text import format_bytes, format_count

if TYPE_CHECKING:
    from eechips.recipe import Recipe

_EXECUTE_CODE = frozenset({"run"})
_LOCKED = frozenset({"sample", "images", "composites", "mosaic", "timeseries", "points", *_EXECUTE_CODE})
"""Commands that a lockfile may name."""
_OF_RECIPE = {"path", "parameters"}
_DEMO = "local:demo"
_OF_LOCKFILE = ("out", "results", "name", "on_empty", "dry_run", "estimate", "confirm", "command")
"""Options of a run that a lockfile decides, or that have no meaning for one."""
_SHOWN = 20  # files that are printed; rebuild.csv has all

_LOCKFILE_NAME = "chips.lock"


@click.command("lock", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(_LOCKFILE_NAME),
    show_default=True,
    metavar="FILE",
    help="The lockfile.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show errors only, no progress.")
@debug_option
def lock_command(folder: Path, out: Path, quiet: bool) -> None:
    """Write a lockfile: what a run needs to be fetched again elsewhere, and compared, without its files.

    It has the command and its options, the files that the command reads, every unit, the SHA-256 of every result, and
    hashes of small parts of them, by which eechips rebuild tells which pixels have changed. A chip takes about 400
    bytes. It is a ZIP archive of JSON: unzip -p chips.lock lock.json.

    The run must be finished. Units that failed or were dropped are left out.

    \b
    Examples:
      eechips lock outputs/sample-naip
      eechips lock outputs/sample-naip -o naip.lock
    """
    header = _lock(open_run(folder), out, quiet=quiet)
    units = format_count(header.units, "unit")
    left_out = f"; {format_count(header.left_out, 'unit')} without results left out" if header.left_out else ""
    size = f"{format_bytes(out.stat().st_size)} for {format_bytes(header.bytes)}"
    click.echo(f"{out}: {units}, {format_count(header.files, 'file')}{left_out}, {size}")


@click.command("rebuild", cls=VerbCommand, context_settings=HELP)
@click.argument("lockfile", type=click.Path(path_type=Path), metavar="LOCKFILE")
@click.argument("out", metavar="DIR")
@click.option("--trust", is_flag=True, help="Execute the recipe in the lockfile even if somebody else wrote it.")
@config_options(RunConfig, without=_OF_LOCKFILE)
@debug_option
def rebuild_command(lockfile: Path, out: str, trust: bool, **options: Any) -> None:
    """Fetch the run of a lockfile again, and name the files that are not the same to the byte.

    The lockfile holds the units: nothing is planned or drawn again. For each file whose pixels have changed at
    the source, DIR/rebuild.csv has the share of these pixels, a window around them, and their bands. To resume, repeat
    the command. The exit status is 0 if all files are the same, and 1 if one differs or is missing.

    A lockfile is data: reading it executes nothing, and writes to DIR only. It never decides which service is asked,
    nor with which credentials. A recipe in it (eechips run) is executed if you wrote the lockfile, or with --trust.

    \b
    Examples:
      eechips rebuild chips.lock outputs/again
      eechips rebuild chips.lock outputs/again --project my-project
      eechips rebuild chips.lock outputs/again --local --local-assets my_assets
    """
    found = _rebuild(lockfile, _folder(out), trust=trust, options=typed_options(options), is_shown=True)
    context = click.get_current_context()
    if not found.is_finished:
        context.exit(INTERRUPTED)
    for line in _summary(found):
        click.echo(line)
    if not found.is_same:
        context.exit(FAILURES)


def lock(run: str | Path | Run, out: str | Path = _LOCKFILE_NAME) -> Path:
    """Write a lockfile: what a run needs to be fetched again elsewhere, and compared, without its files.

    Args:
        run: the run, or its folder; finished.
        out: the lockfile.

    Returns:
        The path of the lockfile.

    Raises:
        UsageError: if the run is not finished, or nothing can make it again, as for a script.
        StorageError: if a file is missing or has changed, or the lockfile cannot be written.

    Example:
        >>> eechips.lock("outputs/sample-naip", "naip.lock")
    """
    _lock(run if isinstance(run, Run) else open_run(run), Path(out), quiet=True)
    return Path(out)


@takes(RunConfig)
def rebuild(lockfile: str | Path, out: str | Path, *, trust: bool = False, **options: Any) -> Rebuild:
    """Fetch the run of a lockfile again, and compare the results.

    The lockfile holds the units: nothing is planned or drawn again. To resume, repeat the call.

    Args:
        lockfile: a file that :func:`eechips.lock` has written.
        out: folder of the new run.
        trust: execute the recipe in the lockfile even if somebody else wrote it.
        options: fields of ``RunConfig``.

    Returns:
        The new run, and the files that are not the same to the byte, with what has changed.

    Raises:
        UsageError: if it is no lockfile, names files of this machine, or was made by a version that requests other
            results; or if it executes code and is not trusted.
        StorageError: if the lockfile is damaged.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> found = eechips.rebuild("naip.lock", "outputs/again", project="my-project")
        >>> found.is_same, [each.file for each in found.differences]
    """
    for name in options:
        if name in _OF_LOCKFILE:
            raise UsageError(f"`{name}` is decided by the lockfile")
    return _rebuild(Path(lockfile), _folder(str(out)), trust=trust, options=options, is_shown=False)


def _lock(run: Run, path: Path, *, quiet: bool) -> LockHeader:
    with _counting(sum(run.counts.values()), "units locked", quiet=quiet) as tell:
        return lock_run_results(run, path, _input_options, tell)


@contextlib.contextmanager
def _counting(total: int, unit: str, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show progress for the duration of the block; the yielded function counts a unit."""
    with Progress(total, 0, None, quiet=quiet, unit=unit) as progress:

        def tell() -> None:
            progress.settle(failed=False)
            progress.show(0, 0)

        yield tell


def _rebuild(path: Path, out: Path, *, trust: bool, options: Mapping[str, Any], is_shown: bool) -> Rebuild:
    with Lockfile(path) as lockfile:
        header = lockfile.header
        command = _command(header, path)
        if header.command in _EXECUTE_CODE and not trust and not is_own_lockfile(header.call, header.signature):
            names = ", ".join(each.name for each in header.inputs) or header.recipe
            raise UsageError(
                f"{path} was written by somebody else, and its recipe executes code: read {names} in it, then give"
                " `trust`"
            )
        given = {**options, **_source_options(header, options), "out": out}
        inputs = store_inputs(lockfile, out.absolute())
        recipe, config = _make(command, header, inputs, given, path)
        check_identity(header, recipe.identity, version("eechips"))
        if isinstance(recipe, SupportsInteractiveRun):
            raise UsageError(
                f"{path} cannot be used: {recipe.name} is a script, whose units are unknown before it runs"
            )
        config = dataclasses.replace(
            config,
            on_empty="skip" if drops_empty(lockfile) else "keep",
            command=shlex.join(["eechips", "rebuild", str(path), str(out)]),
        )
        if is_shown:
            show_log(config)
        store_locked_plan(lockfile, out, describe(recipe, config))
        done = run_recipe(recipe, config)
        if done.interrupted:
            return Rebuild(done, 0, header.files, 0, (), is_finished=False)
        with _counting(header.units, "units compared", quiet=config.quiet or not is_shown) as tell:
            return compare(lockfile, open_run(done.path), tell)


def _command(header: LockHeader, path: Path) -> FetchCommand:
    """Return the command of a lockfile.

    Raises:
        UsageError: if there is none that a lockfile may name, or it names options of a run, such as an endpoint.
    """
    command = main.get_command(click.Context(main), header.command) if header.command in _LOCKED else None
    if not isinstance(command, FetchCommand):
        raise UsageError(f"{path} cannot be used: it names the command {header.command!r:.60}")
    allowed = _OF_RECIPE if header.command in _EXECUTE_CODE else {str(p.name) for p in command.params} - RUN_OPTIONS
    wrong = sorted(set(header.options) - allowed)
    if wrong:
        raise UsageError(f"{path} cannot be used: eechips {header.command} has no option {wrong[0]!r:.60} there")
    return command


def _input_options(name: str) -> frozenset[str]:
    """Return the names of the options of a command that may be paths of files."""
    if name in _EXECUTE_CODE:
        return frozenset({"path"})
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return frozenset(str(each.name) for each in command.params if isinstance(each, VerbOption) and each.is_input)


def _make(
    command: FetchCommand,
    header: LockHeader,
    inputs: Mapping[tuple[str, str], str],
    given: Mapping[str, Any],
    path: Path,
) -> tuple[Recipe, RunConfig]:
    """Make the recipe of a lockfile.

    Args:
        command: that makes it.
        header: of the lockfile.
        inputs: paths of the files that it reads, by option and value.
        given: options of the run.
        path: of the lockfile.
    """
    options = rebuilt_options(header, inputs, _input_options(header.command), path)
    try:
        return command.make({**options, **given})
    except EechipsError:
        raise
    except Exception as error:  # the options of others may have values of any type
        raise UsageError(f"{path} cannot be used: its options are wrong: {error}"[:300]) from error


def _source_options(header: LockHeader, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the service, if the user names none.

    Raises:
        UsageError: if the lockfile is of a service that only its name can choose.
    """
    is_google = header.source == HIGH_VOLUME_ENDPOINT
    if not header.source or is_google or any(options.get(name) for name in ("local", "endpoint")):
        return {}
    if header.source == _DEMO:
        return {"local": True}
    if header.source.startswith("local:"):
        raise UsageError(
            f"the lockfile is of assets of a local Earth Engine ({header.source[6:]:.200}): give `local` and"
            " `local_assets`, or the `endpoint` that serves them"
        )
    raise UsageError(f"the lockfile is of the service at {header.source:.200}: name it, or another, as `endpoint`")


def _folder(text: str) -> Path:
    if is_address(text):
        raise UsageError(f"a lockfile is rebuilt in a folder of this machine, not in {text}")
    return Path(text)


def _summary(found: Rebuild) -> list[str]:
    """Describe a rebuild: how many files are the same, and what the others are."""
    lines = [f"{found.same:,} of {format_count(found.files, 'file')} are the same to the byte, in {found.run.path}"]
    if found.empty:
        lines.append(f"{format_count(found.empty, 'unit')} without data, as before")
    titles = {
        Difference.VALUES: "have other values",
        Difference.ENCODING: "have the same values in other bytes",
        Difference.UNKNOWN: "have other bytes; values of such files are not compared",
        Difference.MISSING: "have no data now",
        Difference.NEW: "are new",
        Difference.FAILED: "could not be fetched; to try again, repeat the command",
    }
    for kind, title in titles.items():
        files = [each for each in found.differences if each.difference is kind]
        if files:
            lines.append(f"{format_count(len(files), 'file')} {title}:")
            lines += [f"  {_described(each)}" for each in files[:_SHOWN]]
            if len(files) > _SHOWN:
                lines.append(f"  … and {len(files) - _SHOWN:,} more")
    if found.differences:
        lines.append(f"All of them: {found.run.path / REBUILD_NAME}")
    return lines


def _described(each: RebuiltFile) -> str:
    change = each.change
    parts = [] if change is None else [_share(change)]
    if each.bands:
        parts.append(f"bands {', '.join(each.bands)}")
    if change is not None and change.window is not None:
        left, top, width, height = change.window
        parts.append(f"columns {left}-{left + width - 1}, rows {top}-{top + height - 1}")
    if each.details:
        parts.append(each.details)
    return f"{each.file}: {'; '.join(parts)}" if parts else each.file


def _share(change: ContentChange) -> str:
    if change.share is None:
        return "values cannot be compared"
    what = "pixels" if change.window is not None else "rows"
    if change.largest_share is None or change.largest_share == change.share:
        return f"about {change.share:.1%} of the {what}" if change.share < 1 else f"all {what}"
    return f"about {change.share:.1%} of the {what}, {change.largest_share:.1%} at most"
