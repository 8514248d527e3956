"""Note what a run takes from open archives: terms and differences of datasets, and the files of its images
(``sources.parquet``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.engine.service.served_archives import ServedArchives
from eechips.errors import ConfigurationError, EechipsError
from eechips.manifest.data_source import DataSource
from eechips.manifest.source_files import SOURCES_NAME, SourceFile, read_source_files, write_source_files
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_bands, read_sources
from eechips.recipe import Recipe, SupportsImages, unit_value
from eechips.text.timestamps import format_utc

ARCHIVES = "archives"
"""In the ledger: the open archives of a run, with their datasets."""

_UNITS = 50  # in one request for their images
_IMAGES = 20  # in one request: the versions of files that were not read yet take one request to the archive each
_log = logging.getLogger(__name__)


def archive_note(source: DataSource) -> str:
    """Return the sentence that says where the pixels are from."""
    return f"The pixels are those of {source.describe()}, not of Earth Engine: run.json says what differs."


def served_note(archives: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence that says from where a local Earth Engine that others have started may have its pixels."""
    names = tuple(str(archive["name"]) for archive in archives)
    source = DataSource(archives=names).describe()
    return (
        f"The pixels of datasets that run.json names are those of {source}, not of Earth Engine: it says what differs."
    )


def with_archive_terms(
    datasets: Sequence[Mapping[str, Any]], archives: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return datasets as run.json has them, with the terms of the archives that serve them.

    Args:
        datasets: with the terms of Earth Engine's catalogue.
        archives: as a local Earth Engine describes them; the first that has a dataset serves it.
    """
    served = {dataset["id"]: (archive, dataset) for archive in reversed(archives) for dataset in archive["datasets"]}
    return [
        _with_terms(dataset, *served[dataset["id"]]) if dataset["id"] in served else dataset for dataset in datasets
    ]


def _with_terms(dataset: Mapping[str, Any], archive: Mapping[str, Any], there: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        **dataset,
        "title": dataset.get("title") or there["title"],
        "archive": archive["name"],
        "collection": there["collection"],
        "licence": there["licence"] or dataset.get("licence"),
        "citation": there["citation"] or dataset.get("citation"),
        "differs": " ".join(there["differences"]) or None,
    }


def note_source_files(ledger: Ledger, server: ServedArchives, recipe: Recipe, folder: Path, *, all_bands: bool) -> None:
    """Add the files of images that results show to sources.parquet; those fetched since it was written replace theirs.

    Args:
        recipe: is asked for the images of results that do not name them.
        all_bands: list the files of all bands, since masks read others than those of the results.

    Raises:
        StorageError: if sources.parquet is damaged, or cannot be written.
    """
    known = read_source_files(folder)
    listed = {file.source for file in known}
    shown = {source for source, _ in read_sources(ledger.database)}
    since = _written(folder)
    changed = {source for source, _ in read_sources(ledger.database, since)}
    named_bands: tuple[str, ...] = read_bands(ledger.database)
    if isinstance(recipe, SupportsImages):  # the bands of tables are their columns
        images, named_bands = _list_images(recipe, ledger, since)
        changed |= images
    wanted = iter(sorted((shown - listed) | changed))
    bands: tuple[str, ...] = () if all_bands else named_bands
    new_files: list[SourceFile] = []
    while batch := list(islice(wanted, _IMAGES)):
        try:
            files = _list_files(server, batch, bands)
            if bands and not set(bands) <= {band for file in files for band in file.bands}:
                bands = ()  # results have indices, or bands by other names
                files = _list_files(server, batch, bands)
        except (OSError, ValueError, ConfigurationError) as error:  # the results are there, and shall be exported
            _log.warning("cannot ask the local Earth Engine for the files of %s and others: %s", batch[0], error)
            continue
        new_files += files
    if new_files:
        replaced = {file.source for file in new_files}
        write_source_files(folder, [*(file for file in known if file.source not in replaced), *new_files])


def _list_images(recipe: SupportsImages, ledger: Ledger, since: str) -> tuple[set[str], tuple[str, ...]]:
    """Return ids and bands of the images of which results are made that were fetched at or after a moment."""
    import ee

    images: set[str] = set()
    bands: dict[str, None] = {}
    rows = ledger.rows(("unit", "state", "coalesce(finished, '')"))
    units = (unit for unit, state, finished in rows if state in ("done", "empty") and finished >= since)
    while batch := list(islice(units, _UNITS)):
        per_unit = [recipe.unit_images(unit_value(json.loads(unit))) for unit in batch]
        collections = [unit_images for unit_images in per_unit if unit_images is not None]
        names = ee.List([collection.images.aggregate_array("system:index") for collection in collections])
        try:
            names_per_unit: Any = names.getInfo()
        except (EechipsError, ee.EEException, OSError) as error:  # the results are there, and shall be exported
            _log.warning("cannot ask the local Earth Engine for the images of %d results: %s", len(batch), error)
            continue
        for collection, unit_names in zip(collections, names_per_unit, strict=True):
            images.update(f"{collection.dataset}/{name}" for name in unit_names)
            bands.update(dict.fromkeys(collection.bands))
    return images, tuple(bands)


def _list_files(server: ServedArchives, images: Sequence[str], bands: Sequence[str]) -> list[SourceFile]:
    return [file for files in server.files(images, bands).values() for file in files]


def _written(folder: Path) -> str:
    """Return when sources.parquet was written, as the ledger has times; "" if it was not."""
    path = folder / SOURCES_NAME
    return format_utc(path.stat().st_mtime * 1000.0) if path.is_file() else ""
