"""Ingestion of lists that is killed or fails at any moment, and resumes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.archive.catalogs.ingestion import list_readers
from eechips.archive.catalogs.ingestion.ingest import ingest
from eechips.errors import ConfigurationError
from tests.support.catalog_items import contents, digests
from tests.support.catalog_lists import HostLimiter, cli, failures, scene, write
from tests.support.programs import run_program

ROOT = Path(__file__).resolve().parents[3]


# Kills itself as a file gets its name for which a test is true.
KILLED = """
import os, pathlib, signal, sys
from eechips.archive.catalogs.ingestion import list_readers
from eechips.cli import main
list_readers._BYTES = 3_200_000
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
        pytest.param("fetched", 1, marks=pytest.mark.exhaustive),
        ("sharded", 0),
        pytest.param("sharded", 1, marks=pytest.mark.exhaustive),
        ("commit.json", 0),
        pytest.param("items.parquet", 4, marks=pytest.mark.exhaustive),
        pytest.param("_schema.json", 0, marks=pytest.mark.exhaustive),
    ],
)
def test_an_ingestion_killed_in_any_phase_resumes(
    tmp_path: Path, host: HostLimiter, monkeypatch: pytest.MonkeyPatch, phase: str, count: int
) -> None:
    """No item is lost or repeated, and only the chunk in progress is fetched twice."""
    monkeypatch.setattr(list_readers, "_BYTES", 3_200_000)  # two chunks, of 200 addresses and of 10
    urls = [f"{host.url}/{n}.json" for n in range(210)]
    (tmp_path / "list.txt").write_text("\n".join(urls))
    out = tmp_path / "catalog"
    ingest(write(tmp_path / "old.ndjson", [scene(n) for n in range(200, 220)]), out, resolution=0, quiet=True)
    before = digests(out)
    arguments = [str(tmp_path / "list.txt"), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", KILLED, phase, str(count), *arguments], cwd=ROOT, timeout=150)
    assert done.returncode == -signal.SIGKILL
    if phase not in ("items.parquet", "_schema.json"):
        assert digests(out) == before
    cli(*arguments, status=0)
    values = contents(eechips.open_catalog(out))
    assert len(values) == 220
    twice = sum(times > 1 for times in host.asked.values())
    assert twice == {"fetched": 10}.get(phase, 0)
    assert sorted(path.name for path in out.glob(".*")) == [".eechips.lock"]


# Kills a command at every so manieth of its changes of files, and then has it go on; each time from the same beginning.
SWEPT = """
import hashlib, json, os, shutil, signal, sys
from pathlib import Path
import h3, pandas.util, pyarrow.parquet, stac_geoparquet.arrow
import eechips.archive.catalogs.ingestion.ingest as module
import eechips.archive.catalogs.ingestion.list_readers
from eechips.archive.catalogs.ingestion.ingest import ingest
module._ENOUGH, module._PART, eechips.archive.catalogs.ingestion.list_readers._MOST = 4000, 2000, 12
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


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_ingestion_killed_at_any_file_change_makes_the_same_catalogue(tmp_path: Path) -> None:
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
    done = run_program(
        sys.executable, "-c", SWEPT, tmp_path, stride, random.randrange(stride), status=0, cwd=ROOT, timeout=280
    )
    assert int(done.stdout) > 50


@pytest.mark.exhaustive
@pytest.mark.parametrize("limit", [0, 1000, 30_000])
def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path, limit: int) -> None:
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
    done = run_program(sys.executable, "-c", program, *arguments, status=2, cwd=ROOT, timeout=90)
    assert "could not write" in done.stderr
    assert digests(out) == before
    assert len(eechips.open_catalog(out)) == 5
    cli(*arguments, status=0)
    assert len(contents(eechips.open_catalog(out))) == 100
    assert sorted(path.name for path in out.glob(".*")) == [".eechips.lock"]


@pytest.mark.exhaustive
def test_a_resumed_job_is_that_of_the_same_lists(tmp_path: Path, host: HostLimiter) -> None:
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


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_changed_list_is_not_resumed(tmp_path: Path, host: HostLimiter) -> None:
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
    cli(*arguments, status=0)
    found = contents(eechips.open_catalog(tmp_path / "catalog"))
    assert {key[1] for key in found} == {f"scene-{n}" for n in range(2500)}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("phase", [None, "0.fetched", "000000.3.fetched", "000000.2.sharded"])
def test_large_items_are_sorted_in_parts(
    tmp_path: Path, host: HostLimiter, monkeypatch: pytest.MonkeyPatch, phase: str | None
) -> None:
    """However large they are together, all of them come, each is fetched once, also by a command that goes on."""
    limits = "import eechips.archive.catalogs.ingestion.ingest as i; i._ENOUGH, i._PART = 100_000, 20_000\n"
    monkeypatch.setattr("eechips.archive.catalogs.ingestion.ingest._ENOUGH", 100_000)
    monkeypatch.setattr("eechips.archive.catalogs.ingestion.ingest._PART", 20_000)
    monkeypatch.setattr(list_readers, "_BYTES", 3_200_000)  # as KILLED has it: other chunks would be other requests
    lines = [f"{host.url}/{'missing-' if n % 50 == 7 else ''}{n}.json" for n in range(400)]
    lines[200:200] = [json.dumps(scene(n)) for n in range(2000, 2010)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    arguments = [str(tmp_path / "list.txt"), "--out", str(tmp_path / "catalog"), "--resolution", "0"]
    if phase is not None:
        command = [sys.executable, "-c", limits + KILLED, phase, "0", *arguments]
        assert subprocess.run(command, cwd=ROOT, timeout=150).returncode == -signal.SIGKILL
    cli(*arguments, status=1)
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


@pytest.mark.slow
def test_a_truncated_list_changes_nothing(tmp_path: Path) -> None:
    import gzip

    data = gzip.compress("\n".join(json.dumps(scene(n)) for n in range(50)).encode())
    (tmp_path / "list.ndjson.gz").write_bytes(data[:-100])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ingest(tmp_path / "list.ndjson.gz", tmp_path / "catalog", quiet=True)
    assert not list((tmp_path / "catalog").rglob("*.parquet"))
    (tmp_path / "list.ndjson.gz").write_bytes(data)
    assert len(ingest(tmp_path / "list.ndjson.gz", tmp_path / "catalog", quiet=True).catalog) == 50
    assert os.listdir(tmp_path / "catalog").count(".scratch-ingest") == 0  # noqa: PTH208
