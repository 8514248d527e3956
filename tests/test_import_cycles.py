"""No module of eechips imports itself through others, at any time: lazy and type-checking imports count."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.source_tree import EECHIPS, LOCAL


def modules() -> dict[str, Path]:
    """The files of both distributions by the names of their modules."""
    names = {
        path: ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for root in (EECHIPS, LOCAL)
        for path in root.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of eechips that a file imports anywhere in its code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def find_cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return modules each of which imports the next, the last being the first again; none if there is no cycle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_cycles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set[str]()}
    found = find_cycle(graph)
    assert found[0] == found[-1]
    assert set(found) == set("abc")
    assert all(imported in graph[name] for name, imported in pairwise(found))
    assert find_cycle({**graph, "c": set()}) == []


@pytest.mark.slow
def test_there_are_no_import_cycles() -> None:
    known = modules()
    graph = {name: set(imported(path, known)) - {name} for name, path in known.items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert find_cycle(graph) == [], "move what modules share into one of their own"
