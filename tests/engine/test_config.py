"""Options of a run are checked before anything starts; messages name the option, its value, and what it takes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any, get_type_hints

import numpy as np
import pytest

import eechips
from eechips.builtin_recipes.samples.chips import sample_recipe
from eechips.engine.config import RunConfig
from eechips.errors import UsageError

WRONG: dict[str, tuple[Any, str]] = {
    "in_flight": ("16", "`in_flight` must be a whole number or 'auto', not str: '16'"),
    "retries": (2.5, "`retries` must be a whole number, not float: 2.5"),
    "rate": ("fast", "`rate` must be a number or 'auto', not str: 'fast'"),
    "unit_timeout": ("1h", "`unit_timeout` must be a number, not str: '1h'"),
    "dry_run": ("no", "`dry_run` must be True or False, not str: 'no'"),
    "budget": (5, "`budget` must be a text, as on the command line or a dictionary, not int: 5"),
    "executor": (4, "`executor` must be a text, as on the command line, not int: 4"),
    "credentials": (5, "`credentials` must be a path, not int: 5"),
    "confirm": (3, "`confirm` must be a function, not int: 3"),
    "name": (5, "`name` must be a text, as on the command line, not int: 5"),
}


@pytest.mark.parametrize("option", WRONG)
def test_an_option_of_another_type_is_named(tmp_path: Path, option: str) -> None:
    value, message = WRONG[option]
    with pytest.raises(UsageError) as caught:
        eechips.sample("NAIP", total=1, out=tmp_path / "out", local=True, **{option: value})  # type: ignore[call-overload]
    assert str(caught.value) == message


def test_every_option_of_a_run_has_a_type_that_can_be_checked() -> None:
    assert {field.name for field in fields(RunConfig)} <= get_type_hints(RunConfig).keys()


def test_numbers_are_taken_for_each_other(tmp_path: Path) -> None:
    config = RunConfig(out=tmp_path, retry_delay=1, in_flight=16, rate=None, budget={"requests": 10})
    assert config.most_in_flight == 16


def test_none_stands_for_defaults_and_numbers_and_paths_of_other_libraries_are_taken() -> None:
    paths = {"out": PurePosixPath("a/b"), "credentials": PurePosixPath("key.json")}
    numbers = {"retries": None, "rate": None, "in_flight": np.int64(4), "budget": {"requests": np.int64(10)}}
    _, config = sample_recipe({"dataset": "NAIP", "total": 1, "local": None, **paths, **numbers})
    assert (config.local, config.retries, config.in_flight, config.rate) == (
        False,
        RunConfig(out=Path()).retries,
        4,
        None,
    )
    assert (config.out, config.credentials, config.budget) == (Path("a/b"), Path("key.json"), {"requests": 10})
    assert RunConfig(out=Path(), in_flight=np.int64(4)).in_flight == 4


def test_the_doctor_takes_a_text_as_the_path_of_credentials(tmp_path: Path) -> None:
    findings = eechips.doctor(out=tmp_path, credentials=str(tmp_path / "key.json"), project="p")
    assert any("key.json" in finding.detail for finding in findings)
