"""From ``eechips sample`` to a trained model: the tutorial, and the recipe on data with and without a signal."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine

from eechips.formats import geotiff
from eechips.manifest.run import Run
from eechips.training.splits import split_table
from tests.docs.blocks import list_commands, read_blocks
from tests.support.commands import run_command
from tests.support.finished_run import write_run
from tests.support.programs import run_program

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")]

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "train_classifier.py"
TUTORIAL = ROOT / "docs" / "tutorials" / "training-set.md"


def in_folder(line: str, folder: Path) -> str:
    """Return the output of a command."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = run_program("bash", "-euc", line, status=0, cwd=folder, env={**os.environ, "PATH": path}, timeout=600)
    return done.stdout


def scores(text: str, split: str = "test") -> tuple[float, float]:
    """Balanced accuracy of a split, and what one class would get."""
    found = re.search(
        rf"^{split}: .*?balanced accuracy +([0-9.]+) +\(always one class: ([0-9.]+)\)", text, flags=re.M | re.S
    )
    assert found is not None
    return float(found[1]), float(found[2])


def train(folder: Path, *options: str) -> str:
    return in_folder(" ".join([sys.executable, str(RECIPE), str(folder), *options]), ROOT)


def striped(folder: Path, *, is_told: bool, count: int = 90) -> Run:
    """Chips of two classes that come in turn, one of them further east: number, place and file all tell the class.

    Their pixels tell it only if they are to: one class has stripes.
    """
    rng = np.random.default_rng(0)
    units: list[tuple[dict[str, Any], dict[str, tuple[str, bytes]]]] = []
    for number in range(count):
        kind = number % 2
        image = rng.integers(0, 4000, (2, 16, 16)).astype(np.uint16)
        if is_told and kind:
            image[:, :, ::4] += 4000
        place = Affine(10.0, 0.0, 500_000.0 + 100_000 * kind + 200 * number, 0.0, -10.0, 4_400_000.0)
        mask = rng.random((16, 16)) < 0.9
        data = geotiff.encode(image, mask, ("a", "b"), rasterio.crs.CRS.from_epsg(32613), place)
        units.append(({"kind": "point", "class": 10 * kind, "number": number}, {"": ("tif", data)}))
    run = write_run(folder, units)
    ids = run.units["id"].tolist()
    names = ["train"] * (count * 2 // 3) + ["validation"] * (count // 6) + ["test"] * (count // 6)
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": names, "block": "b", "home": names}), {"seed": 0})
    return run


@pytest.mark.exhaustive
def test_a_signal_in_the_pixels_is_learned(tmp_path: Path) -> None:
    run = striped(tmp_path / "run", is_told=True)
    accuracy, chance = scores(train(run.path, "--epochs", "12"))
    assert chance == 0.5
    assert accuracy > 0.9


@pytest.mark.exhaustive
def test_order_place_and_name_are_not_learned(tmp_path: Path) -> None:
    """Without a signal in the pixels there is no skill, however much the rest would give away."""
    run = striped(tmp_path / "run", is_told=False, count=360)
    text = train(run.path, "--epochs", "12")
    assert 0.3 < scores(text)[0] < 0.7
    assert 0.3 < scores(text, "validation")[0] < 0.7


@pytest.mark.exhaustive
def test_the_same_seed_learns_the_same(tmp_path: Path) -> None:
    run = striped(tmp_path / "run", is_told=True)
    run_command("pack", run.path, "--to", "webdataset", "--quiet", status=0)
    pack = run.path / "packs" / "webdataset"
    first, second = (re.sub(r"\d+ s of", "", train(pack, "--epochs", "2", "--seed", "1")) for _ in range(2))
    assert first == second


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_the_tutorial_makes_a_training_set_that_a_model_learns_from(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    blocks = read_blocks(TUTORIAL.read_text())
    shell = [line for block in blocks if block.language == "sh" for line in list_commands(block)]
    assert " ".join(line.split()[1] for line in shell) == "sample check split pack recipes/train_classifier.py card"
    said = [in_folder(line, tmp_path) for line in shell]
    accuracy, chance = scores(said[4])
    assert chance < 0.2
    assert accuracy > 0.75
    described = json.loads((tmp_path / "outputs" / "training" / "croissant.json").read_text())
    assert {each["@id"] for each in described["recordSet"]} == {"units", "splits"}
    card = (tmp_path / "outputs" / "training" / "README.md").read_text()
    assert "**Synthetic.**" in card
    assert "| train |" in card
    (program,) = [block.text for block in blocks if block.language == "python"]
    (tmp_path / "program.py").write_text(program)
    assert "POLYGON" in in_folder(f"{sys.executable} program.py", tmp_path)


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_land_cover_is_learned_from_real_terrain(real_data: Path, tmp_path: Path) -> None:
    (shell,) = [
        list(list_commands(block)) for block in read_blocks(TUTORIAL.read_text()) if block.language == "console"
    ]
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for path in (real_data / "dem" / "srtm_zion.tif", real_data / "landcover" / "nlcd2011_zion.tif"):
        shutil.copy(path, tmp_path)
    *_, last = (in_folder(line, tmp_path) for line in shell)
    accuracy, chance = scores(last)
    assert chance == 0.25
    assert accuracy > 0.45
