"""Searches of lists, static catalogues and GeoParquet: defects are reported, and valid items are found."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

import eechips
from eechips.archive.catalogs.ingestion.ingest import ingest
from eechips.archive.downloads.token_signers import Auth
from eechips.errors import ConfigurationError, StorageError, UsageError
from eechips.manifest.run import open_run
from local_tests.support.captured_log import CapturedLog
from local_tests.support.function_server import Answer, serve_function
from tests.support.commands import run_command
from tests.support.scene_runs import TIFF, catalogue, write
from tests.support.scene_servers import FileServer, item
from tests.support.stac_search import MANY, as_json, feature, planned, search

pytest.importorskip("pystac_client")


def lists() -> dict[str, bytes]:
    """Three items, in every form that lists have, by name of a file."""
    import io

    import pyarrow as pa

    found = [feature(name) for name in ("a", "b", "c")]
    lines = "".join(json.dumps(each) + "\n" for each in found).encode()
    array = json.dumps(found, indent=1).encode()
    addresses = b"url\na.json\nb.json\nc.json\n"
    table = io.BytesIO()
    pq.write_table(pa.table({"url": ["a.json", "b.json", "c.json"]}), table)
    return {
        "array.json": array,
        "nested.json": json.dumps([found[:1], {"type": "FeatureCollection", "features": found[1:]}]).encode(),
        "addresses.json": json.dumps([f"{name}.json" for name in "abc"]).encode(),
        "features.geojson": json.dumps({"type": "FeatureCollection", "features": found}).encode(),
        "lines.ndjson": lines,
        "array.jsonl": b"[" + array.replace(b"\n", b"") + b"]",
        "lines.json": lines,
        "array.json.gz": gzip.compress(array),
        "lines.ndjson.gz": gzip.compress(lines),
        "addresses.csv": addresses,
        "addresses.txt": addresses.removeprefix(b"url\n"),
        "addresses.parquet": table.getvalue(),
    }


@pytest.mark.parametrize("name", list(lists()))
def test_a_list_of_items_is_the_same_here_and_for_an_ingestion(tmp_path: Path, name: str) -> None:
    files = lists() | {f"{each}.json": json.dumps(feature(each)).encode() for each in "abc"}
    for each, content in files.items():
        (tmp_path / each).write_bytes(content)
    assert [unit["item"] for unit in planned(tmp_path / name)] == ["a", "b", "c"]
    if not name.startswith("addresses"):
        ingested = ingest([str(tmp_path / name)], tmp_path / "catalog").catalog.items()
        assert sorted(each["id"] for each in ingested) == ["a", "b", "c"]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        is_open = headers.get("Authorization") == "Bearer t"
        return (200, {}, files[path[1:]]) if is_open and path[1:] in files else (401, {}, b"")

    if name in ("lines.json", "addresses.parquet"):  # of the web, what a name says counts
        return
    (tmp_path / "secrets").write_text("token=t\n")
    options = {"auth": "bearer", "auth_host": "127.0.0.1", "secrets": tmp_path / "secrets"}
    with serve_function(answer) as url:
        units = planned(f"{url}/{name}", **options)
    assert [unit["href"] for unit in units] == [f"{url}/{each}.tif" for each in "abc"]


def test_invalid_entries_of_a_list_are_reported(tmp_path: Path, caplog: CapturedLog) -> None:
    lines = [json.dumps(feature("a")), '{"id": 3', '"nowhere.json"', "7", json.dumps(feature("b"))]
    (tmp_path / "list.ndjson").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert [unit["item"] for unit in planned(tmp_path / "list.ndjson")] == ["a", "b"]
    assert "3 parts of the catalogue may be missing" in caplog.text
    array = [feature("a"), "/etc/passwd", feature("b")]
    with serve_function(lambda path, headers, body: (200, {}, json.dumps(array).encode())) as url:
        found = search(f"{url}/list.json")
    assert found.ids == ["a", "b"]
    assert len(found.unread) == 1
    assert "/etc/passwd" in found.unread[0][0]


def write_static(top: Path) -> None:
    """Nested, with relative and absolute links, a circle, and everything that is wrong somewhere."""

    def put(name: str, value: Any) -> None:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))

    def links(*found: tuple[str, str]) -> list[dict[str, str]]:
        return [{"rel": rel, "href": href} for rel, href in found]

    base = {"stac_version": "1.0.0", "description": "x"}
    own = {"type": "Collection", "license": "other", "extent": {}, **base}
    lost = {**feature("homeless"), "collection": None}
    dateless = feature("dateless")
    dateless["properties"] = {"datetime": None}
    old = links(("child", "old/collection.json"), ("child", "new/collection.json"), ("root", "catalog.json"))
    put("catalog.json", {"type": "Catalog", "id": "top", **base, "links": old})
    several = [
        ("item", "a%20b.json"),
        ("item", f"file://{top}/old/abs.json"),
        ("item", "gone.json"),
        ("item", "broken.json"),
    ]
    several += [("item", "page.json"), ("item", "nameless.json"), ("item", "dateless.json"), ("item", "odd.json")]
    put("old/collection.json", {**own, "id": "old", "links": links(*several, ("child", "../catalog.json"))})
    put("old/a b.json", {**feature("spaced"), "collection": "old"})
    put("old/abs.json", lost)
    put("old/broken.json", '{"type": "Feat')
    put("old/page.json", "<html><body>Not here</body></html>")
    put("old/nameless.json", {**feature("x"), "id": ""})
    put("old/dateless.json", {**dateless, "collection": "old"})
    put("old/odd.json", {**feature("odd"), "geometry": {"type": "Polygon", "coordinates": "x"}, "collection": "old"})
    put(
        "new/collection.json",
        {**own, "id": "new", "links": links(("item", "one.json"), ("child", "deep/catalog.json"))},
    )
    put("new/one.json", {**feature("one"), "collection": "new"})
    put("new/deep/catalog.json", {"type": "Catalog", "id": "deep", **base, "links": links(("item", "two.json"))})
    put("new/deep/two.json", {**feature("two"), "collection": "new"})


def test_defects_of_a_static_catalogue_are_reported(tmp_path: Path) -> None:
    write_static(tmp_path)
    found = search(str(tmp_path / "catalog.json"))
    assert found.ids == ["spaced", "homeless", "dateless", "odd", "one", "two"]
    told = {Path(address).name.partition(":")[0]: reason for address, reason in found.unread}
    assert set(told) == {"gone.json", "broken.json", "page.json", "nameless.json"}
    assert "does not exist" in told["gone.json"]
    assert "not JSON" in told["broken.json"]
    assert "HTML" in told["page.json"]
    assert "without an id" in told["nameless.json"]
    old = search(str(tmp_path / "catalog.json"), collections=("old",), region=shapely.box(-180, -90, 180, 90))
    assert old.ids == ["spaced", "homeless", "dateless"]
    assert "geometry" in dict(old.unread)[f"{tmp_path}/old/odd.json: item odd"]
    assert search(str(tmp_path), collections=("new",)).ids == ["one", "two"]  # a folder that has one
    with FileServer(tmp_path) as server:
        away = search(f"{server.url}/catalog.json", collections=("new",))
        assert (away.ids, away.unread) == (["one", "two"], [])
        assert "old/gone.json" not in server.requests  # a collection that was not asked for is not entered
        all_of_it = search(f"{server.url}/catalog.json")
        assert all_of_it.ids == ["dateless", "odd", "one", "two"]
        assert "HTTP 404" in dict(all_of_it.unread)[f"{server.url}/old/gone.json"]
        assert "local files" in dict(all_of_it.unread)[f"file://{tmp_path}/old/abs.json"]


def test_a_remote_catalogue_uses_the_protocols_of_stores_only(tmp_path: Path) -> None:
    """fsspec knows others that lead to local files and private networks."""
    (tmp_path / "own.json").write_text(json.dumps(feature("own")))
    hrefs = [
        f"simplecache::file://{tmp_path}/own.json",
        f"local://{tmp_path}/own.json",
        "dask://a",
        "webhdfs://[::1]:9/a",
    ]
    links = [{"rel": "item", "href": href} for href in hrefs]
    top = {"type": "Catalog", "id": "top", "stac_version": "1.0.0", "description": "x", "links": links}
    for document in (top, hrefs):
        with serve_function(lambda path, headers, body: (200, {}, json.dumps(document).encode())) as url:  # noqa: B023
            found = search(f"{url}/top.json")
        assert found.ids == []
        assert ["protocols" in reason for _, reason in found.unread] == [True] * 4


def test_ever_deeper_catalogues_end() -> None:
    def answer(path: str, _: Any, __: bytes) -> Any:
        own = {"type": "Catalog", "id": path, "stac_version": "1.0.0", "description": "x"}
        return 200, {}, json.dumps({**own, "links": [{"rel": "child", "href": f"{path}1"}]}).encode()

    with serve_function(answer) as url:
        found = search(f"{url}/1")
    assert found.ids == []
    assert found.unread == [(f"{url}/{'1' * 66}", "more than 64 catalogues within each other: it is not read")]


def test_an_item_without_a_date_is_reported_when_dates_are_given(tmp_path: Path) -> None:
    write_static(tmp_path)

    start = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    found = search(str(tmp_path / "catalog.json"), start=start)
    assert found.ids == ["spaced", "homeless", "odd", "one", "two"]
    assert "no date" in dict(found.unread)[f"{tmp_path}/old/dateless.json: item dateless"]


def test_items_without_an_outline_or_an_end(tmp_path: Path) -> None:
    """The box says where they are, if they have one; what has no end goes on."""

    def dated(name: str, begin: str | None, end: str | None) -> dict[str, Any]:
        return {**feature(name), "properties": {"datetime": None, "start_datetime": begin, "end_datetime": end}}

    boxes: dict[str, Any] = {
        "west": [0, 0, 1, 1],
        "high": [0, 0, 5, 1, 1, 9],
        "across": [170, 0, -170, 1],
        "none": None,
    }
    boxes["odd"] = [1, 2, 3]
    items = [{**feature(name), "geometry": None, "bbox": box} for name, box in boxes.items()]
    items += [dated("goes on", "2020-06-01T00:00:00Z", None), dated("later", "2021-06-01T00:00:00Z", None)]
    items += [dated("ended", None, "2019-06-01T00:00:00Z"), dated("ends", None, "2030-06-01T00:00:00Z")]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    found = search(str(path), region=shapely.box(0.5, 0.5, 0.6, 0.6))
    assert found.ids[:2] == ["west", "high"]
    assert [address.rpartition(" ")[2] for address, _ in found.unread] == ["odd"]
    assert search(str(path), region=shapely.box(-175, 0.5, -174, 0.6)).ids == ["across"]
    year = {
        "start": dt.datetime(2020, 7, 1, tzinfo=dt.timezone.utc),
        "end": dt.datetime(2021, 1, 1, tzinfo=dt.timezone.utc),
    }
    assert search(str(path), **year).ids[-2:] == ["goes on", "ends"]


@pytest.mark.exhaustive
def test_a_static_catalogue_of_many_items_is_read_in_its_order() -> None:
    """A thousand documents, several at once."""
    names = [f"i{number:04d}" for number in range(1000)]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if path == "/catalog.json":
            links = [{"rel": "item", "href": f"./{name}.json"} for name in names]
            return as_json(
                {"type": "Catalog", "id": "top", "stac_version": "1.0.0", "description": "x", "links": links}
            )
        return as_json(feature(path[1:-5]))

    with serve_function(answer) as url:
        assert search(f"{url}/catalog.json").ids == names
        assert search(f"{url}/catalog.json", most=3).ids == names[:3]


@pytest.mark.parametrize("damaged", [b'{"type": "Feat', b"<!DOCTYPE html><html>Sign in</html>", b"\xff", b""])
def test_items_that_are_damaged_on_their_way_are_requested_again(damaged: bytes) -> None:
    """A search that lacks items is kept, and looks complete."""
    asked: Counter[str] = Counter()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked[path] += 1
        if path == "/catalog.json":
            links = [{"rel": "item", "href": f"./{name}.json"} for name in "abc"]
            return as_json(
                {"type": "Catalog", "id": "top", "stac_version": "1.0.0", "description": "x", "links": links}
            )
        return (200, {}, damaged) if path == "/b.json" and asked[path] < 3 else as_json(feature(path[1:-5]))

    with serve_function(answer) as url:
        assert search(f"{url}/catalog.json").ids == ["a", "b", "c"]
    assert (asked["/a.json"], asked["/b.json"]) == (1, 3)


def test_unreadable_items_are_reported_and_recorded(tmp_path: Path) -> None:
    write_static(tmp_path / "top")
    for name in ("old/spaced.tif", "old/homeless.tif"):
        (tmp_path / "top" / name).write_bytes(b"no tif")
    words = ["scenes", "--stac", str(tmp_path / "top/catalog.json"), "--collection", "old", "--out"]
    words += [str(tmp_path / "out"), "--max-items", "2"]
    # Of four documents that cannot be read, some come before the second item, and some after it.
    run_command(*words, status=1)  # the files are none
    log = [json.loads(line) for line in (tmp_path / "out/run.log").read_text().splitlines()]
    unread = [line["address"] for line in log if line["event"] == "unread"]
    kept = pq.read_table(tmp_path / "out/items.parquet").to_pylist()
    assert [row["id"] for row in kept if row["item"]] == ["spaced", "homeless"]
    assert [row["address"] for row in kept if row["unread"]] == unread


@pytest.mark.slow
def test_items_with_values_of_any_kind_fail_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    write(tmp_path / "a.tif", 9)
    own = {"data": {"href": "a.tif", "type": TIFF}}
    nowhere = {"data": {"href": "s3://", "type": TIFF}}
    listed = [
        {**feature("box"), "bbox": [10**400, 0, 1, 1]},
        {
            **feature("empty"),
            "geometry": {"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 0], [1, 1], [0, 0]]], []]},
        },
        {**feature("nowhere"), "geometry": {"type": "Point", "coordinates": [float("nan"), 0]}},
        feature("nan", datetime=float("nan")),
        {**feature("links"), "links": float("nan")},
        feature("half \ud800"),
    ]
    listed = [{**each, "assets": own} for each in listed] + [{**feature("store"), "assets": nowhere}]
    (tmp_path / "list.json").write_text(json.dumps(listed))
    words = ["scenes", "--stac", str(tmp_path / "list.json"), "--out", str(tmp_path / "out")]
    run_command(*words, status=1)
    run = open_run(tmp_path / "out")
    assert run.counts == {"done": 6, "failed_permanent": 1}
    assert list(run.failures["error"]) == ["s3: names no object of S3, as s3://bucket/key does"]
    found = search(str(tmp_path / "list.json"), region=shapely.box(-180, -90, 180, 90))
    assert {Path(address).name.partition("item ")[2] for address, _ in found.unread} == {"empty", "nowhere"}


def test_empty_search_results_are_not_cached(tmp_path: Path) -> None:
    write_static(tmp_path / "top")
    words = ["scenes", "--stac", str(tmp_path / "top/catalog.json"), "--where", "eo:cloud_cover < 5"]
    for _ in range(2):
        done = run_command(*words, "--out", tmp_path / "out", status=2)
        assert (
            "has no matching items: change or leave out --where; 4 parts of the catalogue may be missing" in done.output
        )
    assert not (tmp_path / "out/items.parquet").exists()


def write_parquet(path: Path, found: list[dict[str, Any]]) -> Path:
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    to_parquet(parse_stac_items_to_arrow(found), path)
    return path


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_folders_of_geoparquet_are_searched(tmp_path: Path) -> None:
    for number in range(3):
        one = [feature(f"i{number}{each}", box=(number, 0, number + 0.5, 1)) for each in range(3)]
        for each in one:
            each["collection"] = f"c {number % 2}"
        write_parquet(tmp_path / f"table/collection=c%20{number % 2}/part{number}/items.parquet", one)
    (tmp_path / "table/_temporary").mkdir()
    (tmp_path / "table/_temporary/half.parquet").write_bytes(b"PAR1")
    assert search(str(tmp_path / "table")).ids == ["i00", "i01", "i02", "i20", "i21", "i22", "i10", "i11", "i12"]
    pattern = str(tmp_path / "table/*/part[12]/*.parquet")
    assert search(pattern).ids == ["i20", "i21", "i22", "i10", "i11", "i12"]
    (tmp_path / "table/collection=c%200/part0/items.parquet").write_bytes(b"broken")
    assert search(str(tmp_path / "table"), collections=("c 1",)).ids == ["i10", "i11", "i12"]
    with pytest.raises(ConfigurationError, match="cannot be read as STAC GeoParquet"):
        search(str(tmp_path / "table"))
    with pytest.raises(UsageError, match="no STAC GeoParquet files"):
        search(str(tmp_path / "none*.parquet"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_groups_without_rows_are_skipped(tmp_path: Path) -> None:
    table = pq.read_table(write_parquet(tmp_path / "items.parquet", [feature("i0"), feature("i1")]))
    with pq.ParquetWriter(tmp_path / "items.parquet", table.schema) as writer:
        for part in (table[:0], table[:1], table[:0], table[1:], table[:0]):
            writer.write_table(part)
    assert pq.read_metadata(tmp_path / "items.parquet").num_row_groups == 5
    assert search(str(tmp_path / "items.parquet")).ids == ["i0", "i1"]


def test_geometries_of_another_type_are_reported(tmp_path: Path) -> None:
    table = pq.read_table(write_parquet(tmp_path / "items.parquet", [feature("i0"), feature("i1")]))
    table = table.set_column(table.column_names.index("geometry"), "geometry", pa.array([1, 2], pa.int32()))
    pq.write_table(table, tmp_path / "items.parquet")
    with pytest.raises(ConfigurationError, match="cannot be read as STAC GeoParquet"):
        search(str(tmp_path / "items.parquet"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("has_range", "has_size"), [(True, True), (True, False), (False, False)])
def test_remote_geoparquet_is_searched(tmp_path: Path, has_range: bool, has_size: bool) -> None:
    data = write_parquet(tmp_path / "items.parquet", [*MANY, feature("far", box=(10, 0, 11, 1))]).read_bytes()
    sent = Counter[int]()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("Authorization") != "Bearer very-secret":
            return 403, {}, b""
        wanted = headers.get("Range")
        if not has_range or wanted is None:
            sent[200] += 1
            return 200, {}, data
        sent[206] += 1
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data) if has_size else '*'}"}, part

    with serve_function(answer) as url:
        auth, secrets = Auth(kind="bearer", hosts=("127.0.0.1",)), {"token": "very-secret"}
        found = search(f"{url}/items.parquet", auth=auth, secrets=secrets, region=shapely.box(9, 0, 12, 1))
        assert found.ids == ["far"]
        with pytest.raises(ConfigurationError, match="HTTP 403: set `auth`"):
            search(f"{url}/items.parquet?sig=very-secret")
    assert sent[200] == (not has_size)
    assert (sent[206] > 0) == has_range


def test_a_catalogue_made_by_eechips_is_searched(tmp_path: Path) -> None:
    """``--stac`` takes the folder that ``eechips catalog`` writes."""
    lines = [json.dumps({**each, "stac_extensions": []}) for each in (*MANY, feature("far", box=(10, 0, 11, 1)))]
    (tmp_path / "list.ndjson").write_text("\n".join(lines))
    ingest(str(tmp_path / "list.ndjson"), tmp_path / "catalog")
    words = ["scenes", "--stac", str(tmp_path / "catalog"), "--dry-run", "--out", str(tmp_path / "out")]
    assert "units     46" in run_command(*words).output
    assert "units     1\n" in run_command(*words, "--roi=9,0,12,1").output
    assert "units     5\n" in run_command(*words, "--where", "eo:cloud_cover < 5").output
    assert "no matching items" in run_command(*words, "--start", "2021-01-01").output


@pytest.mark.slow
def test_a_refresh_adds_changes_of_the_catalogue(tmp_path: Path) -> None:
    """New items are fetched, removed items are kept, changed items are reported, and no file is fetched twice."""
    files = tmp_path / "files"
    for number in range(5):
        write(files / f"s{number}.tif", number)
    with FileServer(files) as server:

        def of(number: int, **more: Any) -> dict[str, Any]:
            return item(f"s{number}", {"B04": {"href": f"{server.url}/s{number}.tif", "type": TIFF, **more}})

        out, stac = tmp_path / "out", catalogue(tmp_path, [of(0), of(1), of(2)])
        words = ["scenes", "--stac", str(stac), "--out", str(out), "--refresh"]
        assert "3 of 3 results" in run_command(*words).output  # there is nothing yet to be added to
        catalogue(tmp_path, [of(4), of(1), of(2, **{"file:size": 7}), of(3)])
        run_command(*([word for word in words if word != "--refresh"]), status=0)
        assert server.requests.total() == 3  # nobody was asked
        done = run_command(*words, status=0)
        assert "2 new; 1 changed, with the old file kept: use another folder" in done.output
        assert "5 of 5 results" in done.output
        assert server.requests == {f"s{number}.tif": 1 for number in range(5)}
        again = run_command(*words)
        assert "0 new" in again.output
        assert server.requests.total() == 5
        run = eechips.open_run(out)
        assert list(run.units["file"]) == [f"scenes/s{number}/B04.tif" for number in (0, 1, 2, 4, 3)]
        assert run.verify() == []
        assert len(list((out / "stac/demo").glob("*.json"))) == 5
        with pytest.raises(UsageError, match="holds another run"):
            eechips.scenes(str(stac), out=out, refresh=True, max_items=1, quiet=True)
        catalogue(tmp_path, [])
        assert eechips.scenes(str(stac), out=out, refresh=True, quiet=True).counts == {"done": 5}
    (out / "items.parquet").unlink()
    (out / "stac/demo/s1.json").unlink()
    with pytest.raises(StorageError, match=r"items\.parquet is missing"):
        eechips.scenes(str(stac), out=out, quiet=True)


@pytest.mark.slow
def test_failed_units_are_replanned_from_the_current_catalogue(tmp_path: Path) -> None:
    """A size that was wrong, and an address that led nowhere: the rest is not fetched again."""
    files = tmp_path / "files"
    for number in range(3):
        write(files / f"s{number}.tif", number)
    with FileServer(files) as server:

        def of(number: int, name: str, **more: Any) -> dict[str, Any]:
            return item(f"s{number}", {"B04": {"href": f"{server.url}/{name}.tif", "type": TIFF, **more}})

        out, stac = tmp_path / "out", catalogue(tmp_path, [of(0, "s0"), of(1, "s1", **{"file:size": 7}), of(2, "gone")])
        words = ["scenes", "--stac", str(stac), "--out", str(out), "--retries", "0"]
        run_command(*words, status=1)
        assert list((out / "quarantine").glob("*.tif"))
        catalogue(tmp_path, [of(0, "s0"), of(1, "s1"), of(2, "s2")])
        done = run_command(*words, "--refresh", status=0)
        assert "0 new; 2 changed without a file, planned again" in done.output
        assert server.requests == {"s0.tif": 1, "s1.tif": 4, "gone.tif": 1, "s2.tif": 1}
    run = eechips.open_run(out)
    assert list(run.units["file"]) == [f"scenes/s{number}/B04.tif" for number in range(3)]
    assert (run.verify(), (out / "quarantine").exists(), (out / "failures.csv").exists()) == ([], False, False)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_catalogues_in_s3_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from local_tests.support.object_server import missing_packages, serving_objects

    if (reason := missing_packages("s3")) is not None:
        pytest.skip(reason)
    import boto3

    write_static(tmp_path / "top")
    for number in range(2):
        write_parquet(tmp_path / f"top/table/collection=demo/part{number}/items.parquet", MANY[number::2])
    with serving_objects("scenes") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        for path in (tmp_path / "top").rglob("*.*"):
            client.upload_file(str(path), "scenes", path.relative_to(tmp_path).as_posix())
        found = search("s3://scenes/top/catalog.json", collections=("new",))
        assert (found.ids, found.unread) == (["one", "two"], [])
        assert search("s3://scenes/top/new/collection.json").ids == ["one", "two"]
        assert search("s3://scenes/top/table/collection=demo/part0/items.parquet").ids == [i["id"] for i in MANY[::2]]
        for several in ("s3://scenes/top/table/", "s3://scenes/top/table/*/part*/*.parquet"):
            assert search(several).ids == [each["id"] for each in (*MANY[::2], *MANY[1::2])]
        for nothing in ("s3://scenes/nothing.json", "s3://scenes/nothing.parquet", "s3://scenes/nothing/"):
            with pytest.raises(ConfigurationError, match=r"404|no STAC GeoParquet"):
                search(nothing)
