"""Write the requests for chips of a template by inserting values into the text of one request; digest expressions."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
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
    return None if description is None else _sha256(description)


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


class TemplateRequests:
    """Requests of templates, by inserting values. Threads may share it.

    Args:
        capture: has the client prepare the request for a chip, and returns it instead of sending it.
        fills_size: whether requests for chips of all sizes differ only in the size of their grid, so that it is
            inserted as well. Otherwise chips of another size have another template.
    """

    def __init__(self, capture: Callable[[Chip], HttpRequest], *, fills_size: bool = False) -> None:
        self._capture, self._fills_size = capture, fills_size
        self._templates: dict[tuple[Hashable, ...], _Blank | None] = {}
        self._tracing = threading.Lock()

    def fill(self, chip: Chip) -> HttpRequest | None:
        """Return the request for a chip; None if it has no template that passes its values, or it has no grid."""
        if not isinstance(chip.image, Template) or chip.grid is None or not chip.image.passes_values:
            return None
        values = {**chip.image.values, _TRANSFORM: list(chip.grid.transform)}
        if self._fills_size:
            values[_SIZE] = [chip.grid.width, chip.grid.height]
        key = _key(chip, chip.image, chip.grid, values)
        with self._tracing:
            if key not in self._templates:
                if len(self._templates) >= _MOST_TEMPLATES:
                    self._templates.clear()
                self._templates[key] = self._trace(chip, chip.image, chip.grid, values)
            blank = self._templates[key]
        return None if blank is None else blank.fill(values)

    def _trace(self, chip: Chip, template: Template, grid: Grid, values: Mapping[str, Any]) -> _Blank | None:
        """Trace a template; return None if inserting values does not give the chip's own request."""
        marks: list[int] = []
        marked = {name: _mark(value, marks) for name, value in values.items()}
        transform = marked.pop(_TRANSFORM)
        width, height = marked.pop(_SIZE, (grid.width, grid.height))
        try:
            image = template.build(*template.fixed, **marked)
            place = replace(grid, transform=tuple(transform), width=width, height=height)
            request = self._capture(replace(chip, image=image, grid=place))
        except Exception:  # noqa: BLE001 - of a mark, where a value is expected: the chip's own request is built instead
            return None
        blank = _Blank.cut(request)
        if blank.holes != set(marks):
            return None
        direct = self._capture(replace(chip, image=template.image()))
        return blank if _meaning(blank.fill(values).text) == _meaning(direct.text) else None


_MOST_TEMPLATES = 1000
"""Maximum number of templates that are kept."""
_TRANSFORM, _SIZE = " transform", " size"  # no names of arguments
_MARKS = re.compile(r'"\\u0001hole (\d+)\\u0001"|\b1\.(\d{5})735194628\b')


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
        for match in _MARKS.finditer(body):
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


def _mark(value: Any, marks: list[int]) -> Any:
    """Return a value of the same shape made of marks; None and booleans, which ``is`` may compare, stay.

    Args:
        marks: their numbers; extended.
    """
    if isinstance(value, (list, tuple)):
        return [_mark(element, marks) for element in value]
    if _is_constant(value):
        return value
    number = len(marks)
    marks.append(number)
    if isinstance(value, str):
        return f"\u0001hole {number}\u0001"
    return float(f"1.{number:05d}735194628")  # 15 digits, which survive as they are; else the number does not occur


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
