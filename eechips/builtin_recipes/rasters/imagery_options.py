"""Declare the options of ``eechips images``, ``composites`` and ``mosaic``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from eechips.builtin_recipes import shared_options as shared
from eechips.builtin_recipes.shared_options import DATA, PIXELS, PLACES, DatasetOptions
from eechips.formats import CHIP_FORMATS
from eechips.formats.cog_options import COMPRESSIONS, DTYPES, RESAMPLINGS
from eechips.option_fields import data_field, documented
from eechips.planning.imagery.image_reducers import REDUCERS

MOSAIC_REDUCERS = ("mosaic", "median", "mean", "min", "max", "mode", "first", "count", "sum", "stdDev")
"""Methods to combine images: ``mosaic`` has the latest on top, ``first`` the earliest."""


@documented
@dataclass(frozen=True, kw_only=True)
class RegionImageOptions(DatasetOptions):
    """Options of commands that make images of a region, or of each of several, unchecked."""

    roi: str | None = field(default=None, metadata=shared.REGION)
    regions: str | None = field(default=None, metadata=shared.REGIONS)
    columns: str | Mapping[str, str] = field(default="", metadata=shared.REGION_COLUMNS)
    margin: float | None = field(default=None, metadata=shared.MARGIN)
    input_crs: str | None = field(default=None, metadata=shared.INPUT_CRS)
    crs: str = field(default="native", metadata=shared.CRS)
    scale: float | None = field(default=None, metadata=shared.SCALE)
    grid: str | Sequence[float] | None = field(default=None, metadata=shared.GRID)


@documented
@dataclass(frozen=True, kw_only=True)
class ImageryOptions(RegionImageOptions):
    """Options of commands that fetch images of a collection over a region, unchecked."""

    format: str = data_field(
        "tif",
        "Format: values (tif, npy) or pictures (png, jpg). Pictures have 1 or 3 bands of 8 bits; tif is GeoTIFF.",
        DATA,
        metavar="|".join(CHIP_FORMATS.names),
    )
    clip: bool = data_field(
        False,
        "Mask pixels outside the region, or each of the regions; otherwise files show the whole window around it.",
        PLACES,
    )
    stretch: str | Sequence[float] | None = field(default=None, metadata=shared.STRETCH)


@documented
@dataclass(frozen=True, kw_only=True)
class ImagesOptions(ImageryOptions):
    """The options of ``eechips images``, unchecked."""

    mosaic_by: Literal["day", "orbit"] | None = data_field(
        None,
        "Join the images of a platform and a day (UTC), or of one pass of an orbit, to one file: tiles of"
        " Sentinel-2, scenes of Landsat. The latest is on top. Files of a region have the same pixels.",
        DATA,
        choices=("day", "orbit"),
    )
    limit: int | None = data_field(None, "Only the N earliest images, of each region.", DATA, metavar="N")


@documented
@dataclass(frozen=True, kw_only=True)
class CompositesOptions(ImageryOptions):
    """The options of ``eechips composites``, unchecked."""

    every: str = data_field(
        "1 month",
        "Length of a period: a number of days, weeks, months, seasons or years, counted from `start`.",
        DATA,
        metavar="STEP",
    )
    reducer: str = data_field(
        "median",
        f"Reducer of the values of a pixel: {', '.join(REDUCERS)} (mosaic: the latest), a percentile (p10), or"
        " qualityMosaic:BAND, the image where that band is greatest.",
        DATA,
        metavar="NAME",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class MosaicOptions(RegionImageOptions):
    """The options of ``eechips mosaic``, unchecked."""

    roi: str | None = field(default=None, metadata=shared.optional_region("the whole of a single image"))
    reducer: str = data_field(
        "mosaic",
        "How images of a collection become one. mosaic: the latest on top; first: the earliest.",
        DATA,
        choices=MOSAIC_REDUCERS,
    )
    clip: bool = data_field(
        False,
        "Mask pixels outside the region, or each of the regions; otherwise a mosaic is the window around it.",
        PLACES,
    )
    dtype: str | None = data_field(
        None, "Type of the pixels.", PIXELS, choices=DTYPES, default="the source's; float32 for means and medians"
    )
    nodata: float | None = data_field(
        None, "Value of pixels without data.", PIXELS, metavar="V", default="a mask instead"
    )
    compress: str = data_field("deflate", "Compression of the mosaic.", PIXELS, choices=COMPRESSIONS, is_advanced=True)
    overview_resampling: str | None = data_field(
        None,
        "Resampling of the overviews.",
        PIXELS,
        choices=RESAMPLINGS,
        default="nearest for classes, otherwise average",
        is_advanced=True,
    )
    window: int | None = data_field(
        None,
        "Maximum edge of a requested window in pixels.",
        PIXELS,
        metavar="N",
        default="as the limits of requests allow",
        is_advanced=True,
    )
