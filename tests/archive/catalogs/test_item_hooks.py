"""Hooks: code of users, and URLs that must not harm it."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from eechips.archive.catalogs.ingestion.fetch import FetchConfig, FetchedItems
from eechips.archive.catalogs.ingestion.item_hooks import parse_hook
from eechips.errors import UsageError
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import is_running
from tests.support.catalog_lists import fetch

HOOKS = """
import json, os, sys, threading, time
import pystac, datetime
barrier = threading.Barrier(12, timeout=60)
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

    def make(hook: str, addresses: list[str], *, timeout: float = 20, **config: Any) -> FetchedItems:
        maker = parse_hook(hook, timeout=timeout)
        return fetch(addresses, FetchConfig(**config), make=maker)

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


HOSTILE = ["a b", "$(touch hacked)", "`touch hacked`", "; touch hacked", "x' ; touch hacked #", 'x" && touch hacked',
           "| tee hacked", "> hacked", "*", "~", "%s\n\\n", "ä€😀", "a\tb"]  # fmt: skip


@pytest.mark.slow
def test_commands_get_addresses_as_they_are(made: Any, tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text("import json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    found = made(f"script:{sys.executable} echo.py 'an option'", HOSTILE)
    assert [json.loads(body) for body in found.bodies] == [["an option", address] for address in HOSTILE]
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [("-o/etc/passwd", "begins with a dash"), ("--help", "begins with a dash"), ("a\0b", "null byte")],
)
def test_dangerous_urls_are_not_passed_to_commands(made: Any, address: str, reason: str) -> None:
    ((_, kind, told),) = made("script:echo", [address]).failures
    assert kind == "hook"
    assert reason in told


def test_commands_that_fail_say_why(made: Any) -> None:
    script = f'script:{sys.executable} -c "import sys; print(1); print(2, file=sys.stderr); sys.exit(int(sys.argv[1]))"'
    assert [told for _, _, told in made(script, ["4", "5"]).failures] == [
        "RuntimeError: exit status 4: 2", "RuntimeError: exit status 5: 2"
    ]  # fmt: skip
    killed = f'script:{sys.executable} -c "import os; os.kill(os.getpid(), 9)"'
    assert [told for _, _, told in made(killed, ["4"]).failures] == ["RuntimeError: exit status -9: "]


@pytest.mark.slow
def test_commands_that_hang_are_killed_with_all_that_they_have_started(made: Any, tmp_path: Path) -> None:
    (tmp_path / "hang.sh").write_text("sleep 1000 & echo $! > child; sleep 1000; wait\n")
    ((_, kind, told),) = made("script:sh hang.sh", ["x"], timeout=4).failures  # time for a shell to start another
    assert (kind, told) == ("hook", "TimeoutError: not done after 4 seconds")
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_running(child))


def test_commands_have_no_input(made: Any) -> None:
    assert made("script:sh -c 'cat; echo {}'", ["x"]).bodies == [b"{}\n"]


def test_commands_are_stopped_together(made: Any, tmp_path: Path) -> None:
    maker = parse_hook("script:sh -c 'touch began; sleep 100'")
    raised: list[BaseException] = []

    def call() -> None:
        with pytest.raises(RuntimeError) as told:
            maker("x")
        raised.append(told.value)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until((tmp_path / "began").exists)
    maker.stop()
    thread.join(60)
    assert [str(error) for error in raised] == ["exit status -9: "]
    with pytest.raises(RuntimeError, match="interrupted"):
        maker("y")


def test_a_module_may_be_called_script_and_commands_come_first(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "script", raising=False)
    (tmp_path / "script.py").write_text("def item_of(address): return {'id': address}\necho = None\n")
    (body,) = made("script:item_of", ["x"]).bodies
    assert json.loads(body)["id"] == "x"
    with pytest.raises(UsageError, match="there is no hook script:absent"):
        parse_hook("script:absent")
    assert parse_hook("script:echo")("x") == b"x\n"


def test_invalid_hooks_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a command: No closing quotation"):
        parse_hook("script:sh 'x")
    with pytest.raises(UsageError, match="there is no command 'nosuchcommand'"):
        parse_hook("script:nosuchcommand -x")
    (tmp_path / "x.sh").write_text("echo {}")
    assert not os.access(tmp_path / "x.sh", os.X_OK)
    with pytest.raises(UsageError, match="or it cannot be executed"):
        parse_hook(f"script:{tmp_path}/x.sh")
