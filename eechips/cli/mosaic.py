"""``eechips mosaic``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.finish import finish
from eechips.cli.options import (
    HELP,
    Names,
    date_options,
    given,
    grid_options,
    mask_option,
    repair_option,
    run_options,
    where_option,
)
from eechips.jobs.mosaic import mosaic_recipe
from eechips.jobs.mosaic_tiles import REDUCERS
from eechips.writers.cog import COMPRESSIONS, DTYPES, RESAMPLINGS


@click.command("mosaic", context_settings=HELP)
@click.option(
    "--dataset", required=True, metavar="NAME", help="Alias (eechips datasets), or id of an image or a collection."
)
@click.option(
    "--roi",
    metavar="REGION",
    help="W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE. [default: the whole of a single image]",
)
@repair_option
@date_options
@where_option
@mask_option
@click.option(
    "--reducer",
    type=click.Choice(REDUCERS),
    default="mosaic",
    show_default=True,
    help="What makes one image of a collection. mosaic: the latest on top; first: the earliest.",
)
@click.option("--bands", type=Names(), help="Bands, in order. [default: the dataset's]")
@grid_options
@click.option("--clip", is_flag=True, help="Mask what lies outside the region. [default: keep the window around it]")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Type of the pixels. [default: the source's; float32 for means and medians]",
)
@click.option("--nodata", type=float, metavar="V", help="Value of pixels without data. [default: a mask instead]")
@click.option(
    "--compress", type=click.Choice(COMPRESSIONS), default="deflate", show_default=True, help="Of mosaic.tif."
)
@click.option(
    "--overview-resampling",
    type=click.Choice(RESAMPLINGS),
    metavar="NAME",
    help=f"How overviews are made: {', '.join(RESAMPLINGS)}. [default: nearest for classes, else average]",
)
@click.option("--window", type=int, metavar="N", help="Edge of a window in pixels, at most. [default: as suits limits]")
@run_options
def command(**options: Any) -> None:
    """Make one cloud-optimised GeoTIFF of a region, however large.

    The region is fetched in windows on the blocks of the source, each of them checked, which are then put together:
    mosaic.tif, and mosaic.windows.parquet with the checksums of all windows. If a window fails there is no mosaic,
    and the same command, or eechips retry, goes on. Windows are kept: they take about as much disk as the mosaic.

    \b
    Examples:
      eechips mosaic --dataset SRTM --roi=-105.5,39.5,-105.0,40.0 --local
      eechips mosaic --dataset S2 --roi 7.0,46.0,8.0,47.0 --start 2023-06-01 --end 2023-09-01 \\
          --reducer median --mask --bands B4,B3,B2,B8 --crs utm --out outputs/valais
      eechips mosaic --dataset NAIP --roi county.gpkg --clip --start 2021-01-01 --end 2022-01-01
    """
    finish(*mosaic_recipe(given(options)))
