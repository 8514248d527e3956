"""No module of eechips imports itself through others, at any time: lazy and type-checking imports count."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

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


def reachable(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """The modules that a module imports, directly or through others."""
    found: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph[name]
    return found


def cycles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """The largest sets of modules that all import each other, directly or through others."""
    reach = {name: reachable(name, graph) for name in graph}
    return {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}


def test_cycles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set[str]()}
    assert cycles(graph) == {frozenset("abc")}


def test_there_are_no_import_cycles() -> None:
    known = modules()
    graph = {name: set(imported(path, known)) - {name} for name, path in known.items()}
    assert sum(map(len, graph.values())) > len(graph)
    found = sorted(map(sorted, cycles(graph)))
    assert found == [], "move what modules share into one of their own"
