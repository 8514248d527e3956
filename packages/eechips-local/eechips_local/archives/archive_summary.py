"""Describe an open archive and its datasets, for people and for records of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_list import ARCHIVES
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.archive_opening import open_archive
from eechips_local.archives.archive_record import ArchiveRecord, list_records
from eechips_local.archives.named_archive import ArchiveChoiceError


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


def describe_dataset(dataset: str, archive: ArchiveDescription | None = None) -> list[dict[str, Any]]:
    """Return how archives have a dataset, as JSON: its terms and differences, or why it is refused.

    Args:
        dataset: Earth Engine's id.
        archive: the one to describe; all that are known by default. One without records is asked for its collections.

    Raises:
        ArchiveChoiceError: if it does not say what it has.
    """
    try:
        if archive is None:
            records = [record for known in ARCHIVES for record in list_records(known.name)]
        else:
            records = list(open_archive(archive).records.values())
    except (ArchiveError, ArchiveRefusedError) as error:
        raise ArchiveChoiceError(str(error)) from error
    return [
        {
            **describe_record(archive_record),
            "archive": archive_record.archive,
            "reason": archive_record.reason,
            "instead": archive_record.instead,
        }
        for archive_record in records
        if archive_record.dataset == dataset
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
