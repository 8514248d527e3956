"""Convert units to canonical JSON, and compute their ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eechips.errors import UsageError

Unit = dict[str, Any]
"""A work unit: ``{"kind": "point", ...}``, JSON, small enough to store a million of them."""

UNIT_KINDS = frozenset({"point", "image", "region", "dates", "cell", "tile", "window", "scene", "call"})


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, no NaN, in UTF-8.

    Raises:
        UsageError: if the value is not JSON, or has half of a surrogate pair, as Python's names of files may.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"a work unit must be JSON, and this one is not ({error}): {value!r:.200}") from None


def recipe_identity(recipe: str, results: Mapping[str, Any]) -> str:
    """Compute the identity of a recipe: sha256, hexadecimal, of the canonical JSON of its name and parameters.

    Args:
        recipe: its name.
        results: parameters and the like.
    """
    return hashlib.sha256(canonical_json({"recipe": recipe, **results}).encode()).hexdigest()


def unit_id(unit: Unit, identity: str, repeat: int = 0) -> str:
    """Return the id of a unit: sha256, in hexadecimal, of its canonical JSON and the recipe's identity.

    Args:
        unit: the unit.
        identity: the identity of the recipe.
        repeat: how many equal units come before this one in the plan; 0 unless the plan repeats itself.
    """
    content: dict[str, Any] = {"recipe": identity, "unit": unit}
    if repeat:
        content["repeat"] = repeat
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def to_unit(value: Any) -> Unit:
    """Return a value of ``get_requests`` as a unit; whatever has no known ``kind`` becomes a call.

    The inverse is :func:`unit_value`: a recipe gets back what it gave.
    """
    if isinstance(value, dict) and value.get("kind") in UNIT_KINDS and value["kind"] != "call":
        return value
    return {"kind": "call", "value": value}


def unit_value(unit: Unit) -> Any:
    """Return the value of a unit that ``get_result`` receives: the one that ``get_requests`` returned."""
    return unit["value"] if unit["kind"] == "call" else unit
