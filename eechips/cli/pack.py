"""``eechips pack``."""

from __future__ import annotations

from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.cli.parameter_types import Bytes
from eechips.text import format_bytes, format_count
from eechips.training.formats import PACK_FORMATS
from eechips.training.shard_index import PackIndex
from eechips.training.sharding import SHARD_BYTES, SHARD_COUNT, pack


@click.command("pack", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--to", type=click.Choice(PACK_FORMATS.names), required=True, help="Format of the shards.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR2",
    help="Folder of the shards. [default: DIR/packs/FORMAT]",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME",
    help="Only this split of eechips split. May be repeated. [default: all]",
)
@click.option(
    "--shard-count",
    type=click.IntRange(min=1),
    default=SHARD_COUNT,
    show_default=True,
    metavar="N",
    help="Maximum number of samples in a shard.",
)
@click.option(
    "--shard-bytes",
    type=Bytes(),
    default=SHARD_BYTES,
    help=f"Maximum size of a shard before compression. [default: {SHARD_BYTES // 1_000_000}MB]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order of samples.")
@click.option("--quiet", is_flag=True, help="No progress.")
@debug_option
def command(
    folder: Path,
    to: str,
    out: Path | None,
    splits: tuple[str, ...],
    shard_count: int,
    shard_bytes: int,
    seed: int,
    quiet: bool,
) -> None:
    """Write the samples of a run into shards for training, in a reproducible random order.

    Every sample is written once, with its files and JSON metadata (id, split, unit, crs, transform, dates, sources). A
    shard contains one split. webdataset, tfrecord and parquet store the files unchanged; zarr and hdf5 store arrays,
    for chips of one size. shards.json lists the shards with counts and sha256, once the pack is complete. To resume an
    interrupted pack, repeat the command; a complete pack is not written again. tfrecord, zarr and hdf5 need an extra:
    pip install 'eechips[pack]'.

    \b
    Examples:
      eechips pack outputs/naip --to webdataset
      eechips pack outputs/naip --to parquet --split train --split validation --out shards
      eechips pack outputs/landcover --to zarr --shard-count 256
    """
    path = out if out is not None else folder / "packs" / to
    options = {"shard_count": shard_count, "shard_bytes": shard_bytes, "seed": seed}
    try:
        index = pack(folder, to, out=path, splits=splits, quiet=quiet, **options)
    except KeyboardInterrupt:
        click.echo("Interrupted. To resume, repeat the command.", err=True)
        raise
    for line in _lines(index, path):
        click.echo(line)


def _lines(index: PackIndex, path: Path) -> list[str]:
    lines = []
    for split, count in index.splits.items():
        shards = [stored for stored in index.shards if stored.shard.split == split]
        size = sum(file.bytes for stored in shards for file in stored.files)
        what = f"{format_count(count, 'sample')} in {format_count(len(shards), 'shard')}"
        lines.append(f"{split}: {what}, {format_bytes(size)}")
    lines += [f"left out: {format_count(count, 'sample')} of split {name}" for name, count in index.left_out.items()]
    return [*lines, f"{format_count(index.samples, 'sample')}, {format_bytes(index.bytes)}, in {path}"]
