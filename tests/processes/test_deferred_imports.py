"""boto3 and IPython are imported when they are used, by any thread and under their own names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import eechips
import eechips_local
from tests.support.programs import run_program

MODULE = "deferred_imports.py"
DEFERRED = "from eechips.processes.deferred_imports import defer_imports; defer_imports(); "


def run(code: str) -> str:
    """Return what a process prints."""
    ended = run_program(sys.executable, "-c", f"import sys; {code}", status=0)
    return ended.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import eechips_local.evaluation.preload",
        "from eechips.cli import main\ntry: main(['--help'])\nexcept SystemExit: import rasterio",
        'import os; os.environ[\'EECHIPS_PRELOAD\'] = \'{"modules": [], "client_init": "/missing/file", "parent": 0}\';'
        " import eechips.engine.executors.fork_server",
    ],
    ids=["server", "command", "workers"],
)
def test_processes_import_neither_with_rasterio_and_the_client(code: str) -> None:
    shown = run(
        f"{code}\nimport ee\nprint(*(name in sys.modules for name in ('rasterio', 'ee', 'botocore', 'IPython.core')))"
    )
    assert shown.endswith("True True False False")


@pytest.mark.slow
def test_a_session_of_rasterio_imports_it() -> None:
    options = "aws_access_key_id='a', aws_secret_access_key='b', region_name='eu-west-1'"
    code = f"import boto3, rasterio.session; print(rasterio.session.AWSSession({options}).credentials)"
    shown = run(f"{DEFERRED}{code}; assert sys.modules['boto3'] is not boto3; print(boto3.session.Session)")
    assert "'aws_region': 'eu-west-1'" in shown
    assert shown.endswith("<class 'boto3.session.Session'>")


@pytest.mark.slow
def test_a_module_of_it_is_the_same_before_and_after() -> None:
    code = "import boto3.session as first; import boto3; print(boto3.Session is first.Session is boto3.session.Session)"
    assert run(DEFERRED + code) == "True"


@pytest.mark.slow
@pytest.mark.parametrize(("module", "read"), [("IPython.display", "get_ipython"), ("boto3.session", "client")])
def test_a_module_that_is_imported_before_its_package_is_its_attribute(module: str, read: str) -> None:
    package = module.partition(".")[0]
    code = f"import {module} as first, {package} as deferred; before = sys.modules[{package!r}]; deferred.{read}; "
    shown = f"import {package}; print({module} is first is deferred.{module.rpartition('.')[2]}, {package} is before)"
    assert run(f"{DEFERRED}{code}{shown}") == "True False"


@pytest.mark.slow
def test_threads_that_read_it_at_once_wait_for_its_import() -> None:
    code = (
        "import boto3; from concurrent.futures import ThreadPoolExecutor; from threading import Barrier\n"
        "ready = Barrier(8)\n"
        "def read(_): ready.wait(); return boto3.Session, boto3.client\n"
        "with ThreadPoolExecutor(8) as threads: print(len(set(threads.map(read, range(8)))))"
    )
    assert run(DEFERRED + code) == "1"


def test_both_distributions_have_it_alike() -> None:
    folders = (Path(eechips.__file__).parent / "processes", Path(eechips_local.__file__).parent)
    own, local = (folder.joinpath(MODULE).read_text(encoding="utf-8") for folder in folders)
    assert own == local
