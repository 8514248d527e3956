"""Lists into a catalogue: over HTTP with faults, from S3, by hooks."""

from __future__ import annotations

import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import eechips
from eechips.archive.catalogs.ingestion.ingest import ingest
from local_tests.support.object_server import missing_packages, serving_objects
from tests.support.catalog_items import DAYS, contents, digests
from tests.support.catalog_lists import HostLimiter, cli, failures, scene, write


@pytest.mark.slow
def test_urls_are_fetched_and_failures_are_listed(tmp_path: Path, host: HostLimiter) -> None:
    kinds = ["", "busy-", "cut-", "missing-", "gone-", "page-"]
    urls = [f"{host.url}/{kinds[n % 6]}{n}.json" for n in range(60)]
    write(tmp_path / "list.ndjson", [*urls, "no address", scene(100), {"type": "Collection"}])
    out = tmp_path / "catalog"
    result = cli(tmp_path / "list.ndjson", "--out", out, "--retries", 3, status=1)
    assert "entries: 63 (61 addresses); items: 31" in result.output
    assert {key[1] for key in contents(eechips.open_catalog(out))} == {
        *(f"scene-{n}" for n in range(60) if n % 6 < 3),
        "scene-100",
    }
    rows = failures(out)
    assert Counter(row["kind"] for row in rows) == {
        "HTTP 404": 10, "HTTP 410": 10, "no JSON": 10, "no item": 1, "not found": 1
    }  # fmt: skip
    assert (rows[0]["place"], rows[0]["address"]) == (f"{tmp_path}/list.ndjson:4", urls[3])
    assert rows[0]["reason"].startswith(f"{urls[3]} answered HTTP 404")
    assert all(host.asked[f"/busy-{n}.json"] == 3 for n in range(1, 60, 6))
    assert all(host.asked[f"/missing-{n}.json"] == 1 for n in range(3, 60, 6))
    assert all(host.asked[f"/cut-{n}.json"] == 2 for n in range(2, 60, 6))
    report = json.loads((out / "_ingest.json").read_text())
    assert report["requests"][host.url.removeprefix("http://")] == sum(host.asked.values())
    # What has failed is a list as well.
    asked = sum(host.asked.values())
    cli(out / "_failures.csv", "--out", out, status=1)
    assert sum(host.asked.values()) == asked + 30
    assert len(failures(out)) == 31
    # Mended, the list is through without failures, and nothing changes.
    before = digests(out)
    good = [urls[n] for n in range(60) if n % 6 < 3]
    write(tmp_path / "list.ndjson", [*good, scene(100)])
    cli(tmp_path / "list.ndjson", "--out", out, status=0)
    assert digests(out) == before
    assert not (out / "_failures.csv").exists()


def test_addresses_may_be_paths(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(scene(1)))
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.json\nfile://{tmp_path}/a.json\n{tmp_path}/b.json\n")
    result = cli(tmp_path / "list.txt", "--out", tmp_path / "catalog")
    assert "items: 2" in result.output
    assert [row["kind"] for row in failures(tmp_path / "catalog")] == ["not found"]
    assert len(eechips.open_catalog(tmp_path / "catalog")) == 1


def test_bad_names_are_counted_apart_from_damaged_items(tmp_path: Path) -> None:
    texts = [json.dumps({**scene(1), "assets": {name: {"href": "x"}}}) for name in ("a\0", "", "a")]
    for number, text in enumerate([*texts, texts[0][:-1]]):
        (tmp_path / f"{number}.json").write_text(text)
    (tmp_path / "list.txt").write_text("\n".join(f"{tmp_path}/{number}.json" for number in range(4)))
    cli(tmp_path / "list.txt", "--out", tmp_path / "catalog")
    assert [row["kind"] for row in failures(tmp_path / "catalog")] == ["bad names", "bad names", "no JSON"]


def test_remote_lists_are_ingested(tmp_path: Path, host: HostLimiter) -> None:
    cli(f"{host.url}/7.json?key=a*b", "--out", tmp_path / "catalog", status=0)
    assert [key[1] for key in contents(eechips.open_catalog(tmp_path / "catalog"))] == ["scene-7"]


def test_hooks_make_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("3\n4\nx\n")
    (tmp_path / "catalog_hook.py").write_text(
        "from tests.support.catalog_lists import scene\ndef make(address):\n    return scene(int(address))\n"
    )
    (tmp_path / "hook.sh").write_text('[ "$2" = x ] && { echo "no number" >&2; exit 3; }\nsed "s/NUMBER/$2/" "$1"\n')
    (tmp_path / "template.json").write_text(json.dumps(scene(3)).replace("scene-3", "scene-NUMBER"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for hook, reason in (
        ("catalog_hook:make", "ValueError: invalid literal for int() with base 10: 'x'"),
        (f"script:sh {tmp_path}/hook.sh {tmp_path}/template.json", "RuntimeError: exit status 3: no number"),
    ):
        out = tmp_path / hook.partition(":")[0]
        cli("list.txt", "--out", out, "--hook", hook, status=1)
        assert {key[1] for key in contents(eechips.open_catalog(out))} == {"scene-3", "scene-4"}
        assert [(row["kind"], row["reason"]) for row in failures(out)] == [("hook", reason)]
    for hook, told in (("nosuch:make", "no hook"), ("catalog_hook:nosuch", "no hook"), ("x", "is not a hook"),
                       ("script:", "needs a command"), ("catalog_hook:__name__", "is not callable")):  # fmt: skip
        result = cli("list.txt", "--out", "other", "--hook", hook, status=2)
        assert told in result.output


@pytest.mark.slow
def test_lists_overlap_and_the_newest_wins(tmp_path: Path) -> None:
    first = [scene(n) for n in range(40)]
    newer = [scene(n, properties={"datetime": DAYS[3], "updated": DAYS[5]}) for n in range(20, 60)]
    older = [scene(n, properties={"datetime": DAYS[4], "updated": "2019-01-01T00:00:00Z"}) for n in range(70)]
    write(tmp_path / "1_a.ndjson", first)
    write(tmp_path / "1_b.ndjson", newer)
    write(tmp_path / "2.ndjson", older)
    out = tmp_path / "catalog"
    found = ingest(str(tmp_path / "1_*.ndjson"), out, quiet=True)
    assert (found.counts.items, found.outcome.new, found.outcome.replaced) == (80, 60, 0)
    found = ingest([tmp_path / "2.ndjson"], out, quiet=True)
    assert (found.outcome.new, found.outcome.older) == (10, 60)
    values = contents(eechips.open_catalog(out))
    assert len(values) == 70
    assert {value["properties"]["updated"][:7] for value in values.values()} == {"2020-01", "2020-03", "2019-01"}
    assert values["even", "scene-30"]["properties"]["datetime"][:10] == DAYS[3][:10]


def test_strict_validation_refuses_repairable_items(tmp_path: Path) -> None:
    write(tmp_path / "list.ndjson", [scene(1), scene(2, bbox=None), scene(3, links=None, collection=None)])
    result = cli(tmp_path / "list.ndjson", "--out", tmp_path / "mended", "--collection", "given", status=0)
    assert "repaired: " in result.output
    assert contents(eechips.open_catalog(tmp_path / "mended")).keys() == {
        ("odd", "scene-1"), ("even", "scene-2"), ("given", "scene-3")
    }  # fmt: skip
    cli(tmp_path / "list.ndjson", "--out", tmp_path / "strict", "--strict", status=1)
    assert len(eechips.open_catalog(tmp_path / "strict")) == 1
    assert [row["reason"] for row in failures(tmp_path / "strict")] == ["needs repair: bbox", "needs repair: links"]


def test_invalid_input_is_refused_before_ingestion(tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").write_text("")
    assert "there are no entries in" in cli(tmp_path / "empty.ndjson", "--out", tmp_path / "catalog").output
    assert not (tmp_path / "catalog").exists()
    assert "not to s3://b/c" in cli(tmp_path / "empty.ndjson", "--out", "s3://b/c").output
    assert "there is no list" in cli(tmp_path / "*.csv", "--out", tmp_path / "catalog").output
    write(tmp_path / "list.ndjson", [scene(1)])
    cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", status=0)
    result = cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", "--period", "day")
    assert "has another layout" in result.output


@pytest.mark.slow
@pytest.mark.skipif(missing_packages("s3") is not None, reason=str(missing_packages("s3")))
def test_lists_and_items_in_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    with serving_objects("catalogs-ingest", "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem("s3")
        root = server.bucket.removeprefix("s3://")
        files.pipe_file(f"{root}/items/7.json", json.dumps(scene(7)).encode())
        for part in range(2):
            lines = [json.dumps(scene(10 * part + n)) for n in range(3)]
            lines += [json.dumps(f"{server.bucket}/items/{7 + part}.json")]
            files.pipe_file(f"{root}/lists/2020_{part}.ndjson", "\n".join(lines).encode())
        cli(f"{server.bucket}/lists/2020_*.ndjson", "--out", tmp_path / "catalog", status=1)
        ids = {key[1] for key in contents(eechips.open_catalog(tmp_path / "catalog"))}
        assert ids == {f"scene-{n}" for n in (0, 1, 2, 7, 10, 11, 12)}
        (failed,) = failures(tmp_path / "catalog")
        assert (failed["kind"], failed["address"]) == ("not found", f"{server.bucket}/items/8.json")
        assert failed["place"] == f"{server.bucket}/lists/2020_1.ndjson:4"


def test_relative_references_are_resolved_against_the_item(tmp_path: Path, host: HostLimiter) -> None:
    """Relative references are resolved against the URL that the item was fetched from."""
    own = {
        "0": {"data": {"href": "./x.tif"}},
        "1": {"data": {"href": "https://a/x.tif"}, "other": {"href": "/x.tif"}},
        "2": {"data": {"href": "../x.tif"}},
        "3": {"data": {"href": "x.tif"}},
    }
    links = {"2": [{"rel": "self", "href": "https://home/2.json"}]}

    def answered(handler: BaseHTTPRequestHandler, _: int) -> None:
        name = handler.path.strip("/")[0]
        body = json.dumps(scene(int(name), assets=own[name], links=links.get(name, []))).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    host.answer = answered  # type: ignore[method-assign]
    write(tmp_path / "list.ndjson", [f"{host.url}/{n}.json?token=s3cret" for n in own] + [scene(9, assets=own["0"])])
    found = ingest(tmp_path / "list.ndjson", tmp_path / "catalog", quiet=True, strict=True)
    assert found.counts.mended == {"self": 2}
    locate = {
        key[1]: [link["href"] for link in value["links"] if link["rel"] == "self"]
        for key, value in contents(found.catalog).items()
    }
    assert locate == {
        "scene-0": [f"{host.url}/0.json"], "scene-1": [], "scene-2": ["https://home/2.json"],
        "scene-3": [f"{host.url}/3.json"], "scene-9": [],
    }  # fmt: skip
