"""``eechips check``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from eechips.cli.options import HELP, debug_option
from eechips.cli.parameter_types import Names
from eechips.errors import UsageError
from eechips.manifest.drops import drop
from eechips.training.quality_check import USUAL, QualityReport, check
from eechips.training.quality_flags import DAMAGED, FLAGS
from eechips.training.quality_table import QUALITY_NAME

_ALL = "all"
_SHARE = click.FloatRange(0.0, 1.0)


@click.command("check", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--least-valid", type=_SHARE, default=USUAL.least_valid, show_default=True, help="Share that must not be masked."
)
@click.option(
    "--most-black", type=_SHARE, default=USUAL.most_black, show_default=True, help="Share that may be 0 in all bands."
)
@click.option(
    "--most-saturated",
    type=_SHARE,
    default=USUAL.most_saturated,
    show_default=True,
    help="Share that may have the greatest number of its type.",
)
@click.option(
    "--most-clouds",
    type=_SHARE,
    default=USUAL.most_clouds,
    show_default=True,
    help="Share that quality bands in the chip (SCL, QA60, QA_PIXEL, cs, …) may call cloud.",
)
@click.option(
    "--bits",
    type=click.IntRange(0, 32),
    default=USUAL.bits,
    show_default=True,
    help="Of 128 bits of a perceptual hash, in how many chips that look the same differ.",
)
@click.option("--roi", metavar="W,S,E,N|FILE", help="Region in which chips must lie. [default: the run's]")
@click.option(
    "--ignore", type=Names(), default=(), metavar="FLAG[:LAYER],…", help="Flags that do not count, of a layer or all."
)
@click.option("--again", is_flag=True, help="Read files again that an earlier check has measured.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if anything is flagged.")
@click.option(
    "--drop",
    "dropped",
    type=Names(),
    metavar="all|FLAG,…",
    help="Remove the units with these flags from the run; `eechips retry` then draws others of the same strata, and"
    " fetches again what is damaged.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@debug_option
@click.pass_context
def command(ctx: click.Context, /, folder: Path, strict: bool, dropped: tuple[str, ...] | None, **options: Any) -> None:
    """Look at every chip of a run: what is black, masked, cloudy, doubled, shifted, or not what was asked for.

    DIR/quality.parquet has what was measured of every file, and its flags. Asked again, only files that are new or
    were changed are read.

    \b
    unreadable      missing, or does not decode       changed         another sha256 than the manifest's
    size            other than asked for              shifted         pixels elsewhere than asked for
    outside         not in the region                 masked          too few valid pixels
    constant        one value in every band           black           too many pixels of 0
    saturated       too many greatest values          cloudy          too much cloud
    duplicate       same pixels as an earlier unit    near_duplicate  looks like an earlier unit

    A layer of few classes beside an image, such as a land-cover map, is never constant, black or saturated.

    \b
    Examples:
      eechips check outputs/sample-naip
      eechips check outputs/sample-naip --most-black 0.2 --ignore near_duplicate --strict
      eechips check outputs/sample-naip --drop black,duplicate && eechips retry outputs/sample-naip
    """
    chosen = _flags(dropped)
    found = check(folder, **options)
    for line in _told(found):
        click.echo(line)
    if chosen:
        for line in _dropped(found, chosen):
            click.echo(line)
    if strict and len(found.flagged):
        ctx.exit(1)


def _flags(words: tuple[str, ...] | None) -> tuple[str, ...]:
    """The flags that ``--drop`` names."""
    if not words:
        return ()
    if words == (_ALL,):
        return tuple(FLAGS)
    for word in words:
        if word not in FLAGS:
            raise UsageError(f"--drop {word}: there is no flag '{word}': there are {_ALL}, {', '.join(FLAGS)}")
    return words


def _dropped(found: QualityReport, flags: tuple[str, ...]) -> list[str]:
    """Drops units with some flags; those of which only the files are wrong are planned again."""
    units, every = found.units(flags), found.units()
    again = [identifier for identifier in units if DAMAGED & set(every[identifier])]
    reasons = {identifier: f"dropped: {', '.join(own)}" for identifier, own in units.items() if identifier not in again}
    dropped, reopened = drop(found.run.path, reasons, again)
    lines = [f"Dropped: {dropped:,} units"]
    lines += [f"To be fetched again, as their files were damaged: {reopened:,} units"] if reopened else []
    place = shlex.quote(str(found.run.path))
    if dropped:
        lines.append(f"To have others of the same strata in their place: eechips retry {place}")
    elif reopened:
        lines.append(f"To fetch them: eechips retry {place}")
    return lines


def _told(found: QualityReport) -> list[str]:
    """What is wrong, a line for each flag, and what could not be looked at."""
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
    lines.append(f"{flagged:,} of {units:,} units have a flag; {found.read:,} of {files:,} files were read")
    lines += [f"Not checked: {flag}: {why}" for flag, why in found.unchecked.items()]
    return [*lines, f"Written: {found.run.path / QUALITY_NAME}"]
