"""Complete the message about a missing asset where open archives are served: which other archive has it, or the nearest
ids.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence, Set

from eechips_local.archives.archive_list import ARCHIVES
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.archive_record import ArchiveRecord, list_records

_NEAREST = 3


def archive_hint(asset_id: str, served: Sequence[ArchiveDescription], demo: Set[str], *, is_demo: bool) -> str:
    """Return the sentence that follows Earth Engine's own message about a missing asset.

    Args:
        demo: ids of the datasets of the demo planet.
        is_demo: whether the demo planet is served behind the archives.
    """
    names = ", ".join(archive.name for archive in served)
    records = list_records()
    own = {archive.like or archive.name for archive in served}
    dataset = _dataset_of(asset_id, {record.dataset for record in records} | demo)
    if dataset is None:
        near = _nearest(asset_id, sorted({record.dataset for record in records}))
        nearest = f"; the nearest ids of datasets are {', '.join(near)}" if near else ""
        return f"No known archive has {asset_id}{nearest}."
    if any(record.dataset == dataset and record.archive in own and record.kind != "refused" for record in records):
        index = asset_id.removeprefix(dataset).strip("/")
        return f"No item of {names} has the system:index {index!r} in {dataset}."
    others = [record for record in records if record.dataset == dataset and record.archive not in own]
    alike = sorted({record.dataset for record in records if record.dataset.startswith(f"{dataset}_")})
    said = [f"{names} does not have {dataset}.", _elsewhere(dataset, others, demo, is_demo=is_demo)]
    return " ".join([*said, f"Archives have {', '.join(alike)}."] if alike else said)


def _elsewhere(dataset: str, others: Sequence[ArchiveRecord], demo: Set[str], *, is_demo: bool) -> str:
    having = {record.archive for record in others if record.kind != "refused"}
    archive_options = " or ".join(f"--archive {archive.name}" for archive in ARCHIVES if archive.name in having)
    instead = next((record for record in others if record.instead), None)
    said = [f"Served with {archive_options}."] if archive_options else ["No known archive has it."]
    if instead is not None and not archive_options:
        said.append(f"Another product is served as {instead.instead} with --archive {instead.archive}.")
    if dataset in demo and not is_demo:
        said.append("The demo planet (--demo) has a synthetic one.")
    return " ".join(said)


def _dataset_of(asset_id: str, known: Set[str]) -> str | None:
    """Return the dataset that an asset is, or is an image of."""
    parent = asset_id.rpartition("/")[0]
    return next((candidate for candidate in (asset_id, parent) if candidate in known), None)


def _nearest(asset_id: str, datasets: Sequence[str]) -> list[str]:
    """Return the ids that begin like one, and those that are most like it."""
    alike = difflib.get_close_matches(asset_id, datasets, _NEAREST, cutoff=0.6)
    return list(dict.fromkeys([*(dataset for dataset in datasets if dataset.startswith(asset_id)), *alike]))[:_NEAREST]
