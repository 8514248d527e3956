"""The README's commands, run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

import eechips
from eechips.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text under a heading."""
    return re.split(r"^## ", TEXT.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def commands(text: str) -> list[str]:
    """Lines of shell blocks that run eechips."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("eechips ")]


LOCAL = [line for title in ("Verbs", "The local Earth Engine") for line in commands(section(title))]


def environment() -> dict[str, str]:
    """This environment, with the scripts of this Python first on the path."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-euc", line], cwd=folder, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's commands find in a checkout, and a raster and zones of the reader's own."""
    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "recipes", place / "recipes")
    values = np.random.default_rng(0).integers(1, 255, (4, 1300, 1300), dtype="uint8")
    profile = {"driver": "GTiff", "width": 1300, "height": 1300, "count": 4, "dtype": "uint8", "crs": "EPSG:26913"}
    # 13 km around 40 N, 105.05 W.
    with rasterio.open(
        place / "my_quad.tif", "w", transform=Affine(10, 0, 489_000, 0, -10, 4_431_000), **profile
    ) as file:
        file.write(values)
    halves = [shapely.box(-105.1, 39.9, -105.05, 40.0), shapely.box(-105.05, 39.9, -105.0, 40.0)]
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(half), "properties": {"zone": zone}}
        for half, zone in zip(halves, ("west", "east"), strict=True)
    ]
    (place / "my_zones.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return place


def test_every_verb_stands_in_the_readme() -> None:
    context = click.Context(main)
    for verb in main.list_commands(context):
        assert f"eechips {verb}" in TEXT, verb


def test_every_command_is_one_that_the_tests_run() -> None:
    real = commands(section("The real Earth Engine"))
    training = commands(section("From a run to a model"))  # in test_train.py
    assert sorted(commands(TEXT)) == sorted([*LOCAL, *real, *training])
    assert all("--local" not in line for line in real)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_commands_of_the_verbs(folder: Path) -> None:
    for line in LOCAL:
        done = run(line, folder)
        words = shlex.split(line)
        if "--out" in words and "--dry-run" not in words and words[1] != "work":  # which leaves results, and no run
            out = folder / words[words.index("--out") + 1]
            states = eechips.open_run(out).units["state"]
            assert set(states) == {"done"}, line
            if "--per-ecoregion" in words:
                assert len(states) == (10 if "my/zones" in words else 20), line
        assert "Traceback" not in done.stderr
    tables = sorted((folder / "outputs" / "timeseries-modis-061-mod11a2" / "series").glob("*.csv"))
    assert tables
    header, first, *_ = tables[0].read_text().splitlines()
    assert header == "ADM2_CODE,date,LST_Day_1km,count"
    assert first.split(",")[1] == "2019-01-01"


@pytest.mark.slow
def test_recipe_and_python(folder: Path) -> None:
    recipe, program, *_ = blocks(section("Verbs"), "python")
    (folder / "grid.py").write_text(recipe)
    run("eechips run grid.py -p per_side=2 --local --out outputs/grid --processes 2", folder)
    assert set(eechips.open_run(folder / "outputs" / "grid").units["state"]) == {"done"}
    (folder / "program.py").write_text(program)
    assert "valid_fraction" in run("python program.py", folder).stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_first_command_on_a_fresh_clone(tmp_path: Path) -> None:
    line = next(line for line in section("Start").splitlines() if "sample" in line)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    # A Python that refuses to install outside of virtual environments, as Debian's does.
    done = subprocess.run(
        ["bash", "-euc", line], cwd=clone, capture_output=True, text=True, timeout=800,
        env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = eechips.open_run(clone / "outputs" / "sample-naip")
    assert found.verify() == []
    assert (
        found.units.groupby("eco_name").size().eq(25).all() if "eco_name" in found.units else len(found.units) % 25 == 0
    )
