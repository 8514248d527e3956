"""Options of the verbs that fetch images of a collection over a region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from eechips.cli.options import Names, colour_options, date_options, grid_options
from eechips.recipe import CHIP_FORMATS

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def imagery_options(function: FunctionT) -> FunctionT:
    """Adds the fields of ``jobs.imagery.Imagery``."""
    options = [
        click.option(
            "--dataset", required=True, metavar="NAME", help="Alias (eechips datasets) or id of a collection."
        ),
        click.option(
            "--roi",
            required=True,
            metavar="REGION",
            help="W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE. A west below 0: --roi=-105.3,…",
        ),
        date_options,
        click.option(
            "--where",
            multiple=True,
            metavar="CONDITION",
            help="Only images whose property is so: 'CLOUD_COVER < 20', 'WRS_PATH in (33, 34)',"
            " 'SPACECRAFT_NAME = Sentinel-2A'. Repeat it for more conditions.",
        ),
        click.option(
            "--mask",
            is_flag=False,
            flag_value="auto",
            default="none",
            show_default=True,
            metavar="[NAME[:KINDS]]",
            help="Mask clouds, as the dataset's own quality bands see them. --mask alone: the usual way. Or one of its"
            " ways: scl, cs_cdf, qa60 (Sentinel-2), qa_pixel (Landsat), qc, summaryqa, state (MODIS), fmask (HLS);"
            " with what to mask (qa_pixel:cloud,shadow,snow), or the least score (cs:0.7).",
        ),
        click.option("--bands", type=Names(), help="Bands, in order. [default: the dataset's]"),
        click.option(
            "--format",
            type=click.Choice(CHIP_FORMATS),
            default="tif",
            show_default=True,
            help="tif (GeoTIFF) and npy: the data. png and jpg: pictures, 1 or 3 bands of 8 bits.",
        ),
        click.option(
            "--clip/--no-clip",
            default=False,
            show_default=True,
            help="Mask what lies outside the region, or keep the whole window around it.",
        ),
        grid_options,
        colour_options,
        click.option(
            "--on-empty",
            type=click.Choice(["keep", "skip"]),
            default="keep",
            show_default=True,
            help="Results that are masked altogether: keep the file, or have none. Not for jpg, which has no mask.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function
