"""Ingest files as assets: rasters, vector files or STAC items; check options that exclude each other; parse properties
and pyramiding policies.
"""

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

from eechips_local.assets import stac
from eechips_local.assets.asset_errors import IngestError, UnreadableFileError
from eechips_local.assets.asset_names import check_id, folder_of
from eechips_local.assets.date_parsing import Time, to_milliseconds
from eechips_local.assets.ingestion import stac_items
from eechips_local.assets.ingestion.cogs import StoredRasters, store_bands
from eechips_local.assets.ingestion.image_plans import ImagePlan, ImagePlanner
from eechips_local.assets.ingestion.input_files import SourceFile, find_files, is_folder, name_files
from eechips_local.assets.ingestion.linked_files import refer_to_bands
from eechips_local.assets.ingestion.publish import Admit, check_free, create, discard, publish
from eechips_local.assets.ingestion.raster_files import BandSource, RasterFiles
from eechips_local.assets.ingestion.records import AssetRecord, ClassifierRecord, ImageRecord, TableRecord
from eechips_local.assets.store_files import Deposit, workspace
from eechips_local.assets.store_index import StoreIndex
from eechips_local.assets.stored_tables import INDEX_COLUMN, PARQUET_SUFFIXES
from eechips_local.pixels.file_source import DRIVERS

if TYPE_CHECKING:
    from eechips_local.assets.ingestion.vector_files import Features

FilePath = str | os.PathLike[str]
_INTEGER = re.compile(r"[+-]?\d+")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PACKED = (".gz", ".tgz", ".bz2", ".xz", ".tar", ".7z", ".rar")
_RESERVED = ("system:index", "system:footprint", "system:id", "system:version")
POLICIES = {"mean": "average", "sample": "nearest", "mode": "mode"}
"""Resampling of pyramids, by Earth Engine's names of policies."""
_Store = Callable[[RasterFiles, Sequence[BandSource], Path, str, Deposit], StoredRasters]


def ingest(
    files: FilePath | Sequence[FilePath],
    into: FilePath,
    asset_id: str,
    *,
    name: str | None = None,
    pattern: str | None = None,
    recursive: bool = False,
    time_start: Time | None = None,
    time_end: Time | None = None,
    bands: Sequence[str] | None = None,
    properties: Mapping[str, Any] | None = None,
    resampling: str | Mapping[str, str] | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    layer: str | None = None,
    dates: Sequence[Time] | None = None,
    dates_from_bands: bool = False,
    dates_from_names: bool = False,
    one_image: bool = False,
    by_reference: bool = False,
    remote: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[str]:
    """Make images, or tables, of files, and put them into a folder that ``FolderStore`` serves.

    One file becomes the asset ``asset_id``; several, and those of a folder, become ``asset_id/<stem of the file>``
    each, and STAC items of a collection ``asset_id/<id of the item>``. What holds images is a collection, other
    things above an asset are folders; both are made as needed. Pixels, transform and CRS are kept as they are, scale
    and offset become the properties ``<band>_scale`` and ``<band>_offset``. An id that is there already is
    replaced. Nothing changes if anything fails.

    Args:
        files: rasters, vector files, or STAC documents (items, lists of them, catalogues, collections); one sort only.
            A folder stands for the files in it.
        into: the folder; made if missing.
        asset_id: Earth Engine id.
        name: template of the names of several files, with the fields ``{stem}``, ``{date}``, ``{folder}`` and
            ``{path}``; see ``folders.name_files``.
        pattern: pattern of the names of files in folders, like "*.tif".
        recursive: also the files in folders in folders.
        time_start: ``system:time_start``: ISO date or datetime (UTC unless it has an offset), or milliseconds.
        time_end: ``system:time_end``, likewise.
        bands: band names. For a NetCDF they choose variables, if they are names of variables; for STAC items they
            choose assets, or bands of assets.
        properties: properties of every image or table, JSON values.
        resampling: how pyramids are made: "average", "nearest" or "mode", for all bands or by name. None takes
            the mode for bands with a colour table and averages the others.
        nodata: in place of the files' own value for no data.
        crs: in place of the files' own.
        layer: layer of vector files with several.
        dates: make an image of each date of a raster with a band, or as many as ``bands`` names, for each of these.
        dates_from_bands: likewise, with the dates that descriptions of bands have in them, or of a NetCDF's time
            axis: ``asset_id/2000_02_18`` and so on.
        dates_from_names: ``system:time_start`` is the first date in a file's name.
        one_image: the files are the bands of one image, with grids of their own.
        by_reference: the files of STAC items, which must be GeoTIFFs, are not copied. Local ones get a second name (a
            hard link) in the folder; remote ones stay where they are, and servers need --allow-remote for them.
        remote: files of STAC items may be on web servers (http and https).
        clock: seconds since 1970, for the version of the assets.

    Returns:
        The ids of the new images or tables, in the order of files or dates.

    Raises:
        InvalidAssetIdError: if the id cannot be one.
        AssetExistsError: if the id is taken by another type.
        IngestError: if files cannot be read, or do not suit what is asked.
        UnsafeHrefError: if a STAC item refers to a file that may not be read.
        AssetWriteError: if the folder cannot be written.
    """
    paths = [Path(files)] if isinstance(files, str | os.PathLike) else [Path(file) for file in files]
    check_id(asset_id)
    source_files = find_files(paths, pattern=pattern, recursive=recursive)
    work = IngestTask(Path(into).absolute(), _properties(properties or {}, time_start, time_end), int(clock() * 1e6))
    every = [file.path for file in source_files]
    series = dates is not None or dates_from_bands
    given_times = time_start is not None or time_end is not None
    _check_names(name, series, one_image, dates_from_names, time_start is not None)
    options = {"resampling": resampling, "nodata": nodata, "crs": crs}
    if _are_items(every):
        if series or dates_from_names or one_image or given_times:
            raise IngestError("STAC items say themselves when they are, and which bands they have: leave dates out.")
        if name is not None:
            raise IngestError("Images of STAC items are named by the items' ids: leave name out.")
        if by_reference and any(value is not None for value in options.values()):
            raise IngestError("Files that are referred to stay as they are: leave resampling, nodata and crs out.")
        return _ingest_items(work, source_files, asset_id, bands, by_reference, remote, options)
    if by_reference or remote:
        raise IngestError("Only files of STAC items can be referred to or be remote: name an item.json.")
    several = len(source_files) > 1 or any(is_folder(path) for path in paths)
    name_all = partial(name_files, source_files, asset_id, several=several, template=name)
    with RasterFiles() as rasters:
        if _are_rasters(rasters, every):
            planner = ImagePlanner(rasters, bands, resampling, nodata, crs)
            if series:
                plans = planner.series(every, asset_id, work.facts, dates)
            elif one_image:
                plans = planner.one(every, asset_id, work.facts)
            else:
                named = name_all()
                times = {new: file.date for new, file in named.items()} if dates_from_names else {}
                plans = planner.images({new: file.path for new, file in named.items()}, work.facts, times)
            _check_resampling(resampling, plans)
            return work.run("image", {plan.id: partial(work.image, rasters, plan) for plan in plans})
    if series or one_image or any(option is not None for option in (bands, resampling, nodata)):
        raise IngestError(
            f"{source_files[0].path} is a vector file: it has no bands, dates of bands, pyramid or nodata value."
        )
    return _ingest_tables(work, name_all(), crs, layer, are_dated=dates_from_names)


def _check_names(name: str | None, series: bool, one_image: bool, dates_from_names: bool, is_dated: bool) -> None:
    """Check that names and dates of images come from one source."""
    if dates_from_names and (is_dated or series or one_image):
        raise IngestError("Dates come from names, or from time_start or bands: choose one of them.")
    if series and one_image:
        raise IngestError("Files are a series of dates or bands of one image, not both.")
    if name is not None and (series or one_image):
        raise IngestError("Images of a series are named by their dates, and one image by its id: leave name out.")


def _ingest_tables(
    work: IngestTask, files: Mapping[str, SourceFile], crs: str | None, layer: str | None, *, are_dated: bool
) -> list[str]:
    # Here, since pyogrio brings pandas along, which a server has no use for.
    from eechips_local.assets.ingestion.vector_files import read_features

    makers = {}
    for new, file in files.items():
        read = partial(read_features, file.path, crs=crs, layer=layer)
        makers[new] = partial(work.table, new, read, {"system:time_start": file.date} if are_dated else {})
    return work.run("table", makers)


def _ingest_items(
    work: IngestTask,
    source_files: Sequence[SourceFile],
    asset_id: str,
    bands: Sequence[str] | None,
    by_reference: bool,
    remote: bool,
    options: Mapping[str, Any],
) -> list[str]:
    read = [item for file in source_files for item in stac_items.read_items(file.path)]
    if not read:
        raise IngestError(f"{source_files[0].path} leads to no item.")
    alone = len(source_files) == 1 and read[0].alone
    named = {asset_id: read[0]} if alone else stac_items.children(read, asset_id)
    store = refer_to_bands if by_reference else store_bands
    with RasterFiles(DRIVERS) as rasters:
        plans = [
            stac_items.plan(item, new, rasters, bands=bands, properties=work.facts, remote=remote, options=options)
            for new, item in named.items()
        ]
        _check_resampling(options["resampling"], plans)
        return work.run("image", {plan.id: partial(work.image, rasters, plan, store) for plan in plans})


def _check_resampling(resampling: str | Mapping[str, str] | None, plans: Sequence[ImagePlan]) -> None:
    """Check that bands for which a pyramid is chosen exist."""
    names = dict.fromkeys(source.name for plan in plans for source in plan.sources)
    unknown = (
        [] if resampling is None or isinstance(resampling, str) else [name for name in resampling if name not in names]
    )
    if unknown:
        raise IngestError(f"There is no band {unknown[0]!r} to make a pyramid of; there are {', '.join(names)}.")


def parse_properties(assignments: Sequence[str]) -> dict[str, Any]:
    """Return properties from "name=value" texts: whole numbers and decimals become numbers, the rest stays text.

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


def parse_pyramiding(policies: Sequence[str]) -> str | dict[str, str] | None:
    """Return the resampling of pyramids from "POLICY" or "BAND=POLICY" texts, with Earth Engine's names of policies.

    https://developers.google.com/earth-engine/guides/image_manifest: MEAN, SAMPLE and MODE of its pyramiding policies.

    Returns:
        The ``resampling`` of ``ingest``.

    Raises:
        IngestError: if a policy is unknown, or one for all bands stands beside others.
    """
    band_policies: dict[str, str] = {}
    for text in policies:
        band, _, policy = text.rpartition("=")
        if policy.lower() not in POLICIES:
            raise IngestError(f"{text!r} is no pyramiding policy: one of {', '.join(POLICIES)}, or BAND=POLICY.")
        if band in band_policies:
            raise IngestError(f"There are two pyramiding policies for {band or 'all bands'}.")
        band_policies[band] = POLICIES[policy.lower()]
    if "" in band_policies and len(band_policies) > 1:
        raise IngestError("Give one pyramiding policy for all bands, or one for each: BAND=POLICY.")
    return band_policies.get("", band_policies or None)


class IngestTask:
    """One ingestion into a folder: files first, then all assets at once, or nothing.

    Args:
        facts: properties of all assets.
        version: version of the assets, in microseconds since 1970.
        overwrite: whether assets of the same ids are replaced.
        admit: see ``publish``.
    """

    def __init__(
        self, root: Path, facts: Mapping[str, Any], version: int, *, overwrite: bool = True, admit: Admit | None = None
    ) -> None:
        self._root = root
        self.facts = facts
        self._version = version
        self._overwrite, self._admit = overwrite, admit
        self._deposit = Deposit(root)

    def run(self, kind: str, makers: Mapping[str, Callable[[], AssetRecord]]) -> list[str]:
        """Make assets by id and publish them."""
        for asset_id in makers:
            check_id(asset_id)
        create(self._root)
        with closing(StoreIndex(self._root)) as index:
            check_free(index, list(makers), kind)  # before hours of writing, not after
        try:
            records = [make() for make in makers.values()]
            publish(self._root, records, replace=self._overwrite, admit=self._admit)
        except BaseException:
            discard(self._root, makers, self._deposit.added)
            raise
        return list(makers)

    def image(self, rasters: RasterFiles, plan: ImagePlan, store: _Store = store_bands) -> ImageRecord:
        """Store the files of an image."""
        stored = store(rasters, plan.sources, self._root, folder_of(plan.id), self._deposit)
        properties = dict(plan.properties)
        for band in stored.bands:
            if band.scale != 1.0:
                properties.setdefault(f"{band.name}_scale", band.scale)
            if band.offset != 0.0:
                properties.setdefault(f"{band.name}_offset", band.offset)
        return ImageRecord(plan.id, self._version, properties, stored.footprint, stored.files, stored.bands)

    def table(self, asset_id: str, read: Callable[[], Features], more: Mapping[str, Any]) -> TableRecord:
        """Store the file of a table."""
        from eechips_local.assets.ingestion.vector_files import write_table

        folder, features = folder_of(asset_id), read()
        with workspace(self._root / folder) as place:
            table_path = place / "table.parquet"
            write_table(features, table_path)
            href = self._deposit.add(table_path, folder)
        columns = {**features.columns, INDEX_COLUMN: "String"}
        count = len(features.geometries)
        return TableRecord(asset_id, self._version, {**self.facts, **more}, features.bounds, href, columns, count)

    def classifier(self, asset_id: str, document: Mapping[str, Any]) -> ClassifierRecord:
        """Store the file of a classifier.

        Raises:
            IngestError: if its document is too large.
        """
        folder, text = folder_of(asset_id), json.dumps(document, allow_nan=False)
        if len(text) > stac.LARGEST:
            raise IngestError(
                f"The classifier has {len(text)} bytes, and a stored one at most {stac.LARGEST}: train it on fewer "
                "samples."
            )
        with workspace(self._root / folder) as place:
            document_path = place / "classifier.json"
            document_path.write_text(text, encoding="utf-8")
            href = self._deposit.add(document_path, folder)
        return ClassifierRecord(asset_id, self._version, self.facts, href)


def _are_items(paths: Sequence[Path]) -> bool:
    """Return whether the files are STAC documents.

    Raises:
        IngestError: if some are, and some are not.
    """
    documents = [path for path in paths if stac_items.is_document(path)]
    if documents and len(documents) < len(paths):
        other = next(path for path in paths if path not in documents)
        raise IngestError(f"{documents[0]} is a STAC document, {other} is none: ingest them one after the other.")
    return bool(documents)


def _are_rasters(rasters: RasterFiles, paths: Sequence[Path]) -> bool:
    """Return whether the files are rasters; if not, they are vector files.

    Raises:
        IngestError: if there are both, or one that is neither.
    """
    kinds = {_is_raster(rasters, path): path for path in paths}
    if len(kinds) > 1:
        raise IngestError(
            f"Rasters ({kinds[True].name}) and vector files ({kinds[False].name}) cannot become one asset: ingest them "
            "one after the other, those of a folder by a pattern like '*.tif'."
        )
    return True in kinds


def _is_raster(rasters: RasterFiles, path: Path) -> bool:
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return False
    try:
        rasters.open(str(path))
    except UnreadableFileError as error:
        from eechips_local.assets.ingestion.vector_files import is_vector

        if path.suffix.lower() in (".tif", ".tiff") or not is_vector(path):
            cure = " Unpack it first." if path.suffix.lower() in _PACKED else ""
            raise UnreadableFileError(
                f"{path} is neither a raster nor a vector file that GDAL reads: {error}{cure}"
            ) from error
        return False
    return True


def _properties(properties: Mapping[str, Any], time_start: Time | None, time_end: Time | None) -> dict[str, Any]:
    """Return properties of the new assets, checked to be JSON."""
    for name, value in properties.items():
        if name in _RESERVED:
            raise IngestError(f"The property {name} is Earth Engine's own: leave it out.")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise IngestError(f"The property {name} is not a JSON value: {error}") from error
    facts = dict(properties)
    if time_start is not None:
        facts["system:time_start"] = to_milliseconds(time_start)
    if time_end is not None:
        facts["system:time_end"] = to_milliseconds(time_end)
        if facts["system:time_end"] < facts.get("system:time_start", facts["system:time_end"]):
            raise IngestError(f"The end {time_end} is before the start {time_start}.")
    return facts
