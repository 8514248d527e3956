"""Tests with a recorder in front of each shared local Earth Engine, and the same tests with replays instead of both.

::

    servers/NAME/            the recording of a server, named by its arguments and by what starts it
    tests/PATH.json          the tests of a module: how many requests each sends, and why some are not replayed
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from local_tests.support.local_earth_engine import Server

SUITE_RECORDING = "suite-recording"
"""Name of the plugin."""

_PROFILES = ("POST", "value:compute")  # by which clients read the profiles of other requests
_REQUESTS = "/_recorded_requests"  # see `server_host`


@dataclass
class Exchange:
    """What a test, or a fixture, exchanges with servers.

    Attributes:
        requests: with responses that are in the recording.
        has_profiles: whether it asks for profiles of computations, which are not recorded.
        reasons: why it is not replayed.
        refused: number of requests that a replay refuses.
    """

    requests: int = 0
    has_profiles: bool = False
    reasons: set[str] = field(default_factory=set)
    refused: int = 0

    def add(self, method: str, path: str, status: int, origin: str) -> None:
        """Add a request by the response of a recorder or a replay."""
        self.refused += (status, origin) == (400, "")
        self.has_profiles |= origin == "profile"
        if origin in ("kept", "known", "profile"):
            self.requests += 1
        elif origin == "not-final":
            self.reasons.add(f"receives HTTP {status}, which is not recorded")
        elif origin == "not-recorded" and (method, path.rpartition("/")[2]) != _PROFILES:
            self.reasons.add(_describe(method, path))


def _describe(method: str, path: str) -> str:
    """Return what a request that is not recorded does."""
    if path.startswith("/_faults"):
        return "plans faults of the server"
    if path.startswith("/_"):
        return "reads what the server has counted"
    found = re.fullmatch(r"/v1(?:alpha|beta)?/projects/[^/]+/([^/:]*)(?:.*(:\w+))?.*", path)
    operation = f"{method} {found[1]}{found[2] or ''}" if found else "paths of no resource"
    return f"sends what is not recorded: {operation}"


class SuiteRecording:
    """A plugin of pytest that records, or replays, the tests with the fixture ``serve``.

    Args:
        folder: folder of the recordings.
        is_replay: whether the tests run without local Earth Engines.
    """

    def __init__(self, folder: Path, *, is_replay: bool) -> None:
        self._folder = folder.resolve()
        self._is_replay = is_replay
        self._servers: dict[str, tuple[tuple[str, ...], Server]] = {}
        self._fixtures: dict[int, Exchange] = {}
        self._running: list[tuple[str, Exchange]] = []  # the test, and fixtures that are set up for it
        self._modules: dict[str, dict[str, Any]] = {}

    def start_by(self, start: Callable[..., Server]) -> Callable[..., Server]:
        """Return a function that starts servers with recorders in front of them, or replays."""

        def start_recorded(*arguments: str) -> Server:
            name = self._name_server(arguments)
            if name not in self._servers:
                folder = self._folder / "servers" / name
                folder.parent.mkdir(parents=True, exist_ok=True)
                options = {"replay" if self._is_replay else "record": str(folder)}
                self._servers[name] = arguments, start(*arguments, **options)
            return self._servers[name][1]

        return start_recorded

    def _name_server(self, arguments: tuple[str, ...]) -> str:
        """Return a name that is the same in each session: servers of folders are named by the fixture or test."""
        text = " ".join("/".join(_without_numbers(each)) for each in arguments)
        if any(Path(each).is_absolute() for each in arguments):
            text += f" {self._running[-1][0]}"
        name = f"{re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-')[-60:]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        number = 1
        while (found := f"{name}-{number}") in self._servers and self._servers[found][0] != arguments:
            number += 1
        return found

    def _read_requests(self) -> None:
        """Add the requests since the last call to the test or fixture that is running."""
        for _, server in self._servers.values():
            with urlopen(server.url + _REQUESTS) as response:
                for request in json.load(response):
                    self._running[-1][1].add(*request)

    # Hooks of pytest

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect tests without shared servers, and skip those that are not replayed."""
        asking = [item for item in items if "serve" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(asking)])
        items[:] = asking
        for item in items if self._is_replay else ():
            if reasons := self._find_test(item)["reasons"]:
                item.add_marker(pytest.mark.skip(reason=f"not replayed: {'; '.join(reasons)}"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Record what a test exchanges with servers, without what the end of the one before it has sent."""
        self._running = [("", Exchange())]
        self._read_requests()
        self._running = [(item.nodeid, Exchange())]
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, object, object]:
        """Attribute the requests of a fixture to it: all tests that use it depend on them."""
        self._read_requests()
        node = request.node.nodeid or fixturedef.baseid  # the session has no id
        self._running.append((f"{node} {fixturedef.argname}", Exchange()))
        try:
            return (yield)
        finally:
            self._read_requests()
            self._fixtures[id(fixturedef)] = self._running.pop()[1]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attribute the requests of a test to it."""
        report = yield
        if self._is_replay:
            if report.when != "teardown":
                self._read_requests()
            if report.failed and self._find_test(item).get("has_profiles") and not self._running[0][1].refused:
                report.outcome = "skipped"
                report.wasxfail = "asks for the profile of a computation, which is not recorded"
            return report
        own = self._running[0][1]
        if report.when != "teardown":
            self._read_requests()
            if not report.passed:
                if report.failed and own.reasons:  # a recorder hides the faults or counts of the server
                    report.outcome, report.wasxfail = "skipped", "; ".join(sorted(own.reasons))
                own.reasons.add("is skipped" if report.skipped else "fails with a recorder in front of the server")
        else:
            self._add_test(item, own)
        return report

    def _add_test(self, item: pytest.Item, own: Exchange) -> None:
        """Add a test that has ended, with what its fixtures exchange."""
        definitions: dict[str, Sequence[Any]] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
        used = [
            self._fixtures[id(each)] for found in definitions.values() for each in found if id(each) in self._fixtures
        ]
        path, _, name = item.nodeid.partition("::")
        self._modules.setdefault(path, {})[name] = {
            "requests": own.requests + sum(each.requests for each in used),
            "has_profiles": own.has_profiles or any(each.has_profiles for each in used),
            "reasons": sorted(own.reasons.union(*(each.reasons for each in used))),
        }

    def pytest_sessionfinish(self) -> None:
        """Write the tests of each module, beside those of earlier sessions."""
        for path, tests in self._modules.items():
            target = self._path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            found = dict(sorted({**self._read_module(path), **tests}.items()))
            target.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what the folder has."""
        tests = [
            found
            for path in sorted((self._folder / "tests").rglob("*.json"))
            for found in json.loads(path.read_text(encoding="utf-8")).values()
        ]
        reasons = Counter(reason for found in tests for reason in found["reasons"])
        files = [path for path in (self._folder / "servers").rglob("*") if path.is_file()]
        kept = sum(path.suffix == ".json" and path.name != "recording.json" for path in files)
        size = sum(path.stat().st_size for path in files)
        terminalreporter.section(f"recording in {self._folder}")
        replayed = sum(not found["reasons"] for found in tests)
        terminalreporter.line(
            f"{len(tests)} tests with {sum(found['requests'] for found in tests)} requests, {replayed} of them can be "
            f"replayed; {kept} requests in {len(files)} files, {size} bytes"
        )
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:5} not replayed: {reason}")

    def _find_test(self, item: pytest.Item) -> dict[str, Any]:
        """Return what is recorded of a test."""
        path, _, name = item.nodeid.partition("::")
        found: dict[str, Any] = self._read_module(path).get(name, {"reasons": ["is not recorded"]})
        return found

    def _path(self, module: str) -> Path:
        return self._folder / "tests" / Path(module).with_suffix(".json")

    def _read_module(self, module: str) -> dict[str, Any]:
        """Return the recorded tests of a module by name."""
        path = self._path(module)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return found


def _without_numbers(argument: str) -> Sequence[str]:
    """Return the last two parts of a temporary path without the numbers that pytest adds; others as they are."""
    path = Path(argument)
    return [re.sub(r"\d+$", "", each) for each in path.parts[-2:]] if path.is_absolute() else [argument]


def create_suite_recording(config: pytest.Config) -> SuiteRecording:
    """Return the plugin for ``--record`` or ``--replay``.

    Raises:
        pytest.UsageError: if both are given, or tests of one file would run in several processes.
    """
    record, replay = config.getoption("--record"), config.getoption("--replay")
    if record and replay:
        raise pytest.UsageError("--record and --replay exclude each other")
    if record and config.getoption("dist", "no") not in ("no", "loadfile"):
        raise pytest.UsageError("--record needs --dist loadfile: a process writes all tests of a file")
    return SuiteRecording(record or replay, is_replay=bool(replay))
