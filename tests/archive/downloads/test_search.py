"""Searches: responses of a STAC API and items that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.archive.downloads.criteria import Search
from eechips.archive.downloads.document_reader import DocumentReader
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.search import items
from eechips.archive.downloads.signers import Secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.errors import ConfigurationError
from local_tests.support.captured_log import CapturedLog
from local_tests.support.function_server import Answer, serve_function
from tests.support.scene_servers import item
from tests.support.stac_search import as_json, feature, search


@pytest.fixture
def hosts() -> Iterator[HostSessions]:
    with HostSessions(4, 5.0, 5.0) as found:
        yield found


@pytest.mark.parametrize(("status", "page"), [(200, {"links": []}), (200, []), (404, {}), (200, "x")])
def test_invalid_api_responses_are_reported(status: int, page: Any, hosts: HostSessions) -> None:
    signer = make_signer(Auth(), Secrets({}), hosts)
    with (
        serve_function(lambda path, headers, body: (status, {}, json.dumps(page).encode())) as url,
        pytest.raises(ConfigurationError, match="not a STAC catalogue"),
    ):
        list(items(Search(stac=url), DocumentReader(hosts, signer)))


def test_an_item_nested_too_deep_is_reported_and_the_others_are_found(tmp_path: Path, caplog: CapturedLog) -> None:
    known = item("one", assets={"data": {"href": "https://127.0.0.1:9/x.tif"}})
    lines = [json.dumps(known), '{"id": ' + "[" * 100_000, json.dumps({**known, "id": "two"})]
    (tmp_path / "items.ndjson").write_text("\n".join(lines))
    planned = eechips.scenes(str(tmp_path / "items.ndjson"), out=tmp_path / "out", dry_run=True, quiet=True)
    assert planned.units == 2
    assert "items.ndjson:2: not JSON: its values are nested too deep" in caplog.text


@pytest.mark.parametrize("confused", ["a", "c"])
@pytest.mark.parametrize("times", [1, 9])
def test_the_document_of_another_item_is_requested_again(confused: str, times: int) -> None:
    """A cache on the way answered a request with the response to another one, and an item was lost without a word."""
    asked: Counter[str] = Counter()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked[path] += 1
        if path == "/catalog.json":
            links = [{"rel": "item", "href": f"./{name}.json"} for name in "abc"]
            return as_json(
                {"type": "Catalog", "id": "top", "stac_version": "1.0.0", "description": "x", "links": links}
            )
        return as_json(feature("b" if path[1:-5] == confused and asked[path] <= times else path[1:-5]))

    with serve_function(answer) as url:
        found = search(f"{url}/catalog.json")
    if times == 1:
        assert (sorted(found.ids), found.unread) == (["a", "b", "c"], [])
    else:
        first, second = sorted(["b", confused])
        assert found.unread == [(f"{url}/{second}.json", f"it has the same item as {url}/{first}.json: b")]
