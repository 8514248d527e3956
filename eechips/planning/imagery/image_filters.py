"""Parse conditions on the properties of images (``where``), such as ``CLOUDY_PIXEL_PERCENTAGE < 20``, and convert their
values to the types of the properties.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eechips.errors import UsageError
from eechips.text.suggestion import describe_choices

if TYPE_CHECKING:
    import ee

# Each of Earth Engine's comparisons, by the sign for it.
_FILTERS = {
    "=": "eq",
    "!=": "neq",
    "<": "lt",
    "<=": "lte",
    ">": "gt",
    ">=": "gte",
    "in": "inList",
    "has": "listContains",
}

_CONDITION = re.compile(
    r"\s*(?P<property>[A-Za-z_][\w:.-]*)\s*(?P<sign><=|>=|!=|==|=|<|>|\b(?:in|has)\b)\s*(?P<rest>.*?)\s*",
    re.IGNORECASE | re.S,
)
_QUOTED = re.compile(r"\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_ITEM = re.compile(rf"\s*(?:{_QUOTED.pattern}|(?P<bare>[^,()\"'<>=!]+?))\s*(?P<end>,|$)")
_JOINED = re.compile(r"\b(and|or|not)\b", re.IGNORECASE)

_FORM = (
    "a condition is PROPERTY OP VALUE, where OP is = != < <= > >= in or has:"
    " 'CLOUD_COVER < 20', 'WRS_PATH in (33, 34)', 'transmitterReceiverPolarisation has VH'"
)


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """A value as the user wrote it.

    Attributes:
        text: without quotes.
        is_quoted: whether it was in quotes, and so is text even if it looks like a number.
    """

    text: str
    is_quoted: bool = False

    @property
    def number(self) -> int | float | None:
        """The value as a number; None if it is not one."""
        if self.is_quoted or not _NUMBER.fullmatch(self.text):
            return None
        value = float(self.text)
        if not math.isfinite(value):  # beyond doubles, as 1e999
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    def __str__(self) -> str:
        quote = "'" if '"' in self.text else '"'
        return f"{quote}{self.text}{quote}" if self.is_quoted else self.text


@dataclass(frozen=True, slots=True)
class PropertyCondition:
    """A condition on a property, as the user wrote it.

    Attributes:
        property: name, as the images spell it.
        sign: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, or ``has`` for a property that is a list.
        words: the value; several for ``in``.
    """

    property: str
    sign: str
    words: tuple[ConditionValue, ...]

    def __str__(self) -> str:
        values = ", ".join(map(str, self.words))
        return f"{self.property} {self.sign} " + (f"({values})" if self.sign == "in" else values)

    def resolve(self, example: Any) -> PropertyFilter:
        """Convert the values to the type of the property.

        Args:
            example: the property's value on some image.

        Raises:
            UsageError: if a value is not a number but the property is, the property is neither number, text nor list,
                or only one of the property and the sign is for lists.
        """
        if (self.sign == "has") != isinstance(example, list):
            kind = "no list" if self.sign == "has" else "a list: write 'PROPERTY has VALUE'"
            raise UsageError(f"where={str(self)!r}: {self.property} is {kind}; an image has {example!r:.60}")
        if isinstance(example, list):
            (typed_value,) = self._typed(next(iter(example), ""))
            return PropertyFilter(self.property, self.sign, (typed_value,))
        return PropertyFilter(self.property, self.sign, self._typed(example))

    def _typed(self, example: Any) -> tuple[int | float | str, ...]:
        """Return the values in the type of an example."""
        if isinstance(example, str):
            return tuple(word.text for word in self.words)
        if isinstance(example, bool) or not isinstance(example, (int, float)):
            raise UsageError(
                f"where={str(self)!r}: {self.property} is neither a number nor a text, but {example!r:.60}"
            )
        numbers = tuple(word.number for word in self.words)
        for word, number in zip(self.words, numbers, strict=True):
            if number is None:
                raise UsageError(
                    f"where={str(self)!r}: {self.property} is a number, such as {example:g}, and {word} is none"
                )
        return tuple(number for number in numbers if number is not None)


@dataclass(frozen=True, slots=True)
class PropertyFilter:
    """A condition with typed values, ready for Earth Engine.

    Attributes:
        sign: as in :class:`PropertyCondition`.
        values: numbers or texts; several for ``in``.
    """

    __test__ = False  # for pytest: not one of its own

    property: str
    sign: str
    values: tuple[int | float | str, ...]

    def __str__(self) -> str:
        values = ", ".join(map(str, self.values))
        return f"{self.property} {self.sign} " + (f"({values})" if self.sign == "in" else values)

    def filter(self) -> ee.Filter:
        """Return Earth Engine's filter. Images without the property are excluded, unless the sign is ``!=``."""
        import ee

        value = list(self.values) if self.sign == "in" else self.values[0]
        property_filter: ee.Filter = getattr(ee.Filter, _FILTERS[self.sign])(self.property, value)
        return property_filter

    def to_json(self) -> list[Any]:
        """Return ``[property, sign, [values]]``, for :meth:`from_json`."""
        return [self.property, self.sign, list(self.values)]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> PropertyFilter:
        """Read the value that ``to_json`` returned."""
        name, sign, values = value
        return cls(name, sign, tuple(values))


def apply_filters(collection: Any, tests: Iterable[PropertyFilter]) -> Any:
    """Return the images or features of a collection that meet all conditions."""
    for test in tests:
        collection = collection.filter(test.filter())
    return collection


def unit_tests(unit: Mapping[str, Any]) -> tuple[PropertyFilter, ...]:
    """Return the conditions on images that a unit of a plan has."""
    return tuple(map(PropertyFilter.from_json, unit.get("where", ())))


def parse_condition(text: str) -> PropertyCondition:
    """Parse a condition. No part of it is evaluated as code.

    Args:
        text: ``PROPERTY OP VALUE``. The value is a number, or text with or without quotes; for ``in``, several values
            in parentheses.

    Raises:
        UsageError: if the text is not a condition.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(f"where={text!r} is not a condition: {_FORM}")
    sign = {"==": "="}.get(match["sign"], match["sign"].lower())
    rest = match["rest"]
    if sign == "in":
        if not (rest.startswith("(") and rest.endswith(")")):
            raise UsageError(f"where={text!r}: in takes values in parentheses, as in 'WRS_PATH in (33, 34)'")
        words = _words(text, rest[1:-1])
    else:
        words = _words(text, rest)
        if len(words) != 1:
            raise UsageError(f"where={text!r}: {sign} takes one value; for several: '{match['property']} in (…)'")
    return PropertyCondition(match["property"], sign, words)


def parse_conditions(where: Sequence[str] | str) -> tuple[PropertyCondition, ...]:
    """Parse the conditions of an option ``where``: one, or several that must all hold; see :func:`parse_condition`."""
    return tuple(map(parse_condition, (where,) if isinstance(where, str) else where))


def resolve_conditions(
    conditions: Sequence[PropertyCondition],
    collection: ee.ImageCollection | ee.FeatureCollection,
    *,
    noun: str = "image",
) -> tuple[PropertyFilter, ...] | None:
    """Convert the values of conditions to the types of a collection's properties, in one request.

    Args:
        collection: images or features.
        noun: what its elements are, for errors.

    Returns:
        None if the collection is empty.

    Raises:
        UsageError: if no element has a property (the message suggests similar ones), or a value has the wrong type.
    """
    import ee

    if not conditions:
        return ()
    names = list(dict.fromkeys(condition.property for condition in conditions))
    examples = [collection.filter(ee.Filter.notNull([name])).limit(1).aggregate_array(name) for name in names]
    first = collection.limit(1).toList(1)
    asked: Any = ee.List([first.map(lambda element: ee.Feature(element).propertyNames()), *examples])
    property_lists, *value_lists = asked.getInfo()
    if not property_lists:
        return None
    (there,) = property_lists
    values: Mapping[str, list[Any]] = dict(zip(names, value_lists, strict=True))
    tests = []
    for condition in conditions:
        if not values[condition.property]:
            known = describe_choices(
                condition.property, sorted(name for name in there if not name.startswith("system:"))
            )
            raise UsageError(
                f"where={str(condition)!r}: no {noun} there has a property {condition.property!r}; {known}"
            )
        tests.append(condition.resolve(values[condition.property][0]))
    return tuple(tests)


def _words(whole: str, text: str) -> tuple[ConditionValue, ...]:
    """Return the values of a condition, separated by commas."""
    words: list[ConditionValue] = []
    place, more = 0, True
    while more:
        match = _ITEM.match(text, place)
        if match is None:
            left = text[place:].strip()
            if not left:
                raise UsageError(f"where={whole!r}: a value is missing; {_FORM}")
            raise UsageError(
                f"where={whole!r}: {left!r} is not a value; put text in quotes, and give several conditions separately"
            )
        bare = match["bare"]
        if bare is not None and _JOINED.search(bare):
            raise UsageError(
                f"where={whole!r} is more than one condition: give each separately, or put {bare!r} in quotes"
            )
        quoted = match["double"] if match["double"] is not None else match["single"]
        words.append(ConditionValue(quoted, is_quoted=True) if bare is None else ConditionValue(bare))
        place, more = match.end(), match["end"] == ","
    return tuple(words)
