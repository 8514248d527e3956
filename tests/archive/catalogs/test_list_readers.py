"""Lists of items and of addresses, in every format."""

from __future__ import annotations

import asyncio
import bz2
import copy
import csv
import gzip
import json
import math
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
import shapely
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from eechips.archive.catalogs.ingestion.item_lists import find_lists
from eechips.archive.catalogs.ingestion.item_validation import validate_items
from eechips.archive.catalogs.ingestion.list_readers import chunks, rows_at_once
from eechips.archive.catalogs.partitions.columns import table_of
from eechips.errors import ConfigurationError, UsageError
from tests.support.catalog_items import item

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
    elif suffix == "ndjson.zst":
        path.write_bytes(bytes(pa.compress("\n".join(lines).encode(), "zstd")))
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


OF_ITEMS = [
    "a.ndjson",
    "a.jsonl",
    "a.ndjson.gz",
    "a.ndjson.zst",
    "a.json",
    "a.csv",
    "a.tsv",
    "bom.csv",
    "stac.parquet",
    "text.parquet",
]
OF_URLS = ["ndjson", "txt", "ndjson.bz2", "json", "csv", "tsv", "parquet"]


@pytest.mark.parametrize("name", [*OF_ITEMS, "bare_urls.csv", *(f"urls.{suffix}" for suffix in OF_URLS)])
def test_every_list_format_is_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    (found,) = chunks(find_lists([str(tmp_path / name)]), None)
    if "urls" in name:
        assert [entry.address for entry in found] == URLS
        assert all(entry.item is None for entry in found)
    else:
        values = [json.loads(entry.item or b"") for entry in found]
        assert [value["id"] for value in values] == ["0", "1", "2"]
        assert [value["properties"]["text"] for value in values] == [ITEMS[0]["properties"]["text"]] * 3
    assert all(entry.place.startswith(f"{tmp_path / name}:") for entry in found)
    assert len({entry.place for entry in found}) == 3


@pytest.mark.slow
def test_patterns_are_expanded_and_entries_are_read_in_chunks(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.ndjson"):
        (tmp_path / name).write_text("\n".join(f"https://{name}/{n}" for n in range(1500)))
    lists = find_lists([str(tmp_path / "*.txt"), str(tmp_path / "c.ndjson"), str(tmp_path / "a.txt")])
    assert [Path(known.address).name for known in lists] == ["a.txt", "b.txt", "c.ndjson"]
    found = list(chunks(lists, None))
    assert [len(chunk) for chunk in found] == [2000, 2000, 500]
    assert found == list(chunks(lists, None))
    large = "x" * 1_000_000
    (tmp_path / "large.ndjson").write_text("\n".join(json.dumps({"n": n, "x": large}) for n in range(70)))
    assert [len(chunk) for chunk in chunks(find_lists([str(tmp_path / "large.ndjson")]), None)] == [32, 32, 6]


def test_url_columns_are_found_or_chosen(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": URLS, "b": [None, "", URLS[0]]}), tmp_path / "x.parquet")
    lists = find_lists([str(tmp_path / "x.parquet")])
    assert [entry.address for entry in next(chunks(lists, "a"))] == URLS
    assert [entry.address for entry in next(chunks(lists, "b"))] == URLS[:1]
    with pytest.raises(UsageError, match="no column 'c': it has a, b"):
        list(chunks(lists, "c"))
    with pytest.raises(UsageError, match=r"no column of URLs \(url, href, "):
        list(chunks(lists, None))


def test_invalid_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"")
    with pytest.raises(UsageError, match="must end in one of csv, tsv"):
        find_lists([str(tmp_path / "x.tif")])
    with pytest.raises(UsageError, match="there is no list"):
        find_lists([str(tmp_path / "*.csv")])
    with pytest.raises(UsageError, match="there is no list"):
        find_lists([str(tmp_path / "x.csv")])
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        find_lists(["nosuch://bucket/x.csv"])
    for name, content in (
        ("x.parquet", b"PAR1"),
        ("x.ndjson.gz", b"no gzip"),
        ("x.csv", b"url\n\xff\xff"),
        ("x.json", b"{"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"cannot be read|is not JSON"):
            list(chunks(find_lists([str(tmp_path / name)]), None))
    (tmp_path / "empty.csv").write_bytes(b"")
    assert list(chunks(find_lists([str(tmp_path / "empty.csv")]), None)) == []


def ids(*lists: Path) -> list[str]:
    """The ids of the items of lists; of what is none, what it is."""
    found = []
    for entry in (entry for chunk in chunks(find_lists([str(path) for path in lists]), None) for entry in chunk):
        try:
            value = json.loads(entry.item or b"")
            found.append(value["id"] if isinstance(value, dict) and "id" in value else type(value).__name__)
        except ValueError:
            found.append(entry.address if entry.address is not None else "no JSON")
    return found


LINES = [json.dumps(value) for value in ITEMS]
PAGE: dict[str, Any] = {"type": "FeatureCollection", "features": ITEMS, "links": [], "context": {"matched": 3}}


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + "\n".join(LINES),
        "\r\n\r\n".join(LINES) + "\r\n",
        "[\n" + ",\n".join(LINES) + "\n]\n",
        "[" + ",\r\n".join(LINES) + "]",
        "".join(f"\x1e{line}\n" for line in LINES),
        json.dumps(PAGE),
        json.dumps(ITEMS),
        "\n".join(json.dumps({**PAGE, "features": [value]}) for value in ITEMS),
    ],
    ids=["mark", "empty lines", "array", "brackets", "sequence", "page", "one line", "pages"],
)  # fmt: skip
def test_text_lists_in_common_variants_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.ndjson").write_bytes(text.encode())
    assert ids(tmp_path / "list.ndjson") == ["0", "1", "2"]


def test_a_bad_line_fails_alone(tmp_path: Path) -> None:
    lines = ['"https://x', LINES[0], "\xff\xfe", '{"a": ', '"ok"', LINES[1], "[1, {}]"]
    (tmp_path / "list.ndjson").write_bytes("\n".join(lines).encode("latin-1"))
    assert ids(tmp_path / "list.ndjson") == ["no JSON", "0", "no JSON", "no JSON", "ok", "1", "int", "dict"]


def test_saved_answers_of_an_api(tmp_path: Path) -> None:
    (tmp_path / "pages.json").write_text(json.dumps([PAGE, {**PAGE, "features": ITEMS[:1]}]))
    (tmp_path / "wide.json").write_bytes(json.dumps(ITEMS).encode("utf-16"))
    (tmp_path / "none.json").write_text(json.dumps({**PAGE, "features": []}))
    (tmp_path / "cells.csv").write_text("item\n" + '"' + json.dumps(PAGE).replace('"', '""') + '"\n')
    assert ids(*(tmp_path / f"{name}.json" for name in ("pages", "wide", "none"))) == [
        "0",
        "1",
        "2",
        "0",
        "0",
        "1",
        "2",
    ]
    assert ids(tmp_path / "cells.csv") == ["0", "1", "2"]


def test_csv_tables_in_common_variants_are_read(tmp_path: Path) -> None:
    (tmp_path / "lines.csv").write_text("\n,\n\n Href ,n\nhttps://a,1\n\nhttps://b,2\n")
    (tmp_path / "two.csv").write_text("url,URL\nhttps://a,https://b\n")
    (tmp_path / "raw.tsv").write_text("n\titem\n" + "\n".join(f"1\t{line}" for line in LINES))
    assert ids(tmp_path / "lines.csv") == ["https://a", "https://b"]
    assert ids(tmp_path / "two.csv") == ["https://a"]
    with (tmp_path / "raw.tsv").open() as file:
        assert len(file.readlines()) == 4
    assert ids(tmp_path / "raw.tsv") == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.csv", b'url\n"https://a\nhttps://b\n', "at line 3: unexpected end of data"),
        ("x.csv", b'url,n\n"https://a"x,1\n', "at line 2: ',' expected"),
        ("x.csv", b"place,n\nhttps://a,1\n", "no column of URLs"),
        ("x.json", b"[" * 100_000, "is not JSON"),
        ("x.json", b'{"id": "a"}\n{"id": "b"', "is not JSON"),
        ("x.ndjson.zst", bytes(pa.compress(LINES[0].encode(), "zstd"))[:-5], "Truncated"),
        ("x.ndjson.gz", gzip.compress(LINES[0].encode(), mtime=0)[:-5], "ended before"),
    ],
)
def test_lists_that_lose_entries_are_refused(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ConfigurationError, UsageError)) as error:
        ids(tmp_path / name)
    assert told in str(error.value)


def test_names_with_brackets_are_names(tmp_path: Path) -> None:
    (tmp_path / "list[1].ndjson").write_text(LINES[0])
    (tmp_path / "list1.ndjson").write_text(LINES[1])
    assert ids(tmp_path / "list[1].ndjson") == ["0"]
    (tmp_path / "list[1].ndjson").unlink()
    assert ids(tmp_path / "list[1].ndjson") == ["1"]


def of_parquet(path: Path, table: pa.Table) -> list[dict[str, Any]]:
    pq.write_table(table, path)
    return [json.loads(entry.item or b"") for chunk in chunks(find_lists([str(path)]), None) for entry in chunk]


WKB = [shapely.to_wkb(shapely.geometry.shape(value["geometry"])) for value in ITEMS]
DATES = ["2020-01-01T12:00:00Z"] * 3


def test_parquet_with_json_in_texts(tmp_path: Path) -> None:
    """As geopandas and DuckDB write what has no one type."""
    columns = {name: [json.dumps(value[name]) for value in ITEMS] for name in ("assets", "links", "bbox")}
    own = {"id": ["0", "1", "2"], "geometry": WKB, "datetime": DATES, "proj:shape": ["[1, 2]"] * 3, "note": ["[1]"] * 3}
    found = of_parquet(tmp_path / "a.parquet", pa.table({**own, **columns}))
    for one, expected in zip(found, ITEMS, strict=True):
        assert all(one[name] == expected[name] for name in columns)
        assert one["properties"] == {"datetime": DATES[0], "proj:shape": [1, 2], "note": "[1]"}


def test_parquet_with_all_properties_in_one_column(tmp_path: Path) -> None:
    own = {"id": ["0", "1", "2"], "geometry": WKB, "bbox": [value["bbox"] for value in ITEMS]}
    for column in ([json.dumps(value["properties"]) for value in ITEMS], [value["properties"] for value in ITEMS]):
        found = of_parquet(tmp_path / "a.parquet", pa.table({**own, "properties": column}))
        assert [one["properties"] for one in found] == [value["properties"] for value in ITEMS]


def test_parquet_with_types_that_json_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2020, 1, 1, 12)
    assets = pa.array([[("image", {"href": "x"})]], pa.map_(pa.string(), pa.struct([("href", pa.string())])))
    box = {"xmin": 179.0, "xmax": -179.0, "ymin": -1.0, "ymax": 1.0, "zmin": None}
    values = {
        "id": ["a"], "geometry": ["POINT (1 2)"], "datetime": pa.array([moment], pa.timestamp("ns")), "assets": assets,
        "bbox": [box], "day": [moment.date()], "number": [Decimal("1.50")], "whole": [Decimal("2")], "nan": [math.nan],
        "long": pa.array([timedelta(hours=1)]), "noise": [b"\x00x"], "shape": [WKB[0]],
        "kind": pa.array(["x"]).dictionary_encode(), "list": [[1.0, math.nan]],
    }  # fmt: skip
    with monkeypatch.context() as changed:  # times without a zone are not this machine's
        changed.setenv("TZ", "America/Los_Angeles")
        time.tzset()
        (found,) = of_parquet(tmp_path / "a.parquet", pa.table(values))
    time.tzset()
    assert found["geometry"] == {"type": "Point", "coordinates": [1.0, 2.0]}
    assert found["assets"] == {"image": {"href": "x"}}
    assert found["bbox"] == [179.0, -1.0, -179.0, 1.0]
    properties = found["properties"]
    assert properties.pop("shape")["type"] == "Polygon"
    assert properties == {
        "datetime": "2020-01-01T12:00:00Z", "day": "2020-01-01", "number": 1.5, "whole": 2, "long": "1:00:00",
        "kind": "x", "list": [1.0, None],
    }  # fmt: skip


def test_parquet_whose_geometries_cannot_be_read(tmp_path: Path) -> None:
    for column in ([b"\x01bad", None, WKB[0]], ["nonsense", None, json.dumps(ITEMS[0]["geometry"])]):
        found = of_parquet(
            tmp_path / "a.parquet", pa.table({"id": ["a", "b", "c"], "geometry": column, "datetime": DATES})
        )
        verdict = validate_items(found)
        assert [(number, kind) for number, kind, _ in verdict.refused] == [(0, "bad geometry"), (1, "no geometry")]
    with pytest.raises(UsageError, match="needs WKB"):
        of_parquet(tmp_path / "a.parquet", pa.table({"id": ["a"], "geometry": [[{"x": 1.0, "y": 2.0}]]}))
    far = pa.table({"id": ["a"], "geometry": WKB[:1], "datetime": pa.array([400_000_000_000_000], pa.timestamp("s"))})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        of_parquet(tmp_path / "a.parquet", far)


def test_parquet_of_other_libraries(tmp_path: Path) -> None:
    values = [item(f"{n}", (n, 0, n + 1, 1), gsd=n / 2, **{"eo:bands": [{"name": "a"}]}) for n in range(3)]
    values.append(item("x", (179, -1, -179, 1), assets={"a.b/c": {"href": "y", "roles": ["data"]}}))

    async def write() -> None:
        await rustac.write(str(tmp_path / "rustac.parquet"), copy.deepcopy(values))

    asyncio.run(write())
    to_parquet(parse_stac_items_to_arrow(copy.deepcopy(values)), tmp_path / "library.parquet")
    for name in ("rustac", "library"):
        (entries,) = chunks(find_lists([str(tmp_path / f"{name}.parquet")]), None)
        found = {value["id"]: value for value in (json.loads(entry.item or b"") for entry in entries)}
        assert validate_items(list(found.values()), strict=True).refused == []
        for value in values:
            one = found[value["id"]]
            assert shapely.geometry.shape(one.pop("geometry")) == shapely.geometry.shape(value["geometry"])
            assert one == {name: part for name, part in value.items() if name != "geometry"}
    frame = geopandas.GeoDataFrame.from_features(values[:3], crs=4326).assign(id=["0", "1", "2"])
    frame.to_parquet(tmp_path / "frame.parquet")
    (entries,) = chunks(find_lists([str(tmp_path / "frame.parquet")]), None)
    for entry, value in zip(entries, values[:3], strict=True):
        assert json.loads(entry.item or b"")["properties"] == value["properties"]


@pytest.mark.parametrize("suffix", ["ndjson", "txt", "json", "geojson", "ndjson.gz"])
@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(value, indent=2) for value in ITEMS),
        json.dumps(ITEMS, indent=1),
        "\ufeff\r\n" + json.dumps(PAGE, indent="\t").replace("\n", "\r\n"),
        "\n".join(LINES),
        json.dumps([ITEMS[:1], [ITEMS[1:]]]),
        "\n".join(json.dumps({**PAGE, "features": [value]}, indent=2) for value in ITEMS),
        '[{"type": "Feature", "id": "0"},\n{"type": "Feature", "id": "1"},\n{"type": "Feature", "id": "2"}]',
    ],
    ids=["values", "array", "page", "lines", "nested", "pages", "brackets"],
)
def test_json_lists_of_any_layout_are_read(tmp_path: Path, text: str, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    assert ids(path) == ["0", "1", "2"]


def test_a_very_long_line_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips.archive.catalogs.ingestion.list_readers._BYTES", 200)
    (tmp_path / "list.ndjson").write_text(json.dumps(PAGE))
    assert ids(tmp_path / "list.ndjson") == ["0", "1", "2"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["list.ndjson", "list.csv", "list.tsv", "list.json", "list.ndjson.bz2"])
def test_byte_order_marks_are_respected(tmp_path: Path, name: str, encoding: str) -> None:
    """As PowerShell and Excel write them."""
    rows = ["item", *(line.replace('"', '""').join('""') for line in LINES)] if "sv" in name else LINES
    content = "\r\n".join(rows).encode(encoding)
    (tmp_path / name).write_bytes(bz2.compress(content) if name.endswith("bz2") else content)
    assert ids(tmp_path / name) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,https://a/1.json\n2,https://a/2.json\n", ["https://a/1.json", "https://a/2.json"]),
        ("stac\nhttps://a/1.json\n", ["https://a/1.json"]),
        ("id;url\n1;https://a/1.json?x=1,2\n", ["https://a/1.json?x=1,2"]),
        ("id\tHref\n1\thttps://a/1.json\n", ["https://a/1.json"]),
        ("id|note,url\n1|2,https://a/1.json\n", ["https://a/1.json"]),
        ("s3://a/1.json\ns3://a/2.json\n", ["s3://a/1.json", "s3://a/2.json"]),
    ],
)
def test_irregular_csv_is_read_or_refused(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "list.csv").write_text(text)
    assert ids(tmp_path / "list.csv") == found


def test_folders_are_read_as_the_lists_in_them(tmp_path: Path) -> None:
    """As Spark writes tables."""
    table = tmp_path / "items.parquet"
    for number in range(3):
        (table / f"part={number}").mkdir(parents=True)
        pq.write_table(pa.table({"item": LINES[number : number + 1]}), table / f"part={number}/0.snappy.parquet")
    (table / "_SUCCESS").write_text("")
    (table / ".0.parquet.crc").write_bytes(b"crc")
    assert ids(table) == ids(tmp_path / "*.parquet") == ["0", "1", "2"]
    (tmp_path / "none.parquet").mkdir()
    with pytest.raises(UsageError, match="there is no list"):
        find_lists([str(tmp_path / "none.parquet")])


@pytest.mark.parametrize("name", ["geom", "wkb_geometry", "Umriß"])
def test_parquet_whose_geometries_are_called_otherwise(tmp_path: Path, name: str) -> None:
    frame = geopandas.GeoDataFrame(
        {"id": ["0", "1", "2"], "datetime": DATES}, geometry=shapely.from_wkb(WKB), crs="EPSG:4326"
    )
    frame.rename_geometry(name).to_parquet(tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    if name != "Umriß":  # nobody but GeoParquet says that this is one
        table = table.replace_schema_metadata(None)
    values = of_parquet(tmp_path / "y.parquet", table)
    assert [value["id"] for value in values] == ["0", "1", "2"]
    assert [shapely.geometry.shape(value["geometry"]) for value in values] == shapely.from_wkb(WKB).tolist()
    assert all(name not in value["properties"] for value in values)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(LINES, pa.large_string()),
        pa.array(LINES, pa.string_view()),
        pa.array([line.encode() for line in LINES], pa.binary()),
        pa.array(LINES).dictionary_encode(),
        pa.array(ITEMS),
        pa.array([[value] for value in ITEMS]),
        pa.array([LINES[:0], LINES]),
    ],
    ids=["large", "view", "bytes", "dictionary", "objects", "arrays", "lists of texts"],
)
def test_parquet_with_items_of_every_type(tmp_path: Path, column: pa.Array) -> None:
    for names in (("whatever",), ("n", "item")):
        columns = [pa.array(range(len(column))), column][-len(names) :]
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))), tmp_path / "x.parquet")
        assert ids(tmp_path / "x.parquet") == ["0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "rows"), [(10, 2000), (100_000, 320), (50_000_000, 1)])
def test_parquet_with_wide_rows_is_read_a_few_at_a_time(tmp_path: Path, width: int, rows: int) -> None:
    """No more than 32 MB, as a row of its widest group is on average."""
    values = pa.array(["x" * width] * max(2, 20 * (width < 1_000_000)))
    pq.write_table(pa.table({"item": values}), tmp_path / "x.parquet", use_dictionary=False, compression=None)
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        assert rows * 0.9 <= rows_at_once(file) <= rows
