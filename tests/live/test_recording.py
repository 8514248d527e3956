"""The real Earth Engine is recorded, replayed, and compared with the local one. Needs an account: ``pytest --live``.

EECHIPS_PROJECT names the project. Two dozen requests. Assets differ between the services, so that only the results of
calls without assets must be equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.client_suite import call_client
from tests.support.command_server import serving_command
from tests.support.local_earth_engine import initialize

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("EECHIPS_PROJECT" not in os.environ, reason="EECHIPS_PROJECT names no project"),
]


def initialize_with_account(url: str) -> Any:
    import ee

    ee.Reset()
    ee.Initialize(url=url, project=os.environ["EECHIPS_PROJECT"])
    return ee


def test_the_real_service_is_recorded_replayed_and_compared(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    with serving_command("--record", folder) as recorder:
        recorded = call_client(initialize_with_account(recorder.url))
    with serving_command("--replay", folder) as replay:
        assert call_client(initialize(replay)) == recorded
    command = [sys.executable, "-m", "eechips", "serve", "--compare", str(folder), "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert found["compared"] > 15
    without_assets = [
        each for each in found["differences"] if not any(".load" in name for name in each["functions"])
        and not each["functions"][0].startswith("(")
    ]  # fmt: skip
    assert without_assets == []
    texts = b"".join(path.read_bytes() for path in folder.rglob("*.json"))
    assert os.environ["EECHIPS_PROJECT"].encode() not in texts
