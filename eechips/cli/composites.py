"""``eechips composites``."""

from __future__ import annotations

from eechips.cli.fetch_command import NO_REDRAW, fetch_command
from eechips.jobs.composites import Composites, composites_recipe

_HELP = """Make one image per period, of all images of the period, between two dates.

    All files have the same pixel grid, by default that of the collection's earliest image in the region. A period
    without an image has no file and is recorded as empty; for the others, the manifest lists the images used.

    \b
    Examples:
      eechips composites --dataset S2 --roi=-105.3,39.9,-105.2,40.0 --start 2020-05-01 --end 2020-09-01 \\
          --every '1 month' --reducer median --mask --bands B4,B3,B2,B8 --local
      eechips composites --dataset MODIS_LST --roi alps.gpkg --start 2010-03-01 --every season --reducer mean
      eechips composites --dataset L8 --roi=5.9,45.8,6.1,46.0 --every year --reducer p25 --mask --crs utm --scale 30
"""

command = fetch_command("composites", Composites, composites_recipe, _HELP, changes=NO_REDRAW)
