"""Threads that outlive their run: they send nothing through the connection or the quota of a later one."""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import ee
import pytest
import requests
from ee import _state

from eechips.client.access.connection import ServiceTarget, connect
from eechips.client.http.http_messages import Timeouts
from eechips.client.http.throttled_requests import throttle_requests_library
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.engine.config import RunConfig
from eechips.engine.costs.profile_fetcher import fetch_profiles
from eechips.engine.run import run
from eechips.engine.worker import start_worker
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import Stopped, UsageError
from eechips.manifest.run import Run
from eechips.storage import LocalStore
from local_tests.support.local_earth_engine import wait_until
from tests.support.engine_service import Service, serving


class Asking:
    """A recipe with one unit, which asks for a value before and another after its gate is opened."""

    name = "asking"
    identity = "0" * 64
    datasets = ()
    parameters: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.opened, self.ended = threading.Event(), threading.Event()
        self.calls = 0
        self.values: list[Any] = []

    def get_requests(self) -> list[int]:
        return [1]

    def get_result(self, index: int, unit: int) -> bytes:
        self.calls += 1
        try:
            self.values.append(ee.Number(unit).getInfo())
            assert self.opened.wait(60)
            self.values.append(ee.Number(unit).getInfo())
        finally:
            self.ended.set()
        return b"text"


@dataclass
class During:
    """A recipe that does something between the beginning and the end of a run."""

    act: Callable[[], object]
    name = "during"
    identity = "1" * 64
    datasets = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    def get_requests(self) -> list[int]:
        return [1]

    def get_result(self, index: int, unit: int) -> bytes:
        self.act()
        return b"text"


def run_in_threads(recipe: Any, out: Path, url: str, **options: Any) -> Run:
    settings = {"executor": "threads", "rate": None, "quiet": True, "profile_every": 0, **options}
    return run(recipe, RunConfig(out=out, endpoint=url, **settings))


@contextlib.contextmanager
def connected(url: str, project: str = "local") -> Iterator[Any]:
    """A connection of this thread."""
    throttle = Throttle(None, QuotaLimits(in_flight=4, start=4), clients=1)
    target = ServiceTarget(url, project, None)
    with connect(target, throttle.client(0), RetryPolicy(retries=1, delay=0.01), Timeouts()) as connection:
        yield connection.transport


def find_calls(earlier: set[threading.Thread]) -> list[str]:
    """Return the stacks of threads, but earlier ones, that call a recipe or wait to do so."""
    frames = sys._current_frames()
    stacks = [traceback.extract_stack(frames[thread.ident]) for thread in threading.enumerate()
              if thread not in earlier and thread.ident in frames]  # fmt: skip
    return ["".join(stack.format()) for stack in stacks if any(frame.name == "_result" for frame in stack)]


@pytest.fixture
def services() -> Iterator[tuple[Service, Service]]:
    with serving() as one, serving() as other:
        yield one, other


@pytest.mark.slow
def test_a_unit_that_was_given_up_sends_nothing_through_the_next_run(
    services: tuple[Service, Service], tmp_path: Path
) -> None:
    one, other = services
    asking, earlier = Asking(), set(threading.enumerate())
    given_up = run_in_threads(asking, tmp_path / "one", one.url, unit_timeout=2)
    assert given_up.counts == {"failed_permanent": 1}
    before = one.count("value")

    def let_go() -> None:
        asking.opened.set()
        assert asking.ended.wait(60)

    finished = run_in_threads(During(let_go), tmp_path / "other", other.url)
    assert finished.counts == {"done": 1}
    assert other.count("value") == 0
    assert one.count("value") == before
    wait_until(lambda: not find_calls(earlier))
    assert len(asking.values) == asking.calls  # no attempt asks for its second value after the run
    assert [path.name for path in (tmp_path / "one").rglob("*") if path.name.endswith((".part", ".bin"))] == []


def test_profiles_of_an_ended_run_are_not_asked_for_elsewhere(services: tuple[Service, Service]) -> None:
    one, other = services
    with connected(one.url) as ended:
        pass
    with connected(other.url):
        before = other.count("value")
        with pytest.raises(Stopped):
            fetch_profiles(ended, ["a"])
    assert other.count("value") == before


def test_requests_of_a_recipe_do_not_take_the_quota_of_the_next_run(services: tuple[Service, Service]) -> None:
    one, other = services
    with contextlib.ExitStack() as stack:
        with connected(one.url) as ended:
            stack.callback(throttle_requests_library(ended))
        with connected(other.url) as open_transport:
            stack.callback(throttle_requests_library(open_transport))
            with ended.metered(), pytest.raises(Stopped):
                requests.get(f"{other.url}/elsewhere", timeout=60)
            assert other.count("unknown") == 0
            with open_transport.metered():
                requests.get(f"{other.url}/elsewhere", timeout=60)
            assert other.count("unknown") == 1


def test_requests_of_a_process_are_its_own_after_its_worker(service: Service, tmp_path: Path) -> None:
    """A Dask worker outlives the run, and its other tasks send requests, too."""
    before = requests.adapters.HTTPAdapter.send
    throttle = Throttle(None, QuotaLimits(in_flight=4, start=4), clients=1)
    policy, target = RetryPolicy(retries=0), ServiceTarget(service.url, "local", None)
    with connect(target, throttle.client(0), policy, Timeouts()) as connection:
        discovery = connection.discovery.save(tmp_path / "discovery.json")
    spec = WorkerSpec(
        recipe=Asking(), store=LocalStore(tmp_path), token="t", policy=policy, timeouts=Timeouts(), method="pixels",
        target=target, key_file=None, send_credentials=False, unit_timeout=600.0, rate=None,
    )  # fmt: skip
    state = _state._state, ee.ApiFunction._api
    try:
        worker = start_worker(spec, target, discovery, throttle.client(0))
        assert requests.adapters.HTTPAdapter.send is not before
        worker.close()
    finally:
        _state._state, ee.ApiFunction._api = state
    assert requests.adapters.HTTPAdapter.send is before
    assert requests.get(f"{service.url}/elsewhere", timeout=60).status_code == 404


def in_thread(act: Callable[[], Any]) -> Any:
    """What a function returns, or raises, in a thread of its own."""
    results: list[Any] = []

    def run_it() -> None:
        try:
            results.append(act())
        except BaseException as error:  # noqa: BLE001 - returned
            results.append(error)

    thread = threading.Thread(target=run_it)
    thread.start()
    thread.join(60)
    return results[0]


def test_a_run_of_another_service_waits_for_the_first(services: tuple[Service, Service], tmp_path: Path) -> None:
    one, other = services

    def run_beside() -> Any:
        return in_thread(lambda: run_in_threads(During(lambda: None), tmp_path / "other", other.url))

    refused: list[Any] = []
    assert run_in_threads(During(lambda: refused.append(run_beside())), tmp_path / "one", one.url).counts == {"done": 1}
    assert isinstance(refused[0], UsageError)
    assert f"connected to {one.url} for the project local" in str(refused[0])
    assert other.requests == []
    assert run_beside().counts == {"done": 1}


def test_runs_of_one_service_have_one_transport_each_and_end_in_any_order(service: Service) -> None:
    begun, over, was_initialized = threading.Event(), threading.Event(), ee.data.is_initialized()

    def use_longer() -> int:
        with connected(service.url) as transport, transport.metered() as usage:
            begun.set()
            assert over.wait(60)
            ee.Number(1).getInfo()
            return int(usage.requests)

    counted: list[Any] = []
    with connected(service.url) as first:
        thread = threading.Thread(target=lambda: counted.append(in_thread(use_longer)))
        thread.start()
        assert begun.wait(60)
        with first.metered() as usage:
            ee.Number(1).getInfo()
        assert usage.requests == 1
    over.set()
    thread.join(60)
    assert counted == [1]
    assert ee.data.is_initialized() == was_initialized
