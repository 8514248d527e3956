"""Evaluate an expression graph: constants, references, calls and functions, in their scopes; messages about unknown
functions, unrecognized or missing arguments, and deep nesting.

An expression has a result key, and values by key. Each value is a constant, a list, a dictionary, a call, a function
definition or a reference: https://developers.google.com/earth-engine/reference/rest/v1/Expression.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Protocol, runtime_checkable

from eechips_local.evaluation.body_effects import Agreement, EffectTracer
from eechips_local.evaluation.call_description import described
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.graph_nodes import (
    NULL_NODE,
    Node,
    add_name,
    child_nodes,
    complete_error,
    decode_constant,
    decode_integer,
    graph_of,
    invalid_graph,
    open_node,
)
from eechips_local.evaluation.kept_properties import BodyTracer, Metadata, Origin
from eechips_local.evaluation.late_properties import LateValues
from eechips_local.evaluation.lazy_values import Later
from eechips_local.evaluation.missing_functions import refusal
from eechips_local.evaluation.signatures import FunctionSignature, load_signatures
from eechips_local.evaluation.type_conversion import promote
from eechips_local.functions import load_functions
from eechips_local.functions.registration import Implementation
from eechips_local.geometry.geometry import check_operands
from eechips_local.protocol.request_errors import (
    EarthEngineError,
    InvalidError,
    LimitError,
    TypeMismatchError,
    UnknownFunctionError,
    error_of_element,
)
from eechips_local.quota.compute_cost import charge_call
from eechips_local.values.element_properties import BAND_TYPES
from eechips_local.values.values import Value


@runtime_checkable
class _NamedCallable(Protocol):
    """A value that can be called with named values: a function of the graph, or one that a function returned."""

    def by_name(self, values: Mapping[str, Value]) -> Value:
        """Call it."""
        ...


class _Closure:
    """A function of the graph, with the scope of its definition."""

    __slots__ = ("_body", "_call", "_metadata", "_trace", "_values", "names")

    def __init__(
        self,
        names: list[str],
        body: str,
        values: Mapping[str, Any],
        call: Callable[[Mapping[str, Value]], Value],
        trace: Callable[[str, str], tuple[Agreement, frozenset[str]]],
    ) -> None:
        self.names = names
        self._body = body
        self._values = values
        self._call = call
        self._trace = trace
        self._metadata: Metadata | None = None

    def keeps(self, name: str) -> bool:
        """See ``TracedFunction``."""
        if name == BAND_TYPES:
            return self._effects()[0] <= Agreement.IMAGE
        if self._metadata is None:
            tracer = BodyTracer(self._values, self.names[0] if self.names else "")
            self._metadata = tracer.trace({"valueReference": self._body})
        return self._metadata(name) is Origin.KEPT

    def reads(self) -> frozenset[str] | None:
        """Return the names of the properties that decide how a call ends; see ``TracedFunction``."""
        agreement, names = self._effects()
        return names if agreement <= Agreement.ROUGH_IMAGE else None

    def _effects(self) -> tuple[Agreement, frozenset[str]]:
        return self._trace(self.names[0] if self.names else "", self._body)

    def __call__(self, *values: Value) -> Value:
        """Call the function with values in the order of its arguments. Surplus values are dropped."""
        return self._call(dict(zip(self.names, values, strict=False)))

    def by_name(self, values: Mapping[str, Value]) -> Value:
        """Call the function with named values."""
        unknown = values.keys() - set(self.names)
        if unknown:
            raise invalid_graph(f"the function has no argument '{min(unknown)}'.")
        return self._call({name: values.get(name) for name in self.names})


class _Scope:
    """Arguments of a function call, and the values evaluated for it."""

    __slots__ = ("arguments", "memo", "parent")

    def __init__(self, arguments: Mapping[str, Value], parent: _Scope | None) -> None:
        self.arguments = arguments
        self.memo: dict[str | int, Value] = {}
        self.parent = parent

    def look_up(self, name: str) -> Value:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.arguments:
                return scope.arguments[name]
            scope = scope.parent
        raise invalid_graph(f"undefined argument reference '{name}'.")


class Evaluator:
    """Evaluates one expression. A value that several nodes refer to is evaluated once."""

    def __init__(self, expression: Node, context: Context) -> None:
        """Check the outer form of an expression.

        Raises:
            InvalidError: if it is not an expression.
        """
        self._result, self._values = graph_of(expression)
        self._context = context
        self._open: set[str] = set()
        self._depth = 0
        self._free: dict[str | int, frozenset[str]] = {}
        self._late_values = LateValues(self._values)

    def evaluate(self) -> Value:
        """Return the expression's value.

        Raises:
            EarthEngineError: with the message for the client.
        """
        if self._result not in self._values:
            raise invalid_graph(f"no value '{self._result}'.")
        node = self._values[self._result]
        self._free_names(self._result, node)  # checks the form of the whole graph before anything is computed
        return self._node(node, _Scope({}, None))

    def _reference(self, key: str, scope: _Scope) -> Value:
        if key not in self._values:
            raise invalid_graph(f"no value '{key}'.")
        node = self._values[key]
        home = self._home(scope, self._free_names(key, node))
        if key in home.memo:
            return home.memo[key]
        if key in self._open and home is scope and not scope.arguments:
            raise invalid_graph("circular reference.")
        self._open.add(key)
        try:
            value = self._node(node, scope)
        finally:
            self._open.discard(key)
        home.memo[key] = value
        return value

    @staticmethod
    def _home(scope: _Scope, free: frozenset[str]) -> _Scope:
        """Return the outermost scope in which a value with these free names is the same."""
        while scope.parent is not None and not (free & scope.arguments.keys()):
            scope = scope.parent
        return scope

    def _free_names(self, key: str | int, node: Any) -> frozenset[str]:
        """Return the names of the arguments that a value depends on."""
        if key not in self._free:
            self._free[key] = frozenset()  # for circular references
            self._descend()
            try:
                self._free[key] = self._free_in(node)
            finally:
                self._depth -= 1
        return self._free[key]

    def _free_under(self, key: str) -> frozenset[str]:
        return self._free_names(key, self._values[key]) if key in self._values else frozenset()

    def _free_in(self, node: Any) -> frozenset[str]:
        names: set[str] = set()
        waiting = [node]
        while waiting:
            kind, content = open_node(waiting.pop())
            waiting.extend(child_nodes(kind, content))
            if kind == "argumentReference":
                names.add(content)
            elif kind == "valueReference":
                names |= self._free_under(content)
            elif kind == "functionDefinitionValue":
                names |= self._free_under(content["body"]) - set(content.get("argumentNames") or ())
            elif kind == "functionInvocationValue" and "functionReference" in content:
                names |= self._free_under(content["functionReference"])
        return frozenset(names)

    def _descend(self) -> None:
        """Enter a nested node; the caller decrements ``_depth`` when it leaves.

        Raises:
            LimitError: if the graph is nested too deeply.
        """
        self._depth += 1
        if self._depth > self._context.limits.depth:
            raise LimitError("Computation is too deeply nested.")

    def _node(self, node: Any, scope: _Scope) -> Value:
        """Evaluate a node."""
        kind, content = open_node(node)
        if kind == "constantValue":
            return decode_constant(content)
        if kind == "integerValue":
            return decode_integer(content)
        if kind == "argumentReference":
            return scope.look_up(content)
        if kind == "functionDefinitionValue":
            return self._closure(content, scope)
        self._descend()
        try:
            if kind == "valueReference":
                return self._reference(content, scope)
            if kind == "arrayValue":
                return [self._node(item, scope) for item in content.get("values", ())]
            if kind == "dictionaryValue":
                return {key: self._node(item, scope) for key, item in content.get("values", {}).items()}
            return self._call(node, content, scope)
        finally:
            self._depth -= 1

    def _call(self, node: Any, call: Node, scope: _Scope) -> Value:
        """Call a function.

        A call that uses no argument of the enclosing functions is evaluated once for all elements: the client writes
        a geometry into the body of every mapped function that uses it.
        """
        home = self._home(scope, self._free_names(id(node), node)) if scope.parent is not None else scope
        if home is not scope:
            if id(node) not in home.memo:
                home.memo[id(node)] = self._call(node, call, home)
            return home.memo[id(node)]
        argument_nodes = call.get("arguments") or {}
        if "functionReference" in call:
            return self._call_value(call["functionReference"], argument_nodes, scope)
        name = call["functionName"]
        signature = load_signatures().get(name)
        if signature is None:
            raise complete_error(UnknownFunctionError(f"Unknown function: {name[:100]}."))
        implementation = load_functions().get(name)
        if implementation is None:
            raise complete_error(UnknownFunctionError(refusal(name)))
        arguments = self._arguments(signature, implementation, argument_nodes, scope)
        charge_call(name)
        try:
            check_operands(name, arguments.values())
            if implementation.with_context:
                value = implementation.call(self._context, **arguments)
            else:
                value = implementation.call(**arguments)
            return described(value, signature, arguments, argument_nodes)
        except EarthEngineError as error:
            raise add_name(error, name) from error

    def _call_value(self, key: str, argument_nodes: Mapping[str, Any], scope: _Scope) -> Value:
        """Call a function that is a value of the graph."""
        function = self._reference(key, scope)
        if not isinstance(function, _NamedCallable):
            raise invalid_graph("functionReference is not a function.")
        return function.by_name({name: self._node(node, scope) for name, node in argument_nodes.items()})

    def _closure(self, definition: Node, scope: _Scope) -> _Closure:
        body = definition["body"]

        def call(values: Mapping[str, Value]) -> Value:
            self._context.check_time()
            self._descend()
            try:
                return self._reference(body, _Scope(values, scope))
            finally:
                self._depth -= 1

        def trace(argument: str, body: str) -> tuple[Agreement, frozenset[str]]:
            tracer = EffectTracer(self._values, argument, lambda node: self._node(node, scope), self._waits)
            return tracer.trace({"valueReference": body}), frozenset(tracer.reads)

        return _Closure(definition.get("argumentNames") or [], body, self._values, call, trace)

    def _arguments(
        self,
        signature: FunctionSignature,
        implementation: Implementation,
        argument_nodes: Mapping[str, Any],
        scope: _Scope,
    ) -> dict[str, Value]:
        """Evaluate the arguments of a call and convert them to the types of the signature."""
        unknown = argument_nodes.keys() - {a.name for a in signature.arguments}
        if unknown:
            raise complete_error(InvalidError(f"{signature.name}: Unrecognized argument '{min(unknown)}'."))
        arguments: dict[str, Value] = {}
        for argument in signature.arguments:
            where = f"{signature.name}, argument '{argument.name}'"
            name = f"{argument.name}_" if keyword.iskeyword(argument.name) else argument.name
            if argument.name in implementation.lazy:
                arguments[name] = self._later(argument_nodes.get(argument.name, NULL_NODE), scope)
                continue
            node = argument_nodes.get(argument.name)
            if argument.name in implementation.late and self._waits(node):
                arguments[name] = self._late(node, scope)
                continue
            value = self._node(node, scope) if argument.name in argument_nodes else None
            if value is None:
                if not argument.optional:
                    raise complete_error(
                        InvalidError(f"{signature.name}: Parameter '{argument.name}' is required and may not be null.")
                    )
                value = decode_constant(argument.default)
            try:
                arguments[name] = None if value is None else promote(value, argument.type, where)
            except TypeMismatchError as error:
                raise complete_error(error) from None
            except EarthEngineError as error:
                raise add_name(error, signature.name) from error
        return arguments

    def _later(self, node: Any, scope: _Scope) -> Callable[[], Value]:
        return lambda: self._node(node, scope)

    def _waits(self, node: Any) -> bool:
        """Return whether the value of a node is computed when it is asked for."""
        return node is not None and not self._context.iterations and self._late_values.holds(node)

    def _late(self, node: Any, scope: _Scope) -> Later:
        """Return the value of a node as one to be computed; an error tells the elements of the enclosing maps."""
        mapped = tuple(reversed(self._context.mapped))

        def compute() -> Value:
            self._context.check_time()
            try:
                return self._node(node, scope)
            except LimitError:
                raise
            except InvalidError as error:
                raise reduce(lambda inner, index: error_of_element(index, inner), mapped, error) from error

        return Later(compute)
