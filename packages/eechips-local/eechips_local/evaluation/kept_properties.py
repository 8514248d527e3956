"""Find out which properties of an element the function of a ``map`` keeps, by looking at the function's body.

Only functions whose results are known to have the metadata of an argument are followed; a test calls each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import cache
from typing import Any, Protocol, runtime_checkable

from eechips_local.evaluation.graph_nodes import NULL_NODE, open_node
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.values.element_properties import FOOTPRINT, GEOMETRY, is_system
from eechips_local.values.elementwise import BINARY, CASTS, SPELLINGS, UNARY
from eechips_local.values.value_json import BANDS

_DEEPEST = 200
_DERIVED = BANDS | {"system:id", "system:version", FOOTPRINT}
"""Properties that an image has without their being stored."""


@runtime_checkable
class TracedFunction(Protocol):
    """A function of the graph whose body can be looked at."""

    def __call__(self, *values: Any) -> Any:
        """Call the function."""
        ...

    def keeps(self, name: str) -> bool:
        """Return whether results have the property of that name of the first argument, ".geo" for the geometry.

        For ".types": whether the bands of two results have the same types if the bands of their arguments do.
        """
        ...

    def reads(self) -> frozenset[str] | None:
        """Return the names of the properties of the first argument, an image, that decide with its bands whether the
        function fails, and which bands results have; None if anything else may.
        """
        ...


class Origin(Enum):
    """Where the property of a value comes from."""

    KEPT = auto()
    """It is that of the element."""
    ABSENT = auto()
    """The value has none."""
    EITHER = auto()
    """It is that of the element, or the value has none."""
    UNKNOWN = auto()


Metadata = Callable[[str], Origin]
"""Gives the origin of a property of a value by its name, ".geo" for the geometry."""


def _spelled(names: Mapping[str, Any]) -> frozenset[str]:
    spellings = {*names, *(other for name in names for other in SPELLINGS.get(name, ()))}
    return frozenset(f"Image.{name}" for name in spellings)


KEEPING = _spelled(CASTS) | {
    f"Image.{name}"
    for name in (
        "addBands", "clamp", "focalMax", "focalMean", "focalMedian", "focalMin", "focalMode", "focal_max", "focal_mean",
        "focal_median", "focal_min", "focal_mode", "mask", "regexpRename", "rename", "reproject", "resample", "retile",
        "select", "selfMask", "setDefaultProjection", "slice", "updateMask", "where",
    )
}  # fmt: skip
"""Functions whose results have all properties and the geometry of their first argument."""
COMPUTING = _spelled(UNARY) | {"Image.normalizedDifference"}
"""Functions whose results have the geometry of their first argument, and no properties but ``system:index``."""
PAIRING = _spelled(BINARY)
"""Likewise, of two images: the geometry is that of one of them."""


def _unknown(name: str) -> Origin:
    return Origin.UNKNOWN


def _whole(name: str) -> Origin:
    """Return the metadata of the element itself."""
    return Origin.UNKNOWN if name in _DERIVED else Origin.KEPT


def _nothing(name: str) -> Origin:
    """Return the metadata of a constant."""
    return Origin.ABSENT


class BodyTracer:
    """Follows the metadata of an element through the body of a function.

    Args:
        values: nodes of the graph by their keys.
        argument: name of the argument that is the element.
    """

    def __init__(self, values: Mapping[str, Any], argument: str) -> None:
        self._values = values
        self._argument = argument
        self._depth = 0
        self._traced: dict[str, Metadata] = {}

    def trace(self, node: Any) -> Metadata:
        """Return the metadata of the value of a node. A node to which several refer is followed once."""
        kind, key = open_node(node)
        if kind != "valueReference":
            return self._trace(node)
        if key not in self._traced:
            self._traced[key] = cache(self._trace(node))
        return self._traced[key]

    def _trace(self, node: Any) -> Metadata:
        kind, content = self._opened(node)
        if kind == "argumentReference":
            return _whole if content == self._argument else _unknown
        if kind != "functionInvocationValue" or self._depth > _DEEPEST:
            return _unknown
        self._depth += 1
        try:
            arguments = content.get("arguments") or {}
            if "functionReference" in content:
                return self._of_expression(content["functionReference"], arguments)
            return self._of_call(content["functionName"], arguments)
        finally:
            self._depth -= 1

    def _opened(self, node: Any) -> tuple[str, Any]:
        """Return the kind and content of a node, or of the one that it refers to."""
        kind, content = open_node(node)
        for _ in range(_DEEPEST):
            if kind != "valueReference" or content not in self._values:
                break
            kind, content = open_node(self._values[content])
        return kind, content

    def _of_call(self, name: str, arguments: Mapping[str, Any]) -> Metadata:
        names = [argument.name for argument in load_signatures()[name].arguments] if name in load_signatures() else []
        inputs = [self._input(arguments.get(name)) for name in names[:2]]
        if name in KEEPING or (name == "Image.unmask" and "sameFootprint" not in arguments):
            return inputs[0]
        if name in COMPUTING:
            return _computed(inputs[0], _nothing)
        if name in PAIRING:
            return _computed(inputs[0], inputs[1])
        if name == "Image.clip":
            return lambda name: Origin.UNKNOWN if name == GEOMETRY else inputs[0](name)
        if name in ("Element.set", "Element.setMulti"):
            return self._with_values(inputs[0], arguments)
        if name in ("Element.copyProperties", "Image.copyProperties"):
            return self._copied(inputs[0], inputs[1], arguments)
        if name == "Image.linkCollection":
            linked = self.constant(arguments.get("linkedProperties"))
            return _changed(inputs[0], [linked] if isinstance(linked, str) else [] if linked is None else linked)
        return _unknown

    def _input(self, node: Any) -> Metadata:
        """Return the metadata of an argument, which may be a number that becomes an image."""
        if node is None:
            return _unknown
        kind, content = self._opened(node)
        if kind == "functionInvocationValue" and content.get("functionName") == "Image.constant":
            kind, content = self._opened((content.get("arguments") or {}).get("value") or NULL_NODE)
        if kind in ("constantValue", "integerValue"):
            return _nothing
        return self.trace(node)

    def _of_expression(self, key: str, arguments: Mapping[str, Any]) -> Metadata:
        """Return the metadata of a formula's result: that of one of its images, or what a computation leaves of it."""
        kind, content = self._opened({"valueReference": key})
        if kind != "functionInvocationValue" or content.get("functionName") != "Image.parseExpression":
            return _unknown
        inputs = [self._input(node) for node in arguments.values()]
        return lambda name: Origin.UNKNOWN if Origin.UNKNOWN in {of(name) for of in inputs} else Origin.EITHER

    def _with_values(self, before: Metadata, arguments: Mapping[str, Any]) -> Metadata:
        """Return the metadata after some properties are set."""
        if "key" in arguments:
            key = self.constant(arguments["key"])
            nodes = {key: arguments.get("value")} if isinstance(key, str) else None
        else:
            kind, content = self._opened(arguments.get("properties"))
            known = content.get("values", {}) if kind == "dictionaryValue" else content
            is_constant = kind == "constantValue" and isinstance(content, Mapping)
            nodes = dict.fromkeys(known) if is_constant else known if kind == "dictionaryValue" else None
        if nodes is None:
            return _unknown
        own = {name for name, node in nodes.items() if self._is_own(node, name)}
        changed = _changed(before, [name for name in nodes if name not in own])
        return lambda name: Origin.KEPT if name in own else changed(name)

    def _is_own(self, node: Any, name: str) -> bool:
        """Return whether a node gets the element's own value of a property."""
        kind, content = self._opened(node or NULL_NODE)
        if kind != "functionInvocationValue" or content.get("functionName") != "Element.get":
            return False
        arguments = content.get("arguments") or {}
        is_same = self.constant(arguments.get("property")) == name
        return is_same and self.trace(arguments.get("object"))(name) is Origin.KEPT

    def _copied(self, before: Metadata, source: Metadata, arguments: Mapping[str, Any]) -> Metadata:
        """Return the metadata after properties are copied from a source."""
        is_selected = self._selection(arguments)

        def after(name: str) -> Origin:
            stored = FOOTPRINT if name == GEOMETRY else name
            is_copied = is_selected(stored)
            if is_copied is None:
                return Origin.UNKNOWN
            if not is_copied:
                return before(name)
            may_keep = before(name) is not Origin.UNKNOWN and source(name) is Origin.KEPT
            return Origin.KEPT if may_keep else Origin.UNKNOWN

        return after

    def _selection(self, arguments: Mapping[str, Any]) -> Callable[[str], bool | None]:
        """Return whether a property is copied if the source has it; None where that is unknown."""
        names, left_out = (self.constant(arguments.get(key)) for key in ("properties", "exclude"))
        if isinstance(names, list):
            return lambda name: name in names
        kind, content = self._opened(arguments.get("properties") or NULL_NODE)
        if kind == "functionInvocationValue" and content.get("functionName") == "Element.propertyNames":
            named = self.trace((content.get("arguments") or {}).get("element"))
            return lambda name: True if named(GEOMETRY if name == FOOTPRINT else name) is Origin.KEPT else None
        if names is None and kind == "constantValue" and (left_out is None or isinstance(left_out, list)):
            return lambda name: not is_system(name) and name not in (left_out or ())
        return lambda name: None

    def constant(self, node: Any) -> Any:
        """Return a constant, or a list of constants; None for anything else."""
        kind, content = self._opened(node or NULL_NODE)
        if kind == "arrayValue":
            items = [self.constant(item) for item in content.get("values", ())]
            return None if None in items else items
        return content if kind == "constantValue" else None


def _changed(before: Metadata, names: Any) -> Metadata:
    """Return metadata of which properties of some names are others."""
    if not isinstance(names, list):
        return _unknown
    changed = {GEOMETRY if name == FOOTPRINT else name for name in names}
    return lambda name: Origin.UNKNOWN if name in changed else before(name)


def _computed(first: Metadata, second: Metadata) -> Metadata:
    """Return the metadata of a computation on two images."""

    def after(name: str) -> Origin:
        if name != GEOMETRY:
            return Origin.ABSENT
        is_kept = first(name) is Origin.KEPT and second(name) in (Origin.KEPT, Origin.ABSENT)
        return Origin.KEPT if is_kept else Origin.UNKNOWN

    return after
