"""Find out on what it depends whether the function of a ``map`` fails, and which bands its results have.

Images are alike that have bands of the same names and types, and properties of the same names and kinds. Where nothing
else matters to a function, it succeeds for all images if it does for one of each kind. Only functions that are known
are followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

from eechips_local.evaluation.graph_nodes import NULL_NODE, child_nodes, open_node
from eechips_local.evaluation.kept_properties import COMPUTING, KEEPING, PAIRING, BodyTracer, Origin
from eechips_local.evaluation.signatures import load_signatures
from eechips_local.functions import load_functions
from eechips_local.protocol.request_errors import EarthEngineError
from eechips_local.values.values import Collection

_DEEPEST = 200
_TIMES = ("system:time_start", "system:time_end")


class Agreement(IntEnum):
    """How much a value has in common for images that are alike; each includes those before it."""

    SAME = 0
    """It is the same."""
    IMAGE = 1
    """Images that are alike."""
    ROUGH_IMAGE = 2
    """Likewise, but types of bands may be integer or not."""
    DATE = 3
    """Dates of images, or their milliseconds, or dates at a constant distance from them."""
    NUMBER = 4
    """Numbers."""
    VALUE = 5
    """Values of one kind."""
    UNKNOWN = 6


_WITH_EXTENTS = {"Image.reproject", "Image.setDefaultProjection"}
"""Functions that may fail by where an image lies."""
_OF_INTEGERS = {f"Image.{name}" for name in (
    "bitwiseAnd", "bitwise_and", "bitwiseOr", "bitwise_or", "bitwiseXor", "bitwise_xor", "leftShift", "left_shift",
    "rightShift", "right_shift", "bitwiseNot", "bitwise_not", "bitCount", "bit_count",
)}  # fmt: skip
"""Functions that may fail by whether bands are of integers."""
OF_BANDS = (KEEPING | COMPUTING | PAIRING | {
    "Image.cat", "Image.clip", "Image.clipToCollection", "Image.reduce", "Image.remap", "Image.unitScale",
    "Image.unmask",
}) - _WITH_EXTENTS  # fmt: skip
"""Functions of images that fail by names and types of bands only, where their other arguments are the same."""
_NAMES = {"Image.bandNames", "Image.bandTypes"}
_OF_PROPERTIES = {"Element.get", "Element.getNumber", "Element.getString", "Image.date", "Image.id", "Image.metadata"}
_DATES = {"Date", "Date.advance", "Date.millis"}
"""Functions of dates whose results are such. Of other numbers they may fail: as a day that a month lacks does."""
_OF_DATES = {"Date.difference", "Date.get", "Date.getFraction", "Date.getRelative"}
"""Functions of dates whose results are numbers."""
_BY_DIGITS = {"Number.parse", "Number.expression", *(f"Number.{name.partition('.')[2]}" for name in _OF_INTEGERS)}
"""Functions of numbers that may fail by which number it is."""
_TEXTS = {"Number.format", "String", "String.cat", "String.slice", "String.toLowerCase", "String.toUpperCase"}
"""Functions whose results are texts."""


class EffectTracer:
    """Follows what an element has in common with others that are alike through the body of a function.

    Args:
        values: nodes of the graph by their keys.
        argument: name of the argument that is the element.
        evaluate: returns the value of a node that does not depend on the element.
        waits: whether the value of a property is computed when it is asked for; see ``LateValues``.
    """

    def __init__(
        self, values: Mapping[str, Any], argument: str, evaluate: Callable[[Any], Any], waits: Callable[[Any], bool]
    ) -> None:
        self._values = values
        self._argument = argument
        self._evaluate = evaluate
        self._waits = waits
        self._metadata = BodyTracer(values, argument)
        self._depth = 0
        self._traced: dict[str, Agreement] = {}
        self.reads: set[str] = set()
        """Names of the properties of the element that decide."""

    def trace(self, node: Any) -> Agreement:
        """Return what the values of a node have in common. A node to which several refer is followed once."""
        kind, content = open_node(node)
        if kind == "valueReference":
            if content not in self._traced:
                self._traced[content] = Agreement.UNKNOWN  # for circular references
                known = content in self._values
                self._traced[content] = self._deeper(self._values[content]) if known else Agreement.UNKNOWN
            return self._traced[content]
        return self._deeper(node)

    def _deeper(self, node: Any) -> Agreement:
        if self._depth > _DEEPEST:
            return Agreement.UNKNOWN
        self._depth += 1
        try:
            kind, content = open_node(node)
            if kind == "argumentReference":
                return Agreement.IMAGE if content == self._argument else Agreement.SAME
            if kind == "functionDefinitionValue":
                body = self.trace({"valueReference": content["body"]})
                return Agreement.SAME if body is Agreement.SAME else Agreement.UNKNOWN
            if kind == "functionInvocationValue":
                return self._of_call(content)
            return max(map(self.trace, child_nodes(kind, content)), default=Agreement.SAME)
        finally:
            self._depth -= 1

    def _of_call(self, call: Mapping[str, Any]) -> Agreement:
        arguments = call.get("arguments") or {}
        name = call.get("functionName", "")
        if name == "Element.set" and self.trace(arguments.get("key")) is Agreement.SAME:
            return max(self._image(arguments.get("object")), self._set_value(arguments.get("value")))
        inputs = {key: self.trace(node) for key, node in arguments.items()}
        if "functionReference" in call:
            inputs[""] = self.trace({"valueReference": call["functionReference"]})
        most = max(inputs.values(), default=Agreement.SAME)
        if most is Agreement.SAME or most is Agreement.UNKNOWN:
            return most
        if "functionReference" in call:
            return most if self._is_formula(call["functionReference"]) else Agreement.UNKNOWN
        return self._of_function(name, arguments, inputs, most)

    def _set_value(self, node: Any) -> Agreement:
        """Return that setting a value cannot fail, or that this is unknown."""
        is_sure = node is None or self._waits(node) or self.trace(node) is not Agreement.UNKNOWN
        return Agreement.SAME if is_sure else Agreement.UNKNOWN

    def _image(self, node: Any) -> Agreement:
        agreement = Agreement.UNKNOWN if node is None else self.trace(node)
        return agreement if agreement <= Agreement.ROUGH_IMAGE else Agreement.UNKNOWN

    def _is_formula(self, key: str) -> bool:
        kind, content = open_node(self._values.get(key, NULL_NODE))
        return kind == "functionInvocationValue" and content.get("functionName") == "Image.parseExpression"

    def _of_function(
        self, name: str, arguments: Mapping[str, Any], inputs: Mapping[str, Agreement], most: Agreement
    ) -> Agreement:
        """Return what results of a function have in common, of which some input depends on the element."""
        if name in _OF_PROPERTIES:
            return self._property(name, arguments)
        if name == "Image.linkCollection":
            return self._linked(arguments, inputs)
        if name in _NAMES:
            return Agreement.SAME if most is Agreement.IMAGE else Agreement.UNKNOWN
        if name == "Image.constant":
            return most if most <= Agreement.ROUGH_IMAGE else Agreement.ROUGH_IMAGE
        if name.endswith(".copyProperties") and most <= Agreement.ROUGH_IMAGE:
            return most
        if name in OF_BANDS:
            return self._of_bands(name, inputs)
        if Agreement.IMAGE in inputs.values() or Agreement.ROUGH_IMAGE in inputs.values():
            return Agreement.UNKNOWN
        if name in _DATES or name in _OF_DATES or name == "Date.format":
            known = Agreement.VALUE if name == "Date.format" else Agreement.NUMBER if name in _OF_DATES else most
            return known if most is Agreement.DATE else Agreement.UNKNOWN
        if name in _TEXTS:
            # Positions must be whole, and no number may be; "%d" refuses infinity, which computed numbers may be.
            may_fail = inputs.get("number") is Agreement.NUMBER or inputs.get("start") or inputs.get("end")
            return Agreement.UNKNOWN if may_fail else Agreement.VALUE
        is_plain = name.startswith("Number.") and name not in _BY_DIGITS
        return Agreement.NUMBER if is_plain else Agreement.UNKNOWN

    def _of_bands(self, name: str, inputs: Mapping[str, Agreement]) -> Agreement:
        most = Agreement.SAME
        for argument in load_signatures()[name].arguments:
            agreement = inputs.get(argument.name, Agreement.SAME)
            if agreement > Agreement.ROUGH_IMAGE and name in PAIRING:
                agreement = Agreement.ROUGH_IMAGE  # a number becomes an image
            is_image = argument.type.startswith("Image<") or name == "Image.cat"
            if agreement > Agreement.ROUGH_IMAGE or (agreement is not Agreement.SAME and not is_image):
                return Agreement.UNKNOWN
            most = max(most, agreement)
        return Agreement.UNKNOWN if most is Agreement.ROUGH_IMAGE and name in _OF_INTEGERS else most

    def _property(self, name: str, arguments: Mapping[str, Any]) -> Agreement:
        """Return what the values of a property of the element have in common."""
        own = {"Image.date": "system:time_start", "Image.id": "system:index"}.get(name)
        key = self._metadata.constant(arguments.get("property")) if own is None else own
        element = next((arguments[n] for n in ("object", "image", "element") if n in arguments), None)
        if not isinstance(key, str) or element is None or self._image(element) is Agreement.UNKNOWN:
            return Agreement.UNKNOWN
        origin = self._metadata.trace(element)(key)
        if origin is Origin.ABSENT:
            return Agreement.SAME
        if origin is not Origin.KEPT:
            return Agreement.UNKNOWN
        self.reads.add(key)
        if name == "Image.metadata":
            return Agreement.IMAGE
        if key in _TIMES and name != "Element.getString":
            return Agreement.DATE
        return Agreement.NUMBER if name == "Element.getNumber" else Agreement.VALUE

    def _linked(self, arguments: Mapping[str, Any], inputs: Mapping[str, Agreement]) -> Agreement:
        """Return what images have in common that are linked to others, all of which must have the linked bands."""
        own = inputs.get("input", Agreement.UNKNOWN)
        is_same = all(agreement is Agreement.SAME for name, agreement in inputs.items() if name != "input")
        if own > Agreement.ROUGH_IMAGE or not is_same:
            return Agreement.UNKNOWN
        bands = self._evaluate(arguments.get("linkedBands", NULL_NODE))
        if bands is None:
            return own
        others = self._evaluate(arguments.get("imageCollection", NULL_NODE))
        examples = others.examples() if isinstance(others, Collection) else None
        select = load_functions()["Image.select"].call
        names = [bands] if isinstance(bands, str) else bands
        try:
            chosen = [select(input=image, bandSelectors=names, newNames=None).bands for image in examples or ()]
        except EarthEngineError:
            return Agreement.UNKNOWN
        kinds = {tuple((band.name, band.type) for band in some) for some in chosen}
        return own if len(kinds) == 1 else Agreement.UNKNOWN
