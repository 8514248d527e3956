"""Search items in files: a static STAC catalogue, a list of items in JSON, or STAC GeoParquet; refuse links out of its
folder, and too large documents.

pystac follows a catalogue that contains itself without end, and links out of its folder; so the links are followed
here. GeoParquet is read by pyarrow and stac-geoparquet.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import shapely
from pyarrow.fs import LocalFileSystem

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription, Item, ItemQuery, ItemSearch
from eechips_local.archives.hosts.allowed_hosts import split_address
from eechips_local.archives.items.asset_addresses import place_beside, with_paths
from eechips_local.archives.items.embedding_files import EmbeddingFiles, has_columns
from eechips_local.archives.items.item_conditions import is_match
from eechips_local.assets.vectors.untrusted_parquet import BoundedParquet
from eechips_local.geometry.longitude_boxes import split_bounds
from eechips_local.pixels.grids.pixel_grid import parse_crs

_LARGEST = 256 << 20  # bytes of a document
_CONTAINERS = 20_000_000  # objects and lists of a document, each of which takes a hundred bytes of memory
_DOCUMENTS = 200_000
_ROWS = 256  # that are made items at once
_TYPES = ("Catalog", "Collection", "Feature", "FeatureCollection")
_LINKS = ("child", "item", "items")
_OUTLINE = "proj:geometry"  # stac-geoparquet 0.8 fails where an item has none; nothing here needs it
_BOX = ("xmin", "ymin", "xmax", "ymax")


def open_file(description: ArchiveDescription) -> ItemSearch:
    """Return the search of the items in a file.

    Raises:
        ArchiveRefusedError: if there is no such file.
    """
    path = Path(description.file)
    if not path.is_file():
        raise ArchiveRefusedError(f"There is no file {path} with a STAC catalogue.")
    if path.suffix.lower() not in (".parquet", ".geoparquet"):
        return StaticItems(path)
    if description.index and _is_table(path):
        return EmbeddingFiles(path, description.index.rpartition("/")[0])
    return ParquetItems(path)


def _is_table(path: Path) -> bool:
    """Return whether a file is a table of files, and none of items."""
    try:
        return has_columns(set(ds.dataset(path, format="parquet").schema.names))
    except (pa.ArrowException, OSError):
        return False


def resolve_path(folder: Path, href: str, document: Path) -> Path:
    """Return the file that a document refers to, symbolic links followed.

    Args:
        folder: below which files may lie.
        href: relative to the document, an absolute path or a ``file://`` address.
        document: the catalogue's file with the reference.

    Raises:
        ArchiveRefusedError: if it does not lie below the folder.
    """
    parts = split_address(href)
    path = Path(url2pathname(parts.path)) if parts.scheme else place_beside(document.parent, href)
    if parts.scheme not in ("", "file") or parts.netloc or "\0" in str(path) or href.startswith("/vsi"):
        raise ArchiveRefusedError(
            f"{document.name} refers to {href[:200]!r}: a static catalogue's parts are its files."
        )
    resolved = Path(os.path.realpath(document.parent / path))
    if not resolved.is_relative_to(os.path.realpath(folder)):
        raise ArchiveRefusedError(f"{document.name} refers to {resolved}, which is not below {folder}: it is not read.")
    return resolved


class StaticItems:
    """The items of a static catalogue, or of a list of items. Threads share it; it pickles.

    Args:
        path: path of a catalogue, a collection, or a feature collection of items.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int], list[Item], dict[str, Mapping[str, Any]]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens it in another process."""
        return StaticItems, (self._path,)

    def items(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        """Yield the items of a collection that may match, each once.

        Raises:
            ArchiveRefusedError: if the catalogue cannot be read, or leads out of its folder.
        """
        for item in self._load()[0]:
            if item.get("collection") == collection and is_match(item, query):
                yield item

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the collections by their ids; those of which only items are there, with the id alone.

        Raises:
            ArchiveRefusedError: if the catalogue cannot be read, or leads out of its folder.
        """
        items, collection_documents = self._load()
        return {
            **{name: {"id": name} for name in sorted({str(item["collection"]) for item in items})},
            **collection_documents,
        }

    def _load(self) -> tuple[list[Item], dict[str, Mapping[str, Any]]]:
        """Read the catalogue, or again, if its first file has changed."""
        with self._lock:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._read is None or self._read[0] != stamp:
                items: dict[tuple[str, str], Item] = {}
                collections: dict[str, Mapping[str, Any]] = {}
                for document, content, parent in _walk(self._path):
                    if content["type"] == "Collection":
                        collections[str(content["id"])] = content
                    elif content["type"] == "Feature":
                        item = with_paths({**content, "collection": str(content.get("collection") or parent)}, document)
                        items.setdefault((item["collection"], item["id"]), item)
                self._read = (stamp, list(items.values()), collections)
            return self._read[1], self._read[2]


class ParquetItems:
    """The items of a STAC GeoParquet file. Threads share it; it pickles."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def items(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        """Yield the items of a collection that may match, each once.

        Raises:
            ArchiveRefusedError: if the file is none of STAC GeoParquet.
        """
        seen: set[str] = set()
        for item in self._rows(collection, query):
            if item["id"] not in seen and is_match(item, query):
                seen.add(item["id"])
                yield item

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the collections of the items by their ids.

        Raises:
            ArchiveRefusedError: if the file is none of STAC GeoParquet.
        """
        try:
            with self._open() as file:
                batches = file.iter_batches(columns=["collection"])
                names = {name for batch in batches for name in pc.unique(batch["collection"]).to_pylist()}
        except (pa.ArrowException, OSError) as error:
            raise self._refusal(error) from error
        return {name: {"id": name} for name in sorted(name for name in names if name)}

    def _rows(self, collection: str, query: ItemQuery) -> Iterator[Item]:
        from stac_geoparquet.arrow import stac_table_to_items

        try:
            with self._open() as file:
                schema = file.schema_arrow
                chosen = _choose(schema, collection, query)
                fragment = ds.ParquetFileFormat().make_fragment(str(self._path), LocalFileSystem())
                groups = [group.id for group in fragment.subset(chosen, schema=schema).row_groups]
                names = [name for name in schema.names if name != _OUTLINE]
                for batch in file.iter_batches(_ROWS, row_groups=groups, columns=names, use_threads=False):
                    for rows in pa.Table.from_batches([batch]).filter(chosen).to_batches():
                        for item in stac_table_to_items(_without_outlines(rows)):
                            yield with_paths({**item, "assets": _without_null(item.get("assets") or {})}, self._path)
        except (pa.ArrowException, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._refusal(error) from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[BoundedParquet]:
        with BoundedParquet(self._path, _ROWS) as file:
            if not {"id", "collection", "geometry", "assets"} <= set(file.schema_arrow.names):
                raise ArchiveRefusedError(f"{self._path} has not the columns of STAC GeoParquet.")
            if (crs := _projected_crs(file.schema_arrow)) is not None:
                raise ArchiveRefusedError(
                    f"{self._path} has geometries in {crs}, and those of items are longitudes and latitudes: write it"
                    " in EPSG:4326."
                )
            yield file

    def _refusal(self, error: Exception) -> ArchiveRefusedError:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return ArchiveRefusedError(f"{self._path} cannot be read as STAC GeoParquet: {reason}.")


def _projected_crs(schema: pa.Schema) -> str | None:
    """Return the name of the CRS of GeoParquet's geometries if it is projected."""
    try:
        crs = json.loads((schema.metadata or {})[b"geo"])["columns"]["geometry"]["crs"]
        parsed = parse_crs(json.dumps(crs)) if crs else None
    except (KeyError, ValueError, TypeError, RecursionError):  # longitudes and latitudes, or what no library can say
        return None
    return parsed.name if parsed is not None and parsed.is_projected else None


def _choose(schema: pa.Schema, collection: str, query: ItemQuery) -> ds.Expression:
    """Return the condition of rows that may match, for the columns that the file has."""
    condition = pc.field("collection") == collection
    if query.ids is not None:
        condition &= pc.field("id").isin(list(query.ids))
    kind = schema.field("datetime").type if "datetime" in schema.names else None
    has_spans = "start_datetime" in schema.names
    if kind is not None and pa.types.is_timestamp(kind) and not has_spans:
        moment = pc.field("datetime")
        if query.start is not None:
            condition &= moment.is_null() | (moment >= _scalar(query.start - 1.0, kind))  # times of images are rounded
        if query.end is not None:
            condition &= moment.is_null() | (moment <= _scalar(query.end, kind))
    box = schema.field("bbox").type if "bbox" in schema.names else None
    if query.bounds is not None and box is not None and pa.types.is_struct(box) and set(_BOX) <= {f.name for f in box}:
        west, south, east, north = (pc.field("bbox", name) for name in _BOX)
        # Across the antimeridian, in each way in which boxes are written; the items are looked at afterwards.
        is_across = (west > east) | (west < -180.0) | (east > 180.0) | (east - west > 180.0)
        meets = pc.field("bbox").is_null() | is_across
        for part in split_bounds(query.bounds):
            meets |= (west <= part[2]) & (east >= part[0]) & (south <= part[3]) & (north >= part[1])
        condition &= meets
    return condition


def _without_outlines(batch: pa.RecordBatch) -> pa.Table:
    """Return rows whose assets have no outlines in their own CRS."""
    table, assets = pa.Table.from_batches([batch]), batch["assets"]
    parts = {}
    for asset in assets.type:
        if pa.types.is_null(asset.type):  # no item has it
            continue
        part = pc.struct_field(assets, asset.name)
        if _OUTLINE in {field.name for field in asset.type}:
            kept = [field for field in asset.type if field.name != _OUTLINE]
            columns = [pc.struct_field(part, field.name) for field in kept]
            part = pa.StructArray.from_arrays(columns, fields=kept, mask=part.is_null())
        parts[asset.name] = part
    whole = pa.StructArray.from_arrays(list(parts.values()), list(parts), mask=assets.is_null())
    return _with_boxes(table.set_column(table.schema.get_field_index("assets"), "assets", whole))


def _with_boxes(table: pa.Table) -> pa.Table:
    """Return rows with the boxes of their geometries where there are none: geopandas takes them for an index."""
    if "bbox" in table.column_names:
        return table
    corners = shapely.bounds(shapely.from_wkb(np.array(table["geometry"].to_pylist(), dtype=object))).T
    return table.append_column("bbox", pa.StructArray.from_arrays(list(map(pa.array, corners)), list(_BOX)))


def _scalar(milliseconds: float, kind: pa.DataType) -> pa.Scalar:
    moment = datetime.fromtimestamp(milliseconds / 1000.0, timezone.utc)
    return pa.scalar(moment, pa.timestamp("us", "UTC")).cast(pa.timestamp(kind.unit, kind.tz), safe=False)


def _without_null(value: Any) -> Any:
    """Return JSON without the nulls of objects: a column has a place for what any item has."""
    if isinstance(value, Mapping):
        return {name: _without_null(part) for name, part in value.items() if part is not None}
    return [_without_null(part) for part in value] if isinstance(value, list) else value


def _walk(path: Path) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """Yield the documents of a catalogue, their files, and the ids of the collections that they are in.

    Each reference from a folder is followed once: catalogues that refer to each other have many.
    """
    folder, seen, followed = path.parent, {Path(os.path.realpath(path))}, set[tuple[Path, str]]()
    waiting: list[tuple[Path, str]] = [(path, "")]
    while waiting:
        document, parent = waiting.pop()
        content = _read_document(document)
        parts = content.get("features") if content["type"] == "FeatureCollection" else [content]
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict) or not isinstance(part.get("id"), str) or part.get("type") not in _TYPES[:3]:
                raise ArchiveRefusedError(f"{document} has something that is neither a catalogue nor an item.")
            yield document, part, parent
        inside = str(content["id"]) if content["type"] == "Collection" else parent
        links = content.get("links") if content["type"] in ("Catalog", "Collection") else None
        for link in reversed(links if isinstance(links, list) else []):
            if not (isinstance(link, dict) and link.get("rel") in _LINKS and isinstance(link.get("href"), str)):
                continue
            reference = document.parent, link["href"]
            if reference in followed:
                continue
            if len(followed) >= _DOCUMENTS:
                raise ArchiveRefusedError(f"{path} has more than {_DOCUMENTS:,} documents: write it as GeoParquet.")
            followed.add(reference)
            target = resolve_path(folder, link["href"], document)
            if target not in seen:
                seen.add(target)
                waiting.append((target, inside))


def _read_document(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveRefusedError(f"{path} cannot be read as STAC: it is no file.")
        if status.st_size > _LARGEST:
            raise ArchiveRefusedError(f"{path} has more than {_LARGEST >> 20} MB: write it as GeoParquet.")
        content = path.read_bytes()
        if content.count(b"{") + content.count(b"[") > _CONTAINERS:
            raise ArchiveRefusedError(f"{path} has more than {_CONTAINERS:,} objects: write it as GeoParquet.")
        document = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ArchiveRefusedError(f"{path} cannot be read as STAC: {type(error).__name__}.") from error
    if not isinstance(document, dict) or document.get("type") not in _TYPES:
        raise ArchiveRefusedError(f"{path} is neither a STAC catalogue nor a list of items.")
    return document
