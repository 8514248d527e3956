"""Objects that the processes of a pool share: those of a manager, and numbers of multiprocessing."""

from __future__ import annotations

import math
from multiprocessing import Array
from pathlib import Path

import pytest

from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.shared_objects import record_numbers
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import plain, run

pytestmark = pytest.mark.slow

MANAGED = """
from multiprocessing import Manager, Pool

import ee

ee.Initialize()


def init(queue):
    global found_by_all
    found_by_all = queue


def save(n, objects):
    with objects["lock"], open(f"{n}.txt", "w") as file:
        file.write(str(ee.Number(n).getInfo()))
    objects["found"].append(n)
    objects["values"][n] = n * n
    found_by_all.put(n)


if __name__ == "__main__":
    with Manager() as manager:
        objects = {"lock": manager.Lock(), "found": manager.list(), "values": manager.dict()}
        queue = manager.Queue()
        with Pool(2, init, (queue,)) as pool:
            pool.starmap(save, [(n, objects) for n in range(4)])
        print(sorted(objects["found"]), sorted(objects["values"].items()), sorted(queue.get() for _ in range(4)))
"""


def test_a_resumed_script_has_what_completed_calls_have_put_into_managed_objects(
    demo_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "managed.py").write_text(MANAGED)
    for _ in range(2):
        result = run(tmp_path / "managed.py", demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "[0, 1, 2, 3] [(0, 0), (1, 1), (2, 4), (3, 9)] [0, 1, 2, 3]" in result.stdout


NUMBERS = """
import ctypes
from multiprocessing import Array, Pool, Value
from multiprocessing.pool import ThreadPool

done, sums, found, word = Value("i", 10), Array("d", 2), Value(ctypes.c_bool, False), Array("c", b"abc")


class Counter:
    def __init__(self):
        self.value = Value("l")

    def add(self, n):
        self.value.value += n


def init(value):
    global weight
    weight = value


def save(n):
    with done.get_lock():
        done.value += 1
    sums[n % 2] += n
    weight.value += 0.5
    found.value, word.value = True, b"xyz"
    with open(f"{n}.txt", "w") as file:
        file.write("x")


if __name__ == "__main__":
    weight, counter = Value("f"), Counter()
    with Pool(2, init, (weight,)) as pool:
        pool.map(save, range(4))
    ThreadPool(2).map(counter.add, range(4))
    print(done.value, list(sums), weight.value, found.value, counter.value.value)
"""


def test_what_calls_add_to_shared_numbers_is_added_up(demo_server: Server, tmp_path: Path) -> None:
    """The script said that it had done nothing."""
    (tmp_path / "adds.py").write_text(NUMBERS)
    for _ in range(2):
        result = run(tmp_path / "adds.py", demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "14 [2.0, 4.0] 2.0 True 6" in result.stdout


ASSIGNED = """
import math
from multiprocessing import Array, Pool, Value

best, least, greatest, stops, count = Value("d"), Value("i", 99), Value("d"), Value("i"), Value("i", 5)
squares, values = Array("i", [-1] * 6), Array("d", [math.nan] * 6)


def save(n):
    if n + 0.1 > best.value:
        best.value = n + 0.1
    least.value = min(least.value, n)
    greatest.value = max(n + 0.2, greatest.value)
    stops.value = 1
    with count.get_lock():
        count.value = count.value + 2
    squares[n], values[n] = n * n, n + 0.1
    return least.value


if __name__ == "__main__":
    with Pool(2) as pool:
        assert all(type(number) is int for number in pool.map(save, [3, 5, 2, 1, 0, 4]))
    print(best.value, least.value, greatest.value, stops.value, count.value, list(squares), list(values))
    open("done.txt", "w").close()
"""


def test_assigned_numbers_are_not_added_up(demo_server: Server, tmp_path: Path) -> None:
    """A maximum was the sum of all that were the greatest in their process, and numbers in place of NaN were lost."""
    script = tmp_path / "assigns.py"
    script.write_text(ASSIGNED)
    expected = plain(script, demo_server, tmp_path).stdout
    assert expected == "5.1 0 5.2 1 17 [0, 1, 4, 9, 16, 25] [0.1, 1.1, 2.1, 3.1, 4.1, 5.1]\n"
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(expected)


def test_numbers_that_a_call_leaves_alone_are_no_changes() -> None:
    """NaN, which differs from itself, took the place of what another process had assigned: only at times."""
    values = Array("d", [math.nan, math.nan, 1.0])

    def save() -> None:
        values[1] = 2.0

    with record_numbers(Call(save), ()) as changes:
        save()
    assert [(change.position, change.number, change.is_assigned) for change in changes] == [(1, 2.0, True)]


NUMBERED = """
from multiprocessing import Pool, Value

import ee

ee.Initialize()
numbers = Value("i", 0)


def save(n):
    with numbers.get_lock():
        numbers.value += 1
        number = numbers.value
    with open(f"{number:03d}.txt", "w") as file:
        file.write(str(ee.Number(n).getInfo()))


if __name__ == "__main__":
    with Pool(2) as pool:
        pool.map(save, range(4))
"""


def test_processes_that_number_files_by_a_shared_number_are_refused(demo_server: Server, tmp_path: Path) -> None:
    """Each process counted its copy: a third of the calls failed, and returned numbers were there twice."""
    (tmp_path / "numbered.py").write_text(NUMBERED)
    result = run(tmp_path / "numbered.py", demo_server, tmp_path)
    assert result.returncode == 2, result.stderr
    assert (
        "calls of save() cannot be made in other processes: each would count with a copy of numbers." in result.stderr
    )
    assert "by enumerate()" in result.stderr
