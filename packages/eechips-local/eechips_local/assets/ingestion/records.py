"""Define records of stored assets: images with their files and bands, tables, classifiers, folders and collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import shapely
from shapely.geometry.base import BaseGeometry

ContainerKind = Literal["folder", "collection"]


@dataclass(frozen=True, slots=True)
class RasterFile:
    """One GeoTIFF of an image: all its bands share a grid, a type and a pyramid.

    Attributes:
        href: path relative to the store's folder, with ``/``; or the URL of a file on a web server.
        crs: code or WKT, as ``Grid.crs``.
        transform: a, b, c, d, e, f of x = a*column + b*row + c, y = d*column + e*row + f.
        width: columns.
        height: rows.
        dtype: numpy name of the stored type.
        levels: decimation factors of the pyramid, the first is 1.
        keeps_extent: whether the pixels of its levels are stretched over the extent, as in files that others made.
    """

    href: str
    crs: str
    transform: tuple[float, float, float, float, float, float]
    width: int
    height: int
    dtype: str
    levels: tuple[int, ...] = (1,)
    keeps_extent: bool = False


@dataclass(frozen=True, slots=True)
class RasterBand:
    """A band of an image, and where it is stored.

    Attributes:
        name: as Earth Engine's ``bandNames`` gives it.
        file: position in the image's files.
        index: band of that file, from 0.
        nodata: the stored value that stands for no data, or None.
        scale: factor from stored values to physical ones; never applied.
        offset: summand after the factor; never applied.
    """

    name: str
    file: int
    index: int
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image.

    Attributes:
        id: the full Earth Engine id.
        version: microseconds since 1970.
        properties: Earth Engine's, without ``system:index`` and ``system:footprint``.
        footprint: outline in longitude and latitude.
        files: in no particular order.
        bands: in order.
    """

    kind: ClassVar[str] = "image"
    id: str
    version: int
    properties: Mapping[str, Any]
    footprint: BaseGeometry
    files: tuple[RasterFile, ...]
    bands: tuple[RasterBand, ...]

    @property
    def hrefs(self) -> list[str]:
        """Its files: paths relative to the store's folder, or URLs."""
        return [file.href for file in self.files]

    @property
    def time_start(self) -> float | None:
        """``system:time_start`` in milliseconds since 1970, or None."""
        return milliseconds(self.properties.get("system:time_start"))


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table.

    Attributes:
        id: the full Earth Engine id.
        version: microseconds since 1970.
        properties: properties of the table itself.
        footprint: bounding box of its features, in longitude and latitude.
        href: path of the GeoParquet file, relative to the store's folder.
        columns: Earth Engine type names by column.
        rows: number of features.
    """

    kind: ClassVar[str] = "table"
    id: str
    version: int
    properties: Mapping[str, Any]
    footprint: BaseGeometry
    href: str
    columns: Mapping[str, str]
    rows: int

    @property
    def hrefs(self) -> list[str]:
        """Its file: a path relative to the store's folder."""
        return [self.href]

    @property
    def time_start(self) -> float | None:
        """``system:time_start`` in milliseconds since 1970, or None."""
        return milliseconds(self.properties.get("system:time_start"))


@dataclass(frozen=True, slots=True)
class ClassifierRecord:
    """A classifier.

    Attributes:
        id: the full Earth Engine id.
        version: microseconds since 1970.
        properties: properties of the asset.
        href: path of its JSON file, relative to the store's folder.
    """

    kind: ClassVar[str] = "classifier"
    footprint: ClassVar[BaseGeometry] = shapely.Polygon()
    time_start: ClassVar[None] = None
    id: str
    version: int
    properties: Mapping[str, Any]
    href: str

    @property
    def hrefs(self) -> list[str]:
        """Its file: a path relative to the store's folder."""
        return [self.href]


AssetRecord = ImageRecord | TableRecord | ClassifierRecord


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A folder or an image collection.

    Attributes:
        id: the full Earth Engine id; "" for the root.
        kind: "collection" if it holds images.
        href: its document, relative to the store's folder.
        stamp: changes when the document does: when that was in nanoseconds since 1970, and the document's size.
        properties: Earth Engine's.
    """

    id: str
    kind: ContainerKind
    href: str
    stamp: str
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """Microseconds since 1970 at which its document was written; 0 without a document."""
        return int(self.stamp.partition(":")[0] or 0) // 1000


def milliseconds(value: object) -> float | None:
    """Return a time property as a number, or None if it is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
