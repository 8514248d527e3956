"""Read and write the schema file of a catalogue, ``_schema.json``: layout, partitions, statistics and columns; refuse
another version of its format.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from eechips.archive.catalogs.extents import Extent, union_of
from eechips.archive.catalogs.partitions.commit import SCHEMA_NAME
from eechips.archive.catalogs.partitions.layout import Layout, fields
from eechips.errors import StorageError, UsageError
from eechips.storage import LocalStore
from eechips.storage.untrusted_files import parse_json
from eechips.text.timestamps import parse_timestamp

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Partition:
    """A file of items.

    Attributes:
        path: below the catalogue, with forward slashes.
        collection: id; None if its items have none.
        cell: cell of the layout's grid, or ``global``.
        items: number of items; each is in one partition only.
        bytes: size of the file.
        sha256: SHA-256 digest of the file, hexadecimal.
        extent: box around all items.
        start: start of the first item, ISO 8601, UTC; None if unknown.
        end: end of the last item.
        updated: update time of the newest item; None if unknown.
    """

    path: str
    collection: str | None
    cell: str
    items: int
    bytes: int
    sha256: str
    extent: Extent
    start: str | None
    end: str | None
    updated: str | None

    def __post_init__(self) -> None:
        """Validate a schema file from elsewhere.

        Raises:
            UsageError: if the path is not that of a partition: other files must not be read or removed.
            ValueError, TypeError: if another value is impossible.
        """
        fields(self.path)
        for moment in (self.start, self.end, self.updated):
            if moment is not None and parse_timestamp(moment) is None:
                raise ValueError(f"{moment!r} is not a timestamp")
        for text in (self.cell, self.sha256, self.collection or ""):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is not a string")
        if min(self.items, self.bytes) < 0 or not all(map(math.isfinite, self.extent.bbox)):
            raise ValueError(f"{self.path} has {self.items} items in {self.bytes} bytes at {self.extent.bbox}")

    @property
    def mission(self) -> str | None:
        """Mission of the items, from the path of a catalogue by mission; None if they have none."""
        mission_name = fields(self.path).get("mission")
        return None if mission_name is None or self.path.startswith("mission=none/") else str(mission_name)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value, with ``bbox`` as in GeoJSON instead of ``extent``."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "extent"}
        return values | {"bbox": self.extent.bbox}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Partition:
        """Read the value that ``to_json`` returned."""
        return cls(extent=Extent(*value["bbox"]), **{name: part for name, part in value.items() if name != "bbox"})


@dataclass(frozen=True, slots=True)
class Schema:
    """Content of the schema file.

    Attributes:
        layout: layout of the catalogue.
        partitions: by path.
        columns: Arrow's names of the columns' types, for each collection (by id, "" for none).
        suspects: partitions that were unreadable during a merge, and may hold older versions of its items.
    """

    layout: Layout
    partitions: Mapping[str, Partition] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    suspects: frozenset[str] = frozenset()

    @property
    def statistics(self) -> dict[str, Any]:
        """Items, partitions, cells, bytes, bbox, start and end, of all partitions and of each collection."""
        names = sorted({partition.collection or "" for partition in self.partitions.values()})
        return {
            **_totals(self.partitions.values()),
            "collections": {
                name: _totals(p for p in self.partitions.values() if (p.collection or "") == name) for name in names
            },
        }

    def dumps(self) -> bytes:
        """Return the content of the schema file; equal for equal catalogues."""
        value = {
            "format": FORMAT,
            **self.layout.to_json(),
            "statistics": self.statistics,
            "columns": self.columns,
            "suspects": sorted(self.suspects),
            "partitions": [self.partitions[path].to_json() for path in sorted(self.partitions)],
        }
        return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def load(cls, folder: Path) -> Schema:
        """Read the schema of a catalogue.

        Raises:
            UsageError: if the folder is not a catalogue, has another version, or its schema file is a link out of it or
                not a regular file.
            StorageError: if the schema file cannot be read.
        """
        try:
            return cls.loads(LocalStore(folder).read(SCHEMA_NAME), str(folder))
        except FileNotFoundError:
            raise UsageError(f"{folder} is not a catalogue: it has no {SCHEMA_NAME}") from None
        except OSError as error:
            raise StorageError(f"{folder / SCHEMA_NAME} cannot be read: {error}") from error

    @classmethod
    def loads(cls, content: bytes, home: str) -> Schema:
        """Parse the content that ``dumps`` returned.

        Raises:
            UsageError: if it has another version.
            StorageError: if it is malformed.
        """
        path = f"{home}/{SCHEMA_NAME}"
        try:
            value = parse_json(content)
            if value["format"] != FORMAT:
                raise UsageError(f"{path} has format {value['format']}, but this version of eechips writes {FORMAT}")
            partitions = [Partition.from_json(partition) for partition in value["partitions"]]
            by_path = {partition.path: partition for partition in partitions}
            columns = {
                str(name): {str(k): str(v) for k, v in column_types.items()}
                for name, column_types in value["columns"].items()
            }
            return cls(Layout.from_json(value), by_path, columns, frozenset(map(str, value["suspects"])))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, json.JSONDecodeError) else repr(error)
            raise StorageError(f"{path} cannot be read, it is not the schema file of a catalogue: {reason}") from error


def iso(microseconds: int) -> str:
    """Format microseconds since 1970 as ISO 8601, UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    text = datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest).isoformat()
    return text.replace("+00:00", "Z")


def _totals(partitions: Iterable[Partition]) -> dict[str, Any]:
    all_partitions = list(partitions)
    starts = [partition.start for partition in all_partitions if partition.start is not None]
    ends = [partition.end for partition in all_partitions if partition.end is not None]
    return {
        "items": sum(partition.items for partition in all_partitions),
        "partitions": len(all_partitions),
        "cells": len({partition.cell for partition in all_partitions}),
        "bytes": sum(partition.bytes for partition in all_partitions),
        "bbox": union_of([partition.extent for partition in all_partitions]).bbox if all_partitions else None,
        "start": min(starts, default=None),
        "end": max(ends, default=None),
    }
