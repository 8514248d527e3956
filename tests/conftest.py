"""Fixtures and markers of all tests: local Earth Engines, the real client, the real data."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from local_tests.support.collection import (  # noqa: F401 - hooks
    has_slow_tests,
    pytest_collection,
    pytest_ignore_collect,
    pytest_pycollect_makeitem,
)
from local_tests.support.memory_folder import use_memory_folder
from local_tests.support.object_server import remove_store_settings
from local_tests.support.property_examples import limit_examples
from local_tests.support.server_fixtures import register_fixtures
from local_tests.support.service_results import is_service_recording
from local_tests.support.suite_recording import SUITE_RECORDING, create_suite_recording

if TYPE_CHECKING:
    from tests.support.engine_service import Service

SERVER_FIXTURES = {"host", "service", "shared_service"}
COMMITTED = Path(__file__).with_name("live") / "service-recording.zip"
"""The recording of the service that is kept with the tests, once there is one."""
PROCESS_MODULES = ("concurrent.futures.process", "http.server", "multiprocessing", "socketserver", "subprocess")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="also run the tests that need an Earth Engine account")
    parser.addoption("--record", type=Path, metavar="DIR", help="record what shared local Earth Engines respond")
    parser.addoption(
        "--replay", type=Path, metavar="DIR|ZIP",
        help="run the tests of such a recording without the servers, or those of one of eechips-local record-service",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Remove the user's own settings: project, service and cache."""
    register_fixtures(config)
    use_memory_folder()
    limit_examples()
    config.option.loadscopereorder = False  # pytest-xdist would start the files with the most tests first
    if (config.getoption("--record") or config.getoption("--replay")) and not replays_service(config):
        config.pluginmanager.register(create_suite_recording(config), SUITE_RECORDING)
    gc.disable()  # until the tests are collected: millions of objects, none of them garbage
    if not config.getoption("--live"):
        for name in ("EECHIPS_PROJECT", "EECHIPS_ENDPOINT", "EECHIPS_CACHE", "GOOGLE_CLOUD_PROJECT"):
            os.environ.pop(name, None)
    remove_store_settings()
    # Tests in the background (nohup) may ignore these signals, and the processes that they start would inherit that.
    defaults = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    for number, default in ((getattr(signal, name, None), default) for name, default in defaults.items()):
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)
    # Tests start hundreds of processes, and each would compile the package again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False  # nor are asserts rewritten again each time
    # The demo planet's data end today; results of tests must not depend on the day.
    os.environ["EECHIPS_DEMO_UNTIL"] = "2025-01-01"
    # gcsfs reads this when it is imported. It would otherwise try gRPC, which the emulator lacks, for minutes.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    if sys.version_info < (3, 11):  # Google's client warns in every command
        os.environ.setdefault("PYTHONWARNINGS", "ignore:You are using a non-supported Python version:FutureWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "exhaustive" in item.keywords:
            item.add_marker(pytest.mark.slow)  # some of its parameters may be slow, others not
        if "slow" in item.keywords and not has_slow_tests(item.path):
            raise pytest.UsageError(f"{item.nodeid} is slow, but its module does not say so: CI would not run it")
    leave_parameters_to_weekly_run(items)
    for item in items:
        if uses_processes(item):
            item.add_marker(pytest.mark.integration)
        if not {"integration", "live"} & set(item.keywords):
            item.add_marker(pytest.mark.unit)
    # The longest files start first, so that none of them is left to one process of pytest-xdist at the end: those whose
    # tests have a longer timeout, then those that start servers or processes.
    timeouts: dict[Path, float] = {}
    for item in items:
        has_timeout = "timeout" in item.keywords  # quicker than to look for markers
        marked = max(float(mark.args[0]) for mark in item.iter_markers("timeout")) if has_timeout else 0.0
        usual = 1.0 if "integration" in item.keywords else 0.0
        timeouts[item.path] = max(timeouts.get(item.path, 0.0), marked, usual)
    items.sort(key=lambda item: timeouts[item.path], reverse=True)
    if replays_service(config):
        others = [item for item in items if "live" not in item.keywords]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if "live" in item.keywords]
    elif not config.getoption("--live") and not COMMITTED.exists():
        for item in items:
            if "live" in item.keywords:
                reason = "no recording of the service: --live records one, --replay FILE names one"
                item.add_marker(pytest.mark.skip(reason=reason))


def leave_parameters_to_weekly_run(items: list[pytest.Item]) -> None:
    """Mark three in four parameters of a slow test as exhaustive: CI runs the first, and a quarter of the others."""
    parameters: dict[str, list[pytest.Item]] = {}
    for item in items:
        if {"slow", "exhaustive"} & set(item.keywords) == {"slow"}:
            parameters.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for several in parameters.values():
        for item in several[1:]:
            if crc32(item.nodeid.encode()) % 4:  # each fourth in turn might be one value of one parameter
                item.add_marker(pytest.mark.exhaustive)


def replays_service(config: pytest.Config) -> bool:
    """Return whether the recording that is replayed is one of the service."""
    replay = config.getoption("--replay")
    return replay is not None and is_service_recording(replay)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # what tests keep is little: with Python's own, 4% of their CPU time went there
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Collect no garbage within a test: where it nests as deep as Python allows, finalizers of others would fail."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def uses_processes(item: pytest.Item) -> bool:
    """Return whether a test has a server as a fixture, or its module imports what starts servers or processes."""
    assert isinstance(item, pytest.Function)
    return bool(SERVER_FIXTURES & set(item.fixturenames)) or imports_processes(item.module.__name__)


@cache
def imports_processes(module: str) -> bool:
    """Return whether a module has a name of `PROCESS_MODULES`, or of a helper module that has one."""
    values = vars(sys.modules[module]).values()
    names = {str(getattr(value, "__module__", None) or getattr(value, "__name__", "")) for value in values} - {module}
    helpers = {name for name in names if name.startswith(("tests.", "local_tests."))}
    return any(name.startswith(PROCESS_MODULES) for name in names) or any(map(imports_processes, helpers))


@pytest.fixture
def service() -> Iterator[Service]:
    """Serve a small part of Earth Engine's protocol, with planned failures, for one test."""
    from tests.support.engine_service import serving

    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Serve the same for all tests of a module."""
    from tests.support.engine_service import serving

    with serving() as found:
        yield found
