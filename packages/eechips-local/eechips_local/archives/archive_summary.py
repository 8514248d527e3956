"""Describe an open archive and its datasets, for people and for records of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips_local.archives.archive_list import ARCHIVES
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.archive_record import ArchiveRecord, list_records


def describe_archive(archive: ArchiveDescription, records: Mapping[str, ArchiveRecord]) -> dict[str, Any]:
    """Return name, title and address of an archive, and its datasets as JSON.

    Args:
        records: records of its datasets, by their ids.
    """
    return {
        "name": archive.name,
        "title": archive.title,
        "api": archive.api or archive.index,
        "datasets": [describe_record(record) for record in records.values() if record.kind != "refused"],
    }


def describe_dataset(dataset: str) -> list[dict[str, Any]]:
    """Return how the known archives have a dataset, as JSON: its terms and differences, or why it is refused."""
    records = [record for archive in ARCHIVES for record in list_records(archive.name) if record.dataset == dataset]
    return [
        {
            **describe_record(archive_record),
            "archive": archive_record.archive,
            "reason": archive_record.reason,
            "instead": archive_record.instead,
        }
        for archive_record in records
    ]


def describe_record(record: ArchiveRecord) -> dict[str, Any]:
    """Return a dataset of an archive: its ids, terms, and what differs from Earth Engine's pixels, as JSON."""
    return {
        "id": record.dataset,
        "title": record.title,
        "collection": record.collection,
        "licence": record.licence,
        "citation": record.citation,
        "differences": list(record.differences),
        "bands": [band.name for band in record.bands],
    }
