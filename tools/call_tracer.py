"""Note the calls of a process that cross rooms: ``tools/walks.py`` installs this file as ``sitecustomize``.

A room is a folder of a package. A call belongs to the units in its arguments, and to those of the call that it is made
from. A line of the notes has: nanoseconds, thread, kind, caller, function, positions of units. The kind is ``call`` or
``yield``, the second from a generator to its caller; ``?`` instead of positions stands for a unit without one yet.

Variables: TRACED_ROOT is the folder of the package, TRACED_OUT that of the notes; with TRACED_ALL, calls that belong to
no unit are noted as well.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

_ROOT, _OUT = os.environ["TRACED_ROOT"], Path(os.environ["TRACED_OUT"])
_NOTES_ALL = "TRACED_ALL" in os.environ
_MOST = 600
"""Items of a collection that are looked at: a plan's batch has 500 units."""
_DEEPEST = 4
_VARIABLE_ARGUMENTS, _GENERATOR = 0x04, 0x20  # flags of a code object


class _Thread(threading.local):
    """Calls under way in a thread: frame, name, positions of units."""

    def __init__(self) -> None:
        self.calls: list[tuple[FrameType, str, frozenset[int]]] = []


class _Notes:
    """Notes of this process. A forked process begins a file of its own."""

    def __init__(self) -> None:
        self.process = 0
        self.file: TextIO | None = None

    def write(self, kind: str, caller: str, name: str, units: str) -> None:
        if self.file is None or self.process != os.getpid():
            self.process = os.getpid()
            self.file = (_OUT / str(self.process)).open("a", buffering=1, encoding="utf-8")
        words = (str(time.monotonic_ns()), str(threading.get_ident()), kind, caller, name, units)
        self.file.write("\t".join(words) + "\n")


def _positions(value: Any, depth: int = 0) -> frozenset[int]:
    """Return the positions of the units in a value: a record, an outcome, or a collection of such."""
    if depth > _DEEPEST:
        return frozenset()
    found: set[int] = set()
    items: list[Any] = []
    if type(value).__module__.startswith("eechips."):
        if type(position := getattr(value, "position", None)) is int:
            found.add(position)
        fields = getattr(type(value), "__dataclass_fields__", ()) or getattr(type(value), "_fields", ())
        items = [getattr(value, name, None) for name in fields]
    elif isinstance(value, (tuple, list, dict)) and len(value) < _MOST:
        items = list(value.values()) if isinstance(value, dict) else list(value)
    for item in items:
        found |= _positions(item, depth + 1)
    return frozenset(found)


def _room(name: str) -> str:
    return name.partition(":")[0].partition("/")[0]


def _join(units: frozenset[int]) -> str:
    return ",".join(map(str, sorted(units)))


def _observer(thread: _Thread, notes: _Notes) -> Callable[[FrameType, str, Any], None]:
    def observe(frame: FrameType, event: str, value: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(_ROOT) or code.co_name[0] == "<":
            return
        calls = thread.calls
        if event == "call":
            count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & _VARIABLE_ARGUMENTS)
            _, caller, units = calls[-1] if calls else (None, "", frozenset())
            for argument in code.co_varnames[:count] if not _NOTES_ALL else ():
                if argument != "self":
                    units |= _positions(frame.f_locals.get(argument))
            name = f"{code.co_filename[len(_ROOT) :]}:{getattr(code, 'co_qualname', code.co_name)}"
            calls.append((frame, name, units))
            if (units or _NOTES_ALL) and _room(caller) != _room(name):
                notes.write("call", caller, name, _join(units))
            return
        while calls and calls[-1][0] is not frame:
            calls.pop()
        if not calls:
            return
        _, name, _ = calls.pop()
        if code.co_flags & _GENERATOR and value is not None and not _NOTES_ALL:
            units = _positions(value)
            if units or (isinstance(value, dict) and "kind" in value):
                notes.write("yield", calls[-1][1] if calls else "", name, _join(units) or "?")

    return observe


def _install() -> None:
    observe = _observer(_Thread(), _Notes())
    start = _thread.start_new_thread

    def start_traced(function: Callable[..., object], *rest: Any) -> int:
        def run(*positional: Any, **named: Any) -> None:
            sys.setprofile(observe)
            function(*positional, **named)

        return start(run, *rest)

    _thread.start_new_thread = start_traced
    threading.setprofile(observe)
    sys.setprofile(observe)


_install()
