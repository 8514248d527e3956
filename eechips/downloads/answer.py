"""A catalogue's answer, kept as Parquet beside the run: whoever runs the same command again asks nobody."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eechips.downloads.address import bare
from eechips.downloads.reader import Unread
from eechips.errors import StorageError
from eechips.human import human_time
from eechips.staging import new_writer, temporary_name

ANSWER_NAME = "items.parquet"
"""In the folder of the run: a row per item, and then one for each thing that could not be read."""
_ROWS = 500  # items that are written at a time
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


class Answer:
    """The items of one search, in a file.

    Columns: id, collection, datetime (as the item has it), bbox (degrees: W, S, E, N, or with heights), the whole item
    as JSON, its addresses without signatures, and the keys of the assets whose addresses had some. In rows of what
    could not be read these are null, and ``address`` and ``unread`` say what it was, and why.

    Args:
        path: of the file.
        identity: of the search; the answer to another one is replaced.
        now: the present moment, aware.
    """

    def __init__(
        self, path: Path, identity: str, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc)
    ) -> None:
        self.path, self._identity, self._now = path, identity, now

    @property
    def asked(self) -> dt.datetime | None:
        """When the catalogue was asked; None if the answer is not there."""
        try:
            found = pq.read_schema(self.path).metadata or {}
        except (FileNotFoundError, pa.ArrowInvalid):
            return None
        if found.get(_IDENTITY, b"").decode() != self._identity:
            return None
        return dt.datetime.fromisoformat(found[_ASKED].decode())

    @property
    def age(self) -> str:
        """How old it is, in words."""
        asked = self.asked
        return "" if asked is None else human_time(max(0.0, (self._now() - asked).total_seconds()))

    @property
    def unread(self) -> int:
        """How much the catalogue has named that could not be read."""
        column = pq.read_table(self.path, columns=["unread"])["unread"]
        return len(column) - int(column.null_count)

    @property
    def signed(self) -> set[str]:
        """Addresses, as they are without signatures, that the catalogue has given signed."""
        found: set[str] = set()
        with pq.ParquetFile(self.path) as file:
            if "signed" not in file.schema_arrow.names:  # of an earlier version
                return found
            if not any(file.read(columns=["signed"])["signed"].to_pylist()):
                return found  # without a look at the items, which are large
            for batch in file.iter_batches(batch_size=_ROWS, columns=["item", "signed"]):
                for text, keys in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    found.update(json.loads(text)["assets"][key]["href"] for key in keys or ())
        return found

    def keep(self, items: Iterable[dict[str, Any]], unread: Sequence[Unread] = ()) -> int:
        """Writes the file, whole or not at all; returns how many items it has.

        An answer without items is not kept: whoever asks again shall ask the catalogue.

        Args:
            items: consumed.
            unread: looked at after that.

        Raises:
            StorageError: if it cannot be written.
        """
        temporary = self.path.with_name(temporary_name(self.path.name, str(new_writer())))
        metadata = {_IDENTITY: self._identity.encode(), _ASKED: self._now().isoformat().encode()}
        count = 0
        try:
            with pq.ParquetWriter(temporary, _SCHEMA.with_metadata(metadata), compression="zstd") as writer:
                rows: list[dict[str, Any]] = []
                for item in items:
                    rows.append(_row(item))
                    count += 1
                    if len(rows) == _ROWS:
                        writer.write_table(pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata(metadata))
                        rows = []
                rows += [{"address": each.address, "unread": each.reason} for each in unread]
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata(metadata))
            if count:
                temporary.replace(self.path)
        except OSError as error:
            raise StorageError(f"could not write {self.path}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=["item"]):
                yield from (json.loads(text) for text in batch.column(0).to_pylist() if text is not None)


def noting(found: Iterable[dict[str, Any]], signed: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The same items; addresses with a signature are noted by what they are without, since that alone is kept."""
    for item in found:
        for asset in item["assets"].values():
            if (plain := bare(asset["href"])) != asset["href"]:
                signed[plain] = asset["href"]
        yield item


def with_others(found: Iterable[dict[str, Any]], before: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Items, and then those of another list that are not among them."""
    seen: set[tuple[str | None, str]] = set()
    for item in found:
        seen.add((item.get("collection"), item["id"]))
        yield item
    yield from (item for item in before if (item.get("collection"), item["id"]) not in seen)


def _row(item: dict[str, Any]) -> dict[str, Any]:
    properties, box = item["properties"], item.get("bbox")
    is_box = isinstance(box, list) and all(isinstance(value, (int, float)) for value in box)
    return {
        "id": item["id"],
        "collection": item.get("collection"),
        "datetime": _text(properties.get("datetime") or properties.get("start_datetime")),
        "bbox": [float(value) for value in box] if is_box and box else None,
        "item": json.dumps(_bare(item), ensure_ascii=False),
        "signed": [key for key, asset in item["assets"].items() if bare(asset["href"]) != asset["href"]],
    }


def _bare(value: Any) -> Any:
    """JSON whose addresses have no signatures, wherever they stand: in assets, their alternatives, links."""
    if isinstance(value, dict):
        return {
            name: _unsigned(each) if name == "href" and isinstance(each, str) else _bare(each)
            for name, each in value.items()
        }
    return [_bare(each) for each in value] if isinstance(value, list) else value


def _unsigned(address: str) -> str:
    try:
        return bare(address)
    except ValueError:  # it is no address; what is in it nobody knows
        return ""


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
