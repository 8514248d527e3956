"""``eechips mosaic``."""

from __future__ import annotations

from eechips.cli.fetch_command import fetch_command
from eechips.jobs.mosaic import MosaicRecipe, mosaic_recipe

_HELP = """Make one cloud-optimised GeoTIFF of a region of any size.

    The region is fetched in windows that align with the blocks of the source. Each window is verified; all are then
    assembled into mosaic.tif, and mosaic.windows.parquet lists their checksums. If a window fails, there is no mosaic;
    to resume, repeat the command or use eechips retry. Windows are kept, and take about as much disk as the mosaic.

    \b
    Examples:
      eechips mosaic --dataset SRTM --roi=-105.5,39.5,-105.0,40.0 --local
      eechips mosaic --dataset S2 --roi 7.0,46.0,8.0,47.0 --start 2023-06-01 --end 2023-09-01 \\
          --reducer median --mask --bands B4,B3,B2,B8 --crs utm --out outputs/valais
      eechips mosaic --dataset NAIP --roi county.gpkg --clip --start 2021-01-01 --end 2022-01-01
"""

command = fetch_command("mosaic", MosaicRecipe, mosaic_recipe, _HELP, without=("on_empty",))
