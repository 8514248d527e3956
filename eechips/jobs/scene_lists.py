"""Scenes of lists: files of items, or of their addresses, in all formats that ``eechips catalog ingest`` reads."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from eechips.catalogs.lists import FORMATS, MAGIC, Entry, List, chunks, find
from eechips.downloads.address import display_url, local_path
from eechips.downloads.document_reader import DocumentReader, UnreadDocument, is_web
from eechips.downloads.static_catalog import joined
from eechips.errors import PermanentError
from eechips.objects.concurrency import parallel_map
from eechips.removal import temporary_folder

_AT_ONCE = 8  # addresses that are asked for
_DOCUMENTS = ("json", "geojson")
"""Formats of lists that are those of catalogues as well."""
_HEAD = 1 << 20  # bytes of a file by which its lines are told from one document


def is_list(address: str) -> bool:
    """Whether an address is that of a list, and not of a catalogue, collection, item or STAC GeoParquet.

    Args:
        address: path, or address.
    """
    known = _known(address)
    if known.format not in FORMATS:
        return False
    path = local_path(address)
    if known.format == "parquet":
        return path is not None and path.is_file() and not _has_items(path)
    if known.format not in _DOCUMENTS or known.compression is not None:
        return True
    return path is not None and path.is_file() and _is_of_lines(path)


def listed_items(address: str, reader: DocumentReader) -> Iterator[tuple[Any, str]]:
    """The items of a list, with the address that those of their assets are relative to.

    What cannot be read is noted in ``reader.unread``.

    Args:
        address: of the list.
        reader: of lists and items of the web.

    Raises:
        UsageError, ConfigurationError: if there is no such list, or it cannot be read.
        PermanentError, TransientError: if its host refuses, or does not answer.
    """
    with _found(address, reader) as lists:
        entries = chain.from_iterable(chunks(lists, None))
        for found in parallel_map(lambda entry: _item(entry, address, reader), entries, _AT_ONCE):
            if found is not None:
                yield found


@contextlib.contextmanager
def _found(address: str, reader: DocumentReader) -> Iterator[list[List]]:
    """The lists of an address; one of the web is copied, since it may have to be opened."""
    if not is_web(address):
        path = local_path(address)
        yield find([address if path is None else str(path)])
        return
    with temporary_folder() as folder:
        content, known = reader.content(address), _known(address)
        # A server may say of what is compressed that it is so for its way: then it is no more.
        is_compressed = known.compression is not None and content.startswith(MAGIC[known.compression])
        copy = Path(folder) / f"list.{known.format}{f'.{known.compression}' if is_compressed else ''}"
        copy.write_bytes(content)
        yield [List(str(copy), copy.stat().st_size, "", is_foreign=True, label=display_url(address))]


def _item(entry: Entry, home: str, reader: DocumentReader) -> tuple[Any, str] | None:
    if entry.item is not None:
        try:
            return json.loads(entry.item), home
        except ValueError as error:
            reader.unread.append(UnreadDocument(entry.place, f"it is no JSON: {error}"))
            return None
    try:
        place = joined(home, entry.address or "")
        if is_web(home) and local_path(place) is not None:
            reader.unread.append(UnreadDocument(entry.place, "a list of the web leads to no files of this machine"))
            return None
        return reader.read(place), place
    except (PermanentError, ValueError) as error:
        reader.unread.append(UnreadDocument(entry.place, str(error)))
        return None


def _known(address: str) -> List:
    return List(address, None, "")


def _has_items(path: Path) -> bool:
    """Whether a file of Parquet is STAC GeoParquet; what it is that is none, its reader tells."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return "assets" in pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return True


def _is_of_lines(path: Path) -> bool:
    """Whether a file has a JSON object in each of its first two lines."""
    with path.open("rb") as file:
        lines = [line for line in file.read(_HEAD).splitlines()[:8] if line.strip()][:2]
    try:
        return len(lines) == 2 and all(isinstance(json.loads(line.decode("utf-8-sig")), dict) for line in lines)
    except ValueError:
        return False
