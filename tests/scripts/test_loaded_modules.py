"""Modules that a script loads from files by names of its own, or makes, and what else it sets in its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, plain, run

AREA = """
import ee
SCALE = 5

class Area:
    def __init__(self, n):
        self.n = n

    def value(self):
        return ee.Number(self.n).multiply(SCALE).getInfo()

def fetch(area):
    with open(f"{area.n}.txt", "w") as file:
        file.write(str(area.value()))
    return area
"""
SCRIPT = """
import importlib.util
import os
import sys
import types
from multiprocessing import Pool

import ee

ee.Initialize()
PATH = os.path.join(os.path.dirname(__file__), "settings", "area.py")


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, PATH)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(name):
    sys.modules[name] = module = types.ModuleType(name)
    with open(PATH) as file:
        exec(file.read(), vars(module))
    return module


MODULES = [loaded("area_of_settings"), loaded("settings"), made("area_of_text"), loaded("other")]


def value(area):
    return area.value() + MODULES[0].SCALE


if __name__ == "__main__":
    for number, module in enumerate(MODULES):
        areas = [module.Area(n + 10 * number) for n in range(2)]
        with Pool(2) as pool:
            found = pool.map(module.fetch, areas)
            print(module.__name__, pool.map(value, areas), [type(area) is module.Area for area in found])
"""


@pytest.mark.exhaustive
def test_calls_have_functions_and_classes_of_modules_that_workers_cannot_import(
    demo_server: Server, tmp_path: Path
) -> None:
    """Each call ended with "No module named"; another module beside the script has the name of the last one."""
    folder = tmp_path / "script"
    (folder / "settings").mkdir(parents=True)
    (folder / "settings" / "area.py").write_text(AREA)
    (folder / "other.py").write_text("raise ImportError('this is another module')\n")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    for _ in range(2):  # the same units again
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
        for number, name in enumerate(("area_of_settings", "settings", "area_of_text", "other")):
            first = 50 * number + 5
            assert f"{name} [{first}, {first + 5}] [True, True]" in result.stdout
    assert open_run(tmp_path / "run").counts == {"done": 16}
    assert len(list((tmp_path / "run").glob("*.txt"))) == 8


EXTENDED = """
import sys
import ee
import geedim
import sklearn.linear_model
from multiprocessing import Pool

ee.Initialize()


def extended(n):
    return type(ee.Image(n).gd).__name__, "sklearn" in sys.modules


if __name__ == "__main__":
    print(Pool(2).map(extended, range(2)))
"""


@pytest.mark.exhaustive
def test_calls_have_what_packages_add_to_the_client(demo_server: Server, tmp_path: Path) -> None:
    """The function names no package; in a fork, the client has what the script's imports have added.

    Packages that add nothing are not imported: each worker would take their memory.
    """
    pytest.importorskip("geedim")
    pytest.importorskip("sklearn")
    script = tmp_path / "script.py"
    script.write_text(EXTENDED)
    result = run(script, demo_server, tmp_path)
    assert "[('ImageAccessor', False), ('ImageAccessor', False)]" in result.stdout, result.stderr


STATE = """
import contextlib, os, sys
from multiprocessing.pool import ThreadPool
import ee

ee.Initialize()
os.mkdir("tiles")

def plus(self, n):
    return self.add(n)

ee.Number.plus = plus

def work(n):
    print("made", n)
    with open(f"tiles/{os.environ['SENSOR']}_{n}.txt", "w") as file:
        file.write(str(ee.Number(n).plus(int(os.getenv("OFFSET", "0"))).getInfo()))

if __name__ == "__main__":
    with open("log.txt", "w") as log, contextlib.redirect_stdout(log), ThreadPool(1) as pool:
        for sensor in ("first", "second"):
            os.environ["SENSOR"] = sensor
            if os.environ.pop("OFFSET", None) is None:
                os.environ["OFFSET"] = "5"
            pool.map(work, range(3))
    sys.stdout = open("end.txt", "w")
    print("end")
"""


def test_calls_have_what_the_script_has_set_in_its_process(demo_server: Server, tmp_path: Path) -> None:
    """Variables of the environment, methods of the client's classes, and where it prints; folders are made again.

    Calls of the second pool had the environment of the first, and wrote the same files again.
    """
    for name in ("plain", "eechips"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.py").write_text(STATE)
    assert plain(tmp_path / "plain" / "state.py", demo_server, tmp_path / "plain").returncode == 0
    expected = {name: data for name, data in files(tmp_path / "plain").items() if name != "state.py"}
    for _ in range(2):
        done = run(tmp_path / "eechips" / "state.py", demo_server, tmp_path / "eechips")
        assert done.returncode == 0, done.stderr
        assert "6 of 6 results" in done.stdout
        assert files(tmp_path / "eechips" / "run") == expected
