"""An executor that another package adds, in one file and an entry point."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import eechips
from eechips.engine.config import RunConfig
from eechips.errors import UsageError
from tests.support.engine_recipes import CHIPS, script
from tests.support.engine_service import Service
from tests.support.programs import run_program

POOL = """
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from eechips.engine.executors.executor import Executor, WorkerHandle
from eechips.engine.worker import Worker


class PoolExecutor(Executor[WorkerHandle]):
    def __init__(self, context):
        super().__init__(context.throttle, context.assignment_timeout)
        self._worker = Worker(context.spec, context.connection, context.discovery)
        self._pool, self._futures = ThreadPoolExecutor(8), set()
        self._handles.append(WorkerHandle(is_ready=True))

    @classmethod
    def create(cls, context):
        print("a pool of threads was made")
        return cls(context)

    def scale(self, slots, assignments, *, exclusive):
        return False

    def wait(self, timeout):
        done, self._futures = wait(self._futures, timeout, FIRST_COMPLETED)
        found = (self._finish(self._handles[0], future.result()) for future in done)
        return [event for event in found if event is not None]

    def kill(self):
        self.throttle.stop()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, assignment, *, alone=False):
        self._assign(assignment, alone=alone)
        self._futures.add(self._pool.submit(self._worker.execute, assignment))

    def _capacity(self, handle):
        return 8
"""
RUN = """
import sys
from pathlib import Path

import eechips

recipe, out, endpoint = sys.argv[1:]
run = eechips.run(recipe, {"count": 20}, out=out, endpoint=endpoint, executor="pool", quiet=True)
print(run.counts)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder of installed packages, with one that declares an executor ``pool``."""
    folder = tmp_path / "packages"
    about = folder / "chip_pools-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "chip_pools.py").write_text(POOL)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: chip-pools\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[eechips.executors]\npool = chip_pools:PoolExecutor\n")
    return folder


@pytest.mark.exhaustive
def test_a_package_adds_an_executor(service: Service, tmp_path: Path, package: Path) -> None:
    recipe = script(tmp_path, CHIPS)
    root = Path(eechips.__file__).parent.parent
    code = f"import sys; sys.path[:0] = [{str(package)!r}, {str(root)!r}]\n{RUN}"
    words = [sys.executable, "-c", code, str(recipe.path), str(tmp_path / "out"), service.url]
    ended = run_program(*words, status=0, timeout=120)
    assert ended.stdout.splitlines() == ["a pool of threads was made", "{'done': 20}"]
    assert len(list((tmp_path / "out" / "chips").iterdir())) == 20


def test_an_unknown_executor_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"executor must be processes, threads, dask.*, not 'pool'"):
        RunConfig(out=tmp_path, executor="pool")
