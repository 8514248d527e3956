"""Lists into a catalogue: over HTTP with faults, from S3, by hooks, killed and resumed."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import eechips
from eechips.catalogs.fetch import Pace, fetch
from eechips.catalogs.ingest import ingest
from eechips.catalogs.workers import SMALL, Crew, crew, workers
from eechips.cli import main
from eechips.errors import ConfigurationError, UsageError
from tests.catalog_items import DAYS, contents, digests, item
from tests.object_server import lacking, serving_objects

ROOT = Path(__file__).resolve().parents[2]


class Host:
    """A web server of items, which fails as its items' names say.

    Attributes:
        asked: requests by path.
        most: requests at once, at most.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.asked: Counter[str] = Counter()
        self.most = self._now = 0
        self.delay, self._lock = delay, threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with host._lock:
                    host.asked[self.path] += 1
                    times = host.asked[self.path]
                    host._now += 1
                    host.most = max(host.most, host._now)
                try:
                    time.sleep(host.delay)
                    host.answer(self, times)
                finally:
                    with host._lock:
                        host._now -= 1

            def do_HEAD(self) -> None:
                host.answer(self, 1)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, times: int) -> None:
        """``/7.json`` is an item; ``/busy-7.json`` is one from the third request on."""
        path = handler.path.partition("?")[0]
        kind, _, number = path.strip("/").removesuffix(".json").rpartition("-")
        status, headers = {"missing": 404, "gone": 410}.get(kind, 200), {}
        if kind == "busy" and times < 3:
            status, headers = 503, {"Retry-After": "0"}
        body = b"<html>" if kind == "page" else json.dumps(scene(int(number))).encode()
        length = len(body) + (100 if kind == "cut" and times == 1 else 0)
        handler.send_response(status)
        handler.send_header("Content-Length", str(length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        handler.wfile.write(body)
        if length > len(body):
            handler.close_connection = True


def scene(number: int, **fields: Any) -> dict[str, Any]:
    lon, lat = (number * 37) % 350 - 175.0, (number * 17) % 160 - 80.0
    box = (lon, lat, lon + 1, lat + 1)
    collection = "even" if number % 2 == 0 else "odd"
    return {**item(f"scene-{number}", box, when=DAYS[number % 6], updated=DAYS[0], collection=collection), **fields}


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()
    yield found
    found.close()


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["catalog", "ingest", *map(str, arguments)])


def write(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def failures(folder: Path) -> list[dict[str, str]]:
    with (folder / "_failures.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_addresses_are_fetched_and_what_fails_is_told(tmp_path: Path, host: Host) -> None:
    kinds = ["", "busy-", "cut-", "missing-", "gone-", "page-"]
    urls = [f"{host.url}/{kinds[n % 6]}{n}.json" for n in range(60)]
    write(tmp_path / "list.ndjson", [*urls, "no address", scene(100), {"type": "Collection"}])
    out = tmp_path / "catalog"
    result = cli(tmp_path / "list.ndjson", "--out", out, "--retries", 3)
    assert result.exit_code == 1
    assert "entries: 63 (61 addresses); items: 31" in result.output
    assert {key[1] for key in contents(eechips.open_catalog(out))} == {
        *(f"scene-{n}" for n in range(60) if n % 6 < 3),
        "scene-100",
    }
    told = failures(out)
    assert Counter(row["kind"] for row in told) == {
        "HTTP 404": 10, "HTTP 410": 10, "no JSON": 10, "no item": 1, "not found": 1
    }  # fmt: skip
    assert told[0] == {
        "place": f"{tmp_path}/list.ndjson:4",
        "address": urls[3],
        "kind": "HTTP 404",
        "reason": "Not Found",
    }
    assert all(host.asked[f"/busy-{n}.json"] == 3 for n in range(1, 60, 6))
    assert all(host.asked[f"/missing-{n}.json"] == 1 for n in range(3, 60, 6))
    assert all(host.asked[f"/cut-{n}.json"] == 2 for n in range(2, 60, 6))
    report = json.loads((out / "_ingest.json").read_text())
    assert report["requests"][host.url.removeprefix("http://")] == sum(host.asked.values())
    # What has failed is a list as well.
    asked = sum(host.asked.values())
    assert cli(out / "_failures.csv", "--out", out).exit_code == 1
    assert sum(host.asked.values()) == asked + 30
    assert len(failures(out)) == 31
    # Mended, the list is through without failures, and nothing changes.
    before = digests(out)
    good = [urls[n] for n in range(60) if n % 6 < 3]
    write(tmp_path / "list.ndjson", [*good, scene(100)])
    assert cli(tmp_path / "list.ndjson", "--out", out).exit_code == 0
    assert digests(out) == before
    assert not (out / "_failures.csv").exists()


def test_a_host_gets_no_more_requests_at_once_than_it_may(tmp_path: Path) -> None:
    host = Host(delay=0.02)
    try:
        urls = [f"{host.url}/{n}.json" for n in range(80)]
        found = fetch(urls, Pace(in_flight=40, per_host=7), advance=lambda _: None)
        assert found.failures == []
        assert [json.loads(body or b"")["id"] for body in found.bodies] == [f"scene-{n}" for n in range(80)]
        assert 2 <= host.most <= 7
    finally:
        host.close()


def test_connections_are_opened_as_fast_as_the_host_answers() -> None:
    """What comes at once at a server that keeps five connections waiting may be lost for half a minute."""
    host = Host(delay=0.1)
    at_once: list[int] = []
    asked = host.answer

    def answer(handler: BaseHTTPRequestHandler, times: int) -> None:
        at_once.append(host.most)  # so far
        asked(handler, times)

    host.answer = answer  # type: ignore[method-assign]
    try:
        found = fetch([f"{host.url}/{n}.json" for n in range(300)], Pace(), advance=lambda _: None)
    finally:
        host.close()
    assert found.failures == []
    assert all(most <= 4 + ended for ended, most in enumerate(at_once))
    assert at_once[-1] > 16


def test_who_does_not_answer_is_given_up(tmp_path: Path) -> None:
    host = Host(delay=2.0)
    try:
        pace = Pace(timeout=0.2, retries=1, first_wait=0.01)
        found = fetch([f"{host.url}/1.json", "http://127.0.0.1:9/x.json"], pace, advance=lambda _: None)
        assert [(number, kind) for number, kind, _ in found.failures] == [(0, "time-out"), (1, "connection")]
        assert host.asked["/1.json"] == 2
    finally:
        host.close()


def test_paces_that_make_no_sense_are_refused() -> None:
    for wrong in ({"in_flight": 0}, {"per_host": 0}, {"retries": -1}, {"timeout": 0.0}):
        with pytest.raises(UsageError, match="must be positive"):
            Pace(**wrong)  # type: ignore[arg-type]


def test_addresses_may_be_paths(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(scene(1)))
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.json\nfile://{tmp_path}/a.json\n{tmp_path}/b.json\n")
    result = cli(tmp_path / "list.txt", "--out", tmp_path / "catalog")
    assert "items: 2" in result.output
    assert [row["kind"] for row in failures(tmp_path / "catalog")] == ["not found"]
    assert len(eechips.open_catalog(tmp_path / "catalog")) == 1


def test_lists_on_the_web(tmp_path: Path, host: Host) -> None:
    result = cli(f"{host.url}/7.json?key=a*b", "--out", tmp_path / "catalog")
    assert result.exit_code == 0, result.output
    assert [key[1] for key in contents(eechips.open_catalog(tmp_path / "catalog"))] == ["scene-7"]


def test_hooks_make_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("3\n4\nx\n")
    (tmp_path / "catalog_hook.py").write_text(
        "from tests.integration.test_catalogs_ingest import scene\ndef make(address):\n    return scene(int(address))\n"
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
        assert cli("list.txt", "--out", out, "--hook", hook).exit_code == 1
        assert {key[1] for key in contents(eechips.open_catalog(out))} == {"scene-3", "scene-4"}
        assert [(row["kind"], row["reason"]) for row in failures(out)] == [("hook", reason)]
    for hook, told in (("nosuch:make", "no hook"), ("catalog_hook:nosuch", "no hook"), ("x", "is no hook"),
                       ("script:", "needs a command"), ("catalog_hook:__name__", "cannot be called")):  # fmt: skip
        result = cli("list.txt", "--out", "other", "--hook", hook)
        assert result.exit_code == 2
        assert told in result.output


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


def test_strict_refuses_what_would_be_mended(tmp_path: Path) -> None:
    write(tmp_path / "list.ndjson", [scene(1), scene(2, bbox=None), scene(3, links=None, collection=None)])
    result = cli(tmp_path / "list.ndjson", "--out", tmp_path / "mended", "--collection", "given")
    assert result.exit_code == 0
    assert "mended: " in result.output
    assert contents(eechips.open_catalog(tmp_path / "mended")).keys() == {
        ("odd", "scene-1"), ("even", "scene-2"), ("given", "scene-3")
    }  # fmt: skip
    result = cli(tmp_path / "list.ndjson", "--out", tmp_path / "strict", "--strict")
    assert result.exit_code == 1
    assert len(eechips.open_catalog(tmp_path / "strict")) == 1
    assert [row["reason"] for row in failures(tmp_path / "strict")] == ["to be mended: bbox", "to be mended: links"]


def test_what_cannot_begin_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").write_text("")
    assert "there is nothing in" in cli(tmp_path / "empty.ndjson", "--out", tmp_path / "catalog").output
    assert not (tmp_path / "catalog").exists()
    assert "not to s3://b/c" in cli(tmp_path / "empty.ndjson", "--out", "s3://b/c").output
    assert "there is no list" in cli(tmp_path / "*.csv", "--out", tmp_path / "catalog").output
    write(tmp_path / "list.ndjson", [scene(1)])
    assert cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog").exit_code == 0
    result = cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", "--period", "day")
    assert "laid out otherwise" in result.output


@pytest.mark.skipif(lacking("s3") is not None, reason=str(lacking("s3")))
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
        result = cli(f"{server.bucket}/lists/2020_*.ndjson", "--out", tmp_path / "catalog")
        assert result.exit_code == 1, result.output
        ids = {key[1] for key in contents(eechips.open_catalog(tmp_path / "catalog"))}
        assert ids == {f"scene-{n}" for n in (0, 1, 2, 7, 10, 11, 12)}
        (failed,) = failures(tmp_path / "catalog")
        assert (failed["kind"], failed["address"]) == ("not found", f"{server.bucket}/items/8.json")
        assert failed["place"] == f"{server.bucket}/lists/2020_1.ndjson:4"


# Kills itself as a file gets its name for which a test is true.
KILLED = """
import os, pathlib, signal, sys
from eechips.cli import main
rename, left = pathlib.Path.replace, int(sys.argv[2])
real = os.replace
def watch(target):
    global left
    if sys.argv[1] in str(target):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
def replace(source, target, **options):
    watch(target)
    return real(source, target, **options)
os.replace = replace
def renamed(self, target):
    watch(target)
    return rename(self, target)
pathlib.Path.replace = renamed
main(["catalog", "ingest", *sys.argv[3:]])
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("phase", "count"),
    [
        ("fetched", 1),
        ("sharded", 0),
        ("sharded", 1),
        (".made", 3),
        ("commit.json", 0),
        ("items.parquet", 4),
        ("_schema.json", 0),
    ],
)
def test_killed_in_any_phase_it_goes_on_where_it_stopped(tmp_path: Path, host: Host, phase: str, count: int) -> None:
    """Nothing is lost or doubled, nothing is fetched twice but the chunk that was being fetched."""
    urls = [f"{host.url}/{n}.json" for n in range(2100)]
    (tmp_path / "list.txt").write_text("\n".join(urls))
    out = tmp_path / "catalog"
    ingest(write(tmp_path / "old.ndjson", [scene(n) for n in range(2090, 2110)]), out, resolution=0, quiet=True)
    before = digests(out)
    arguments = [str(tmp_path / "list.txt"), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", KILLED, phase, str(count), *arguments], cwd=ROOT, timeout=150)
    assert done.returncode == -signal.SIGKILL
    if phase not in ("items.parquet", "_schema.json"):
        assert digests(out) == before
    result = cli(*arguments)
    assert result.exit_code == 0, result.output
    values = contents(eechips.open_catalog(out))
    assert len(values) == 2110
    twice = sum(times > 1 for times in host.asked.values())
    assert twice == {"fetched": 100}.get(phase, 0)
    assert sorted(path.name for path in out.glob(".*")) == [".eechips.lock"]


# Kills a command at every so manieth of its changes of files, and then has it go on; each time from the same beginning.
SWEPT = """
import hashlib, json, os, shutil, signal, sys
from pathlib import Path
import h3, pandas.util, pyarrow.parquet, stac_geoparquet.arrow
import eechips.catalogs.ingest as module
import eechips.catalogs.lists
from eechips.catalogs.ingest import ingest
module._ENOUGH, module._PART, eechips.catalogs.lists._MOST = 4000, 2000, 12
home = Path(sys.argv[1])
CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
def run(left):
    child = os.fork()
    if not child:
        def watch(event, arguments):
            nonlocal left
            if event not in CHANGES or (event == "open" and not isinstance(arguments[1], str)):
                return  # os.open is not watched: it makes nothing that matters
            if event == "open" and not set("wax+") & set(arguments[1]):
                return
            if str(arguments[0]).startswith((str(home), ".scratch", "0")) or event != "open":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        try:
            if left is not None:
                sys.addaudithook(watch)
            ingest(home / "list.ndjson", home / "catalog", processes=1, quiet=True)
            os._exit(0)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def state():
    return {
        str(path.relative_to(home / "catalog")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((home / "catalog").rglob("*")) if path.is_file() and path.name not in ("_ingest.json",)
    }
def begin():
    shutil.rmtree(home / "catalog", ignore_errors=True)
    shutil.copytree(home / "before", home / "catalog")
begin()
assert run(None) == 0
expected = state()
expected.pop(".eechips.lock")
number = int(sys.argv[3])
while True:
    begin()
    ended = run(number)
    if ended == 0:
        break
    assert ended == -signal.SIGKILL, (number, ended)
    again = run(None)
    assert again == 0, ("going on", number, again)
    found = state()
    found.pop(".eechips.lock")
    assert found == expected, (number, sorted(found.items() ^ expected.items()))
    number += int(sys.argv[2])
print(number)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_any_change_of_a_file_it_goes_on_to_the_same_catalogue(tmp_path: Path) -> None:
    """Of some hundred changes every thirteenth, other ones each time; ``EECHIPS_TEST_STRIDE=1`` has all of them."""
    stride = int(os.environ.get("EECHIPS_TEST_STRIDE", "13"))
    old = [scene(n) for n in range(6)]
    ingest(write(tmp_path / "old.ndjson", old), tmp_path / "before", resolution=0, period="none", quiet=True)
    entries: list[Any] = []
    for n in range(4, 20):
        far = scene(n + 5 if n % 10 == 0 else n, id=f"scene-{n}", collection=scene(n)["collection"])  # some have moved
        (tmp_path / f"{n}.json").write_text(json.dumps(far))
        entries.append(str(tmp_path / f"{n}.json") if n % 3 == 0 else far)
    write(tmp_path / "list.ndjson", entries)
    done = subprocess.run(
        [sys.executable, "-c", SWEPT, str(tmp_path), str(stride), str(random.randrange(stride))],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 50


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 1000, 30_000])
def test_a_disk_that_is_full_is_told_and_nothing_is_lost(tmp_path: Path, limit: int) -> None:
    """As the lock, what is sorted, or partitions are written: no file may have more bytes."""
    out = tmp_path / "catalog"
    write(tmp_path / "list.ndjson", [scene(n, assets={f"{n}": {"href": os.urandom(100).hex()}}) for n in range(100)])
    ingest(write(tmp_path / "old.ndjson", [scene(n) for n in range(5)]), out, resolution=0, quiet=True)
    before = digests(out)
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "import sys; from eechips.cli import main; main(['catalog', 'ingest', *sys.argv[1:]])"
    )
    arguments = [str(tmp_path / "list.ndjson"), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 2
    assert "could not write" in done.stderr
    assert digests(out) == before
    assert len(eechips.open_catalog(out)) == 5
    assert cli(*arguments).exit_code == 0
    assert len(contents(eechips.open_catalog(out))) == 100
    assert sorted(path.name for path in out.glob(".*")) == [".eechips.lock"]


@pytest.mark.slow
def test_a_resumed_job_is_that_of_the_same_lists(tmp_path: Path, host: Host) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f"{host.url}/{n}.json" for n in range(10)))
    arguments = [str(tmp_path / "list.txt"), "--out", str(tmp_path / "catalog")]

    def killed() -> int:
        command = [sys.executable, "-c", KILLED, "commit.json", "0", *arguments]
        return subprocess.run(command, cwd=ROOT, timeout=90).returncode

    assert killed() == -signal.SIGKILL
    found = ingest(arguments[0], arguments[2], quiet=True)
    assert (found.resumed, sum(host.asked.values())) == (10, 10)
    assert killed() == -signal.SIGKILL
    (tmp_path / "list.txt").write_text(f"{host.url}/11.json\n")
    found = ingest(arguments[0], arguments[2], quiet=True)
    assert (found.resumed, found.counts.entries, len(found.catalog)) == (0, 1, 11)


@pytest.mark.slow
def test_a_list_that_changes_unseen_is_not_taken_for_the_one_before(tmp_path: Path, host: Host) -> None:
    """On the web nobody says which version it is: what was done of another one is not gone on with."""
    lists = {"x": [f"{host.url}/{n}.json" for n in range(2500)]}
    answer = host.answer

    def answered(handler: BaseHTTPRequestHandler, times: int) -> None:
        if not handler.path.startswith("/list"):
            answer(handler, times)
            return
        body = "\n".join(lists["x"]).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)

    host.answer = answered  # type: ignore[method-assign]
    arguments = [f"{host.url}/list.txt", "--out", str(tmp_path / "catalog"), "--resolution", "0"]
    command = [sys.executable, "-c", KILLED, "sharded", "1", *arguments]
    assert subprocess.run(command, cwd=ROOT, timeout=150).returncode == -signal.SIGKILL
    lists["x"].reverse()
    assert cli(*arguments).exit_code == 0
    found = contents(eechips.open_catalog(tmp_path / "catalog"))
    assert {key[1] for key in found} == {f"scene-{n}" for n in range(2500)}


@pytest.mark.slow
@pytest.mark.parametrize("phase", [None, "0.fetched", "000000.3.fetched", "000000.2.sharded"])
def test_large_items_are_sorted_in_parts(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch, phase: str | None
) -> None:
    """However large they are together, all of them come, each is fetched once, also by a command that goes on."""
    limits = "import eechips.catalogs.ingest as i; i._ENOUGH, i._PART = 100_000, 20_000\n"
    monkeypatch.setattr("eechips.catalogs.ingest._ENOUGH", 100_000)
    monkeypatch.setattr("eechips.catalogs.ingest._PART", 20_000)
    lines = [f"{host.url}/{'missing-' if n % 50 == 7 else ''}{n}.json" for n in range(400)]
    lines[200:200] = [json.dumps(scene(n)) for n in range(2000, 2010)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    arguments = [str(tmp_path / "list.txt"), "--out", str(tmp_path / "catalog"), "--resolution", "0"]
    if phase is not None:
        command = [sys.executable, "-c", limits + KILLED, phase, "0", *arguments]
        assert subprocess.run(command, cwd=ROOT, timeout=150).returncode == -signal.SIGKILL
    assert cli(*arguments).exit_code == 1
    found = contents(eechips.open_catalog(tmp_path / "catalog"))
    expected = {f"scene-{n}" for n in (*range(400), *range(2000, 2010)) if n % 50 != 7 or n >= 2000}
    assert {key[1] for key in found} == expected
    told = failures(tmp_path / "catalog")
    assert [row["place"].rpartition(":")[2] for row in told] == [
        str(n + 1 + 10 * (n >= 200)) for n in range(7, 400, 50)
    ]
    report = json.loads((tmp_path / "catalog/_ingest.json").read_text())
    assert (report["entries"], report["items"], report["failures"]) == (410, 402, {"HTTP 404": 8})
    twice = sum(times > 1 for times in host.asked.values())
    assert twice == 0 if phase in (None, "000000.2.sharded") else twice > 0


def test_items_with_relative_references_say_where_they_were(tmp_path: Path, host: Host) -> None:
    """What is relative counts from the address that they were fetched from, which nothing else tells."""
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
    homes = {
        key[1]: [link["href"] for link in value["links"] if link["rel"] == "self"]
        for key, value in contents(found.catalog).items()
    }
    assert homes == {
        "scene-0": [f"{host.url}/0.json"], "scene-1": [], "scene-2": ["https://home/2.json"],
        "scene-3": [f"{host.url}/3.json"], "scene-9": [],
    }  # fmt: skip


def test_a_notebook_s_loop_does_not_matter(host: Host) -> None:
    import asyncio

    async def cell() -> list[bytes | None]:
        return fetch([f"{host.url}/1.json"], Pace(), advance=lambda _: None).bodies

    (body,) = asyncio.run(cell())
    assert json.loads(body or b"")["id"] == "scene-1"


def test_a_list_that_breaks_off_leaves_all_as_it_was(tmp_path: Path) -> None:
    import gzip

    data = gzip.compress("\n".join(json.dumps(scene(n)) for n in range(50)).encode())
    (tmp_path / "list.ndjson.gz").write_bytes(data[:-100])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ingest(tmp_path / "list.ndjson.gz", tmp_path / "catalog", quiet=True)
    assert not list((tmp_path / "catalog").rglob("*.parquet"))
    (tmp_path / "list.ndjson.gz").write_bytes(data)
    assert len(ingest(tmp_path / "list.ndjson.gz", tmp_path / "catalog", quiet=True).catalog) == 50
    assert os.listdir(tmp_path / "catalog").count(".scratch-ingest") == 0  # noqa: PTH208


@pytest.mark.slow
@pytest.mark.parametrize("who", ["processes", "dask", "configured"])
def test_whoever_sorts_the_catalogue_is_the_same(tmp_path: Path, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in range(3):
        write(tmp_path / f"{part}.ndjson", [scene(n, text="x" * 20_000) for n in range(900 * part, 900 * part + 1000)])
    pattern = str(tmp_path / "*.ndjson")
    alone = ingest(pattern, tmp_path / "alone", resolution=0, quiet=True)
    assert alone.crew.is_alone
    if who == "processes":
        result = cli(pattern, "--out", tmp_path / "other", "--resolution", 0, "--processes", 2)
        assert result.exit_code == 0, result.output
        assert "sorted by 2 processes" in result.output
    else:
        import dask.config
        from distributed import LocalCluster

        with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
            address = cluster.scheduler_address
            if who == "dask":
                found = ingest(pattern, tmp_path / "other", resolution=0, scheduler=address, quiet=True)
            else:
                monkeypatch.setattr("eechips.catalogs.workers.SMALL", 1_000_000)
                with dask.config.set({"scheduler-address": address}):
                    found = ingest(pattern, tmp_path / "other", resolution=0, quiet=True)
            assert str(found.crew) == f"the Dask cluster {address}"
            with pytest.raises(ConfigurationError, match="do not see"), workers(found.crew, tmp_path / "nowhere"):
                pass
    assert (tmp_path / "other/_schema.json").read_bytes() == (tmp_path / "alone/_schema.json").read_bytes()
    assert (alone.counts.items, alone.outcome.new) == (3000, 2800)


def die(lives: bytes, folder: Path) -> int:
    """Kills its process so many times."""
    deaths = len(list(folder.iterdir()))
    if deaths < len(lives):
        (folder / str(deaths)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return deaths


@pytest.mark.slow
def test_what_dies_with_a_worker_of_a_cluster_is_done_again(tmp_path: Path) -> None:
    """What a worker was given dies with it, and Dask gives up what needs it."""
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        workers(Crew(scheduler=cluster.scheduler_address), tmp_path) as found,
    ):
        assert found.submit(die, b"xx", tmp_path).result() == 2
        with pytest.raises(ConfigurationError, match="die while they sort items, perhaps for want of memory"):
            found.submit(die, b"x" * 100, tmp_path).result()


@pytest.mark.slow
def test_a_cluster_without_workers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr("eechips.catalogs.workers._PATIENCE", 1)
    write(tmp_path / "list.ndjson", [scene(1)])
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        result = cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", "--scheduler", cluster.scheduler_address)
    assert result.exit_code == 2
    assert "has no workers: start some" in result.output


def test_who_sorts_is_chosen_by_size_and_by_option() -> None:
    import dask.config

    with dask.config.set({"scheduler-address": "tcp://here:1"}):
        assert crew(SMALL, None, None) == Crew()
        assert crew(SMALL + 1, None, None).scheduler == "tcp://here:1"
        assert crew(SMALL + 1, 3, None) == Crew(3)
        assert crew(0, None, "tcp://there:2") == Crew(1, "tcp://there:2")
        assert crew(0, 3, "tcp://there:2").scheduler == "tcp://there:2"
    with dask.config.set({"scheduler-address": None}):
        assert crew(SMALL + 1, None, None) == Crew(min(4, os.cpu_count() or 1))
        assert crew(SMALL + 1, 1, None).is_alone


@pytest.mark.slow
def test_a_program_needs_no_main_guard_and_its_processes_end_with_it(tmp_path: Path) -> None:
    """Killed, it leaves nobody who goes on writing."""
    write(tmp_path / "list.ndjson", [scene(n, text="x" * 20_000) for n in range(4000)])
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from eechips.catalogs.ingest import ingest\n"
        "print('started', flush=True)\n"
        "ingest(sys.argv[1], sys.argv[2], processes=2, quiet=True)\n"
    )
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "list.ndjson"), str(tmp_path / "catalog")]
    whole = subprocess.run(
        [*command[:3], str(tmp_path / "whole")], cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert (whole.returncode, whole.stdout) == (0, "started\n"), whole.stderr
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "catalog/.scratch-ingest").glob("*.shard"))) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None
        process.kill()
        process.wait()
        while members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert members(process.pid) == []
    assert len(ingest(tmp_path / "list.ndjson", tmp_path / "catalog", quiet=True).catalog) == 4000


def members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                found += [int(entry.name)] if int(own) == session and state != "Z" else []
    return found


def test_workers_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "list.ndjson", [scene(1)])
    assert "cannot be 0" in cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", "--processes", 0).output
