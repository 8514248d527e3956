"""Describe the calls of a script's pools, so that a script that is run again finds their results."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from eechips.recipe import canonical_json
from eechips.scripts.pooling.call_variables import Call, closure
from eechips.scripts.serialization import describe, function_name


def describe_calls(calls: Sequence[Call]) -> Iterator[dict[str, Any]]:
    """Yield function and arguments of each call as JSON."""
    bound = {id(call.function): _Bound.of(call.function) for call in calls}
    for call in calls:
        yield {"function": function_name(call.function), **bound[id(call.function)].describe(call)}


class EarlierCalls:
    """The calls of earlier runs one by one, in whatever order the script makes them again.

    An event loop collects calls until it waits: which ones these are depends on how long others took.

    Args:
        units: units of all uses of pools.
    """

    def __init__(self, units: Iterable[str]) -> None:
        self._uses: dict[str, deque[int]] = {}
        for unit in units:
            value = json.loads(unit)["value"]
            use = value.pop("use")
            self._uses.setdefault(canonical_json(value), deque()).append(use)

    def by_use(self, calls: Sequence[Call]) -> dict[int, list[Call]]:
        """Return calls by the number of the use of a pool that has them, each of which is returned once; 0 for none."""
        parts: dict[int, list[Call]] = {}
        for call, value in zip(calls, describe_calls(calls), strict=True):
            uses = self._uses.get(canonical_json(value))
            parts.setdefault(uses.popleft() if uses else 0, []).append(call)
        return parts


@dataclass(frozen=True, slots=True)
class _Bound:
    """Descriptions of what a function has bound, which each call has of its own or all calls share.

    A use of a pool has fewer calls when it is repeated, so what identifies a call does not depend on the others.

    Attributes:
        function: without the arguments of ``functools.partial``.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Bound:
        """Describe the arguments of ``functools.partial``."""
        arguments: tuple[Any, ...] = ()
        keywords: dict[str, Any] = {}
        while isinstance(function, partial):
            arguments, keywords = (*function.args, *arguments), {**function.keywords, **keywords}
            function = function.func
        return cls(function, tuple(map(describe, arguments)), {name: describe(v) for name, v in keywords.items()})

    def describe(self, call: Call) -> dict[str, Any]:
        """Describe the arguments of a call; without any, the object of a method or the variables of a ``lambda``."""
        own, own_keywords = call.arguments, dict(call.keywords)
        if not (own or own_keywords or self.arguments or self.keywords):
            if isinstance(self.function, MethodType):
                own = (self.function.__self__,)
            elif isinstance(self.function, FunctionType):
                own, own_keywords = tuple(self.function.__defaults__ or ()), closure(self.function)
        arguments = [*self.arguments, *map(describe, own)] if self.arguments else describe(own)
        keywords = {**self.keywords, **(describe(own_keywords) if own_keywords else {})}
        return {"arguments": arguments, **({"keywords": keywords} if keywords else {})}
