"""Wheel and sdist have what a user needs, and nothing else; they work in an empty folder without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parents[2]


def build(target: str, folder: Path) -> Path:
    words = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_a_wheel_has_all_modules_resources_and_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    listed = subprocess.run(["git", "ls-files", "eechips"], cwd=ROOT, check=True, capture_output=True, text=True)
    shipped = (path for path in (ROOT / "recipes").rglob("*") if path.suffix in (".py", ".csv"))
    recipes = {f"eechips/cli/examples/{path.relative_to(ROOT / 'recipes').as_posix()}" for path in shipped}
    packaged = {name for name in names if ".dist-info/" not in name and "__pycache__" not in name}
    assert packaged == {*listed.stdout.split(), *recipes}
    assert "License-Expression: Apache-2.0" in metadata
    licences = {name.rpartition("/")[2] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_unpacked_wheel_works_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    bin_folder = tmp_path / "venv" / "bin"
    bin_folder.mkdir(parents=True)
    site = tmp_path / "site"
    for name, words in {"eechips": "-m eechips", "python": ""}.items():
        (bin_folder / name).write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} {words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    (tmp_path / "empty").mkdir()
    words = ["bash", str(ROOT / "tests" / "distribution" / "try_out.sh"), str(tmp_path / "venv")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith(str(site / "eechips" / "__init__.py"))


@pytest.mark.slow
def test_an_sdist_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "sdist").mkdir()
    with tarfile.open(build("sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    for name in ("LICENSE", "NOTICE", "CHANGELOG.md", "tests/README.md", "docs/index.md", "mkdocs.yml"):
        assert (source / name).is_file(), name
    (tmp_path / "again").mkdir()
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "again")]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    (again,) = (tmp_path / "again").iterdir()
    assert again.read_bytes() == wheel.read_bytes()
