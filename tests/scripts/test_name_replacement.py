"""Names that a script binds before or after they are replaced: they work, and reach the workers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import http.client
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import AbstractHTTPHandler

import pytest
import urllib3
from requests.adapters import HTTPAdapter

import eechips
from eechips.client.access.connection import Connection, ServiceTarget
from eechips.scripts.pooling.call_folder import CallResult, Program
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.pool_patches import replace_pools
from eechips.scripts.replacements.library_patches import keep_client, leave_out_signals
from eechips.scripts.replacements.network_patches import RequestObserver, _note_other_libraries
from eechips.scripts.replacements.retry_guard import guard_retries
from eechips.scripts.serialization import deserialize, function_name, serialize
from eechips.scripts.working_folder import WorkingFolder
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.engine_service import Service
from tests.support.user_scripts import files, run

NAMES = (
    "time.sleep", "builtins.open", "io.open", "os.rename", "os.replace", "os.stat", "os.lstat", "os.listdir",
    "os.scandir", "os.access", "os.chdir", "os.getcwd", "os.path.exists", "os.path.isfile", "os.walk",
    "os.makedirs", "glob.glob", "shutil.copy", "shutil.move", "pathlib.Path", "ee.Initialize", "ee.Authenticate",
    "ee.Image", "ee.Geometry", "google.auth.default", "requests.get", "requests.Session",
    "urllib.request.urlretrieve", "urllib.request.urlopen", "retry.retry", "tqdm.tqdm", "multiprocessing.pool.Pool",
    "multiprocessing.pool.ThreadPool", "multiprocessing.dummy.Pool", "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.ThreadPoolExecutor", "concurrent.futures.as_completed", "concurrent.futures.wait",
    "signal.signal", "signal.alarm", "signal.setitimer",
)  # fmt: skip


class NoHost:
    """A host of pools that are not used."""

    def execute(
        self, calls: Sequence[Call], *, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...], shares: bool
    ) -> list[CallResult]:
        raise AssertionError(calls)


class Makes(NoHost):
    """A host that makes calls in this process, and notes the names of their functions."""

    def __init__(self) -> None:
        self.made: list[list[str]] = []

    def execute(self, calls: Sequence[Call], _: Program) -> list[CallResult]:
        self.made.append([function_name(call.function) for call in calls])
        return [CallResult(call.function(*call.arguments)) for call in calls]


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[None]:
    """All names are replaced, as while a script runs."""
    with (
        keep_client(),
        leave_out_signals(),
        replace_pools(NoHost()),
        WorkingFolder(folder, ()).entered(),
        guard_retries(),
    ):
        yield


def bound(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def uses(thing: Any) -> Callable[[], Any]:
    """Return a function of a script whose global is the thing."""
    main = ModuleType("__main__")
    exec("def work():\n    return thing\n", main.__dict__)
    main.__dict__["thing"] = thing
    work: Callable[[], Any] = main.__dict__["work"]
    return work


@pytest.mark.parametrize("is_before", [True, False])
def test_a_bound_name_reaches_a_worker_as_what_the_name_has_there(is_before: bool, tmp_path: Path) -> None:
    things = {name: bound(name) for name in NAMES}
    with replaced(tmp_path / "parent"):
        sent = {name: serialize(uses(things[name] if is_before else bound(name)), "work") for name in NAMES}
    with replaced(tmp_path / "worker"):
        for name, data in sent.items():
            assert deserialize(data)() is bound(name), name


def test_a_name_that_was_bound_in_an_earlier_block_is_that_of_the_present_one(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "a.txt").write_text("x")
    with replaced(tmp_path / "first"):
        listdir, opens, sleep = bound("os.listdir"), bound("io.open"), bound("time.sleep")
    with replaced(tmp_path / "second"):
        assert listdir() == ["a.txt"]
        with opens("b.txt", "w") as file:
            file.write("y")
    assert sleep is not time.sleep
    sleep(0)
    assert sorted(listdir(tmp_path / "second")) == ["a.txt", "b.txt"]


def test_every_replaced_name_is_the_original_afterwards(tmp_path: Path) -> None:
    before = {name: bound(name) for name in NAMES}
    with replaced(tmp_path):
        pass
    assert {name: bound(name) for name in NAMES} == before


@pytest.mark.parametrize("kind", ["pool", "executor", "as_completed"])
def test_a_call_that_awaits_what_the_script_does_is_made_after_those_whose_results_it_needs(kind: str) -> None:
    """One process writes what the others put in a queue until the script, which has their results, says so."""
    queue: list[str] = []

    def listener() -> list[str]:
        assert queue[-1] == "stop"
        return queue

    def worker(n: int) -> None:
        queue.append(str(n))

    host = Makes()
    with replace_pools(host):
        if kind == "pool":
            pool = multiprocessing.Pool(2)
            written = pool.apply_async(listener)
            for result in [pool.apply_async(worker, (n,)) for n in range(3)]:
                result.get()
            queue.append("stop")
            pool.close()
            pool.join()
            found = written.get()
        else:
            executor = concurrent.futures.ProcessPoolExecutor(2)
            future = executor.submit(listener)
            futures = [executor.submit(functools.partial(worker, n)) for n in range(3)]
            for done in concurrent.futures.as_completed(futures) if kind == "as_completed" else futures:
                done.result()
            queue.append("stop")
            found = future.result()
    assert found == ["0", "1", "2", "stop"]
    assert host.made == [["worker"] * 3, ["listener"]]


@pytest.mark.parametrize("names", [{}, {"signalnum": signal.SIGALRM, "handler": signal.SIG_IGN}])
def test_calls_leave_out_what_only_the_main_thread_may_do_with_signals(names: dict[str, Any]) -> None:
    """A call that limits its time by an alarm runs, as in the main thread of a worker of multiprocessing."""
    before = signal.getsignal(signal.SIGALRM)

    def limited() -> list[Any]:
        with leave_out_signals():
            set_before = signal.signal(**names) if names else signal.signal(signal.SIGALRM, lambda *_: None)
            return [set_before, signal.alarm(100), signal.setitimer(signal.ITIMER_REAL, 100), signal.alarm(0)]

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(limited).result() == [before, 0, (0.0, 0.0), 0]
    assert signal.getsignal(signal.SIGALRM) is before


def test_threads_of_a_script_set_alarms_for_its_main_thread() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with leave_out_signals(), ThreadPoolExecutor(1) as executor:
        assert signal.signal(signalnum=signal.SIGVTALRM, handler=signal.SIG_IGN) == before
        assert executor.submit(signal.setitimer, signal.ITIMER_VIRTUAL, 100).result() == (0.0, 0.0)
        assert signal.setitimer(signal.ITIMER_VIRTUAL, 0)[0] > 0
        with pytest.raises(ValueError, match="main thread"):
            executor.submit(signal.signal, signal.SIGVTALRM, signal.SIG_IGN).result()
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("record", ["helper/__init__.py,sha256=x,1\n", "other.py,,\n", None])
def test_a_pool_is_of_the_script_unless_an_installer_has_recorded_its_module(
    record: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``pip install --target`` does, which puts packages beside others and beside scripts."""
    (tmp_path / "helper").mkdir()
    (tmp_path / "helper" / "__init__.py").write_text(
        "from multiprocessing.pool import ThreadPool\n\ndef opened():\n    with ThreadPool(1) as pool:\n"
        "        return type(pool)\n"
    )
    if record is not None:
        (tmp_path / "helper-1.dist-info").mkdir()
        (tmp_path / "helper-1.dist-info" / "RECORD").write_text(record)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    with replaced(tmp_path / "run"):
        kind = importlib.import_module("helper").opened()
    monkeypatch.delitem(sys.modules, "helper")
    assert (kind is ThreadPool) == (record is not None and record.startswith("helper"))


def test_a_pool_of_a_library_starts_processes_as_its_context_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was of the default context, which forks a process with threads."""
    (tmp_path / "spawning.py").write_text(
        "import multiprocessing\n\ndef opened():\n    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        return pool._ctx.get_start_method()\n"
    )
    (tmp_path / "spawning-1.dist-info").mkdir()
    (tmp_path / "spawning-1.dist-info" / "RECORD").write_text("spawning.py,sha256=x,1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with replaced(tmp_path / "run"):
        method = importlib.import_module("spawning").opened()
    monkeypatch.delitem(sys.modules, "spawning")
    assert method == "spawn"


SCRIPT = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from glob import glob
from multiprocessing.pool import ThreadPool
from os import listdir, makedirs, rename
from os.path import exists
from shutil import move
from time import sleep
import multiprocessing as mp
from ee import Initialize, Number
from requests import get
from retry import retry

Initialize()
opened = open

@retry(tries=2)
def work(n):
    sleep(0.001)
    assert callable(get)
    makedirs("made", exist_ok=True)
    with opened("part", "w") as file:
        file.write(str(Number(n).getInfo()))
    rename("part", f"made/{n}.part")
    move(f"made/{n}.part", f"made/{n}.txt")
    return exists(f"made/{n}.txt"), f"{n}.txt" in listdir("made"), f"made/{n}.txt" in glob("made/*")

if __name__ == "__main__":
    with mp.Pool(2) as pool:
        assert pool.map(work, [0, 1]) == [(True, True, True)] * 2
    assert ThreadPool(2).map(work, [2, 3]) == [(True, True, True)] * 2
    for kind in (ProcessPoolExecutor, ThreadPoolExecutor):
        with kind(2) as executor:
            start = 4 if kind is ProcessPoolExecutor else 6
            futures = [executor.submit(work, n) for n in range(start, start + 2)]
            assert [future.result() for future in as_completed(futures)] == [(True, True, True)] * 2
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_script_of_bound_names_runs(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    ended: subprocess.CompletedProcess[str] = run(tmp_path / "script.py", demo_server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert files(tmp_path / "run") == {f"made/{n}.txt": str(n).encode() for n in range(8)}


def test_a_name_may_be_replaced_again_inside_a_block(tmp_path: Path) -> None:
    """As by units that are executed by threads of the process that runs the script."""
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    outer.mkdir()
    inner.mkdir()
    (inner / "a.txt").write_text("a")
    stat, listdir = os.stat, os.listdir
    with replaced(outer), replaced(inner):
        assert stat(inner / "a.txt").st_size == os.stat(inner / "a.txt").st_size == 1  # noqa: PTH116
        assert listdir(inner) == os.listdir(inner) == ["a.txt"]  # noqa: PTH208
        assert Path(inner, "a.txt").read_text() == "a"
        assert not os.access(inner / "b.txt", os.R_OK)
        time.sleep(0)
    assert os.stat is stat


@pytest.mark.slow
def test_libraries_are_left_alone_after_calls_in_threads(demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from multiprocessing import Pool\n\ndef work(n):\n    with open(f'{n}.txt', 'w') as file:\n"
        "        file.write('x')\n\nif __name__ == '__main__':\n    with Pool(2) as pool:\n"
        "        pool.map(work, [1, 2])\n"
    )

    def present() -> list[Any]:
        return [AbstractHTTPHandler.do_open, HTTPAdapter.send, urllib3.PoolManager.urlopen]

    before = present()
    run = eechips.run(
        script, out=tmp_path / "out", endpoint=demo_server.url, project="my-project", executor="threads", quiet=True
    )
    assert run.counts == {"done": 2}
    assert present() == before


SENDERS = {
    "http.client": "import http.client",
    "rasterio": "import rasterio",
    "subprocess": "import subprocess, sys",
    "os": "import os, sys",
    "aiohttp": "import asyncio, aiohttp",
    "httpx": "import httpx",
    "urllib3": "import urllib3",
    "requests": "import requests",
    "urllib": "import urllib.error, urllib.request",
}
SENDING = """
from multiprocessing import Pool
from urllib.parse import urlsplit
{imports}
URL = "{url}/elsewhere"

FETCH = "import http.client, sys; c = http.client.HTTPConnection(sys.argv[1].split('/')[2]); c.request('GET', '/x')"

def by_rasterio():
    try:
        rasterio.open(URL)
    except rasterio.RasterioIOError:
        return 404

def by_subprocess():
    subprocess.run([sys.executable, "-c", FETCH, URL], check=True)
    return 404

def by_os():
    assert os.system(f'{{sys.executable}} -c "{{FETCH}}" "{{URL}}"') == 0
    return 404

def by_http_client():
    connection = http.client.HTTPConnection(urlsplit(URL).netloc)
    connection.request("GET", "/elsewhere")
    status = connection.getresponse().status
    connection.close()
    return status

def by_urllib3():
    address = urlsplit(URL)
    with urllib3.HTTPConnectionPool(address.hostname, address.port) as pool:
        return pool.request("GET", address.path).status

def by_requests():
    return requests.get(URL, timeout=60).status_code

def by_urllib():
    opener = urllib.request.build_opener()
    opener.addheaders = [("User-Agent", "script")]
    urllib.request.install_opener(opener)
    try:
        return urllib.request.urlopen(URL).status
    except urllib.error.HTTPError as error:
        return error.code

def by_httpx():
    return httpx.get(URL).status_code

def by_aiohttp():
    async def ask():
        async with aiohttp.ClientSession() as session, session.get(URL) as response:
            return response.status
    return asyncio.run(ask())

def work(n):
    with open(f"{{n}}.txt", "w") as file:
        file.write(str(by_{name}()))

if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(work, [1])
"""


def test_requests_to_other_hosts_are_sent_as_they_are() -> None:
    """An address of IPv6 has no brackets in ``http.client``; a URL without a port is the same as with its usual one."""
    for endpoint, others in {
        "http://[::1]:8080": ("http://[::1]:8081", "http://[::2]:8080"),
        "https://earthengine.googleapis.com": ("https://earthengine.googleapis.com:444", "http://example.org"),
    }.items():
        target = ServiceTarget(endpoint, "my-project", None)
        observer = RequestObserver(Connection(target, transport=None))  # type: ignore[arg-type]  # none is sent
        _note_other_libraries(observer)
        try:
            for url in (*others, endpoint):
                assert not observer.uncounted
                parts = urlsplit(url)
                kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
                assert parts.hostname is not None
                kind(parts.hostname.upper(), parts.port).putrequest("GET", "/")
            assert observer.uncounted == {"http.client"}
        finally:
            observer.close()


@pytest.mark.parametrize("library", slow_except(SENDERS, "subprocess", "requests"))
def test_requests_of_calls_are_counted_or_their_library_is_named(
    library: str, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(library)
    script = tmp_path / "script.py"
    name = library.replace(".", "_")
    script.write_text(SENDING.format(imports=SENDERS[library], url=service.url, name=name))
    run = eechips.run(script, out=tmp_path / "out", endpoint=service.url, project="my-project", executor="threads")
    assert (tmp_path / "out" / "1.txt").read_text() == "404"
    sender = Path(sys.executable).name if library in ("subprocess", "os") else library
    said = f"Requests that the script sends to Earth Engine by {sender} are not counted"
    is_counted = library in ("aiohttp", "httpx", "requests", "urllib")
    assert (said in capsys.readouterr().err) != is_counted
    assert list(run.units["requests"]) == [int(is_counted)]
