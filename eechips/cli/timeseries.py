"""``eechips timeseries``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.finish import finish
from eechips.cli.options import (
    HELP,
    Names,
    Slots,
    date_options,
    given,
    grid_options,
    mask_option,
    repair_option,
    run_options,
)
from eechips.jobs.region_tables import OUTPUTS
from eechips.jobs.timeseries import timeseries_recipe
from eechips.planning.statistics import REDUCERS
from eechips.recipe import TABLE_FORMATS


@click.command("timeseries", context_settings=HELP)
@click.option("--dataset", required=True, metavar="NAME", help="Alias (eechips datasets) or id of a collection.")
@click.option("--regions", required=True, metavar="FILE|ASSET", help="Vector file, or table on the server.")
@click.option("--id-field", metavar="FIELD", help="Column that identifies a region. [file: numbered if not given]")
@click.option("--bands", type=Names(), help="Bands, in order. [default: the dataset's]")
@click.option(
    "--reducer",
    type=Names(),
    default="mean",
    show_default=True,
    help=f"What makes one value of a region's pixels: {', '.join(REDUCERS)}, p0 to p100 for percentiles; or several.",
)
@click.option("--every", metavar="STEP", help="A row for each period, as in '1 month'. [default: for each image]")
@click.option(
    "--composite",
    default="mean",
    show_default=True,
    metavar="REDUCER",
    help="With --every: what makes one image of a period's; also mosaic, the latest on top.",
)
@mask_option
@repair_option
@click.option("--bbox", metavar="W,S,E,N", help="Only regions that meet this box. A west below 0: --bbox=-80,…")
@date_options
@grid_options
@click.option("--multiply", type=float, metavar="X", help="Multiply values by this, on the server.")
@click.option("--add", type=float, metavar="X", help="Then add this.")
@click.option(
    "--output",
    type=click.Choice(OUTPUTS),
    default="region",
    show_default=True,
    help="A file for each region, one table of all, or one with a file for each year.",
)
@click.option(
    "--batch", type=Slots(), default="auto", show_default=True, help="With one table: regions of a request at most."
)
@click.option("--format", type=click.Choice(TABLE_FORMATS), help="Of the tables. [default: csv; of one table parquet]")
@run_options
def command(**options: Any) -> None:
    """Write tables of a dataset's values over time, for each region.

    The columns are the region's id, date, one for each band, and the count of pixels used; a row for each image, or
    for each period. With several reducers the columns are called band_reducer. No data is an empty cell.

    Many regions: --output one asks for several of them at once and makes one table, series.parquet, in the order of
    their ids.

    \b
    Examples:
      eechips timeseries --dataset MODIS/061/MOD11A2 --bands LST_Day_1km --reducer max \\
          --regions FAO/GAUL_SIMPLIFIED_500m/2015/level2 --id-field ADM2_CODE --bbox=-80,42,-78,44 \\
          --multiply 0.02 --add -273.15 --local
      eechips timeseries --dataset MOD13A2 --regions counties.gpkg --id-field geoid --reducer mean,p10,p90 \\
          --every "1 month" --start 2019-01-01 --end 2022-01-01 --output one
    """
    finish(*timeseries_recipe(given(options)))
