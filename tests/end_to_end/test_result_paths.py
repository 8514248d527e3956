"""The contract of every path that carries results: the same units give the same ledger and the same bytes on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eechips
from eechips.engine.config import RunConfig
from eechips.engine.queues.queue_items import fetch_items, plan_items
from eechips.engine.queues.queue_join import join_results
from eechips.engine.run import run
from eechips.manifest.reserved_names import result_name
from eechips.manifest.run import Run
from eechips.recipe import load_recipe
from tests.support.engine_recipes import with_workers
from tests.support.engine_service import Service, serving
from tests.support.programs import EECHIPS, run_program

ROOT = Path(__file__).resolve().parents[2]
NAME = "chips/{what}"
RECIPE = """
import os
from pathlib import Path

import ee
from eechips import Chip, Grid, Table
from eechips.recipe import NoData

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)
WHATS = (
    "chip", "several", "own names", "same 1", "same 2", "reserved", "reserved layer", "swept", "case A", "case a",
    "none", "no data", "masked", "masked layer", "raises", "leaves", "nonsense", "bytes", "dies once",
)


def get_requests():
    return [{"what": what} for what in WHATS]


def get_result(index, unit, marks=""):
    what = unit["what"]
    chip = Chip(ee.Image(1 + WHATS.index(what)), grid=GRID, format="tif")
    table = [{"what": what.lower()}]
    if what == "several":
        return {"image": chip, "target": Table(table), "more": b"free text"}
    if what == "own names":
        return {"image": Chip(ee.Image(50), grid=GRID, name="own/image"), "target": Table(table, name="./own//label")}
    if what.startswith("same"):
        return Table(table, name="./own/same" if what == "same 1" else "own/same")
    if what == "reserved":
        return Table(table, name="Failures")
    if what == "reserved layer":
        return {"image": chip, "target": Table(table, name="./manifest", format="parquet")}
    if what == "swept":
        return Table(table, name="chips/.scratch-own/a")
    if what.startswith("case"):
        return Table([{"what": what}], name=f"own/{what}")
    if what == "none":
        return None
    if what == "no data":
        return NoData()
    if what == "masked":
        return Chip(ee.Image(999), grid=GRID, format="tif")
    if what == "masked layer":
        return {"image": chip, "other": Chip(ee.Image(999), grid=GRID, format="tif")}
    if what == "raises":
        raise ValueError("no such luck")
    if what == "leaves":
        return Table(table, name="../out")
    if what == "nonsense":
        return {1, 2}
    if what == "bytes":
        return b"more free text"
    if what == "dies once" and marks:
        mark = Path(marks) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
    return chip
"""
SAME = ("same 1", "same 2")

Units = dict[str, tuple[Any, ...]]


def config(folder: Path, service: Service, **options: Any) -> RunConfig:
    settings = {"executor": "processes:2", "rate": None, "retries": 1, "quiet": True, "name": NAME, "method": "pixels"}
    chosen = {**settings, **options}
    chosen["executor"] = with_workers(str(chosen["executor"]), 2)
    return RunConfig(out=folder / "out", endpoint=service.url, **chosen)


def recipe(folder: Path, **parameters: str) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.py").write_text(RECIPE)
    return load_recipe(folder / "recipe.py", parameters)


def by_engine(**options: Any) -> Callable[[Path, Service], Run]:
    return lambda folder, service: run(recipe(folder), config(folder, service, **options))


def by_engine_with_a_kill(**options: Any) -> Callable[[Path, Service], Run]:
    def made(folder: Path, service: Service) -> Run:
        done = run(recipe(folder, marks=str(folder)), config(folder, service, **options))
        assert (folder / "died").exists()
        return done

    return made


def by_object_store(folder: Path, service: Service) -> Run:
    (folder / "results").mkdir()
    place = (folder / "results").as_uri()
    return run(recipe(folder), config(folder, service, executor="threads", results=place))


def by_queue(folder: Path, service: Service) -> Run:
    """Workers that know nothing of each other have a part of the plan each, and one line is delivered twice."""
    made, settings = recipe(folder), config(folder, service, executor="threads", command="eechips run …")
    items = list(plan_items(made, settings, ("run",), {}))
    outcomes: list[Any] = []
    for part in (items[:4], items[4:10], items[9:]):
        told = fetch_items(made, dataclasses.replace(settings, out=folder / "none"), part, str(settings.out))
        outcomes += json.loads(json.dumps(told))
    found = join_results(made, settings, items, outcomes)
    assert {t.unit.id for t in found.missing} == {each["id"] for each in outcomes if "failed" in each["state"]}
    assert found.damaged == ()
    return run(made, settings)  # makes here what is missing


def by_functions(folder: Path, service: Service) -> Run:
    namespace: dict[str, Any] = {"__name__": "a_cell"}
    exec(RECIPE, namespace)
    options = {"executor": "processes:2", "rate": None, "retries": 1, "quiet": True, "name": NAME, "method": "pixels"}
    folder.mkdir(exist_ok=True)
    done = eechips.run(
        namespace["get_requests"], namespace["get_result"], out=folder / "out", endpoint=service.url, **options
    )
    assert isinstance(done, Run)
    return done


PATHS: dict[str, Callable[[Path, Service], Run]] = {
    "serial": by_engine(executor="threads", in_flight=1),
    "threads": by_engine(executor="threads"),
    "processes": by_engine(executor="processes"),
    "processes, killed": by_engine_with_a_kill(executor="processes"),
    "object store": by_object_store,
    "queue": by_queue,
    "functions": by_functions,
    "dask": by_engine(executor="dask"),
    "dask, killed": by_engine_with_a_kill(executor="dask"),
    "beam": by_engine(executor="beam", in_flight=8),
    "beam, killed": by_engine_with_a_kill(executor="beam", in_flight=8),
}
SLOW = ("functions", "dask", "dask, killed", "beam", "beam, killed", "processes, killed")


def results_of(done: Run) -> Path:
    place = done.address
    return done.path if place is None else Path(place.removeprefix("file://"))


def units_of(done: Run) -> Units:
    """State, error class, columns and files of each unit, by what it does."""
    layers = done.layers.reset_index()
    found: Units = {}
    for position, unit in done.units.iterrows():
        several = layers[layers["position"] == position]
        files = [(each.layer, each.file, each.sha256, each.bytes) for each in several.itertuples()]
        given = {
            name: None if pd.isna(unit[name]) else unit[name] for name in ("error_class", "file", "sha256", "bytes")
        }
        error, *own = given.values()
        name = re.sub("-[0-9a-f]{16}$", "", unit["name"])  # ids differ with the recipe's parameters
        found[unit["unit"]["value"]["what"]] = (name, unit["state"], error, tuple(own), files)
    return found


def files_on_disk(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and sha256 of every file that is not the run's own."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        try:
            if path.is_file() and result_name(name):
                yield name, hashlib.sha256(path.read_bytes()).hexdigest()
        except eechips.errors.UsageError:
            assert not name.endswith(".part"), name


def recorded_files(units: Units) -> dict[str, str]:
    found = {own[0]: own[1] for *_, own, _ in units.values() if own[0] is not None}
    return found | {name: digest for *_, files in units.values() for _, name, digest, _ in files}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Units:
    with serving() as service:
        return units_of(PATHS["serial"](tmp_path_factory.mktemp("serial"), service))


@pytest.mark.slow
def test_expected_states_and_files_follow_the_units(expected: Units) -> None:
    states = {what: (state, error) for what, (_, state, error, *_) in expected.items()}
    refused = dict.fromkeys(("reserved", "reserved layer", "swept", "leaves"), ("failed_permanent", "UsageError"))
    assert {what: states[what] for what in refused} == refused
    assert {states[what] for what in ("raises", "nonsense")} == {("failed_permanent", "RecipeError")}
    assert {states[what] for what in ("no data", "masked", "masked layer")} == {("empty", None)}
    assert [file[:2] for file in expected["several"][4]] == [
        ("image", "chips/several.image.tif"), ("target", "chips/several.target.csv"),
        ("more", "chips/several.more.bin"),
    ]  # fmt: skip
    assert [name for _, name, *_ in expected["own names"][4]] == ["own/image.png", "own/label.csv"]
    assert expected["none"][1:] == ("done", None, (None, None, None), [])


@pytest.mark.exhaustive
@pytest.mark.timeout(200)
@pytest.mark.parametrize("path", [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in PATHS])
def test_every_path_gives_the_same_ledger_and_the_same_files(
    service: Service, tmp_path: Path, expected: Units, path: str
) -> None:
    for name, package in (("dask", "distributed"), ("beam", "apache_beam")):
        if path.startswith(name) and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    done = PATHS[path](tmp_path, service)
    found = units_of(done)
    assert list(found) == list(expected)
    others = [what for what in expected if what not in SAME]
    assert {what: found[what] for what in others} == {what: expected[what] for what in others}
    # Of two units of one name, one may have a result; where a result is overwritten, none has.
    assert sorted(found[what][1] for what in SAME) in (["done", "failed_permanent"], ["failed_permanent"] * 2)
    recorded, there = recorded_files(found), dict(files_on_disk(results_of(done)))
    assert {name: there.get(name) for name in recorded} == recorded
    # Dask logs there what a busy machine delays.
    assert there.keys() - recorded.keys() <= {"own/same.csv", "recipe.py", "dask.log"}
    assert done.verify() == []
    assert len(done.units) == sum(done.counts.values()) == len(expected)


@pytest.mark.exhaustive
@pytest.mark.timeout(200)
@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="apache_beam is not installed")
@pytest.mark.parametrize("is_stream", [False, True], ids=["batch", "stream"])
def test_a_pipeline_of_one_s_own_gives_the_same_results(
    service: Service, tmp_path: Path, expected: Units, is_stream: bool
) -> None:
    """Names have the id of the unit appended: two units never share one."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.testing.test_stream import TestStream as Stream
    from apache_beam.testing.util import assert_that

    from eechips.beam import FetchUnits

    made = recipe(tmp_path)
    fetch = FetchUnits(
        made, out=tmp_path / "out", endpoint=service.url, rate=None, retries=1, name=NAME, method="pixels"
    )

    def check(elements: list[Any]) -> None:
        assert len(elements) == len(expected)
        for element in elements:
            what, mark = json.loads(element.unit)["what"], f"-{element.id[:16]}"
            _, state, error, own, several = expected[what]
            files = json.loads(element.layers) or ([element._asdict()] if element.path else [])
            found = [(f["path"].removeprefix(f"{tmp_path}/out/"), f["sha256"], f["bytes"]) for f in files]
            for name, digest, size in found:
                data = (tmp_path / "out" / name).read_bytes()
                assert mark in name
                assert (hashlib.sha256(data).hexdigest(), len(data)) == (digest, size)
            if what in (*SAME, "reserved", "reserved layer"):  # they are no longer called that
                assert element.state == "done"
                continue
            assert (element.state, element.error_class) == (state, error)
            wanted = [file[1:] for file in several] or ([own] if own[0] else [])
            assert [(name.replace(mark, ""), *rest) for name, *rest in found] == wanted

    values = made.get_requests()
    options = PipelineOptions([], streaming=is_stream, allow_unsafe_triggers=True)
    with beam.Pipeline(runner="BundleBasedDirectRunner", options=options) as pipeline:
        source = Stream().advance_watermark_to(0).add_elements(values).advance_watermark_to_infinity()
        units = pipeline | (source if is_stream else beam.Create(values))
        assert_that(units | fetch, check)


SCRIPT = """
import multiprocessing
from pathlib import Path

CONTENTS = {content!r}

def make(what):
    for name, data in CONTENTS[what].items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)
    if what == "raises":
        raise ValueError("no such luck")

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        for what in CONTENTS:
            pool.apply_async(make, (what,))
        pool.close()
        pool.join()
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_script_s_files_are_recorded_as_those_of_a_recipe(service: Service, tmp_path: Path, expected: Units) -> None:
    """Calls that write the files of the recipe's units; and that take the names of the run's own."""
    with serving() as other:
        reference = run(
            recipe(tmp_path / "recipe"), config(tmp_path / "recipe", other, executor="threads", in_flight=1)
        )
    content: dict[str, dict[str, bytes]] = {}
    for what in ("chip", "several", "own names", "case A", "case a", "none"):
        *_, own, files = expected[what]
        names = [name for _, name, *_ in files] or [name for name in own[:1] if name]
        content[what] = {name: (reference.path / name).read_bytes() for name in names}
    content |= {"reserved": {"Failures.csv": b"a\n1\n"}, "raises": {}}
    (tmp_path / "old.py").write_text(SCRIPT.format(content=content))
    words = ["run", "old.py", "--endpoint", service.url, "--executor", "processes:2", "--out", "out", "-q"]
    run_program(*EECHIPS, *words, status=1, cwd=tmp_path, timeout=100, env={**os.environ, "PYTHONPATH": str(ROOT)})
    done = eechips.open_run(tmp_path / "out")
    assert done.units["state"].tolist() == ["done"] * 6 + ["failed_permanent"] * 2
    assert done.units["error_class"].tolist()[6:] == ["UsageError", "RecipeError"]
    layers = done.layers.reset_index()
    for position, what in enumerate(content):
        several = layers[layers["position"] == position]
        if len(content[what]) > 1:
            wanted = {name: (digest, size) for _, name, digest, size in expected[what][4]}
            assert {each.file: (each.sha256, each.bytes) for each in several.itertuples()} == wanted
        elif what not in ("none", "reserved", "raises"):
            unit = done.units.loc[position]
            assert (unit["file"], unit["sha256"], unit["bytes"]) == expected[what][3]
    assert done.verify() == []
    assert (tmp_path / "out" / "layers.parquet").is_file()
