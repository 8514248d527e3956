"""Write the requests for chips of a template by inserting values into the text of one request; digest expressions."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from eechips.client.http.http_messages import HttpRequest
from eechips.geo.grid import Grid
from eechips.recipe import Chip, FrameStack, Table
from eechips.recipe.results import Series, SplittableTable, Template

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


@dataclass(frozen=True, slots=True)
class TemplateMismatch:
    """Units whose requests may be wrong, because their template computes with its values.

    Attributes:
        template: name of its function.
        positions: positions of the units whose requests were filled in since the last comparison.
    """

    template: str
    positions: tuple[int, ...]


class _ThreadUnit(threading.local):
    """The units that the requests of each thread belong to."""

    positions: tuple[int, ...] = ()
    is_repeated = False


class TemplateRequests:
    """Requests of templates, by inserting values. Threads may share it.

    Args:
        capture: has the client prepare the request for a chip, and returns it instead of sending it.
        fills_size: whether requests for chips of all sizes differ only in the size of their grid, so that it is
            inserted as well. Otherwise chips of another size have another template.
    """

    def __init__(self, capture: Callable[[Chip], HttpRequest], *, fills_size: bool = False) -> None:
        self._capture, self._fills_size = capture, fills_size
        self._templates: dict[tuple[Hashable, ...], _Traced] = {}
        self._tracing = threading.Lock()
        self._filling = threading.Lock()
        self._doubts: list[TemplateMismatch] = []
        self._unit = _ThreadUnit()

    @contextmanager
    def unit_context(self, *positions: int, is_repeated: bool = False) -> Iterator[None]:
        """Attribute requests of this thread to a unit inside the block, or to several that share them.

        Args:
            is_repeated: whether they were tried before. Their requests are then not filled in, in case that caused the
                failure.
        """
        outside = self._unit.positions, self._unit.is_repeated
        self._unit.positions, self._unit.is_repeated = positions, is_repeated
        try:
            yield
        finally:
            self._unit.positions, self._unit.is_repeated = outside

    def take_mismatches(self) -> tuple[TemplateMismatch, ...]:
        """Remove and return the mismatches found since the last call."""
        if not self._doubts:
            return ()
        with self._filling:
            mismatches, self._doubts = self._doubts, []
        return tuple(mismatches)

    def fill(self, chip: Chip) -> HttpRequest | None:
        """Return the request for a chip; None if it has no template, or one that cannot be filled in.

        If a comparison shows that the template computes with a value, which was not detected before, its requests are
        not filled in any longer. The units filled in since the last comparison are reported by
        :meth:`take_mismatches`.
        """
        if not isinstance(chip.image, Template) or chip.grid is None or self._unit.is_repeated:
            return None
        values = {**chip.image.values, _TRANSFORM: list(chip.grid.transform)}
        if self._fills_size:
            values[_SIZE] = [chip.grid.width, chip.grid.height]
        key = _key(chip, chip.image, chip.grid, values)
        traced = self._templates.get(key)
        if traced is None:
            with self._tracing:
                if len(self._templates) >= _MOST_TEMPLATES:
                    self._templates.clear()  # functions that are made for each chip
                traced = self._templates.get(key) or _Traced(self._trace(chip, chip.image, chip.grid, values))
                self._templates[key] = traced
        with self._filling:
            blank = traced.blank
            if blank is None:
                return None
            is_due, number = traced.is_due(), traced.filled
            if not is_due:
                traced.unchecked += [(number, position) for position in self._unit.positions]
        filled = blank.fill(values)
        if not is_due:
            return filled
        is_same = self._is_same(filled, chip, chip.image)
        with self._filling:
            if is_same:
                traced.unchecked = [pending_check for pending_check in traced.unchecked if pending_check[0] > number]
                return filled
            self._stop_filling(chip.image.build)
        return None

    def _stop_filling(self, build: Any) -> None:
        """Stop inserting values for a function's templates; the caller holds the lock."""
        positions: dict[int, None] = {}
        for key, traced in list(self._templates.items()):
            if key[0] is build:
                positions |= dict.fromkeys(position for _, position in traced.unchecked)
                traced.blank, traced.unchecked = None, []
        if positions:
            self._doubts.append(TemplateMismatch(getattr(build, "__qualname__", str(build)), tuple(positions)))

    def _is_same(self, filled: HttpRequest, chip: Chip, template: Template) -> bool:
        """Return whether a request that was filled in is the chip's own."""
        direct = self._capture(replace(chip, image=template.image()))
        return bool(_meaning(filled.text) == _meaning(direct.text))

    def _trace(self, chip: Chip, template: Template, grid: Grid, values: Mapping[str, Any]) -> _Blank | None:
        """Trace a template; return None if inserting values does not give the chip's own request."""
        holes = _Holes()
        marked = {name: holes.mark(value, is_guarded=name not in (_TRANSFORM, _SIZE)) for name, value in values.items()}
        transform = marked.pop(_TRANSFORM)
        width, height = marked.pop(_SIZE, (grid.width, grid.height))
        try:
            image = template.build(*template.fixed, **marked)
            holes.is_guarding = False
            place = replace(grid, transform=tuple(transform), width=width, height=height)
            request = self._capture(replace(chip, image=image, grid=place))
        except Exception:  # noqa: BLE001 - of a mark, where a value is expected: the chip's own request is built instead
            return None
        blank = _Blank.cut(request)
        if holes.is_used or blank.holes != set(holes.marks):
            return None
        return blank if self._is_same(blank.fill(values), chip, template) else None


class _Traced:
    """State of a template whose request was traced.

    Attributes:
        blank: its request with holes; None if it cannot be filled in.
        filled: requests that were filled in.
        unchecked: numbers of those since the last comparison, and positions of their units.
    """

    def __init__(self, blank: _Blank | None) -> None:
        self.blank = blank
        self.filled = 0
        self.unchecked: list[tuple[int, int]] = []

    def is_due(self) -> bool:
        """Count a request; return whether to compare it with the chip's own: the first ones, and some of the rest.

        The first was compared when the template was traced.
        """
        self.filled += 1
        return 1 < self.filled <= _ALWAYS_CHECKED or self.filled % _CHECKED_EACH == 0


_ALWAYS_CHECKED = 16
"""Requests of a template that are compared with the client's before some are not."""
_CHECKED_EACH = 64
"""Interval of comparisons after that. A comparison costs as much as four requests."""
_MOST_TEMPLATES = 1000
"""Maximum number of templates that are kept."""
_TRANSFORM, _SIZE = " transform", " size"  # no names of arguments
_MARK = re.compile(r'"\\u0001hole (\d+)\\u0001"|\b1\.(\d{5})735194628\b')


class _Blank:
    """A request with holes."""

    def __init__(self, request: HttpRequest, pieces: list[str]) -> None:
        self._request, self._pieces = request, pieces
        self.holes = {int(number) for number in pieces[1::2]}

    @classmethod
    def cut(cls, request: HttpRequest) -> _Blank:
        """Cut a request at the marks in its body."""
        pieces: list[str] = []
        end = 0
        body = request.text
        for match in _MARK.finditer(body):
            pieces += [body[end : match.start()], match[1] or str(int(match[2]))]
            end = match.end()
        return cls(request, [*pieces, body[end:]])

    def fill(self, values: Mapping[str, Any]) -> HttpRequest:
        """Return the request with the leaves of the values, in their order, in its holes."""
        # At once, which takes a quarter of the time. JSON has no line breaks within a value.
        text = json.dumps([leaf for value in values.values() for leaf in _leaves(value)], separators=("\n", ":"))
        leaves = text[1:-1].split("\n")
        pieces = list(self._pieces)
        pieces[1::2] = [leaves[int(number)] for number in self._pieces[1::2]]
        return replace(self._request, body="".join(pieces))


class _Holes:
    """Marks that stand for values, numbered.

    Attributes:
        marks: their numbers.
        is_used: whether the recipe has computed with a mark instead of passing it on, even if it has caught the error
            that this raises.
        is_guarding: whether computing with a mark is an error: while the recipe's function runs.
    """

    def __init__(self) -> None:
        self.marks: list[int] = []
        self.is_used = False
        self.is_guarding = True

    def mark(self, value: Any, *, is_guarded: bool) -> Any:
        """Return a value of the same shape made of marks; None and booleans, which ``is`` may compare, stay."""
        if isinstance(value, (list, tuple)):
            return [self.mark(element, is_guarded=is_guarded) for element in value]
        if _is_constant(value):
            return value
        number = len(self.marks)
        self.marks.append(number)
        if isinstance(value, str):
            return _guarded(_GuardedText, f"\u0001hole {number}\u0001", self)
        mark = (
            f"1.{number:05d}735194628"  # 15 digits, which survive as they are; a number that does not occur otherwise
        )
        return _guarded(_GuardedNumber, mark, self) if is_guarded else float(mark)


class _ComputedWithError(Exception):
    """A template computes with a value instead of passing it on."""


_ANY = (
    *("add", "radd", "mul", "rmul", "mod", "rmod", "lt", "le", "gt", "ge", "eq", "ne", "hash"),
    *("str", "repr", "format", "reduce", "reduce_ex", "copy", "deepcopy"),
)
_OF_NUMBERS = (
    *("sub", "rsub", "truediv", "rtruediv", "floordiv", "rfloordiv", "pow", "rpow", "divmod", "rdivmod"),
    *("bool", "neg", "pos", "abs", "round", "ceil", "floor", "trunc", "int", "float"),
)
_OF_TEXTS = ("len", "iter", "getitem", "contains")
_LOOKED_UP = frozenset({"__eq__", "__ne__", "__hash__", "__len__"})
"""Operations of the client on texts: it looks ids up among those of deprecated datasets."""


def _is_client(frame: FrameType) -> bool:
    """Return whether code of the Earth Engine client, or of the JSON encoder, is executed in a frame."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in ("ee", "json")


def _refuse_use(mark: Any) -> None:
    """Raise _ComputedWithError while the function of a template runs."""
    holes: _Holes = object.__getattribute__(mark, "_holes")
    if holes.is_guarding:
        holes.is_used = True
        raise _ComputedWithError


def _guard(base: Any, names: tuple[str, ...]) -> Any:
    """Return a kind of value that refuses to be computed with, compared, looked up, formatted, or taken apart.

    Functions that read the memory of a value, such as ``math.sin``, ``re.match`` and ``"".join``, cannot be detected.
    Requests are therefore compared as well, see :meth:`TemplateRequests.fill`.

    Args:
        base: float or str.
        names: names of special methods, without underscores.
    """

    def refusing(name: str) -> Any:
        original = getattr(base, name, None)

        def method(self: Any, *args: Any) -> Any:
            if not (base is str and name in _LOOKED_UP and _is_client(sys._getframe(1))):
                _refuse_use(self)
            return NotImplemented if original is None else original(self, *args)

        return method

    def attribute(self: Any, name: str) -> Any:
        if name != "__class__" and not _is_client(sys._getframe(1)):  # the type is part of the template's key
            _refuse_use(self)
        return object.__getattribute__(self, name)

    methods = {name: refusing(name) for name in (f"__{operation}__" for operation in names)}
    return type(f"_Guarded_{base.__name__}", (base,), {**methods, "__getattribute__": attribute})


_GuardedNumber = _guard(float, (*_ANY, *_OF_NUMBERS))
_GuardedText = _guard(str, (*_ANY, *_OF_TEXTS))


def _guarded(kind: Any, mark: str, holes: _Holes) -> Any:
    guarded = kind(mark)
    object.__setattr__(guarded, "_holes", holes)
    return guarded


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for element in value:
            yield from _leaves(element)
    elif not _is_constant(value):
        yield value


def _key(chip: Chip, template: Template, grid: Grid, values: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """Return the key of requests that differ only in the values of their template."""
    look = json.dumps(chip.visualization, sort_keys=True, default=str) if chip.visualization else ""
    shape = tuple((name, _shape(value)) for name, value in values.items())
    size = None if _SIZE in values else grid.shape
    how = (chip.format, chip.bands, chip.dtype, look, grid.crs, size)
    return template.build, _typed(template.fixed), shape, how


def _typed(value: Any) -> Hashable:
    """Return a value that equals only values of the same type; in a dictionary, 1 equals True."""
    if isinstance(value, tuple):
        return tuple(_typed(element) for element in value)
    return type(value), value


def _shape(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_shape(element) for element in value)
    return type(value), value if _is_constant(value) else None


def _meaning(body: str) -> Any:
    """Return a request in a form that does not depend on how its expression is divided into numbered values."""
    content = json.loads(body)
    return {**content, "expression": expression_digest(content["expression"])}
