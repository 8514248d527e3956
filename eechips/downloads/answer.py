"""A catalogue's answer, kept as Parquet beside the run: whoever runs the same command again asks nobody."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eechips.downloads.address import bare
from eechips.errors import StorageError
from eechips.human import human_time
from eechips.storage import temporary_name

ANSWER_NAME = "items.parquet"
"""In the folder of the run: a row per item."""
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
    ]
)


class Answer:
    """The items of one search, in a file.

    Columns: id, collection, datetime (as the item has it), bbox (degrees: W, S, E, N, or with heights), and the whole
    item as JSON, its addresses without signatures.

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

    def keep(self, items: Iterable[dict[str, Any]]) -> int:
        """Writes the file, whole or not at all; returns how many items it has.

        Raises:
            StorageError: if it cannot be written.
        """
        temporary = self.path.with_name(temporary_name(self.path.name, f"a{os.getpid()}"))
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
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata(metadata))
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
                yield from (json.loads(text) for text in batch.column(0).to_pylist())


def _row(item: dict[str, Any]) -> dict[str, Any]:
    assets = {key: {**asset, "href": bare(asset["href"])} for key, asset in item["assets"].items()}
    properties = item.get("properties") or {}
    return {
        "id": str(item["id"]),
        "collection": item.get("collection"),
        "datetime": properties.get("datetime") or properties.get("start_datetime"),
        "bbox": [float(value) for value in item.get("bbox") or ()],
        "item": json.dumps({**item, "assets": assets}, ensure_ascii=False),
    }
