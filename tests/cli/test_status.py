"""`eechips status` during and after a run, with and without a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eechips import open_run
from eechips.errors import UsageError
from eechips.manifest.folder_lock import lock_folder
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from tests.cli.test_commands import eechips
from tests.support.engine_recipes import run_chips
from tests.support.engine_service import Service

RECIPE = """
import ee
from eechips import Chip


def get_requests():
    return list(range(1, 41))


def get_result(index, n):
    return Chip(ee.Image(n), region=ee.Geometry.Point(0, 0).buffer(50), dimensions=(8, 8))
"""


SLOWLY = ["--executor", "processes:2", "--in-flight", "4", "--method", "pixels", "--out", "out"]


@pytest.fixture(scope="module")
def slow(shared_service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of some seconds that has begun to settle units."""
    home = tmp_path_factory.mktemp("slow")
    (home / "slow.py").write_text(RECIPE)
    shared_service.latency = 0.5
    command = ["run", "slow.py", "--endpoint", shared_service.url, *SLOWLY]
    with subprocess.Popen(
        [sys.executable, "-m", "eechips", "--debug", *command],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while shared_service.count("compute") < 9:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield home / "out"
        assert process.wait() == 0
    shared_service.latency = 0.0


def on_a_terminal(*arguments: str, cwd: Path, columns: int, **environment: str) -> str:
    """Return the output of a command on a terminal of a given width."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "eechips", *arguments],
        cwd=cwd,
        stdout=theirs,
        env={**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8", **environment},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_watch_follows_a_run_to_its_end(slow: Path) -> None:
    early = json.loads(eechips("status", "out", "--json", cwd=slow.parent).stdout)
    assert early["is_running"]
    assert early["counts"]["planned"] > 0
    assert early["seconds_left"] > 0
    assert early["history"]["recent"] > 0
    looks = [
        json.loads(line) for line in eechips("status", "out", "--watch", "--json", cwd=slow.parent).stdout.splitlines()
    ]
    assert [look["is_running"] for look in looks] == [True] * (len(looks) - 1) + [False]
    assert looks[-1]["counts"] == {"done": 40}
    assert looks[-1]["seconds_left"] is None
    assert looks[-1]["finished"]


@pytest.mark.exhaustive
def test_watch_redraws_on_a_terminal(slow: Path) -> None:
    eechips("status", "out", "--watch", cwd=slow.parent)  # up to the end of the run
    for columns in (50, 100):
        text = on_a_terminal("status", "out", cwd=slow.parent, columns=columns)
        assert "units per second" in text
        assert "requests in flight" in text
        assert re.search("[▁▂▃▄▅▆▇█]", text)
        assert max(map(len, text.splitlines())) <= columns
    plain = on_a_terminal("status", "out", cwd=slow.parent, columns=80, PYTHONIOENCODING="ascii")
    assert plain.isascii()
    assert re.search(r"^[ .:=+*-]*#", plain, re.MULTILINE)
    assert 0 < max(open_run(slow).status(intervals=1).history.in_flight) <= 4


@pytest.mark.exhaustive
def test_watch_prints_plain_lines_without_a_terminal(shared_service: Service, tmp_path: Path) -> None:
    shared_service.plan(2, "400")
    run = run_chips(tmp_path, shared_service.url, retries=0)
    result = eechips("status", str(run.path), cwd=tmp_path)
    facts = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if not line.startswith(" "))
    assert facts["units"] == "12"
    assert facts["failed_permanent"] == "1"
    assert re.search(r"^ +1 PermanentError$", result.stdout, re.MULTILINE)
    assert "units per second:" not in result.stdout
    assert "requests in flight" not in on_a_terminal("status", "out", cwd=tmp_path, columns=80)
    assert "\x1b" not in eechips("status", str(run.path), "--watch", cwd=tmp_path).stdout
    assert open_run(run.path).status().history.commands == 1


@pytest.mark.exhaustive
@pytest.mark.slow
def test_each_update_replaces_the_last(tmp_path: Path, shared_service: Service) -> None:
    (tmp_path / "slow.py").write_text(RECIPE)
    shared_service.latency = 0.5
    command = ["run", "slow.py", "--endpoint", shared_service.url, *SLOWLY, "-q"]
    shared_service.forget()
    with subprocess.Popen([sys.executable, "-m", "eechips", *command], cwd=tmp_path, stdout=subprocess.DEVNULL) as run:
        while shared_service.count("compute") < 9:
            with pytest.raises(subprocess.TimeoutExpired):
                run.wait(0.05)
        text = on_a_terminal("status", "out", "--watch", cwd=tmp_path, columns=60)
        assert run.wait() == 0
    shared_service.latency = 0.0
    first, *others = re.split(r"\x1b\[(\d+)F\x1b\[J", text)
    assert "time left" in first
    assert others, text
    shown = [first, *others[1::2]]
    assert [int(lines) for lines in others[::2]] == [part.count("\n") for part in shown[:-1]]
    assert re.search(r"^finished +20\d\d-", shown[-1], re.MULTILINE)


def test_a_run_without_a_plan_is_being_planned_or_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    Ledger(tmp_path / LEDGER_NAME).close()
    with lock_folder(tmp_path), pytest.raises(UsageError, match="holds no run yet: it is being planned"):
        open_run(tmp_path).counts  # noqa: B018 - reads the ledger
    with pytest.raises(UsageError, match="holds no run yet: it was interrupted while it was planned"):
        open_run(tmp_path).counts  # noqa: B018
