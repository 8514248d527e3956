"""Scenes whose items, assets and URLs have unusual names, and bodies that are not files."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pystac
import pytest

from eechips_local.assets.folder_store import FolderStore
from local_tests.support.function_server import Answer, serve_function
from tests.support.scene_runs import TIFF, catalogue, fetch, steps
from tests.support.scene_servers import item, multihash

pytest.importorskip("pystac_client")

ITEMS = [
    "a/b", "a_b", "a b", "A_B", "../../../etc/passwd", "..", ".", ".hidden", "CON", "aux", "LPT1.tif", "trailing.",
    "Ünïcödé", "U\u0308", "日本語/シーン", "é", "e\u0301", "🛰", "x" * 400, "x" * 399 + "y", "tab\tnewline\n", "nul\0",
    "back\\slash", "q?a=1&b=#c", "%2e%2e%2f", '{"json": 1}', "{id}", "-rf", "~", "*", "'; drop table units; --",
]  # fmt: skip


@pytest.mark.exhaustive
def test_every_name_of_an_item_is_a_file_of_its_own(folder: Path, tmp_path: Path) -> None:
    data = (folder / "s0.tif").read_bytes()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return 200, {}, data

    out = tmp_path / "deep/out"
    with serve_function(answer) as url:
        assets = {key: {"href": f"{url}/s0.tif", "type": TIFF} for key in ("B04", "b04", "a/b", "a_b", "../x")}
        found = [item(name, assets, collection=f"c{n % 2}/..") for n, name in enumerate(ITEMS)]
        run = fetch(catalogue(tmp_path, found), out, ingest=tmp_path / "a")
    units = run.units
    assert run.counts == {"done": len(ITEMS) * 5}
    assert run.verify() == []
    files = list(units["file"])
    assert len({name.casefold() for name in files}) == len(files)
    inside = {path.resolve() for path in out.rglob("*.tif") if path.is_file()}
    assert {(out / name).resolve() for name in files} == inside
    assert not [path for path in tmp_path.iterdir() if path.name not in ("deep", "files", "items.json", "a")]
    kept = sorted(out.glob("stac/*/*.json"))
    read = [pystac.Item.from_file(str(path)) for path in kept]
    assert sorted(each.id for each in read) == sorted(ITEMS)
    for each in read:
        for asset in each.assets.values():
            assert Path(unquote(asset.get_absolute_href() or "")).is_file()
    with FolderStore(tmp_path / "a") as store:
        collections = [each.id for each in store.summaries() if each.type == "IMAGE_COLLECTION"]
        ids = [each.id for name in collections for each in store.summaries(name)]
    assert len({name.casefold() for name in ids}) == len(ITEMS)


PATHS = [
    "/", "/download", "/a%20b.tif", "/%E6%97%A5.tif", "/x.tif?version=1&name=a%20b.tif", "/a+b.tif", "/x.tif;v=1",
    "/a%2Fb.tif",
]  # fmt: skip


def test_urls_are_requested_unchanged(folder: Path, tmp_path: Path) -> None:
    data, asked = (folder / "s0.tif").read_bytes(), []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked.append(path)
        return 200, {}, data

    with serve_function(answer) as url:
        found = [item(f"i{n}", {"data": {"href": url + path, "type": TIFF}}) for n, path in enumerate(PATHS)]
        found += [item("spaces", {"data": {"href": f" {url}/a b.tif\n", "type": TIFF}})]
        found += [item("none", {"data": {"href": "", "type": TIFF}, "null": None, "text": "x.tif"})]
        run = fetch(catalogue(tmp_path, found), tmp_path / "out")
    assert run.counts == {"done": len(PATHS) + 1}
    assert sorted(asked) == sorted([*PATHS, "/a%20b.tif"])
    assert list(run.units["file"])[:2] == ["scenes/i0/data.tif", "scenes/i1/data.tif"]  # by their type


def test_bodies_that_are_not_the_file_are_refused(folder: Path, tmp_path: Path) -> None:
    """A page of HTML in the place of a raster and of metadata; what comes compressed; what nobody can check."""
    data, xml = (folder / "s0.tif").read_bytes(), b"<?xml version='1.0'?><metadata>" + b"x" * 5000 + b"</metadata>"

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if "page" in path:
            return 200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>Please sign in</html>"
        if path == "/coded.xml":
            return 200, {"Content-Encoding": "gzip", "ETag": '"1"'}, gzip.compress(xml)
        return 200, {}, data if path.endswith("tif") else xml

    with serve_function(answer) as url:
        types = {"tif": TIFF, "xml": "application/xml"}

        def of(name: str, **more: Any) -> dict[str, Any]:
            return item(name, {"data": {"href": f"{url}/{name}", "type": types[name[-3:]], "roles": ["data"], **more}})

        found = [of("page.tif"), of("page.xml"), of("plain.xml", **{"file:checksum": multihash(xml)})]
        found += [of("coded.xml", **{"file:checksum": multihash(xml), "file:size": len(xml)})]
        found += [of("odd.tif", **{"file:checksum": "not-a-multihash"})]
        run = fetch(catalogue(tmp_path, found), tmp_path / "out")
    states = {unit["item"]: state for unit, state in zip(run.units["unit"], run.units["state"], strict=True)}
    wanted = {"page.tif": "failed_permanent", "page.xml": "failed_permanent", "plain.xml": "done", "coded.xml": "done"}
    assert states == {**wanted, "odd.tif": "done"}
    assert (tmp_path / "out/scenes/coded.xml/data.xml").read_bytes() == xml
    assert all("an HTML page" in error for error in run.failures["error"])
    unknown = [line["unknown"] for line in steps(run.path, "check") if "unknown" in line]
    assert unknown == ["not-a-multihash"]
