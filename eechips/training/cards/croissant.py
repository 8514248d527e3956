"""Describe a run in Croissant 1.0: croissant.json.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html

Its records are those of the manifest: one for each unit, and one for each file where units have several. Each says
where its file is, with its sha256, so that the files need not be listed one by one. Pictures can be iterated as images.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.files.hashes import hash_file
from eechips.formats import media_type_of, picture_suffixes
from eechips.manifest.export import LAYERS_NAME, PARQUET_NAME
from eechips.manifest.manifest_columns import COLUMNS, FILE_COLUMNS
from eechips.manifest.run import INFO_NAME, Run
from eechips.storage import resolve_inside
from eechips.storage.untrusted_files import read_frame
from eechips.text.formatting import format_json
from eechips.training.cards.summary import Summary
from eechips.training.quality import quality_table
from eechips.training.quality.statistics_passes import STATS_NAME
from eechips.training.splits import split_table

CROISSANT_NAME = "croissant.json"

CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification, 1.0."""

_PARQUET_TYPE = "application/x-parquet"  # the name that mlcroissant reads
_UNKNOWN_FORMAT = "application/octet-stream"
_TABLES = frozenset({"csv", "parquet"})
_ROWS = "rows"
_LICENCES = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
}
_MOST_FOLDERS = 50  # that are named
_TYPES = {int: "sc:Integer", float: "sc:Float", str: "sc:Text"}
_COLUMNS = ("id", "layer", "state", "file", "sha256", "bytes", *(name for name in FILE_COLUMNS if name != "rows"))
"""Columns of the records of chips."""

_UNIT_ONLY = frozenset({"state"})
_LAYER_ONLY = frozenset({"layer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Metadata that the publisher of a dataset provides.

    Attributes:
        creator: who made it; None to leave that out.
        url: where it is published.
        version: as in semantic versioning.
    """

    title: str
    creator: str | None = None
    url: str | None = None
    version: str = "1.0.0"


def croissant(run: Run, summary: Summary, publication: Publication, description: str) -> dict[str, Any]:
    """Return the description of a finished run as Croissant JSON-LD."""
    datasets = summary.info.get("datasets") or []
    licences = [_LICENCES.get(dataset["licence"], dataset["licence"]) for dataset in datasets if dataset.get("licence")]
    citations = [summary.cite(dataset["citation"]) for dataset in datasets if dataset.get("citation")]
    metadata: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": publication.title,
        "description": description,
        "version": publication.version,
        "datePublished": (summary.info.get("finished") or "")[:10],
        "keywords": ["Earth observation", "remote sensing"],
        "license": list(dict.fromkeys(licences)),
        "citeAs": "; ".join(dict.fromkeys(citations)),
        "url": publication.url,
        "creator": publication.creator and {"@type": "sc:Person", "name": publication.creator},
        "isBasedOn": [dataset["source"] for dataset in datasets if dataset.get("source")],
        "distribution": _distribution(run, summary),
        "recordSet": _record_sets(run, summary),
    }
    return {name: value for name, value in metadata.items() if value}


def to_bytes(description: Mapping[str, Any]) -> bytes:
    """Return the JSON file of a description."""
    return (format_json(description, 2) + "\n").encode()


def _distribution(run: Run, summary: Summary) -> list[dict[str, Any]]:
    """Describe the tables, each with its checksum, and the files, by patterns of their names."""
    names = (PARQUET_NAME, LAYERS_NAME, split_table.SPLITS_NAME, quality_table.QUALITY_NAME, STATS_NAME, INFO_NAME)
    distribution = [_file_object(run.path / name, name) for name in names if (run.path / name).is_file()]
    assembled_names = [path.relative_to(run.path).as_posix() for path in run.assembled]
    distribution += [_file_object(run.path / name, name) for name in assembled_names]
    address = run.address
    for suffix in _suffixes(summary) if not assembled_names else ():
        encoding = _encoding_format(suffix)
        about = {"@type": "cr:FileSet", "@id": f"files-{suffix}", "name": f"files-{suffix}"}
        where = _patterns(summary, suffix, f"{address}/" if address else "")
        distribution.append({**about, "description": "The files.", "encodingFormat": encoding, "includes": where})
    return distribution


def _file_object(path: Path, name: str) -> dict[str, Any]:
    resolve_inside(path, path.parent)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": _encoding_format(path.suffix.lstrip(".")),
        "sha256": hash_file(path),
    }


def _patterns(summary: Summary, suffix: str, root: str) -> list[str]:
    """Return the patterns of file names: directly in their folders, and below them."""
    folders = sorted({folder for layer in summary.layers for folder in layer.folders})
    starts = [f"{folder}/" if folder else "" for folder in folders] if len(folders) <= _MOST_FOLDERS else [""]
    return [f"{root}{start}{middle}*.{suffix}" for start in starts for middle in ("", "**/")]


def _suffixes(summary: Summary) -> list[str]:
    return list(dict.fromkeys(suffix for layer in summary.layers for suffix in layer.suffixes if suffix))


def _record_sets(run: Run, summary: Summary) -> list[dict[str, Any]]:
    assembled_tables = [path for path in run.assembled if path.suffix in (".csv", ".parquet")]
    if assembled_tables:
        names = (
            [_ROWS]
            if len(assembled_tables) == 1
            else [f"{_ROWS}-{number}" for number in range(1, len(assembled_tables) + 1)]
        )
        return [
            _rows(name, path, {"fileObject": {"@id": path.relative_to(run.path).as_posix()}})
            for name, path in zip(names, assembled_tables, strict=True)
        ]
    units = _records("units", PARQUET_NAME, _LAYER_ONLY)
    if summary.stratum is not None:
        units.append(_stratum_field(summary))
    record_sets = [
        _record_set("units", "A record for each unit: for each sample, with its first file.", units, ("id",))
    ]
    if (run.path / LAYERS_NAME).is_file():
        files = _records("files", LAYERS_NAME, _UNIT_ONLY)
        record_sets.append(_record_set("files", "A record for each file of each unit.", files, ("id", "layer")))
    if (run.path / split_table.SPLITS_NAME).is_file():
        record_sets.append(_splits())
    return record_sets if run.address else [*record_sets, *_contents(run, summary)]


def _records(name: str, table: str, left_out: Collection[str]) -> list[dict[str, Any]]:
    """Return the fields of a table of the manifest."""
    return [
        _field(
            name,
            column.name,
            _TYPES[column.element_type or column.value_type],
            column.plain_meaning,
            _column(table, column.name),
            repeated=column.element_type is not None,
        )
        for column in map(COLUMNS.__getitem__, _COLUMNS)
        if column.name not in left_out
    ]


def _contents(run: Run, summary: Summary) -> list[dict[str, Any]]:
    """Describe the content of the files, as far as Croissant can: pictures, and tables of one kind."""
    suffixes = _suffixes(summary)
    if len(suffixes) == 1 and suffixes[0] in _TABLES and not (run.path / LAYERS_NAME).is_file():
        first = next((path for path in run.sample_files(1) if path.is_file()), None)
        return [] if first is None else [_rows(_ROWS, first, {"fileSet": {"@id": f"files-{suffixes[0]}"}})]
    return [_images(suffix) for suffix in suffixes if suffix in picture_suffixes()]


def _splits() -> dict[str, Any]:
    name = "splits"
    columns = {
        "id": "Of the unit.",
        "split": "Which part of the data it is for; none: it lies too near to another part.",
        "block": "What was put into one part as a whole.",
    }
    fields = [
        _field(name, column, "sc:Text", text, _column(split_table.SPLITS_NAME, column))
        for column, text in columns.items()
    ]
    return _record_set(name, "The split of each unit.", fields, ("id",))


def _images(suffix: str) -> dict[str, Any]:
    """Return the record set of pictures, whose paths are those of the records of chips."""
    name, files = f"images-{suffix}", {"fileSet": {"@id": f"files-{suffix}"}}
    path = _field(name, "file", "sc:Text", "Path of the file.", {**files, "extract": {"fileProperty": "fullpath"}})
    image = _field(name, "image", "sc:ImageObject", "Its picture.", {**files, "extract": {"fileProperty": "content"}})
    return _record_set(name, "The pictures.", [path, image], ("file",))


def _rows(name: str, path: Path, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record for each row of a table, or of tables like it."""
    fields = [
        _field(name, column, kind, "A column of the table.", {**source, "extract": {"column": column}})
        for column, kind in _kinds(path)
    ]
    return _record_set(name, "A record for each row.", fields, ())


def _kinds(path: Path) -> list[tuple[str, str]]:
    is_text = path.suffix == ".csv"
    frame = read_frame(path, "csv" if is_text else "parquet", rows=None if is_text else 0)
    kinds = {"i": "sc:Integer", "u": "sc:Integer", "f": "sc:Float", "b": "sc:Boolean", "M": "sc:Date"}
    return [(str(column), kinds.get(getattr(frame[column].dtype, "kind", "O"), "sc:Text")) for column in frame.columns]


def _stratum_field(summary: Summary) -> dict[str, Any]:
    """Return the class or the ecoregion, which the manifest has in the text of the unit."""
    assert summary.stratum is not None
    values = [value for value, _ in summary.strata]
    is_text = any(isinstance(value, str) for value in values)
    pattern = '"((?:[^"\\\\]|\\\\.)*)"' if is_text else "(-?[0-9.]+)"
    key = re.escape(json.dumps(summary.stratum, ensure_ascii=False))
    source = {**_column(PARQUET_NAME, "unit"), "transform": {"regex": f".*?{key}:{pattern}"}}
    kind = "sc:Text" if is_text else "sc:Integer" if all(isinstance(v, int) for v in values) else "sc:Float"
    names = ", ".join(
        f"{value} {summary.classes[value]}" for value in dict.fromkeys(values) if value in summary.classes
    )
    text = f"The label of the unit, or the stratum in which it was drawn{f' ({names})' if names else ''}."
    return _field("units", summary.stratum, kind, text, source)


def _column(table: str, column: str) -> dict[str, Any]:
    return {"fileObject": {"@id": table}, "extract": {"column": column}}


def _field(
    records: str, name: str, kind: str, text: str, source: Mapping[str, Any], *, repeated: bool = False
) -> dict[str, Any]:
    identifier = re.sub(r"\s", "_", f"{records}/{name}")  # mlcroissant refuses ids with spaces
    definition = {"@type": "cr:Field", "@id": identifier, "name": name, "description": text, "dataType": kind}
    return {**definition, **({"repeated": True} if repeated else {}), "source": dict(source)}


def _record_set(name: str, text: str, fields: Sequence[Mapping[str, Any]], key: Sequence[str]) -> dict[str, Any]:
    record_set: dict[str, Any] = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": text}
    if key:
        record_set["key"] = [{"@id": f"{name}/{column}"} for column in key]
    return {**record_set, "field": list(fields)}


def _encoding_format(suffix: str) -> str:
    if suffix == "parquet":
        return _PARQUET_TYPE
    return (media_type_of(suffix) or _UNKNOWN_FORMAT).partition(";")[0]
