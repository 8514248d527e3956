"""Read a catalogue's schema file (``_schema.json``): its collections, the partitions of each, and which partitions can
hold a match of a query.

A folder of STAC items in GeoParquet (https://github.com/stac-utils/stac-geoparquet), in partitions whose boxes and
dates ``_schema.json`` lists. Whoever changes it writes new files beside it, then a list of what goes where, then puts
them in place, the schema file last, and removes the list: while it is there, partitions and schema may not belong
together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.assets.asset_errors import InvalidStoreError
from eechips_local.evaluation.asset_model import Bounds, Query
from eechips_local.geometry.longitude_boxes import split_with_seam
from eechips_local.protocol.request_errors import EarthEngineError

SCHEMA = "_schema.json"
"""Name of the schema file."""

PENDING = ".scratch-merge/commit.json"
"""The list of files that are being put in place."""

COLLECTION = "_collection.json"
"""Name of the description of a collection, in the folder of its partitions."""

# Degrees by which a box may be smaller than the geometry in it: items round their numbers.
NEAR = 1e-6

_FORMAT = 1

Stamp = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class CatalogPartitions:
    """The partitions of a collection, side by side; n of them, in the order of their paths.

    Attributes:
        paths: below the catalogue, with ``/``.
        digests: digests of the files, sha256.
        items: how many each has, int64 (n,).
        boxes: around them, west, south, east, north in degrees, west beyond east across the antimeridian; (n, 4).
        starts: when the first begins, in milliseconds since 1970; not a number where none says, (n,).
        ends: when the last ends, likewise.
    """

    paths: tuple[str, ...]
    digests: tuple[str, ...]
    items: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.items.sum())

    @cached_property
    def digest(self) -> str:
        """Of what all of them hold."""
        lines = (f"{path}\0{digest}\n" for path, digest in zip(self.paths, self.digests, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def folder(self) -> str:
        """The folder of the collection's description, below the catalogue."""
        return next(part for part in self.paths[0].split("/") if part.startswith("collection="))

    @property
    def span(self) -> tuple[int, int] | None:
        """Start of the first item and end of the last, in milliseconds; None where unknown."""
        if np.isnan(self.starts).all() or np.isnan(self.ends).all():
            return None
        return int(np.nanmin(self.starts)), int(np.nanmax(self.ends))

    def is_flat(self, position: int) -> bool:
        """Return whether no item of a partition crosses the antimeridian: its box would, or reach around the Earth."""
        west, _, east, _ = self.boxes[position]
        return bool(west <= east and (west > -180.0 or east < 180.0))

    def select(self, query: Query) -> list[int]:
        """Return positions of the partitions that can hold a match of a query."""
        wanted = np.ones(len(self.paths), dtype=bool)
        if query.start is not None:
            wanted &= ~(self.ends < query.start)
        if query.end is not None:
            wanted &= ~(self.starts >= query.end)
        if query.bounds is not None:
            wanted &= meets(self.boxes, query.bounds)
        positions: list[int] = np.flatnonzero(wanted).tolist()
        return positions


@dataclass(frozen=True, slots=True)
class CatalogSchema:
    """Collections and partitions of a catalogue.

    Attributes:
        stamp: modification stamp of the file that says so.
        collections: partitions by the ids of their collections; what is of none is under the catalogue's name.
    """

    stamp: Stamp
    collections: Mapping[str, CatalogPartitions]


def meets(item_boxes: npt.NDArray[np.float64], bounds: Bounds) -> npt.NDArray[np.bool_]:
    """Return whether each box (n, 4) meets bounds. Both may cross the antimeridian; edges belong to them."""
    west, south, east, north = item_boxes.T
    crosses = west > east
    any_of = np.zeros(len(item_boxes), dtype=bool)
    for w, s, e, n in split_with_seam(bounds):
        left, right = west <= e + NEAR, east >= w - NEAR
        any_of |= np.where(crosses, left | right, left & right) & (south <= n + NEAR) & (north >= s - NEAR)
    return any_of


def stamp_of(folder: Path) -> Stamp:
    """Return the version of a schema file, which changes when the file does.

    Raises:
        InvalidStoreError: if there is none.
    """
    try:
        status = (folder / SCHEMA).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidStoreError(
            f"{folder} is not a catalogue, it has no {SCHEMA}: `eechips catalog` and `eechips catalog ingest` make one."
        ) from None
    return status.st_ino, status.st_mtime_ns, status.st_size


def pending(folder: Path) -> Stamp | None:
    """Return the stamp of a change whose files are being put in place, or were when its process was killed.

    None if there is none.
    """
    try:
        status = (folder / PENDING).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def load(folder: Path) -> CatalogSchema:
    """Return the schema of a catalogue.

    Raises:
        InvalidStoreError: if the folder is none, or one that cannot be understood.
    """
    stamp = stamp_of(folder)
    try:
        value = json.loads((folder / SCHEMA).read_bytes())
        if value["format"] != _FORMAT:
            raise InvalidStoreError(f"{folder / SCHEMA} has format {value['format']}, and {_FORMAT} is understood.")
        return CatalogSchema(stamp, _collections(value["partitions"], folder.resolve().name))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidStoreError(f"{folder / SCHEMA} cannot be understood: {error!r}.") from error


def _collections(partitions: Sequence[Mapping[str, Any]], nameless: str) -> dict[str, CatalogPartitions]:
    grouped: dict[str | None, list[Mapping[str, Any]]] = {}
    for partition in partitions:
        grouped.setdefault(partition["collection"], []).append(partition)
    if None in grouped and nameless in grouped:
        raise InvalidStoreError(
            f"The catalogue's folder is called {nameless!r}, as one of its collections, and it has items of no "
            "collection, which would be called so: give the folder another name."
        )
    return {nameless if name is None else name: _partitions(group) for name, group in sorted(
        grouped.items(), key=lambda pair: nameless if pair[0] is None else pair[0]
    )}  # fmt: skip


def _partitions(group: Sequence[Mapping[str, Any]]) -> CatalogPartitions:
    ordered = sorted(group, key=lambda partition: str(partition["path"]))
    return CatalogPartitions(
        paths=tuple(partition["path"] for partition in ordered),
        digests=tuple(partition["sha256"] for partition in ordered),
        items=np.array([partition["items"] for partition in ordered], dtype=np.int64),
        boxes=np.array([partition["bbox"] for partition in ordered], dtype=np.float64),
        starts=_milliseconds([partition["start"] for partition in ordered]),
        ends=_milliseconds([partition["end"] for partition in ordered]),
    )


def _milliseconds(texts: Sequence[str | None]) -> npt.NDArray[np.float64]:
    """Return moments in ISO 8601, UTC, as milliseconds since 1970, rounded down."""
    moments = np.array([None if text is None else text.removesuffix("Z") for text in texts], dtype="datetime64[us]")
    return np.where(np.isnat(moments), np.nan, np.floor(moments.astype(np.int64) / 1000.0))


class DamagedError(EarthEngineError):
    """A partition is missing, or cannot be read (HTTP 500)."""


class ReplacedError(Exception):
    """A file is no longer the one that was looked at before. Never leaves this package."""
