"""Lock and rebuild a run, and describe what differs: ``eechips lock`` and ``rebuild``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from eechips.cli.group import FAILURES, INTERRUPTED
from eechips.cli.recipe_execution import show_log
from eechips.cli.terminal import echo, echo_lines
from eechips.commands.command import VerbCommand, typed_options
from eechips.commands.locked_runs import (
    LOCKFILE_NAME,
    MOST_SHOWN,
    describe_replaced,
    lock_run,
    rebuild_parameters,
    rebuild_run,
)
from eechips.commands.parameters import HELP, LocalPath, config_options, run_command
from eechips.commands.recorded_service import SERVICE_OPTIONS
from eechips.engine.config import RunConfig
from eechips.lockfile.content_hashes import ContentChange
from eechips.lockfile.rebuild_comparison import (
    REBUILD_NAME,
    REPLACED_NAME,
    Difference,
    Rebuild,
    RebuiltFile,
    ReplacedAsset,
)
from eechips.manifest.run import open_run
from eechips.text.formatting import format_bytes, format_count

_DIGITS = 12  # of a digest


@run_command("lock")
@click.option(
    "-o",
    "--out",
    type=LocalPath(dir_okay=False),
    default=Path(LOCKFILE_NAME),
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
@config_options(RunConfig, only=(*SERVICE_OPTIONS, "quiet"))
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
    header, replaced = lock_run(open_run(folder), out, quiet=quiet, versions=versions, options=typed_options(options))
    units = format_count(header.units, "unit")
    left_out = f"; {format_count(header.left_out, 'unit')} without results left out" if header.left_out else ""
    size = f"{format_bytes(out.stat().st_size)} for {format_bytes(header.bytes)}"
    assets = f", {format_count(header.assets, 'asset')}" if header.assets else ""
    echo(f"{out}: {units}{assets}, {format_count(header.files, 'file')}{left_out}, {size}")
    echo_lines(describe_replaced(replaced), err=True)


_REBUILD = """Fetch the run of a lockfile again, and name the files that are not the same to the byte.

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


@click.pass_context
def _rebuild(context: click.Context, /, **values: Any) -> None:
    rebuild = rebuild_run(**typed_options(values), show=show_log)
    if not rebuild.is_finished:
        context.exit(INTERRUPTED)
    echo_lines(_summary(rebuild))
    if not rebuild.is_same:
        context.exit(FAILURES)


def rebuild_command() -> click.Command:
    """Make ``eechips rebuild``."""
    return VerbCommand("rebuild", params=rebuild_parameters(), callback=_rebuild, help=_REBUILD, context_settings=HELP)


def _summary(rebuild: Rebuild) -> list[str]:
    """Describe a rebuild: how many files are the same, and what the others are."""
    verb = "is" if rebuild.files == 1 else "are"
    lines = [
        f"{rebuild.same:,} of {format_count(rebuild.files, 'file')} {verb} the same to the byte, in {rebuild.run.path}"
    ]
    if rebuild.empty:
        lines.append(f"{format_count(rebuild.empty, 'unit')} without data, as before")
    titles = {
        Difference.VALUES: "{have} other values",
        Difference.ENCODING: "{have} the same values in other bytes",
        Difference.UNKNOWN: "{have} other bytes; values of such files are not compared",
        Difference.MISSING: "{have} no data now",
        Difference.NEW: "{are} new",
        Difference.FAILED: "could not be fetched; to try again, repeat the command",
    }
    for kind, title in titles.items():
        files = [rebuilt_file for rebuilt_file in rebuild.differences if rebuilt_file.difference is kind]
        if files:
            verbs = {"have": "has", "are": "is"} if len(files) == 1 else {"have": "have", "are": "are"}
            lines.append(f"{format_count(len(files), 'file')} {title.format_map(verbs)}:")
            lines += _first_lines(list(map(_described, files)))
    if rebuild.differences:
        lines.append(f"All of them: {rebuild.run.path / REBUILD_NAME}")
    return [*lines, *_summary_of_sources(rebuild)]


def _summary_of_sources(rebuild: Rebuild) -> list[str]:
    """Describe the assets that have other versions, and changes that no version explains."""
    lines = []
    if rebuild.replaced:
        lines.append(f"{format_count(len(rebuild.replaced), 'asset')} changed at the source:")
        lines += _first_lines(list(map(_described_asset, rebuild.replaced)))
        lines.append(f"All of them: {rebuild.run.path / REPLACED_NAME}")
    if rebuild.other_expressions:
        count = format_count(rebuild.other_expressions, "unit")
        lines.append(f"{count}: this version of eechips requests another expression than the one that was locked")
    same = [change for change in rebuild.differences if change.difference is Difference.VALUES and change.sources]
    unexplained = sum(not change.replaced for change in same)
    if unexplained:
        lines.append(
            f"{format_count(unexplained, 'file')} changed, but no asset that the lockfile names for them: an image that"
            " it does not name has changed, or other software has made the pixels"
        )
    return lines


def _first_lines(lines: Sequence[str]) -> list[str]:
    """Return the first of some lines, indented, and how many others there are."""
    more = [f"… and {len(lines) - MOST_SHOWN:,} more"] if len(lines) > MOST_SHOWN else []
    return [f"  {line}" for line in (*lines[:MOST_SHOWN], *more)]


def _version(version: int | str) -> str:
    """Return a version for people: of a digest, the first digits."""
    return version[:_DIGITS] if isinstance(version, str) else str(version)


def _described_asset(asset: ReplacedAsset) -> str:
    now = "it is gone" if asset.now is None else f"version {_version(asset.before)} is now {_version(asset.now)}"
    if not asset.changed:
        return f"{asset.id}: {now}; no pixel of {format_count(asset.files, 'file')} has changed"
    share = "" if asset.share is None else f", {asset.share:.1%} of their pixels"
    return f"{asset.id}: {now}; {asset.changed:,} of {format_count(asset.files, 'file')} changed{share}"


def _described(rebuilt_file: RebuiltFile) -> str:
    change = rebuilt_file.change
    parts = [share] if change is not None and (share := _share(change)) else []
    if rebuilt_file.bands:
        parts.append(f"bands {', '.join(rebuilt_file.bands)}")
    if change is not None and change.window is not None:
        left, top, width, height = change.window
        parts.append(f"columns {left}-{left + width - 1}, rows {top}-{top + height - 1}")
    if rebuilt_file.details:
        parts.append(rebuilt_file.details)
    return f"{rebuilt_file.file}: {'; '.join(parts)}" if parts else rebuilt_file.file


def _share(change: ContentChange) -> str:
    if change.share is not None:
        return f"{change.share:.2%} of the {'pixels' if change.window is not None else 'rows'}"
    return "" if change.largest_share is None else f"at most {change.largest_share:.1%} of the pixels"
