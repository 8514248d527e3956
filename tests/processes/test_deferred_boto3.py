"""boto3, which rasterio imports with itself, is imported when it is used, by any thread and under its own name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import eechips
import eechips_local

MODULE = "deferred_boto3.py"
DEFERRED = "from eechips.processes.deferred_boto3 import defer_boto3; defer_boto3(); "


def run(code: str) -> str:
    """Return what a process prints."""
    ended = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import eechips_local.evaluation.preload",
        "from eechips.cli import main; main(['--help'], standalone_mode=False); import rasterio",
        'import os; os.environ[\'EECHIPS_PRELOAD\'] = \'{"modules": [], "client_init": "/missing/file"}\';'
        " import eechips.engine.worker_preload",
    ],
    ids=["server", "command", "workers"],
)
def test_processes_that_use_rasterio_do_not_import_boto3(code: str) -> None:
    assert run(f"{code}; print('rasterio' in sys.modules, 'botocore' in sys.modules)").endswith("True False")


def test_a_session_of_rasterio_imports_it() -> None:
    options = "aws_access_key_id='a', aws_secret_access_key='b', region_name='eu-west-1'"
    code = f"import boto3, rasterio.session; print(rasterio.session.AWSSession({options}).credentials)"
    shown = run(f"{DEFERRED}{code}; assert sys.modules['boto3'] is not boto3; print(boto3.session.Session)")
    assert "'aws_region': 'eu-west-1'" in shown
    assert shown.endswith("<class 'boto3.session.Session'>")


def test_a_module_of_it_is_the_same_before_and_after() -> None:
    code = "import boto3.session as first; import boto3; print(boto3.Session is first.Session is boto3.session.Session)"
    assert run(DEFERRED + code) == "True"


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
