"""Serialize (pickle) functions and values of a script for the workers, describe them for the ledger, and say which
cannot be sent to another process.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import io
import math
import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import managers, sharedctypes, synchronize
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from eechips.errors import RecipeError
from eechips.recipe import canonical_json
from eechips.scripts.issued_names import without_issued_names
from eechips.scripts.remade_objects import Expression, remade_objects, remake
from eechips.scripts.replacements.name_replacement import look_up, replaced_name

_MOST_TEXT = 2000
"""Maximum characters of a description in the ledger."""
_LOCK = type(threading.Lock())
_CACHED = type(functools.lru_cache(maxsize=None)(lambda: None))
_SIGNALLING = frozenset({"asyncio", "concurrent", "multiprocessing", "queue", "_queue", "subprocess", "threading"})
_LOCKS = (_LOCK, type(threading.RLock()), synchronize.SemLock)
_REFUSALS = (pickle.PicklingError, TypeError, ValueError, AttributeError, LookupError, RuntimeError)
"""Errors by which objects refuse to be pickled; a LookupError comes from their ``__getattr__`` on Python 3.10."""


def _moved_path(before: Sequence[str], after: str, text: str) -> str:
    """Return the path that a text is once a folder, by any of its names, has moved."""
    folder = next((name for name in before if text == name or text.startswith(name + os.sep)), None)
    return text if folder is None else f"{after}{text[len(folder) :]}"


def serialize(
    value: Any, what: str, moved: tuple[Path, Path] | None = None, *, for_digest: bool = False, may_signal: bool = True
) -> bytes:
    """Pickle a value: definitions of the script by value, objects of Earth Engine with all their attributes.

    Args:
        value: any value, including functions of the script with the globals that they use.
        what: description of the value, for the error message.
        moved: a folder and its new path: paths below the first become paths below the second.
        for_digest: whether the pickle is compared, not loaded: by name are classes of the script, which cloudpickle
            gives a random id in each process. Otherwise functions keep the path of their file, for tracebacks.
        may_signal: whether events and threads of this process may be part of the value; their copies elsewhere
            receive nothing. A lock may be part of it in each case, a queue in none.

    Raises:
        RecipeError: if a part of the value belongs to one process, such as an open file, and cannot be made anew.
    """
    before = () if moved is None else (str(moved[0]), os.path.realpath(moved[0]))
    path = functools.partial(_moved_path, before, "" if moved is None else str(moved[1]))

    def pickled(thing: Any, remade: Mapping[int, Expression]) -> bytes:
        return _pickled(thing, path, remade, for_digest=for_digest, may_signal=may_signal)

    def is_sendable(thing: Any, remade: Mapping[int, Expression]) -> bool:
        try:
            pickled(thing, remade)
        except _REFUSALS:
            return False
        return True

    try:
        return pickled(value, {})
    except _REFUSALS as error:
        with contextlib.suppress(*_REFUSALS):
            if remade := remade_objects(is_sendable):
                return pickled(value, remade)
        raise RecipeError(
            f"{what} cannot be sent to another process: {error}. Make what belongs to one process in the function that"
            " uses it"
        ) from error


def _pickled(
    value: Any, path: Callable[[str], str], remade: Mapping[int, Expression], *, for_digest: bool, may_signal: bool
) -> bytes:
    """See `serialize`; objects with an expression are made anew by it."""
    import cloudpickle  # type: ignore[import-untyped]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, thing: Any) -> Any:
            if for_digest and type(thing) is str:
                return plain if (plain := without_issued_names(thing)) != thing else None
            if for_digest and type(thing) in (set, frozenset):  # their order depends on the process
                return type(thing).__name__, sorted(map(_sort_key, thing))
            return there if type(thing) is str and (there := path(thing)) != thing else None

        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, PurePath) and str(thing) != (there := path(str(thing))):
                return type(thing), (there,)
            if isinstance(thing, queue.Queue) or (not may_signal and _is_signal(thing)):
                raise TypeError(f"{type(thing).__name__} belongs to this process")
            if (expression := remade.get(id(thing))) is not None:
                return remake, (expression.text, expression.names)
            if (substitute := _substitute(thing)) is not None:
                return substitute
            if (module := _module_of(thing)) is not None and module.__name__ != "__main__" and not _is_found(module):
                cloudpickle.register_pickle_by_value(module)
            if for_digest and isinstance(thing, type) and not _is_importable(thing):
                return _named, (thing.__module__, thing.__qualname__)
            if for_digest and (text := _configuration(thing)) is not None:
                return _named, (type(thing).__module__, text)
            if not for_digest and isinstance(thing, CodeType):
                return _code, (*self.dispatch_table[CodeType](thing), thing.co_filename)
            return super().reducer_override(thing)

    buffer = io.BytesIO()
    Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def _substitute(thing: Any) -> str | tuple[Any, ...] | None:
    """Return what makes, in another process, an object in place of one that pickle refuses, or copies otherwise."""
    import ee
    from tqdm import tqdm

    if (name := replaced_name(thing)) is not None:
        return look_up, name
    if isinstance(thing, ee.ApiFunction):  # the worker's client has the same
        return ee.ApiFunction.lookup, (thing.getSignature()["name"],)
    if isinstance(thing, (ee.ComputedObject, ee.Function)):
        return _restored, (_nodes(thing),)
    if isinstance(thing, Exception) and type(thing).__reduce_ex__ is object.__reduce_ex__:
        return _reduced_error(thing)
    if isinstance(thing, _LOCKS):  # calls have separate files, so a new lock suffices
        return (threading.Lock if isinstance(thing, _LOCK) else threading.RLock), ()
    if isinstance(thing, _CACHED) and not _is_importable(thing):
        return _cached, (thing.__wrapped__, thing.cache_parameters())
    if isinstance(thing, threading.local):
        return threading.local, ()
    if isinstance(thing, tqdm):  # the run shows its own progress bar
        return functools.partial(tqdm, disable=True), ()
    if isinstance(thing, sharedctypes.SynchronizedBase):  # a copy: calls share their return values only
        value = thing.get_obj()
        kind = (value._type_, len(value)) if isinstance(value, ctypes.Array) else (type(value), None)
        return _shared, (*kind, bytes(value))
    return None


def deserialize(data: bytes) -> Any:
    """Unpickle data of :func:`serialize`. Objects of Earth Engine need an initialised client."""
    return _Unpickler(io.BytesIO(data)).load()


def deserialize_result(data: bytes) -> Any:
    """Unpickle what a call has returned or raised, perhaps in an earlier run, with the present classes of the script.

    Copies of these would have other instances and members: ``isinstance``, ``except`` and ``is`` would not know them.
    """
    return _ResultUnpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, path: Any) -> Any:
        """Return a moved path."""
        return path


class _ResultUnpickler(_Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a name has; in place of functions by which cloudpickle copies classes, others."""
        named = super().find_class(module, name)
        if module.partition(".")[0] == "cloudpickle" and name.startswith("_make_skeleton_"):
            return lambda *arguments: _present_class(kind := named(*arguments)) or kind
        if module.partition(".")[0] == "cloudpickle" and name == "_class_setstate":
            return lambda kind, state: kind if _present_class(kind) is kind else named(kind, state)
        return named


def _present_class(kind: type) -> type | None:
    """Return the class that the module of a copied class has by its name; None if it has none."""
    present = getattr(sys.modules.get(kind.__module__), kind.__name__, None)
    return present if isinstance(present, type) else None


def describe(value: Any) -> Any:
    """Return a value as JSON, for the ledger and the unit's id: unchanged if it is small, else its digest.

    In the place of names that Earth Engine has issued for some hours are digests of their requests.
    """
    plain = _plain(value)
    text = canonical_json(plain)
    return plain if len(text) <= _MOST_TEXT else {"beginning": text[:200], "sha256": _digest(text.encode())}


def is_of_process(function: Any) -> bool:
    """Return whether a call needs what this process has: an object of Python, such as a queue, or an event.

    Calls of other processes have copies, which wait for nothing, and whose changes are lost.
    """
    called = without_partial(function)
    receiver = getattr(called, "__self__", None)
    if isinstance(called, BuiltinFunctionType) or (_is_of_python(receiver) and not isinstance(receiver, PurePath)):
        return True
    return not is_sendable(function, may_signal=False)


def is_sendable(value: Any, *, may_signal: bool = True) -> bool:
    """Return whether a value may leave this process, unlike a generator; see `serialize`."""
    with contextlib.suppress(RecipeError):
        return bool(serialize(value, "a value", may_signal=may_signal))
    return False


def without_partial(function: Any) -> Any:
    """Return the function that ``functools.partial`` calls; any other one unchanged."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def function_name(function: Any) -> str:
    """Return a name for a function, a partial, or any other callable."""
    inner = function
    while hasattr(inner, "func"):
        inner = inner.func
    return str(getattr(inner, "__name__", type(inner).__name__))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return without_issued_names(str(value))
    if value is None or isinstance(value, (bool, int)):
        return value if type(value) in (type(None), bool, int) else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=canonical_json)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _plain(value.item())
    of_client = getattr(value, "serialize", None) if type(value).__module__.startswith("ee.") else None
    if of_client is not None:
        return {"ee": type(value).__name__, "sha256": _digest(of_client().encode())}
    if isinstance(value, managers.BaseProxy):  # its address and token differ whenever the script is executed
        return {"python": type(value).__name__}
    return {
        "python": type(value).__name__,
        "sha256": _digest(serialize(value, f"an argument ({type(value).__name__})", for_digest=True)),
    }


def _sort_key(item: Any) -> str:
    is_simple = type(item) in (str, int, float, bytes)
    return repr(item) if is_simple else _digest(serialize(item, "an item of a set", for_digest=True))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_importable(function: Any) -> bool:
    module = _module_of(function)
    return module is not None and _is_found(module) and getattr(module, function.__qualname__, None) is function


def _module_of(thing: Any) -> ModuleType | None:
    """Return a module, or that of a function or class; None for the script itself."""
    if isinstance(thing, ModuleType):
        return thing
    name = thing.__module__ if isinstance(thing, (FunctionType, _CACHED, type)) else None
    module = sys.modules.get(name) if isinstance(name, str) and name != "__main__" else None
    return module if isinstance(module, ModuleType) else None


def _is_found(module: ModuleType) -> bool:
    """Return whether other processes find a module by its name, in the same file.

    They do not find one that the script has made, or loaded from a file by another name
    (https://docs.python.org/3/library/importlib.html#importing-a-source-file-directly).
    """
    name = module.__name__.partition(".")[0]
    spec = getattr(sys.modules.get(name, module), "__spec__", None)
    return name in sys.stdlib_module_names or _finds(name, getattr(spec, "origin", None))


@functools.cache
def _finds(name: str, origin: str | None) -> bool:
    specs = (finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    spec = next(filter(None, specs), None)
    if spec is None or origin is None:
        return spec is not None
    return spec.origin is not None and os.path.realpath(spec.origin) == os.path.realpath(origin)


def _is_signal(thing: Any) -> bool:
    """Return whether threads or processes wait for an object, or share it."""
    if isinstance(thing, (type, threading.local, managers.BaseProxy, *_LOCKS)):
        return False
    return any(kind.__module__.partition(".")[0] in _SIGNALLING for kind in type(thing).__mro__)


def _is_of_python(thing: Any) -> bool:
    """Return whether an object, which is no class or module, has a class of Python's own modules."""
    if thing is None or isinstance(thing, (type, ModuleType)):
        return False
    return type(thing).__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}


def _configuration(thing: Any) -> str | None:
    """Return the text of a configuration of OmegaConf, as hydra passes it; None for anything else.

    Its pickle also contains resolved interpolations, such as the time. A part may refer to any other part, so the text
    is that of the whole configuration.
    """
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is None or not isinstance(thing, (omegaconf.DictConfig, omegaconf.ListConfig)):
        return None
    return f"{thing._get_full_key('')}\n{omegaconf.OmegaConf.to_yaml(thing._get_root())}"


def _named(module: str, name: str) -> Any:
    raise NotImplementedError(f"a pickle with {module}.{name} is made to be compared, and cannot be loaded")


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _reduced_error(error: Exception) -> str | tuple[Any, ...]:
    """Return how pickle makes an exception again, whatever other packages have registered for its class.

    Dask loads tblib, whose reducer loses the message of a `UnicodeDecodeError`.
    """
    kind: Any = type(error)
    if kind.__reduce__ is BaseException.__reduce__ and isinstance(kind.__init__, FunctionType):
        # Pickle would call the class with the message alone, which its constructor may not take.
        return _error, (kind, error.args, error.__dict__)
    return error.__reduce__()


def _error(kind: type[Exception], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> Exception:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


def _code(make: Callable[..., CodeType], arguments: tuple[Any, ...], path: str) -> CodeType:
    return make(*arguments).replace(co_filename=path)


def _shared(kind: Any, length: int | None, data: bytes) -> Any:
    whole = kind if length is None else kind * length
    return sharedctypes.synchronized(whole.from_buffer_copy(data))


@dataclass(frozen=True, slots=True)
class _Node:
    """A reference to an object of the client: its index in the list of all objects."""

    number: int


def _nodes(root: Any) -> list[tuple[type, dict[str, Any]]]:
    """List class and attributes of an object of Earth Engine's client and of all its references, root first.

    Attributes are kept, not the expression, since only they have some data of literals, such as a geometry's
    coordinates. The list is flat, since expressions may be nested deeper than pickle supports.
    """
    import ee

    objects = [root]
    numbers = {id(root): 0}

    def flat(value: Any) -> Any:
        if isinstance(value, (ee.ComputedObject, ee.Function)) and not isinstance(value, ee.ApiFunction):
            number = numbers.setdefault(id(value), len(objects))
            if number == len(objects):
                objects.append(value)
            return _Node(number)
        if type(value) is dict:
            items = {key: flat(item) for key, item in value.items()}
            return items if any(items[key] is not value[key] for key in value) else value
        if type(value) in (list, tuple):
            parts = [flat(item) for item in value]
            return type(value)(parts) if any(new is not old for new, old in zip(parts, value, strict=True)) else value
        return value

    return [(type(thing), flat(vars(thing))) for thing in objects]


def _restored(nodes: list[tuple[type, dict[str, Any]]]) -> Any:
    """Make the objects of :func:`_nodes`, and return the first."""
    things: list[Any] = [object.__new__(kind) for kind, _ in nodes]

    def nested(value: Any) -> Any:
        if isinstance(value, _Node):
            return things[value.number]
        if type(value) is dict:
            return {key: nested(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(nested(item) for item in value)
        return value

    for thing, (_, attributes) in zip(things, nodes, strict=True):
        vars(thing).update(nested(attributes))
    return things[0]
