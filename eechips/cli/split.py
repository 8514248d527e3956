"""``eechips split``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.errors import LeakageError
from eechips.text import format_count, format_distance
from eechips.training.split_table import NONE, SPLITS_NAME
from eechips.training.splitting import NEAR, WAYS, SplitResult, check_splits, split

_ROWS = 30  # strata that are printed


@click.command("split", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--by",
    default="blocks",
    show_default=True,
    metavar="|".join((*WAYS, "column:NAME")),
    help="Unit of the split, whose chips stay together: equal-area squares, H3 cells, days, places, or values of a"
    " field.",
)
@click.option(
    "--ratios",
    default="0.7,0.15,0.15",
    show_default=True,
    metavar="R,R[,R]",
    help="Shares of train, validation and test, or of train and test; or with names: a=0.6,b=0.4.",
)
@click.option(
    "--block-size", default="10km", show_default=True, metavar="DISTANCE", help="With --by blocks: edge of a square."
)
@click.option(
    "--resolution",
    type=click.IntRange(0, 15),
    default=5,
    show_default=True,
    help="With --by h3: resolution of the cells.",
)
@click.option(
    "--cuts", metavar="DAY[,DAY]", help="With --by time: first days of the later splits. [default: by the ratios]"
)
@click.option("--date-field", metavar="NAME", help="With --by time: field of the units with the date.")
@click.option(
    "--stratum",
    default="auto",
    show_default=True,
    metavar="auto|none|NAME",
    help="Field to stratify by: the ratios hold within each value. auto: the class or ecoregion of random points.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random assignment of blocks.")
@click.option(
    "--buffer",
    metavar="DISTANCE",
    help="Minimum distance between chips of different splits. [default: no overlap; with --by time no check]",
)
@click.option(
    "--near",
    type=click.Choice(NEAR),
    default="refuse",
    show_default=True,
    help="What to do with chips that are too close: refuse the split, or drop those of the larger split.",
)
@click.option("--fresh", is_flag=True, help="Ignore an earlier split; otherwise blocks keep their split.")
@click.option("--check", is_flag=True, help="Only check the distance between the existing splits.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@debug_option
@click.pass_context
def command(ctx: click.Context, /, folder: Path, check: bool, buffer: str | None, **options: Any) -> None:
    """Split the chips of a run into training, validation and test sets without spatial leakage.

    Blocks are assigned to splits as a whole, so that every stratum has its share in each as far as possible. Then the
    distances between the footprints of chips of different splits are computed on the ellipsoid. If chips overlap, or
    are closer than --buffer, they are listed, nothing is written, and the exit status is 1; with --near drop they are
    left out instead.

    The split of each unit is written to DIR/splits.parquet. If the command is repeated, for example after more chips
    were fetched, blocks keep their split.

    \b
    Examples:
      eechips split outputs/sample-naip --block-size 20km --buffer 1km --near drop
      eechips split outputs/sample-naip --by column:eco_name --ratios 0.8,0.2
      eechips split outputs/sample-naip --by time --cuts 2019-01-01,2020-01-01
      eechips split outputs/sample-naip --check --buffer 5km
    """
    try:
        done = check_splits(folder, buffer=buffer) if check else split(folder, buffer=buffer, **options)
    except LeakageError as error:
        click.echo(f"Leakage: {error}; {'the splits are too close' if check else 'nothing was written'}", err=True)
        for first_split, second_split, first, second, metres in error.pairs:
            apart = "overlap" if metres == 0.0 else f"{metres:,.1f} m apart"
            click.echo(f"  {first_split} {first[:16]}  {second_split} {second[:16]}  {apart}", err=True)
        if not check:
            click.echo("Use larger blocks, or drop chips with --near drop", err=True)
        ctx.exit(1)
    for line in [*_shares(done), *_strata(done), *_notes(done)]:
        click.echo(line)
    if not check:
        click.echo(f"Written: {folder / SPLITS_NAME}")


def _shares(done: SplitResult) -> list[str]:
    """Return the number of chips of each split, beside its wanted share."""
    frame, wanted = done.splits, dict(zip(done.ratios.names, done.ratios.shares, strict=True))
    lines = [f"{'split':<16}{'chips':>9}{'share':>9}{'wanted':>9}{'blocks':>9}"]
    for name in done.names:
        own = frame[frame["split"] == name]
        share = f"{len(own) / len(frame):.1%}"
        asked = f"{wanted[name]:.1%}" if name in wanted else ""
        lines.append(f"{name:<16}{len(own):>9,}{share:>9}{asked:>9}{own['block'].nunique():>9,}")
    return lines


def _strata(done: SplitResult) -> list[str]:
    """Return the shares in each stratum, those farthest from the ratios first."""
    counts = done.counts
    if len(counts) < 2:
        return []
    names = [name for name in done.names if name != NONE]
    shares = counts[names].div(counts[names].sum(axis=1).clip(lower=1), axis=0)
    wanted = dict(zip(done.ratios.names, done.ratios.shares, strict=True))
    away = (shares - [wanted[name] for name in names]).abs().sum(axis=1).sort_values(ascending=False, kind="stable")
    lines = ["", f"{'stratum':<32}" + "".join(f"{name[:12]:>13}" for name in names) + f"{'chips':>9}"]
    for stratum in away.index[:_ROWS]:
        row = "".join(f"{shares.loc[stratum, name]:>13.1%}" for name in names)
        lines.append(f"{str(stratum)[:31]:<32}{row}{int(counts.loc[stratum].sum()):>9,}")
    if len(away) > _ROWS:
        lines.append(f"and {len(away) - _ROWS:,} strata that are closer to the ratios")
    return [*lines, ""]


def _notes(done: SplitResult) -> list[str]:
    lines = []
    if done.kept:
        lines.append(f"Blocks that kept their earlier split: {done.kept:,}")
    left_out = int((done.splits["split"] == NONE).sum())
    if left_out:
        lines.append(f"Left out, in no split: {left_out:,}")
    if done.doubled:
        lines.append(
            f"Chips that duplicate one of another split: {done.doubled:,} (to remove them:"
            " eechips check --drop duplicate,near_duplicate)"
        )
    if done.leakage is None:
        lines.append("Not measured: the distance between splits (--buffer 0m measures it)")
    else:
        metres = float(done.options.get("buffer") or 0.0)
        how = f"are closer than {format_distance(metres)}" if metres else "overlap"
        lines.append(f"No two chips of different splits {how}")
        if done.leakage.unmeasured:
            lines.append(f"Not measured: {format_count(done.leakage.unmeasured, 'result')} without crs and transform")
    return lines
