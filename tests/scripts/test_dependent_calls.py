"""Changes of shared variables that a call of threads makes by way of other functions, objects and names."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.changed_objects import lost_changes
from eechips.scripts.pooling.merged_changes import apply
from eechips.scripts.pooling.state_changes import StateChanges
from eechips.scripts.serialization import deserialize, serialize

_SETUP = """
import datetime, enum, functools, itertools, threading, types
from collections import UserDict, deque
from contextlib import contextmanager, suppress as ignored
import numpy as np
import pandas as pd

VALUES = [3, 9, 1, 7, 9, 2, 8, 4]
state, groups, rows, text = {"best": -1}, {"a": {"best": -1}}, [], ""
ids, cells, own, space = itertools.count(), np.empty(8, object), UserDict(), {"a": types.SimpleNamespace(n=0)}
pixels = np.zeros((8, 2))
grid, level, by = np.zeros((8, 2)), np.zeros((8, 2)), {}
frame, views, begun = pd.DataFrame(grid, copy=False), {"l": level[:, 1]}, pd.Timestamp(0)
column, day, recent, status = pixels[:, 1], datetime.date(1, 1, 1), deque(maxlen=3), None

def keep(there, value):
    if value > there["best"]:
        there["best"] = value

def keep_state(value):
    keep(state, value)
    return value

def shared():
    return state

def info(message):
    global text
    text += message

def count():
    count.n += 1

count.n = 0

def counter(there):
    n, kept = 0, []

    def add(value):
        nonlocal n
        n += 1
        kept.append(value)

    def add_there(value):
        there.append(value)

    return add, add_there

(add_own, add_there), (_, add_elsewhere) = counter(rows), counter([])
keeper, handlers = functools.partial(keep, state), {"keep": keep_state}

@contextmanager
def locked():
    yield state

def tracked(function):
    @functools.wraps(function)
    def inner(*arguments):
        result = function(*arguments)
        keep(state, result)
        return result
    return inner

@tracked
def value_of(n):
    return VALUES[n]

def free(name):
    if name in by:
        return f"{name} {len(name)}"
    return name

def is_new(key):
    if key in by:
        return False
    by[key] = 1
    return True

def remember(value, there=[]):
    there.append(value)

class Best:
    kept = -1

    def __init__(self):
        self._best = -1

    @property
    def best(self):
        return self._best

    @best.setter
    def best(self, value):
        self._best = max(self._best, value)

    def keep(self, value):
        self.best = value

    def itself(self):
        return self

    def counted(self, value):
        self.keep(value)
        return sums

    def __call__(self, value):
        self.keep(value)

    @classmethod
    def keep_kept(cls, value):
        cls.kept = max(cls.kept, value)

class Better(Best):
    def keep(self, value):
        super().keep(value)

class Holder:
    def __init__(self, there):
        self.there = there

    def keep(self, value):
        self.there["best"] = max(self.there["best"], value)

class Slots:
    __slots__ = ("n",)

class Sums:
    n = total = 0

    def add(self, value):
        self.n += 1
        self.total += value

best, better, slots, sums = Best(), Better(), Slots(), Sums()
slots.n = 0
keep_best = best.keep
"""

_DEPENDENT = {
    "a free name that a function returns": "by[free('a')] = n",
    "a free name in a variable": "name = free('a')\nby[name] = n",
    "another name for one that is there": "name = 'a'\nif name in by:\n    name = f'b{n}'\nby[name] = n",
    "another name in a list": "name = 'a'\nif name in rows:\n    name = f'b{n}'\nrows.append(name)",
    "a missing key that is suppressed": """
        key = n // 2
        with ignored(KeyError):
            by[key]
            key = f"{n} again"
        by[key] = n
    """,
    "a flag that is set after a key is found": """
        is_first = True
        try:
            by[n // 2]
            is_first = False
        except KeyError:
            pass
        if is_first:
            by[n // 2] = n
    """,
    "a key that a missing one decides on": """
        try:
            by["k"]
        except KeyError:
            key = "k"
        else:
            key = f"k{n}"
        by[key] = n
    """,
    "a wait for another call": "while 'lock' in by:\n    pass\nby['lock'] = n",
    "a missing key on a later line": """
        try:
            str(n)
            VALUES[by["k"]]
        except KeyError:
            state["best"] += 1
            return
        by["k"] = n
    """,
    "a status by what is there": "kind = 'new'\nif n % 2 in by:\n    kind = 'old'\nby[n % 2], groups[n] = 1, kind",
    "a count of what a function finds new": "global text\nif is_new(n % 3):\n    state['best'] += 1",
    "a property": "best.best = VALUES[n]",
    "super": "better.keep(VALUES[n])",
    "a class method": "best.keep_kept(VALUES[n])",
    "the class of an object": "type(best).kept = max(type(best).kept, VALUES[n])",
    "a called object": "best(VALUES[n])",
    "a bound method": "keep_best(VALUES[n])",
    "a method of what a method returns": "best.itself().keep(VALUES[n])",
    "an object that has it": "Holder(state).keep(VALUES[n])",
    "a local object that has it": "holder = Holder(state)\nholder.keep(VALUES[n])",
    "a partial function": "keeper(VALUES[n])",
    "a function by a key": "handlers['keep'](VALUES[n])",
    "a function that is passed on": "list(map(keep_state, [VALUES[n]]))",
    "a decorator": "value_of(n)",
    "a function that returns it": "shared()['best'] = max(shared()['best'], VALUES[n])",
    "a context": "with locked() as there:\n    keep(there, VALUES[n])",
    "a nested function": "def inner(there, value):\n    keep(there, value)\ninner(state, VALUES[n])",
    "items of a loop": "for group in groups.values():\n    keep(group, VALUES[n])",
    "items of a comprehension": "[keep(group, VALUES[n]) for group in groups.values()]",
    "a dict of the call": "own_dict = {'there': state}\nkeep(own_dict['there'], VALUES[n])",
    "the target of a sum": "best.counted(VALUES[n]).n += 1",
    "one of two": "there = state if n % 2 else groups['a']\nkeep(there, VALUES[n])",
    "globals": "globals()['state'] = {'best': max(globals()['state']['best'], VALUES[n])}",
    "what is printed": "print(keep_state(VALUES[n]))",
    "an own function for messages": "info('x')",
    "variables around a function that is called": "add_own(n)",
    "a list around a function that is called": "add_elsewhere(n)",
    "a default": "remember(n)",
    "an iterator": "rows.append(next(ids))",
    "a field of a function": "count()",
    "slots": "slots.n += 1",
    "an array of objects": "cells[n] = [n]",
    "an array in the memory of another": "column[n] = n\nrows.append(pixels[n].sum())",
    "a table in the memory of an array": "grid[n] += n",
    "an array in a dict in the memory of another": "level[n] = n\nrows.append(views['l'].sum())",
    "a free name that a loop finds": "for i in range(9):\n    if i not in by:\n        break\nby[i] = n",
    "a free name that a loop takes": "for i in range(9):\n    if i not in by:\n        by[i] = n\n        break",
    "what a key in a sum decides": "try:\n    n += by[n % 3]\nexcept KeyError:\n    by[n % 3] = 1\n    rows.append(n)",
    "what is after a known key": "try:\n    return by[n % 3]\nexcept KeyError:\n    by[n % 3] = n\nrows.append(n)",
    "a dict of a library": "own[n] = n",
    "a namespace in a dict": "space['a'].n += 1",
    "the last ones": "recent.append(n)",
}
"""Bodies of functions whose calls depend on each other, or whose changes are not found."""

_MERGED = {
    "a cache, and results made with it": """
        if n % 3 in by:
            value = by[n % 3]
        else:
            value = VALUES[n % 3]
            by[n % 3] = value
        rows.append((n, value))
    """,
    "a status by an error": """
        kind = "ok"
        try:
            1 / VALUES[n]
        except ZeroDivisionError:
            kind = "failed"
        rows.append((n, kind))
    """,
    "sums in fields of a class": "sums.add(VALUES[n])",
    "an argument in place of a default": "remember(n, [])\nremember(n, there=[n])",
    "a list around a function that is a variable, too": "add_there(n)",
    "a day": "global day\nday = datetime.date(2020, 1, 1)",
    "a decorated function": "rows.append(functools.lru_cache(abs)(n))",
    "a local object": "there = Holder({'best': n})\nthere.keep(9)\nrows.append(there.there)",
}
"""Bodies of functions whose calls may be made in other processes."""


def _module(body: str, path: Path) -> ModuleType:
    lines = textwrap.dedent(body).strip().replace("\n", "\n    ")
    path.write_text(f"{_SETUP}\ndef work(n):\n    {lines}\n")
    module = ModuleType("__main__")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", _DEPENDENT)
def test_changes_by_other_functions_and_names_stay_in_threads(name: str, tmp_path: Path) -> None:
    """Only names that the function has itself were followed: maxima by others were summed."""
    assert "would change a copy of" in lost_changes(_module(_DEPENDENT[name], tmp_path / "script.py").work).reason


@pytest.mark.parametrize("name", _MERGED)
def test_changes_that_add_up_are_merged(name: str, tmp_path: Path) -> None:
    """Of a number that begins in the class, the first change by another process was the whole sum."""
    threads, parent, *workers = (_module(_MERGED[name], tmp_path / "script.py") for _ in range(4))
    assert not lost_changes(parent.work).reason
    for n in range(8):
        threads.work(n)
        changes = StateChanges(Call(workers[n % 2].work, (n,)))
        workers[n % 2].work(n)
        apply((change, Call(parent.work, (n,))) for change in deserialize(serialize(changes.found(), "changes")))
    assert (parent.day, parent.rows, vars(parent.sums)) == (threads.day, threads.rows, vars(threads.sums))
