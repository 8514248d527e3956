"""Decoding and evaluating expression graphs.

The form is that of https://developers.google.com/earth-engine/reference/rest/v1/Expression: a result key, and values
by key; each value is a constant, a list, a dictionary, a call, a function definition, or a reference.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from typing import Any

from eechips.emulator.context import Context
from eechips.emulator.errors import EarthEngineError, InvalidError, LimitError, UnknownFunctionError
from eechips.emulator.functions import registry
from eechips.emulator.functions.registry import Implementation
from eechips.emulator.promotion import promote
from eechips.emulator.signatures import Signature, signatures
from eechips.emulator.values import Value

Node = Mapping[str, Any]

_KINDS = (
    "constantValue",
    "arrayValue",
    "dictionaryValue",
    "functionInvocationValue",
    "functionDefinitionValue",
    "argumentReference",
    "valueReference",
)


class _Scope:
    """Arguments of a function that is being called, and what was evaluated for that call."""

    __slots__ = ("arguments", "memo", "parent")

    def __init__(self, arguments: Mapping[str, Value], parent: _Scope | None) -> None:
        self.arguments = arguments
        self.memo: dict[str, Value] = {}
        self.parent = parent

    def look_up(self, name: str) -> Value:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.arguments:
                return scope.arguments[name]
            scope = scope.parent
        raise InvalidError(f"Invalid expression: undefined argument reference '{name}'.")


class Evaluator:
    """Evaluates one expression. Values that several nodes refer to are evaluated once."""

    def __init__(self, expression: Node, context: Context) -> None:
        """Checks the outer form of an expression.

        Raises:
            InvalidError: if it is no expression.
        """
        values = expression.get("values") if isinstance(expression, Mapping) else None
        result = expression.get("result") if isinstance(expression, Mapping) else None
        if not isinstance(values, Mapping) or not isinstance(result, str):
            raise InvalidError("Invalid expression: 'result' and 'values' are required.")
        self._values = values
        self._result = result
        self._context = context
        self._open: set[str] = set()
        self._depth = 0
        self._free: dict[str, frozenset[str]] = {}

    def evaluate(self) -> Value:
        """The expression's value.

        Raises:
            EarthEngineError: whatever a client is to be told.
        """
        return self._reference(self._result, _Scope({}, None))

    def _reference(self, key: str, scope: _Scope) -> Value:
        if not isinstance(key, str) or key not in self._values:
            raise InvalidError(f"Invalid expression: no value '{key}'.")
        node = self._values[key]
        home = self._home(scope, self._free_names(key, node))
        if key in home.memo:
            return home.memo[key]
        if key in self._open and home is scope and not scope.arguments:
            raise InvalidError("Invalid expression: circular reference.")
        self._open.add(key)
        try:
            value = self._node(node, scope)
        finally:
            self._open.discard(key)
        home.memo[key] = value
        return value

    @staticmethod
    def _home(scope: _Scope, free: frozenset[str]) -> _Scope:
        """The outermost scope in which a value with these free names is the same."""
        while scope.parent is not None and not (free & scope.arguments.keys()):
            scope = scope.parent
        return scope

    def _free_names(self, key: Any, node: Any) -> frozenset[str]:
        """Names of arguments that a value depends on."""
        if key not in self._free:
            self._free[key] = frozenset()  # what a circular reference sees
            self._free[key] = self._deep(lambda: self._free_in(node))
        return self._free[key]

    def _free_under(self, key: Any) -> frozenset[str]:
        if not isinstance(key, str) or key not in self._values:
            return frozenset()
        return self._free_names(key, self._values[key])

    def _free_in(self, node: Any) -> frozenset[str]:
        names: set[str] = set()
        waiting = [node]
        while waiting:
            item = waiting.pop()
            if not isinstance(item, Mapping):
                continue
            content = next((item[k] for k in _KINDS if k in item), None)
            if "argumentReference" in item:
                names.add(str(content))
            elif "valueReference" in item:
                names |= self._free_under(content)
            elif not isinstance(content, Mapping):
                continue
            elif "functionDefinitionValue" in item:
                names |= self._free_under(content.get("body")) - set(content.get("argumentNames") or ())
            elif "functionInvocationValue" in item:
                waiting.extend((content.get("arguments") or {}).values())
                names |= self._free_under(content.get("functionReference"))
            elif "arrayValue" in item:
                waiting.extend(content.get("values", ()))
            elif "dictionaryValue" in item:
                waiting.extend(content.get("values", {}).values())
        return frozenset(names)

    def _deep(self, step: Callable[[], Any]) -> Any:
        """Takes a step down the graph, unless it is nested too deeply."""
        self._depth += 1
        if self._depth > self._context.limits.depth:
            raise LimitError("Computation is too deeply nested.")
        try:
            return step()
        finally:
            self._depth -= 1

    def _node(self, node: Any, scope: _Scope) -> Value:
        kinds = [k for k in _KINDS if k in node] if isinstance(node, Mapping) else []
        if len(kinds) != 1:
            if isinstance(node, Mapping) and not node:
                return None
            raise InvalidError("Invalid expression: each value must have exactly one kind.")
        kind, content = kinds[0], node[kinds[0]]
        if kind == "constantValue":
            return content
        if kind == "valueReference":
            return self._deep(lambda: self._reference(content, scope))
        if kind == "argumentReference":
            return scope.look_up(content)
        if not isinstance(content, Mapping):
            raise InvalidError(f"Invalid expression: malformed {kind}.")
        if kind == "arrayValue":
            return self._deep(lambda: [self._node(item, scope) for item in content.get("values", ())])
        if kind == "dictionaryValue":
            return self._deep(lambda: {k: self._node(v, scope) for k, v in content.get("values", {}).items()})
        if kind == "functionDefinitionValue":
            return self._closure(content, scope)
        return self._deep(lambda: self._invoke(content, scope))

    def _closure(self, definition: Node, scope: _Scope) -> Callable[..., Value]:
        names, body = definition.get("argumentNames") or [], definition.get("body")
        if not isinstance(body, str) or not isinstance(names, list):
            raise InvalidError("Invalid expression: malformed functionDefinitionValue.")

        def call(*values: Value) -> Value:
            self._context.check_time()
            inner = _Scope(dict(zip(names, values, strict=False)), scope)
            return self._deep(lambda: self._reference(body, inner))

        return call

    def _invoke(self, call: Node, scope: _Scope) -> Value:
        given = call.get("arguments") or {}
        if not isinstance(given, Mapping):
            raise InvalidError("Invalid expression: malformed functionInvocationValue.")
        if "functionReference" in call:
            function = self._reference(call["functionReference"], scope)
            if not callable(function):
                raise InvalidError("Invalid expression: functionReference is not a function.")
            return function(*(self._node(node, scope) for node in given.values()))
        return self._builtin(str(call.get("functionName")), given, scope)

    def _builtin(self, name: str, given: Mapping[str, Any], scope: _Scope) -> Value:
        signature = signatures().get(name)
        if signature is None:
            raise UnknownFunctionError(f"Unknown function: {name}.")
        implementation = registry().get(name)
        if implementation is None:
            raise UnknownFunctionError(f"The local Earth Engine does not have the function {name}.")
        arguments = self._arguments(signature, implementation, given, scope)
        try:
            if implementation.with_context:
                return implementation.call(self._context, **arguments)
            return implementation.call(**arguments)
        except EarthEngineError as error:
            raise _named(error, name) from error

    def _arguments(
        self, signature: Signature, implementation: Implementation, given: Mapping[str, Any], scope: _Scope
    ) -> dict[str, Value]:
        unknown = given.keys() - {a.name for a in signature.arguments}
        if unknown:
            raise InvalidError(f"{signature.name}: Unrecognized argument '{min(unknown)}'.")
        arguments: dict[str, Value] = {}
        for argument in signature.arguments:
            where = f"{signature.name}, argument '{argument.name}'"
            name = f"{argument.name}_" if keyword.iskeyword(argument.name) else argument.name
            if argument.name in implementation.lazy:
                arguments[name] = self._later(given.get(argument.name, {}), scope)
                continue
            value = self._node(given[argument.name], scope) if argument.name in given else None
            if value is None:
                if not argument.optional:
                    raise InvalidError(
                        f"{signature.name}: Parameter '{argument.name}' is required and may not be null."
                    )
                value = argument.default
            arguments[name] = None if value is None else promote(value, argument.type, where)
        return arguments

    def _later(self, node: Any, scope: _Scope) -> Callable[[], Value]:
        return lambda: self._node(node, scope)


def _named(error: EarthEngineError, name: str) -> EarthEngineError:
    """Puts the function's name before a message that has none yet, as Earth Engine does."""
    message = str(error)
    if getattr(error, "named", False) or message.startswith(("User memory", "Computation", "Collection query")):
        return error
    copy = type(error)(message if message.startswith(f"{name}:") else f"{name}: {message}")
    copy.named = True  # type: ignore[attr-defined]
    return copy
