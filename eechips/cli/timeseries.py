"""``eechips timeseries``."""

from __future__ import annotations

from eechips.cli.fetch_command import fetch_command
from eechips.jobs.timeseries import TimeSeries, timeseries_recipe

_HELP = """Write a table of a dataset's values over time for each region.

    A table has a row for each image, or for each period, with the region's id, the date, a column for each band, and
    the number of pixels used. With several reducers, columns are named band_reducer. Missing values are empty cells.

    For many regions, --output one requests several of them at a time and writes one table, series.parquet, sorted by
    id.

    \b
    Examples:
      eechips timeseries --dataset MODIS/061/MOD11A2 --bands LST_Day_1km --reducer max \\
          --regions FAO/GAUL_SIMPLIFIED_500m/2015/level2 --id-field ADM2_CODE --bbox=-80,42,-78,44 \\
          --multiply 0.02 --add -273.15 --local
      eechips timeseries --dataset MOD13A2 --regions counties.gpkg --id-field geoid --reducer mean,p10,p90 \\
          --every "1 month" --start 2019-01-01 --end 2022-01-01 --output one
"""

command = fetch_command("timeseries", TimeSeries, timeseries_recipe, _HELP, without=("on_empty",))
