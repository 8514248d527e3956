"""Order the units of an epoch, and note where the readers of a stream are, for whom the files read next are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eechips.manifest.folder_lock import lock_file
from eechips.manifest.sqlite.database import Connection
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_status_numbers
from eechips.storage import make_folder, write_file
from eechips.storage.untrusted_files import parse_json, read_json

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


def planned_ids(database: Connection, end: int) -> dict[int, bytes]:
    """Return the ids of the units of a plan up to a position, without those that replace others, by position."""
    query = "SELECT position, id FROM units WHERE replaces IS NULL AND position < ? ORDER BY position"
    return dict(database.execute(query, (end,)).fetchall())


def last_ids(database: Connection, ids: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the ids of the units that replace planned ones at last, by position of the planned unit."""
    rows = database.execute("SELECT replaces, position, id FROM units WHERE replaces IS NOT NULL")
    replacements = {replaced: (position, identifier) for replaced, position, identifier in rows}
    last = dict(ids)
    for planned in ids:
        position = planned
        while position in replacements:
            position, last[planned] = replacements[position]
    return last


PLACES_FOLDER = ".eechips-readers"
"""In the folder of a run: a file for each reader, and one with the plans of the latest epochs."""

_EPOCH = "stream_epoch"
"""In the ledger: the epoch of a stream whose files have a bound, and the requests before it."""
_NAME = re.compile(r"(\d{1,9})-of-(\d{1,9})\.json")
_MOST = 1 << 53
_EPOCHS = 4  # whose plans are kept: readers are an epoch apart at most, and several streams may read a run


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
    """Store the place of a reader; raise StorageError if it cannot be written."""
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
class EpochPlan:
    """The units of an epoch for all of its readers, also if the run is extended while they begin.

    Attributes:
        readers: number of readers of all processes.
        epoch: number of the epoch, from 0.
        seed: seed of its order.
        split: split of its units; None for all.
        end: position of the plan before which its units are.
        digest: SHA-256 of its units' ids: tells the plan from others, and from itself before it was extended.
    """

    readers: int
    epoch: int
    seed: int | None
    split: str | None
    end: int = 0
    digest: str = ""

    def is_of(self, other: EpochPlan) -> bool:
        """Return whether both are plans of the same epoch of a stream."""
        return replace(self, end=other.end, digest=other.digest) == other


def share_plan(folder: Path, reader: int, own: EpochPlan, digest: str | None = None) -> EpochPlan:
    """Return the plan of an epoch that its first reader stored; store ``own`` for the others if this one is the first.

    A reader that has begun the epoch before begins it again, with a plan for all others that follow.

    Args:
        reader: number of the reader.
        digest: digest of the plan in which a reader resumes.

    Raises:
        StorageError: if it cannot be stored.
    """
    path = _plans_path(folder, own.readers)
    make_folder(path.parent)
    with lock_file(path.with_suffix(".lock")):
        plans = _read_plans(path, own.readers)
        plan = next((plan for plan in plans if plan.is_of(own)), None)
        if plan is None or (reader in plans[plan] and plan.digest != digest):
            plan = own
            plans = {own: set(), **{other: begun for other, begun in plans.items() if not other.is_of(own)}}
        plans[plan].add(reader)
        stored = [{**asdict(plan), "begun": sorted(begun)} for plan, begun in plans.items()]
        write_file(path, json.dumps(stored[:_EPOCHS]).encode())
    return plan


def read_plan(folder: Path, own: EpochPlan) -> EpochPlan | None:
    """Return the plan of an epoch that its readers share; None if none has stored it."""
    plans = _read_plans(_plans_path(folder, own.readers), own.readers)
    return next((plan for plan in plans if plan.is_of(own)), None)


def _plans_path(folder: Path, readers: int) -> Path:
    return folder / PLACES_FOLDER / f"plans-of-{readers}.json"


def _read_plans(path: Path, readers: int) -> dict[EpochPlan, set[int]]:
    """Return the plans of epochs, the latest first, and the readers that have begun each; none of another form."""
    try:
        return {
            EpochPlan(readers, int(p["epoch"]), p["seed"], p["split"], int(p["end"]), str(p["digest"])): set(p["begun"])
            for p in read_json(path, path.parent)
        }
    except (FileNotFoundError, ValueError, TypeError, KeyError, OverflowError):
        return {}


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
