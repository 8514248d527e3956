"""``eechips points``."""

from __future__ import annotations

from eechips.cli.fetch_command import fetch_command
from eechips.jobs.points import PointValues, points_recipe

_HELP = """Add the values of a dataset to a table of points or polygons.

    The result is points.parquet: the columns and rows of your file in their order, with a column for each band. A
    point gets the value of the pixel that contains it. Missing values are empty cells. Neighbouring places are
    requested together, so that 100,000 of them take some hundred requests.

    \b
    Examples:
      eechips points --dataset SRTM --points plots.csv --local
      eechips points --dataset MODIS_LST --points plots.csv --each-image --start 2019-01-01 --end 2020-01-01
      eechips points --dataset S2 --points labels.gpkg --date-field observed --window 10d --mask
      eechips points --dataset S2 --points fields.gpkg --start 2023-06-01 --end 2023-09-01 --composite median \\
          --reducer mean,stdDev
"""

command = fetch_command("points", PointValues, points_recipe, _HELP, without=("on_empty",))
