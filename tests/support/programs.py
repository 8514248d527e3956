"""Programs in processes of their own."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

EECHIPS = (sys.executable, "-m", "eechips")
"""First words of a command of eechips."""


def run_program(*words: object, status: int | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        words: the program and its arguments.
        status: exit status that it must have, negative for a signal; None for any.
        **options: options of ``subprocess.run``.
    """
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, **options)
    assert status is None or done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


def await_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a program, whose messages are piped, has written a file; fail with what it said if it ends before."""
    while not path.exists():
        try:
            _, said = process.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"{process.args} ended with {process.returncode} before {path.name} was there\n{said}")


def name_ended_writer() -> str:
    """Return the name by which temporary files tell of a process that has ended."""
    code = "from eechips.files.temporary_names import new_writer; print(new_writer())"
    return run_program(sys.executable, "-c", code, status=0).stdout.strip()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of the files that this process writes, in bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
