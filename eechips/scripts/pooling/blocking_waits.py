"""Make deferred calls before the script waits for what they do, as for a semaphore that their callbacks release."""

from __future__ import annotations

import contextlib
import functools
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from eechips.scripts.pooling.call_batch import make_awaited_calls
from eechips.scripts.pooling.original_pools import is_of_script
from eechips.scripts.replacements.name_replacement import replace_names

_WAITING: tuple[tuple[type, tuple[str, ...], Callable[[Any], bool]], ...] = (
    (threading.Semaphore, ("acquire", "__enter__"), lambda semaphore: not semaphore._value),
    (threading.Event, ("wait",), lambda event: not event.is_set()),
    (queue.Queue, ("get",), lambda waiting: bool(waiting.empty())),
)
"""Classes, their methods that wait, and whether these would wait now."""


@contextlib.contextmanager
def watch_waits() -> Iterator[None]:
    """Make the deferred calls whenever the script waits inside the block."""
    with contextlib.ExitStack() as stack:
        for kind, names, waits in _WAITING:
            methods = {name: _watched(vars(kind)[name], waits) for name in names}
            stack.enter_context(replace_names(kind, **methods))
        yield


def _watched(original: Callable[..., Any], waits: Callable[[Any], bool]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        if is_of_script(sys._getframe(1)) and waits(self):
            # An event with a time limit may be a pause that can be ended.
            make_awaited_calls(is_idle=isinstance(self, threading.Event) and bool(args or options))
        return original(self, *args, **options)

    return method
