"""Convert units to canonical JSON, and compute their ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eechips.errors import UsageError

Unit = dict[str, Any]
"""A unit: a JSON object such as ``{"kind": "point", …}``, small enough to store a million."""

UNIT_KINDS = frozenset({"point", "image", "region", "dates", "cell", "tile", "window", "scene", "call"})


COMPLETES = "completes"
"""Field of a unit with further files of another one: the id of that unit. The files of both are one sample."""

FURTHER = "further"
"""Field of a unit with further frames of a place that another unit has, in a sample of its own."""


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text of a value: sorted keys, no spaces, no NaN, in UTF-8; numbers of numpy as others.

    Raises:
        UsageError: if the value is not JSON, or contains a lone surrogate, as Python's file names may.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
        )
        text.encode()
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"a work unit must be JSON (numbers, texts, lists and dicts), and this one is not ({error}): {value!r:.200}"
        ) from None


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy as values of Python."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is none of these")


def recipe_identity(recipe: str, results: Mapping[str, Any]) -> str:
    """Return the identity of a recipe: the SHA-256, hexadecimal, of the canonical JSON of its name and parameters.

    Args:
        results: parameters that determine results.
    """
    return hashlib.sha256(canonical_json({"recipe": recipe, **results}).encode()).hexdigest()


def unit_id(unit: Unit, identity: str, repeat: int = 0) -> str:
    """Return the id of a unit: the SHA-256, hexadecimal, of its canonical JSON and the recipe's identity.

    Args:
        identity: identity of the recipe.
        repeat: number of equal units before this one in the plan.
    """
    content: dict[str, Any] = {"recipe": identity, "unit": unit}
    if repeat:
        content["repeat"] = repeat
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


_MOST_REPEATS = 1 << 20
"""Ids of repeats that are computed for all lines: a line of somebody else may claim any position."""
_HASHED = 1024
"""Bytes of a unit that count as one more id: a line may be long."""


class IdCheck:
    """Check the ids of units of a plan that somebody else may have changed; the units come in the order of the plan.

    Args:
        identity: identity of the recipe.
    """

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._repeats: dict[str, int] = {}  # of units that are there several times, from the first id on
        self._left = float(_MOST_REPEATS)

    def matches(self, unit: Unit, identifier: str, position: int) -> bool:
        """Return whether an id is that of a unit, with any number of equal units before it in the plan.

        The repeats that are tried for all units of a plan are bounded: a plan has fewer than it has units.
        """
        first = unit_id(unit, self._identity)
        if identifier == first:
            return True
        before, after = _parts_around_repeat(unit, self._identity)
        cost = 1 + len(after) / _HASHED
        for repeat in range(self._repeats.get(first, 1), position + 1):
            self._left -= cost
            if self._left < 0:
                return False
            if identifier == hashlib.sha256(b"%b%d%b" % (before, repeat, after)).hexdigest():
                self._repeats[first] = repeat + 1
                return True
        return False


def _parts_around_repeat(unit: Unit, identity: str) -> tuple[bytes, bytes]:
    """Return the canonical JSON that :func:`unit_id` hashes, before and after the number of a repeat."""
    recipe, encoded = canonical_json(identity), canonical_json(unit)
    return f'{{"recipe":{recipe},"repeat":'.encode(), f',"unit":{encoded}}}'.encode()


def to_unit(value: Any) -> Unit:
    """Convert a value of ``get_requests`` to a unit; a value without a known ``kind`` becomes a call.

    :func:`unit_value` is the inverse.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in UNIT_KINDS and kind != "call":
        return dict(value)
    return {"kind": "call", "value": value}


def unit_value(unit: Unit) -> Any:
    """Return the value of a unit that ``get_result`` receives: the one that ``get_requests`` returned."""
    return unit["value"] if unit["kind"] == "call" else unit
