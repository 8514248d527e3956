"""An installed package adds a dataset and a cloud mask by entry points, each in one file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from eechips_local.assets import ingest
from tests.support.coded_store import write_geotiff
from tests.support.programs import run_program

COLLECTION = "projects/fields/assets/harvest"
CRS, EDGE, PIXEL = "EPSG:32613", 64, 10
WEST, NORTH = 500_000, 4_400_000
VALUES = np.arange(EDGE * EDGE, dtype=np.uint16).reshape(EDGE, EDGE) + 1

DATASET = f"""
alias = "HARVEST"
synonyms = ["YIELD"]
id = "{COLLECTION}"
kind = "collection"
title = "Harvest of fields"
provider = "A farm"
default_bands = ["mass"]
pixel_size = {PIXEL}
start = 2020-01-01
licence = "CC0-1.0"
citation = "A farm"
checked = 2026-11-20
page = "https://example.org/harvest"

[[bands]]
name = "mass"
units = "kg"
dtype = "uint16"

[[bands]]
name = "flags"
"""

MASK = f"""
from eechips.datasets.quality_bands import BitField, MaskSource, PixelClass

FLAGS = MaskSource(
    name="flags",
    datasets="{COLLECTION}",
    title="Harvest",
    url="https://example.org/harvest#flags",
    kinds=(PixelClass("rain", (BitField("flags", 2, 2),)),),
    usual=("rain",),
)
"""

ENTRY_POINTS = """
[eechips.datasets]
harvest = harvest_records:harvest.toml

[eechips.cloud_masks]
harvest = harvest_mask:FLAGS
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a package as it is found when it is installed."""
    folder = tmp_path_factory.mktemp("installed")
    records = folder / "harvest_records"
    records.mkdir()
    (records / "__init__.py").write_text("")
    (records / "harvest.toml").write_text(DATASET)
    (folder / "harvest_mask.py").write_text(MASK)
    info = folder / "harvest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: harvest\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an image of the collection whose western half is flagged."""
    folder = tmp_path_factory.mktemp("assets")
    flags = np.zeros_like(VALUES)
    flags[:, : EDGE // 2] = 4
    path = folder / "field.tif"
    write_geotiff(path, CRS, Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH), np.stack([VALUES, flags]), dtype="uint16")
    ingest(path, folder / "store", f"{COLLECTION}/field", time_start="2020-06-01", bands=["mass", "flags"])
    return folder / "store"


def eechips(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "eechips", *arguments]
    return run_program(*command, cwd=cwd, env=environment)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_sample_takes_chips_of_the_dataset_with_its_mask(installed: Path, store: Path, tmp_path: Path) -> None:
    x, y = WEST + PIXEL * EDGE / 2, NORTH - PIXEL * EDGE / 2
    longitude, latitude = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    (tmp_path / "points.csv").write_text(f"longitude,latitude\n{longitude:.9f},{latitude:.9f}\n")
    found = eechips(
        installed, tmp_path, "sample", "--dataset", "yield", "--points", "points.csv", "--mask", "auto", "--size", "16",
        "--format", "tif", "--name", "chip", "--local", str(store), "--executor", "processes:1",
        "--out", "out",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    with rasterio.open(tmp_path / "out" / "chip.tif") as file:
        values, valid = file.read(1), file.read_masks(1) > 0
    middle = slice(EDGE // 2 - 8, EDGE // 2 + 8)
    assert not valid[:, :8].any()
    assert valid[:, 8:].all()
    assert np.array_equal(values[:, 8:], VALUES[middle, middle][:, 8:])


@pytest.mark.slow
def test_the_dataset_is_listed(installed: Path, tmp_path: Path) -> None:
    lines = eechips(installed, tmp_path, "datasets").stdout.splitlines()
    assert lines[-1].split()[:3] == ["HARVEST", COLLECTION, "mass"]
    assert "YIELD" in lines[-1]


BROKEN = {
    "harvest_records:harvest.toml": ("harvest.toml: 'citation' is missing: text in quotes", ("citation", "# citation")),
    "harvest_records:crops.toml": ("there is no file crops.toml", ("", "")),
    "harvest_records:HARVEST": ("must name a TOML file of a package, such as my_package:snow.toml", ("", "")),
    "barley_records:harvest.toml": ("No module named 'barley_records'", ("", "")),
}


@pytest.mark.slow
@pytest.mark.parametrize("declared", BROKEN)
def test_the_package_of_a_broken_record_is_named_in_one_line(declared: str, installed: Path, tmp_path: Path) -> None:
    problem, change = BROKEN[declared]
    folder = shutil.copytree(installed, tmp_path / "installed")
    points = ENTRY_POINTS.replace("harvest_records:harvest.toml", declared)
    (folder / "harvest-1.0.dist-info" / "entry_points.txt").write_text(points)
    (folder / "harvest_records" / "harvest.toml").write_text(DATASET.replace(*change) if change[0] else DATASET)
    found = eechips(folder, tmp_path, "datasets")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert f"the dataset 'harvest' cannot be loaded from {declared}: " in found.stderr
    assert problem in found.stderr
    assert "Repair or remove the package that declares it" in found.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_sample_takes_chips_of_a_dataset_whose_record_is_a_file(store: Path, tmp_path: Path) -> None:
    x, y = WEST + PIXEL * EDGE / 2, NORTH - PIXEL * EDGE / 2
    longitude, latitude = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    (tmp_path / "points.csv").write_text(f"longitude,latitude\n{longitude:.9f},{latitude:.9f}\n")
    (tmp_path / "harvest.toml").write_text(DATASET)
    found = eechips(
        tmp_path, tmp_path, "sample", "--dataset", "harvest.toml", "--points", "points.csv", "--size", "16", "--format",
        "tif", "--name", "chip", "--local", str(store), "--executor", "processes:1", "--out", "out",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    with rasterio.open(tmp_path / "out" / "chip.tif") as file:
        assert file.descriptions == ("mass",)
        middle = slice(EDGE // 2 - 8, EDGE // 2 + 8)
        assert np.array_equal(file.read(1), VALUES[middle, middle])
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["datasets"] == [
        {
            "id": COLLECTION,
            "title": "Harvest of fields",
            "licence": "CC0-1.0",
            "citation": "A farm",
            "source": "https://example.org/harvest",
        }
    ]


@pytest.mark.slow
def test_a_mistake_in_the_file_of_a_dataset_is_named_before_anything_is_requested(tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text(DATASET.replace('["mass"]', '["weight"]'))
    found = eechips(tmp_path, tmp_path, "sample", "--dataset", "harvest.toml", "--total", "1", "--roi", "0,0,1,1")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == ("Error: harvest.toml: 'default_bands' names 'weight', which is not a band of [[bands]]\n")
