"""Declare the options of ``eechips sample``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eechips.builtin_recipes import shared_options as shared
from eechips.builtin_recipes.recipe_options import DateColumn, PlaceColumns
from eechips.builtin_recipes.shared_options import DATA, PIXELS, PLACES, TIME
from eechips.engine.run_options import OnEmpty
from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS
from eechips.option_fields import data_field, documented, option, option_field
from eechips.planning.imagery.image_reducers import REDUCERS

GridMode = Literal["native", "thumb"]

Bands = Sequence[str] | str | Mapping[str, Sequence[str] | str] | None
"""``"R,G,B"``, ``("R", "G", "B")``, and with several datasets ``("S2:B4,B3", "SRTM:elevation")`` or a mapping."""


@documented
@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """The options of ``eechips sample``, unchecked.

    A chip shows the images of a dataset between two dates, the latest on top. Exactly one of ``per_ecoregion``,
    ``per_class``, ``total``, ``cells``, ``points`` and ``regions`` selects the places. The options are
    checked by :func:`eechips.builtin_recipes.samples.resolved_sample.resolve_sample`. ``on_empty`` is that of the run.
    """

    dataset: str | Sequence[str] = field(
        metadata=option(
            "Short name (`eechips datasets`) or Earth Engine id; may be repeated. Then every chip has a file of each,"
            " all on the pixels of the first, unless `crs`, `scale` or `grid` say others. With several"
            " datasets the dates select images of each, except for maps of one time, such as WORLDCOVER, after the"
            " first.",
            DATA,
            metavar="NAME",
            is_multiple=True,
            decides="input",
        )
    )
    per_ecoregion: int | str | None = data_field(
        None,
        "N random points in each ecoregion. All ecoregions that meet the region count. 25:ASSET:FIELD takes the"
        " features of another table, which the column identifies.",
        PLACES,
        metavar="N[:ASSET[:FIELD]]",
    )
    per_class: str | None = data_field(
        None,
        "N random points in each class of a map, 100:ESA/WorldCover/v200:Map, or in some:"
        " 100:ESA/WorldCover/v200:Map:10,40,50.",
        PLACES,
        metavar="N:ID:BAND[:A,B,…]",
    )
    total: int | None = data_field(
        None, "N random points in the region. They are uniform on the sphere.", PLACES, metavar="N"
    )
    cells: str | Path | None = option_field(
        None,
        "Places on a grid in the region: regular:10km, rows of points so far apart; centres of the cells of"
        " majortom:10km, h3:6, s2:13 or mgrs:10km, or of the polygons of a vector file.",
        PLACES,
        metavar="GRID|FILE",
        decides="input",
    )
    points: str | Path | None = option_field(
        None,
        "Points of a CSV file, GeoParquet or vector file; its columns are fields of `name`.",
        PLACES,
        metavar="FILE",
        decides="input",
    )
    regions: str | None = field(default=None, metadata=shared.REGIONS)
    margin: float | None = field(default=None, metadata=shared.MARGIN)
    clip: bool = data_field(
        False,
        "With `regions`: mask pixels outside the region; otherwise chips show the whole window around it.",
        PLACES,
    )
    roi: str | None = field(
        default=None,
        metadata=shared.optional_region(
            "the dataset's default region, such as Colorado for NAIP; without one, `total` takes the world"
        ),
    )
    input_crs: str | None = field(default=None, metadata=shared.INPUT_CRS)
    columns: str | Mapping[str, str] = data_field(
        "",
        "Columns of a file of places: the coordinates of `points`, lon=X,lat=Y, and their dates, date=surveyed: a"
        " chip shows the image nearest in time; of two equally near, the earlier. Other dates than ISO 8601 need a"
        " format: date=surveyed:%d/%m/%Y. The ids of `cells` or `regions`, id=CODE, where features with the same id"
        " are one region.",
        PLACES,
        metavar="NAME=FIELD,…",
        default="longitude, lon, long, lng or x; latitude, lat or y; grid_code, grid_cell, cell, id or name of"
        " cells; numbers of regions, from 1",
    )
    min_distance: str | None = data_field(
        None,
        "Minimum distance between points, such as 500m. Nearer ones are left out. chip: chips never overlap.",
        PLACES,
        metavar="DISTANCE|chip",
    )
    away_from: str | Path | None = option_field(
        None,
        "Table of points or polygons, such as another sample's manifest.parquet: points keep `min_distance` to them"
        " as well.",
        PLACES,
        metavar="FILE",
        decides="input",
        is_advanced=True,
    )
    mask_image: str | None = data_field(
        None, "Only points where this band is valid and not zero.", PLACES, metavar="ID:BAND", is_advanced=True
    )
    size: int | tuple[int, int] | None = data_field(
        None,
        "Size of a chip in pixels: an edge, or width and height (with `grid` native).",
        PIXELS,
        kind="size",
        default="256; with `regions` the region's extent",
    )
    scale: float | None = field(default=None, metadata=shared.SCALE)
    bands: Bands = data_field(
        None,
        "Bands, in order; of several datasets, S2:B4,B3 and SRTM:elevation. Common names (red, nir) work as well.",
        DATA,
        metavar="[NAME:]A,B,…",
        is_multiple=True,
        default="the dataset's",
    )
    index: Bands = data_field(
        None,
        "Computed bands, placed after the others: spectral indices (NDVI,EVI), or formulas with names or common names"
        " of bands (ratio=B8/B4); of several datasets, S2:NDVI and S2:ratio=B8/B4. Indices have scale and offset"
        " applied, since they need reflectance.",
        DATA,
        metavar="[NAME:]A,B|NAME=FORMULA",
        is_multiple=True,
    )
    values: Literal["stored", "scaled", "quantized"] = data_field(
        "stored",
        "Values of bands, also in formulas: stored; scaled, with the dataset's scale and offset applied (reflectance,"
        " kelvin, …), as float32; quantized, as the integers in which the dataset is published (EMBEDDINGS: int8). The"
        " record has the formula.",
        DATA,
        choices=("stored", "scaled", "quantized"),
    )
    start: str | None = field(default=None, metadata=shared.START)
    end: str | None = field(default=None, metadata=shared.END)
    where: Sequence[str] | str = data_field(
        (),
        "Only images whose properties meet the condition: 'CLOUD_COVER < 20', 'orbitProperties_pass = ASCENDING';"
        " of several datasets, 'S1:orbitProperties_pass = ASCENDING'. May be repeated; all conditions must hold.",
        DATA,
        metavar="[NAME:]CONDITION",
        is_multiple=True,
        is_advanced=True,
    )
    speckle: str | None = data_field(
        None,
        "Filter the speckle of Sentinel-1 on its power, in a window of pixels: boxcar:5, lee:7.",
        DATA,
        metavar="FILTER[:SIZE]",
        is_advanced=True,
    )
    mask: str = field(default="none", metadata=shared.MASK)
    frames: int | str | None = data_field(
        None,
        "Number of images of each place, by default the clearest. Each is a file; all are between `start` and `end`."
        " 4:spread takes the clearest of each of as many intervals of equal length; 4:nearest those nearest to the date"
        " of the place; 4:before-after the clearest half before that date, and half from it on.",
        TIME,
        metavar="N[:CHOICE]",
    )
    every: str | None = data_field(
        None,
        "A frame for each month, season, '16 days' … from `start` to `end`. It is the clearest image of the period,"
        f" or, as in month:median, all its images reduced: {', '.join(REDUCERS)}, or a percentile (p10). Then give"
        " `mask` as well, since clouds count otherwise.",
        TIME,
        metavar="STEP[:REDUCER]",
    )
    min_clear: float | str | None = data_field(
        None,
        "Minimum share of clear pixels in a frame, 0 to 1. They are counted in the chip, not in the scene."
        " 0.8:scl names the mask that tells clear pixels; otherwise it is `mask`, or the usual mask of the dataset, or"
        " the pixels that are valid in the first band.",
        TIME,
        metavar="SHARE[:MASK]",
    )
    rank_by: str | None = data_field(
        None,
        "Choose the images with the highest score instead of the clearest: NDVI, 'B8/B4', -CLOUD_COVER. The score"
        " is the mean of the formula over the clear pixels of the chip; it has bands, indices, bands of `index` and"
        " numeric properties of images.",
        TIME,
        metavar="FORMULA",
        is_advanced=True,
    )
    near: Sequence[str] | str | None = data_field(
        None,
        "Maximum time between the date of the place and the image, as 30d, 12h or 2w. With frames of several"
        " datasets also S1:6d, between the first one's image and that of S1. May be repeated.",
        TIME,
        metavar="[NAME:]TIME",
        is_multiple=True,
        is_advanced=True,
    )
    format: str | None = data_field(
        None,
        "Format: pictures (png, jpg) or values (tif, npy). Pictures have 1 or 3 bands of 8 bits; tif is GeoTIFF. Of"
        " several frames, tif-stack and npy-stack make one file for each dataset.",
        DATA,
        metavar="|".join(CHIP_FORMATS.names),
        default="png for the red, green and blue of one dataset, else tif",
    )
    grid: str | Sequence[float] | None = data_field(
        None,
        "native: on the pixels of the latest image that contains the point. thumb: on a square around the point,"
        " with sides of (`size` - 2) * `scale` metres (buffer and bounds), resampled. The id of an image: on its"
        " pixels. With `crs` EPSG:N, six numbers: x = A*column + B*row + C, y = D*column + E*row + F.",
        PIXELS,
        metavar="native|thumb|IMAGE|A,B,C,D,E,F",
        default="native for tif and npy, thumb for png and jpg",
        is_advanced=True,
    )
    crs: str = field(default="native", metadata=shared.CRS)
    provenance: bool = data_field(
        False,
        "Record all images of which a chip shows a pixel, with their dates, in the manifest; otherwise only the"
        " image whose grid it has. Costs about as much as the chips.",
        DATA,
        is_advanced=True,
    )
    seed: int = data_field(
        0, "Seed of the random points: the same seed draws the same points.", PLACES, is_advanced=True
    )
    limit: int | None = data_field(
        None, "Stop after N points in all. They are spread over the strata.", PLACES, metavar="N"
    )
    stretch: str | Sequence[float] | None = field(default=None, metadata=shared.STRETCH)

    on_empty: OnEmpty = "keep"

    @property
    def step(self) -> str | None:
        """The length of the periods of ``every``."""
        return None if self.every is None else self.every.partition(":")[0]

    @property
    def reducer(self) -> str | None:
        """The reducer of ``every``; None if it names none: then a frame is the clearest image of its period."""
        return None if self.every is None else self.every.partition(":")[2] or None

    @property
    def place_columns(self) -> PlaceColumns:
        """The columns of the file of places."""
        return PlaceColumns.parse(self.columns, ("id",) if self.points is None else ("lon", "lat", "date"))

    @property
    def date(self) -> DateColumn | None:
        """The column of dates."""
        return self.place_columns.date

    @property
    def nearness(self) -> tuple[str, ...]:
        """``near`` as texts."""
        return (self.near,) if isinstance(self.near, str) else tuple(self.near or ())

    @property
    def window(self) -> str | None:
        """Maximum time between the date of a place and the image; None if it is not given."""
        times = [text for text in self.nearness if ":" not in text]
        if len(times) > 1:
            raise UsageError(f"`near` takes one time for the place itself, not {' and '.join(times)}")
        return times[0] if times else None
