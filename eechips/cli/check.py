"""``eechips check``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.cli.parameter_types import Names
from eechips.errors import UsageError
from eechips.manifest.exclusions import exclude_units
from eechips.text import format_count
from eechips.training.quality_check import USUAL, QualityReport, check
from eechips.training.quality_flags import DAMAGED, FLAGS
from eechips.training.quality_table import QUALITY_NAME

_ALL = "all"
_SHARE = click.FloatRange(0.0, 1.0)


@click.command("check", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--least-valid",
    type=_SHARE,
    default=USUAL.least_valid,
    show_default=True,
    help="Minimum share of valid pixels; fewer: masked.",
)
@click.option(
    "--most-black",
    type=_SHARE,
    default=USUAL.most_black,
    show_default=True,
    help="Maximum share of valid pixels with 0 in all bands; more: black.",
)
@click.option(
    "--most-saturated",
    type=_SHARE,
    default=USUAL.most_saturated,
    show_default=True,
    help="Maximum share of pixels with the greatest value of their type; more: saturated.",
)
@click.option(
    "--most-clouds",
    type=_SHARE,
    default=USUAL.most_clouds,
    show_default=True,
    help="Maximum share of cloud by quality bands in the chip (SCL, QA60, QA_PIXEL, cs, …); more: cloudy.",
)
@click.option(
    "--bits",
    type=click.IntRange(0, 32),
    default=USUAL.bits,
    show_default=True,
    help="Maximum number of differing bits, of 128, in the perceptual hashes of near duplicates.",
)
@click.option("--roi", metavar="W,S,E,N|FILE", help="Region that must contain the chips. [default: that of the run]")
@click.option(
    "--ignore", type=Names(), default=(), metavar="FLAG[:LAYER],…", help="Flags to ignore, in one layer or in all."
)
@click.option("--again", is_flag=True, help="Read all files again, also those that an earlier check has measured.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if a file has a flag.")
@click.option(
    "--drop",
    "dropped",
    type=Names(),
    metavar="all|FLAG,…",
    help="Remove the units with these flags from the run. Afterwards eechips retry fetches other units of the same"
    " strata, and damaged files again.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@debug_option
@click.pass_context
def command(ctx: click.Context, /, folder: Path, strict: bool, dropped: tuple[str, ...] | None, **options: Any) -> None:
    """Find chips of a run that are black, masked, cloudy, duplicate, shifted, or different from the request.

    The statistics and flags of every file are written to DIR/quality.parquet. A repeated check reads only new and
    changed files.

    \b
    unreadable      missing, or does not decode       changed         sha256 differs from the manifest
    size            differs from the request          shifted         grid differs from the request
    outside         not in the region                 masked          too few valid pixels
    constant        one value in every band           black           too many pixels are 0
    saturated       too many maximum values           cloudy          too much cloud
    duplicate       same pixels as an earlier unit    near_duplicate  similar to an earlier unit

    Class maps beside an image, such as land cover, are never constant, black or saturated.

    \b
    Examples:
      eechips check outputs/sample-naip
      eechips check outputs/sample-naip --most-black 0.2 --ignore near_duplicate --strict
      eechips check outputs/sample-naip --drop black,duplicate && eechips retry outputs/sample-naip
    """
    chosen = _flags(dropped)
    found = check(folder, **options)
    for line in _lines(found):
        click.echo(line)
    if chosen:
        for line in _dropped(found, chosen):
            click.echo(line)
    if strict and len(found.flagged):
        ctx.exit(1)


def _flags(words: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the flags that ``--drop`` names."""
    if not words:
        return ()
    if words == (_ALL,):
        return tuple(FLAGS)
    for word in words:
        if word not in FLAGS:
            raise UsageError(f"--drop {word}: unknown flag; known are {_ALL}, {', '.join(FLAGS)}")
    return words


def _dropped(found: QualityReport, flags: tuple[str, ...]) -> list[str]:
    """Drop units with some flags; units with damaged files are planned again instead."""
    units, every = found.units(flags), found.units()
    again = [identifier for identifier in units if DAMAGED & set(every[identifier])]
    reasons = {identifier: f"dropped: {', '.join(own)}" for identifier, own in units.items() if identifier not in again}
    dropped, reopened = exclude_units(found.run.path, reasons, again)
    lines = [f"Dropped: {format_count(dropped, 'unit')}"]
    lines += [f"To be fetched again, because of damaged files: {format_count(reopened, 'unit')}"] if reopened else []
    place = shlex.quote(str(found.run.path))
    if dropped:
        lines.append(f"To replace them by others of the same strata: eechips retry {place}")
    elif reopened:
        lines.append(f"To fetch them: eechips retry {place}")
    return lines


def _lines(found: QualityReport) -> list[str]:
    """Return a line for each flag, and one for each check that was not possible."""
    counts, files = found.counts, len(found.files)
    units, flagged = found.files["id"].nunique(), found.flagged["id"].nunique()
    lines = []
    if len(counts):
        layers = [layer for layer in found.files["layer"].fillna("").unique() if layer in counts.columns]
        heads = "".join(f"{layer[:12] or 'files':>13}" for layer in layers)
        lines.append(f"{'flag':<16}{heads}  ")
        for flag in counts.index:
            row = "".join(f"{counts.loc[flag, layer]:>13,}" for layer in layers)
            lines.append(f"{flag:<16}{row}  {FLAGS[flag]}")
        lines = [line.rstrip() for line in lines] + [""]
    lines.append(
        f"{flagged:,} of {format_count(units, 'unit')} flagged; {found.read:,} of {format_count(files, 'file')} read"
    )
    lines += [f"Not checked: {flag}: {why}" for flag, why in found.unchecked.items()]
    return [*lines, f"Written: {found.run.path / QUALITY_NAME}"]
