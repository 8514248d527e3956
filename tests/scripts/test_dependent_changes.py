"""Changes of shared variables by calls of threads: made to copies and merged, or left to the script's threads."""

from __future__ import annotations

import copy
import json
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.changed_objects import lost_changes
from eechips.scripts.pooling.merged_changes import apply
from eechips.scripts.pooling.state_changes import StateChanges
from eechips.scripts.serialization import deserialize, serialize
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import run

_SETUP = """
import datetime, functools, itertools, json, math, random, threading, time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field, replace
import numpy as np
import pandas as pd

VALUES, TOTAL, START = [3, 9, 1, 7, 9, 2, 8, 4], 8, time.time()
lock = threading.Lock()
number, text, flag, best, first, chosen, left = 0, "", False, -1, None, (-1, None), TOTAL
rows, slots, todo, cell, words = [], [None] * TOTAL, [], [0], ["", ""]
by, cache, state, seen, counts = {}, {}, {"n": 0, "text": "", "best": -1, "rows": []}, set(), Counter()
groups, nested, sums = defaultdict(list), defaultdict(lambda: {"n": 0}), defaultdict(lambda: defaultdict(int))
grid, table, latest, last = np.zeros(8), pd.DataFrame({"a": np.zeros(8), "b": 0.0}), datetime.date(1, 1, 1), 0.0
Point = namedtuple("Point", "n low")
point = Point(0, 99)

class Plain:
    text, low, n, names = "", 99, 0, ()

plain = Plain()

@dataclass
class Stats:
    n: int = 0
    low: float = 99
    names: list = field(default_factory=list)
    paths: dict = field(default_factory=dict)

    def lowest(self, value):
        if value >= self.low:
            return
        self.low = value

    def count(self, name):
        self.n += 1
        self.names.append(name)
        self.save(name)

    def save(self, name):
        self.paths[name] = f"{name}.txt"

    def number_of(self, name):
        self.n += 1
        return f"{self.n}.txt"

stats = Stats()
waiting, add, value_at = deque(), rows.append, VALUES.__getitem__

def store(n):
    global best
    best = VALUES[n]

recent, numbers = deque(maxlen=3), itertools.count()

def counting(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        state["n"] += 1
        return function(*arguments)
    return wrapper

def watching(function):
    @functools.wraps(function)
    def wrapper(n):
        keep(VALUES[n])
        return function(n)
    return wrapper

@counting
def counted(n):
    rows.append(n)

@watching
def watched(n):
    rows.append(n)

class Tally:
    total = 0

    def __call__(self, n):
        self.total += n

    def __enter__(self):
        self.total += 1

    def __exit__(self, *_):
        pass

class Highest:
    best = -1

    def __call__(self, n):
        self.best = max(self.best, VALUES[n])

    def __enter__(self):
        self.best = max(self.best, 0)

    def __exit__(self, *_):
        pass

tally, highest = Tally(), Highest()

def keep(value):
    global best
    if value > best:
        best = value

def keep_in(there, value):
    if value > there["best"]:
        there["best"] = value

def there():
    return state

def put(there, name, value):
    there[name] = value
    there.setdefault("all", []).append(value)

def own(there, value):
    there["n"] = there["n"] + value if "n" in there else value
    there.pop("unused", None)
    return there
"""

_MERGED = {
    "items by key": "by[n] = n * 2",
    "items in their order": "global rows\nrows.append(n); rows.extend([n, n]); rows += [n]",
    "a number that is printed": """
        global number
        with lock:
            number += 1
            if number % 3 == 0:
                print(f"{number} of {TOTAL}")
    """,
    "a number from which others are printed": """
        global number
        number += 1
        share = 100 * number / TOTAL
        rate = number / (time.time() - START)
        rate *= 2
        if share > 50:
            print(share, rate, len(rows))
        rows.append(n)
    """,
    "errors": """
        try:
            if n == 3:
                raise ValueError(n)
        except ValueError as error:
            rows.append((n, str(error)))
            return None
        counts["good"] += 1
        return n
    """,
    "errors of what is kept": """
        try:
            by[n] = VALUES[n]
            stats.paths[n] = n
        except Exception as error:
            rows.append((n, str(error)))
    """,
    "groups": "groups[n % 2].append(n); by.setdefault(n % 2, []).append(n)",
    "groups that a test begins": """
        if n % 2 not in by:
            by[n % 2] = []
        by[n % 2].append(n)
    """,
    "groups that an error begins": "try:\n    by[n % 2].append(n)\nexcept KeyError:\n    by[n % 2] = [n]",
    "what is remembered": """
        if n in cache:
            return cache[n]
        value = n * n
        cache[n] = value
        return cache[n]
    """,
    "cells": 'table.loc[n, "a"] = n; table.loc[n, "b"] = n + 1; grid[n] = n',
    "cells beside others of a row": "row = table.loc[n]\ntable.loc[n, 'b'] = len(str(row['a'] + row.a + table.a[n]))",
    "rows of a table": "table.loc[len(table)] = [n, n]",
    "an object that is made once": """
        global first
        if first is None:
            first = "made"
        return first
    """,
    "fields by methods": "stats.count(n)",
    "its own variables": """
        rows, best = [], None
        for value in VALUES[: n + 1]:
            rows.append(value)
            if best is None or value > best:
                best = value
        there = {"best": best}
        there["n"] = there.get("n", 0) + 1
        there.update(m=1); rows.sort(); rows.pop()
        return there, own({"unused": 1}, n)
    """,
    "a dict of numbers": """
        with lock:
            state["n"] += 1; state["rows"].append(n)
            message = f"{state['n']} of {TOTAL}"
        print(message)
    """,
    "copies": """
        there = dict(state); there["text"] = there["text"] + "x"
        other = [*VALUES]; other.append(n); other.sort()
        by[n] = there, other, VALUES[:].sort()
    """,
    "its own status": """
        slots[n] = "running"
        slots[n] = "done" if n % 2 else "failed"
        return slots[n]
    """,
    "counts": "counts[n % 2] += 1; sums[n % 2]['n'] += 1; grid[n % 3] += n",
    "a list made anew": 'state["rows"] = state["rows"] + [n]',
    "a difference": "global left\nleft = left - 1",
    "what was set last": 'global first\nfirst = n; state["text"] = f"{n}"; plain.text = f"{n}"; grid[0] = n',
    "a mark": "global flag\nif VALUES[n] == 1:\n    flag = True",
    "lists that calls assign": 'rows.append(n); by["dem"] = [1, 2]; by[n % 2] = {"crs": "EPSG:4326", "bounds": [0, 1]}',
    "the first list": 'if "dem" not in by:\n    by["dem"] = [1]',
    "keys that are known": "if n not in seen:\n    seen.add(n)\nseen.add(n % 3)",
    "a union": "global seen\nseen |= {n % 3}",
    "numbers in cells": 'table.loc[n % 2, "a"] += n; table.loc[n, "b"] += 2',
    "elements of an array": "np.add.at(grid, [n % 2], n)",
    "calls that a decorator counts": "counted(n)",
    "an object that is called": "tally(n)",
    "a number of a class": "plain.n += n + 1; plain.low -= 1",
    "a context": "with tally:\n    pass",
    "what is made once": "value = by.setdefault('k', 'made')\nrows.append(value)",
    "what an error begins": "try:\n    return cache[n]\nexcept KeyError:\n    cache[n] = n * n\n    return cache[n]",
    "a list that an error begins": "try:\n    plain.kept.append(n)\nexcept AttributeError:\n    plain.kept = [n]",
    "what setdefault begins": "state.setdefault('all', [])\nstate['all'].append(n)",
    "a method by its name": 'getattr(stats, "count")(n)',
    "methods that only read": "by[n] = value_at(n)",
    "branches of their own": "if n in by:\n    return\nelif n > 3:\n    print(len(rows))\nby[n] = n",
    "what is passed on": "put(by, n, n); put(state, f'{n}', n)",
    "another name of it": "there = state['rows']; there.append(n); part = by.setdefault(n % 2, {}); part[n] = n",
}
"""Bodies of functions whose calls may be made in other processes."""

_DEPENDENT = {
    "text": 'global text\ntext += "x"',
    "text of a field": 'plain.text += "x"',
    "text of an item": 'state["text"] += "x"',
    "text of one of several items": 'words[n % 2] += "x"',
    "joined text": 'state["text"] = ",".join([state["text"], "x"])',
    "a tuple": "global chosen\nchosen = chosen + (n,)",
    "a maximum by a guard": "global best\nif VALUES[n] <= best:\n    return\nbest = VALUES[n]",
    "a maximum by else": "global best\nif VALUES[n] < best:\n    pass\nelse:\n    best = VALUES[n]",
    "a maximum by a helper": "keep(VALUES[n])",
    "a maximum in what is passed on": "keep_in(state, VALUES[n])",
    "a maximum of items": 'if VALUES[n] > state["best"]:\n    state.update(best=VALUES[n], who=n)',
    "a maximum of tuples": "global chosen\nchosen = max(chosen, (VALUES[n], n))",
    "a maximum by another name": "global best\nbefore = best\nif VALUES[n] > before:\n    best = VALUES[n]",
    "a maximum of a former one": "global best\nif best is None or VALUES[n] > best:\n    best = VALUES[n]",
    "a minimum by a method": "stats.lowest(VALUES[n])",
    "a minimum by its name": 'setattr(plain, "low", min(plain.low, VALUES[n]))',
    "a minimum by sorting": "cell[0] = sorted([cell[0], -VALUES[n]])[0]",
    "a maximum of elements": "grid[n % 3] = max(grid[n % 3], VALUES[n])",
    "a maximum into an array": "np.maximum(grid, VALUES[n], out=grid)",
    "the latest date": """
        global latest
        day = datetime.date(2000, 1, VALUES[n])
        if day <= latest:
            return
        latest = day
    """,
    "the three greatest": "global rows\nrows = sorted(rows + [VALUES[n]])[-3:]",
    "the first three": "if len(rows) < 3:\n    rows.append('x')",
    "a product": "global best\nbest *= VALUES[n]",
    "bits": "global number\nnumber |= 1 << (n % 4)",
    "a condition of all": "global flag\nflag = flag or VALUES[n] > 8",
    "a switch": "global flag\nflag = not flag",
    "a mean": 'state["n"] += 1\nstate["best"] += (VALUES[n] - state["best"]) / state["n"]',
    "a number in a name": 'global number\nnumber += 1\nby[n] = f"{number:03d}.tif"',
    "a number as an index": "global number\nindex = number\nnumber += 1\nslots[index] = n",
    "a number that a method returns": "by[n] = stats.number_of(n)",
    "the length as a name": 'by[f"{len(by)}.tif"] = n',
    "what is known otherwise": "if n % 3 in seen:\n    return\nseen.add(n % 3); rows.append(n % 3)",
    "a header": "if not rows:\n    rows.append('header')\nrows.append(n)",
    "a list without repetition": "if n % 3 not in rows:\n    rows.append(n % 3)",
    "counts that are begun": "if n % 2 not in by:\n    by[n % 2] = 0\nby[n % 2] += 1",
    "counts by get": "by[n % 2] = by.get(n % 2, 0) + 1",
    "counts by another name": "present = by.get(n % 2, 0)\nby[n % 2] = present + 1",
    "counts by setdefault": "by.setdefault(n % 2, 0)\nby[n % 2] += 1",
    "counts that an error begins": "try:\n    by[n % 2] += 1\nexcept KeyError:\n    by[n % 2] = 1",
    "counts in new dicts": 'nested[n % 2]["n"] += 1',
    "a dict made anew": "global by\nby = {**by, n: 1}",
    "a table made anew": 'global table\ntable = pd.concat([table, pd.DataFrame({"a": [n]})], ignore_index=True)',
    "a tuple with names": "global point\npoint = point._replace(n=point.n + 1)",
    "a record made anew": "global stats\nstats = replace(stats, n=stats.n + 1)",
    "a sum by a function": "cell[0] = math.fsum([cell[0], VALUES[n]])",
    "a sum by update": 'state.update(n=state["n"] + VALUES[n])',
    "all rows so far": "rows.append(n)\nby[n] = len(rows), list(rows)",
    "what is left": "state['rows'].append(n)\nfor row in state['rows']:\n    by[row] = n",
    "what the first call sets": "global first\nif first is None:\n    first = n\nby[n] = first",
    "the last three": "recent.append(n)",
    "the next number": "by[n] = next(numbers)",
    "a maximum into elements": "np.maximum.at(grid, [0], VALUES[n])",
    "a maximum by a decorator": "watched(n)",
    "a maximum by an object that is called": "highest(n)",
    "a maximum by a context": "with highest:\n    pass",
    "a length in a condition": "if (length := len(rows)) < 3:\n    rows.append(length)",
    "what setdefault returns": "value = by.setdefault('k', n)\nrows.append(value)",
    "what setdefault returns in a condition": "if by.setdefault('owner', n) == n:\n    rows.append(n)",
    "what an error begins": "try:\n    value = by['k']\nexcept KeyError:\n    value = by['k'] = n\nrows.append(value)",
    "what a missing key decides": "try:\n    by[n % 3]\nexcept KeyError:\n    by[n % 3] = 1\n    rows.append(n % 3)",
    "what a known key decides": "try:\n    by[n % 3]\nexcept KeyError:\n    by[n % 3] = 1; return\nrows.append(1)",
    "a free name": "i = 0\nwhile f'{i}.tif' in by:\n    i += 1\nby[f'{i}.tif'] = n",
    "the last items": "rows[:] = rows[-2:] + [n]",
    "removed items": "rows.append(n)\nrows[:-2] = []",
    "a method by its name": 'getattr(stats, "lowest")(VALUES[n])',
    "a queue made anew": "global waiting\nwaiting = waiting + deque([n])",
    "a method by another name": "add(n)",
    "a condition that changes after another": "if best > 8:\n    return 0\nelif store(n):\n    return 1",
    "messages at times": """
        global last
        if time.time() - last > 1e12:
            print(len(rows)); last = time.time()
        rows.append(n)
    """,
    "the mean of a column": "mean = table['a'].mean() + table.a.sum()\ntable.loc[n, 'a'] = mean + n",
    "cells of the row before": "table.loc[n, 'a'] = table.loc[max(n - 1, 0)].a + 1",
    "what the first one does": "if lock.acquire(blocking=False):\n    rows.append('header')\nrows.append(n)",
    "a stop": "global flag\nif flag:\n    return\nrows.append(n)\nif VALUES[n] == 1:\n    flag = True",
}
"""Bodies of functions whose calls depend on each other."""


def _module(body: str, path: Path) -> ModuleType:
    lines = textwrap.dedent(body).strip().replace("\n", "\n    ")
    path.write_text(f"{_SETUP}\ndef work(n):\n    {lines}\n")
    module = ModuleType("__main__")
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module


def _state(module: ModuleType) -> dict[str, Any]:
    names = (
        "number text flag best first chosen left rows slots todo cell words by cache state seen counts groups nested"
    )
    values = {name: getattr(module, name) for name in (*names.split(), "sums", "latest", "last")}
    values |= {"grid": module.grid.tolist(), "table": module.table.to_dict("list"), "point": tuple(module.point)}
    return copy.deepcopy(
        values | {"plain": vars(module.plain), "stats": vars(module.stats), "tally": vars(module.tally)}
    )


@pytest.mark.parametrize("name", _MERGED)
def test_changes_that_add_up_leave_what_threads_leave(name: str, tmp_path: Path) -> None:
    threads, parent, *workers = (_module(_MERGED[name], tmp_path / "script.py") for _ in range(4))
    assert not lost_changes(parent.work).reason
    for n in range(8):
        threads.work(n)
        changes = StateChanges(Call(workers[n % 2].work, (n,)))
        workers[n % 2].work(n)
        found = deserialize(serialize(changes.found(), "changes"))
        assert not apply((change, Call(parent.work, (n,))) for change in found)
    assert _state(parent) == _state(threads)


@pytest.mark.parametrize("name", _DEPENDENT)
def test_changes_that_depend_on_others_stay_in_threads(name: str, tmp_path: Path) -> None:
    """Copies were merged by guesses: maxima were summed, texts were cut, and the run succeeded."""
    assert "would change a copy of" in lost_changes(_module(_DEPENDENT[name], tmp_path / "script.py").work).reason


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("exec('state[\"text\"] += str(n)')", "state"),
        ("exec('global best; best = max(best, VALUES[n])')", "best"),
        ("vars(plain).update(low=min(plain.low, VALUES[n]))", "plain"),
        ('there()["rows"].append(n)', ""),
        ('there()["text"] = "done"', ""),
    ],
)
def test_different_values_that_the_source_does_not_show_are_named(body: str, name: str, tmp_path: Path) -> None:
    """The script went on with one of them, without a word."""
    parent, *workers = (_module(body, tmp_path / "script.py") for _ in range(9))
    changes: list[tuple[Any, Call]] = []
    for n, worker in enumerate(workers):
        found = StateChanges(Call(worker.work, (n,)))
        worker.work(n)
        changes += [(change, Call(parent.work, (n,))) for change in found.found()]
    assert apply(changes) == ({name} if name else set())


_OWN_ARGUMENT = """
row["name"] = row["name"].upper()
row["tries"] = row.get("tries", 0) + 1
row.pop("geometry")
row["parts"].pop()
row["marks"].discard(1)
"""


def test_an_argument_of_one_call_is_changed_as_by_a_thread(tmp_path: Path) -> None:
    """Nothing of a dict was changed from which a call had removed an item."""
    lines = _OWN_ARGUMENT.strip().replace("\n", "\n    ")
    source = f"def work(row):\n    {lines}\n"
    (tmp_path / "script.py").write_text(source)
    module = ModuleType("__main__")
    exec(compile(source, tmp_path / "script.py", "exec"), module.__dict__)
    row = {"name": "a", "geometry": 1, "parts": [1, 2], "marks": {1, 2}}
    call, sent = Call(module.work, (row,)), Call(module.work, (copy.deepcopy(row),))
    assert not lost_changes(module.work).reason
    changes = StateChanges(sent)
    module.work(*sent.arguments)
    apply((change, call) for change in deserialize(serialize(changes.found(), "changes")))
    assert row == {"name": "A", "tries": 1, "parts": [1], "marks": {2}}


_SCRIPT = """
import json
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from multiprocessing.pool import ThreadPool

VALUES = [3, 9, 1, 7, 9, 2, 8, 4]


class Best:
    value = -1


def keep(best, n):
    if VALUES[n] > best["value"]:
        best["value"] = VALUES[n]


def keep_field(best, n):
    if VALUES[n] <= best.value:
        return
    best.value = VALUES[n]


def join(arguments):
    best, n = arguments
    best["text"] += "x"


def enlarge(row):
    row["name"] = row["name"].upper()


def main():
    best, other, field, text = {"value": -1}, {"value": -1}, Best(), {"text": ""}
    rows = [{"name": "a"} for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for future in as_completed([pool.submit(keep, best, n) for n in range(8)]):
            future.result()
        list(pool.map(partial(keep_field, field), range(8)))
    with ThreadPool(4) as pool:
        pool.starmap(keep, [(other, n) for n in range(8)])
        pool.map(join, [(text, n) for n in range(8)])
        for result in [pool.apply_async(enlarge, (row,)) for row in rows]:
            result.get()
    return [best, other, field.value, text, rows]


with open("results.json", "w") as file:
    json.dump(main(), file)
"""


@pytest.mark.slow
def test_calls_that_share_an_argument_stay_in_threads(demo_server: Server, tmp_path: Path) -> None:
    """A maximum in an object that all calls have was a sum of copies."""
    (tmp_path / "script.py").write_text(_SCRIPT)
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results == [{"value": 9}, {"value": 9}, 9, {"text": "x" * 8}, [{"name": "A"}] * 8]
    for calls in ("16 calls of keep()", "8 calls of keep_field()", "8 calls of join()"):
        assert f"{calls}, made in the script's own threads" in result.stderr
    assert "8/8 units" in result.stderr
