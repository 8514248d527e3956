"""Changes that calls of thread pools make to variables of the script."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.merged_changes import apply
from eechips.scripts.pooling.state_changes import StateChanges
from eechips.scripts.serialization import deserialize, serialize
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import plain, run

_SCRIPT = """
import json
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import pandas as pd
import totals_of_module

class Stats:
    total, seen = 0, []
    def __init__(self):
        self.count, self.names, self.by, self.best = 0, [], {}, None
    def add(self, n):
        self.count += 1
        self.names.append(n)
        self.by.setdefault(n % 2, []).append(n)

stats, counts, groups, waiting, seen = Stats(), Counter(), defaultdict(list), deque(), set()
totals, slots, cube, nested = {"files": 0, "bytes": 0.5}, [None] * 6, np.full((6, 2), np.nan), {"a": {"b": []}}
table = pd.DataFrame({"name": list("abcdef"), "value": np.nan, "path": None})
lock = threading.Lock()
kept, area, sums, calls, state = {}, np.zeros(3), defaultdict(int), 0, OrderedDict(last="none", paths=[])

def work(n):
    global calls
    with lock:  # plain threads lose changes of a table without one
        calls += 1
        stats.add(n)
        Stats.total += n
        Stats.seen.append(n)
        totals_of_module.add(n)
        totals_of_module.last = n
        counts[f"class {n % 3}"] += 2
        groups[n % 2].append(n)
        waiting.append(n)
        seen.add(n % 4)
        totals["files"] += 1
        totals["bytes"] += n
        slots[n] = {"value": n}
        cube[n] = n, n / 3
        area[n % 3] += 1.5
        table.at[n, "value"] = n / 7
        table.loc[n, ["path", "new"]] = f"{n}.txt", n + 1
        sums["all"] += n
        nested["a"]["b"].append(n)
        state["paths"] = state["paths"] + [n]
        kept[n] = (step for step in [])  # what cannot leave its process is not needed elsewhere
        with open(f"{n}.txt", "w") as file:
            file.write("done")

def main():
    total, rows = 0, []
    def inner(n):
        nonlocal total
        total += n
        rows.append([n])
    failed = []
    def fails(n):
        failed.append(n)
        raise ValueError(n)
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(work, range(6)))
        list(executor.map(inner, range(6)))
        futures = [executor.submit(fails, n) for n in range(3)]
        errors = sorted(str(future.exception()) for future in futures)
    return {
        "stats": [stats.count, sorted(stats.names), {k: sorted(v) for k, v in stats.by.items()}], "counts": counts,
        "groups": {k: sorted(v) for k, v in sorted(groups.items())}, "waiting": sorted(waiting), "seen": sorted(seen),
        "totals": totals, "slots": slots, "cube": cube.tolist(), "area": area.tolist(), "sums": sums, "calls": calls,
        "table": table.to_csv(), "nested": sorted(nested["a"]["b"]), "paths": sorted(state["paths"]),
        "inner": [total, sorted(rows)], "class": [Stats.total, sorted(Stats.seen)],
        "module": [sorted(totals_of_module.rows), totals_of_module.total, totals_of_module.last in range(6)],
        "failed": [sorted(failed), errors],
    }

with open("summary.json", "w") as file:
    json.dump(main(), file, sort_keys=True)
"""


@pytest.mark.slow
def test_variables_are_those_of_plain_python(demo_server: Server, tmp_path: Path) -> None:
    """Slots of lists, arrays, counters and fields of objects stayed empty without a word; a Counter was wrong."""
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    (tmp_path / "totals_of_module.py").write_text(
        "rows, total, last = [], 0, None\ndef add(n):\n    global total\n    rows.append(n)\n    total += n\n"
    )
    for folder in ("plain", "again"):
        (tmp_path / folder).mkdir()
    expected = plain(script, demo_server, tmp_path / "plain")
    assert expected.returncode == 0, expected.stderr
    for _ in range(2):  # also those that are read from the run
        result = run(script, demo_server, tmp_path / "again")
        assert "3 x RecipeError: ValueError" in result.stderr
        summaries = [(tmp_path / f / "summary.json").read_text() for f in ("plain", "again/run")]
        assert json.loads(summaries[0]) == json.loads(summaries[1])


_NAMESPACE = """
items, flags, table, numbers = {items}, {{"seen": False, "at": None}}, {{"x": [1], "y": {{"z": 1}}}}, [0, 5]
rows = []
session, name, grid, log, latest = None, "first", np.arange(6).reshape(2, 3), [], 100
def work(n):
    global rows, session, name, latest
    latest = n
    rows = rows + [n]
    flags["seen"], flags["at"] = True, (n,)
    table["x"], table["w"] = [n, n], table["y"]
    table["y"]["z"] += n
    table["y"].setdefault("names", set()).add(n)
    numbers[n % 2] -= n
    grid[n % 2, n % 3] += 10
    items.append(n)
    if session is None:
        session = (item for item in [])  # what cannot leave its process is not needed elsewhere
    name = f"of {{n}}"
"""


def _executed(source: str, path: Path, **variables: Any) -> ModuleType:
    module = ModuleType("__main__")
    path.write_text(source)
    module.__dict__.update(variables)
    exec(compile(source, path, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("length", [0, 3, 20_000, 200_000])
def test_changes_of_two_workers_add_up(length: int, tmp_path: Path) -> None:
    """The script has what threads would have left, calls being made one after the other."""
    source = _NAMESPACE.format(items=f"[0] * {length}")
    threads, parent, *workers = (_executed(source, tmp_path / "script.py", np=np) for _ in range(4))
    for n in range(4):
        threads.work(n)
        worker = workers[n % 2]
        changes = StateChanges(Call(worker.work))
        worker.work(n)
        apply((change, Call(parent.work)) for change in deserialize(serialize(changes.found(), "changes")))
    for name in ("items", "flags", "numbers", "name", "rows", "latest"):
        assert getattr(parent, name) == getattr(threads, name), name
    assert parent.table["x"] == [3, 3]
    assert parent.table["y"] == {"z": 7, "names": {0, 1, 2, 3}}
    np.testing.assert_array_equal(parent.grid, threads.grid)
    assert parent.session is None


def test_a_process_may_make_a_later_call_first() -> None:
    """What it had added, an earlier call changed: that change had no place in the parent, and was lost."""
    source = "by = {}\ndef work(n):\n    by.setdefault(n % 2, {}).setdefault('names', []).append(n)\n"
    parent, worker = ModuleType("__main__"), ModuleType("__main__")
    for module in (parent, worker):
        exec(source, module.__dict__)
    found: dict[int, Any] = {}
    for n in (3, 5, 1):
        changes = StateChanges(Call(worker.work))
        worker.work(n)
        found[n] = deserialize(serialize(changes.found(), "changes"))
    apply((change, Call(parent.work)) for n in sorted(found) for change in found[n])
    assert list(parent.by) == [1]
    assert sorted(parent.by[1]["names"]) == [1, 3, 5]


def _after_three_calls(source: str, path: Path) -> Any:
    """Return the variables of a script after three calls of its function ``work``, each in a worker of its own."""
    parent = _executed(source, path)
    for n in range(3):
        worker = _executed(source, path)
        changes = StateChanges(Call(worker.work))
        worker.work(n)
        apply((change, Call(parent.work)) for change in changes.found())
    return parent


def test_equal_dicts_that_calls_assign_are_not_joined(tmp_path: Path) -> None:
    """The list in them was three times as long, and a Counter in them was summed."""
    source = """
from collections import Counter
profiles = {}
def work(n):
    profiles["dem"] = {"transform": [1, 2], "classes": Counter(water=3), "crs": {"names": ["x"]}, n: n}
"""
    profile = _after_three_calls(source, tmp_path / "script.py").profiles["dem"]
    assert (profile["transform"], profile["classes"], profile["crs"]) == ([1, 2], {"water": 3}, {"names": ["x"]})


@pytest.mark.parametrize(
    "adds",
    [
        "nest.setdefault('r', {}).setdefault(2020, []).append(n)",
        "if 'r' not in nest: nest['r'] = {2020: []}\n    nest['r'][2020].append(n)",
    ],
)
def test_what_calls_add_to_a_dict_that_each_has_made_is_joined(adds: str, tmp_path: Path) -> None:
    """The dict of the last call overwrote those of earlier calls."""
    source = f"nest = {{}}\ndef work(n):\n    {adds}\n"
    assert _after_three_calls(source, tmp_path / "script.py").nest == {"r": {2020: [0, 1, 2]}}


def test_cells_of_a_table_are_found_among_others() -> None:
    """Cells of any type keep what they have, and a copy that two workers have does not undo the change of the other."""
    cells = [np.arange(2), [1], pd.Timestamp("2020-01-01"), float("nan"), None]
    made = {
        "a": cells,
        "when": pd.date_range("2020-01-01", periods=5),
        "n": range(5),
        "text": list("abcde"),
        "na": pd.array([1, None, 3, None, 5]),
    }
    modules = [ModuleType("__main__") for _ in range(4)]
    for module in modules:
        module.__dict__["table"] = pd.DataFrame(made, index=list("vwxyz"))
        module.__dict__["rows"] = pd.DataFrame({"n": [8]})
        exec(
            "def work(n):\n"
            "    row = table.index[n]\n"
            "    table.loc[row, 'n'] = -n\n"
            "    table.at[row, 'text'] = str(n)\n"
            "    table.loc[row, 'when'] = table.loc['v', 'when']\n"
            "    table.loc[f'row {n}', 'n'] = n\n"
            "    table.at[row, 'na'] = table.at['v', 'na']\n"
            "    rows.loc[len(rows)] = n\n",
            module.__dict__,
        )
    threads, parent, *workers = modules
    for n in range(5):
        threads.work(n)
        changes = StateChanges(Call(workers[n % 2].work))
        workers[n % 2].work(n)
        found = changes.found()
        names = {change.value.name for change in found if not change.is_added}
        assert names == {"text", *(["n", "na", "when"] if n else [])}
        apply((change, Call(parent.work)) for change in deserialize(serialize(found, "changes")))
    pd.testing.assert_frame_equal(parent.rows, threads.rows)
    pd.testing.assert_frame_equal(parent.table.drop(columns="a"), threads.table.drop(columns="a"), check_dtype=False)
    assert all(one is other for one, other in zip(parent.table["a"][:5], cells, strict=True))


def test_objects_in_a_circle_and_deep_ones_are_compared() -> None:
    module = ModuleType("__main__")
    exec(
        "class Node:\n    pass\n"
        "node = Node()\nnode.self, node.n, chain = node, 1, []\n"
        "for _ in range(5000):\n    chain = [chain]\n"
        "def work():\n    node.n += 1\n",
        module.__dict__,
    )
    changes = StateChanges(Call(module.work))
    module.work()
    found: tuple[Any, ...] = changes.found()
    assert ("node", "n") in [change.path for change in found]
    module.node.n = 7
    apply((change, Call(module.work)) for change in found)
    assert module.node.n == 8


_ARGUMENTS = """
class Site:
    total, names = 0, []
    def __init__(self, n):
        self.n, self.value, self.log = n, None, []
rows, by, grid = [], {}, np.zeros(4)
sites = [Site(n) for n in range(4)]
context = {"rows": rows}
def work(shared, site, others, by=None, grid=None):
    Site.total += site.n
    Site.names.append(site.n)
    shared.append(site.n)
    rows.append(-site.n)
    context["rows"].append(10 * site.n)
    site.value = site.n / 2
    site.log.append("done")
    others[site.n % 2]["sum"] = others[site.n % 2].get("sum", 0) + site.n
    by[site.n] = {"n": site.n}
    grid[site.n] += site.n
"""


def test_changes_of_arguments_are_those_of_the_script() -> None:
    """Fields and items that calls of threads set in their arguments were lost without a word."""
    modules = [ModuleType("__main__") for _ in range(4)]
    for module in modules:
        module.__dict__["np"] = np
        exec(_ARGUMENTS, module.__dict__)
    threads, parent, *workers = modules
    others: list[list[dict[str, int]]] = [[{}, {}] for _ in range(2)]
    for n in range(4):
        for module, pair in zip((threads, parent), others, strict=True):
            shared = functools.partial(module.work, module.rows)
            call = Call(shared, (module.sites[n], pair), {"by": module.by, "grid": module.grid})
            if module is threads:
                call.function(*call.arguments, **call.keywords)
                continue
            arguments, keywords = copy.deepcopy((call.arguments, dict(call.keywords)))
            worker = workers[n % 2]
            sent = Call(functools.partial(worker.work, copy.deepcopy(module.rows)), arguments, keywords)
            changes = StateChanges(sent)
            sent.function(*sent.arguments, **sent.keywords)
            apply([(change, call) for change in changes.found()])
    assert sorted(parent.rows) == sorted(threads.rows)
    assert [vars(site) for site in parent.sites] == [vars(site) for site in threads.sites]
    assert parent.by == threads.by
    assert (parent.Site.total, parent.Site.names) == (threads.Site.total, threads.Site.names)
    assert others[0] == others[1]
    np.testing.assert_array_equal(parent.grid, threads.grid)


_CALLABLE = """
import threading

class Download:
    made = 0

    def __init__(self):
        self.sizes, self.total, self.lock = {}, 0, threading.Lock()

    def __call__(self, n):
        with self.lock:
            self.total += n
            self.sizes[n] = n * n
            Download.made += 1
        return n
"""


def test_changes_of_an_object_that_is_called_are_those_of_the_script() -> None:
    """Its fields stayed as they were, unlike those of an object whose method is called."""
    namespaces = [ModuleType("__main__") for _ in range(3)]
    for namespace in namespaces:
        exec(_CALLABLE, namespace.__dict__)
    parent, *workers = (namespace.Download() for namespace in namespaces)
    for n in range(1, 5):
        sent = Call(functools.partial(workers[n % 2]), (n,))
        changes = StateChanges(sent)
        sent.function(n)
        apply([(change, Call(functools.partial(parent), (n,))) for change in changes.found()])
    assert (parent.total, parent.sizes, type(parent).made) == (10, {n: n * n for n in range(1, 5)}, 4)


_TUPLES = """
import collections

import numpy as np

Job = collections.namedtuple("Job", "n rows grid")
latest = (np.zeros(3), [])
last = (0, None)
groups = collections.defaultdict(lambda: collections.defaultdict(list))

def work(job):
    global last
    number, (rows, by), grid = job
    last = number, "done"
    groups["all"][number % 2].append(number)
    rows.append(number)
    by[number] = {"n": number}
    grid[number] = number
    latest[0][number] = number
    latest[1].append(number)
"""


def test_changes_in_tuples_are_those_of_the_script() -> None:
    """Pools pass several arguments in one tuple: what calls added to the lists and arrays in it was lost."""
    parent = ModuleType("__main__")
    exec(_TUPLES, parent.__dict__)
    rows, by, grid = list[int](), dict[int, Any](), np.zeros(3)
    for n in range(3):
        worker = ModuleType("__main__")
        exec(_TUPLES, worker.__dict__)
        call = Call(parent.work, (parent.Job(n, (rows, by), grid),))
        sent = Call(worker.work, copy.deepcopy(call.arguments))
        changes = StateChanges(sent)
        sent.function(*sent.arguments)
        apply([(change, call) for change in deserialize(serialize(changes.found(), "changes"))])
    assert (rows, by) == ([0, 1, 2], {n: {"n": n} for n in range(3)})
    np.testing.assert_array_equal([grid, parent.latest[0]], [[0, 1, 2]] * 2)
    assert parent.latest[1] == [0, 1, 2]
    assert (parent.last, parent.groups) == ((2, "done"), {"all": {0: [0, 2], 1: [1]}})


def test_a_large_array_cannot_be_changed_by_another_name() -> None:
    """Its changes would not be found: it is not compared."""
    module = ModuleType("__main__")
    exec(
        "import numpy as np\ngrid = np.zeros(3_000_000)\ndef work(n):\n    part = grid[n:]\n    part[0] = n",
        vars(module),
    )
    assert StateChanges(Call(module.work)).has_locked
    assert not StateChanges(Call(module.work)).has_locked  # what was read-only before
    with pytest.raises(ValueError, match="read-only"):
        module.work(1)
