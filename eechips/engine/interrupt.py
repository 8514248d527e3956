"""Stop a run on Ctrl-C and other signals, first gracefully and then at once."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_ENDS = (signal.SIGTERM, signal.SIGHUP)
"""The system that shuts down, a terminal that is closed: these end a fork of the process at once."""
_SIGNALS = (signal.SIGINT, *_ENDS)
"""Ctrl-C reaches all forks, too; the process itself handles it."""


class Interrupt:
    """Handle Ctrl-C in two steps while requests are in flight: the first asks to finish them, the second stops at once.

    Use it in a ``with`` block. Signals reach only the main thread; elsewhere it does nothing. Python ignores exceptions
    in hooks of ``os.register_at_fork`` and in finalizers: a signal that arrives there is sent again.

    Attributes:
        requested: whether the first step was taken.
    """

    def __init__(self) -> None:
        self.requested = False
        self._is_patient = False
        self._before: dict[int, Any] = {}
        self._report_before = sys.unraisablehook

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # nohup
                self._before[number] = signal.signal(number, self._handle)
            _handling.append(self)
            self._report_before, sys.unraisablehook = sys.unraisablehook, self._report_ignored
        return self

    def __exit__(self, *_: object) -> None:
        if self in _handling:
            _handling.remove(self)
            sys.unraisablehook = self._report_before
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def leave_fork(self) -> None:
        """Handle the signals that end a fork as before the block: ``multiprocessing.Pool`` awaits its workers' end."""
        for number in _ENDS:
            if number in self._before:
                signal.signal(number, self._before[number])

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Let the first signal within the block only set ``requested``."""
        self._is_patient = True
        try:
            yield
        finally:
            self._is_patient = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _is_ignored(frame):
            _send_again(number)
        elif _held and len(_held[-1]) < _MOST_HELD:
            _held[-1].append(number)
        elif self.requested or not self._is_patient:
            raise KeyboardInterrupt
        else:
            self.requested = True

    def _report_ignored(self, ignored: sys.UnraisableHookArgs) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            _send_again(signal.SIGINT)
        else:
            self._report_before(ignored)


_MOST_HELD = 2
"""Signals that a block delays at most: a further one interrupts a block that does not end."""
_held: list[list[int]] = []
"""Signals that arrived in the blocks of :func:`holding_signals` that the main thread is in."""


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
    """Handle signals that arrive inside the block at its end, as an :class:`Interrupt` does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _held.append([])
    try:
        yield
    finally:
        for number in _held.pop():
            signal.raise_signal(number)


_handling: list[Interrupt] = []
_fork = threading.local()
"""``is_under_way``: whether a thread is in hooks of a fork; ``mask``: the blocked signals before."""


def _is_ignored(frame: FrameType | None) -> bool:
    """Return whether Python would ignore an exception at a frame: in hooks of a fork, or of this module."""
    is_ignored = getattr(_fork, "is_under_way", False)
    while frame is not None and not is_ignored:
        is_ignored = frame.f_code in _HOOKS
        frame = frame.f_back
    return is_ignored


def _send_again(number: int) -> None:
    """Send a signal to this process from another thread, so that the main thread handles it later."""
    _thread.start_new_thread(os.kill, (os.getpid(), number))  # Thread.start would wait, and handle the signal meanwhile


def _before_fork() -> None:
    """Block signals that a fork would lose: Python forgets those that arrive before its own work after a fork."""
    _fork.is_under_way = True
    _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS if _handling else ())


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)
    _fork.is_under_way = False


def _after_fork_in_child() -> None:
    for interrupt in reversed(_handling):
        interrupt.leave_fork()
    _handling.clear()
    _after_fork()


_HOOKS = frozenset(
    hook.__code__ for hook in (Interrupt._report_ignored, _before_fork, _after_fork, _after_fork_in_child)
)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
