"""Declare the options that several commands share: dataset, dates, cloud mask, region, grid, colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from eechips.option_fields import Option, documented, option

StoredValues = Literal["stored", "scaled"]
"""Values of the bands of commands that fetch."""

DATA, TIME, PLACES, PIXELS, TABLE = "Data", "Time", "Places", "Pixels", "Table"
"""Headings of the options in the help."""

DATASET = option(
    "Short name (`eechips datasets`) or Earth Engine id of the dataset.", DATA, metavar="NAME", decides="input"
)
BANDS = option(
    "Bands, in order, by name or common name (red, nir, swir1).",
    DATA,
    kind="names",
    default="the dataset's; none with `index`",
    decides="data",
)
INDEX = option(
    "Computed bands, placed after the others: spectral indices by their short names in the Awesome Spectral Indices"
    " (NDVI,EVI), or formulas with names or common names of bands (ratio=B8/B4). Indices have scale and offset applied,"
    " since they need reflectance. May be repeated.",
    DATA,
    metavar="A,B|NAME=FORMULA",
    is_multiple=True,
    decides="data",
)
VALUES = option(
    "Values of bands, also in formulas: stored, or scaled, with the dataset's scale and offset applied (reflectance,"
    " kelvin, …), as float32.",
    DATA,
    choices=("stored", "scaled"),
    decides="data",
)
START = option("First day, YYYY-MM-DD.", DATA, metavar="DATE", default="the dataset's first", decides="data")
END = option("Day after the last, YYYY-MM-DD.", DATA, metavar="DATE", default="the dataset's last", decides="data")
WHERE = option(
    "Only images whose properties meet the condition: 'CLOUD_COVER < 20', 'WRS_PATH in (33, 34)',"
    " 'SPACECRAFT_NAME = Sentinel-2A'. May be repeated; all conditions must hold.",
    DATA,
    metavar="CONDITION",
    is_multiple=True,
    decides="data",
)
MASK = option(
    "Mask clouds in every image by the mask of this name; auto, or no value, is the usual mask of the dataset. Names:"
    " scl, cs_cdf, qa60 (Sentinel-2), qa_pixel (Landsat), qc, summaryqa, state (MODIS), fmask (HLS),"
    " border (Sentinel-1); with the classes to mask (qa_pixel:cloud,shadow,snow), or the minimum score (cs:0.7).",
    DATA,
    metavar="[NAME[:CLASSES]]",
    bare_value="auto",
    decides="data",
)
REGION = option(
    "Region: W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE. A negative west needs =: --roi=-105.3,…",
    PLACES,
    metavar="REGION",
    decides="input",
)


def optional_region(default: str) -> Mapping[str, Option]:
    """Declare a region that may be left out, and what is used then."""
    return option(
        "Region: W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE.",
        PLACES,
        metavar="REGION",
        decides="input",
        default=default,
    )


REGIONS = option(
    "Vector file of polygons: each has files of its own, of its extent, on one pixel grid.",
    PLACES,
    metavar="FILE",
    decides="input",
)
REGION_COLUMNS = option(
    "Column of `regions` that identifies a region, id=CODE; features with the same id are one region.",
    PLACES,
    metavar="id=FIELD",
    default="numbers from 1",
    decides="data",
)
MARGIN = option(
    "With `regions`: metres around a region that its files show as well.",
    PLACES,
    metavar="M",
    kind="metres",
    is_advanced=True,
    decides="data",
)
INPUT_CRS = option(
    "Coordinate reference system of a file of places that does not say it: a CSV, or a Shapefile without .prj.",
    PLACES,
    metavar="EPSG:N",
    default="the file's own; longitude and latitude for CSV",
    is_advanced=True,
    decides="input",
)
CRS = option(
    "Coordinate reference system: native (that of the source), utm (the zone of the place), or a code.",
    PIXELS,
    metavar="native|utm|EPSG:N",
    decides="data",
)
SCALE = option("Edge of a pixel in metres.", PIXELS, metavar="M", kind="metres", default="the source's", decides="data")
GRID = option(
    "Pixel grid of all results: that of an image, by its id; or, with `crs` EPSG:N, six numbers: x = A*column + B*row"
    " + C, y = D*column + E*row + F.",
    PIXELS,
    metavar="IMAGE|A,B,C,D,E,F",
    default="the source's",
    is_advanced=True,
    decides="data",
)
STRETCH = option(
    "Values that become black and white in a picture: 0,3000; for one band also other colours, hexadecimal, from the"
    " first value to the last: -1,1:ff0000,00ff00.",
    PIXELS,
    metavar="MIN,MAX[:A,B,…]",
    default="the dataset's",
    is_advanced=True,
    decides="data",
)


@documented
@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Options of commands that read one dataset, unchecked."""

    dataset: str = field(metadata=DATASET)
    start: str | None = field(default=None, metadata=START)
    end: str | None = field(default=None, metadata=END)
    where: Sequence[str] | str = field(default=(), metadata=WHERE)
    mask: str = field(default="none", metadata=MASK)
    bands: Sequence[str] | str | None = field(default=None, metadata=BANDS)
    index: Sequence[str] | str = field(default=(), metadata=INDEX)
    values: StoredValues = field(default="stored", metadata=VALUES)
