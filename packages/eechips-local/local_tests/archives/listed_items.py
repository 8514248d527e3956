"""Items in a list as an archive's search, and files in a folder as its rasters: archives without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from eechips_local.archives.archive_errors import ArchiveError
from eechips_local.archives.archive_model import CogHeader, Item, ItemQuery
from eechips_local.archives.items.item_conditions import meets_bounds
from eechips_local.archives.items.item_properties import times_of
from eechips_local.assets.ingestion.raster_files import crs_of
from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.pixels.file_source import FileSource
from eechips_local.pixels.grids.pixel_grid import PixelGrid


@dataclass
class ListedItems:
    """An ``ItemSearch`` over items, by their collections; notes what it was asked for."""

    found: Mapping[str, Sequence[Item]]
    asked: list[tuple[str, ItemQuery]] = field(default_factory=list)

    def items(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        """See ``ItemSearch``."""
        self.asked.append((collection, query))
        return (item for item in self.found.get(collection, ()) if _fits(item, query))

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """See ``ItemSearch``."""
        return {name: {"id": name} for name in self.found}


def _fits(item: Item, query: ItemQuery) -> bool:
    properties = item["properties"]
    if query.ids is not None and item["id"] not in query.ids:
        return False
    if any(properties.get(name) != value for name, value in query.equals.items()):
        return False
    if any(not span.least <= properties[name] <= span.greatest for name, span in query.ranges.items()):
        return False
    start, end = times_of(properties)
    assert start is not None
    assert end is not None
    if (query.end is not None and start >= query.end) or (query.start is not None and end < query.start):
        return False
    return query.bounds is None or meets_bounds(item, query.bounds)


@dataclass(frozen=True)
class FolderFile:
    """A ``CogFile`` of a folder."""

    path: Path

    @property
    def header(self) -> CogHeader:
        """See ``CogFile``."""
        if not self.path.is_file():
            raise ArchiveError(f"{self.path.name} is not there.")
        with rasterio.open(self.path) as dataset:
            grid = PixelGrid(crs_of(dataset, None), dataset.transform, dataset.width, dataset.height)
            return CogHeader(grid, self.levels, tuple(dataset.dtypes), dataset.nodata, "")

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``RasterSource``."""
        return FileSource.open(str(self.path)).levels

    @property
    def level_sizes(self) -> tuple[tuple[int, int], ...]:
        """See ``CogFile``."""
        grid = self.header.grid
        return tuple((level.width, level.height) for level in map(grid.level, self.levels))

    def prefetch_header(self) -> None:
        """Do nothing: it is here."""

    def prefetch(self, bands: Sequence[int], window: PixelWindow, level: int) -> None:
        """Do nothing: they are here."""

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``RasterSource``."""
        return FileSource.open(str(self.path)).read(bands, window, level)


@dataclass(frozen=True)
class FolderReader:
    """A ``CogReader`` that takes the files of addresses from a folder, by their last segments."""

    folder: Path

    def open(self, href: str, *, collection: str) -> FolderFile:
        """See ``CogReader``."""
        return FolderFile(self.folder / href.rpartition("/")[2])
