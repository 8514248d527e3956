"""``eechips images``."""

from __future__ import annotations

from eechips.cli.fetch_command import NO_REDRAW, fetch_command
from eechips.jobs.images import Images, images_recipe

_HELP = """Fetch every image of a collection that intersects a region, one file each.

    A file contains the image's part of the region, by default on the image's own pixel grid with unchanged values. If
    bands have different scales (Sentinel-2), other bands are resampled to the first one, unless --scale or --align is
    given. The manifest lists id, date and valid fraction of each image.

    \b
    Examples:
      eechips images --dataset S2 --roi=-105.3,39.9,-105.2,40.0 --start 2020-06-01 --end 2020-08-01 \\
          --where 'CLOUDY_PIXEL_PERCENTAGE < 20' --mask --bands B4,B3,B2,B8 --local
      eechips images --dataset L8 --roi park.gpkg --clip --mask qa_pixel:cloud,shadow,snow --crs utm
      eechips images --dataset NAIP --roi=-105.3,39.9,-105.29,39.91 --format png
"""

command = fetch_command("images", Images, images_recipe, _HELP, changes=NO_REDRAW)
