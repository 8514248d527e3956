"""Results of other plans, runs and units are never taken, whatever their names are."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import eechips
from eechips.engine.config import RunConfig
from eechips.engine.plans.changed_options import describe, plan_identity
from eechips.engine.queues.queue_items import WorkItem
from eechips.engine.queues.queue_join import join_results
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.reserved_names import OUTCOMES_FOLDER
from eechips.manifest.sqlite.ledger import Ledger
from eechips.recipe import canonical_json, unit_id
from eechips.storage import LocalStore, ObjectStore
from local_tests.support.captured_log import CapturedLog
from local_tests.support.object_server import missing_packages, serving_objects
from local_tests.support.parameters import slow_except
from tests.support.commands import run_command
from tests.support.engine_service import Service

RECIPE = """
import json
import ee
from eechips import Chip, Grid, Table

def get_requests(places="1 2 3", year="2020"):
    return [{"place": int(place), "start": f"{year}-01-01"} for place in places.split()]

def get_result(index, unit, dataset="NAIP", bands="R,G,B", scale=1.0, quality=80, format="csv"):
    what = f"{unit['place']} {unit['start']} {dataset} {bands} {scale} {quality}"
    if format in ("csv", "parquet"):
        return Table([{"what": f"{what:<60}"}], format=format)
    grid = Grid("EPSG:32613", (scale, 0.0, 500000.0, 0.0, -scale, 4400000.0), 24, 24)
    return Chip(ee.Image(sum(what.encode()) % 200), grid=grid, format=format)
"""
FORMATS = ("png", "jpg", "tif", "npy", "csv", "parquet")


@dataclass(frozen=True)
class Place:
    """A folder of results, and the recipe and service of their plans."""

    folder: Path
    service: Service

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def told(self, *words: object, given: str = "") -> Result:
        return run_command(*words, given=given)

    def words(self, *parameters: str, local: bool = True) -> list[object]:
        recipe = self.folder / "recipe.py"
        recipe.write_text(RECIPE)
        url = self.service.url if local else self.service.url.replace("127.0.0.1", "localhost")
        options = [word for each in parameters for word in ("-p", each)]
        return ["run", recipe, *options, "--name", "chips/{index}", "--endpoint", url, "--executor", "threads", "-q"]

    def plan(self, *parameters: str, local: bool = True) -> list[str]:
        done = self.told("plan", *self.words(*parameters, local=local))
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    def work(self, lines: list[str], out: Path | None = None) -> list[str]:
        done = self.told("work", "--units", "-", "--out", out or self.out, given="\n".join(lines))
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    def join(self, lines: list[str], *words: object) -> Result:
        return self.told("join", "--units", "-", "--out", self.out, *words, given="\n".join(lines))

    def run(self, *parameters: str, local: bool = True) -> Result:
        return self.told(*self.words(*parameters, local=local), "--out", self.out)


@pytest.fixture
def place(tmp_path: Path, service: Service) -> Place:
    return Place(tmp_path, service)


def swap(first: Path, second: Path) -> None:
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def another_plan(*parameters: str, local: bool = True) -> Callable[[Place, list[str]], None]:
    """Its workers have written to the place, and those of this plan have not."""

    def make(place: Place, lines: list[str]) -> None:
        place.work(place.plan(*parameters, local=local))

    return make


def another_unit(place: Place, lines: list[str]) -> None:
    place.work(lines)
    swap(place.out / "chips/0.csv", place.out / "chips/1.csv")


def another_unit_with_its_outcome(place: Place, lines: list[str]) -> None:
    """Two outcomes have exchanged their files, as a process that writes to the folder can do."""
    place.work(lines)
    (stored,) = (place.out / OUTCOMES_FOLDER).iterdir()
    plan, *outcomes = map(json.loads, stored.read_text().splitlines())
    files = [{key: outcome[key] for key in ("file", "bytes", "sha256")} for outcome in outcomes]
    outcomes[0] |= files[1]
    outcomes[1] |= files[0]
    stored.write_text("\n".join(map(json.dumps, (plan, *outcomes))))


def copied_outcomes(place: Place, lines: list[str]) -> None:
    place.work(lines)
    shutil.rmtree(place.out / OUTCOMES_FOLDER)
    place.work(place.plan("year=2021"), place.folder / "other")
    shutil.copytree(place.folder / "other" / OUTCOMES_FOLDER, place.out / OUTCOMES_FOLDER)


def outcome_without_file(place: Place, lines: list[str]) -> None:
    place.work(lines)
    (place.out / "chips/1.csv").unlink()


def file_without_outcome(place: Place, lines: list[str]) -> None:
    place.work(lines)
    shutil.rmtree(place.out / OUTCOMES_FOLDER)


def changed_bytes(place: Place, lines: list[str]) -> None:
    place.work(lines)
    change(place.out / "chips/1.csv")


def overwritten_later(place: Place, lines: list[str]) -> None:
    place.work(lines)
    place.work(place.plan("year=2019"))


def earlier_run(place: Place, lines: list[str]) -> None:
    assert place.run("year=2019").exit_code == 0


FOREIGN: dict[str, tuple[Callable[[Place, list[str]], None], str]] = {
    "other dates": (another_plan("year=2021"), 'of another plan (year: "2021" there, null here), not to unit'),
    "other places": (another_plan("places=4 5 6"), 'of another plan (places: "4 5 6" there, null here)'),
    "other dataset": (another_plan("dataset=S2"), 'of another plan (dataset: "S2" there, null here)'),
    "other bands": (another_plan("bands=N,R,G"), 'of another plan (bands: "N,R,G" there, null here)'),
    "other scale": (another_plan("scale=2.0"), "of another plan (scale: 2.0 there, null here)"),
    "other options of the format": (another_plan("quality=90"), "of another plan (quality: 90 there, null here)"),
    "other source": (another_plan(local=False), 'of another plan (source: "http://localhost:'),
    "another unit's file": (another_unit, "is the result of unit"),
    "another unit's file and outcome": (another_unit_with_its_outcome, "has the name of another one, chips/1: fetch"),
    "outcomes of another run": (copied_outcomes, 'of another plan (year: "2021" there, null here)'),
    "outcome without file": (outcome_without_file, "is gone since its worker wrote it: fetch the unit again"),
    "file without outcome": (file_without_outcome, "as no outcome says which unit and plan it belongs to"),
    "changed bytes of the same size": (changed_bytes, "is not what the worker of unit"),
    "overwritten by a later plan": (overwritten_later, 'of another plan (year: "2019" there, null here)'),
    "an earlier run of the folder": (earlier_run, 'holds another run (year: "2019" there, null here)'),
}


USUAL = {"other dates", "another unit's file", "changed bytes of the same size"}
"""Results that are tested by default: of another plan, another unit, and changed."""


@pytest.mark.parametrize("kind", slow_except(FOREIGN, *USUAL))
def test_join_refuses_foreign_results(place: Place, kind: str) -> None:
    make, said = FOREIGN[kind]
    lines = place.plan()
    make(place, lines)
    before = {path: path.read_bytes() for path in place.out.rglob("*.csv")}
    done = place.join(lines, "--missing", place.folder / "missing.jsonl")
    assert done.exit_code in (1, 2), done.output
    assert said in done.stderr
    if kind != "an earlier run of the folder":
        assert any(json.loads(line)["id"][:16] in done.stderr for line in lines)
    assert {path: path.read_bytes() for path in place.out.rglob("*.csv")} == before
    assert (place.out / "manifest.parquet").exists() == (kind == "an earlier run of the folder")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    slow_except(
        [kind for kind in FOREIGN if kind != "an earlier run of the folder"], "another unit's file and outcome"
    ),
)
def test_what_helps_against_foreign_results_helps(place: Place, kind: str) -> None:
    lines = place.plan()
    FOREIGN[kind][0](place, lines)
    missing = place.folder / "missing.jsonl"
    assert place.join(lines, "--missing", missing).exit_code == 1
    place.work(missing.read_text().splitlines())
    assert place.join(lines).exit_code == 0
    joined = eechips.open_run(place.out)
    assert joined.is_complete
    assert joined.verify() == []
    whats = [(place.out / file).read_text() for file in joined.units["file"]]
    assert [f"{number} 2020-01-01 NAIP R,G,B 1.0 80" in what for number, what in enumerate(whats, 1)] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("format", slow_except(FORMATS, "csv"))
def test_join_takes_results_of_its_plan_only_in_each_format(place: Place, format: str) -> None:
    lines = place.plan(f"format={format}")
    place.work(place.plan(f"format={format}", "year=2021"))
    done = place.join(lines)
    assert done.exit_code == 1
    assert 'of another plan (year: "2021" there, null here)' in done.stderr
    place.work(lines)
    assert place.join(lines).exit_code == 0


@pytest.mark.slow
def test_outcomes_that_name_no_plan_are_refused(place: Place) -> None:
    lines = place.plan()
    outcomes = [json.loads(line) for line in place.work(lines)]
    shutil.rmtree(place.out / OUTCOMES_FOLDER)
    kept = place.folder / "outcomes.jsonl"
    kept.write_text("".join(json.dumps({k: v for k, v in each.items() if k != "plan"}) + "\n" for each in outcomes))
    done = place.join(lines, "--outcomes", kept)
    assert done.exit_code == 1
    assert "of another plan, which its outcome does not name" in done.stderr


class _BuiltIn:
    """A recipe of eechips, whose units have files unless they are empty."""

    name = identity = "built-in"
    parameters: Mapping[str, Any] = {}
    datasets = ()
    is_builtin, needs_service = True, False

    def get_requests(self) -> list[Any]:
        return [1]

    def get_result(self, index: int, unit: Any) -> bytes:
        return b""


def test_an_outcome_that_is_done_without_a_file_is_none(tmp_path: Path) -> None:
    """A forged line in a shared folder marked a unit as done that nobody has fetched."""
    unit = {"kind": "call", "value": 1}
    identifier = unit_id(unit, _BuiltIn.identity)
    item = WorkItem(("run",), _BuiltIn.identity, WorkUnit(0, identifier, canonical_json(unit), "chips/a"))
    config = RunConfig(out=tmp_path / "out", quiet=True)
    plan = plan_identity(describe(_BuiltIn(), config))
    joined = join_results(_BuiltIn(), config, [item], [{"id": identifier, "plan": plan, "state": "done"}])
    assert joined.missing == (item,)
    assert joined.damaged == (
        ("chips/a", f"the outcome of unit {identifier[:16]} is done, and names no file: fetch the unit again"),
    )


def test_damaged_outcomes_beside_results_are_named(place: Place) -> None:
    lines = place.plan()
    place.work(lines)
    (stored,) = (place.out / OUTCOMES_FOLDER).iterdir()
    whole = stored.read_text()
    for text, number in ((whole[:-20], 4), (whole.replace('"id": "', '"id": "\\u001b'), 2), ("[1]\n" + whole, 1)):
        stored.write_text(text)
        done = place.join(lines)
        assert done.exit_code == 2
        assert f"line {number} of {OUTCOMES_FOLDER}/{stored.name} is damaged" in done.stderr


def another_run(*parameters: str, local: bool = True) -> Callable[[Place], None]:
    """The folder holds the run of another plan."""

    def make(place: Place) -> None:
        shutil.rmtree(place.out)
        assert place.run(*parameters, local=local).exit_code == 0

    return make


def swapped_results(place: Place) -> None:
    swap(place.out / "chips/0.csv", place.out / "chips/1.csv")


def copied_ledger(place: Place) -> None:
    for path in place.out.glob("chips/*"):  # results of a run of another plan, with the ledger of this one
        path.write_bytes(path.read_bytes().replace(b"2020", b"2021"))


def lost_result(place: Place) -> None:
    (place.out / "chips/1.csv").unlink()


def lost_ledger(place: Place) -> None:
    (place.out / "manifest.sqlite").unlink()


def changed_result(place: Place) -> None:
    change(place.out / "chips/1.csv")


def shortened_result(place: Place) -> None:
    (place.out / "chips/1.csv").write_bytes((place.out / "chips/1.csv").read_bytes()[:-3])


def copied_with_its_time(place: Place) -> None:
    """As by ``cp -p`` or rsync: the time of the content is earlier than the run."""
    copy = place.folder / "copy"
    copy.write_bytes((place.out / "chips/0.csv").read_bytes())
    os.utime(copy, (0, 0))
    shutil.copy2(copy, place.out / "chips/1.csv")


def changed_by_a_worker(place: Place) -> None:
    place.out.rename(place.folder / "before")
    place.work(place.plan("year=2019"))
    assert (place.out / "chips/1.csv").stat().st_size == (place.folder / "before/chips/1.csv").stat().st_size
    for path in (place.folder / "before").iterdir():
        if path.name != "chips":
            path.rename(place.out / path.name)


def changed_after_the_clock_was_set_back(place: Place) -> None:
    """The run was made while the clock was ahead."""
    with Ledger(place.out / "manifest.sqlite") as ledger:
        ledger.note("compared", 4e9)
        ledger.database.execute("UPDATE units SET finished = '2096-10-02T07:06:40.000Z'")
    change(place.out / "chips/1.csv")


NOT_WRITTEN = "is not what this run wrote for unit"
OTHER_RUNS: dict[str, tuple[Callable[[Place], None], str]] = {
    "other dates": (another_run("year=2021"), 'holds another run (year: "2021" there, null here)'),
    "other places": (another_run("places=4 5 6"), 'holds another run (places: "4 5 6" there, null here)'),
    "other dataset": (another_run("dataset=S2"), 'holds another run (dataset: "S2" there, null here)'),
    "other bands": (another_run("bands=N,R,G"), 'holds another run (bands: "N,R,G" there, null here)'),
    "other scale": (another_run("scale=2.0"), "holds another run (scale: 2.0 there, null here)"),
    "other options of the format": (another_run("quality=90"), "holds another run (quality: 90 there, null here)"),
    "other source": (another_run(local=False), 'holds another run (source: "http://localhost:'),
    "another unit's file": (swapped_results, NOT_WRITTEN),
    "ledger of another run": (copied_ledger, NOT_WRITTEN),
    "outcome without file": (lost_result, "is gone since this run wrote it: the unit is fetched again"),
    "file without outcome": (lost_ledger, "manifest.parquet names results that are there. What helps: eechips verify"),
    "changed bytes of the same size": (changed_result, NOT_WRITTEN),
    "other size": (shortened_result, NOT_WRITTEN),
    "a copy with an earlier time": (copied_with_its_time, NOT_WRITTEN),
    "results of a later plan": (changed_by_a_worker, NOT_WRITTEN),
    "changed after the clock was set back": (changed_after_the_clock_was_set_back, NOT_WRITTEN),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    slow_except(
        OTHER_RUNS, *USUAL & set(OTHER_RUNS), "a copy with an earlier time", "changed after the clock was set back"
    ),
)
def test_a_run_is_not_resumed_with_foreign_results(place: Place, kind: str) -> None:
    make, said = OTHER_RUNS[kind]
    assert place.run().exit_code == 0
    wanted = {path.name: path.read_bytes() for path in place.out.glob("chips/*")}
    make(place)
    before = {path.name: path.read_bytes() for path in place.out.glob("chips/*")}
    done = place.run()
    after = {path.name: path.read_bytes() for path in place.out.glob("chips/*")}
    if "holds another run" in said or kind == "file without outcome":
        assert (done.exit_code, after) == (2, before)
        assert said in done.stderr
    else:
        assert (done.exit_code, after) == (0, wanted)
        assert said in done.stderr
        assert eechips.open_run(place.out).verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("format", slow_except(FORMATS, "csv"))
def test_a_changed_result_is_fetched_again_in_each_format(place: Place, format: str) -> None:
    assert place.run(f"format={format}").exit_code == 0
    (path,) = place.out.glob("chips/1.*")
    wanted = path.read_bytes()
    change(path)
    assert NOT_WRITTEN in place.run(f"format={format}").stderr
    assert path.read_bytes() == wanted
    assert NOT_WRITTEN not in place.run(f"format={format}").stderr


def test_retry_looks_at_all_results(place: Place) -> None:
    assert place.run().exit_code == 0
    wanted = (place.out / "chips/1.csv").read_bytes()
    with Ledger(place.out / "manifest.sqlite") as ledger:
        ledger.record([Record(position=2, state=State.FAILED_PERMANENT, error="no")])
    change(place.out / "chips/1.csv")
    info = json.loads((place.out / "run.json").read_text())
    info["command"] = shlex.join(map(str, ["eechips", *place.words(), "--out", place.out]))
    (place.out / "run.json").write_text(json.dumps(info))
    done = place.told("retry", place.out, "--trust")
    assert done.exit_code == 0, done.output
    assert NOT_WRITTEN in done.stderr
    assert (place.out / "chips/1.csv").read_bytes() == wanted


@pytest.mark.slow
def test_a_worker_that_resumes_looks_at_the_results_of_its_ledger(place: Place, caplog: CapturedLog) -> None:
    lines, words = place.plan(), ("work", "--units", "-", "--out", place.out, "--ledger", place.folder / "ledgers")
    assert place.told(*words, given="\n".join(lines)).exit_code == 0
    wanted = (place.out / "chips/1.csv").read_bytes()
    place.work(place.plan("year=2021"))
    done = place.told(*words, given="\n".join(lines))
    assert done.exit_code == 0
    assert NOT_WRITTEN in caplog.text
    assert (place.out / "chips/1.csv").read_bytes() == wanted
    assert place.join(lines).exit_code == 0


def test_files_that_have_not_changed_are_not_read_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.run().exit_code == 0
    read: list[str] = []
    monkeypatch.setattr(LocalStore, "sha256", lambda self, name: read.append(name))
    assert place.run().exit_code == 0
    assert read == []


@pytest.mark.slow
def test_changed_objects_are_fetched_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := missing_packages("s3"):
        pytest.skip(reason)
    with serving_objects("bucket", "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        words = [*place.words(), "--out", "s3://bucket/run", "--ledger", place.out]
        assert place.told(*words).exit_code == 0
        store = ObjectStore("s3://bucket/run")
        wanted = store.read("chips/1.csv")
        # An hour ago: stores count whole seconds.
        with closing(sqlite3.connect(place.out / "manifest.sqlite")) as ledger, ledger:
            ledger.execute("UPDATE units SET finished = strftime('%Y-%m-%dT%H:%M:%fZ', finished, '-1 hour')")
            ledger.execute("UPDATE meta SET value = value - 3600 WHERE key = 'compared'")
        store.stage("chips/1.csv", wanted.replace(b"2020", b"2021"), "x")
        done = place.told(*words)
        assert done.exit_code == 0, done.output
        assert f"chips/1.csv {NOT_WRITTEN}" in done.stderr
        assert done.stderr.count(NOT_WRITTEN) == 1
        assert store.read("chips/1.csv") == wanted
        place.told("work", "--units", "-", "--out", "s3://bucket/queue", given="\n".join(place.plan("year=2021")))
        lines = place.plan()
        queue = ("--out", "s3://bucket/queue", "--ledger", place.folder / "joined")
        done = place.told("join", "--units", "-", *queue, given="\n".join(lines))
        assert done.exit_code == 1
        assert 'of another plan (year: "2021" there, null here), not to unit' in done.stderr
        place.told("work", "--units", "-", "--out", "s3://bucket/queue", given="\n".join(lines))
        assert place.told("join", "--units", "-", *queue, given="\n".join(lines)).exit_code == 0


def test_a_line_with_another_unit_under_the_id_of_a_planned_one_is_refused(place: Place) -> None:
    """Its result would count as that of the planned unit, which an outcome names by its id."""
    words = ["run", place.folder / "recipe.py", "-p", "format=csv", "-p", "places=1 2 2"]
    (place.folder / "recipe.py").write_text(RECIPE.replace("import ee", "NEEDS_SERVICE = False"))
    lines = place.told("plan", *words, "--executor", "threads", "-q").stdout.splitlines()
    place.work(lines)  # the third unit is the second one again, with an id of its own
    content = json.loads(lines[2])
    content["unit"]["value"]["place"] = 7
    lines[2] = json.dumps(content)
    for done in (
        place.told("work", "--units", "-", "--out", place.out, "--trust", given="\n".join(lines)),
        place.join(lines, "--trust"),
    ):
        assert done.exit_code == 2
        assert f"unit {content['id'][:16]} is not as it was planned" in done.stderr
