"""Read items from STAC GeoParquet: one file, a pattern, or a folder, local or remote."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eechips.archive.catalogs.ingestion.list_readers import geometry_column
from eechips.archive.catalogs.partitions.columns import items_of
from eechips.archive.downloads.criteria import Search
from eechips.archive.downloads.document_reader import DocumentReader, describe_error, is_of_store, is_web, open_remote
from eechips.errors import ConfigurationError, EechipsError, PermanentError
from eechips.web.urls import display_url, local_path

_SUFFIXES = (".parquet", ".geoparquet")
_ROWS = 1000  # rows read at a time
_BUFFER = 1 << 18  # minimum bytes of a range request

_UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, AssertionError)
"""Errors for columns that are missing, or have other types than items need."""


def is_table(address: str) -> bool:
    """Return whether a URL looks like Parquet: a file, a pattern, or a folder."""
    path = urlsplit(address).path.lower()
    folder = local_path(address)
    if folder is not None:
        return path.endswith(_SUFFIXES) or folder.is_dir()
    return path.endswith(_SUFFIXES) or (path.endswith("/") and not urlsplit(address).scheme.startswith("http"))


def table_items(search: Search, reader: DocumentReader) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the items of Parquet files with the URL of their file, in the order of files and rows.

    In a folder, files below names that begin with ``_`` or ``.`` are skipped, and those of other collections
    (``collection=…``, as Hive names folders). Rows outside the region or of other collections are skipped where columns
    tell; the search filters the others.

    Raises:
        ConfigurationError: if a file is not STAC GeoParquet.
        PermanentError: if there is no such file; with status 404.
        TransientError: if a host stops responding.
    """
    for address in _files(search.stac):
        if not _may_be_of(address, search):
            continue
        try:
            for batch in _batches(address, search, reader):
                for item in items_of(pa.Table.from_batches([batch])):
                    yield item, address
        except FileNotFoundError:
            raise PermanentError(f"there is no file {display_url(address)}", status=404) from None
        except EechipsError:
            raise
        except Exception as error:
            if not isinstance(error, (pa.ArrowException, *_UNREADABLE)) and not is_of_store(error):
                raise
            # Not chained: the messages of other packages contain URLs.
            raise ConfigurationError(
                f"{display_url(address)} cannot be read as STAC GeoParquet: {describe_error(error)}"
            ) from None


def _files(address: str) -> list[str]:
    """Return the files of a URL in the order of their names."""
    path = local_path(address)
    if path is None and not address.endswith("/") and not any(sign in urlsplit(address).path for sign in "*["):
        return [address]
    if path is not None and path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and not _is_hidden(p, path))
        names = [str(file) for file in files]
    elif path is not None and not any(sign in str(path) for sign in "*?["):
        return [str(path)]
    else:
        names = _listed(address)
    if not names:
        raise PermanentError(f"{display_url(address)} has no STAC GeoParquet files", status=404)
    return names


def _listed(address: str) -> list[str]:
    """List the files of a pattern or folder by fsspec."""
    try:
        files, path = fsspec.url_to_fs(address)
        paths = files.find(path) if address.endswith("/") else files.glob(path)
    except Exception as error:
        if not isinstance(error, (ImportError, ValueError)) and not is_of_store(error):
            raise
        raise ConfigurationError(f"{display_url(address)} cannot be listed: {describe_error(error)}") from None
    names = [name for name in sorted(paths) if name.lower().endswith(_SUFFIXES)]
    root = Path(path.rstrip("/"))
    names = [name for name in names if not address.endswith("/") or not _is_hidden(name, root)]
    return names if local_path(address) is not None else [files.unstrip_protocol(name) for name in names]


def _is_hidden(path: Path | str, root: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in Path(path).relative_to(root).parts)


def _may_be_of(address: str, search: Search) -> bool:
    """Return whether a file may have items of the requested collections, by the names of its folders."""
    named = [part.partition("=")[2] for part in urlsplit(address).path.split("/") if part.startswith("collection=")]
    return not search.collections or not named or unquote(named[-1]) in search.collections


def _batches(address: str, search: Search, reader: DocumentReader) -> Iterator[pa.RecordBatch]:
    from eechips.geo.untrusted_parquet import BoundedParquet

    source: Any = io.BufferedReader(reader.open(address), _BUFFER) if is_web(address) else _opened(address)
    with source, BoundedParquet(source, _ROWS) as file:
        geometry = geometry_column(file, display_url(address))
        if geometry is None:
            raise ConfigurationError(f"{display_url(address)} is not STAC GeoParquet: it has no column of geometries")
        columns = ["geometry" if name == geometry else name for name in file.schema_arrow.names]
        telling = [name for name in ("bbox", "collection") if name in file.schema_arrow.names]
        groups = [group for group in range(file.num_row_groups) if file.metadata.row_group(group).num_rows]
        for group in groups:
            rows = file.iter_batches(_ROWS, row_groups=[group], columns=telling)
            wanted = np.concatenate([_wanted(pa.Table.from_batches([batch]), search) for batch in rows])
            if not wanted.any():
                continue
            first = 0
            for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group]):
                yield batch.filter(pa.array(wanted[first : first + len(batch)])).rename_columns(columns)
                first += len(batch)


def _opened(address: str) -> Any:
    path = local_path(address)
    return open_remote(address) if path is None else path.open("rb")


def _wanted(table: pa.Table, search: Search) -> npt.NDArray[np.bool_]:
    """Return the rows that may match, shape (n,)."""
    wanted: npt.NDArray[np.bool_] = np.ones(len(table), dtype=bool)
    if search.collections and "collection" in table.column_names:
        names = table["collection"].cast(pa.string())
        wanted &= pc.is_in(names, pa.array(search.collections)).to_numpy()
    if search.region is None or "bbox" not in table.column_names or not pa.types.is_struct(table["bbox"].type):
        return wanted
    west, south, east, north = search.region.bounds
    xmin, ymin, xmax, ymax = (
        pc.struct_field(table["bbox"], name).to_numpy() for name in ("xmin", "ymin", "xmax", "ymax")
    )
    across = (xmin > xmax) & ((xmin <= east) | (xmax >= west))
    is_beyond = (xmin < -180) | (xmax > 180) | (xmax - xmin > 180)  # its outline may be one across the antimeridian
    meets = ((xmin <= east) & (xmax >= west)) | across | is_beyond
    # A row without a box may match anywhere.
    wanted &= (meets & (ymin <= north) & (ymax >= south)) | np.isnan(xmin.astype(float))
    return wanted
