"""Write metadata for Hugging Face: the head of a card, column types in a Parquet schema, a table of a folder of images.

A run's folder becomes a data set by the ``configs`` of its README.md
(https://huggingface.co/docs/hub/datasets-manual-configuration) and a table for each split, which names the pictures of
each sample (https://huggingface.co/docs/datasets/image_dataset, "ImageFolder").
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eechips.formats import picture_suffixes
from eechips.manifest.export import type_of_values
from eechips.manifest.manifest_columns import COLUMNS
from eechips.storage import LocalStore
from eechips.storage.untrusted_files import has_metadata
from eechips.training.cards.croissant import Publication
from eechips.training.cards.summary import Summary
from eechips.training.sample import Sample, SampleFile
from eechips.training.sample_reader import Samples
from eechips.training.splits import split_table

_TEXT: Mapping[str, Any] = {"dtype": "string", "_type": "Value"}
_WHOLE = "train"
"""Name of the only split in ``datasets``."""
_STEM = "metadata"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MOST = "1M<n<10M"
_SPDX = {"CC-BY-4.0": "cc-by-4.0", "CC0-1.0": "cc0-1.0"}
_MARK = b"eechips"
_OURS = ("id", "state", "stratum", "valid_fraction", "sources", "dates", "crs", "transform", "image", "images")


def schema_metadata(columns: Mapping[str, Iterable[str] | None]) -> dict[str, str]:
    """Metadata of an Arrow schema that tell ``datasets`` which structs of ``bytes`` and ``path`` are images.

    Args:
        columns: suffixes of the files of each column; None for a column of text.
    """
    file = {"bytes": {"dtype": "binary", "_type": "Value"}, "path": _TEXT}
    features = {
        name: _TEXT if suffixes is None else {"_type": "Image"} if picture_suffixes().issuperset(suffixes) else file
        for name, suffixes in columns.items()
    }
    return {"huggingface": json.dumps({"info": {"features": features}})}


def tables(samples: Samples) -> dict[str, bytes]:
    """Return a table of Parquet for each split, by its name in the folder of the run.

    Columns: ``file_name`` or ``<layer>_file_name`` for pictures, which ``datasets`` shows as images, ``file`` or
    ``<layer>_file`` for other files; ``times`` or ``<layer>_times`` of the frames of a time series, null for a missing
    image; id, state, stratum, valid_fraction, sources, dates, crs, transform, and the unit's own values.

    Raises:
        UsageError: if some samples have no split: ``datasets`` would read them as training samples.
    """
    files = list(dict.fromkeys(_column_of(samples, file) for sample in samples for file in sample.files))
    rows: dict[str, list[dict[str, Any]]] = {}
    times = list(dict.fromkeys(name for sample in samples for name in _times(sample)))
    own = _own_columns(samples, (*files, *times))
    for sample, split in zip(samples, samples.assigned_splits(), strict=True):
        if split != split_table.NONE:
            rows.setdefault(split, []).append(_row(samples, sample, own))
    schema = pa.schema(
        [
            *((name, pa.string()) for name in files),
            *((name, COLUMNS[name].arrow) for name in ("id", "state")),
            ("stratum", pa.string()),
            *((name, COLUMNS[name].arrow) for name in ("valid_fraction", "sources", "dates")),
            *((name, pa.list_(pa.string())) for name in times),
            *((name, COLUMNS[name].arrow) for name in ("crs", "transform")),
            *own.items(),
        ],
        {_MARK: b"card"},
    )
    tables_by_name: dict[str, bytes] = {}
    for split, listed in sorted(rows.items(), key=lambda split_rows: (split_rows[0] != _WHOLE, split_rows[0])):
        name = _table_name(split)
        while name in tables_by_name:
            name = name.replace(".parquet", "_.parquet")
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(listed, schema), sink, compression="zstd")
        tables_by_name[name] = sink.getvalue()
    return tables_by_name


def front_matter(summary: Summary, publication: Publication, loading: Sequence[str]) -> str:
    """Return the metadata at the head of a card (https://huggingface.co/docs/hub/datasets-cards).

    Args:
        loading: lines of :func:`configs`.
    """
    licences = {dataset.get("licence") for dataset in summary.info.get("datasets") or ()}
    licence = _SPDX.get(next(iter(licences)) or "", "other") if len(licences) == 1 else "other"
    size = next((name for limit, name in _SIZES if summary.samples < limit), _MOST)
    tags = ["earth-observation", "remote-sensing", *(["synthetic"] if summary.is_synthetic else [])]
    lines = [f"pretty_name: {json.dumps(publication.title, ensure_ascii=False)}", f"license: {licence}"]
    lines += [f"size_categories: [{size}]", f"tags: [{', '.join(tags)}]", *loading]
    return "\n".join(["---", *lines, "---"])


def is_table(path: Path) -> bool:
    """Return whether a file is a table that :func:`tables` has made."""
    return has_metadata(path, _MARK)


def configs(samples: Samples, names: Iterable[str]) -> list[str]:
    """Return lines of YAML that describe the files for ``datasets``."""
    names = list(names)
    suffixes = sorted({file.suffix for sample in samples for file in sample.files if _is_image(samples, file)})
    lines = ["configs:", "- config_name: default", "  data_files:"]
    for name in names:
        paths = [name, *(f"**/*.{suffix}" for suffix in suffixes)]
        lines += [f"  - split: {_split_of(name)}", "    path:", *(f"    - {json.dumps(path)}" for path in paths)]
    if suffixes:
        lines += ["  drop_labels: true"]
    if suffixes and names != [f"{_STEM}.parquet"]:
        lines += ["  metadata_filenames:", *(f"  - {json.dumps(name)}" for name in names)]
    return lines


def _table_name(split: str) -> str:
    """Return the name of the table of a split; ``all`` is that of a run that was not split."""
    return (
        f"{_STEM}.parquet" if split == split_table.WHOLE else f"{_STEM}-{re.sub(r'[^A-Za-z0-9_]', '_', split)}.parquet"
    )


def _split_of(name: str) -> str:
    return name.removeprefix(_STEM).removesuffix(".parquet").removeprefix("-") or _WHOLE


def _is_image(samples: Samples, file: SampleFile) -> bool:
    """Return whether ``datasets`` can show a file: a picture below the folder of the run."""
    return file.suffix in picture_suffixes() and isinstance(samples.store, LocalStore)


def _column_of(samples: Samples, file: SampleFile) -> str:
    end = "file_name" if _is_image(samples, file) else "file"
    return f"{file.layer}_{end}" if file.layer else end


def _times(sample: Sample) -> dict[str, list[str | None]]:
    """Return the time of the image of each frame, by column; None for missing images."""
    frame_times: dict[str, list[str | None]] = {}
    for file in sample.files:
        for frame_file in file.each_frame():
            if frame_file.frame is not None:
                name = f"{file.series}_times" if file.series else "times"
                frame_times.setdefault(name, []).append(next(iter(frame_file.dates), None))
    return frame_times


def _own_columns(samples: Samples, taken: Iterable[str]) -> dict[str, pa.DataType]:
    """Return the units' own values that are flat, and their types: text where they differ."""
    kinds: dict[str, set[type]] = {}
    for sample in samples:
        for name, value in sample.fields.items():
            if value is not None:
                kinds.setdefault(name, set()).add(type(value))
    others = {*_OURS, *taken, *(name.removesuffix("_file_name") for name in taken)}
    # `datasets` takes columns that end like this for names of files.
    return {
        name: type_of_values(types)
        for name, types in kinds.items()
        if name not in others and not name.endswith(("file_name", "file_names"))
    }


def _row(samples: Samples, sample: Sample, own: Mapping[str, pa.DataType]) -> dict[str, Any]:
    row: dict[str, Any] = {_column_of(samples, file): file.name for file in sample.files}
    row |= {"id": sample.id, "state": sample.state, "valid_fraction": sample.valid_fraction}
    row |= {"stratum": None if sample.stratum is None else str(sample.stratum)}
    row |= {"sources": list(sample.sources), "dates": list(sample.dates), **_times(sample)}
    place = next((file for file in sample.files if file.crs is not None and file.transform is not None), None)
    if place is not None and place.transform is not None:
        row |= {"crs": place.crs, "transform": list(place.transform)}
    fields = sample.fields
    for name, kind in own.items():
        value = fields.get(name)
        row[name] = str(value) if value is not None and pa.types.is_string(kind) else value
    return row
