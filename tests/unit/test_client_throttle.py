"""The throttle: slots and tokens, in one process, across processes, and when one of them dies."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection

import pytest

from eechips.client.throttle import Stopped, Throttle

METHODS = [m for m in ("forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]


def make(in_flight: int = 4, rate: float | None = None, seats: int = 4, method: str = METHODS[0]) -> Throttle:
    return Throttle(multiprocessing.get_context(method), in_flight=in_flight, rate=rate, seats=seats)


def test_slots_are_limited_and_given_back() -> None:
    throttle = make(in_flight=2)
    seat = throttle.seat(1)
    with seat.slot(), seat.slot():
        assert throttle.in_flight == 2
        got = threading.Event()
        threading.Thread(target=lambda: _hold(throttle, 2, got), daemon=True).start()
        assert not got.wait(0.2)
    assert got.wait(2)
    assert throttle.sent == 3


def _hold(throttle: Throttle, seat: int, got: threading.Event) -> None:
    with throttle.seat(seat).slot():
        got.set()


def test_a_slot_is_given_back_when_the_request_fails() -> None:
    throttle = make()
    with pytest.raises(ValueError, match="x"), throttle.seat(1).slot():
        raise ValueError("x")
    assert throttle.in_flight == 0


def test_the_rate_is_kept() -> None:
    throttle = make(rate=100.0, in_flight=100)
    seat = throttle.seat(1)
    began = time.monotonic()
    for _ in range(60):
        with seat.slot():
            pass
    elapsed = time.monotonic() - began
    assert elapsed * 100 + 11 >= 60  # never more than the burst and what flowed in since
    assert elapsed < 3


def test_a_raised_limit_lets_waiting_requests_go() -> None:
    throttle = make(in_flight=1)
    got = threading.Event()
    with throttle.seat(1).slot():
        threading.Thread(target=lambda: _hold(throttle, 2, got), daemon=True).start()
        time.sleep(0.05)
        throttle.set_limit(2)
        assert got.wait(2)
    assert throttle.limit == 2


def test_retry_after_closes_the_throttle_for_all() -> None:
    throttle = make()
    throttle.seat(1).rejected(0.3)
    began = time.monotonic()
    with throttle.seat(2).slot():
        assert time.monotonic() - began >= 0.29
    assert throttle.rejected == 1


def test_a_pause_ends_when_the_run_stops() -> None:
    throttle = make()
    seat = throttle.seat(1)
    seat.pause(0.0)
    threading.Timer(0.1, throttle.stop).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        seat.pause(60.0)
    assert time.monotonic() - began < 5
    with throttle.seat(1).slot():  # what has begun may finish
        assert throttle.is_stopped


def test_a_closed_throttle_does_not_hold_up_a_run_that_stops() -> None:
    throttle = make()
    throttle.seat(1).rejected(3600.0)
    threading.Timer(0.1, throttle.stop).start()
    began = time.monotonic()
    with pytest.raises(Stopped), throttle.seat(1).slot():
        pass
    assert time.monotonic() - began < 5


def test_seats_are_counted() -> None:
    with pytest.raises(ValueError, match="seat 4 of 4"):
        make().seat(4)


def _child(throttle: Throttle, seat: int, pipe: Connection, die: bool) -> None:
    if die:
        with throttle.seat(seat).slot():
            pipe.send("held")
            pipe.recv()
    deadline = time.monotonic() + 1.0
    count = 0
    while time.monotonic() < deadline:
        with throttle.seat(seat).slot():
            assert throttle.in_flight <= 3
            count += 1
            time.sleep(0.005)
    pipe.send(count)


@pytest.mark.parametrize("method", METHODS)
def test_processes_share_the_slots(method: str) -> None:
    context = multiprocessing.get_context(method)
    throttle = make(in_flight=3, seats=5, method=method)
    children = []
    for seat in range(1, 5):
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(throttle, seat, theirs, False))
        child.start()
        children.append((child, ours))
    counts = []
    for child, pipe in children:
        assert pipe.poll(60)
        counts.append(pipe.recv())
        child.join()
        assert child.exitcode == 0
    assert sum(counts) == throttle.sent
    assert min(counts) > 0
    assert throttle.in_flight == 0


def test_the_slots_of_a_killed_process_come_back() -> None:
    context = multiprocessing.get_context(METHODS[0])
    throttle = make(in_flight=1, seats=3)
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(throttle, 1, theirs, True))
    child.start()
    assert ours.poll(60)
    assert ours.recv() == "held"
    os.kill(child.pid or 0, 9)
    child.join()
    assert throttle.in_flight == 1
    throttle.reclaim(1)
    with throttle.seat(2).slot():
        assert throttle.in_flight == 1
