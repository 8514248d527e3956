"""The shared state of a token: the lease for refreshing it, and processes that die, hang or are late."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from typing import Any

import pytest

from eechips.client.access_token import Authorizer
from eechips.client.shared_token import SharedToken, TokenState
from eechips.errors import ConfigurationError, UnreachableError
from local_tests.support.token_server import TokenServer, token_server
from tests.client.test_access_token import Clocked
from tests.support.preloaded_processes import preloaded_context

SECRET = "ya29.secret"


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


class Ticking:
    """A clock that stands still but where a test moves it; that of another process stands at the beginning."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def obey(shared: SharedToken, pipe: Pipe) -> None:
    """The body of a process that does with a token what it is told."""
    while True:
        order = pipe.recv()
        pipe.send(os.get_inheritable(shared._descriptor or -1) if order == "inherits" else getattr(shared, order)())


class Other:
    """Another process that shares a token."""

    def __init__(self, shared: SharedToken) -> None:
        context: Any = preloaded_context()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=obey, args=(shared, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, method: str) -> Any:
        """Has it call a method; returns the result."""
        self.pipe.send(method)
        assert self.pipe.poll(60)
        return self.pipe.recv()

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()


@pytest.mark.slow
def test_one_process_at_a_time_may_refresh() -> None:
    shared = SharedToken(is_shared=True)
    with Other(shared) as one, Other(shared) as two:
        assert one.call("acquire")
        assert not two.call("acquire")
        assert not shared.acquire()
        one.call("release")
        assert two.call("acquire")


def test_the_lease_of_a_dead_process_is_released_at_once() -> None:
    shared = SharedToken(is_shared=True)
    with Other(shared) as one:
        assert one.call("acquire")
        assert not shared.acquire()
    assert shared.acquire()


@pytest.mark.slow
def test_a_refresh_that_hangs_is_taken_over_by_one_process_when_its_lease_expires() -> None:
    clock = Ticking()
    shared = SharedToken(is_shared=True, clock=clock)
    with Other(shared) as stopped:
        assert stopped.call("acquire")
        os.kill(stopped.process.pid, signal.SIGSTOP)
        clock.now = 89.0
        assert not shared.acquire()
        clock.now = 91.0
        assert shared.acquire()
        with Other(shared) as other:  # its clock stands at 91
            assert not other.call("acquire")
            shared.release()
            assert other.call("acquire")


def test_a_partially_written_state_is_ignored_and_replaced() -> None:
    shared = SharedToken(is_shared=True)
    shared.update(lambda found: replace(found, generation=3, token=SECRET * 100))
    assert shared.read().token == SECRET * 100
    assert shared._descriptor is not None
    os.pwrite(shared._descriptor, b"forged", 60)
    assert shared.read() == TokenState()
    shared.update(lambda found: replace(found, generation=1, token=SECRET))
    assert shared.read().token == SECRET


def test_a_token_that_is_too_long_is_not_shared() -> None:
    shared = SharedToken(is_shared=True)
    kept = shared.update(lambda found: replace(found, generation=1, token="x" * 70_000))
    assert kept.token == "x" * 70_000
    assert shared.read() == replace(kept, token="")


def test_a_token_is_handed_to_processes_that_are_started_and_to_nothing_else() -> None:
    shared = SharedToken(is_shared=True)
    shared.update(lambda found: replace(found, generation=1, token=SECRET))
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(shared)
    assert shared._descriptor is not None
    assert not os.get_inheritable(shared._descriptor)
    assert SECRET not in repr(shared) + repr(shared.read())
    with Other(shared) as other:
        assert other.call("read").token == SECRET
        assert not other.call("inherits")


def test_without_anonymous_memory_each_process_has_its_own_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    shared = SharedToken(is_shared=True)
    shared.update(lambda found: replace(found, generation=1, token=SECRET))
    assert shared.read().token == SECRET
    assert shared.acquire()
    with Other(shared) as other:
        assert other.call("read") == TokenState()
        assert other.call("acquire")


def test_two_tokens_that_are_refused_one_after_the_other_do_not_end_the_run(server: TokenServer) -> None:
    shared = SharedToken(is_shared=True)
    one, other = (Clocked(server, server.user(), shared_token=shared) for _ in range(2))
    assert (one.ask(), other.ask()) == (200, 200)
    server.revoke()
    assert one.ask() == 200  # with a second token, which the other does not know yet
    server.revoke()
    assert other.ask() == 200
    assert one.ask() == 200
    assert server.requests["token"] == 3


def test_credentials_that_are_refused_everywhere_end_each_process(server: TokenServer) -> None:
    shared = SharedToken(is_shared=True)
    one, other = (Clocked(server, server.user(), shared_token=shared) for _ in range(2))
    server.outages["service"] = "401"
    for each in (one, other):
        with pytest.raises(ConfigurationError, match="refused the credentials"):
            each.transport.post(each.transport.capture(each.ask), bytes)
    assert server.requests["token"] <= 5


def test_a_refresh_that_fails_late_does_not_hide_the_token_of_the_process_that_took_over(server: TokenServer) -> None:
    shared = SharedToken(is_shared=True)
    late = Authorizer(server.user(), shared, clock=lambda: server.clock())
    server.plan("token", "hold")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(late.authorize, {})
        server.await_requests("token", 1)
        quick = Authorizer(server.user(), shared, clock=lambda: server.clock())
        token = quick.authorize({})  # within this process, no lock keeps them apart: as after the end of the lease
        server.released.set()
        with pytest.raises(UnreachableError):
            waiting.result()
    assert shared.read().token == token
    assert not shared.read().failure
    assert late.authorize({}) == token
    assert server.requests["token"] == 2


def test_a_process_started_later_uses_the_existing_token(server: TokenServer) -> None:
    shared = SharedToken(is_shared=True)
    for _ in range(3):
        assert Clocked(server, server.user(), shared_token=shared).ask() == 200
        server.advance(900)
    assert server.requests["token"] == 1
    server.advance(900)
    assert Clocked(server, server.user(), shared_token=shared).ask() == 200
    assert server.requests["token"] == 2
    assert server.refused == 0
