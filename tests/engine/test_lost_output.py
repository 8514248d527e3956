"""A terminal or a pipe that takes no more output, and its effect on a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from eechips.manifest.run import open_run
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service

CLOSED = """
import sys
from eechips.engine.progress import Progress

with Progress(3, 0, 2, stream=sys.stderr) as progress:
    sys.stdin.readline()
    progress.say("the terminal is closed")
"""


def run_without_reader(program: str, stream: Literal["stdout", "stderr"], **variables: str) -> int:
    """Return the exit status of a program that reads a line after the reader of a stream of its has gone."""
    root = Path(__file__).resolve().parents[2]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, stream: subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(root), **variables}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, text=True, **pipes)
    getattr(process, stream).close()
    process.communicate("\n")
    return process.returncode


def test_a_closed_terminal_does_not_change_the_exit_status() -> None:
    assert run_without_reader(CLOSED, "stderr", PYTHONUNBUFFERED="") == 0


WITHOUT_READER = """
import sys
import click
from eechips.cli.terminal import echo, forgiving_output

@click.command()
def main():
    with forgiving_output():
        sys.stdin.readline()
        echo("nobody reads this")

main()
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_without_a_reader_does_not_change_the_exit_status(encoding: str) -> None:
    """Where the encoding is ASCII, click writes to the stream of bytes."""
    assert run_without_reader(WITHOUT_READER, "stdout", PYTHONIOENCODING=encoding) == 0


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is /dev/full")
def test_a_run_without_a_place_for_its_output_ends_as_others(service: Service, tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(CHIPS)
    words = ["run", "recipe.py", "--out", "out", "-p", "count=4", "--endpoint", service.url]
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "eechips", *words]
        assert subprocess.run(command, cwd=tmp_path, stdout=full, stderr=full, check=False).returncode == 0
    assert open_run(tmp_path / "out").is_complete
    assert (tmp_path / "out" / "report.html").exists()
