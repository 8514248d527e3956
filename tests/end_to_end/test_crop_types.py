"""Crop types from time series: the tutorial on fewer fields. A series tells more than any date, by its order alone."""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.blocks import list_commands, read_blocks
from tests.support.programs import run_program

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")]

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorials" / "crop-types.md"
FEWER = {"--per-class 40": "--per-class 20", "--size 8": "--size 6", "--ratios 0.6,0.2,0.2": "--ratios 0.5,0.2,0.3"}


def output_of(line: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "EECHIPS_DEMO_UNTIL": "2025-01-01"}
    done = run_program("bash", "-euc", line, status=0, cwd=folder, env=environment, timeout=600)
    return done.stdout


def shorten(line: str) -> str:
    for usual, less in FEWER.items():
        line = line.replace(usual, less)
    return line


def scores_of(text: str) -> dict[str, float]:
    """Return balanced accuracies by input."""
    return {name: float(score) for name, score in re.findall(r"^  (\S.*?) +([01]\.\d+)  \(", text, flags=re.M)}


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_a_series_tells_crops_that_no_single_date_and_no_shuffled_series_tells(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    blocks = [block for block in read_blocks(TUTORIAL.read_text(encoding="utf-8")) if block.language == "sh"]
    commands = [line for block in blocks for line in list_commands(block)]
    assert [line.split()[1] for line in commands] == ["sample", "split", "recipes/crop_types.py"]
    assert all(any(usual in line for line in commands) for usual in FEWER)
    for line in commands[:2]:
        output_of(shorten(line), tmp_path)
    train = f"{commands[2]} --seeds 1"
    text = output_of(train, tmp_path)
    scores = scores_of(text)
    assert len(scores) == 15
    dates = [score for name, score in scores.items() if name.startswith("2020")]
    assert len(dates) == 12
    assert scores["single date"] in dates
    assert scores["series"] > 0.75
    assert scores["series"] > max(dates) + 0.05
    assert scores["series"] > scores["single date"] + 0.1
    assert scores["series"] > scores["shuffled"] + 0.2
    assert scores["shuffled"] < max(dates)
    quick = [re.sub(r"\d+ s of", "", output_of(f"{train} --epochs 2", tmp_path)) for _ in range(2)]
    assert quick[0] == quick[1]
