"""Define the results of units (an image to fetch, a table, or several by name), their sources and layers; refuse
contradicting values, and reserved names of layers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from eechips.errors import RecipeError, UsageError
from eechips.formats import CHIP_FORMATS, TABLE_FORMATS, FileMetadata, TableFormat
from eechips.text.formatting import replace_control_characters

if TYPE_CHECKING:
    import ee
    import numpy as np
    import pandas as pd

    from eechips.geo.grid import Grid


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """An image that a function builds from values, so that chips of one function may share a request.

    The Earth Engine client converts the image of every chip to JSON, which takes more processor time than all other
    work for a chip. With ``passes_values``, a template is converted once in a process; then the values are inserted
    into the JSON text.

    Attributes:
        build: makes the image; called with ``fixed`` and the values.
        fixed: positional arguments that are the same for many units.
        values: arguments that differ, by name: numbers, texts, and lists of them.
        window_values: returns the values that follow from the chip's grid. Chips whose other values are equal
            may then share a request: the template is built with the values of a window that covers them, and must give
            each chip the same pixels. None if no value follows from the grid.
        passes_values: whether the function passes its values unchanged to Earth Engine, and neither computes with them
            nor branches on them in Python, which would give all chips the image of the first.

    Example:
        >>> def scene(corners):
        ...     box = ee.Geometry.Rectangle(corners, None, False)
        ...     return ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(box).filterDate("2015", "2030").mosaic()
        >>> def get_result(index, unit):
        ...     return Chip(Template(scene, values={"corners": unit["bounds"]}), grid=Grid.from_json(unit["grid"]))
    """

    build: Callable[..., ee.Image]
    fixed: tuple[Hashable, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    window_values: Callable[[Grid], Mapping[str, Any]] | None = None
    passes_values: bool = False

    def over(self, grid: Grid) -> Template:
        """Return the template with the values of another grid."""
        grid_values = {} if self.window_values is None else self.window_values(grid)
        return replace(self, values={**self.values, **grid_values})

    def image(self) -> ee.Image:
        """Return the image itself."""
        return self.build(*self.fixed, **self.values)


_DAY = 86_400_000  # milliseconds
_TIME = "system:time_start"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Source of a table with one row for each image, in order of ``system:time_start``.

    The table is requested as a whole. If it is too large, it is requested by ranges of dates, whose rows are appended
    in the same order; images without a date then have no row.

    Attributes:
        row: returns the row of an image; called once, with a variable for ``ee.ImageCollection.map``.
    """

    images: ee.ImageCollection
    row: Callable[[Any], Any]

    def rows(self, start: int | None = None, end: int | None = None) -> ee.FeatureCollection:
        """Return the rows of the images between two days.

        Args:
            start: first day, inclusive, as a proleptic ordinal (``datetime.date.toordinal``); None for all images.
            end: last day, exclusive; required with ``start``.
        """
        import ee

        images = self.images
        if start is not None and end is not None:
            images = images.filterDate(*(dt.date.fromordinal(day).isoformat() for day in (start, end)))
        rows: ee.FeatureCollection = ee.FeatureCollection(images.sort(_TIME).map(self.row))
        return rows

    def days(self) -> tuple[int, int] | None:
        """Fetch the day of the first image and the day after the last, as ordinals; None without dates."""
        import ee

        times = ee.List([self.images.aggregate_min(_TIME), self.images.aggregate_max(_TIME)]).getInfo()
        if times is None or None in times:
            return None
        epoch = dt.date(1970, 1, 1).toordinal()
        first, last = (epoch + int(time // _DAY) for time in times)
        return first, last + 1


@dataclass(frozen=True, slots=True, eq=False)
class SplittableTable:
    """Source of a table about many places, which can be requested in parts.

    A table that is too large is requested for each half of the places, and the rows are appended. A series is divided
    by ranges of dates first.

    Attributes:
        source: rows of all places.
        size: number of places.
        halves: returns the tables of the first and the second half of the places; called for two places or more.
        is_paged: whether a single place that is too large is requested in shorter pages. Not for a series.
    """

    source: ee.FeatureCollection | Series
    size: int
    halves: Callable[[], tuple[SplittableTable, SplittableTable]]
    is_paged: bool = False


RESERVED_LAYERS = (
    *("id", "label", "split", "stratum", "metadata"),  # keys of items of a training set, and columns of packs
    *("crs", "transform", "bounds"),
    *("sample", "coefficient", "band", "y", "x"),  # names of the axes of arrays
)
"""Names that loaders and packs use for data beside the pixels."""

MASK_SUFFIX = "_valid"
"""Suffix of the layer's name for the array of its valid pixels."""


def check_layer_names(names: Collection[str]) -> None:
    """Check that chips of layers with these names can be loaded later.

    Raises:
        RecipeError: if a name is reserved; the message lists the reserved names.
    """
    for name in names:
        if name in RESERVED_LAYERS:
            example = "'mask' or 'target'" if name in ("label", "y") else f"'{name}_image'"
            raise RecipeError(
                f"a layer cannot be called '{name}': loading and packing of chips reserve that name, and"
                f" {', '.join(other for other in RESERVED_LAYERS if other != name)}. Call it {example}, for example"
            )
        if name.removesuffix(MASK_SUFFIX) in names and name.endswith(MASK_SUFFIX):
            raise RecipeError(
                f"a layer cannot be called '{name}' beside '{name.removesuffix(MASK_SUFFIX)}': packs use that name for"
                " the mask of the latter. Rename one of them"
            )
        if not name or "/" in name or name.startswith((".", "__")) or replace_control_characters(name) != name:
            raise RecipeError(
                f"a layer cannot be called '{replace_control_characters(name)}': names are not empty, have neither /"
                " nor control characters, and do not begin with . or __"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ResultInfo:
    """Properties that every kind of result may have.

    Attributes:
        name: path below the output folder, without suffix; None for the name template of the run.
        sources: ids of the assets that the result is made from, if known.
        dates: dates of the assets, ISO 8601.
    """

    name: str | None = None
    sources: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """The place of a file in a time series.

    Attributes:
        number: number of the frame, from 0.
        series: name of the dataset's files; empty if there is one dataset.
        start: start of its period, inclusive, ISO 8601; None without periods.
        end: end of its period, exclusive, ISO 8601.
        clear: share of the chip's pixels that its image shows clear, 0 to 1; None if unknown.
        score: by which its image was chosen; None if it was chosen otherwise.
    """

    number: int
    series: str = ""
    start: str | None = None
    end: str | None = None
    clear: float | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Chip(_ResultInfo):
    """An image to fetch.

    The pixels are given by ``grid``, or by ``region`` with ``dimensions`` or ``scale``.

    Attributes:
        image: image to compute; a template if chips with a grid differ only in some values.
        region: geometry whose bounds the chip covers; with ``dimensions``, or ``scale`` and optionally ``crs``.
        dimensions: width and height in pixels.
        grid: exact pixel grid; excludes region, dimensions, scale and crs.
        scale: edge of a pixel in metres.
        crs: code or WKT of the result's coordinate reference system; None for Earth Engine's choice.
        format: ``png`` or ``jpg`` for pictures (8 bits, 1 or 3 bands), ``tif`` or ``npy`` for data.
        bands: names of the bands, in order; None for all.
        visualization: min, max, gain, bias, gamma, palette, opacity, as for ``ee.Image.visualize``. For pictures only.
        dtype: numpy name of the pixels' type, which the response must have; None if unknown. For data only.
        frame: its place in a time series; None for a chip of one moment. A unit is empty if all frames of a series are.
        asset: id of a stored image whose pixels ``image`` shows unchanged wherever all ``bands`` of it are valid; None
            if there is none, or it is unknown. ``grid`` must have pixels of that image, and no band smaller ones.
            Chips without a masked pixel are then read from the asset, which costs the service less. For data only.
        empty_types: numpy names of the types of ``bands``, if it is known that no pixel is valid: the file is then made
            without a request where the format and the grid allow it. Empty if it is not known.

    Raises:
        UsageError: if the arguments contradict each other.
    """

    image: ee.Image | Template
    region: ee.Geometry | None = None
    dimensions: tuple[int, int] | None = None
    grid: Grid | None = None
    scale: float | None = None
    crs: str | None = None
    format: str = "png"
    bands: tuple[str, ...] | None = None
    visualization: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    frame: Frame | None = None
    asset: str | None = None
    empty_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.format not in CHIP_FORMATS:
            raise UsageError(f"unknown chip format '{self.format}': one of {', '.join(CHIP_FORMATS.names)}")
        placed = (self.region, self.dimensions, self.scale, self.crs)
        if self.grid is not None and any(value is not None for value in placed):
            raise UsageError("a chip with a grid takes no region, dimensions, scale or crs")
        if self.grid is None and self.region is None:
            raise UsageError("a chip needs a grid, or a region with dimensions or a scale")
        if self.grid is None and (self.dimensions is None) == (self.scale is None):
            raise UsageError("a chip with a region needs either dimensions or a scale")
        if self.dimensions is not None and (len(self.dimensions) != 2 or min(self.dimensions) < 1):
            raise UsageError(f"dimensions are (width, height), both at least 1, not {self.dimensions}")
        if self.scale is not None and not self.scale > 0:
            raise UsageError(f"the scale must be more than 0 metres, not {self.scale}")
        if self.visualization and not self.is_picture:
            raise UsageError(f"visualization makes a picture: it needs format png or jpg, not {self.format}")
        if self.bands is not None and len(set(self.bands)) != len(self.bands):
            raise UsageError(f"a band is asked for twice: {', '.join(self.bands)}")

    @property
    def is_picture(self) -> bool:
        """Return whether the result is a picture (PNG, JPEG), not data (GeoTIFF, NPY)."""
        return CHIP_FORMATS.get(self.format).is_picture

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None if the service chooses them."""
        return (self.grid.width, self.grid.height) if self.grid is not None else self.dimensions


@dataclass(frozen=True, slots=True, eq=False)
class FrameStack:
    """Several frames of a time series that become one file.

    Attributes:
        chips: the frames in their order: of one grid, format and series, with equal bands.

    Raises:
        UsageError: if there is none, or if one is no frame of the series of the first.
    """

    chips: tuple[Chip, ...]

    def __post_init__(self) -> None:
        series = {None if chip.frame is None else chip.frame.series for chip in self.chips}
        if len(series) != 1 or None in series:
            raise UsageError("a stack of frames needs chips with a frame of one series")
        if CHIP_FORMATS.get(self.format).stack is None:
            raise UsageError(f"frames of format {self.format} cannot be joined to one file: take tif or npy")

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The place of each chip in the series."""
        return tuple(chip.frame for chip in self.chips if chip.frame is not None)

    @property
    def format(self) -> str:
        """The format of the chips and of the file."""
        return self.chips[0].format

    @property
    def grid(self) -> Grid | None:
        """The grid of all chips."""
        return self.chips[0].grid

    @property
    def sources(self) -> tuple[str, ...]:
        """The ids of the assets of all chips."""
        return tuple(dict.fromkeys(source for chip in self.chips for source in chip.sources))

    @property
    def dates(self) -> tuple[str, ...]:
        """The dates of the assets of all chips."""
        return tuple(dict.fromkeys(date for chip in self.chips for date in chip.dates))

    @property
    def times(self) -> tuple[str, ...]:
        """The time of each frame: of its image, or its period as start/end, or ``t00`` if it has neither.

        Periods are written as in ISO 8601.
        """
        return tuple(
            chip.dates[0] if chip.dates else f"{frame.start}/{frame.end}" if frame.start else f"t{frame.number:02d}"
            for chip, frame in zip(self.chips, self.frames, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Table(_ResultInfo):
    """Rows to fetch, or rows that the recipe made itself.

    Attributes:
        source: a feature collection, whose properties become columns; a :class:`Series`, which can be requested by
            ranges of dates; a :class:`SplittableTable`, which can be requested in parts; a data frame; or a list of
            mappings.
        columns: names and order of the columns; None for those of the rows, in order of appearance.
            ``system:index`` and ``.geo`` name a feature's id and its geometry as GeoJSON.
        format: ``csv`` or ``parquet``.
        unpack: converts the fetched features to columns by name, if each feature has the values of several rows.
            Excludes ``columns``.
    """

    source: ee.FeatureCollection | Series | SplittableTable | pd.DataFrame | Sequence[Mapping[str, Any]]
    columns: tuple[str, ...] | None = None
    format: TableFormat = "csv"
    unpack: Callable[[list[dict[str, Any]]], Mapping[str, Sequence[Any]]] | None = None

    @property
    def has_rows(self) -> bool:
        """Return whether the recipe has made the rows itself, so that none are fetched."""
        is_frame = hasattr(self.source, "to_dict") and hasattr(self.source, "columns")  # without importing pandas
        return is_frame or isinstance(self.source, (list, tuple))

    def __post_init__(self) -> None:
        if self.format not in TABLE_FORMATS:
            raise UsageError(f"unknown table format '{self.format}': one of {', '.join(TABLE_FORMATS)}")


@dataclass(frozen=True, slots=True)
class NoData:
    """A result without a request, since the planner found no data. The unit is ``empty`` and has no file."""


Single: TypeAlias = "Chip | FrameStack | Table | bytes | np.ndarray[Any, Any]"
"""A result that becomes one file."""

Result: TypeAlias = "Single | Mapping[str, Single] | NoData | None"
"""Return value of ``get_result``: one file, several files by name, no data, or None if it has written its files."""


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A file that a recipe has written and validated itself.

    Attributes:
        name: its path below the output folder.
    """

    name: str
    data: bytes
    metadata: FileMetadata


@dataclass(frozen=True, slots=True)
class RecipeFiles:
    """A result: files that a recipe has written itself, perhaps none. The manifest has the metadata of the first."""

    files: tuple[RecipeFile, ...]


@dataclass(frozen=True, slots=True)
class ExistingFile:
    """A result of any size: a file that a recipe has written and validated itself, in the folder of the results.

    Attributes:
        temporary: its present path below that folder.
        suffix: suffix of the name that it gets, without the dot; empty for none.
        size: bytes.
        sha256: SHA-256 digest of its content, hexadecimal.
        sources: ids of its sources.
        dates: ISO 8601.
    """

    temporary: str
    suffix: str
    size: int
    sha256: str
    metadata: FileMetadata
    sources: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
