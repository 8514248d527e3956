"""Hash the code of recipes, so that a run knows whether it is still the same.

What is hashed is the syntax tree, without comments, docstrings and layout, and the hash is the same in Python 3.10 to
3.13: fields that only some versions have are left out where they are empty. Code that does the same in other words has
another hash: ``x = (1)`` and ``x = 1`` are equal, ``x += 1`` and ``x = x + 1`` are not.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

_IGNORED = frozenset({"ctx", "type_comment", "type_ignores", "kind"})
"""Fields of nodes that change nothing: how a name is used follows from its place, and ``u''`` is ``''``."""


def hash_code(tree: ast.AST) -> str:
    """Return the SHA-256, hexadecimal, of code without its comments, docstrings and layout.

    Docstrings count if the code reads them (``__doc__``), as programs do that show their docstring as their help.

    Args:
        tree: syntax tree of the code.
    """
    keeps_texts = any(_reads_docstrings(node) for node in ast.walk(tree))
    digest = hashlib.sha256()
    for token in _tokens(tree, keeps_texts=keeps_texts):
        digest.update(f"{len(token)}:{token}".encode())
    return digest.hexdigest()


def _reads_docstrings(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "__doc__"
    return isinstance(node, ast.Attribute) and node.attr in ("__doc__", "getdoc")


def _tokens(tree: ast.AST, *, keeps_texts: bool) -> Iterator[str]:
    """Yield the nodes of a tree with their fields, as texts. Not recursive: long expressions are nested deeply."""
    left: list[Any] = [tree]
    while left:
        item = left.pop()
        if isinstance(item, _Text):
            yield item
        elif isinstance(item, ast.Constant):
            yield f"{type(item.value).__name__} {item.value!a}"
        elif isinstance(item, ast.AST):
            left += reversed([*_parts(item, keeps_texts=keeps_texts), _Text(")")])
        else:
            yield ascii(item)


class _Text(str):
    """A text that is not a value of the code."""

    __slots__ = ()


def _parts(node: ast.AST, *, keeps_texts: bool) -> Iterator[Any]:
    """Yield the class of a node, and the names and values of its fields that are not empty."""
    yield _Text(f"({type(node).__name__}")
    for name, value in ast.iter_fields(node):
        if name in _IGNORED or value is None:
            continue
        if not isinstance(value, list):
            yield from (_Text(name), value)
            continue
        values = _joined(value) if isinstance(node, ast.JoinedStr) else value
        if kept := [child for child in values if keeps_texts or not _is_text(child)]:
            yield from (_Text(f"{name}["), *kept, _Text("]"))


def _is_text(node: Any) -> bool:
    """Return whether a node is a statement that is a text, as a docstring is, or ``pass``."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def _joined(values: Iterable[ast.expr]) -> list[ast.expr]:
    """Return the parts of an f-string with neighbouring texts as one, as versions of Python divide them differently."""
    joined_parts: list[ast.expr] = []
    for part in values:
        last = joined_parts[-1] if joined_parts else None
        if isinstance(part, ast.Constant) and isinstance(last, ast.Constant):
            joined_parts[-1] = ast.Constant(str(last.value) + str(part.value))
        else:
            joined_parts.append(part)
    return [part for part in joined_parts if not (isinstance(part, ast.Constant) and part.value == "")]
