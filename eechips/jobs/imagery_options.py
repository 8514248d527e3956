"""Declare the options of ``eechips images``, ``composites`` and ``mosaic``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from eechips.formats import CHIP_FORMATS
from eechips.formats.cog_options import COMPRESSIONS, DTYPES, RESAMPLINGS
from eechips.jobs.shared_options import (
    BANDS,
    CRS,
    DATA,
    DATASET,
    END,
    GRID,
    INDEX,
    INPUT_CRS,
    MARGIN,
    MASK,
    PIXELS,
    PLACES,
    REGION,
    REGION_COLUMNS,
    REGIONS,
    SCALE,
    START,
    STRETCH,
    VALUES,
    WHERE,
    StoredValues,
    optional_region,
)
from eechips.option_fields import documented, option
from eechips.planning.image_reducers import REDUCERS

MOSAIC_REDUCERS = ("mosaic", "median", "mean", "min", "max", "mode", "first", "count", "sum", "stdDev")
"""Methods to combine images: ``mosaic`` has the latest on top, ``first`` the earliest."""


@documented
@dataclass(frozen=True, kw_only=True)
class ImageryOptions:
    """Options of commands that fetch images of a collection over a region, unchecked."""

    dataset: str = field(metadata=DATASET)
    roi: str | None = field(default=None, metadata=REGION)
    regions: str | None = field(default=None, metadata=REGIONS)
    columns: str | Mapping[str, str] = field(default="", metadata=REGION_COLUMNS)
    margin: float | None = field(default=None, metadata=MARGIN)
    input_crs: str | None = field(default=None, metadata=INPUT_CRS)
    start: str | None = field(default=None, metadata=START)
    end: str | None = field(default=None, metadata=END)
    where: Sequence[str] | str = field(default=(), metadata=WHERE)
    mask: str = field(default="none", metadata=MASK)
    bands: Sequence[str] | str | None = field(default=None, metadata=BANDS)
    index: Sequence[str] | str = field(default=(), metadata=INDEX)
    values: StoredValues = field(default="stored", metadata=VALUES)
    format: str = field(
        default="tif",
        metadata=option(
            "Format: values (tif, npy) or pictures (png, jpg). Pictures have 1 or 3 bands of 8 bits; tif is GeoTIFF.",
            DATA,
            metavar="|".join(CHIP_FORMATS.names),
            decides="data",
        ),
    )
    clip: bool = field(
        default=False,
        metadata=option(
            "Mask pixels outside the region, or each of the regions; otherwise files show the whole window around it.",
            PLACES,
            decides="data",
        ),
    )
    stretch: str | Sequence[float] | None = field(default=None, metadata=STRETCH)
    crs: str = field(default="native", metadata=CRS)
    scale: float | None = field(default=None, metadata=SCALE)
    grid: str | Sequence[float] | None = field(default=None, metadata=GRID)


@documented
@dataclass(frozen=True, kw_only=True)
class ImagesOptions(ImageryOptions):
    """The options of ``eechips images``, unchecked."""

    mosaic_by: Literal["day", "orbit"] | None = field(
        default=None,
        metadata=option(
            "Join the images of a platform and a day (UTC), or of one pass of an orbit, to one file: tiles of"
            " Sentinel-2, scenes of Landsat. The latest is on top. Files of a region have the same pixels.",
            DATA,
            choices=("day", "orbit"),
            decides="data",
        ),
    )
    limit: int | None = field(
        default=None,
        metadata=option(
            "Only the N earliest images, of each region.", DATA, metavar="N", kind="integer", decides="data"
        ),
    )


@documented
@dataclass(frozen=True, kw_only=True)
class CompositesOptions(ImageryOptions):
    """The options of ``eechips composites``, unchecked."""

    every: str = field(
        default="1 month",
        metadata=option(
            "Length of a period: a number of days, weeks, months, seasons or years, counted from `start`.",
            DATA,
            metavar="STEP",
            decides="data",
        ),
    )
    reducer: str = field(
        default="median",
        metadata=option(
            f"Reducer of the values of a pixel: {', '.join(REDUCERS)} (mosaic: the latest), a percentile (p10), or"
            " qualityMosaic:BAND, the image where that band is greatest.",
            DATA,
            metavar="NAME",
            decides="data",
        ),
    )


@documented
@dataclass(frozen=True, kw_only=True)
class MosaicOptions:
    """The options of ``eechips mosaic``, unchecked."""

    dataset: str = field(metadata=DATASET)
    roi: str | None = field(default=None, metadata=optional_region("the whole of a single image"))
    regions: str | None = field(default=None, metadata=REGIONS)
    columns: str | Mapping[str, str] = field(default="", metadata=REGION_COLUMNS)
    margin: float | None = field(default=None, metadata=MARGIN)
    input_crs: str | None = field(default=None, metadata=INPUT_CRS)
    start: str | None = field(default=None, metadata=START)
    end: str | None = field(default=None, metadata=END)
    where: Sequence[str] = field(default=(), metadata=WHERE)
    mask: str = field(default="none", metadata=MASK)
    reducer: str = field(
        default="mosaic",
        metadata=option(
            "How images of a collection become one. mosaic: the latest on top; first: the earliest.",
            DATA,
            choices=MOSAIC_REDUCERS,
            decides="data",
        ),
    )
    bands: Sequence[str] | str | None = field(default=None, metadata=BANDS)
    index: Sequence[str] | str = field(default=(), metadata=INDEX)
    values: StoredValues = field(default="stored", metadata=VALUES)
    crs: str = field(default="native", metadata=CRS)
    scale: float | None = field(default=None, metadata=SCALE)
    grid: str | Sequence[float] | None = field(default=None, metadata=GRID)
    clip: bool = field(
        default=False,
        metadata=option(
            "Mask pixels outside the region, or each of the regions; otherwise a mosaic is the window around it.",
            PLACES,
            decides="data",
        ),
    )
    dtype: str | None = field(
        default=None,
        metadata=option(
            "Type of the pixels.",
            PIXELS,
            choices=DTYPES,
            default="the source's; float32 for means and medians",
            decides="data",
        ),
    )
    nodata: float | None = field(
        default=None,
        metadata=option(
            "Value of pixels without data.",
            PIXELS,
            metavar="V",
            kind="number",
            default="a mask instead",
            decides="data",
        ),
    )
    compress: str = field(
        default="deflate",
        metadata=option("Compression of the mosaic.", PIXELS, choices=COMPRESSIONS, is_advanced=True, decides="data"),
    )
    overview_resampling: str | None = field(
        default=None,
        metadata=option(
            "Resampling of the overviews.",
            PIXELS,
            choices=RESAMPLINGS,
            default="nearest for classes, otherwise average",
            is_advanced=True,
            decides="data",
        ),
    )
    window: int | None = field(
        default=None,
        metadata=option(
            "Maximum edge of a requested window in pixels.",
            PIXELS,
            metavar="N",
            kind="integer",
            default="as the limits of requests allow",
            is_advanced=True,
            decides="data",
        ),
    )
