"""Tell what statements, conditions and methods in a script's function do."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from eechips.scripts.script_source import last_name

MEMBERSHIP, UNSET, COMPARED, CHOSEN = "membership", "unset", "compared", "chosen"
"""Tests: whether a key is there; whether a value is None, empty or false; any other; one that has chosen a key."""

ADDING = frozenset({"append", "extend", "add", "update"})
REMOVING = frozenset({"clear", "discard", "pop", "popitem", "popleft", "remove"})
ORDERING = frozenset({"appendleft", "extendleft", "insert", "move_to_end", "reverse", "rotate", "sort", "subtract"})
ORDERING |= {"difference_update", "intersection_update", "symmetric_difference_update"}
OF_CONTAINERS = ADDING | REMOVING | ORDERING | {"setdefault", "__setitem__", "__delitem__"}
"""Methods that change a container."""

CHANGING = frozenset({"delattr", "heapify", "heappush", "heappop", "heapreplace", "heappushpop", "setattr", "shuffle"})
CHANGING |= {"at", "copyto", "fill_diagonal", "insort", "insort_left", "insort_right", "next", "place", "putmask"}
CHANGING |= {"setitem"}
"""Functions that change their first argument."""

OF_PROCESSES = frozenset({"Pool", "Process", "ProcessPoolExecutor"})
SIGNALS = frozenset({"clear", "get", "get_nowait", "put", "put_nowait", "set"})
OF_THREADS = frozenset({"_queue", "queue", "threading"})
OF_ARRAYS = frozenset({"fill", "itemset", "partition", "put", "resize", "sort"})
OF_TABLES = frozenset({"drop", "fillna", "insert", "pop", "rename", "replace", "sort_values", "update"})

TRY: tuple[type[ast.Try], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))
"""Classes of ``try``; Python 3.11 has a second one for ``except*``."""

_MESSAGES = frozenset({"print", "debug", "info", "warning", "error", "exception", "critical", "log", "display"})
_MESSAGES |= {"set_description", "set_description_str", "set_postfix", "set_postfix_str"}
_OF_TEXTS = frozenset({"flush", "float", "format", "int", "isoformat", "join", "len", "now", "round", "str"})
_OF_TEXTS |= {"perf_counter", "strftime", "time"}
_WRITERS = frozenset({"bar.write", "pbar.write", "sys.stderr.write", "sys.stdout.write", "tqdm.write"})


def tested(node: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    """Yield the expressions of which a condition tests whether they hold a key, or are set."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from tested(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from tested(node.operand)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            yield node.comparators[0], MEMBERSHIP
        elif isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            yield node.left, UNSET
    elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        yield node, UNSET


def is_message(node: ast.expr) -> bool:
    """Return whether an expression only prints or logs something."""
    if not isinstance(node, ast.Call) or any(keyword.arg == "file" for keyword in node.keywords):
        return False
    return last_name(node.func) in _MESSAGES or ast.unparse(node.func) in _WRITERS


def only_prints(function: ast.AST) -> bool:
    """Return whether all that a function calls prints, logs, or makes the text for it."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(map(is_message, calls)) and all(is_message(call) or last_name(call.func) in _OF_TEXTS for call in calls)


def is_slice(node: ast.expr) -> bool:
    """Return whether an expression is a part of a sequence."""
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)


def leaves(block: Sequence[ast.stmt]) -> bool:
    """Return whether statements end with a jump, also within ``with`` or ``try``."""
    last = block[-1] if block else None
    if isinstance(last, (ast.With, ast.AsyncWith)):
        return leaves(last.body)
    if isinstance(last, TRY):
        return any(map(leaves, (last.body, last.orelse, last.finalbody, *(h.body for h in last.handlers))))
    return isinstance(last, (ast.Return, ast.Raise, ast.Continue, ast.Break))
