"""Write Parquet: a row for each sample, with its unchanged files in columns by layer.

Columns: id, split, stratum (text), metadata (JSON), and a column for each layer: a struct of ``bytes`` and ``path``,
as Hugging Face's datasets have their images. The schema says which columns are images for them, those of PNG and JPEG.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eechips.errors import UsageError
from eechips.training.cards.huggingface import schema_metadata
from eechips.training.packs.shard_index import FileContent, PackEntry, PackLayout, Shard
from eechips.training.sample import suffix_of

SUFFIX = ".parquet"
IS_DECODED = False
CLOSING = frozenset[str]()

_OWN = ("id", "split", "stratum", "metadata")
_GROUP_BYTES = 16_000_000  # of a row group: what a reader of one sample has to read
_OF_FILE = 2_000  # bytes at most of what is kept around a file: its path, and its share of pages and statistics
_OF_SAMPLE = 3_000


def weight(sizes: Sequence[int], metadata: int) -> int:
    """Return the maximum bytes of a sample."""
    return _OF_SAMPLE + metadata + sum(_OF_FILE + size for size in sizes)


def write(folder: Path, shard: Shard, layout: PackLayout, entries: Iterable[PackEntry]) -> None:
    """Write a shard.

    Raises:
        UsageError: if a layer has the name of another column.
    """
    for layer in layout:
        if layer in _OWN:
            raise UsageError(f"a layer cannot be called {layer} in Parquet: the name is taken by another column")
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([*((name, pa.string()) for name in _OWN), *((layer, image) for layer in layout)])
    columns = dict.fromkeys(_OWN) | {name: layer.suffixes for name, layer in layout.items()}
    schema = schema.with_metadata(schema_metadata(columns))
    texts = [*_OWN, *(f"{layer}.path" for layer in layout)]
    options: dict[str, Any] = {
        # Files are compressed already, no two alike: looking for what repeats in them would be in vain.
        "compression": dict.fromkeys(texts, "zstd") | {f"{layer}.bytes": "none" for layer in layout},
        "use_dictionary": ["split", "stratum"],
        "write_statistics": ["id", "split", "stratum"],
        "write_page_checksum": True,
    }
    with pq.ParquetWriter(folder / f"{shard.stem}{SUFFIX}", schema, **options) as writer:
        for rows in _groups(_row(entry, shard.split, layout) for entry in entries):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def ids(folder: Path, shard: Shard) -> list[str]:
    """Return the ids of the samples in a shard."""
    sample_ids: list[str] = pq.read_table(folder / f"{shard.stem}{SUFFIX}", columns=["id"])["id"].to_pylist()
    return sample_ids


def read(folder: Path, shard: Shard) -> Iterator[PackEntry]:
    """Yield the samples of a shard."""
    with pq.ParquetFile(folder / f"{shard.stem}{SUFFIX}", page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            for row in file.read_row_group(number).to_pylist():
                files = {name: row[name] for name in row if name not in _OWN and row[name] is not None}
                layers = {
                    name: FileContent(suffix_of(content["path"]), content["bytes"]) for name, content in files.items()
                }
                yield PackEntry(row["id"], row["metadata"], layers)


def _row(entry: PackEntry, split: str, layout: PackLayout) -> dict[str, Any]:
    known = entry.parsed_metadata
    row: dict[str, Any] = {"id": entry.id, "split": split, "metadata": entry.metadata}
    row["stratum"] = None if "stratum" not in known else str(known["stratum"])
    for layer, content in entry.layers.items():
        assert isinstance(content, FileContent)
        row[layer] = {"bytes": content.data, "path": known["layers"][layer]["file"]}
    return row


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(value["bytes"]) for value in row.values() if isinstance(value, dict))
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
