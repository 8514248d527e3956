"""Describe an open archive and its datasets, for people and for records of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.archive_record import ArchiveRecord


def describe_archive(archive: ArchiveDescription, records: Mapping[str, ArchiveRecord]) -> dict[str, Any]:
    """Return name, title and address of an archive, and its datasets as JSON.

    Args:
        archive: the archive.
        records: of its datasets, by their ids.
    """
    return {
        "name": archive.name,
        "title": archive.title,
        "api": archive.api,
        "datasets": [describe_record(record) for record in records.values() if record.kind != "refused"],
    }


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
