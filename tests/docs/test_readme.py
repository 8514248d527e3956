"""The README: its commands and its Python program, as they stand."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import click
import pytest

import eechips
from eechips.cli import main
from tests.docs.blocks import Block, prepare_folder, read_blocks, run_block

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
START, TESTS = [block for block in read_blocks(TEXT) if block.language == "sh"]
(PROGRAM,) = [block for block in read_blocks(TEXT) if block.language == "python"]


def test_every_command_stands_in_the_readme() -> None:
    missing = [name for name in main.list_commands(click.Context(main)) if f"eechips {name}" not in TEXT]
    assert missing == []


def test_links_lead_to_files_and_headings_that_exist() -> None:
    for address in re.findall(r"\]\(([^)]+)\)", TEXT):
        if not address.startswith("https://"):
            path, _, anchor = address.partition("#")
            titles = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), flags=re.M) if anchor else []
            assert (ROOT / path).is_file(), address
            assert not anchor or anchor in {title.lower().replace(" ", "-") for title in titles}, address


def test_the_command_of_the_tests_is_the_one_that_ci_finds() -> None:
    assert re.match(r"python3 -m venv .*pytest", TESTS.text)


@pytest.mark.slow
def test_the_python_program_prints_a_manifest(tmp_path: Path) -> None:
    prepare_folder(tmp_path)
    assert "valid_fraction" in run_block(PROGRAM, tmp_path).stdout


@pytest.mark.slow
def test_the_first_command_prints_what_the_readme_shows(tmp_path: Path) -> None:
    command = START.text.split("&&")[-1].strip().removeprefix(".venv/bin/")
    done = run_block(Block("sh", None, command), tmp_path)
    shown = next(block.text for block in read_blocks(TEXT) if block.language == "text")
    measured = ("100/100 units", "Compute: about")  # what depends on the machine follows
    lines = [next((begin for begin in measured if line.startswith(begin)), line) for line in shown.splitlines()]
    assert [line for line in lines if line not in done.stdout + done.stderr] == []


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_first_command_on_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    # A Python that refuses to install outside of virtual environments, as Debian's does.
    done = subprocess.run(
        ["bash", "-euc", START.text], cwd=clone, capture_output=True, text=True, timeout=800,
        env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = eechips.open_run(clone / "outputs" / "sample-naip")
    assert found.verify() == []
    assert len(found.units) == 100
