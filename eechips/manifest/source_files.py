"""Read and write sources.parquet, a table of the files of open archives that results show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from eechips.manifest.export import write_table
from eechips.storage.untrusted_files import read_parquet

SOURCES_NAME = "sources.parquet"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of an open archive.

    Attributes:
        source: id of the image that is read from it, as the column ``sources`` of the manifest has it.
        item: id of the STAC item.
        href: address of the file, without a signature.
        bands: bands of the image, which are read from the file.
        etag: version of the file, as its host gave it; "" where it gave none.
    """

    source: str
    item: str
    href: str
    bands: tuple[str, ...]
    etag: str


def files_from_json(answer: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, tuple[SourceFile, ...]]:
    """Return the files by the ids of images, from what a local Earth Engine answers."""
    return {
        source: tuple(
            SourceFile(source, file["item"], file["href"], tuple(file["bands"]), file["version"]) for file in files
        )
        for source, files in answer.items()
    }


def hash_versions(files: Iterable[SourceFile]) -> str | None:
    """Return one version of all files of an image: the SHA-256 of their addresses and ETags.

    None if a file has no ETag, or there is no file.
    """
    pairs = sorted((file.href, file.etag) for file in files)
    if not pairs or not all(etag for _, etag in pairs):
        return None
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def read_source_files(folder: Path) -> list[SourceFile]:
    """Read the sources.parquet of a run; nothing if there is none.

    Raises:
        StorageError: if it is damaged.
    """
    path = folder / SOURCES_NAME
    if not path.is_file():
        return []
    rows = read_parquet(path, [field.name for field in fields(SourceFile)]).to_pylist()
    return [SourceFile(**{**row, "bands": tuple(row["bands"])}) for row in rows]


def write_source_files(folder: Path, files: Sequence[SourceFile]) -> None:
    """Write sources.parquet: a row for each file; raise StorageError if it cannot be written."""
    import pyarrow

    texts = [pyarrow.field(name, pyarrow.string()) for name in ("source", "item", "href")]
    bands = pyarrow.field("bands", pyarrow.list_(pyarrow.string()))
    schema = pyarrow.schema([*texts, bands, pyarrow.field("etag", pyarrow.string())])

    def columns() -> Iterator[list[Any]]:
        yield [list(column) for column in zip(*map(astuple, files), strict=True)]

    write_table(folder / SOURCES_NAME, schema, columns())
