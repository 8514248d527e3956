"""Machines that strangers attack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from local_tests.support.loopback import QuietServer
from tests.support.strangers import GEOJSON, HARMLESS, HOSTILE, SECRET, Listener, World
from tests.support.watched_folder import watch_folder


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            found.requests.append(f"{self.requestline} {dict(self.headers)}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_HEAD = do_PUT = answer  # noqa: N815 - names of the base class

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def world(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("at", "outside", "home"):
        (tmp_path / name).mkdir()
    outside = tmp_path / "outside"
    (outside / "secret.csv").write_text(f"id,lon,lat\n{SECRET},0.5,0.5\n")
    (outside / "secret.geojson").write_text(GEOJSON)
    (outside / "key.json").write_text(json.dumps({"type": "service_account", "private_key": SECRET}))
    monkeypatch.chdir(tmp_path / "at")
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "EECHIPS_CACHE": str(tmp_path / "me"),
        "EECHIPS_SCENES_TOKEN": SECRET,
        "MARK": str(tmp_path / "executed"),
        "OUTSIDE": str(outside),
        "LISTENER": listener.url,
    }.items():
        monkeypatch.setenv(name, value)
    Path("recipe.py").write_text(HARMLESS)
    Path("evil.py").write_text(HOSTILE + HARMLESS)
    with watch_folder(outside) as watched:
        found = World(tmp_path / "at", watched, listener)
        yield found
        assert found.seen() == []
    assert list((tmp_path / "home").iterdir()) == []


@pytest.fixture
def run(world: World) -> Path:
    """The run of a stranger, with a hostile recipe, as it was copied here."""
    world.be("them")
    assert world.eechips("run", "recipe.py", "--out", "run", "--executor", "threads", "-q")[0] == 0
    world.be("me")
    world.seen()
    return world.at / "run"


@pytest.fixture
def worked(world: World) -> list[dict[str, Any]]:
    """Outcomes of units that were fetched to ``out`` from ``units.jsonl``."""
    assert world.eechips("plan", "run", "recipe.py", "--to", "units.jsonl")[0] == 0
    words = ("--units", "units.jsonl", "--out", "out", "--outcomes", "outcomes.jsonl", "--executor", "threads", "-q")
    assert world.eechips("work", *words)[0] == 0
    return [json.loads(each) for each in Path("outcomes.jsonl").read_text().splitlines()]
