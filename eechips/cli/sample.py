"""``eechips sample``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.finish import finish
from eechips.cli.options import HELP, Names, Size, chip_options, given, run_options
from eechips.jobs.chips import sample_recipe
from eechips.recipe import CHIP_FORMATS


@click.command("sample", context_settings=HELP)
@click.option("--dataset", required=True, metavar="NAME", help="Alias (eechips datasets) or any Earth Engine id.")
@click.option("--per-ecoregion", type=int, required=True, metavar="N", help="Chips in each ecoregion.")
@click.option(
    "--roi",
    metavar="REGION",
    help="W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE. [default: the dataset's; Colorado for NAIP]",
)
@click.option("--size", type=Size(), default=256, show_default=True, help="Pixels of a chip.")
@click.option("--scale", type=float, metavar="M", help="Edge of a pixel in metres. [default: the dataset's]")
@click.option("--bands", type=Names(), help="Bands, in order. [default: the dataset's]")
@click.option("--start", metavar="DATE", help="First day, YYYY-MM-DD. [default: the dataset's first]")
@click.option("--end", metavar="DATE", help="Day after the last, YYYY-MM-DD. [default: the dataset's last]")
@click.option(
    "--format",
    type=click.Choice(CHIP_FORMATS),
    default="png",
    show_default=True,
    help="png and jpg: pictures, 1 or 3 bands of 8 bits. tif (GeoTIFF) and npy: the data.",
)
@click.option(
    "--grid",
    type=click.Choice(["native", "thumb"]),
    help="native: on the source image's own pixels. thumb: buffer().bounds() around the point, resampled."
    " [default: native for tif and npy, thumb for png and jpg]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed draws the same points.")
@click.option("--limit", type=int, metavar="N", help="Stop after N chips in all, spread over the ecoregions.")
@click.option("--min", "minimum", type=float, metavar="V", help="Value that is black. [default: the dataset's]")
@click.option("--max", "maximum", type=float, metavar="V", help="Value that is white. [default: the dataset's]")
@click.option("--palette", type=Names(), help="Colours of a picture of one band, as 000000,ffffff.")
@click.option("--ecoregions", metavar="ASSET", help="Table of the strata. [default: RESOLVE/ECOREGIONS/2017]")
@click.option("--ecoregion-field", metavar="FIELD", help="Its column that identifies them. [default: ECO_ID]")
@chip_options
@run_options
def command(**options: Any) -> None:
    """Take image chips at N random points in every ecoregion that meets a region.

    A chip shows the dataset's images between the two dates, the latest on top. Interrupted, the same command goes
    on where it stopped; finished, it does nothing.

    \b
    Examples:
      eechips sample --dataset NAIP --per-ecoregion 25 --local
      eechips sample --dataset NAIP --per-ecoregion 1000 --project my-project
      eechips sample --dataset S2 --per-ecoregion 100 --roi 5.9,45.8,10.5,47.8 --start 2023-06-01 \\
          --end 2023-09-01 --bands B4,B3,B2,B8 --format tif --out outputs/alps
      eechips sample --dataset NAIP --per-ecoregion 500 --roi study_area.gpkg --name '{eco_name}/{id}'
    """
    finish(*sample_recipe(given(options)))
