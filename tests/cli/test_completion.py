"""Completion of the shell: what click's own protocol answers to a half-typed command."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.programs import run_program


def completed(line: str) -> list[str]:
    """The words that complete the last one of a line, as bash receives them."""
    words = line.split(" ")
    asked = {"_EECHIPS_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = "from eechips.cli import main; main(prog_name='eechips')"
    found = run_program(sys.executable, "-c", code, env={**os.environ, **asked}, timeout=120)
    return [each.partition(",")[2] for each in found.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("eechips sample --dataset nai", ["NAIP"]),
        ("eechips timeseries --dataset MODIS_L", ["MODIS_LST"]),
        ("eechips sample --format t", ["tif"]),
        ("eechips composites --format ", ["png", "jpg", "tif", "npy"]),
        ("eechips mosaic --crs ", ["native", "utm"]),
        ("eechips init --kind po", ["points"]),
    ],
)
def test_names_of_datasets_and_listed_words_are_completed(line: str, expected: list[str]) -> None:
    assert completed(line) == expected
