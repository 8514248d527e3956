"""A system without file locks: the calls fail, as on NFS without its lock service, or Lustre without flock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import run_program

LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

int flock(int descriptor, int operation) { errno = ENOLCK; return -1; }

static int forward(const char *name, int descriptor, int command, void *argument) {
    if (command == F_SETLK || command == F_SETLKW) { errno = ENOLCK; return -1; }
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
    return real(descriptor, command, argument);
}

int fcntl(int descriptor, int command, ...) {
    va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest);
    return forward("fcntl", descriptor, command, argument);
}

int fcntl64(int descriptor, int command, ...) {
    va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest);
    return forward("fcntl64", descriptor, command, argument);
}
"""
COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(
    COMPILER is None or not sys.platform.startswith("linux"), reason="needs a C compiler and LD_PRELOAD"
)


@pytest.fixture(scope="module")
def without_locks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose locks fail."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "nolocks.c").write_text(LIBRARY)
    library = folder / "nolocks.so"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", library, folder / "nolocks.c", "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library)}


def told(environment: dict[str, str], code: str) -> str:
    done = run_program(sys.executable, "-c", code, status=0, env=environment)
    return done.stdout.strip()


def test_file_locks_fail_in_this_test(without_locks: dict[str, str], tmp_path: Path) -> None:
    for call in ("flock", "lockf"):
        code = (
            "import fcntl, sys\n"
            f"with open({str(tmp_path / 'x')!r}, 'w') as file:\n"
            f"    try: fcntl.{call}(file, fcntl.LOCK_EX)\n"
            "    except OSError as error: print(error.errno)"
        )
        assert told(without_locks, code) == "37"


@pytest.mark.slow
def test_a_run_in_a_folder_without_locks_ends_with_one_sentence(without_locks: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(
        "def get_requests():\n    return [1]\n\ndef get_result(i, u):\n    return b'1'\n"
    )
    command = [sys.executable, "-m", "eechips", "run", "recipe.py", "--out", "out", "--local"]
    done = run_program(*command, status=2, cwd=tmp_path, env=without_locks)
    assert "its file system has no working flock" in done.stderr
    assert "Traceback" not in done.stderr


def test_threads_keep_a_quota_without_locks_and_processes_are_refused(without_locks: dict[str, str]) -> None:
    code = """
import multiprocessing
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.errors import ConfigurationError
throttle = Throttle(None, QuotaLimits(in_flight=1), clients=1)
throttle.reclaim(0)
try:
    Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=1), clients=2)
except ConfigurationError as error:
    print(error)
"""
    found = told(without_locks, code)
    assert "record locks (fcntl) fail" in found
    assert "executor='threads'" in found
    assert "No locks available" in found


@pytest.mark.slow
def test_an_asset_store_without_locks_is_refused(without_locks: dict[str, str], tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from eechips_local.assets.asset_errors import AssetWriteError
from eechips_local.assets.ingestion.publish import create
try:
    create(Path({str(tmp_path / "store")!r}))
except AssetWriteError as error:
    print(error)
"""
    assert "No locks available" in told(without_locks, code)


def test_a_cache_of_cubes_without_locks_is_refused(without_locks: dict[str, str], tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from eechips.cubes.box_cache import BoxCache, CacheSettings
from eechips.errors import StorageError
try:
    with BoxCache(CacheSettings(Path({str(tmp_path)!r}), 1 << 20), "cube").planning():
        pass
except StorageError as error:
    print(error)
"""
    found = told(without_locks, code)
    assert "No locks available" in found
    assert "cache=False" in found
