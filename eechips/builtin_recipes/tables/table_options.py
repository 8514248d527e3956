"""Declare the options of ``eechips timeseries``, ``points`` and ``features``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from eechips.builtin_recipes import shared_options as shared
from eechips.builtin_recipes.shared_options import DATA, PLACES, TABLE, DatasetOptions
from eechips.formats import TABLE_FORMATS, TableFormat
from eechips.option_fields import data_field, documented, option
from eechips.planning.areas.region_reducers import REDUCERS

Output = Literal["region", "one", "year"]
OUTPUTS: tuple[Output, ...] = ("region", "one", "year")

COMPOSITES = ("latest", "mean", "median", "min", "max", "sum", "mode", "count")
"""Reducers of a pixel's values in all images; ``latest`` is the last one that is not masked."""


@documented
@dataclass(frozen=True, kw_only=True)
class TimeSeriesOptions(DatasetOptions):
    """The options of ``eechips timeseries``, unchecked."""

    regions: str | None = field(
        default=None,
        metadata=option(
            "Vector file of polygons, or id of a table on the server: each region has a series.",
            PLACES,
            metavar="FILE|ASSET",
            decides="input",
        ),
    )
    roi: str | None = field(default=None, metadata=shared.optional_region("the `regions`"))
    columns: str | Mapping[str, str] = data_field(
        "",
        "Column that identifies a region, id=CODE; features with the same id are one region.",
        PLACES,
        metavar="id=FIELD",
        default="for a file, numbers from 1",
    )
    reducer: Sequence[str] | str = data_field(
        "mean",
        f"Reducer of the pixels of a region, or several: {', '.join(REDUCERS)}, or a percentile p0 to p100.",
        DATA,
        kind="names",
    )
    every: str | None = data_field(
        None,
        "A row for each period, as in '1 month', with or without data.",
        DATA,
        metavar="STEP",
        default="a row for each image",
    )
    composite: str = data_field(
        "mean",
        "With `every`: reducer that makes one image of the images of a period: mean, median, min, max, sum, mode,"
        " count, a percentile, or mosaic, the latest on top.",
        DATA,
        metavar="REDUCER",
    )
    min_clear: float | None = data_field(
        None,
        "Minimum share of a region's pixels with data, 0 to 1; below it, the values of that date are empty. The"
        " column valid_fraction has the share.",
        DATA,
        metavar="SHARE",
    )
    bbox: str | None = data_field(
        None, "Only regions that meet this box. A west below 0 needs =: --bbox=-80,…", PLACES, metavar="W,S,E,N"
    )
    input_crs: str | None = field(default=None, metadata=shared.INPUT_CRS)
    crs: str = field(default="native", metadata=shared.CRS)
    scale: float | None = field(default=None, metadata=shared.SCALE)
    grid: str | Sequence[float] | None = field(default=None, metadata=shared.GRID)
    multiply: float | None = data_field(
        None,
        "Multiply the values by this number, on the server, before they are reduced.",
        DATA,
        metavar="X",
        is_advanced=True,
    )
    add: float | None = data_field(None, "Then add this number.", DATA, metavar="X", is_advanced=True)
    output: Output = data_field(
        "region",
        "A file for each region, one table of all regions (one), or such a table in a file for each year (year).",
        TABLE,
        choices=OUTPUTS,
    )
    batch: int | Literal["auto"] = data_field(
        "auto", "With one table: maximum number of regions per request.", TABLE, kind="count_or_auto", is_advanced=True
    )
    format: TableFormat | None = data_field(
        None, "Format of the tables.", TABLE, choices=TABLE_FORMATS, default="csv; parquet for one table"
    )


@documented
@dataclass(frozen=True, kw_only=True)
class PointsOptions(DatasetOptions):
    """The options of ``eechips points``, unchecked."""

    points: str = field(
        metadata=option(
            "CSV or Parquet file with longitude and latitude, or a vector file of points or polygons.",
            PLACES,
            metavar="FILE",
            decides="input",
        )
    )
    columns: str | Mapping[str, str] = data_field(
        "",
        "Columns of the file: the coordinates in degrees, if they have other names than usual, lon=X,lat=Y; unique"
        " ids, id=CODE, the only column of the file that is kept; dates, date=observed: the values of the image"
        " nearest in time that has any there; of two equally near, the earlier. Other dates than ISO 8601 need a"
        " format: date=observed:%d/%m/%Y.",
        PLACES,
        metavar="NAME=FIELD,…",
        default="longitude, lon, long, lng or x; latitude, lat or y; all columns are kept",
    )
    input_crs: str | None = field(default=None, metadata=shared.INPUT_CRS)
    each_image: bool = data_field(
        False, "A row for every image that covers the place, with its id and date, in order of time.", DATA
    )
    composite: str | None = data_field(
        None,
        "Reducer of the values of all images at the place. latest: the last one that is not masked.",
        DATA,
        choices=COMPOSITES,
        default="latest",
    )
    near: str | None = data_field(
        None,
        "With a column of dates: maximum time between the date and the image, as 30d, 12h or 2w. A date without a"
        " time of day is noon UTC, and half a day is added.",
        DATA,
        metavar="TIME",
    )
    scale: float | None = field(default=None, metadata=shared.SCALE)
    reducer: str | None = data_field(
        None,
        "Over polygons: one or more reducers, mean,stdDev,p90; with the counts of pixels.",
        DATA,
        metavar="A,B,…",
        default="mean",
    )
    prefix: str = data_field("", "Prefix of the names of added columns.", TABLE, metavar="TEXT", is_advanced=True)
    format: TableFormat = data_field("parquet", "Format of the table.", TABLE, choices=TABLE_FORMATS)


@documented
@dataclass(frozen=True, kw_only=True)
class FeaturesOptions:
    """The options of ``eechips features``, unchecked."""

    dataset: str = field(
        metadata=option(
            "Earth Engine id of a table, or of an index of tables, …_INDEX. GEDI_L2A and GEDI_L4A are the laser shots"
            " whose quality flags are good.",
            DATA,
            metavar="NAME",
            decides="input",
        )
    )
    roi: str | None = field(default=None, metadata=shared.optional_region("the whole table"))
    input_crs: str | None = field(default=None, metadata=shared.INPUT_CRS)
    start: str | None = field(default=None, metadata=shared.START)
    end: str | None = field(default=None, metadata=shared.END)
    where: Sequence[str] | str = data_field(
        (),
        "Only features whose properties meet the condition: 'sensitivity >= 0.95', 'beam in (5, 6, 8, 11)'. May be"
        " repeated; all conditions must hold.",
        DATA,
        metavar="CONDITION",
        is_multiple=True,
    )
    columns: Sequence[str] | str | None = data_field(
        None,
        "Properties that become columns, in order: rh98,sensitivity. Others are not requested.",
        DATA,
        kind="names",
        default="all properties",
    )
