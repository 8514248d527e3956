"""The server's options, as texts, and what they make of its configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eechips_local.exports.destinations import ExportConfig
from eechips_local.server import ServerConfig
from eechips_local.server_options import OPTIONS, OptionError, configured
from eechips_local.stores import StoreConfig, WritableFolder


def test_defaults_are_those_of_earth_engine() -> None:
    config = configured(ServerConfig(), {option.name: None for option in OPTIONS})
    assert config == ServerConfig(faults=config.faults)
    assert (config.quota.concurrency, config.quota.rate, config.quota.most_a_minute) == (40, 100.0, 6000)
    limits = config.limits
    assert (limits.elements, limits.payload, limits.pixels_bytes, limits.thumbnail_bytes, limits.seconds) == (
        5000, 10_485_760, 50_331_648, 33_554_432, 300.0,
    )  # fmt: skip


def test_all_of_them(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"seed": 3, "faults": [{"type": "gzip", "times": 2}]}))
    given = {
        "concurrency": "10", "rate": "none", "latency": "lognormal:0.9,0.5", "faults": str(plan), "payload": "1000",
        "pixels": "2000", "thumbnail": "3000", "response": "4000", "elements": "50", "seconds": "2.5",
        "memory": "100000", "workers": "1", "minute": "500", "eecu_hours": "150",
        "drive": str(tmp_path / "drive"), "buckets": str(tmp_path / "buckets"), "export_assets": str(tmp_path / "new"),
        "exports": "3", "demo_datasets": str(tmp_path), "asset_bytes": "7000", "asset_count": "none",
        "demo_clouds": "clear",
    }  # fmt: skip
    assert given.keys() == {option.name.replace("-", "_") for option in OPTIONS}
    config = configured(ServerConfig(), given)
    assert (config.quota.concurrency, config.quota.rate, config.quota.minute, config.workers) == (10, None, 500, 1)
    assert config.quota.eecu_hours == 150.0
    assert config.exports == ExportConfig(tmp_path / "drive", tmp_path / "buckets", tmp_path / "new", 3)
    assert config.store.folders == (tmp_path / "new",)
    assert (config.store.demo_datasets, config.store.demo_clouds) == (tmp_path, "clear")
    assert config.store.writable == WritableFolder(tmp_path / "new", 7000, None)
    assert config.store.buckets == tmp_path / "buckets"
    assert config.latency is not None
    assert config.faults.report()["faults"][0]["type"] == "gzip"
    limits = config.limits
    assert (limits.payload, limits.pixels_bytes, limits.thumbnail_bytes, limits.response) == (1000, 2000, 3000, 4000)
    assert (limits.elements, limits.seconds, limits.memory) == (50, 2.5, 100_000)


def test_stubs_imply_the_demo_planet() -> None:
    own = ServerConfig(store=StoreConfig(demo=False))
    assert configured(own, {"demo_datasets": None}).store == own.store
    assert configured(own, {"demo_datasets": "all"}).store == replace(own.store, demo=True, demo_datasets="all")


@pytest.mark.parametrize(
    ("name", "text"),
    [("drive", __file__), ("demo_datasets", "no/such/folder"), ("demo_clouds", "fog"), ("exports", "0"),
     ("concurrency", "0"), ("concurrency", "few"), ("rate", "-1"), ("rate", "nan"), ("latency", "normal:1,2"),
     ("latency", "-1"), ("latency", "lognormal:1"), ("seconds", "0"), ("seconds", "inf"), ("payload", "1e6"),
     ("faults", "no/such/file.json"), ("workers", "")],
)  # fmt: skip
def test_invalid_options_are_named(name: str, text: str) -> None:
    with pytest.raises(OptionError, match=f"^--{name.replace('_', '-')}: "):
        configured(ServerConfig(), {name: text})


def test_a_malformed_plan_says_why(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"faults": [{"type": "fire"}]}))
    with pytest.raises(OptionError, match="Invalid type of a fault: 'fire'"):
        configured(ServerConfig(), {"faults": str(plan)})
    plan.write_text("{")
    with pytest.raises(OptionError, match="--faults: "):
        configured(ServerConfig(), {"faults": str(plan)})
