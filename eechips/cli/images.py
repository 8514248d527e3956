"""``eechips images``."""

from __future__ import annotations

from eechips.cli.fetch_command import NO_REDRAW, fetch_command
from eechips.jobs.images import Images, images_recipe

_HELP = """Fetch every image of a collection that meets a region, one file each.

    A file shows what the image has of the region, by default on the image's own pixels: byte for byte what is stored.
    Where bands have different scales (Sentinel-2), the pixels are those of the first band, and other bands are
    resampled to them, unless --scale or --align say otherwise. The manifest has id, date and valid fraction of each.

    \b
    Examples:
      eechips images --dataset S2 --roi=-105.3,39.9,-105.2,40.0 --start 2020-06-01 --end 2020-08-01 \\
          --where 'CLOUDY_PIXEL_PERCENTAGE < 20' --mask --bands B4,B3,B2,B8 --local
      eechips images --dataset L8 --roi park.gpkg --clip --mask qa_pixel:cloud,shadow,snow --crs utm
      eechips images --dataset NAIP --roi=-105.3,39.9,-105.29,39.91 --format png
"""

command = fetch_command("images", Images, images_recipe, _HELP, changes=NO_REDRAW)
