"""Lists of items and of addresses, in every format."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stac_geoparquet.arrow import to_parquet

from eechips.catalogs.columns import table_of
from eechips.catalogs.lists import chunks, find
from eechips.errors import ConfigurationError, UsageError
from tests.catalog_items import item

ITEMS = [item(f"{n}", (n, 0, n + 1, 1), text="ä,\t\"'") for n in range(3)]
URLS = [f"https://example.org/{n}.json" for n in range(3)]


def write(path: Path) -> None:
    """ITEMS, or URLS if the name says so, in the format of the path's suffix."""
    values: list[Any] = URLS if "urls" in path.name else ITEMS
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    suffix = path.name.partition(".")[2]
    if suffix in ("ndjson", "txt", "jsonl"):
        path.write_text("\n\n".join(lines) + "\n")
    elif suffix == "ndjson.gz":
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    elif suffix == "ndjson.bz2":
        path.write_bytes(bz2.compress("\n".join(map(json.dumps, values)).encode()))
    elif suffix == "json":
        path.write_text(
            json.dumps(values if "urls" in path.name else {"type": "FeatureCollection", "features": values})
        )
    elif suffix in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8-sig" if "bom" in path.name else "utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
            if "bare" not in path.name:
                writer.writerow(["n", "URL", "x"])
            writer.writerows([line] if "bare" in path.name else [n, line, ""] for n, line in enumerate(lines))
    elif "stac" in path.name:
        to_parquet(table_of(ITEMS), path)
    else:
        pq.write_table(pa.table({"n": range(3), "href": lines}), path)


OF_ITEMS = ["a.ndjson", "a.jsonl", "a.ndjson.gz", "a.json", "a.csv", "a.tsv", "bom.csv", "stac.parquet", "text.parquet"]
OF_URLS = ["ndjson", "txt", "ndjson.bz2", "json", "csv", "tsv", "parquet"]


@pytest.mark.parametrize("name", [*OF_ITEMS, "bare_urls.csv", *(f"urls.{suffix}" for suffix in OF_URLS)])
def test_formats(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    (found,) = chunks(find([str(tmp_path / name)]), None)
    if "urls" in name:
        assert [entry.address for entry in found] == URLS
        assert all(entry.item is None for entry in found)
    else:
        values = [json.loads(entry.item or b"") for entry in found]
        assert [value["id"] for value in values] == ["0", "1", "2"]
        assert [value["properties"]["text"] for value in values] == [ITEMS[0]["properties"]["text"]] * 3
    assert all(entry.place.startswith(f"{tmp_path / name}:") for entry in found)
    assert len({entry.place for entry in found}) == 3


def test_patterns_and_chunks(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.ndjson"):
        (tmp_path / name).write_text("\n".join(f"https://{name}/{n}" for n in range(1500)))
    lists = find([str(tmp_path / "*.txt"), str(tmp_path / "c.ndjson"), str(tmp_path / "a.txt")])
    assert [Path(known.address).name for known in lists] == ["a.txt", "b.txt", "c.ndjson"]
    found = list(chunks(lists, None))
    assert [len(chunk) for chunk in found] == [2000, 2000, 500]
    assert found == list(chunks(lists, None))
    large = "x" * 1_000_000
    (tmp_path / "large.ndjson").write_text("\n".join(json.dumps({"n": n, "x": large}) for n in range(70)))
    assert [len(chunk) for chunk in chunks(find([str(tmp_path / "large.ndjson")]), None)] == [32, 32, 6]


def test_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": URLS, "b": [None, "", URLS[0]]}), tmp_path / "x.parquet")
    lists = find([str(tmp_path / "x.parquet")])
    assert [entry.address for entry in next(chunks(lists, "a"))] == URLS
    assert [entry.address for entry in next(chunks(lists, "b"))] == URLS[:1]
    with pytest.raises(UsageError, match="no column 'c': there are a, b"):
        list(chunks(lists, "c"))
    with pytest.raises(UsageError, match=r"no column of addresses \(url, href, "):
        list(chunks(lists, None))


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"")
    with pytest.raises(UsageError, match="must end in one of csv, tsv"):
        find([str(tmp_path / "x.tif")])
    with pytest.raises(UsageError, match="there is no list"):
        find([str(tmp_path / "*.csv")])
    with pytest.raises(UsageError, match="there is no list"):
        find([str(tmp_path / "x.csv")])
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        find(["nosuch://bucket/x.csv"])
    for name, content in (
        ("x.parquet", b"PAR1"),
        ("x.ndjson.gz", b"no gzip"),
        ("x.csv", b"url\n\xff\xff"),
        ("x.json", b"{"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"cannot be read|is no JSON"):
            list(chunks(find([str(tmp_path / name)]), None))
    (tmp_path / "empty.csv").write_bytes(b"")
    assert list(chunks(find([str(tmp_path / "empty.csv")]), None)) == []
