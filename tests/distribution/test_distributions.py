"""Wheel and sdist have what a user needs, and nothing else; they work in an empty folder without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from local_tests.support.repositories import OWN_PLUGINS

pytestmark = pytest.mark.slow

pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parents[2]


LOCAL = ROOT / "packages" / "eechips-local"


def build(project: Path, target: str, folder: Path) -> Path:
    words = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(words, cwd=project, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def local_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(LOCAL, "wheel", tmp_path_factory.mktemp("local-wheel"))


def read_names(wheel: Path) -> tuple[set[str], str]:
    """Return the names of the files of a wheel, and its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    licences = {name.rpartition("/")[2] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert "License-Expression: Apache-2.0" in metadata
    return {name for name in names if ".dist-info/" not in name and "__pycache__" not in name}, metadata


def tracked(project: Path, package: str) -> set[str]:
    """Return the files of a package in git, relative to its project."""
    words = ["git", "ls-files", package]
    return set(subprocess.run(words, cwd=project, check=True, capture_output=True, text=True).stdout.split())


def test_the_wheel_of_the_local_earth_engine_has_its_modules(local_wheel: Path) -> None:
    names, metadata = read_names(local_wheel)
    assert names == tracked(LOCAL, "eechips_local")
    assert "Requires-Dist: eechips" not in metadata


def test_a_wheel_has_all_modules_resources_and_licences(wheel: Path) -> None:
    names, _ = read_names(wheel)
    shipped = (path for path in (ROOT / "recipes").rglob("*") if path.suffix in (".py", ".csv"))
    recipes = {f"eechips/cli/examples/{path.relative_to(ROOT / 'recipes').as_posix()}" for path in shipped}
    assert names == {*tracked(ROOT, "eechips"), *recipes}


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_unpacked_wheels_work_in_an_empty_folder(wheel: Path, local_wheel: Path, tmp_path: Path) -> None:
    for path in (wheel, local_wheel):
        with zipfile.ZipFile(path) as archive:
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


ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {0!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def run_alone(wheel: Path, without: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in an empty folder with a wheel, where the package of the other distribution cannot be imported."""
    site, empty = folder / "site", folder / "empty"
    if not site.exists():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        (site / "sitecustomize.py").write_text(ABSENT.format(without), encoding="utf-8")
        empty.mkdir()
    return subprocess.run(
        [sys.executable, *words], cwd=empty, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True
    )


def test_the_local_earth_engine_works_without_eechips(local_wheel: Path, tmp_path: Path) -> None:
    listed = run_alone(local_wheel, "eechips", tmp_path, "-m", "eechips_local", "serve", "--coverage")
    assert listed.returncode == 0, listed.stderr
    assert "Image" in listed.stdout
    (tmp_path / "empty" / "test_ee.py").write_text(
        "import ee\nee.Initialize(project='mine')\n"
        "def test_sum():\n    assert ee.Number(1).add(1).getInfo() == 2\n"
        "def test_height():\n    assert ee.Image('USGS/SRTMGL1_003').bandNames().getInfo() == ['elevation']\n",
        encoding="utf-8",
    )
    words = ("-m", "pytest", "-q", *OWN_PLUGINS, "--earth-engine")
    tested = run_alone(local_wheel, "eechips", tmp_path, *words)
    assert "2 passed" in tested.stdout, tested.stdout + tested.stderr


@pytest.mark.parametrize(
    "words", [("sample", "--dataset", "NAIP", "--per-ecoregion", "1", "--local"), ("serve", "--demo"), ("assets", "ls")]
)
def test_eechips_says_how_to_install_the_local_earth_engine(
    wheel: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    helped = run_alone(wheel, "eechips_local", tmp_path, "-m", "eechips", "--help")
    assert helped.returncode == 0, helped.stderr
    refused = run_alone(wheel, "eechips_local", tmp_path, "-m", "eechips", *words)
    assert refused.returncode == 2
    assert "pip install 'eechips[local]'" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("project", "files"),
    [
        (ROOT, ("LICENSE", "NOTICE", "CHANGELOG.md", "tests/README.md", "docs/index.md", "mkdocs.yml")),
        (LOCAL, ("LICENSE", "NOTICE", "README.md", "local_tests/conftest.py")),
    ],
    ids=["eechips", "eechips-local"],
)
def test_an_sdist_gives_the_same_wheel(project: Path, files: tuple[str, ...], tmp_path: Path) -> None:
    for folder in ("wheel", "sdist", "again"):
        (tmp_path / folder).mkdir()
    with tarfile.open(build(project, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    for name in files:
        assert (source / name).is_file(), name
    wheel = build(project, "wheel", tmp_path / "wheel")
    assert build(source, "wheel", tmp_path / "again").read_bytes() == wheel.read_bytes()
