"""TOML that is made to take memory or time is refused, or is parsed in a time that grows with its length."""

from __future__ import annotations

from pathlib import Path

import pytest

import eechips
import eechips_local
from eechips.text.toml_text import parse_toml

MODULE = "toml_text.py"


@pytest.mark.parametrize("text", ["%s = 1", " [%s]", "[[%s]]", "x = {y = 1, %s = 2}"])
@pytest.mark.parametrize("part", ["a", '"a b"', "'a'"])
def test_a_key_of_many_parts_is_refused(text: str, part: str) -> None:
    assert parse_toml(text % ".".join([part] * 32))
    with pytest.raises(ValueError, match="a key has more than 32 parts"):
        parse_toml(text % ".".join([part] * 33))


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = " + "[" * 9_999, "its values are nested too deep"), ("x = 0x" + "f" * 9_999, "Exceeds the limit")],
)
def test_values_without_a_text_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_toml(text)


@pytest.mark.slow
@pytest.mark.parametrize("blank", [" ", "\t"])
def test_megabytes_of_blanks_are_passed_over_at_once(blank: str) -> None:
    """A search that goes back for each of them takes hours."""
    assert parse_toml(f"x = [1,{blank * 2_000_000}2]\n{blank * 2_000_000}[y]") == {"x": [1, 2], "y": {}}


def test_both_distributions_have_it_alike() -> None:
    folders = (Path(eechips.__file__).parent / "text", Path(eechips_local.__file__).parent)
    own, local = (folder.joinpath(MODULE).read_text(encoding="utf-8") for folder in folders)
    assert own == local
