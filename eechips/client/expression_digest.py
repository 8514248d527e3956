"""Compute digests of expressions that do not depend on how they are written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eechips.recipe import Chip, FrameStack, Table
from eechips.recipe.results import Series, SplittableTable
from eechips.recipe.template import Template

if TYPE_CHECKING:
    import ee


def result_digest(result: Any) -> str | None:
    """Compute the digest of what a result requests: expression, pixel grid, bands, visualization and format.

    ``ee`` must be initialised in this process. Nothing is requested.

    Returns:
        SHA-256, hexadecimal; None for a result without an expression.
    """
    description = _described(result)
    return None if description is None else hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def expression_digest(expression: Mapping[str, Any]) -> str:
    """Compute the digest of an expression, whatever parts of it stand under numbers of their own.

    Args:
        expression: as in requests: ``{"result": key, "values": {key: node}}``.

    Returns:
        SHA-256, hexadecimal.
    """
    digests: dict[str, str] = {}

    def digest(key: str) -> str:
        if key not in digests:
            digests[key] = _sha256(resolve(expression["values"][key]))
        return digests[key]

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "valueReference" in node:
                return digest(node["valueReference"])
            return {name: digest_of(child) if _is_node(child) else resolve(child) for name, child in node.items()}
        if isinstance(node, list):
            return [digest_of(child) if _is_node(child) else resolve(child) for child in node]
        return node

    def digest_of(node: Any) -> str:
        return digest(node["valueReference"]) if "valueReference" in node else _sha256(resolve(node))

    return digest(expression["result"])


def _described(result: Any) -> Any:
    """Return what identifies the requests of a result, as JSON; None without an expression."""
    if isinstance(result, Mapping):
        return {str(name): _described(part) for name, part in result.items()}
    if isinstance(result, FrameStack):
        return [_described(chip) for chip in result.chips]
    if isinstance(result, Chip):
        return {
            "image": _digest_of(result.image.image() if isinstance(result.image, Template) else result.image),
            "region": None if result.region is None else _digest_of(result.region),
            "grid": None if result.grid is None else result.grid.to_json(),
            "place": [result.dimensions, result.scale, result.crs],
            "bands": result.bands,
            "format": result.format,
            "visualization": json.dumps(result.visualization, sort_keys=True, default=str),
        }
    if isinstance(result, Table) and not result.has_rows:
        return _described_rows(result.source)
    return None


def _described_rows(source: Any) -> Any:
    if isinstance(source, SplittableTable):
        return _described_rows(source.source)
    return _digest_of(source.rows() if isinstance(source, Series) else source)


def _digest_of(value: ee.ComputedObject) -> str:
    from ee import serializer

    return expression_digest(serializer.encode(value, for_cloud_api=True))


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _is_node(value: Any) -> bool:
    """Return whether a value is a node of an expression, which may stand here or under a number of its own."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)).endswith(("Value", "Reference"))
