"""Recipes of two functions: in the cells of a real kernel, in programs without a main guard, at Python's prompt."""

from __future__ import annotations

import base64
import io
import json
import queue
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from PIL import Image

import eechips
from eechips.errors import RunMismatchError, UsageError
from local_tests.support.local_earth_engine import Server
from tests.support.programs import EECHIPS, run_program

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "example.ipynb"


@dataclass
class Cell:
    """The output of a cell."""

    printed: str = ""
    errors: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    displays: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    raised: str | None = None


class Kernel:
    """A kernel as a notebook has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def run(self, code: str, interrupt_when: Callable[[Cell], bool] | None = None, interrupts: int = 1) -> Cell:
        """Executes a cell; interrupts the kernel as soon as the condition holds."""
        identifier, cell = self.client.execute(textwrap.dedent(code)), Cell()
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if interrupt_when is not None and interrupts and interrupt_when(cell):
                self.manager.interrupt_kernel()
                interrupts -= 1
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != identifier:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream" and content["name"] == "stdout":
                cell.printed += content["text"]
            elif kind == "stream":
                cell.errors += content["text"]
            elif kind == "error":
                cell.raised = f"{content['ename']}: {content['evalue']}"
            elif kind == "execute_result":
                cell.results.append(content["data"])
            elif kind in ("display_data", "update_display_data"):
                (cell.displays if kind == "display_data" else cell.updates).append(content["data"])
            elif kind == "status" and content["execution_state"] == "idle":
                return cell
        raise TimeoutError(f"the cell does not end; the bar: {cell.updates[-1:]}; said: {cell.printed} {cell.errors}")

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, demo_server: Server) -> Iterator[Kernel]:
    started = Kernel(tmp_path_factory.mktemp("notebook"))
    try:
        started.run(f"""
            import functools, time
            import numpy as np
            import ee, eechips
            from eechips import Chip, Table
            from google.auth.credentials import AnonymousCredentials
            URL = {demo_server.url!r}
            options = dict(endpoint=URL, rate=None, executor="processes:2")
        """)
        yield started
    finally:
        started.end()


def picture(html: str) -> bytes:
    """The picture in what a run shows."""
    found = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    assert found, html[:500]
    return base64.b64decode(found[1])


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_example_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLE, as_version=4)
    assert 6 <= len(notebook.cells) <= 12
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    first, again, _, check = (cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs)
    shown = next(output for output in first if output.output_type == "execute_result")
    assert shown.data["text/plain"] == "<eechips run in outputs/notebook: 16 done>"
    sheet = picture(shown.data["text/html"])
    assert len(sheet) <= 300_000
    with Image.open(io.BytesIO(sheet)) as image:
        assert image.size == (6 * 132 + 4, 2 * 132 + 4)
    assert [output.data["text/plain"] for output in again] == ["{'done': 16}"]
    assert "10,000 units; tested: 3" in check[0].data["text/plain"]
    assert not any(output.get("name") == "stderr" for output in (*first, *again, *check))
    run = eechips.open_run(tmp_path / "outputs" / "notebook")
    assert run.verify() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


@pytest.mark.exhaustive
def test_functions_take_their_cells_with_them(kernel: Kernel) -> None:
    """Helpers, closures, cached functions, classes, data frames, and expressions of the user's own session."""
    cell = kernel.run("""
        import dataclasses
        import pandas as pd
        ee.Initialize(AnonymousCredentials(), url=URL, project="local")
        IMAGES = ee.ImageCollection("USDA/NAIP/DOQQ").filterDate("2019-01-01", "2020-01-01")
        frame = pd.DataFrame({"lon": [-105.15, -105.14, -105.13], "lat": [40.05, 40.06, 40.07]})

        @dataclasses.dataclass
        class Setting:
            size: int
            @property
            def dimensions(self):
                return (self.size, self.size)

        setting = Setting(48)

        def times(factor):
            def multiply(value):
                return factor * value
            return multiply

        double = times(2)

        @functools.lru_cache
        def around(longitude, latitude):
            return ee.Geometry.Point([longitude, latitude]).buffer(double(12)).bounds()

        def get_requests(count=2):
            return frame.values.tolist()[:count]

        def get_result(index, unit, bands=("R", "G", "B")):
            image = IMAGES.filterBounds(around(*unit)).mosaic().select(list(bands))
            return Chip(image, region=around(*unit), dimensions=setting.dimensions, format="png")

        run = eechips.run(get_requests, get_result, count=3, out="outputs/cell", **options)
        print(run.counts, run.info["parameters"], run.units["width"].tolist())
        print(ee.Number(1).add(1).getInfo())  # the session of the notebook is as it was
    """)
    assert cell.raised is None, cell.raised
    assert cell.printed == "{'done': 3} {'count': 3} [48, 48, 48]\n2\n"
    assert cell.errors == ""


@pytest.mark.exhaustive
def test_the_progress_bar_is_updated_in_place(kernel: Kernel) -> None:
    cell = kernel.run("""
        def units():
            return list(range(30))
        def result(index, unit):
            time.sleep(0.05)
            return np.full((4, 4), unit, dtype="uint8")
        eechips.run(units, result, out="outputs/bar", **options)
    """)
    assert cell.raised is None
    assert len(cell.displays) == 1
    assert 1 <= len(cell.updates) <= 30
    assert cell.updates[-1]["text/plain"].startswith("30/30 units, ")
    assert '<progress value="30" max="30"' in cell.updates[-1]["text/html"]
    assert (cell.printed, cell.errors) == ("", "")
    assert cell.results[0]["text/plain"] == "<eechips run in outputs/bar: 30 done>"
    assert picture(cell.results[0]["text/html"])


SLOW = """
    def units():
        return list(range(40))
    def result(index, unit):
        open("{name}.begun", "w").close()
        time.sleep({seconds})
        return np.full((4, 4), unit, dtype="uint8")
    run = eechips.run(units, result, out="outputs/{name}", in_flight=10, **options)
    print(run.interrupted, sum(run.counts.values()), run.counts.get("done", 0))
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_interrupted_cell_saves_and_resumes(kernel: Kernel) -> None:
    """The main thread of a kernel runs an event loop, and its interrupt is a signal to the whole group."""
    assert "running=True" in kernel.run("import asyncio; print(asyncio.get_running_loop())").printed
    code = SLOW.format(seconds=0.25, name="interrupted")
    cell = kernel.run(code, interrupt_when=lambda cell: len(cell.updates) >= 3)
    assert cell.raised is None
    assert cell.errors == ""
    said = cell.printed.splitlines()
    assert said[:2] == [
        "Stopping: finishing the requests in flight. Interrupting the kernel again stops at once.",
        "Stopped; completed results are kept. To resume: run the cell again",
    ]
    is_interrupted, total, done = said[2].split()
    assert (is_interrupted, total) == ("True", "40")
    assert 0 < int(done) < 40
    assert "interrupted: run the cell again" in kernel.run("run").results[0]["text/html"]
    again = kernel.run(code)
    assert again.printed == "False 40 40\n"
    assert again.displays[0]["text/plain"].startswith(f"{done}/40 ")


def test_a_second_interrupt_stops_at_once(kernel: Kernel) -> None:
    first = iter([True])

    def is_time(cell: Cell) -> bool:
        return "Stopping" in cell.printed or ((kernel.folder / "twice.begun").exists() and next(first, False))

    cell = kernel.run(SLOW.format(seconds=600, name="twice"), interrupt_when=is_time, interrupts=2)
    assert cell.raised is None
    assert cell.printed.splitlines()[-1] == "True 40 0"


def test_an_interrupt_during_planning_stops_the_run(kernel: Kernel) -> None:
    cell = kernel.run(
        """
        def units():
            print("planning", flush=True)
            time.sleep(60)
        def result(index, unit):
            raise AssertionError(unit)
        run = eechips.run(units, result, out="outputs/planning", **options)
        print(run.interrupted, run.counts, run.is_complete)
        run
        """,
        interrupt_when=lambda cell: "planning" in cell.printed,
    )
    assert cell.raised is None
    assert cell.printed.splitlines()[1:] == [
        "Stopped while planning; there are no results yet. To resume: run the cell again",
        "True {} False",
    ]
    assert cell.results[0]["text/plain"] == "<eechips run in outputs/planning: not planned yet>"


def test_changed_functions_and_parameters_are_refused(kernel: Kernel) -> None:
    code = """
        FACTOR = {factor}
        def scaled(value):
            return FACTOR * value
        def units(count=2):
            return list(range(count))
        def rows(index, unit):
            return Table([{{"unit": unit, "scaled": scaled(unit)}}])
        print(eechips.run(units, rows, out="outputs/changed", **options).counts)
    """
    assert kernel.run(code.format(factor=2)).printed == "{'done': 2}\n"
    assert kernel.run(code.format(factor=2)).printed == "{'done': 2}\n"
    refused = kernel.run(code.format(factor=3)).raised
    assert refused is not None
    assert "outputs/changed holds another run (the recipe's code has changed)" in refused
    refused = kernel.run("FACTOR = 2; eechips.run(units, rows, count=3, out='outputs/changed', **options)").raised
    assert refused is not None
    assert "count: null there, 3 here" in refused


def test_commands_run_in_a_notebook(kernel: Kernel) -> None:
    cell = kernel.run("""
        eechips.timeseries(
            "MODIS_LST", regions="FAO/GAUL_SIMPLIFIED_500m/2015/level2", columns="id=ADM2_CODE",
            bbox="-105.3,39.5,-104.9,39.9", start="2019-01-01", end="2019-02-01", out="outputs/series", **options
        )
    """)
    assert cell.raised is None, cell.raised
    assert "<th>LST_Day_1km</th>" in cell.results[0]["text/html"]
    tip = kernel.run("import inspect; print(inspect.signature(eechips.run))").printed
    assert "recipe" in tip
    assert "in_flight" in tip


PROGRAM = """
import sys
import eechips
from eechips import Table

FACTOR = 2

class Doubled:
    def __init__(self, value):
        self.value = FACTOR * value

def get_requests(count=3):
    return [{"number": i} for i in range(count)]

def get_result(index, unit):
    return Table([{"value": Doubled(unit["number"]).value}], name=f"t/{unit['number']}")

print("once")
run = eechips.run(get_requests, get_result, count=4, endpoint=sys.argv[1], rate=None,
                  executor="processes:2", quiet=True)
print(run, run.info["recipe"], [open(run.path / file).read().split()[1] for file in run.units["file"]])
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_program_without_a_main_guard_runs(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    expected = "once\n<eechips run in outputs/program: 4 done> program ['0', '2', '4', '6']\n"
    for _ in range(2):
        done = run_program(sys.executable, "program.py", demo_server.url, cwd=tmp_path, timeout=90)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_recipe_runs_at_the_python_prompt(demo_server: Server, tmp_path: Path) -> None:
    """Functions without source are identified by their bytecode."""
    lines = PROGRAM.replace("\n\ndef ", "\n\n\ndef ").replace("\nprint", "\n\nprint").replace("sys.argv[1]", "URL")
    lines = re.sub(r"\n\n    def", "\n    def", f"URL = {demo_server.url!r}\n{lines}")
    for _ in range(2):
        done = run_program(sys.executable, "-i", "-q", cwd=tmp_path, input=lines, timeout=90)
        assert "<eechips run in outputs/notebook: 4 done> notebook ['0', '2', '4', '6']" in done.stdout, done.stderr
        assert "Error" not in done.stderr


def test_a_program_that_calls_run_itself_is_refused_with_advice(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("sys.argv[1]", repr(demo_server.url)))
    done = run_program(*EECHIPS, "run", "program.py", "--endpoint", demo_server.url, status=2, cwd=tmp_path, timeout=90)
    assert "program.py calls eechips.run itself: run it with python" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((lambda: [1],), {}, r"a recipe is two functions: run\(get_requests, get_result, ...\)"),
        ((lambda: [1], lambda unit: None), {}, r"cannot be called as get_result\(index, unit\): too many"),
        ((lambda count: [1], lambda index, unit: None), {}, "missing a required argument: 'count'"),
        ((lambda: [1], 5), {}, "this is none: 5"),
        ((lambda count: [1], lambda i, u: None), {"cuont": 1}, "there is no option 'cuont'; did you mean 'count'"),
        ((lambda: [1], lambda i, u: None), {"exekutor": "threads"}, "no option 'exekutor'; did you mean 'executor'"),
        ((lambda: [1], lambda i, u: None), {"xyz": 1, "parameters": {}}, "there is no option 'xyz'"),
        ((lambda: [1], lambda i, u: None), {"parameters": {"xyz": 1}}, "have no parameter 'xyz'; they take: none"),
        ((lambda: [1], lambda i, u: None), {"arguments": ["x"]}, "arguments are for scripts"),
        ((lambda: [1], lambda i, u: None), {"redraw": lambda unit: 1}, r"cannot be called as redraw\(unit, number\)"),
        ((lambda: [1], lambda i, u: None), {"assemble": lambda: 1}, r"cannot be called as assemble\(results\)"),
        (("recipe.py",), {"assemble": lambda results: 1}, "a file has its functions in it"),
        (("recipe.py", lambda i, u: None), {}, "a file has its functions in it"),
    ],
)
def test_invalid_calls_are_refused(
    arguments: tuple[Any, ...], keywords: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        eechips.run(*arguments, out=tmp_path / "out", **keywords)
    assert not (tmp_path / "out").exists()


def test_parameters_may_have_names_of_options(demo_server: Server, tmp_path: Path) -> None:
    """They go by ``parameters``; others by name; and values that are no JSON by their content."""

    def get_requests(name: str, places: set[int]) -> list[Any]:
        return [[name, place] for place in sorted(places)]

    def get_result(index: int, unit: Any) -> eechips.Table:
        return eechips.Table([{"name": unit[0], "place": unit[1]}])

    run = eechips.run(
        get_requests, get_result, parameters={"name": "x"}, places={2, 1}, endpoint=demo_server.url, rate=None,
        executor="processes:2", quiet=True, out=tmp_path / "out",
    )  # fmt: skip
    assert [unit["value"] for unit in run.units["unit"]] == [["x", 1], ["x", 2]]
    assert json.dumps(run.info["parameters"]) == '{"name": "x", "places": [1, 2]}'


def test_redraw_and_assembly_functions_are_called(demo_server: Server, tmp_path: Path) -> None:
    """Another unit in the place of an empty one, and a file of all results."""

    def get_requests() -> list[int]:
        return [0, 1, 2]

    def get_result(index: int, unit: int) -> Any:
        import numpy as np

        array = np.zeros((2, 2), dtype=[("value", "int16"), ("mask", "bool")])
        array["value"], array["mask"] = unit, unit != 1
        return array

    def redraw(unit: int, number: int, step: int = 10) -> int:
        return unit + number * step

    def assemble(results: Any) -> None:
        with results.make("units.json") as path:
            path.write_text(json.dumps([result.unit for result in results if result.path]))

    def start(**further: Any) -> eechips.Run:
        return eechips.run(
            get_requests, get_result, redraw=redraw, on_empty="redraw", endpoint=demo_server.url, rate=None,
            executor="processes:2", quiet=True, out=tmp_path / "out", **further,
        )  # fmt: skip

    run = start(assemble=assemble, step=100)
    assert run.counts == {"done": 3, "empty": 1}
    assert [made.read_text() for made in run.assembled] == ["[0, 2, 101]"]
    with pytest.raises(RunMismatchError, match="step"):
        start(assemble=assemble, step=5)
