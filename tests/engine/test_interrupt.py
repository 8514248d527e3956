"""Signals while a run works: the first asks it to end, and forks of its process end by theirs."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from eechips.engine.interrupt import Interrupt


def test_the_first_signal_asks_and_the_second_stops() -> None:
    with Interrupt() as interrupt, interrupt.patient():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system has no forks")
def test_a_fork_ends_by_sigterm() -> None:
    with Interrupt() as interrupt, interrupt.patient():
        process = multiprocessing.get_context("fork").Process(target=signal.pause)
        process.start()
        process.terminate()
        process.join(60)
    assert process.exitcode == -signal.SIGTERM
    assert not interrupt.requested
