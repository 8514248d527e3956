"""``eechips sample``."""

from __future__ import annotations

from typing import Any

from eechips.cli.fetch_command import fetch_command
from eechips.engine import RunConfig
from eechips.jobs.chips import ChipSample, sample_recipe
from eechips.jobs.sample_options import SampleOptions

_HELP = """Fetch image chips at random points, on a regular grid, or at the points of a file.

    Exactly one of --per-ecoregion, --per-class, --total, --spacing and --points selects the points. A chip shows the
    images between the two dates, the latest on top; with --mask, the latest clear pixels. To resume an interrupted
    run, repeat its command; a complete run is not repeated.

    \b
    Examples:
      eechips sample --dataset NAIP --per-ecoregion 25 --local
      eechips sample --dataset S2 --per-class 100 --class-image ESA/WorldCover/v200:Map --roi 5.9,45.8,6.9,46.8 \\
          --start 2023-06-01 --end 2023-09-01 --mask --bands B4,B3,B2,B8 --format tif --min-distance chip
      eechips sample --dataset S2 --dataset SRTM --dataset WORLDCOVER --total 1000 --roi study_area.gpkg
      eechips sample --dataset S2 --points plots.csv --date-field surveyed --window 30d --name '{plot}'
      eechips sample --dataset NAIP --spacing 10km --roi=-105.5,39.5,-104.5,40.5 --crs utm
"""


def _recipe(options: dict[str, Any]) -> tuple[ChipSample, RunConfig]:
    """Make the recipe; a dataset that is named once is the only one."""
    names = options["dataset"]
    return sample_recipe({**options, "dataset": names[0] if len(names) == 1 else names})


command = fetch_command("sample", SampleOptions, _recipe, _HELP)
