"""Show the progress of a run with its rate and time left, as a bar (terminal, notebook) or lines; log waits."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from eechips.text.formatting import escape_html, format_count, format_duration, one_line, rate_period

if TYPE_CHECKING:
    from eechips.client.quota.throttle import Throttle

_log = logging.getLogger(__name__)

_PERIODS = {"second": "s", "minute": "min", "hour": "h"}
_LINE_SECONDS = 10.0
_MOST_SECONDS = 20.0  # between two messages on a wait
_BAR_SECONDS = 0.25  # between two updates of a bar: in a notebook each is a message to the browser


class Progress:
    """Show done and total, units per second, slots in use, failures and time left. Use it in a ``with`` block.

    Args:
        total: units in the plan.
        settled: units that earlier runs settled.
        limit: total slots; None where there are none.
        quiet: show nothing.
        unit: name of the counted items.
        stream: output; by default standard error, or the cell's output in a notebook.

    Attributes:
        is_growing: more units are being planned, so that the time left is unknown.
    """

    def __init__(
        self,
        total: int,
        settled: int,
        limit: int | None,
        *,
        quiet: bool = False,
        unit: str = "units",
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._first, self._settled, self._limit = total, settled, settled, limit
        self._cell: _CellBar | None = _CellBar() if stream is None and not quiet and is_notebook() else None
        if stream is None:  # notebooks show what comes by standard error as if something was wrong
            stream = sys.stderr if self._cell is None else sys.stdout
        self._stream: Any = Terminal(stream)
        self._quiet, self._clock, self._unit = quiet, clock, unit
        self._began = self._last_line = clock()
        self._failed = 0
        self._note = self._pause_reason = ""
        self._shown: tuple[Any, ...] = ()  # counts and remarks of the last line
        self._bar: Any = None
        self.is_growing = False

    def __enter__(self) -> Progress:
        if self._cell is not None and self._limit is not None:
            self._line(0)
        elif self._cell is None and not self._quiet and self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total,
                initial=self._settled,
                file=self._stream,
                unit=f" {self._unit}",
                dynamic_ncols=True,
                smoothing=0.1,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif not self._quiet and self._is_worth_a_line and self._shown != self._state(0):
            self._line(0)

    @property
    def _is_worth_a_line(self) -> bool:
        """Return whether to show a last line: always for units, else only if it took long or has been shown before."""
        if self._cell is not None and self._cell.is_shown:
            return True
        if self._settled == self._first:
            return False
        return self._limit is not None or self._clock() - self._began >= _LINE_SECONDS

    def grow(self, count: int) -> None:
        """Count units that were added to the plan."""
        self._total += count
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.refresh()

    def settle(self, *, failed: bool) -> None:
        """Count a settled unit."""
        self._settled += 1
        self._failed += failed
        if self._bar is not None:
            self._bar.update(1)

    def step(self) -> None:
        """Count an item that is done, and update the display."""
        self.settle_up_to(self._settled + 1)

    def settle_up_to(self, count: int) -> None:
        """Count items as settled, up to a number of them, and update the display."""
        while self._settled < count:
            self.settle(failed=False)
        self.show(0, 0)

    def show(self, in_flight: int, limit: int, pause: str = "") -> None:
        """Update the display; ``pause`` says why requests wait, if they do."""
        self._pause_reason = f", {pause}" if pause else ""
        if self._limit is not None:
            self._limit = limit
        if self._bar is not None:
            if self._limit is not None:
                self._bar.set_postfix_str(
                    f"{in_flight} of {format_count(limit, 'request')} in flight, failed {self._failed}{self._remarks}",
                    refresh=False,
                )
            if self._clock() - self._last_line >= _BAR_SECONDS:  # else it would stand still while no unit settles
                self._last_line = self._clock()
                self._bar.refresh()
        elif not self._quiet and self._clock() - self._last_line >= self._pause:
            self._line(in_flight)

    def note(self, text: str) -> None:
        """Show a text beside the counts from now on, such as an estimate of the whole; none if it is empty."""
        self._note = f", {one_line(text)}" if text else ""

    @property
    def _remarks(self) -> str:
        remarks = f"{self._pause_reason}{self._note}"
        return f"{remarks}, still planning" if self.is_growing else remarks

    def _state(self, in_flight: int) -> tuple[Any, ...]:
        return self._settled, self._total, in_flight, self._remarks

    @property
    def _pause(self) -> float:
        return _LINE_SECONDS if self._cell is None else _BAR_SECONDS

    def say(self, text: str) -> None:
        """Write a line above the bar, unless ``quiet``."""
        if self._quiet:
            return
        text = one_line(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def _line(self, in_flight: int) -> None:
        now = self._clock()
        self._last_line, self._shown = now, self._state(in_flight)
        done, elapsed = self._settled - self._first, now - self._began
        rate = done / elapsed if elapsed > 0 else 0.0
        left = max(0, self._total - self._settled) / rate if rate > 0 else None
        time_left = f", {_duration(left)} left" if left and not self.is_growing else ""
        slots = (
            ""
            if self._limit is None
            else f", {in_flight} of {format_count(self._limit, 'request')} in flight, failed {self._failed:,}"
        )
        period, seconds = rate_period(rate)
        speed = f"{rate * seconds:.1f}/{_PERIODS[period]}"
        text = f"{self._settled:,}/{self._total:,} {self._unit}, {speed}{slots}{self._remarks}{time_left}"
        if self._cell is not None:
            self._cell.show(self._settled, self._total, text)
        else:
            print(text, file=self._stream, flush=True)


def say(text: str, *, quiet: bool) -> None:
    """Write a line to the user where no progress is shown, unless ``quiet``."""
    Progress(0, 0, None, quiet=quiet).say(text)


class WaitReport(contextlib.AbstractContextManager["WaitReport"]):
    """Log what a command waits for, from time to time, until it is closed; nothing if that is soon.

    Args:
        describe: returns the message, of the time so far in words.
        first: seconds until the first message. Each further one waits twice as long, at most 20 s.
    """

    def __init__(self, describe: Callable[[str], str], first: float = 2.0) -> None:
        self._describe, self._pause, self._began = describe, first, time.monotonic()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True, name="eechips-wait-report")
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Report no more. May be called again."""
        self._is_closed.set()
        self._thread.join()

    def _report(self) -> None:
        while not self._is_closed.wait(self._pause):
            self._pause = min(2.0 * self._pause, _MOST_SECONDS)
            _log.info("%s", self._describe(format_duration(time.monotonic() - self._began)))


class PlanningReport(WaitReport):
    """Log the requests of planning, which the throttle counts."""

    def __init__(self, throttle: Throttle, first: float = 2.0) -> None:
        sent_before, rejected_before = throttle.sent, throttle.rejected

        def describe(elapsed: str) -> str:
            sent, rejected = throttle.sent - sent_before, throttle.rejected - rejected_before
            crowded = f", {rejected:,} rejected (429)" if rejected else ""
            in_flight = f"{throttle.in_flight:,} in flight{crowded}"
            return f"Planning for {elapsed}: {format_count(sent, 'request')} sent, {in_flight}"

        super().__init__(describe, first)


class Terminal:
    """A stream whose terminal may be closed at any time. Errors of writing are ignored."""

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream
        self._is_there = True

    @property
    def buffer(self) -> Terminal:
        """The stream of bytes, which click writes to where the encoding is ASCII."""
        return Terminal(self._stream.buffer)  # type: ignore[attr-defined]

    def write(self, text: str | bytes) -> int:
        """Write a text, ignoring errors."""
        if self._is_there:
            try:
                return self._stream.write(text)
            except OSError:
                self._discard()
        return len(text)

    def flush(self) -> None:
        """Flush the stream, ignoring errors."""
        if self._is_there:
            try:
                self._stream.flush()
            except OSError:
                self._discard()

    def _discard(self) -> None:
        """Discard what is written from now on, and what the stream still holds.

        Python flushes its standard streams when it ends, and would end with status 120:
        https://docs.python.org/3/library/signal.html#note-on-sigpipe
        """
        self._is_there = False
        standard = [stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None]
        if self._stream in (*standard, *(stream.buffer for stream in standard)):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. Imports nothing: a kernel has IPython loaded."""
    ipython = sys.modules.get("IPython.core.getipython")  # "IPython" may be imported when it is used
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _CellBar:
    """A progress bar with a line of text in the output of a cell, updated in place.

    It needs no widgets, which not all notebooks support, and which a saved notebook does not contain.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown: dict[str, str] = {}

    @property
    def is_shown(self) -> bool:
        """Return whether it has been shown."""
        return self._handle is not None

    def show(self, done: int, total: int, text: str) -> None:
        """Show a state."""
        bar = f'<progress value="{done}" max="{max(total, 1)}" style="width: 16em; vertical-align: middle"></progress>'
        shown = {"text/plain": text, "text/html": f"{bar} <code>{escape_html(text)}</code>"}
        if shown == self._shown:
            return
        self._shown = shown
        if self._handle is None:
            from IPython.display import display

            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)
