"""Cache the items of a search as Parquet beside the run, without secrets in URLs, so that the same command sends no
request when repeated.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eechips.archive.downloads.assets import is_absolute, select_alternative
from eechips.archive.downloads.document_reader import UnreadDocument
from eechips.archive.downloads.presigned import AssetKey
from eechips.errors import StorageError
from eechips.files.removal import NamedPath, remove, replace
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.geo.untrusted_parquet import BoundedParquet
from eechips.text.formatting import format_duration
from eechips.text.timestamps import present
from eechips.web.redaction import REDACTED
from eechips.web.urls import ALL_PARAMETERS, strip_signature

SEARCH_CACHE_NAME = "items.parquet"
"""File in the folder of the run: a row for each item, then one for each unreadable document."""
_ROWS = 500  # items written at a time
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s]*$")
_ASKED = b"eechips:asked"
_IDENTITY = b"eechips:identity"
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("collection", pa.string()),
        ("datetime", pa.string()),
        ("bbox", pa.list_(pa.float64())),
        ("item", pa.string()),
        ("address", pa.string()),
        ("unread", pa.string()),
        ("signed", pa.list_(pa.string())),
    ]
)


class SearchCache:
    """The items of one search in a Parquet file.

    Columns: id, collection, datetime (as in the item), bbox (degrees: W, S, E, N, or with heights), item (JSON whose
    URLs have no queries), and signed (keys of the assets whose URLs had one). Rows of unreadable documents have null
    there, and the columns ``address`` and ``unread`` with the URL and the reason.

    Args:
        identity: identity of the search; the file of another search is replaced.
        kept: names of query parameters to store; ``*`` for all.
    """

    def __init__(self, path: Path, identity: str, kept: Collection[str] = ()) -> None:
        self.path, self._identity, self._kept = path, identity, kept

    @property
    def asked(self) -> dt.datetime | None:
        """Moment of the search; None if there is no cached result, or its file has no readable end."""
        try:
            metadata = pq.read_schema(self.path).metadata or {}
            if metadata.get(_IDENTITY, b"").decode() != self._identity:
                return None
            return dt.datetime.fromisoformat(metadata[_ASKED].decode())
        except (OSError, pa.ArrowException, ValueError, KeyError):
            return None

    @property
    def age(self) -> str:
        """Age of the result, formatted."""
        asked = self.asked
        if asked is None:
            return ""
        return format_duration(max(0.0, (present() - asked).total_seconds()))

    @property
    def unread(self) -> int:
        """Number of unreadable documents of the catalogue."""
        with self._opened() as file:
            column = file.read(columns=["unread"])["unread"]
        return len(column) - int(column.null_count)

    @property
    def signed(self) -> set[AssetKey]:
        """Assets whose URLs had a query, which is not stored."""
        asset_keys: set[AssetKey] = set()
        with self._opened() as file:
            for batch in file.iter_batches(columns=["collection", "id", "signed"]):
                for row in batch.to_pylist():
                    asset_keys.update((row["collection"], row["id"], key) for key in row["signed"] or ())
        return asset_keys

    def keep(self, items: Iterable[dict[str, Any]], unread: Sequence[UnreadDocument] = ()) -> int:
        """Write the file atomically and return the number of items.

        A result without items is not kept, so that the next command searches again.

        Args:
            items: consumed.
            unread: unreadable documents; read after the items.

        Raises:
            StorageError: if the file cannot be written.
        """
        temporary = self.path.with_name(temporary_name(self.path.name, str(new_writer())))
        metadata = {_IDENTITY: self._identity.encode(), _ASKED: present().isoformat().encode()}
        count = 0
        try:
            schema = _SCHEMA.with_metadata(metadata)
            with pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer:
                rows: list[dict[str, Any]] = []
                for item in items:
                    rows.append(_row(item, self._kept))
                    count += 1
                    if len(rows) == _ROWS:
                        writer.write_table(pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata(metadata))
                        rows = []
                rows += [{"address": document.address, "unread": document.reason} for document in unread]
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata(metadata))
            if count:
                replace(temporary, self.path)
        except OSError as error:
            raise StorageError.of_write(self.path, error) from error
        finally:
            with contextlib.suppress(OSError):
                remove(temporary, NamedPath())
        return count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=["item"]):
                yield from (json.loads(text) for text in batch.column(0).to_pylist() if text is not None)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BoundedParquet]:
        """Open the file to read in the block, and compare the checksums of what is read."""
        try:
            with BoundedParquet(self.path, page_checksum_verification=True) as file:
                yield file
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise StorageError(
                f"{self.path} cannot be read ({type(error).__name__}): remove it, and the same command searches again"
            ) from error


def record_signed_urls(
    items: Iterable[dict[str, Any]], signed: dict[AssetKey, str], prefers: Callable[[str], bool] = lambda href: False
) -> Iterator[dict[str, Any]]:
    """Yield items unchanged, and record http(s) URLs with a query or a password by asset in ``signed``."""
    for item in items:
        for key, asset in item["assets"].items():
            if loses_query(href := select_alternative(asset, prefers)["href"]):
                signed[item.get("collection"), item["id"], key] = href
        yield item


def loses_query(href: str, kept: Collection[str] = ()) -> bool:
    """Return whether the stored form of an http(s) URL differs from the URL."""
    return href.lower().startswith(("http://", "https://")) and strip_signature(href, kept) != href.partition("#")[0]


def append_missing(items: Iterable[dict[str, Any]], before: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield items, then those of an earlier result that are missing among them."""
    seen: set[tuple[str | None, str]] = set()
    for item in items:
        seen.add((item.get("collection"), item["id"]))
        yield item
    yield from (item for item in before if (item.get("collection"), item["id"]) not in seen)


def _row(item: dict[str, Any], kept: Collection[str]) -> dict[str, Any]:
    properties, box = item["properties"], item.get("bbox")
    stored = _bare(item, kept)
    time = properties.get("datetime") or properties.get("start_datetime")
    return {
        "id": item["id"],
        "collection": item.get("collection"),
        "datetime": None if time is None else str(time),
        "bbox": _numbers(box),
        "item": json.dumps(stored, ensure_ascii=False),
        "signed": [key for key, asset in item["assets"].items() if _has_query(asset, kept)],
    }


def _numbers(box: Any) -> list[float] | None:
    """Return the numbers of a box; None if it has none, or others than float64 holds."""
    if not isinstance(box, list) or not all(isinstance(value, (int, float)) for value in box):
        return None
    try:
        return [float(value) for value in box] or None
    except OverflowError:
        return None


def _has_query(asset: Mapping[str, Any], kept: Collection[str]) -> bool:
    """Return whether the stored form of an asset's URL, or of an alternative, differs."""
    others = asset.get("alternate")
    listed = [asset, *(others.values() if isinstance(others, dict) else ())]
    hrefs = [alternative.get("href") for alternative in listed if isinstance(alternative, dict)]
    return any(is_absolute(href) and loses_query(href, kept) for href in hrefs if isinstance(href, str))


def _bare(value: Any, kept: Collection[str], name: str = "") -> Any:
    """Strip the queries of all URLs in a JSON value: of assets, alternatives, links and properties."""
    if ALL_PARAMETERS in kept:
        return value
    if isinstance(value, Mapping):
        if name == "headers":  # of a link: they may contain secrets
            return dict.fromkeys(value, REDACTED)
        return {key: _bare(member, kept, key) for key, member in value.items()}
    if isinstance(value, list):
        return [_bare(member, kept) for member in value]
    is_address = isinstance(value, str) and (name == "href" or _ABSOLUTE.match(value) is not None)
    return _stored(value, kept) if is_address else value


def _stored(address: str, kept: Collection[str]) -> str:
    try:
        return strip_signature(address, kept)
    except ValueError:  # not a URL; its content is unknown
        return ""
