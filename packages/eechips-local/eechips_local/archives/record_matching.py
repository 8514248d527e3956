"""Find the dataset records that hold for an archive which is not known: by its collections and their assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from eechips_local.archives.archive_list import ARCHIVES
from eechips_local.archives.archive_model import ItemQuery, ItemSearch
from eechips_local.archives.archive_record import ArchiveRecord, list_records

_MOST_LOOKED_AT = 3  # items of a collection that does not name its assets


def fitting_records(search: ItemSearch, archive: str) -> dict[str, ArchiveRecord]:
    """Return the records that hold for an archive, by their datasets.

    A record of a known archive holds if there is a collection of its id with assets of its bands; of several for a
    dataset the one counts of whose bands most are there, of such the first in the order of the known archives.

    Args:
        search: search of the archive's items.

    Raises:
        ArchiveError: if the archive does not answer.
    """
    collections = search.collections()
    keys: dict[str, frozenset[str]] = {}
    best_records: dict[str, tuple[int, ArchiveRecord]] = {}
    for known in ARCHIVES:
        for record in list_records(known.name):
            parts = [part for part in record.parts if part.collection in collections]
            for part in parts:
                if part.collection not in keys:
                    keys[part.collection] = _asset_keys(search, part.collection, collections[part.collection])
            fitting = [part for part in parts if _count(part, keys[part.collection])]
            if not fitting:
                continue
            count = max(_count(part, keys[part.collection]) for part in fitting)
            if count > best_records.get(record.dataset, (0, record))[0]:
                best_records[record.dataset] = count, _chained(fitting, archive)
    return {
        dataset: record
        for dataset, (_, record) in sorted(best_records.items(), key=lambda named_record: named_record[0])
    }


def _chained(parts: list[ArchiveRecord], archive: str) -> ArchiveRecord:
    """Return the first of some records, with the others as its fallbacks."""
    fallback = _chained(parts[1:], archive) if parts[1:] else None
    return replace(parts[0], archive=archive, fallback=fallback)


def _count(record: ArchiveRecord, keys: frozenset[str]) -> int:
    return sum(band.asset in keys for band in record.bands)


def _asset_keys(search: ItemSearch, name: str, collection: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of the assets that items of a collection have, as it or its first items tell."""
    declared = collection.get("item_assets")
    if declared:
        return frozenset(declared)
    items = islice(search.items(name, ItemQuery(limit=_MOST_LOOKED_AT)), _MOST_LOOKED_AT)
    return frozenset(key for item in items for key in item["assets"])
