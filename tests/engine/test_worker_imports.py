"""What a run of chips imports to plan and fetch, and what workers of tables load in advance."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from eechips.builtin_recipes.tables.points import PointValues
from eechips.engine.executors import worker_preload
from eechips.engine.executors.worker_preload import encode_instructions
from tests.support.programs import run_program

CHIPS = "import eechips.builtin_recipes.samples.chips, eechips.engine.run, eechips.engine.executors.worker_process"


@pytest.mark.exhaustive
def test_chips_are_planned_and_fetched_without_pandas() -> None:
    shown = run_program(sys.executable, "-c", f"import sys; {CHIPS}; print('pandas' in sys.modules)", status=0)
    assert shown.stdout == "False\n"


def test_workers_of_tables_load_pandas_before_they_are_forked(tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("lon,lat\n-105,40\n")
    recipe = PointValues(dataset="NAIP", points=points)
    assert "pandas" in json.loads(encode_instructions(recipe, tmp_path / "client.json"))["modules"]


@pytest.mark.slow
def test_a_variable_of_a_user_loads_nothing() -> None:
    """Only the fork server acts on it, with a value of the run."""
    code = "import eechips.engine.executors.processes, gc; print(gc.isenabled())"
    shown = run_program(sys.executable, "-c", code, status=0, env={**os.environ, "EECHIPS_PRELOAD": "x"})
    assert shown.stdout == "True\n"


def test_a_fork_server_whose_parent_was_killed_early_ends(tmp_path: Path) -> None:
    """The folder of the file for which it waits is still there, as nobody has removed it."""
    ended = threading.Event()

    def prepare() -> None:
        worker_preload._prepare(tmp_path / "client.json", parent=os.getpid())  # any other process than its parent
        ended.set()

    threading.Thread(target=prepare, daemon=True).start()
    assert ended.wait(60)
