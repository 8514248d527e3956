"""Say which values of properties are computed when they are asked for: those for which pixels or collections are read.

``image.set("mean", image.reduceRegion(…))`` of a whole scene takes as long as all else that is asked of an image; most
requests do not look at it. Other values are computed at once: they cost less than what has to be kept for later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eechips_local.evaluation.graph_nodes import child_nodes, open_node

_READING = frozenset({
    "Collection.geometry", "Collection.reduceColumns", "Collection.size", "Image.reduceRegion", "Image.reduceRegions",
    "Image.reduceToVectors", "Image.sample", "Image.sampleRectangle", "Image.sampleRegions", "Image.stratifiedSample",
    "ImageCollection.getRegion",
})  # fmt: skip
_AGGREGATION = "AggregateFeatureCollection."
_FUNCTION = "functionDefinitionValue"


class LateValues:
    """Finds calls that read pixels or collections in the nodes of a graph.

    Args:
        values: nodes of the graph by their keys.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._known: dict[int, bool] = {}

    def holds(self, node: Any) -> bool:
        """Return whether a node's value is computed late. Each node is looked at once."""
        if id(node) not in self._known:
            self._known[id(node)] = self._is_reading(node)
        return self._known[id(node)]

    def _is_reading(self, node: Any) -> bool:
        waiting, seen = [node], set()
        while waiting:
            kind, content = open_node(waiting.pop())
            keys = [content] if kind == "valueReference" else [content["body"]] if kind == _FUNCTION else []
            if kind == "functionInvocationValue":
                name = content.get("functionName", "")
                if name in _READING or name.startswith(_AGGREGATION):
                    return True
                keys = [content["functionReference"]] if "functionReference" in content else []
            waiting.extend(child_nodes(kind, content))
            for key in keys:
                if key not in seen and key in self._values:
                    seen.add(key)
                    waiting.append(self._values[key])
        return False
