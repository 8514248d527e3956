"""Files that a recipe assembles from all results of a run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import eechips
from eechips.errors import RecipeError
from eechips.manifest.run import Run
from tests.support.engine_service import Service

SCRIPT = """
import ee
from eechips import Table

def get_requests(count=3, fails=-1):
    return list(range(count))

def get_result(index, number, fails=-1):
    if number == fails:
        raise ValueError("no")
    return Table([{"number": number, "square": number * number}])

def assemble(results):
    with results.make("all/squares.csv") as path:
        with path.open("w") as file:
            for settled in results:
                if settled.path is not None:
                    file.write(settled.path.read_text().splitlines()[1] + "\\n")
    if results.failed and BROKEN:
        raise RuntimeError("not all there")
BROKEN = False
"""


def start(tmp_path: Path, service: Service, text: str = SCRIPT, executor: str = "threads", **parameters: str) -> Run:
    script = tmp_path / "squares.py"
    script.write_text(text)
    run = eechips.run(
        script, parameters=parameters, out=tmp_path / "out", endpoint=service.url, quiet=True, executor=executor
    )
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize("executor", ["threads", pytest.param("processes:2", marks=pytest.mark.slow)])
def test_results_are_assembled_in_the_order_of_the_plan(service: Service, tmp_path: Path, executor: str) -> None:
    run = start(tmp_path, service, executor=executor, count="30")
    (made,) = run.assembled
    assert made == tmp_path / "out" / "all" / "squares.csv"
    assert made.read_text() == "".join(f"{n},{n * n}\n" for n in range(30))
    assert run.verify() == []
    assert list(run.path.rglob("*.part")) == []


def test_parameters_reach_the_assembly(service: Service, tmp_path: Path) -> None:
    script = SCRIPT.replace(
        "def assemble(results):", "def assemble(results, count=0, title='none'):\n"
        "    with results.make(f'{title}-{count}.txt') as path:\n        path.write_text(title)"
    )  # fmt: skip
    run = start(tmp_path, service, script, count="4", title="squares")
    assert run.assembled[0].name == "squares-4.txt"


def test_assembled_files_are_made_again_only_if_missing(service: Service, tmp_path: Path) -> None:
    (made,) = start(tmp_path, service).assembled
    digest, moment = hashlib.sha256(made.read_bytes()).hexdigest(), made.stat().st_mtime_ns
    start(tmp_path, service)
    assert made.stat().st_mtime_ns == moment
    made.unlink()
    assert [problem.reason for problem in start(tmp_path, service).verify()] == []
    assert hashlib.sha256(made.read_bytes()).hexdigest() == digest
    made.write_text("0,0\n1,1\n2,9\n")
    (problem,) = eechips.open_run(tmp_path / "out").verify()
    assert (problem.file, problem.reason) == ("all/squares.csv", "the file has changed: its sha256 is another")


def test_failed_units_are_assembled_without_a_file(service: Service, tmp_path: Path) -> None:
    run = start(tmp_path, service, fails="1")
    assert run.counts == {"done": 2, "failed_permanent": 1}
    assert run.assembled[0].read_text() == "0,0\n2,4\n"


def test_an_assembly_that_raises_leaves_no_file_but_the_manifest(service: Service, tmp_path: Path) -> None:
    broken = SCRIPT.replace("BROKEN = False", "BROKEN = True")
    with pytest.raises(RecipeError, match="not all there"):
        start(tmp_path, service, broken, fails="1")
    run = eechips.open_run(tmp_path / "out")
    assert run.assembled == []
    assert (run.path / "failures.csv").exists()


LAYERS = """
import json
from eechips import Table

NEEDS_SERVICE = False

def get_requests(count=3):
    return list(range(count))

def get_result(index, number):
    if number == 1:
        return Table([{"number": number}])
    if number == 2:
        raise ValueError("no")
    return {"whole": Table([{"number": number}]), "half": Table([{"half": number / 2}])}

def assemble(results):
    with results.make("files.txt") as path:
        last = [{layer: file.read_text().split()[-1] for layer, file in each.paths.items()} for each in results]
        path.write_text(json.dumps(last))
"""


@pytest.mark.parametrize("is_remote", [False, True])
def test_files_of_a_unit_are_found_by_layer(is_remote: bool, tmp_path: Path) -> None:
    script = tmp_path / "layers.py"
    script.write_text(LAYERS)
    place = {"out": f"file://{tmp_path}/store", "ledger": tmp_path / "out"} if is_remote else {"out": tmp_path / "out"}
    run = eechips.run(script, count=4, quiet=True, executor="threads", **place)
    assert isinstance(run, Run)
    found = json.loads((tmp_path / "out" / "files.txt").read_text())
    assert found == [{"whole": "0", "half": "0.0"}, {}, {}, {"whole": "3", "half": "1.5"}]
