"""Load recipes from Python files: find two functions without executing the file, and convert parameters of the command
line (``-p NAME=VALUE``).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from eechips.errors import EechipsError, RecipeError, UsageError
from eechips.geo.grid import Grid
from eechips.recipe.code_hash import hash_code
from eechips.recipe.protocol import Redraw, RequestWindow, with_identity
from eechips.recipe.results import Result
from eechips.recipe.units import canonical_json
from eechips.storage.untrusted_files import parse_json
from eechips.text.formatting import describe_exception


class CodeErrors:
    """Context manager that converts exceptions of a recipe's own code to RecipeError, with the traceback.

    Args:
        place: file or function, for the message.
    """

    def __init__(self, place: object) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, EechipsError):
            text = "".join(traceback.format_exception(kind, error, trace))
            message = f"{self._place}: {describe_exception(error)}{self._advice(error)}"
            raise RecipeError(message, traceback=text) from error

    def _advice(self, error: Exception) -> str:
        """Return what helps if a recipe imports a module beside it, of which workers would know nothing."""
        if not isinstance(error, ModuleNotFoundError) or not error.name or not isinstance(self._place, Path):
            return ""
        beside = self._place.parent / error.name.partition(".")[0]
        if not beside.is_dir() and not beside.with_suffix(".py").is_file():
            return ""
        return ". A recipe is one file: move what it needs there, or install it as a package"


@dataclass(frozen=True, slots=True)
class _Signature:
    """The parameters of a script's function, read without running the script.

    Attributes:
        names: names of all parameters that can be passed by name.
        defaults: defaults that are literals.
    """

    names: tuple[str, ...]
    defaults: Mapping[str, Any]

    @property
    def required(self) -> frozenset[str]:
        """Names of the parameters without a default."""
        return frozenset(self.names) - frozenset(self.defaults)

    def taken(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Select the parameters that the function takes."""
        return {name: value for name, value in parameters.items() if name in self.names}


_OPTIONAL = {"redraw": 2, "assemble": 1, "request_window": 1}
"""Functions that a file may define besides, and the number of arguments that they always receive."""


class FileRecipe:
    """A recipe in a Python file.

    The file is parsed when the recipe is loaded. It is executed only when one of its functions is called, once per
    process, so that a finished run is opened without executing it. Pickles contain the source, so that every worker
    executes the loaded text even if the file changes.

    Attributes:
        name: its stem.
        parameters: values given on the command line, converted.
        identity: SHA-256 of the code, without comments, docstrings and layout, and of the parameters.
        datasets: the file's ``DATASETS``, a list of asset ids, if it has one.
        imports: packages that the file imports when it is executed.
        redraw: a :data:`Redraw` if the file defines ``redraw(unit, number)``, which returns one unit, or None.
        request_window: a :data:`RequestWindow` if the file defines ``request_window(unit)``.
        assemble: the file's ``assemble(results)``, if it defines one.
        needs_service: False if the file has ``NEEDS_SERVICE = False``: then the run does not use Earth Engine.
    """

    def __init__(self, path: Path, source: str, parameters: Mapping[str, str]) -> None:
        self.path = path
        self.name = path.stem
        self._source = source
        tree = parse_script(path, source)
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self._requests_name = _find(tree, ("get_requests", "getRequests"), path)
        self._result_name = _find(tree, ("get_result", "getResult"), path)
        taken = {self._requests_name: 0, self._result_name: 2, **_OPTIONAL}
        self._signatures = {
            name: _signature(functions[name], skip) for name, skip in taken.items() if name in functions
        }
        for name in {self._requests_name, self._result_name} - functions.keys():
            self._signatures[name] = _Signature((), {})  # made by a call, as a closure is
        self.parameters = self._convert(parameters)
        self.datasets = _datasets(tree)
        self.imports = imported_packages(tree)
        assigned_node = dict(_variables(tree)).get("NEEDS_SERVICE")
        self.needs_service = not (isinstance(assigned_node, ast.Constant) and assigned_node.value is False)
        content = {"code": hash_code(tree), "parameters": self.parameters}
        self.identity = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        self._namespace: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_namespace": None}

    @property
    def call(self) -> tuple[str, Mapping[str, Any]]:
        """The command and its options; see :class:`eechips.recipe.SupportsCall`."""
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.parameters.items()}
        return "run", {"path": str(self.path), **({"parameters": texts} if texts else {})}

    def continuing(self, identity: str) -> FileRecipe:
        """Return the recipe for a plan of another version; see :class:`eechips.recipe.SupportsCodeChanges`."""
        return with_identity(self, identity)

    def get_requests(self) -> list[Any]:
        """Call the script's ``get_requests`` with the parameters in its signature.

        Raises:
            UsageError: if a required parameter of a function of the script is missing.
            RecipeError: if it raises an exception, or does not return a list.
        """
        missing = {name for signature in self._signatures.values() for name in signature.required} - set(
            self.parameters
        )
        if missing:
            needed = " ".join(f"-p {name}=…" for name in sorted(missing))
            raise UsageError(f"{self.path} cannot do without: {needed}")
        function = self._function(self._requests_name)
        with CodeErrors(self.path):
            return list_requests(function(), self._requests_name)

    def get_result(self, index: int, unit: Any) -> Result:
        """Call the script's ``get_result``; the worker classifies its exceptions."""
        return cast("Result", self._function(self._result_name)(index, unit))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters of the script's functions."""
        return tuple(dict.fromkeys(name for signature in self._signatures.values() for name in signature.names))

    @property
    def redraw(self) -> Redraw | None:
        """Function of the script that draws replacements for empty units; None without one."""
        return self._redraw if "redraw" in self._signatures else None

    @property
    def request_window(self) -> RequestWindow | None:
        """Function of the script that returns the pixels of a unit; None without one."""
        return self._request_window if "request_window" in self._signatures else None

    @property
    def assemble(self) -> Callable[[Any], None] | None:
        """Function of the script that assembles all results; None without one."""
        return self._assemble if "assemble" in self._signatures else None

    def _assemble(self, results: Any) -> None:
        function = self._function("assemble")
        with CodeErrors(self.path):
            function(results)

    def _request_window(self, unit: Any) -> tuple[Hashable, Grid] | None:
        function = self._function("request_window")
        with CodeErrors(self.path):
            window = function(unit)
            if window is None:
                return None
            key, grid = window
            hash(key)
            if not isinstance(grid, Grid):
                raise TypeError(f"request_window returned {type(grid).__name__} instead of a Grid")
            return key, grid

    def _redraw(self, wanted: Sequence[tuple[Any, int]]) -> list[Any]:
        function = self._function("redraw")
        with CodeErrors(self.path):
            return [function(unit, number) for unit, number in wanted]

    def _function(self, name: str) -> Callable[..., Any]:
        """Return a function of the script, with the parameters in its signature."""
        if self._namespace is None:
            module = ModuleType(f"recipe_{self.name}")
            module.__file__ = str(self.path)
            sys.modules[module.__name__] = module  # dataclasses and pickle look up the module of a class
            with CodeErrors(self.path):
                exec(compile(self._source, str(self.path), "exec", dont_inherit=True), module.__dict__)
            self._namespace = module.__dict__
        return functools.partial(self._namespace[name], **self._signatures[name].taken(self.parameters))

    def _convert(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        signatures = self._signatures.values()
        known = {name: value for signature in reversed(signatures) for name, value in signature.defaults.items()}
        names = self.parameter_names
        unknown = [name for name in parameters if name not in names]
        if unknown:
            there = ", ".join(names) or "none"
            raise UsageError(f"{self.path} has no parameter '{unknown[0]}'; it takes: {there}")
        return {name: convert_parameter(name, text, known.get(name)) for name, text in parameters.items()}


def list_requests(requests: Any, function: str) -> list[Any]:
    """Return what a function has returned for units as a list.

    Raises:
        TypeError: if it is nothing, or one value, whose letters or keys would be units.
    """
    if requests is None or isinstance(requests, (str, bytes, Mapping)):
        what = "nothing" if requests is None else f"one {type(requests).__name__}"
        raise TypeError(f"{function} returned {what}: it must return a list of JSON values")
    return list(requests)


def load_recipe(path: str | Path, parameters: Mapping[str, str] | None = None) -> FileRecipe:
    """Load a recipe script without executing it.

    Args:
        path: the Python file.
        parameters: values as text (``-p name=value``); each is converted to the type of the parameter's default in the
            script.

    Raises:
        UsageError: if the file cannot be read or parsed, lacks one of the two functions, or has no such parameter.
    """
    path = Path(path)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the recipe {path}: {reason}") from None
    return FileRecipe(path, source, parameters or {})


def convert_parameter(name: str, text: str, default: Any) -> Any:
    """Convert a value from the command line to the type of a default.

    Text stays text if the default is text or unknown; lists, tuples and dicts are parsed as JSON.

    Raises:
        UsageError: if the text cannot be converted.
    """
    try:
        if isinstance(default, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if isinstance(default, (list, tuple, dict)):
            return parse_json(text)
    except (KeyError, ValueError):
        raise UsageError(f"-p {name}={text}: expected a value like {default!r}") from None
    return text


def parse_script(path: Path, source: str) -> ast.Module:
    """Return the syntax tree of a script.

    Raises:
        UsageError: if it is not Python; the message has the line.
    """
    try:
        return ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        raise UsageError(f"{where}: not Python: {getattr(error, 'msg', error)}") from None


def _find(tree: ast.Module, names: tuple[str, str], path: Path) -> str:
    """Return which of two names a script gives to a function that it defines, or makes by a call."""
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assigned = {name for name, _ in _variables(tree)}
    for name in names:
        if name in defined or name in assigned:
            return name
    elsewhere = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    for name in names:
        if name in elsewhere:
            raise UsageError(f"{path} is not a recipe: {name} is async, and is called without an event loop")
        if name in imported:
            raise UsageError(f"{path} is not a recipe: it imports {name}, which the file of a recipe defines itself")
    raise UsageError(f"{path} is not a recipe: it defines no function {names[0]} (nor {names[1]})")


def _signature(node: ast.FunctionDef, skip: int) -> _Signature:
    positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    keywords = [argument.arg for argument in node.args.kwonlyargs]
    from_the_last = zip(reversed(positional), reversed(node.args.defaults), strict=False)
    values = {**dict(from_the_last), **dict(zip(keywords, node.args.kw_defaults, strict=True))}
    defaults = {name: _literal(value) for name, value in values.items() if value is not None}
    return _Signature((*positional[skip:], *keywords), defaults)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def imported_packages(tree: ast.Module) -> tuple[str, ...]:
    """Return the packages that a file imports while it is executed."""
    packages: dict[str, None] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            packages.update(dict.fromkeys(alias.name.partition(".")[0] for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages[node.module.partition(".")[0]] = None
    return tuple(packages)


def _datasets(tree: ast.Module) -> tuple[str, ...]:
    """Return the texts in the list ``DATASETS``, and in the variables that the list contains."""
    values = dict(_variables(tree))
    datasets_node = values.get("DATASETS")
    if not isinstance(datasets_node, (ast.List, ast.Tuple)):
        return ()
    items = (values.get(item.id) if isinstance(item, ast.Name) else item for item in datasets_node.elts)
    return tuple(str(item.value) for item in items if isinstance(item, ast.Constant))


def _variables(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
