"""Make a training set of a run: ``eechips check`` (with ``--drop``), ``split``, ``stats``, ``pack`` and ``card``, and
the tables that they print.

What reads pixels and tables is imported when a command runs, so that help texts are fast.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.cli.terminal import echo, echo_lines
from eechips.commands.command import typed_options
from eechips.commands.option_names import option_names
from eechips.commands.parameters import Names, config_options, run_command
from eechips.errors import LeakageError, UsageError
from eechips.text.formatting import format_bytes, format_count, format_distance
from eechips.training.training_options import CheckOptions, PackOptions, SplitOptions, StatsOptions

if TYPE_CHECKING:
    from eechips.training.packs.shard_index import PackIndex
    from eechips.training.quality.quality_check import QualityReport
    from eechips.training.quality.statistics_passes import DatasetStatistics, LayerStatistics
    from eechips.training.splits.splitting import SplitResult

_ALL = "all"


@run_command("check")
@config_options(CheckOptions)
@click.option("--strict", is_flag=True, help="Exit with status 1 if a file has a flag.")
@click.option(
    "--drop",
    "dropped",
    type=Names(),
    metavar="all|FLAG,…",
    help="Remove the units with these flags from the run. Afterwards eechips retry fetches other units of the same"
    " strata, and damaged files again.",
)
@click.pass_context
def check_command(
    ctx: click.Context, /, folder: Path, strict: bool, dropped: tuple[str, ...] | None, **options: Any
) -> None:
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
    from eechips.training.quality.quality_check import check

    chosen = _dropped_flags(dropped)
    report = check(folder, **typed_options(options))
    echo_lines(_quality_lines(report))
    if chosen:
        echo_lines(_drop(report, chosen))
    if strict and len(report.flagged):
        ctx.exit(1)


def _dropped_flags(words: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the flags that ``--drop`` names."""
    if not words:
        return ()
    from eechips.training.quality.quality_flags import FLAGS

    if words == (_ALL,):
        return tuple(FLAGS)
    for word in words:
        if word not in FLAGS:
            raise UsageError(f"--drop {word}: unknown flag; known are {_ALL}, {', '.join(FLAGS)}")
    return words


def _drop(report: QualityReport, flags: tuple[str, ...]) -> list[str]:
    """Drop units with some flags; units with damaged files are planned again instead."""
    from eechips.manifest.exclusions import exclude_units
    from eechips.training.quality.quality_flags import DAMAGED

    units, every = report.units(flags), report.units()
    again = [identifier for identifier in units if DAMAGED & set(every[identifier])]
    reasons = {identifier: f"dropped: {', '.join(own)}" for identifier, own in units.items() if identifier not in again}
    dropped, reopened = exclude_units(report.run.path, reasons, again)
    lines = [f"Dropped: {format_count(dropped, 'unit')}"]
    lines += [f"To be fetched again, because of damaged files: {format_count(reopened, 'unit')}"] if reopened else []
    place = shlex.quote(str(report.run.path))
    if dropped:
        lines.append(f"To replace them by others of the same strata: eechips retry {place}")
    elif reopened:
        lines.append(f"To fetch them: eechips retry {place}")
    return lines


def _quality_lines(report: QualityReport) -> list[str]:
    """Return a line for each flag, and one for each check that was not possible."""
    from eechips.training.quality.quality_flags import FLAGS
    from eechips.training.quality.quality_table import QUALITY_NAME

    counts, files = report.counts, len(report.files)
    units, flagged = report.files["id"].nunique(), report.flagged["id"].nunique()
    lines = []
    if len(counts):
        layers = [layer for layer in report.files["layer"].fillna("").unique() if layer in counts.columns]
        heads = "".join(f"{layer[:12] or 'files':>13}" for layer in layers)
        lines.append(f"{'flag':<16}{heads}  ")
        for flag in counts.index:
            row = "".join(f"{counts.loc[flag, layer]:>13,}" for layer in layers)
            lines.append(f"{flag:<16}{row}  {FLAGS[flag]}")
        lines = [line.rstrip() for line in lines] + [""]
    lines.append(
        f"{flagged:,} of {format_count(units, 'unit')} flagged; {report.read:,} of {format_count(files, 'file')} read"
    )
    lines += [f"Not checked: {flag}: {option_names(why)}" for flag, why in report.unchecked.items()]
    return [*lines, f"Written: {report.run.path / QUALITY_NAME}"]


_STRATA = 30  # strata that are printed


@run_command("split")
@config_options(SplitOptions)
@click.option("--check", is_flag=True, help="Only check the distance between the existing splits.")
@click.pass_context
def split_command(ctx: click.Context, /, folder: Path, check: bool, **options: Any) -> None:
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
      eechips split outputs/sample-naip --away-from pretraining.parquet --distance 1km
      eechips split outputs/sample-naip --check --buffer 5km
    """
    from eechips.training.splits.split_table import SPLITS_NAME
    from eechips.training.splits.splitting import check_splits, split

    chosen = typed_options(options)
    try:
        if check:
            names = ("buffer", "away_from", "distance")
            done = check_splits(folder, **{name: chosen[name] for name in names if name in chosen})
        else:
            done = split(folder, **chosen)
    except LeakageError as error:
        echo(f"Leakage: {error}; {'the splits are too close' if check else 'nothing was written'}", err=True)
        for first_split, second_split, first, second, metres in error.pairs:
            apart = "overlap" if metres == 0.0 else f"{metres:,.1f} m apart"
            echo(f"  {first_split} {first[:16]}  {second_split} {second[:16]}  {apart}", err=True)
        if not check:
            echo("Use larger blocks, or drop chips with --near drop", err=True)
        ctx.exit(1)
    echo_lines([*_share_lines(done), *_stratum_lines(done), *_split_notes(done)])
    if not check:
        echo(f"Written: {folder / SPLITS_NAME}")


def _share_lines(done: SplitResult) -> list[str]:
    """Return the number of chips of each split, beside its wanted share."""
    frame, wanted = done.splits, dict(zip(done.ratios.names, done.ratios.shares, strict=True))
    lines = [f"{'split':<16}{'chips':>9}{'share':>9}{'wanted':>9}{'blocks':>9}"]
    for name in done.names:
        own = frame[frame["split"] == name]
        share = f"{len(own) / len(frame):.1%}"
        asked = f"{wanted[name]:.1%}" if name in wanted else ""
        lines.append(f"{name:<16}{len(own):>9,}{share:>9}{asked:>9}{own['block'].nunique():>9,}")
    return lines


def _stratum_lines(done: SplitResult) -> list[str]:
    """Return the shares in each stratum, those farthest from the ratios first."""
    from eechips.training.splits.split_table import NONE

    counts = done.counts
    if len(counts) < 2:
        return []
    names = [name for name in done.names if name != NONE]
    shares = counts[names].div(counts[names].sum(axis=1).clip(lower=1), axis=0)
    wanted = dict(zip(done.ratios.names, done.ratios.shares, strict=True))
    away = (shares - [wanted[name] for name in names]).abs().sum(axis=1).sort_values(ascending=False, kind="stable")
    lines = ["", f"{'stratum':<32}" + "".join(f"{name[:12]:>13}" for name in names) + f"{'chips':>9}"]
    for stratum in away.index[:_STRATA]:
        row = "".join(f"{shares.loc[stratum, name]:>13.1%}" for name in names)
        lines.append(f"{str(stratum)[:31]:<32}{row}{int(counts.loc[stratum].sum()):>9,}")
    if len(away) > _STRATA:
        lines.append(
            f"and {len(away) - _STRATA:,} more that {'is' if len(away) - _STRATA == 1 else 'are'} closer to the ratios"
        )
    return [*lines, ""]


def _split_notes(done: SplitResult) -> list[str]:
    from eechips.training.splits.split_table import NONE

    lines = []
    if done.kept:
        lines.append(f"Blocks that kept their earlier split: {done.kept:,}")
    left_out = int((done.splits["split"] == NONE).sum())
    if done.near_footprints:
        what = format_count(done.near_footprints, "chip")
        where = f"left out, or in {done.ratios.training}" if done.options["away"] == "train" else "left out"
        lines.append(f"Near the footprints of other data: {what}, {where}")
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


@run_command("stats")
@config_options(StatsOptions)
def stats_command(folder: Path, **options: Any) -> None:
    """Compute statistics of the pixels of a run or a pack, by layer, band and split.

    Mean, standard deviation, extremes, percentiles and the share of valid pixels; of maps of classes, the pixels of
    each class and weights for training. Masked pixels, nodata, NaN and infinite values are left out. DIR/stats.json has
    `means` and `stds` in the order of the bands, of the split train if there is one, and everything by split.

    \b
    Examples:
      eechips stats outputs/sample-naip
      eechips stats outputs/landcover/packs/webdataset --out stats.json
    """
    from eechips.training.quality.statistics_passes import STATS_NAME, stats

    chosen = typed_options(options)
    echo_lines(_statistics_lines(stats(folder, **chosen)))
    echo(f"Written: {chosen.get('out') or folder / STATS_NAME}")


_SHOWN = ("mean", "std", "min", "p2", "p50", "p98", "max")  # statistics that are printed


def _statistics_lines(statistics: DatasetStatistics) -> list[str]:
    """Return a line for each band of the split of reference, and one for each class."""
    lines = [f"{name}: {format_count(count, 'sample')}" for name, count in statistics.samples.items()]
    lines += [f"left out: {format_count(statistics.left_out, 'sample')}"] if statistics.left_out else []
    frame = statistics.frame
    for name, layer in statistics.layers.items():
        split = statistics.reference if statistics.reference in layer.splits else "all"
        lines += ["", f"{f'{name} ({split})':<24}{'valid':>8}" + "".join(f"{head:>11}" for head in _SHOWN)]
        rows = frame[(frame["layer"] == name) & (frame["split"] == split)]
        for row in rows.to_dict("records"):
            values = "".join(f"{'-' if row[head] is None else format(row[head], '.5g'):>11}" for head in _SHOWN)
            share = f"{row['valid'] / row['pixels']:.1%}" if row["pixels"] else "-"
            lines.append(f"  {row['band'][:21]:<22}{share:>8}{values}")
        lines += _class_lines(layer, split)
    return [*lines, ""]


def _class_lines(layer: LayerStatistics, split: str) -> list[str]:
    lines = []
    for band, counts in layer.split_classes.get(split, layer.classes).items():
        total = sum(counts.counts) or 1
        unnamed = " not in the record" if any(counts.names) else ""
        lines += [f"  classes of {band:<32}{'pixels':>14}{'share':>8}{'inverse':>9}{'median':>9}"]
        columns = (counts.values, counts.names, counts.counts, counts.inverse_frequency, counts.median_frequency)
        for value, name, count, inverse, median in zip(*columns, strict=True):
            if count:
                label = f"{value}{f' {name}' if name else unnamed}"[:41]
                lines.append(f"    {label:<41}{count:>14,}{count / total:>8.2%}{inverse:>9.3g}{median:>9.3g}")
    return lines


@run_command("pack")
@config_options(PackOptions)
def pack_command(folder: Path, **options: Any) -> None:
    """Write the samples of a run into shards for training, in a reproducible random order.

    Every sample is written once, with its files and JSON metadata (id, split, unit, crs, transform, dates, sources). A
    shard contains one split. webdataset, tfrecord and parquet store the files unchanged; zarr and hdf5 store arrays,
    for chips of one size; geozarr stores a cube for each sample, with coordinates, crs and times. shards.json lists the
    shards with counts and sha256, once the pack is complete. To resume an interrupted pack, repeat the command; a
    complete pack is not written again. tfrecord, zarr, hdf5 and geozarr need an extra: pip install 'eechips[pack]'.

    \b
    Examples:
      eechips pack outputs/naip --to webdataset
      eechips pack outputs/naip --to parquet --split train --split validation --out shards
      eechips pack outputs/landcover --to zarr --shard-count 256
    """
    from eechips.manifest.run import open_run
    from eechips.training.packs.sharding import pack, pack_folder

    chosen = typed_options(options)
    try:
        index = pack(folder, **chosen)
    except KeyboardInterrupt:
        echo("Interrupted. To resume, repeat the command.", err=True)
        raise
    echo_lines(_pack_lines(index, pack_folder(open_run(folder), PackOptions(**chosen))))


def _pack_lines(index: PackIndex, path: Path) -> list[str]:
    lines = []
    for name, count in index.splits.items():
        shards = [stored for stored in index.shards if stored.shard.split == name]
        size = sum(file.bytes for stored in shards for file in stored.files)
        what = f"{format_count(count, 'sample')} in {format_count(len(shards), 'shard')}"
        lines.append(f"{name}: {what}, {format_bytes(size)}")
    lines += [f"left out: {format_count(count, 'sample')} of split {name}" for name, count in index.left_out.items()]
    return [*lines, f"{format_count(index.samples, 'sample')}, {format_bytes(index.bytes)}, in {path}"]


@run_command("card")
@click.option("--title", metavar="TEXT", help="Title of the dataset. [default: the name of the folder]")
@click.option("--creator", metavar="NAME", help="Creator of the dataset.")
@click.option("--url", metavar="URL", help="URL of the published dataset.")
@click.option("--version", default="1.0.0", show_default=True, metavar="N.N.N", help="Version of the dataset.")
@click.option("--overwrite", is_flag=True, help="Replace a README.md that eechips did not write.")
def card_command(
    folder: Path, title: str | None, creator: str | None, url: str | None, version: str, overwrite: bool
) -> None:
    """Write a data card for a finished run: README.md, croissant.json and a contact sheet.

    README.md lists the contents (counts, classes, bounds, dates, resolution, splits, flags), the licence and citation
    of every source, and the commands to reproduce the dataset. croissant.json is the machine-readable form
    (Croissant 1.0). The same run gives the same files.

    \b
    Examples:
      eechips card outputs/sample-naip
      eechips card outputs/landcover --title "Land cover of the Front Range" --creator "A. Person"
    """
    from eechips.training.cards.dataset_card import card

    data_card = card(folder, title=title, creator=creator, url=url, version=version, overwrite=overwrite)
    for path in (data_card.readme, data_card.croissant, data_card.sheet):
        if path is not None:
            echo(path)
