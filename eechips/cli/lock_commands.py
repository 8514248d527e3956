"""Lock and rebuild a run: ``eechips lock`` and ``rebuild``, and the functions of the same names.

The functions are here because a lockfile names the command that fetches, whose recipe the command line makes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.cli.command import FetchCommand, VerbCommand, VerbOption
from eechips.cli.finish import show_log
from eechips.cli.group import FAILURES, INTERRUPTED, main
from eechips.cli.parameters import HELP, LocalPath, config_options, typed_options
from eechips.cli.service_queries import SERVICE_OPTIONS, no_queries, service_of_run, service_of_source, service_queries
from eechips.cli.terminal import echo
from eechips.cli.untrusted_commands import refused_values
from eechips.engine.config import RunConfig
from eechips.engine.progress import Progress
from eechips.engine.run import run as run_recipe
from eechips.engine.run_identity import describe
from eechips.errors import EechipsError, UsageError
from eechips.lockfile.content_hashes import ContentChange
from eechips.lockfile.lockfile_format import Lockfile, LockHeader
from eechips.lockfile.rebuild import (
    REBUILD_NAME,
    REPLACED_NAME,
    Difference,
    Rebuild,
    RebuiltFile,
    ReplacedAsset,
    check_identity,
    compare,
    drops_empty,
    rebuilt_options,
    store_inputs,
    store_locked_plan,
)
from eechips.lockfile.run_locking import ServiceQueries, lock_run_results
from eechips.manifest.run import Run, open_run
from eechips.option_fields import takes
from eechips.recipe import SupportsInteractiveRun
from eechips.storage import is_address, local_path
from eechips.text.formatting import format_bytes, format_count

if TYPE_CHECKING:
    from eechips.recipe import Recipe

_log = logging.getLogger(__name__)

_EXECUTE_CODE = frozenset({"run"})
_LOCKED = frozenset({"sample", "images", "composites", "mosaic", "timeseries", "points", *_EXECUTE_CODE})
"""Commands that a lockfile may name."""
_OF_RECIPE = frozenset({"path", "parameters"})
"""Options of a lockfile of a recipe, which only its own user may set."""
_OF_LOCKFILE = ("out", "results", "name", "on_empty", "dry_run", "estimate", "confirm", "confirm_start", "command")
"""Options of a run that a lockfile decides, or that have no meaning for one."""
_NOT_OF_LOCK = {field.name for field in dataclasses.fields(RunConfig)} - {*SERVICE_OPTIONS, "quiet"}
_SHOWN = 20  # files or assets that are printed; the tables have all

_LOCKFILE_NAME = "chips.lock"


@click.command("lock", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.option(
    "-o",
    "--out",
    type=LocalPath(dir_okay=False),
    default=Path(_LOCKFILE_NAME),
    show_default=True,
    metavar="FILE",
    help="The lockfile.",
)
@click.option(
    "--versions/--no-versions",
    default=True,
    show_default=True,
    help="Ask the service for the versions of assets, and hash the expressions.",
)
@config_options(RunConfig, without=_NOT_OF_LOCK)
def lock_command(folder: Path, out: Path, versions: bool, **options: Any) -> None:
    """Write a lockfile: what a run needs to be fetched again elsewhere, and compared, without its files.

    It has the command and its options, the files that the command reads, the assets with their versions, every unit
    with a hash of its expression, the SHA-256 of every result, and hashes of small parts of them, by which eechips
    rebuild tells which pixels have changed. A chip takes about 400 bytes. It is a ZIP archive of JSON: unzip -p
    chips.lock lock.json.

    The run must be finished. Units that failed or were dropped are left out. Versions are the current ones, so lock a
    run soon after it: an asset that was replaced after its chips were fetched is named, and has no version.

    \b
    Examples:
      eechips lock outputs/sample-naip
      eechips lock outputs/sample-naip -o naip.lock
    """
    quiet = options["quiet"]
    header, replaced = _lock(open_run(folder), out, quiet=quiet, versions=versions, options=typed_options(options))
    units = format_count(header.units, "unit")
    left_out = f"; {format_count(header.left_out, 'unit')} without results left out" if header.left_out else ""
    size = f"{format_bytes(out.stat().st_size)} for {format_bytes(header.bytes)}"
    assets = f", {format_count(header.assets, 'asset')}" if header.assets else ""
    echo(f"{out}: {units}{assets}, {format_count(header.files, 'file')}{left_out}, {size}")
    for line in _replaced_since(replaced):
        echo(line, err=True)


@click.command("rebuild", cls=VerbCommand, context_settings=HELP)
@click.argument("lockfile", type=LocalPath(), metavar="LOCKFILE")
@click.argument("out", metavar="DIR")
@click.option("--trust", is_flag=True, help="Execute the recipe in the lockfile even if somebody else wrote it.")
@click.option(
    "--compare-with",
    type=LocalPath(file_okay=False, exists=True),
    metavar="DIR",
    help="Folder of the run that was locked, if you have it: shares of changed pixels are then exact.",
)
@config_options(RunConfig, without=_OF_LOCKFILE)
def rebuild_command(lockfile: Path, out: str, trust: bool, compare_with: Path | None, **options: Any) -> None:
    """Fetch the run of a lockfile again, and name the files that are not the same to the byte.

    The lockfile holds the units: nothing is planned or drawn again. For each file whose pixels have changed at
    the source, DIR/rebuild.csv has the share of these pixels, a window around them, and their bands. For each asset
    that has another version, DIR/rebuild-assets.csv has the number of files that show it, and of those that have
    changed. To resume, repeat the command. The exit status is 0 if all files are the same, and 1 if one differs or is
    missing.

    A lockfile is data: reading it executes nothing, and writes to DIR only. It never decides which service is asked,
    nor with which credentials. A recipe in it (eechips run) is executed if you wrote the lockfile, or with --trust.

    \b
    Examples:
      eechips rebuild chips.lock outputs/again
      eechips rebuild chips.lock outputs/again --project my-project
      eechips rebuild chips.lock outputs/again --compare-with outputs/sample-naip
      eechips rebuild chips.lock outputs/again --local=my_assets
    """
    old = None if compare_with is None else open_run(compare_with)
    found = _rebuild(lockfile, _folder(out), trust=trust, old=old, options=typed_options(options), is_shown=True)
    context = click.get_current_context()
    if not found.is_finished:
        context.exit(INTERRUPTED)
    for line in _summary(found):
        echo(line)
    if not found.is_same:
        context.exit(FAILURES)


def lock(
    run: str | Path | Run,
    out: str | Path = _LOCKFILE_NAME,
    *,
    versions: bool = True,
    project: str | None = None,
    credentials: str | Path | None = None,
    endpoint: str | None = None,
    send_credentials: bool = False,
    local: bool | str | Path = False,
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
    }
    found = run if isinstance(run, Run) else open_run(run)
    _, replaced = _lock(found, Path(out), quiet=True, versions=versions, options=options)
    for line in _replaced_since(replaced):
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
    old = compare_with if isinstance(compare_with, Run) or compare_with is None else open_run(compare_with)
    return _rebuild(Path(lockfile), _folder(str(out)), trust=trust, old=old, options=options, is_shown=False)


def _lock(
    run: Run, path: Path, *, quiet: bool, versions: bool, options: Mapping[str, Any]
) -> tuple[LockHeader, tuple[str, ...]]:
    @contextlib.contextmanager
    def ask(header: LockHeader, inputs: Mapping[tuple[str, str], str]) -> Iterator[ServiceQueries]:
        if header.command in _EXECUTE_CODE:
            _check_unchanged(run, header, inputs)
        if not versions or not header.source:
            yield no_queries()
            return
        chosen = {name: value for name, value in options.items() if value and name in SERVICE_OPTIONS}
        given = {**chosen, **service_of_run(run, header.source, chosen), "out": run.path, "executor": "threads"}
        recipe = None
        if header.command not in _EXECUTE_CODE:
            recipe, config = _make(_command(header, run.path), header, inputs, given, run.path)
            recipe = recipe if recipe.identity == header.identity else None  # another version of eechips made the run
        else:
            config = RunConfig(**given)
        with service_queries(recipe, config) as found:
            yield found

    with _counting(sum(run.counts.values()), "units locked", quiet=quiet) as tell:
        return lock_run_results(run, path, _input_options, ask, tell)


def _check_unchanged(run: Run, header: LockHeader, inputs: Mapping[tuple[str, str], str]) -> None:
    """Check that the recipe of a run is what it was; nothing of it is executed.

    Raises:
        UsageError: if it has changed, so that the lockfile could not be rebuilt.
    """
    given = {"out": run.path, "executor": "threads"}
    recipe, _ = _make(_command(header, run.path), header, inputs, given, run.path)
    if recipe.identity != header.identity:
        names = ", ".join(each.name for each in header.inputs) or header.recipe
        raise UsageError(
            f"{run.path} cannot be locked: {names} has changed since the run. Restore it, or run it in another folder"
            " and lock that"
        )


@contextlib.contextmanager
def _counting(total: int, unit: str, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show progress for the duration of the block; the yielded function counts a unit."""
    with Progress(total, 0, None, quiet=quiet, unit=unit) as progress:

        def tell() -> None:
            progress.settle(failed=False)
            progress.show(0, 0)

        yield tell


def _rebuild(
    path: Path, out: Path, *, trust: bool, old: Run | None, options: Mapping[str, Any], is_shown: bool
) -> Rebuild:
    with Lockfile(path) as lockfile:
        header = lockfile.header
        command = _command(header, path)
        if header.command in _EXECUTE_CODE and not trust and not lockfile.is_own:
            names = ", ".join(each.name for each in header.inputs) or header.recipe
            raise UsageError(
                f"{path} was written by somebody else, and its recipe executes code: read {names} in it, then give"
                " `trust`"
            )
        given = {**options, **service_of_source(header.source, options), "out": out}
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
        queries = service_queries(recipe, config) if header.source else contextlib.nullcontext(no_queries())
        with queries as now, _counting(header.units, "units compared", quiet=config.quiet or not is_shown) as tell:
            return compare(lockfile, open_run(done.path), now, old, tell)


def _command(header: LockHeader, path: Path) -> FetchCommand:
    """Return the command of a lockfile.

    Raises:
        UsageError: if there is none that a lockfile may name, or it sets more than data, such as an endpoint. The
            recipe and its parameters are for the caller to check.
    """
    command = main.get_command(click.Context(main), header.command) if header.command in _LOCKED else None
    if not isinstance(command, FetchCommand):
        raise UsageError(f"{path} cannot be used: it names the command {header.command!r:.60}")
    supplied = {(each.option, each.path) for each in header.inputs}
    of_recipe = _OF_RECIPE if header.command in _EXECUTE_CODE else frozenset()
    data = {name: value for name, value in header.options.items() if name not in of_recipe}
    if refused := refused_values(command, data, supplied):
        raise UsageError(f"{path} cannot be used: its options set more than data: {', '.join(refused)}"[:300])
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


def _folder(text: str) -> Path:
    if is_address(text):
        raise UsageError(f"a lockfile is rebuilt in a folder of this machine, not in {text}")
    return local_path(text)


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
    return [*lines, *_summary_of_sources(found)]


def _summary_of_sources(found: Rebuild) -> list[str]:
    """Describe the assets that have other versions, and changes that no version explains."""
    lines = []
    if found.replaced:
        lines.append(f"{format_count(len(found.replaced), 'asset')} changed at the source:")
        lines += [f"  {_described_asset(each)}" for each in found.replaced[:_SHOWN]]
        if len(found.replaced) > _SHOWN:
            lines.append(f"  … and {len(found.replaced) - _SHOWN:,} more")
        lines.append(f"All of them: {found.run.path / REPLACED_NAME}")
    if found.other_expressions:
        count = format_count(found.other_expressions, "unit")
        lines.append(f"{count}: this version of eechips requests another expression than the one that was locked")
    same = [each for each in found.differences if each.difference is Difference.VALUES and each.sources]
    unexplained = sum(not each.replaced for each in same)
    if unexplained:
        lines.append(
            f"{format_count(unexplained, 'file')} changed, but no asset that the lockfile names for them: an image that"
            " it does not name has changed, or other software has made the pixels"
        )
    return lines


def _described_asset(each: ReplacedAsset) -> str:
    now = "it is gone" if each.now is None else f"version {each.before} is now {each.now}"
    if not each.changed:
        return f"{each.id}: {now}; no pixel of {format_count(each.files, 'file')} has changed"
    about = "" if each.is_exact else "about "
    share = "" if each.share is None else f", {about}{each.share:.1%} of their pixels"
    return f"{each.id}: {now}; {each.changed:,} of {format_count(each.files, 'file')} changed{share}"


def _replaced_since(names: Sequence[str]) -> list[str]:
    """Describe the assets that have no version, as they have changed since a run has fetched them."""
    if not names:
        return []
    count = format_count(len(names), "asset")
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return [
        f"{count} changed at the source after the run had fetched them, so their old versions are unknown, and"
        f" a rebuild will find other pixels: {shown}"
    ]


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
    if change.is_exact:
        return f"{change.share:.2%} of the {what}"
    if change.largest_share is None or change.largest_share == change.share:
        return f"about {change.share:.1%} of the {what}" if change.share < 1 else f"all {what}"
    return f"about {change.share:.1%} of the {what}, {change.largest_share:.1%} at most"
