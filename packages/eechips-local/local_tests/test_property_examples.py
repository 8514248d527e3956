"""Properties have the same examples in each process."""

from __future__ import annotations

import importlib
import os

import pytest
from hypothesis.internal.conjecture import providers


@pytest.mark.slow
@pytest.mark.skipif("EECHIPS_FUZZ_SECONDS" in os.environ, reason="fuzzers draw constants of modules")
def test_no_constants_of_imported_modules_are_drawn() -> None:
    importlib.import_module("eechips_local.quota")
    found = providers._get_local_constants()
    assert not [*found.integers, *found.floats, *found.bytes, *found.strings]
