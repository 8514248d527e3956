"""The files by which releases are made agree with pyproject.toml and with each other."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONDA = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")
NAMES = {"tzdata": "python-tzdata"}
"""Names of packages that conda-forge calls otherwise."""


def pinned(requirements: list[str]) -> set[str]:
    """Return requirements without markers, as conda has them."""
    found = set()
    for each in requirements:
        name, bounds = re.fullmatch(
            r"([\w-]+)(?:\[[\w,]+\])?([^;]*)(?:;.*)?", each.replace(" ", ""), re.DOTALL
        ).groups()  # type: ignore[union-attr]
        found.add(f"{NAMES.get(name, name)} {bounds}".strip())
    return found


def test_conda_has_the_version_and_dependencies_of_the_project() -> None:
    recipe = yaml.safe_load(CONDA)
    assert recipe["context"]["version"] == PROJECT["version"]
    wanted = pinned([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["local"]])
    run = set(recipe["requirements"]["run"]) - {"__unix"}
    assert run == {*wanted, f"python {PROJECT['requires-python']}"}
    assert recipe["build"]["python"]["entry_points"] == [f"eechips = {PROJECT['scripts']['eechips']}"]
    assert recipe["about"]["license"] == PROJECT["license"]
    assert recipe["about"]["license_file"] == PROJECT["license-files"]


def test_both_distributions_have_one_version() -> None:
    local = tomllib.loads((ROOT / "packages" / "eechips-local" / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    assert local["version"] == PROJECT["version"]
    assert PROJECT["optional-dependencies"]["local"] == [f"eechips-local=={PROJECT['version']}"]
    assert local["requires-python"] == PROJECT["requires-python"]


def test_the_citation_has_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]


def test_release_tests_every_python_that_is_declared() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    declared = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert matrix["python"] == declared
    assert any(each["resolution"] == "lowest-direct" for each in matrix["include"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_pin_actions_and_have_few_permissions(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", each)] == []
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"] == ({"id-token": "write"} if name == "publish" else {"contents": "read"})
        assert job["timeout-minutes"]
    assert "secrets." not in text


@pytest.mark.slow
def test_workflows_are_valid() -> None:
    pytest.importorskip("check_jsonschema")
    words = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        *map(str, WORKFLOWS),
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_container_is_not_root_and_has_no_build_tools() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    last = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1]
    assert re.search(r"^USER (?!root|0)\w+$", last, re.MULTILINE)
    assert "pip install" not in last
    assert "--no-cache-dir" in text
    for name in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        for each in name.split():
            assert (ROOT / each).exists(), each


_OF_THE_IMAGE = re.compile(r"linux-vdso|ld-linux.*|lib(c|m|dl|pthread|rt|util|z|gcc_s|stdc\+\+)")
"""Libraries of Debian's smallest system and of Python's slim image."""


@pytest.mark.skipif(shutil.which("ldd") is None, reason="lists shared libraries with ldd")
@pytest.mark.parametrize("package", ["rasterio", "pyogrio", "pyproj", "shapely", "PIL"])
def test_the_container_has_the_system_libraries_that_wheels_load(package: str) -> None:
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    listed = subprocess.run(["ldd", *map(str, folder.rglob("*.so"))], capture_output=True, text=True).stdout
    found = re.findall(r"^\s+(\S+?)\.so\S*(?: => (\S+))?", listed, re.MULTILINE)
    assert found
    of_system = {Path(name).name for name, path in found if not Path(path).is_relative_to(folder.parent)}
    needed = {name for name in of_system if not _OF_THE_IMAGE.fullmatch(name)}
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    last = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1]
    installed = re.search(r"apt-get install .*?&&", last, re.DOTALL)
    assert installed is not None
    assert all(name in installed[0] for name in needed), needed


def test_all_that_is_of_others_is_in_the_notice() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for path in re.findall(r"\(((?:eechips|docs)/[\w./-]+)", notice):
        assert (ROOT / path).exists(), path
    for resource in ROOT.glob("eechips/*/*.json"):
        assert resource.relative_to(ROOT).as_posix() in notice
