"""Order the units of an epoch, and note where the readers of a stream are, for whom the files read next are kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eechips.manifest.database import Connection
from eechips.manifest.ledger import Ledger
from eechips.manifest.ledger_queries import read_status_numbers
from eechips.storage import make_folder, write_file
from eechips.storage.untrusted_files import parse_json

FETCH_SEED = "fetch_seed"
"""In the ledger: seed of the order in which the units are fetched; missing if that is the order of the plan."""


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int | None, epoch: int = 0) -> npt.NDArray[np.int64]:
    """Return the order of units in an epoch.

    Args:
        seed: seed of the order; None for the order of the plan, in each epoch.
        epoch: from 0; each has an order of its own. A run fetches its units in the order of epoch 0.

    Returns:
        The number of the unit at each ordinal, int64, (count,), read-only.
    """
    if seed is None:
        order = np.arange(count, dtype=np.int64)
    else:
        order = np.random.default_rng([seed, epoch]).permutation(count).astype(np.int64)
    order.flags.writeable = False
    return order


def planned_positions(database: Connection) -> npt.NDArray[np.int64]:
    """Return the positions of the units of a plan, without those that replace others, int64, (count,)."""
    rows = database.execute("SELECT position FROM units WHERE replaces IS NULL ORDER BY position").fetchall()
    return np.array([position for (position,) in rows], dtype=np.int64)


def plan_digest(database: Connection) -> str:
    """Return what tells a plan from others, and from itself before it was extended: a digest of its units' ids."""
    digest = hashlib.sha256()
    for (identifier,) in database.execute("SELECT id FROM units WHERE replaces IS NULL ORDER BY position"):
        digest.update(identifier)
    return digest.hexdigest()[:16]


PLACES_FOLDER = ".eechips-readers"
"""In the folder of a run: a file for each reader."""

_EPOCH = "stream_epoch"
"""In the ledger: the epoch of a stream whose files have a bound, and the requests before it."""
_NAME = re.compile(r"(\d{1,9})-of-(\d{1,9})\.json")
_MOST = 1 << 53


@dataclass(frozen=True, slots=True)
class ReaderPlace:
    """The place of a reader: it has read the samples before.

    Attributes:
        reader: number of the reader, from 0.
        epoch: number of the epoch, from 0.
        ordinal: number in the order of the epoch of the sample that it reads next.
    """

    reader: int
    readers: int
    epoch: int
    ordinal: int


def note_place(folder: Path, place: ReaderPlace) -> None:
    """Store the place of a reader.

    Raises:
        StorageError: if it cannot be written.
    """
    places = folder / PLACES_FOLDER
    make_folder(places)
    content = json.dumps({"epoch": place.epoch, "ordinal": place.ordinal})
    write_file(places / f"{place.reader}-of-{place.readers}.json", content.encode())


def read_places(folder: Path) -> frozenset[ReaderPlace]:
    """Return the places of the readers of the latest stream: of as many readers as that whose place was stored last.

    Files of another form are passed over: a place only tells what to fetch first.
    """
    places: dict[ReaderPlace, int] = {}
    for path in (folder / PLACES_FOLDER).glob("*-of-*.json"):
        if (named := _NAME.fullmatch(path.name)) is not None:
            stored = path.stat().st_mtime_ns
            place = _parse(path.read_bytes(), int(named[1]), int(named[2]))
            if place is not None:
                places[place] = stored
    if not places:
        return frozenset()
    latest = max(places, key=lambda place: places[place])
    return frozenset(place for place in places if place.readers == latest.readers)


@dataclass(frozen=True, slots=True)
class StreamEpoch:
    """How far the readers of a stream with a bound are in the epoch of the one that is last.

    Attributes:
        epoch: number of the epoch, from 0.
        read: samples that the readers have read, or passed over.
        requests: requests that were sent since it began: also for the first samples of the next one.
    """

    epoch: int
    read: int
    samples: int
    requests: int


def note_epoch(ledger: Ledger, places: Iterable[ReaderPlace]) -> None:
    """Record how many requests were sent when the last reader began an epoch, unless that is recorded."""
    epoch = min(place.epoch for place in places)
    known = ledger.meta().get(_EPOCH)
    if known is None or known["epoch"] != epoch:
        requests = 0 if known is None else read_status_numbers(ledger.database).requests
        ledger.note(_EPOCH, {"epoch": epoch, "requests": requests})


def forget_epoch(ledger: Ledger) -> None:
    """Note that the files of a run have no bound any more."""
    if ledger.meta().get(_EPOCH) is not None:
        ledger.note(_EPOCH, None)


def read_epoch(folder: Path, ledger: Ledger) -> StreamEpoch | None:
    """Return how far the readers of a stream are; None without a bound, or before a sample is read."""
    known, places = ledger.meta().get(_EPOCH), read_places(folder)
    if known is None or not places:
        return None
    count, epoch = len(planned_positions(ledger.database)), int(known["epoch"])
    # The process that fetches looks at the places after the readers: one may be in an epoch that it has not seen.
    read = sum(
        len(range(place.reader, count if place.epoch > epoch else min(place.ordinal, count), place.readers))
        for place in places
        if place.epoch >= epoch
    )
    requests = read_status_numbers(ledger.database).requests - int(known["requests"])
    return StreamEpoch(epoch, read, count, requests)


def _parse(content: bytes, reader: int, readers: int) -> ReaderPlace | None:
    try:
        values = parse_json(content)
        epoch, ordinal = int(values["epoch"]), int(values["ordinal"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    is_valid = reader < readers and 0 <= epoch < _MOST and 0 <= ordinal < _MOST
    return ReaderPlace(reader, readers, epoch, ordinal) if is_valid else None


def count_steps(count: int, seed: int | None, places: Iterable[ReaderPlace]) -> npt.NDArray[np.float64]:
    """Return how many samples will be read before each unit by the reader that reads it next.

    Args:
        count: number of units.
        seed: seed of the order.

    Returns:
        float64, (count,); infinite for units that no reader reads in its epoch or in the next one.
    """
    steps = np.full(count, np.inf)
    for place in places:
        before = 0
        for epoch, first in ((place.epoch, place.ordinal), (place.epoch + 1, place.reader)):
            units = epoch_order(count, seed, epoch)[first :: place.readers]
            steps[units] = np.minimum(steps[units], before + np.arange(len(units)))
            before += len(units)
    return steps
