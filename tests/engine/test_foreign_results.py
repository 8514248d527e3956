"""Results of other plans, runs and units are never taken, whatever their names are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import eechips
from eechips.cli import main
from eechips.manifest.reserved_names import OUTCOMES_FOLDER
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
        return CliRunner().invoke(main, [str(word) for word in words], input=given)

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
        return self.told("join", "--units", "-", "--out", self.out, "--no-report", *words, given="\n".join(lines))

    def run(self, *parameters: str, local: bool = True) -> Result:
        return self.told(*self.words(*parameters, local=local), "--out", self.out, "--no-report")


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
    "outcomes of another run": (copied_outcomes, 'of another plan (year: "2021" there, null here)'),
    "outcome without file": (outcome_without_file, "is gone since its worker wrote it: fetch the unit again"),
    "file without outcome": (file_without_outcome, "as no outcome says which unit and plan it belongs to"),
    "changed bytes of the same size": (changed_bytes, "is not what the worker of unit"),
    "overwritten by a later plan": (overwritten_later, 'of another plan (year: "2019" there, null here)'),
    "an earlier run of the folder": (earlier_run, 'holds another run (year: "2019" there, null here)'),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_join_refuses_foreign_results(place: Place, kind: str) -> None:
    make, said = FOREIGN[kind]
    lines = place.plan()
    make(place, lines)
    before = {path: path.read_bytes() for path in place.out.rglob("*.csv")}
    done = place.join(lines, "--missing", place.folder / "missing.jsonl")
    assert done.exit_code in (1, 2), done.output
    assert said in done.stderr
    assert any(json.loads(line)["id"][:16] in done.stderr for line in lines) or "holds another run" in done.stderr
    assert {path: path.read_bytes() for path in place.out.rglob("*.csv")} == before
    assert not (place.out / "manifest.parquet").exists() or done.exit_code == 2


@pytest.mark.parametrize("kind", [kind for kind in FOREIGN if kind != "an earlier run of the folder"])
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


@pytest.mark.parametrize("format", FORMATS)
def test_join_takes_results_of_its_plan_only_in_each_format(place: Place, format: str) -> None:
    lines = place.plan(f"format={format}")
    place.work(place.plan(f"format={format}", "year=2021"))
    done = place.join(lines)
    assert done.exit_code == 1
    assert 'of another plan (year: "2021" there, null here)' in done.stderr
    place.work(lines)
    assert place.join(lines).exit_code == 0


def test_outcomes_that_name_no_plan_are_refused(place: Place) -> None:
    lines = place.plan()
    outcomes = [json.loads(line) for line in place.work(lines)]
    shutil.rmtree(place.out / OUTCOMES_FOLDER)
    kept = place.folder / "outcomes.jsonl"
    kept.write_text("".join(json.dumps({k: v for k, v in each.items() if k != "plan"}) + "\n" for each in outcomes))
    done = place.join(lines, "--outcomes", kept)
    assert done.exit_code == 1
    assert "of another plan, which its outcome does not name" in done.stderr


def test_damaged_outcomes_beside_results_are_named(place: Place) -> None:
    lines = place.plan()
    place.work(lines)
    (stored,) = (place.out / OUTCOMES_FOLDER).iterdir()
    stored.write_text(stored.read_text()[:-20])
    done = place.join(lines)
    assert done.exit_code == 2
    assert f"line 4 of {OUTCOMES_FOLDER}/{stored.name} is damaged" in done.stderr
