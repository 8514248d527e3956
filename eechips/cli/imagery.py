"""Options of the verbs that fetch images of a collection over a region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from eechips.cli.options import (
    Names,
    colour_options,
    date_options,
    grid_options,
    mask_option,
    repair_option,
    where_option,
)
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
        repair_option,
        date_options,
        where_option,
        mask_option,
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
