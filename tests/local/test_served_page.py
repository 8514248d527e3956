"""What the page about the local Earth Engine says is true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from eechips_local.protocol.fault_plan import FaultPlan, FaultType
from eechips_local.server_options import OPTIONS
from local_tests.support.local_earth_engine import Server

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "explanation" / "local-earth-engine.md").read_text(
    encoding="utf-8"
)


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found.group(1)


def test_the_page_s_script_runs(demo_server: Server) -> None:
    script = block("python").replace("http://127.0.0.1:8765", demo_server.url)
    *setting_up, last = script.strip().splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(setting_up), names)
    assert eval(last, names)["properties"].keys() == {"elevation"}


def test_the_page_s_plan_and_options_are_understood() -> None:
    assert [row["type"] for row in FaultPlan.parse(json.loads(block("json"))).report()["faults"]]
    for name in get_args(FaultType):
        assert f"`{name}`" in PAGE
    limits = {option.name for option in OPTIONS} - {"workers"}
    assert limits <= set(re.findall(r"`--([a-z-]+)[` ]", PAGE))
