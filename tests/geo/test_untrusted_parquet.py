"""Parquet files of some kilobytes that become gigabytes are refused before they are decoded; others are read alike."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from eechips.archive.catalogs.ingestion.ingest import ingest
from eechips.errors import ConfigurationError, StorageError, ValidationError
from eechips.formats import parquet
from eechips.formats.chip_format import Expectation
from eechips.geo import untrusted_parquet
from eechips.geo.untrusted_parquet import BoundedParquet
from eechips.geo.untrusted_vectors import read_layer
from eechips.geo.vector_formats import RefusedFileError
from eechips.storage.untrusted_files import read_frame, read_parquet
from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ItemQuery
from eechips_local.archives.items.file_items import ParquetItems
from eechips_local.assets.vectors import untrusted_parquet as local_untrusted_parquet
from local_tests.support.function_server import Answer, serve_function
from local_tests.support.parameters import slow_except
from tests.support.stac_search import feature, search

MIB = 1 << 20
ROWS = 40


@pytest.fixture
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits, so that a test needs no gigabytes to exceed them."""
    for module in (untrusted_parquet, local_untrusted_parquet):
        monkeypatch.setattr(module, "_MOST", 16 * MIB)
        monkeypatch.setattr(module, "_LEAST_WHOLE", 16 * MIB)


def repeated(count: int = ROWS, length: int = MIB // 2) -> pa.Array:
    """Return one long text, which many numbers repeat."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["x" * length]))


def listed(values: pa.Array) -> pa.Array:
    """Return values as the only row of a column of lists."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def written(column: pa.Array, **options: Any) -> bytes:
    file = io.BytesIO()
    options = {"compression": "zstd", "compression_level": 12, "dictionary_pagesize_limit": 1 << 30, **options}
    pq.write_table(pa.table({"note": column}), file, **options)
    return file.getvalue()


def understated() -> bytes:
    """Return a page whose size the footer states as one byte."""
    data = written(pa.array(["y" * (20 * MIB)]), use_dictionary=False)
    size = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).total_uncompressed_size
    varint, rest = bytearray(), size << 1
    while rest:
        varint.append(rest & 127 | 128)
        rest >>= 7
    varint[-1] &= 127
    small = bytes([2 | 128, *[128] * (len(varint) - 2), 0])  # the same number of bytes
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert data.count(bytes(varint), start) >= 1
    changed = data[:start] + data[start:].replace(bytes(varint), small)
    assert pq.read_metadata(io.BytesIO(changed)).row_group(0).column(0).total_uncompressed_size == 1
    return changed


BOMBS: dict[str, Callable[[], bytes]] = {
    "a page": lambda: written(pa.array(["y" * (20 * MIB)]), use_dictionary=False),
    "pages": lambda: written(pa.array(["y" * (MIB // 2)] * ROWS), use_dictionary=False, data_page_size=1),
    "pages of the second version": lambda: written(
        pa.array(["y" * (20 * MIB)]), use_dictionary=False, data_page_version="2.0"
    ),
    "a dictionary": lambda: written(repeated()),
    "a dictionary of lists": lambda: written(listed(repeated())),
    "a large dictionary": lambda: written(repeated(1, 20 * MIB), compression="brotli", compression_level=5),
    "values that repeat the one before": lambda: written(
        pa.array(["y" * (MIB // 2)] * ROWS), use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"
    ),
    "a list of numbers": lambda: written(listed(pa.array(np.zeros(2 * MIB)))),
    "a footer that understates": understated,
}


@pytest.mark.usefixtures("_small_limits")
@pytest.mark.parametrize("bomb", slow_except(BOMBS, *list(BOMBS)[::3]))
def test_a_small_file_that_becomes_large_is_refused_before_it_is_decoded(bomb: str, tmp_path: Path) -> None:
    data = BOMBS[bomb]()
    assert len(data) < 1 << 18
    path = tmp_path / "manifest.parquet"
    path.write_bytes(data)
    before = pa.total_allocated_bytes()
    with BoundedParquet(path) as file, pytest.raises(pa.ArrowInvalid, match="can become"):
        next(file.iter_batches())
    assert pa.total_allocated_bytes() - before < MIB
    for read in (
        read_parquet,
        lambda path: read_frame(path, "parquet"),
        lambda path: read_frame(path, "parquet", rows=1),
    ):
        with pytest.raises(StorageError, match=r"is damaged: .* can become"):
            read(path)
    with pytest.raises(ValidationError, match="can become"):
        parquet.validate(data, Expectation())


@pytest.mark.usefixtures("_small_limits")
def test_rows_that_are_many_only_together_are_refused() -> None:
    """Each batch is small, and their sum is not."""
    data = written(pa.array(["z" * 4096] * 12_500))
    with BoundedParquet(io.BytesIO(data), 100) as file:
        assert sum(len(batch) for batch in file.iter_batches()) == 12_500
        with pytest.raises(pa.ArrowInvalid, match="can become"):
            file.read()


HONEST: dict[str, dict[str, Any]] = {
    "as usual": {},
    "pages of the second version": {"data_page_version": "2.0"},
    "without dictionaries": {"use_dictionary": False},
    "gzip": {"compression": "gzip"},
    "lz4": {"compression": "lz4"},
    "brotli": {"compression": "brotli"},
    "uncompressed": {"compression": "none"},
    "small row groups": {"row_group_size": 7},
    "small pages": {"data_page_size": 100},
    "checksums": {"write_page_checksum": True},
    "repeated prefixes": {"use_dictionary": False, "column_encoding": {"id": "DELTA_BYTE_ARRAY"}},
}


@pytest.mark.parametrize("options", slow_except(HONEST, *list(HONEST)[::3]))
def test_other_files_are_read_as_pyarrow_reads_them(options: str, tmp_path: Path) -> None:
    rng, count = np.random.default_rng(3), 3000
    table = pa.table({
        "id": [f"S2_{number}" for number in range(count)],
        "geometry": [None if number % 7 == 0 else rng.bytes(number % 97) for number in range(count)],
        "fixed": pa.array([rng.bytes(16) for _ in range(count)], pa.binary(16)),
        "shape": [[float(number)] * (number % 4) for number in range(count)],
        "links": [[{"href": f"https://host/{number}", "rel": "self"}] * (number % 3) for number in range(count)],
        "bbox": [{"xmin": 0.0, "ymin": number / 7} for number in range(count)],
        "flag": [number % 5 == 0 for number in range(count)],
    })  # fmt: skip
    path = tmp_path / "table.parquet"
    pq.write_table(table, path, **HONEST[options])
    expected = pq.read_table(path)
    with BoundedParquet(path, 1000) as file:
        assert file.read().equals(expected)
        assert file.read(["links", "id"]).equals(expected.select(["links", "id"]))
        assert pa.Table.from_batches(file.iter_batches(500)).equals(expected)
        assert (
            file.read_row_group(0, ["flag"])
            .column(0)
            .equals(expected["flag"].slice(0, file.metadata.row_group(0).num_rows))
        )
    with BoundedParquet(io.BytesIO(path.read_bytes())) as file:
        assert file.read().equals(expected)


REPEATED: dict[str, Callable[[], pa.Array]] = {
    "extensions of items": lambda: pa.array([["https://host/a.json", "https://host/b.json"]] * 500_000),
    "lists of constants": lambda: pa.array([[0.0] * 4] * 500_000),
    "long texts": lambda: pa.array([chr(97 + number % 20) * 26_000 for number in range(5000)]),
    "texts with common beginnings": lambda: pa.array([f"S2A_MSIL2A_2019_{number:09}" for number in range(5000)]),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "is_delta"), [*((name, False) for name in REPEATED), ("texts with common beginnings", True)]
)
def test_values_that_repeat_are_no_bomb(column: str, is_delta: bool) -> None:
    values = REPEATED[column]()
    options = {"use_dictionary": False, "column_encoding": {"value": "DELTA_BYTE_ARRAY"}} if is_delta else {}
    buffer = io.BytesIO()
    pq.write_table(pa.table({"value": values}), buffer, **options)
    with BoundedParquet(buffer, 1000) as file:
        assert file.read()["value"].combine_chunks().equals(values)


def test_a_file_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.int64())})
    pq.write_table(table, tmp_path / "none.parquet")
    with BoundedParquet(tmp_path / "none.parquet") as file:
        assert file.read(["b"]).equals(table.select(["b"]))


def items(count: int, note: pa.Array) -> bytes:
    """Return STAC GeoParquet with one more column."""
    from stac_geoparquet.arrow import parse_stac_items_to_arrow

    found = [{**feature(f"i{number}"), "collection": "c"} for number in range(count)]
    table = pa.Table.from_batches(list(parse_stac_items_to_arrow(found)))
    file = io.BytesIO()
    options = {"compression": "zstd", "compression_level": 12, "dictionary_pagesize_limit": 1 << 30}
    pq.write_table(table.append_column("note", note), file, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.usefixtures("_small_limits")
def test_items_of_a_server_are_read_within_bounds(tmp_path: Path) -> None:
    pytest.importorskip("stac_geoparquet")
    bomb, honest = items(ROWS, repeated()), items(ROWS, repeated(length=5))
    assert len(bomb) < 1 << 15

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        data = bomb if "bomb" in path else honest
        first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"}, part

    with serve_function(answer) as url:
        assert len(search(f"{url}/honest.parquet").ids) == ROWS
        with pytest.raises(ConfigurationError, match="can become"):
            search(f"{url}/bomb.parquet")
    (tmp_path / "bomb.parquet").write_bytes(bomb)
    with pytest.raises(ConfigurationError, match="can become"):
        ingest(str(tmp_path / "bomb.parquet"), tmp_path / "catalog")


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.usefixtures("_small_limits")
def test_items_of_a_local_archive_are_read_within_bounds(tmp_path: Path) -> None:
    pytest.importorskip("stac_geoparquet")
    for name, length in (("honest", 5), ("bomb", 4 * MIB)):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(items(ROWS, repeated(length=length)))
        found = ParquetItems(path).items("c", ItemQuery())
        if name == "honest":
            assert len(list(found)) == ROWS
        else:
            with pytest.raises(ArchiveRefusedError, match="can become"):
                list(found)


@pytest.mark.slow
def test_a_region_of_others_is_read_within_bounds(tmp_path: Path) -> None:
    """The reader's process refused it at 2 GiB only, which came back to the caller as well."""
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": {"encoding": "WKB", "geometry_types": []}}}
    table = pa.table(
        {
            "note": pa.DictionaryArray.from_arrays(np.zeros(ROWS, np.int8), ["y" * (32 * MIB)]),
            "g": pa.array([shapely.to_wkb(shapely.box(0, 0, 1, 1))] * ROWS),
        }
    )
    path = tmp_path / "region.parquet"
    table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30)
    with pytest.raises(RefusedFileError, match="can become"):
        read_layer(path, tmp_path)


@pytest.mark.parametrize("mask", [1, 0x55])
def test_a_damaged_footer_ends_no_process(mask: int) -> None:
    """Accessors of pyarrow's metadata abort where the counts of a column contradict each other."""
    buffer = io.BytesIO()
    table = pa.table({"id": [f"S2_{number}" for number in range(50)], "shape": [[1.0, None]] * 50})
    pq.write_table(table, buffer)
    whole, outcomes = buffer.getvalue(), set[str]()
    footer = int.from_bytes(whole[-8:-4], "little")
    for place in range(len(whole) - 8 - footer, len(whole) - 8):
        damaged = bytearray(whole)
        damaged[place] ^= mask
        try:
            with BoundedParquet(io.BytesIO(damaged)) as file:
                file.read()
            outcomes.add("read")
        except (pa.ArrowException, OSError, ValueError) as error:
            outcomes.add("refused" if str(error) else "")
    assert outcomes == {"read", "refused"}
