"""run.json with any texts."""

from __future__ import annotations

import json
import os

import pytest

from eechips.engine.results.run_records import encode_info

pytestmark = pytest.mark.slow


def test_a_folder_whose_name_is_not_utf8_is_recorded_as_it_is() -> None:
    folder = os.fsdecode(b"/data/caf\xe9")
    found = json.loads(encode_info({"directory": folder, "notes": ["São Tomé"]}).decode())
    assert os.fsencode(found["directory"]) == b"/data/caf\xe9"
    assert found["notes"] == ["São Tomé"]
