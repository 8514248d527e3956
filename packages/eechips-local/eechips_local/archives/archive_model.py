"""Define the parts of an open archive: its description, the search of its items, and the rasters of their assets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from eechips_local.evaluation.asset_model import Bounds, PixelWindow, Range, RasterSource
from eechips_local.pixels.grids.pixel_grid import PixelGrid

Item = Mapping[str, Any]
"""A STAC item, as JSON."""

Signing = Literal["none", "planetary-computer", "earthdata", "cdse", "requester-pays"]
"""How requests of an archive's files are authorized."""


@dataclass(frozen=True, slots=True)
class ArchiveDescription:
    """An open archive.

    Attributes:
        name: as ``--archive`` and the manifest name it ("earth-search").
        title: for people.
        api: address of a STAC API; empty for a file.
        file: path of a static catalogue (JSON) or of items in GeoParquet; empty for an API.
        index: address of a table of the archive's files, which is kept on this machine; empty for an API.
        hosts: names of hosts, with a port where it is not that of the scheme, from which files may be read. A leading
            ``*.`` stands for any subdomain.
        signing: how requests of its files are authorized.
        token_api: address that gives tokens, for ``signing`` "planetary-computer".
        has_cql2: whether its API filters by CQL2 JSON.
        page_items: items that a page of search results has at most.
        connections: requests for files that all processes together have in work at a host.
        like: name of the archive whose dataset records hold for this one, too; its own name by default.
        source: where the facts come from.
    """

    name: str
    title: str
    api: str = ""
    file: str = ""
    index: str = ""
    hosts: tuple[str, ...] = ()
    signing: Signing = "none"
    token_api: str = ""
    has_cql2: bool = False
    page_items: int = 100
    connections: int = 64
    like: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """Conditions of a search. A search may return more items than match, never fewer.

    Attributes:
        bounds: bounds that the items meet (west may exceed east across the antimeridian), or None.
        start: least time of an item in milliseconds since 1970, inclusive, or None.
        end: greatest time, exclusive, or None.
        equals: values of STAC properties.
        ranges: ranges of STAC properties.
        ids: ids of items, one of which an item must have, or None.
        limit: number of items after which the caller stops, as far as it is known; None for all.
    """

    bounds: Bounds | None = None
    start: float | None = None
    end: float | None = None
    equals: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    ids: tuple[str, ...] | None = None
    limit: int | None = None


class ItemSearch(Protocol):
    """A search of an archive's items. Threads may share it; it pickles, or is cheap to open again."""

    def items(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        """Yield items of a collection, page by page, each once.

        Raises:
            ArchiveError: if the archive does not answer, or not with items.
        """
        ...

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the archive's collections (STAC JSON) by their ids."""
        ...


@dataclass(frozen=True, slots=True)
class CogHeader:
    """What the header of a raster file says.

    Attributes:
        grid: grid of full resolution.
        levels: decimation factors of the pyramid, ascending, the first is 1.
        dtypes: numpy names, one for each band.
        nodata: nodata value of all bands, or None.
        version: version of the file (ETag), or "" where the host gives none.
        alpha: position of the band by which alone the others are masked, or None.
    """

    grid: PixelGrid
    levels: tuple[int, ...]
    dtypes: tuple[str, ...]
    nodata: float | None
    version: str
    alpha: int | None = None


class CogFile(RasterSource, Protocol):
    """A raster of an archive. Nothing is read before it is needed."""

    @property
    def header(self) -> CogHeader:
        """The header, read on first use.

        Raises:
            ArchiveError: if the file cannot be read.
        """
        ...

    @property
    def level_sizes(self) -> Sequence[tuple[int, int]]:
        """Columns and rows of each level: some programs round them up, and some down."""
        ...

    def prefetch_header(self) -> None:
        """Begin to fetch the header."""
        ...

    def prefetch(self, bands: Sequence[int], window: PixelWindow, level: int) -> None:
        """Begin to fetch pixels that will be read."""
        ...


@runtime_checkable
class CountsUse(Protocol):
    """A ``CogReader`` that counts what is used of blocks."""

    @property
    def used(self) -> int:
        """Bytes of blocks that windows were read from, as far as their pixels are in the windows."""
        ...


class CogReader(Protocol):
    """Opens rasters of an archive. Threads may share it; it pickles, or is cheap to open again."""

    def open(self, href: str, *, collection: str) -> CogFile:
        """Return a raster by its address, without a request.

        Args:
            href: address of the file, unsigned.
            collection: collection of the item, by which some archives give tokens.

        Raises:
            ArchiveError: if the address is none that the archive's description allows.
        """
        ...


@dataclass(frozen=True, slots=True)
class ItemFile:
    """A file of an item, and what an image takes from it.

    Attributes:
        item: id of the item.
        href: address of the file, unsigned.
        bands: bands of the image, as Earth Engine names them.
        version: version of the file (ETag), or "" where the host gives none.
    """

    item: str
    href: str
    bands: tuple[str, ...]
    version: str


@runtime_checkable
class ArchiveFiles(Protocol):
    """Names the files of images; stores of archives do."""

    def files(self, asset_id: str, bands: tuple[str, ...] = ()) -> tuple[ItemFile, ...] | None:
        """Return the files from which an image is read, or None if the store has no such image.

        Args:
            asset_id: id of an image ("COPERNICUS/S2_SR_HARMONIZED/2023…_T13TDE"). For an image made of tiles of the
                whole Earth, nothing is listed: the result is empty.
            bands: bands of the image; all of them if empty.

        Raises:
            ArchiveError: if the archive does not answer.
        """
        ...
