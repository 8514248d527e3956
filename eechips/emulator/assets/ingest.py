"""Files become assets."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips.emulator.assets.cogs import store_bands
from eechips.emulator.assets.dates import Time, to_milliseconds
from eechips.emulator.assets.errors import IngestError, UnreadableFileError
from eechips.emulator.assets.files import Deposit, workspace
from eechips.emulator.assets.index import Index
from eechips.emulator.assets.names import check_id, folder_of
from eechips.emulator.assets.plans import ImagePlan, Planner, ids_of
from eechips.emulator.assets.publish import check_free, create, discard, publish
from eechips.emulator.assets.rasters import Rasters
from eechips.emulator.assets.records import AssetRecord, ImageRecord, TableRecord
from eechips.emulator.assets.tables import INDEX_COLUMN, PARQUET_SUFFIXES

if TYPE_CHECKING:
    from eechips.emulator.assets.vectors import Features

FilePath = str | os.PathLike[str]
_INTEGER = re.compile(r"[+-]?\d+")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_RESERVED = ("system:index", "system:footprint", "system:id", "system:version")
_FOLDER_FORMATS = (".zarr", ".gdb")


def ingest(
    files: FilePath | Sequence[FilePath],
    into: FilePath,
    asset_id: str,
    *,
    time_start: Time | None = None,
    time_end: Time | None = None,
    bands: Sequence[str] | None = None,
    properties: Mapping[str, Any] | None = None,
    resampling: str | Mapping[str, str] | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    layer: str | None = None,
    dates_from_bands: bool = False,
    one_image: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[str]:
    """Makes images, or tables, of files, and puts them into a folder that ``FolderStore`` serves.

    One file becomes the asset ``asset_id``; several become ``asset_id/<stem of the file>`` each. What holds
    images is a collection, other things above an asset are folders; both are made as needed. Pixels, transform
    and CRS are kept as they are. An id that is there already is replaced. Nothing changes if anything fails.

    Args:
        files: rasters, or vector files; not both.
        into: the folder; made if missing.
        asset_id: Earth Engine id.
        time_start: ``system:time_start``: ISO date or datetime (UTC unless it has an offset), or milliseconds.
        time_end: ``system:time_end``, likewise.
        bands: band names. For a NetCDF they choose variables, if they are names of variables.
        properties: of every image or table, JSON values.
        resampling: how pyramids are made: "average", "nearest" or "mode", for all bands or by name. None takes
            the mode for bands with a colour table and averages the others.
        nodata: in place of the files' own value for no data.
        crs: in place of the files' own.
        layer: of vector files with several.
        dates_from_bands: make an image of each date of a raster whose bands are dates, or of a NetCDF's time
            axis: ``asset_id/2000_02_18`` and so on.
        one_image: the files are the bands of one image, with grids of their own.
        clock: seconds since 1970, for the version of the assets.

    Returns:
        The ids of the new images or tables, in the order of files or dates.

    Raises:
        InvalidAssetIdError: if the id cannot be one.
        AssetExistsError: if the id is taken by another type.
        IngestError: if files cannot be read, or do not suit what is asked.
        AssetWriteError: if the folder cannot be written.
    """
    paths = [Path(files)] if isinstance(files, str | os.PathLike) else [Path(file) for file in files]
    check_id(asset_id)
    _check_files(paths)
    work = _Work(Path(into).absolute(), _properties(properties or {}, time_start, time_end), int(clock() * 1e6))
    with Rasters() as rasters:
        if _are_rasters(rasters, paths):
            planner = Planner(rasters, bands, resampling, nodata, crs)
            plans = planner.plan(paths, asset_id, work.facts, dates_from_bands=dates_from_bands, one_image=one_image)
            return work.run("image", {plan.id: partial(work.image, rasters, plan) for plan in plans})
    if dates_from_bands or one_image or any(option is not None for option in (bands, resampling, nodata)):
        raise IngestError(f"{paths[0]} is a vector file: it has no bands, dates of bands, pyramid or nodata value.")
    # Here, since pyogrio brings pandas along, which a server has no use for.
    from eechips.emulator.assets.vectors import read_features

    named = ids_of(paths, asset_id)
    tables = {name: partial(read_features, path, crs=crs, layer=layer) for name, path in named.items()}
    return work.run("table", {name: partial(work.table, name, read) for name, read in tables.items()})


def parse_properties(assignments: Sequence[str]) -> dict[str, Any]:
    """Properties from "name=value" texts: whole numbers and decimals become numbers, the rest stays text.

    Raises:
        IngestError: if there is no name or no equals sign.
    """
    properties: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise IngestError(f"{assignment!r} is no property: write it as name=value")
        properties[name] = int(text) if _INTEGER.fullmatch(text) else float(text) if _FLOAT.fullmatch(text) else text
    return properties


class _Work:
    """One ingestion into a folder: files first, then all assets at once, or nothing."""

    def __init__(self, root: Path, facts: Mapping[str, Any], version: int) -> None:
        self._root = root
        self.facts = facts
        self._version = version
        self._deposit = Deposit(root)

    def run(self, kind: str, makers: Mapping[str, Callable[[], AssetRecord]]) -> list[str]:
        """Makes assets by id and publishes them."""
        for asset_id in makers:
            check_id(asset_id)
        create(self._root)
        with closing(Index(self._root)) as index:
            check_free(index, list(makers), kind)  # before hours of writing, not after
        try:
            publish(self._root, [make() for make in makers.values()])
        except BaseException:
            discard(self._root, makers, self._deposit.added)
            raise
        return list(makers)

    def image(self, rasters: Rasters, plan: ImagePlan) -> ImageRecord:
        stored = store_bands(rasters, plan.sources, self._root, folder_of(plan.id), self._deposit)
        properties = dict(plan.properties)
        for band in stored.bands:
            if band.scale != 1.0:
                properties.setdefault(f"{band.name}_scale", band.scale)
            if band.offset != 0.0:
                properties.setdefault(f"{band.name}_offset", band.offset)
        return ImageRecord(plan.id, self._version, properties, stored.footprint, stored.files, stored.bands)

    def table(self, asset_id: str, read: Callable[[], Features]) -> TableRecord:
        from eechips.emulator.assets.vectors import write_table

        folder, features = folder_of(asset_id), read()
        with workspace(self._root / folder) as place:
            made = place / "table.parquet"
            write_table(features, made)
            href = self._deposit.add(made, folder)
        columns = {**features.columns, INDEX_COLUMN: "String"}
        count = len(features.geometries)
        return TableRecord(asset_id, self._version, self.facts, features.bounds, href, columns, count)


def _check_files(paths: Sequence[Path]) -> None:
    if not paths:
        raise IngestError("There is no file to ingest.")
    for path in paths:
        if path.is_dir() and path.suffix.lower() not in _FOLDER_FORMATS:
            raise UnreadableFileError(f"{path} is a folder: name the files in it.")
        if not path.exists():
            raise UnreadableFileError(f"There is no file {path}.")


def _are_rasters(rasters: Rasters, paths: Sequence[Path]) -> bool:
    """Whether the files are rasters; if not, they are vector files.

    Raises:
        IngestError: if there are both, or one that is neither.
    """
    kinds = {_is_raster(rasters, path) for path in paths}
    if len(kinds) > 1:
        raise IngestError("Rasters and vector files cannot become one asset: ingest them one after the other.")
    return kinds.pop()


def _is_raster(rasters: Rasters, path: Path) -> bool:
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return False
    try:
        rasters.open(str(path))
    except UnreadableFileError as error:
        from eechips.emulator.assets.vectors import is_vector

        if not is_vector(path):
            raise UnreadableFileError(f"{path} is neither a raster nor a vector file that GDAL reads.") from error
        return False
    return True


def _properties(given: Mapping[str, Any], time_start: Time | None, time_end: Time | None) -> dict[str, Any]:
    """Properties of the new assets, checked to be JSON."""
    for name, value in given.items():
        if name in _RESERVED:
            raise IngestError(f"The property {name} is Earth Engine's own: leave it out.")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise IngestError(f"The property {name} is not a JSON value: {error}") from error
    facts = dict(given)
    if time_start is not None:
        facts["system:time_start"] = to_milliseconds(time_start)
    if time_end is not None:
        facts["system:time_end"] = to_milliseconds(time_end)
        if facts["system:time_end"] < facts.get("system:time_start", facts["system:time_end"]):
            raise IngestError(f"The end {time_end} is before the start {time_start}.")
    return facts
