"""``eechips timeseries``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.finish import finish
from eechips.cli.options import HELP, Names, given, run_options
from eechips.jobs.timeseries import REDUCERS, timeseries_recipe
from eechips.recipe import TABLE_FORMATS


@click.command("timeseries", context_settings=HELP)
@click.option("--dataset", required=True, metavar="NAME", help="Alias (eechips datasets) or id of a collection.")
@click.option("--regions", required=True, metavar="FILE|ASSET", help="Vector file, or table on the server.")
@click.option("--id-field", metavar="FIELD", help="Column that identifies a region. [file: numbered if not given]")
@click.option("--bands", type=Names(), help="Bands, in order. [default: the dataset's]")
@click.option(
    "--reducer",
    type=click.Choice(REDUCERS),
    default="mean",
    show_default=True,
    help="What makes one value of a region's pixels.",
)
@click.option("--bbox", metavar="W,S,E,N", help="Only regions that meet this box. A west below 0: --bbox=-80,…")
@click.option("--start", metavar="DATE", help="First day, YYYY-MM-DD. [default: the dataset's first]")
@click.option("--end", metavar="DATE", help="Day after the last, YYYY-MM-DD. [default: the dataset's last]")
@click.option("--scale", type=float, metavar="M", help="Edge of a pixel in metres. [default: the images' own pixels]")
@click.option("--multiply", type=float, metavar="X", help="Multiply values by this, on the server.")
@click.option("--add", type=float, metavar="X", help="Then add this.")
@click.option("--format", type=click.Choice(TABLE_FORMATS), default="csv", show_default=True, help="Of the tables.")
@run_options
def command(**options: Any) -> None:
    """Write, for each region, a table of a dataset's values over time.

    Its columns are the region's id, date, one for each band, and the count of pixels used; a row for each image.
    No data is an empty cell.

    \b
    Examples:
      eechips timeseries --dataset MODIS/061/MOD11A2 --bands LST_Day_1km --reducer max \\
          --regions FAO/GAUL_SIMPLIFIED_500m/2015/level2 --id-field ADM2_CODE --bbox=-80,42,-78,44 \\
          --multiply 0.02 --add -273.15 --local
      eechips timeseries --dataset MOD13A2 --regions counties.gpkg --id-field geoid --format parquet
    """
    finish(*timeseries_recipe(given(options)))
