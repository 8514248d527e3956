"""The requests for chips of templates: what the client would send, with the values written into the text."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eechips.client.transport import Request
from eechips.grid import Grid
from eechips.template import Template

if TYPE_CHECKING:
    from eechips.recipe import Chip


class Requests:
    """Fills in requests. Threads may share it.

    Args:
        capture: has the client prepare the request for a chip, and returns it instead of sending it.
    """

    def __init__(self, capture: Callable[[Chip], Request]) -> None:
        self._capture = capture
        self._blanks: dict[Hashable, _Blank | None] = {}
        self._tracing = threading.Lock()

    def fill(self, chip: Chip) -> Request | None:
        """The request for a chip; None if it is no template, or one that cannot be filled in."""
        if not isinstance(chip.image, Template) or chip.grid is None:
            return None
        values = {**chip.image.values, _TRANSFORM: list(chip.grid.transform)}
        key = _key(chip, chip.image, chip.grid, values)
        if key not in self._blanks:
            with self._tracing:
                if key not in self._blanks:
                    self._blanks[key] = self._trace(chip, chip.image, chip.grid, values)
        blank = self._blanks[key]
        return None if blank is None else blank.fill(values)

    def _trace(self, chip: Chip, template: Template, grid: Grid, values: Mapping[str, Any]) -> _Blank | None:
        """The request with holes for the values; None if filling them in does not give the chip's own request."""
        holes = _Holes()
        marked = {name: holes.mark(value, is_guarded=name != _TRANSFORM) for name, value in values.items()}
        transform = marked.pop(_TRANSFORM)
        try:
            image = template.build(*template.fixed, **marked)
        except _ComputedWithError:
            return None
        blank = _Blank.cut(self._capture(replace(chip, image=image, grid=replace(grid, transform=tuple(transform)))))
        if blank.holes != set(holes.marks):
            return None
        filled, direct = blank.fill(values), self._capture(replace(chip, image=template.image()))
        return blank if _meaning(filled.body) == _meaning(direct.body) else None


_TRANSFORM = " transform"  # no name of an argument
_MARK = re.compile(r'"\\u0001hole (\d+)\\u0001"|\b1\.(\d{5})735194628\b')


class _Blank:
    """A request with holes."""

    def __init__(self, request: Request, pieces: list[str]) -> None:
        self._request, self._pieces = request, pieces
        self.holes = {int(number) for number in pieces[1::2]}

    @classmethod
    def cut(cls, request: Request) -> _Blank:
        """Cuts a request at the marks in its body."""
        pieces: list[str] = []
        end = 0
        for found in _MARK.finditer(request.body):
            pieces += [request.body[end : found.start()], found[1] or str(int(found[2]))]
            end = found.end()
        return cls(request, [*pieces, request.body[end:]])

    def fill(self, values: Mapping[str, Any]) -> Request:
        """The request with the leaves of the values, in their order, in its holes."""
        leaves = [json.dumps(leaf) for value in values.values() for leaf in _leaves(value)]
        pieces = list(self._pieces)
        pieces[1::2] = [leaves[int(number)] for number in self._pieces[1::2]]
        return replace(self._request, body="".join(pieces))


class _Holes:
    """Marks that stand for values, numbered."""

    def __init__(self) -> None:
        self.marks: list[int] = []

    def mark(self, value: Any, *, is_guarded: bool) -> Any:
        """A value of the same shape made of marks."""
        if isinstance(value, (list, tuple)):
            return [self.mark(each, is_guarded=is_guarded) for each in value]
        number = len(self.marks)
        self.marks.append(number)
        if isinstance(value, str):
            return f"\u0001hole {number}\u0001"
        mark = f"1.{number:05d}735194628"  # 15 digits, which survive as they are; a number that nobody means
        return _Guarded(mark) if is_guarded else float(mark)


class _ComputedWithError(Exception):
    """A template computes with a value instead of passing it on."""


class _Guarded(float):
    """A number that refuses to be computed with, compared, or looked up."""

    def _refuse(self, *_: object) -> Any:
        raise _ComputedWithError

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __abs__ = __bool__ = __int__ = __round__ = _refuse
    __eq__ = __ne__ = __hash__ = __divmod__ = __rdivmod__ = __pos__ = __ceil__ = __floor__ = _refuse


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _key(chip: Chip, template: Template, grid: Grid, values: Mapping[str, Any]) -> Hashable:
    """What requests have in common that differ in nothing but the values."""
    look = json.dumps(chip.visualization, sort_keys=True, default=str)
    shape = tuple((name, _shape(value)) for name, value in values.items())
    how = (chip.format, chip.bands, chip.dtype, look, grid.crs, grid.width, grid.height)
    return template.build, template.fixed, shape, how


def _shape(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return tuple(_shape(each) for each in value)
    return isinstance(value, str)


def _meaning(body: str) -> Any:
    """A request without the way in which its expression is divided into numbered values."""
    content = json.loads(body)
    expression = content["expression"]
    digests: dict[str, str] = {}

    def digest(key: str) -> str:
        if key not in digests:
            resolved = json.dumps(resolve(expression["values"][key]), sort_keys=True)
            digests[key] = hashlib.sha256(resolved.encode()).hexdigest()
        return digests[key]

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "valueReference" in node:
                return digest(node["valueReference"])
            return {name: digest_of(each) if _is_node(each) else resolve(each) for name, each in node.items()}
        return (
            [digest_of(each) if _is_node(each) else resolve(each) for each in node] if isinstance(node, list) else node
        )

    def digest_of(node: Any) -> str:
        if "valueReference" in node:
            return digest(node["valueReference"])
        return hashlib.sha256(json.dumps(resolve(node), sort_keys=True).encode()).hexdigest()

    return {**content, "expression": digest(expression["result"])}


def _is_node(value: Any) -> bool:
    """Whether this is a value of an expression, which may stand here or under a number of its own."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)).endswith(("Value", "Reference"))
