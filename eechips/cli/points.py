"""``eechips points``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.finish import finish
from eechips.cli.options import HELP, Names, date_options, given, mask_option, repair_option, run_options
from eechips.jobs.points import COMPOSITES, points_recipe
from eechips.recipe import TABLE_FORMATS


@click.command("points", context_settings=HELP)
@click.option("--dataset", required=True, metavar="NAME", help="Alias (eechips datasets) or any Earth Engine id.")
@click.option(
    "--points",
    required=True,
    metavar="FILE",
    help="CSV or Parquet with longitude and latitude, or a vector file of points or polygons.",
)
@click.option("--lon-field", metavar="FIELD", help="Column of the longitude. [default: longitude, lon, x, …]")
@click.option("--lat-field", metavar="FIELD", help="Column of the latitude. [default: latitude, lat, y]")
@click.option("--id-field", metavar="FIELD", help="Keep this column only; its values must differ. [default: all]")
@click.option("--bands", type=Names(), help="Bands, in order. [default: the dataset's]")
@repair_option
@date_options
@click.option("--each-image", is_flag=True, help="A row for every image that holds the place, with its id and date.")
@click.option("--date-field", metavar="FIELD", help="Column of dates: the values of the image nearest to a row's.")
@click.option("--window", metavar="30d", help="With --date-field: days before and after in which it must be.")
@click.option(
    "--composite",
    type=click.Choice(COMPOSITES),
    help="One value of all images' at the place. [default: latest, the last that is not masked]",
)
@mask_option
@click.option("--scale", type=float, metavar="M", help="Edge of a pixel in metres. [default: the images' own pixels]")
@click.option("--reducer", metavar="A,B,…", help="Over polygons: mean, median, p90, … [default: mean]")
@click.option("--prefix", default="", metavar="TEXT", help="Put before the names of columns that are added.")
@click.option("--format", type=click.Choice(TABLE_FORMATS), default="parquet", show_default=True, help="Of the table.")
@run_options
def command(**options: Any) -> None:
    """Find the values of a dataset at points or over polygons that you have a table of.

    Comes out: points.parquet, with the columns and rows of your file in their order, and a column for each band. A
    point has the value of the pixel that it lies in. No data is an empty cell. Places near each other are asked for
    together, so that 100,000 of them take some hundred requests.

    \b
    Examples:
      eechips points --dataset SRTM --points plots.csv --local
      eechips points --dataset MODIS_LST --points plots.csv --each-image --start 2019-01-01 --end 2020-01-01
      eechips points --dataset S2 --points labels.gpkg --date-field observed --window 10d --mask
      eechips points --dataset S2 --points fields.gpkg --start 2023-06-01 --end 2023-09-01 --composite median \\
          --reducer mean,stdDev
    """
    finish(*points_recipe(given(options)))
