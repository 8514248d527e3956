"""Make the calls of joblib's ``Parallel`` units of a run, as those of pools."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from eechips.scripts.call_folder import Call
from eechips.scripts.pool_replacement import is_hosted
from eechips.scripts.pools import make_calls
from eechips.scripts.replaced_names import replace_names


@contextlib.contextmanager
def replace_parallel() -> Iterator[None]:
    """Make the calls that the script gives to ``Parallel`` in the run, inside the block; none without joblib.

    The class stays: libraries derive from it, and call it in their own way.
    """
    if find_spec("joblib") is None:
        yield
        return
    kind = importlib.import_module("joblib").Parallel
    with replace_names(kind, __call__=_replacement(kind.__call__)):
        yield


def _replacement(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, iterable: Iterable[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]) -> Any:
        """Return the values of calls in their order: a list, or an iterator where ``return_as`` says so."""
        if not is_hosted(sys._getframe(1)):
            return original(self, iterable)
        calls = [Call(function, tuple(arguments), dict(keywords)) for function, arguments, keywords in iterable]
        values = make_calls(calls, shares=bool(getattr(self._backend, "supports_sharedmem", False)))
        return values if getattr(self, "return_generator", False) else list(values)

    return call
