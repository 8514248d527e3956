"""Functions and objects of scripts that are hard to analyse: they end no script."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eechips.scripts.pooling.call_batch import CallBatch
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.changed_objects import lost_changes
from eechips.scripts.pooling.state_changes import StateChange, StateChanges

_SETUP = """
class Rows(dict):
    def get(self, key):
        return self[key]

class Proxy:
    @property
    def __class__(self):
        raise RuntimeError("no request is under way")

class Job:
    def __init__(self):
        self.best, self.paths = 0, {}
    def work(self, n):
        self.paths[n] = n
        self.best = max(self.best, n)

rows, proxy, numbers, job = Rows(), Proxy(), {}, Job()
"""


def _module(lines: str, path: Path) -> ModuleType:
    path.write_text(_SETUP + lines)
    module = ModuleType("__main__")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module


def test_long_chains_of_conditions_are_read(tmp_path: Path) -> None:
    """Each condition was read within the one before: 400 of them ended the script with a RecursionError."""
    chain = "".join(f"    {'el' if n else ''}if n == {n}:\n        numbers[n] = {n}\n" for n in range(400))
    assert lost_changes(_module(f"def work(n):\n{chain}", tmp_path / "script.py").work).reason == ""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("rows['a'] = n", ""),
        ("numbers[1e999] = n", ""),
        ("return proxy.name", "what they share is not known (RuntimeError: no request is under way)"),
    ],
)
def test_objects_of_scripts_are_looked_at_without_their_code(body: str, reason: str, tmp_path: Path) -> None:
    """The error of such an object was the script's."""
    assert lost_changes(_module(f"def work(n):\n    {body}\n", tmp_path / "script.py").work).reason == reason


@pytest.mark.slow
def test_containers_that_other_threads_change_are_looked_at() -> None:
    """Variables of calls change while those of further calls are read: "dictionary changed size during iteration"."""
    shared: dict[int, Any] = {n: [n] for n in range(2000)}
    has_ended = threading.Event()

    def change() -> None:
        n = 2000
        while not has_ended.is_set():
            shared[n] = [n]
            shared.pop(n - 100, None)
            n += 1

    def work(n: int) -> Any:
        return shared.get(n)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            StateChanges(Call(work, (1,))).found()
    finally:
        has_ended.set()
        thread.join()


class _Host:
    """Note the calls that stay in threads."""

    def __init__(self) -> None:
        self.unsent: list[tuple[str, str]] = []

    def execute(self, calls: Any, program: Any) -> Any:
        raise AssertionError(calls)

    def note_unsent(self, function: str, obstacle: str) -> None:
        self.unsent.append((function, obstacle))


def test_methods_are_analysed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each access of a method gives a new one: each of thousands of calls was analysed, for milliseconds."""
    job = _module("", tmp_path / "script.py").job
    analysed: list[Any] = []

    def count(function: Any, **options: Any) -> Any:
        analysed.append(function)
        return lost_changes(function, **options)

    monkeypatch.setattr("eechips.scripts.pooling.call_batch.lost_changes", count)
    host = _Host()
    batch = CallBatch(host, None, (), 2)
    started = [batch.start(Call(job.work, (n,))) for n in range(100)]
    batch.close()
    assert all(isinstance(future, Future) for future in started)
    assert (len(analysed), job.best, len(job.paths), len(host.unsent)) == (1, 99, 100, 100)


def test_records_of_changes_keep_their_fields() -> None:
    """Folders of runs hold them: a run that an earlier version has begun could not be continued."""
    names = [field.name for field in dataclasses.fields(StateChange)]
    assert names == ["path", "value", "is_added", "before", "where"]
