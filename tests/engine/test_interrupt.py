"""Signals while a run works: the first asks it to end, and forks of its process end by theirs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from eechips.engine.interrupt import Interrupt, holding_signals


def test_the_first_signal_asks_and_the_second_stops() -> None:
    with Interrupt() as interrupt, interrupt.patient():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_block_delays_signals_to_its_end() -> None:
    """As while a worker is started, which is killed only if it is known."""
    steps: list[str] = []

    def hold(count: int) -> None:
        with holding_signals():
            for number in range(count):
                steps.append(f"{number}, {interrupt.requested}")
                signal.raise_signal(signal.SIGINT)
            steps.append("end")

    with Interrupt() as interrupt, interrupt.patient():
        with pytest.raises(KeyboardInterrupt):
            hold(2)
        assert steps == ["0, False", "1, False", "end"]
        with pytest.raises(KeyboardInterrupt):
            hold(9)  # a block that does not end
        assert steps[3:] == ["0, True", "1, True", "2, True"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system has no forks")
def test_a_fork_ends_by_sigterm() -> None:
    with Interrupt() as interrupt, interrupt.patient():
        process = multiprocessing.get_context("fork").Process(target=signal.pause)
        process.start()
        process.terminate()
        process.join(60)
    assert process.exitcode == -signal.SIGTERM
    assert not interrupt.requested


AT_FORK = """
import os, signal

read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)

def send():
    os.kill(os.getpid(), signal.{signal})

os.register_at_fork({hook}=send)  # as logging does, before eechips is imported
from eechips.engine.interrupt import Interrupt

with Interrupt():
    try:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            while True:
                os.read(read, 1)  # a byte for each signal, also for one that arrives before
        os._exit(0)
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
@pytest.mark.parametrize("hook", ["before", "after_in_parent"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_hook_of_a_fork_stops_the_run(hook: str, number: signal.Signals) -> None:
    """Python ignores the exception of a hook, and the run went on."""
    script = AT_FORK.format(signal=number.name, hook=hook)
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", script]  # has threads of libraries
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("stopped\n", "")


class Finalized:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        len("what a finalizer does after the signal")


def drop(signals: int) -> None:
    Finalized()
    while True:
        os.read(signals, 1)  # a byte for each signal, also for one that arrives before


def test_a_signal_within_a_finalizer_stops_the_run() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    try:
        with Interrupt(), pytest.raises(KeyboardInterrupt):
            drop(read)
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
