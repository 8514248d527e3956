"""Requests of httpx and aiohttp, which modules of a script may import, are those of the run: retried and checked."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest

from eechips.scripts.replacements.imported_clients import attach_httpx
from eechips.scripts.replacements.name_replacement import change_imported
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.user_scripts import files, run, run_with_faults

HELPER = """
import asyncio

import ee
import aiohttp
import httpx


def address(n):
    region = ee.Geometry.Point([-105.2 + 0.01 * n, 40.0]).buffer(500).bounds()
    options = {"region": region, "dimensions": 32, "min": 0, "max": 4000, "format": "png"}
    return ee.Image("USGS/SRTMGL1_003").getThumbURL(options)


async def by_aiohttp(session, n):
    async with session.get(address(n)) as response:
        response.raise_for_status()
        with open(f"{n}.png", "wb") as file:
            async for chunk in response.content.iter_chunked(100):
                file.write(chunk)


async def by_httpx(client, n):
    async with client.stream("GET", address(n)) as response:
        with open(f"{n}.png", "wb") as file:
            async for chunk in response.raise_for_status().aiter_bytes():
                file.write(chunk)


async def both(first):
    async with aiohttp.ClientSession() as session, httpx.AsyncClient(timeout=60) as client:
        for n in (first, first + 1):  # the second needs a new connection
            await asyncio.gather(by_aiohttp(session, n), by_httpx(client, n + 2))


def at_once(n):
    with open(f"{n}.png", "wb") as file:
        file.write(httpx.get(address(n), timeout=60).raise_for_status().content)

"""

SCRIPT = """
import asyncio
from multiprocessing import Pool

import ee

ee.Initialize()
from helper import at_once, both


def work(n):
    asyncio.run(both(n))
    at_once(n + 4)


if __name__ == "__main__":
    work(0)
    Pool(2).map(work, [10])
"""


@pytest.mark.exhaustive
def test_faults_do_not_reach_files_that_modules_of_a_script_fetch_by_other_clients(
    demo_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert run(script, demo_server, tmp_path, "--out", "good").returncode == 0
    pixels = {"on": "thumbnails:getPixels", "probability": 1.0, "times": 1}
    kinds = ("status", "truncate", "truncate-silently", "reset", "gzip")
    result = run_with_faults(script, tmp_path, [{"type": k, **pixels, "after": n} for n in (0, 5) for k in kinds])
    assert result.returncode == 0, result.stderr
    assert "not counted" not in result.stderr
    assert files(tmp_path / "run") == files(tmp_path / "good")
    assert len(files(tmp_path / "run")) == 10


STOPPING = """
import asyncio
import aiohttp
import httpx
import ee

ee.Initialize()
URL = ee.Image(0).getThumbURL({"region": ee.Geometry.Point([0, 0]).buffer(9).bounds(), "dimensions": 8})


async def fetch():
    while True:
        try:
            async with CLIENT() as client:
                await client.get(URL)
        except Exception:
            await asyncio.sleep(0)


asyncio.run(fetch())
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("client", ["aiohttp.ClientSession", "httpx.AsyncClient"])
def test_a_budget_stops_event_loops_that_repeat_all_errors(demo_server: Server, tmp_path: Path, client: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(STOPPING.replace("CLIENT", client))
    result = run(script, demo_server, tmp_path, "--budget", "requests=9")
    assert result.returncode == 130, result.stderr
    assert "Traceback" not in result.stderr


class Answers:
    """Answer requests to one host, once so many threads as httpx has connections wait, or a few requests."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.uncounted: set[str] = set()
        self.threads: set[int] = set()
        self.is_open = threading.Event()
        self.replace = patch.setattr

    def concerns(self, url: str) -> bool:
        return url.startswith("https://earthengine.test/")

    def fetch(self, *_: object) -> tuple[int, dict[str, str], bytes]:
        self.threads.add(threading.get_ident())
        assert self.is_open.wait(60)
        return 200, {"content-length": "4"}, b"a\nbc"

    def note_thread(self, url: str) -> None:
        assert self.concerns(url)

    def for_thread(self, function: Callable[[], Any]) -> Callable[[], Any]:
        return function


@pytest.mark.parametrize("is_new", slow_except([True, False], True))
def test_responses_of_httpx_are_read_as_those_of_its_connections(monkeypatch: pytest.MonkeyPatch, is_new: bool) -> None:
    answers, run_sync = Answers(monkeypatch), anyio.to_thread.run_sync
    attach_httpx(answers, httpx)

    async def run_before(
        function: Any, *, cancellable: bool = False, limiter: Any = None
    ) -> Any:  # as before anyio 4.1
        return await run_sync(function, abandon_on_cancel=cancellable, limiter=limiter)

    if not is_new:
        monkeypatch.setattr(anyio.to_thread, "run_sync", run_before)

    async def fetch() -> list[Any]:
        async with httpx.AsyncClient() as client:
            tasks = [asyncio.create_task(client.get("https://earthengine.test/")) for _ in range(150)]
            while len(answers.threads) < 100:
                await asyncio.sleep(0)
            for _ in range(100):  # any other would begin
                await asyncio.sleep(0)
            count = len(answers.threads)
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])  # although its thread waits
            answers.is_open.set()
            bodies = {response.content for response in await asyncio.gather(*tasks[1:])}
            async with client.stream("GET", "https://earthengine.test/") as response:
                chunks = [chunk async for chunk in response.aiter_raw()]
            return [count, bodies, chunks, response.num_bytes_downloaded]

    assert asyncio.run(fetch()) == [100, {b"a\nbc"}, [b"a\nbc"], 4]
    with httpx.stream("GET", "https://earthengine.test/") as response:
        assert list(response.iter_lines()) == ["a", "bc"]


def test_modules_are_changed_after_their_import_or_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("imported_before", "imported_inside", "imported_after"):
        (tmp_path / f"{name}.py").write_text("value = 1\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)

    def double(module: types.ModuleType) -> None:
        module.value *= 2  # type: ignore[attr-defined]

    modules = [importlib.import_module("imported_before")]
    with change_imported(dict.fromkeys(("imported_before", "imported_inside", "imported_after"), double)):
        assert importlib.util.find_spec("imported_inside") is not None  # scripts ask whether they can import it
        modules.append(importlib.import_module("imported_inside"))
        assert importlib.import_module("imported_before") is modules[0]
    modules.append(importlib.import_module("imported_after"))
    assert [module.value for module in modules] == [2, 2, 1]
    assert sys.meta_path == finders
