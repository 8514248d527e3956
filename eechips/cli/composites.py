"""``eechips composites``."""

from __future__ import annotations

from typing import Any

import click

from eechips.cli.finish import finish
from eechips.cli.imagery import imagery_options
from eechips.cli.options import HELP, given, run_options
from eechips.jobs.composites import REDUCERS, composites_recipe


@click.command("composites", context_settings=HELP)
@imagery_options
@click.option(
    "--every",
    default="1 month",
    show_default=True,
    metavar="STEP",
    help="Length of a period: a number of days, weeks, months, seasons or years, counted from --start.",
)
@click.option(
    "--reducer",
    default="median",
    show_default=True,
    metavar="NAME",
    help=f"What makes one value of a pixel's values: {', '.join(REDUCERS)} (mosaic: the latest), a percentile (p10),"
    " or qualityMosaic:BAND, the image where that band is greatest.",
)
@run_options
def command(**options: Any) -> None:
    """Make one image of all images of a period, for every period between two dates.

    All files have the same pixels, by default those of the collection's earliest image there. A period without an image
    has no file; the manifest has it as empty, and for the others the images that they were made of.

    \b
    Examples:
      eechips composites --dataset S2 --roi=-105.3,39.9,-105.2,40.0 --start 2020-05-01 --end 2020-09-01 \\
          --every '1 month' --reducer median --mask --bands B4,B3,B2,B8 --local
      eechips composites --dataset MODIS_LST --roi alps.gpkg --start 2010-03-01 --every season --reducer mean
      eechips composites --dataset L8 --roi=5.9,45.8,6.1,46.0 --every year --reducer p25 --mask --crs utm --scale 30
    """
    finish(*composites_recipe(given(options)))
