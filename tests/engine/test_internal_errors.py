"""Internal errors of eechips are not attributed to recipes and lose no unit."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eechips import Table
from eechips.cli.group import describe_fault
from eechips.client.error_classification import internal_error, raising_recipe_errors
from eechips.engine.fetch_result import encode_rows
from eechips.errors import InternalError, RecipeError, StorageError
from eechips.manifest.run import open_run
from tests.support.engine_recipes import run_script
from tests.support.engine_service import Service, serving
from tests.support.programs import run_program

UNMAPPED = "Original error was: libparquet.so.2500: failed to map segment from shared object"
"""What glibc says of a library for which memory is lacking, and of one on a file system without execution."""


@pytest.mark.parametrize(
    ("error", "is_memory", "is_noexec"),
    [
        (MemoryError(), True, False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True, False),
        (ImportError(f"Importing numpy failed.\n{UNMAPPED}\n"), True, True),
        (ImportError(f"{UNMAPPED}: Cannot allocate memory"), True, False),
        (ImportError(f"{UNMAPPED}: Operation not permitted"), False, True),
    ],
)
def test_no_code_is_blamed_for_what_the_machine_refuses(error: Exception, is_memory: bool, is_noexec: bool) -> None:
    with pytest.raises(type(error)), raising_recipe_errors():
        raise error
    for text in (str(internal_error(error)), describe_fault(error)):
        assert "bug" not in text
        assert ("too little memory" in text) is is_memory
        assert ("noexec" in text) is is_noexec


ARRAYS = """
import resource
from pathlib import Path

import numpy as np


def limit(spare):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard if spare is None else pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def get_requests(count=8, short="1", marks=""):
    return list(range(count))


def get_result(index, number, short="1", marks=""):
    attempts = Path(marks) / f"{number}.tries"
    tries = int(attempts.read_text()) + 1 if attempts.exists() else 1
    attempts.write_text(str(tries))
    if (Path(marks) / "enough").exists():
        return np.array([number])
    if number not in map(int, short.split("+")):  # the limit is one for all threads
        return np.array([number])
    limit(64 << 20 if tries <= LIMITED else None)
    return np.broadcast_to(np.float64(number), (4096, 4096))
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not limit a process's memory")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as service:
        yield service


def arrays(
    folder: Path, service: Service, *, limited: int, short: str = "1", count: int = 8, **options: object
) -> None:
    marks = folder / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    source = ARRAYS.replace("LIMITED", str(limited))
    parameters = {"short": short, "marks": marks, "count": count}
    run_script(folder, source, service.url, parameters=parameters, executor="processes:1", **options)


@pytest.mark.slow
@linux
def test_a_unit_that_lacks_memory_once_is_retried(service: Service, tmp_path: Path) -> None:
    arrays(tmp_path, service, limited=1, count=4, in_flight=1)
    finished = open_run(tmp_path / "out")
    assert finished.counts == {"done": 4}
    attempts = finished.units.sort_values("position")["attempts"].tolist()
    assert attempts[1] >= 2  # so may others: the limit is that of the process, which may fail outside of this unit


@pytest.mark.slow
@linux
def test_a_unit_that_always_lacks_memory_fails_transiently(service: Service, tmp_path: Path) -> None:
    arrays(tmp_path, service, limited=1000, in_flight=1)
    finished = open_run(tmp_path / "out")
    assert finished.counts == {"done": 7, "failed_transient": 1}
    (failure,) = finished.failures.to_dict("records")
    assert failure["error_class"] == "InternalError"
    assert "too little memory" in failure["error"]
    assert "eechips/formats" in failure["traceback"].replace(os.sep, "/")
    assert failure["attempts"] == 3
    (tmp_path / "marks" / "enough").touch()
    arrays(tmp_path, service, limited=1000, in_flight=1)
    assert open_run(tmp_path / "out").counts == {"done": 8}


@pytest.mark.exhaustive
@pytest.mark.slow
@linux
def test_many_units_that_lack_memory_stop_the_run_and_the_next_one_does_them(service: Service, tmp_path: Path) -> None:
    every = "+".join(map(str, range(10, 60)))
    with pytest.raises(InternalError, match=r"20 units in a row failed.*too little memory.*same command again"):
        arrays(tmp_path, service, limited=1000, short=every, count=60, in_flight=2, retries=0)
    stopped = open_run(tmp_path / "out")
    assert set(stopped.counts) == {"done", "failed_transient", "planned"}
    assert set(stopped.failures["error_class"]) == {"InternalError"}
    (tmp_path / "marks" / "enough").touch()
    arrays(tmp_path, service, limited=1000, short=every, count=60)
    assert open_run(tmp_path / "out").counts == {"done": 60}


VANISHING = """
import shutil
from pathlib import Path


def get_requests(count=30, place=""):
    return list(range(count))


def get_result(index, number, place=""):
    if number == 5 and not (Path(place) / "back").exists():
        shutil.rmtree(Path(place) / "disk" / "results")
        (Path(place) / "disk").chmod(0o500)
    return b"text %d" % number
"""


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is closed to this user")
def test_a_lost_disk_stops_the_run_and_the_next_run_resumes(service: Service, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    options: dict[str, Any] = {
        "parameters": {"place": str(tmp_path)},
        "results": str(tmp_path / "disk" / "results"),
        "executor": "processes:1",
    }
    try:
        with pytest.raises(StorageError):
            run_script(tmp_path, VANISHING, service.url, in_flight=1, **options)
    finally:
        (tmp_path / "disk").chmod(0o700)
    stopped = open_run(tmp_path / "out")
    assert set(stopped.counts) <= {"planned", "done"}
    (tmp_path / "back").touch()
    finished = run_script(tmp_path, VANISHING, service.url, **options)
    assert finished.counts == {"done": 30}
    assert len(list((tmp_path / "disk" / "results" / "chips").iterdir())) == 30


STRICT = """
import sys, warnings
from pathlib import Path
from tests.support.engine_recipes import CHIPS, ODD, run_script

folder, url, executor = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
options = {"executor": executor if executor == "threads" else f"{executor}:2", "in_flight": 8}
mixed = CHIPS.replace("format=format", "format=('png', 'jpg', 'tif', 'npy')[index % 4]")
done = run_script(folder / "chips", mixed, url, parameters={"count": 40}, **options)
assert done.counts == {"done": 40}, done.failures
done = run_script(folder / "table", ODD, url, parameters={"what": "table", "count": 8}, **options)
assert done.counts == {"done": 8}, done.failures
"""


BROKEN = """
import broken_by_a_warning


def get_requests():
    return [1]


def get_result(index, number):
    return b"text"
"""


@pytest.mark.slow
def test_a_module_that_fails_when_it_is_imported_fails_its_units_and_not_the_workers(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"import os\n\nif os.getpid() != {os.getpid()}:\n    raise UserWarning('x')\n"
    (tmp_path / "broken_by_a_warning.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    finished = run_script(tmp_path, BROKEN, service.url, executor="processes:1")
    (error,) = finished.failures["error"]
    assert error.endswith("recipe.py: UserWarning: x")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_warnings_that_are_errors_fail_no_unit(service: Service, tmp_path: Path, executor: str) -> None:
    words = [sys.executable, "-c", STRICT, str(tmp_path), service.url, executor]
    root = Path(__file__).parents[2]
    strict = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": str(root)}
    run_program(*words, status=0, env=strict, cwd=tmp_path, timeout=120)


def test_a_bug_of_a_recipe_that_unpacks_rows_is_no_fault_of_the_response() -> None:
    table = Table([], unpack=lambda rows: {"a": [row["typo"] for row in rows]})
    with pytest.raises(RecipeError, match="KeyError: 'typo'"):
        encode_rows(table, [{"a": 1}])
