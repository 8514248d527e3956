"""Files that several calls of a script write under one name."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import geopandas
import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, plain, run

pytestmark = pytest.mark.slow

SCRIPT = """
import json
import os
from multiprocessing import Pool

import ee

LEGEND = {"elevation": "m", "values": list(range(9))}


def save(n):
    ee.Initialize()
    value = ee.Number(n).multiply(n).getInfo()
    os.makedirs("chips", exist_ok=True)
    with open("chips/a_legend.json", "w") as file:
        json.dump(LEGEND, file)
    with open(f"chips/chip_{n}.csv", "w") as file:
        file.write(f"n,square\\n{n},{value}\\n")


if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(save, range(6))
"""


def test_calls_may_write_equal_files_under_one_name(demo_server: Server, tmp_path: Path) -> None:
    """Each call saves the legend of its chip; only the first of the six had a chip."""
    script, there = tmp_path / "script.py", tmp_path / "there"
    script.write_text(SCRIPT)
    there.mkdir()
    expected = plain(script, demo_server, there)
    assert expected.returncode == 0, expected.stderr
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "no file" not in result.stdout + result.stderr
        assert files(tmp_path / "run") == files(there)
        made = open_run(tmp_path / "run")
        assert made.counts == {"done": 6}
        assert made.verify() == []
    units = made.units
    names = {f"chips/chip_{n}.csv" for n in range(6)}
    assert set(units["file"]) in ({"chips/a_legend.json", *names - {name}} for name in names)
    assert set(units.loc[units["file"] != "chips/a_legend.json", "rows"]) == {1}


def test_calls_whose_only_file_equals_that_of_another_have_written_it(demo_server: Server, tmp_path: Path) -> None:
    """All but one were said to have written no file, unlike the others."""
    lines = SCRIPT.splitlines(keepends=True)
    (tmp_path / "script.py").write_text("".join(line for line in lines if "chip_" not in line and "square" not in line))
    for _ in range(2):
        result = run(tmp_path / "script.py", demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "no file" not in result.stdout + result.stderr
        assert list(files(tmp_path / "run")) == ["chips/a_legend.json"]
        made = open_run(tmp_path / "run")
        assert made.counts == {"done": 6}
        assert made.units["error"].isna().all()


def test_calls_that_write_other_content_under_one_name_are_told_what_to_do(demo_server: Server, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace("dump(LEGEND", "dump([n]"))
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 1, result.stderr
    assert "another call has written chips/a_legend.json, with other content" in result.stderr
    assert open_run(tmp_path / "run").counts == {"done": 1, "failed_permanent": 5}


MAPPED = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Array
from multiprocessing.shared_memory import SharedMemory

import ee
import numpy as np

ee.Initialize()
memory, numbers = SharedMemory(create=True, size=32), Array("d", 4)
chips = np.memmap("chips.dat", mode="w+", dtype="int16", shape=(4,))
means = np.ndarray(4, buffer=memory.buf)
areas = np.frombuffer(numbers.get_obj())[:2]


def fetch(n):
    chips[n] = ee.Number(n).add(1).getInfo()


def mean(n):
    means[n] = n


def area(n):
    areas[n] = n


def read(n):
    return float(areas[n])


with ProcessPoolExecutor(2) as pool:
    print(list(pool.map(read, range(2))))
    for function in (fetch, mean, area):
        try:
            list(pool.map(function, range(2)))
        except Exception as error:
            print(error)
del means
memory.close()
memory.unlink()
"""


def test_processes_that_change_mapped_files_or_memory_are_refused(demo_server: Server, tmp_path: Path) -> None:
    """Each wrote a copy: the file or array had no value of any call, and the run succeeded."""
    (tmp_path / "script.py").write_text(MAPPED)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert "[0.0, 0.0]" in result.stdout
    for name in ("chips", "means", "areas"):
        assert f"each would change a copy of {name}, which the script needs" in result.stdout
    assert open_run(tmp_path / "run").counts == {"done": 2}


MEMORY = """
from multiprocessing import Pool
from multiprocessing.shared_memory import SharedMemory

import ee
import numpy as np

ee.Initialize()


def attach(name):
    global memory, means
    memory = SharedMemory(name=name)
    means = np.ndarray(3, buffer=memory.buf)


def mean(n):
    means[n] = ee.Number(n).add(1).getInfo()


if __name__ == "__main__":
    own = SharedMemory(create=True, size=24)
    with Pool(2, initializer=attach, initargs=(own.name,)) as pool:
        pool.map(mean, range(3))
    print(np.ndarray(3, buffer=own.buf).tolist())
    own.close()
    own.unlink()
"""


def test_calls_that_change_shared_memory_are_made_again(demo_server: Server, tmp_path: Path) -> None:
    """A script that was run again had zeros in the place of what completed calls had written."""
    (tmp_path / "script.py").write_text(MEMORY)
    for _ in range(2):
        result = run(tmp_path / "script.py", demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "[1.0, 2.0, 3.0]" in result.stdout


DATABASE = """
import sqlite3
from multiprocessing import Pool

import ee
import geopandas


def save(n):
    value = ee.Number(n).add(1).getInfo()
    if n % 2:
        geopandas.GeoDataFrame({"n": [n]}, geometry=geopandas.points_from_xy([n], [n])).to_file("own.gpkg", mode="a")
    with sqlite3.connect("own.db") as database:
        database.executemany("insert into cells values (?)", [(value,)] * 5000)


if __name__ == "__main__":
    ee.Initialize()
    with sqlite3.connect("own.db") as database:
        database.execute("create table if not exists cells (n)")
    geopandas.GeoDataFrame({"n": [9]}, geometry=geopandas.points_from_xy([9], [9])).to_file("own.gpkg")
    with Pool(2) as pool:
        pool.map(save, range(6))
"""


def test_calls_do_not_write_into_each_others_database(demo_server: Server, tmp_path: Path) -> None:
    """They wrote the run's file through a link while it was copied: it was malformed."""
    (tmp_path / "script.py").write_text(DATABASE)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 1, result.stderr
    assert "6 x UsageError: the call changes an SQLite database, which others share" in result.stderr
    with sqlite3.connect(tmp_path / "run" / "own.db") as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert database.execute("select count(*) from cells").fetchall() == [(0,)]
    assert geopandas.read_file(tmp_path / "run" / "own.gpkg").n.tolist() == [9]


LARGE = """
from multiprocessing.pool import ThreadPool

import ee
import numpy as np

ee.Initialize()


def add(arguments):
    n, cube = arguments
    cube += ee.Number(n).getInfo()


with ThreadPool(2) as pool:
    cube = np.zeros(3_000_000)
    pool.map(add, [(n, cube) for n in range(2)])
"""


def test_calls_that_change_a_large_array_by_another_name_fail(demo_server: Server, tmp_path: Path) -> None:
    """The array kept its zeros, and the run succeeded."""
    (tmp_path / "script.py").write_text(LARGE)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 1, result.stderr
    assert "2 x UsageError: the call changes an array of more than 16 MB, which others share" in result.stderr


OWN_ERRORS = """
import sqlite3
from multiprocessing.pool import ThreadPool

import ee
import numpy as np

ee.Initialize()


def save(n):
    value = ee.Number(n).getInfo()
    if n == 0:
        np.frombuffer(b"1234", "int32")[0] = value
    with sqlite3.connect({path!r}) as database:
        if n == 1:
            database.execute("pragma query_only = 1")
        database.execute("insert into cells values (?)", (value,))
    return value


with ThreadPool(2) as pool:
    pool.map(save, range(4))
"""


def test_errors_of_what_is_read_only_by_itself_are_the_scripts(
    demo_server: Server, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They were explained by what calls share; a database by an absolute path may be written, as caches are."""
    path = tmp_path_factory.mktemp("elsewhere") / "cache.db"
    with sqlite3.connect(path) as database:
        database.execute("create table cells (n)")
    (tmp_path / "script.py").write_text(OWN_ERRORS.format(path=str(path)))
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 1, result.stderr
    assert "RecipeError: ValueError" in result.stderr
    assert "RecipeError: OperationalError: attempt to write a readonly database" in result.stderr
    assert "which others share" not in result.stderr
    with sqlite3.connect(path) as database:
        assert sorted(database.execute("select n from cells")) == [(2,), (3,)]
