"""Hooks: functions of users."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from eechips.archive.catalogs.fetch import FetchConfig, FetchedItem, fetch
from eechips.archive.catalogs.item_hooks import parse_hook
from eechips.errors import UsageError

HOOKS = """
import json, os, sys, threading, time
import pystac, datetime
barrier = threading.Barrier(12, timeout=20)
def of_dict(address): return {"id": address}
def of_text(address): return json.dumps({"id": address})
def of_bytes(address): return json.dumps({"id": address}).encode()
def of_pystac(address):
    point = {"type": "Point", "coordinates": [1, 2]}
    return pystac.Item(address, point, [1, 2, 1, 2], datetime.datetime(2020, 1, 1), {})
def raising(address): raise KeyError(address)
def leaving(address): sys.exit(3)
def of_a_date(address): return {"id": datetime.datetime(2020, 1, 1)}
def together(address): barrier.wait(); return {"id": address}
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the results of a hook for URLs."""
    (tmp_path / "hooks_of_a_test.py").write_text(HOOKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "hooks_of_a_test", raising=False)

    def make(hook: str, addresses: list[str], **config: Any) -> FetchedItem:
        return fetch(addresses, FetchConfig(**config), make=parse_hook(hook), advance=lambda _: None)

    return make


@pytest.mark.parametrize("name", ["of_dict", "of_text", "of_bytes", "of_pystac"])
def test_functions_return_items_of_every_kind(made: Any, name: str) -> None:
    (body,) = made(f"hooks_of_a_test:{name}", ["x y"]).bodies
    assert json.loads(body)["id"] == "x y"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("raising", "KeyError: 'x'"), ("leaving", "SystemExit: 3"), ("of_a_date", "TypeError: Object of type datetime")],
)
def test_a_failing_function_fails_its_item_alone(made: Any, name: str, reason: str) -> None:
    ((_, kind, told),) = made(f"hooks_of_a_test:{name}", ["x"]).failures
    assert kind == "hook"
    assert told.startswith(reason)


def test_hooks_run_concurrently_up_to_the_limit(made: Any) -> None:
    """Also where there are fewer cores: they wait for answers most of the time."""
    assert made("hooks_of_a_test:together", [f"{n}" for n in range(12)], in_flight=12).failures == []


def test_commands_are_refused_with_a_cure() -> None:
    with pytest.raises(UsageError, match="is a command: give a function"):
        parse_hook("script:sh make_item.sh")
