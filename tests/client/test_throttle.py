"""The throttle: slots and tokens, in one process, across processes, and when one of them dies."""

from __future__ import annotations

import contextlib
import errno
import gc
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import pytest

from eechips.client.quota.permit_issuer import MAX_NAP
from eechips.client.quota.permits import Permit, QuotaLimits
from eechips.client.quota.throttle import QuotaClient, Throttle
from eechips.errors import Stopped, StorageError
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.stopped_clock import StoppedClock

METHODS = [m for m in ("forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]


def make(
    in_flight: int = 4, rate: float | None = None, clients: int = 4, method: str = METHODS[0], **options: Any
) -> Throttle:
    limits = QuotaLimits(in_flight=in_flight, start=in_flight, rate=rate)
    return Throttle(multiprocessing.get_context(method), limits, clients=clients, **options)


def reject(quota: QuotaClient, retry_after: float | None = None) -> None:
    with quota.permit() as permit:
        permit.status, permit.retry_after = 429, retry_after


def answer(quota: QuotaClient) -> None:
    with quota.permit() as permit:
        permit.status = 200


def test_slots_are_limited_and_released() -> None:
    throttle = make(in_flight=2)
    quota = throttle.client(1)
    with quota.permit(), quota.permit():
        assert throttle.in_flight == 2
        got = threading.Event()
        threading.Thread(target=lambda: _hold(throttle, 2, got), daemon=True).start()
        assert not got.wait(0.2)
    assert got.wait(60)
    assert throttle.sent == 3


def _hold(throttle: Throttle, quota: int, got: threading.Event) -> None:
    with throttle.client(quota).permit():
        got.set()


def test_a_slot_is_given_back_when_the_request_fails() -> None:
    throttle = make()
    with pytest.raises(ValueError, match="x"), throttle.client(1).permit():
        raise ValueError("x")
    assert throttle.in_flight == 0


def test_the_rate_is_kept() -> None:
    clock = StoppedClock()
    throttle = make(rate=100.0, in_flight=100, clock=clock.monotonic, sleep=clock.sleep)
    quota = throttle.client(1)
    for _ in range(60):
        with quota.permit():
            pass
    # Never more than the burst and what flowed in since, and hardly less.
    assert 60 <= clock.monotonic() * 100 + 11 <= 62


def test_retry_after_closes_the_throttle_for_all() -> None:
    clock = StoppedClock()
    throttle = make(clock=clock.monotonic, sleep=clock.sleep)
    reject(throttle.client(1), 30.0)
    with throttle.client(2).permit():
        assert clock.monotonic() >= 30.0
    assert throttle.rejected == 1


def test_a_pause_ends_when_the_run_stops() -> None:
    clock = StoppedClock()
    throttle = make(clock=clock.monotonic, sleep=clock.sleep)
    quota = throttle.client(1)
    quota.pause(0.0)
    clock.at(10.0, throttle.stop)
    with pytest.raises(Stopped):
        quota.pause(3600.0)
    assert 10.0 <= clock.monotonic() <= 10.0 + MAX_NAP
    with throttle.client(1).permit():  # what has begun may finish
        assert throttle.is_stopped


def test_a_closed_throttle_does_not_hold_up_a_run_that_stops() -> None:
    clock = StoppedClock()
    throttle = make(clock=clock.monotonic, sleep=clock.sleep)
    reject(throttle.client(1), 3600.0)
    clock.at(10.0, throttle.stop)
    with pytest.raises(Stopped), throttle.client(1).permit():
        pass
    assert 10.0 <= clock.monotonic() <= 10.0 + MAX_NAP


def test_clients_are_counted() -> None:
    with pytest.raises(ValueError, match="client 4 of 4"):
        make().client(4)


def _child(throttle: Throttle, quota: int, pipe: Connection, die: bool) -> None:
    if die:
        with throttle.client(quota).permit():
            pipe.send("held")
            pipe.recv()
    deadline = time.monotonic() + 1.0
    count = 0
    while time.monotonic() < deadline:
        with throttle.client(quota).permit():
            assert throttle.in_flight <= 3
            count += 1
            time.sleep(0.005)
    pipe.send(count)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_processes_share_the_slots(method: str) -> None:
    context = multiprocessing.get_context(method)
    throttle = make(in_flight=3, clients=5, method=method)
    children = []
    for quota in range(1, 5):
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(throttle, quota, theirs, False))
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


def test_the_slots_of_a_killed_process_are_released() -> None:
    context = multiprocessing.get_context(METHODS[0])
    throttle = make(in_flight=1, clients=3)
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(throttle, 1, theirs, True))
    child.start()
    assert ours.poll(60)
    assert ours.recv() == "held"
    os.kill(child.pid or 0, 9)
    child.join()
    assert throttle.in_flight == 1
    throttle.reclaim(1)
    with throttle.client(2).permit():
        assert throttle.in_flight == 1


def test_requests_of_started_units_have_priority() -> None:
    throttle = make(in_flight=1)
    order: list[str] = []

    def take(name: str, *, is_next: bool) -> None:
        with throttle.client(1).permit(is_next=is_next):
            order.append(name)

    first = [threading.Thread(target=take, args=(f"new {n}",), kwargs={"is_next": False}) for n in range(3)]
    then = threading.Thread(target=take, args=("next",), kwargs={"is_next": True})
    with throttle.client(2).permit():
        for thread in (*first, then):
            thread.start()
        wait_until(lambda: throttle._count_waiting(is_next=False) + throttle._count_waiting(is_next=True) == 4)
    for thread in (*first, then):
        thread.join(60)
    assert order[0] == "next"
    assert len(order) == 4


def test_the_limit_grows_while_requests_wait_and_nothing_is_rejected() -> None:
    now = [0.0]
    throttle = Throttle(None, QuotaLimits(in_flight=100, is_known=False), clients=1, clock=lambda: now[0])
    quota = throttle.client(0)
    assert throttle.limit == 5
    assert throttle.expected_limit == 40, "workers are ready for what is usual"
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(quota.permit()) for _ in range(5)]
        while throttle.limit < 20:  # no response has come yet
            now[0] += 0.02
            is_taken, _ = throttle.try_take(quota._number, is_next=False)
            assert is_taken == (throttle.in_flight > len(held))
            if is_taken:
                held.append(permit := Permit())
                stack.callback(throttle.give_back, quota._number, permit)
        assert 0.4 < now[0] < 0.8
        for permit in held[:2]:
            permit.status = 429
    assert throttle.rejected == 2
    assert throttle.limit < 20
    assert throttle.expected_limit == throttle.limit


def test_the_ceiling_is_kept() -> None:
    throttle = make(in_flight=2)
    for _ in range(50):
        with throttle.client(1).permit() as one, throttle.client(1).permit() as other:
            one.status = other.status = 200
    assert throttle.limit == 2


def test_a_budget_of_requests_is_never_exceeded() -> None:
    context = multiprocessing.get_context(METHODS[0])
    throttle = Throttle(context, QuotaLimits(in_flight=8, requests=5), clients=2)
    sent = []

    def work() -> None:
        try:
            for _ in range(5):
                answer(throttle.client(1))
                sent.append(1)
        except Stopped:
            return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(sent) == throttle.sent == 5
    assert throttle.is_spent


def test_a_budget_of_bytes_ends_the_run() -> None:
    context = multiprocessing.get_context(METHODS[0])
    throttle = Throttle(context, QuotaLimits(in_flight=8, received=1000), clients=2)
    for _ in range(2):
        with throttle.client(1).permit() as permit:
            permit.status, permit.received = 200, 600
    assert throttle.is_spent
    with pytest.raises(Stopped), throttle.client(1).permit():
        pass


@pytest.mark.slow
def test_during_an_outage_one_request_probes_and_the_others_wait() -> None:
    throttle = make()
    quota = throttle.client(1)
    assert quota.await_service(1.0)  # it is there
    with quota.permit() as permit:
        permit.is_unreachable = True
    assert throttle.offline_since is not None
    assert quota.await_service(60.0)  # the one that asks
    assert not quota.await_service(0.0)
    threading.Timer(0.2, answer, [throttle.client(2)]).start()
    assert quota.await_service(60.0)  # the answer of another tells everybody
    assert throttle.offline_since is None


def test_no_minute_has_more_than_sixty_times_the_rate() -> None:
    now = [1000.0]
    context = multiprocessing.get_context(METHODS[0])
    throttle = Throttle(context, QuotaLimits(in_flight=10**6, rate=100.0), clients=2, clock=lambda: now[0])
    sent = 0
    while now[0] < 1060.0:
        sent += 1
        now[0] += throttle._reserve(now[0])
    assert 5900 <= sent <= 6001  # the last one departs when the minute is over


def test_threads_share_a_throttle_without_semaphores_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    import _multiprocessing

    def missing(*_: object, **__: object) -> object:
        raise OSError(38, "Function not implemented")  # as where there is no /dev/shm

    monkeypatch.setattr(_multiprocessing, "SemLock", missing)
    throttle = Throttle(None, QuotaLimits(in_flight=1, start=1), clients=1)
    quota = throttle.client(0)
    threads = [threading.Thread(target=answer, args=(quota,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (throttle.sent, throttle.in_flight) == (8, 0)


@pytest.mark.slow
def test_a_paused_process_that_waits_for_a_slot_does_not_starve_the_others() -> None:
    context = multiprocessing.get_context(METHODS[0])
    throttle = make(in_flight=1, clients=3)
    ours, theirs = context.Pipe()
    child = context.Process(target=_next, args=(throttle, 1, theirs))
    with throttle.client(2).permit():
        child.start()
        assert ours.poll(60)
        wait_until(lambda: throttle._count_waiting(is_next=True) == 1)
        os.kill(child.pid or 0, signal.SIGSTOP)
    if throttle._count_waiting(is_next=True) == 0:  # it was paused between two waits
        return
    try:
        got = threading.Event()
        threading.Thread(target=lambda: _hold(throttle, 2, got), daemon=True).start()
        assert got.wait(60)
    finally:
        os.kill(child.pid or 0, signal.SIGCONT)
        child.join(60)
    assert child.exitcode == 0


def _next(throttle: Throttle, quota: int, pipe: Connection) -> None:
    pipe.send("waits")
    with throttle.client(quota).permit(is_next=True):
        pass


class _WithoutSharedMemory(SpawnContext):
    """Processes on a system whose /dev/shm is mounted read-only."""

    def Semaphore(self, value: int = 1) -> Semaphore:  # noqa: N802 - multiprocessing's name
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_read_only_shared_memory_is_named_with_the_way_around() -> None:
    with pytest.raises(StorageError, match=r"/dev/shm.*Read-only file system.*executor='threads'"):
        Throttle(_WithoutSharedMemory(), QuotaLimits(in_flight=1, start=1), clients=1)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list what a process has open")
def test_a_throttle_that_is_no_longer_used_leaves_nothing_open() -> None:
    gc.collect()
    before = _open_memories()
    throttle = make()
    answer(throttle.client(1))
    assert _open_memories() > before
    del throttle
    gc.collect()
    assert _open_memories() == before


def _open_memories() -> int:
    opened = [handle.readlink().name for handle in Path("/proc/self/fd").iterdir() if handle.is_symlink()]
    return sum(name.startswith("memfd:eechips-throttle") for name in opened)
