"""Partial responses: the ``fields`` parameter that all Google APIs have.

See https://developers.google.com/earth-engine/reference/rest (system parameters) and
https://cloud.google.com/apis/docs/system-parameters: ``name``, ``assets(name,bands/id)``, ``*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from eechips_local.protocol.request_errors import InvalidError

Mask = Mapping[str, Any]
"""Names of fields with the masks of what is inside them; an empty mask keeps all."""

_TOKEN = re.compile(r"[A-Za-z0-9_*]+|[/.,()]")
_DEEPEST = 20


def parse(text: str) -> Mask:
    """Return the mask of a ``fields`` parameter.

    Raises:
        InvalidError: if it is malformed.
    """
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise _invalid(text)
    waiting = iter([*tokens, ""])
    mask, end = _list(waiting, text, 0)
    if end != "":
        raise _invalid(text)
    return mask


def _invalid(text: str) -> InvalidError:
    return InvalidError(f"Invalid field selection {text[:100]}")


def _list(tokens: Iterator[str], text: str, depth: int) -> tuple[dict[str, Any], str]:
    """Return fields with commas between them, and the token after the last."""
    mask: dict[str, Any] = {}
    while True:
        end = _path(tokens, mask, text, depth)
        if end != ",":
            return mask, end


def _path(tokens: Iterator[str], mask: dict[str, Any], text: str, depth: int) -> str:
    """Return one field with what is selected inside it, put into a mask; return the token after it."""
    name = next(tokens)
    if depth > _DEEPEST or not re.fullmatch(r"\w+|\*", name):
        raise _invalid(text)
    inside = mask.setdefault(name, {})
    token = next(tokens)
    if token in ("/", "."):
        return _path(tokens, inside, text, depth + 1)
    if token == "(":
        selected, token = _list(tokens, text, depth + 1)
        if token != ")":
            raise _invalid(text)
        inside.update(selected)
        token = next(tokens)
    return token


def select(value: Any, mask: Mask) -> Any:
    """Return a JSON value with only the fields of a mask."""
    if not mask or "*" in mask:
        return value
    if isinstance(value, list):
        return [select(item, mask) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {name: select(value[name], inside) for name, inside in mask.items() if name in value}
