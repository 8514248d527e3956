"""Replace the pools of pathos, which p_tqdm also uses, and of multiprocess by pools of a run, once they are imported.

pathos opens pools of multiprocess in its own modules, and passes them functions that take a tuple of arguments.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

from eechips.scripts.pooling.original_pools import HOST, is_hosted
from eechips.scripts.pooling.pools import AsyncResult, Pool, ThreadPool
from eechips.scripts.replacements.name_replacement import change_imported, replace_names


class _Starred:
    """A function that takes its arguments as a tuple."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, arguments: Iterable[Any]) -> Any:
        return self.func(*arguments)


class _StarredCalls:
    """The methods of a pool by which pathos passes a starred function: its calls are recorded without the tuple."""

    _state = "CLOSE"  # read by pathos, which restarts closed pools only
    starmap: Callable[..., list[Any]]
    starmap_async: Callable[..., AsyncResult]

    def map(self, func: _Starred, iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        return self.starmap(func.func, iterable)

    def imap(self, func: _Starred, iterable: Iterable[Any], chunksize: int = 1) -> Iterator[Any]:
        return iter(self.starmap(func.func, iterable))

    imap_unordered = imap

    def map_async(self, func: _Starred, iterable: Iterable[Any], **options: Any) -> AsyncResult:
        return self.starmap_async(func.func, iterable, **options)


class _ProcessPool(_StarredCalls, Pool):  # type: ignore[misc]  # its functions are starred
    pass


class _ThreadPool(_StarredCalls, ThreadPool):  # type: ignore[misc]
    pass


@contextlib.contextmanager
def replace_pathos() -> Iterator[None]:
    """Replace its pools inside the block."""
    with contextlib.ExitStack() as stack:

        def change(module: ModuleType, *, name: str, pools: str = "", kind: type[Pool]) -> None:
            original = getattr(module, name)

            def opened(*args: Any, **options: Any) -> Any:
                is_of_run = HOST.get() is not None if pools else is_hosted(sys._getframe(1))
                return (kind if is_of_run else original)(*args, **options)

            stack.enter_context(replace_names(module, **{name: opened}))
            if pools:
                stack.enter_context(replace_names(module, star=_Starred))
                stack.callback(getattr(module, pools).__state__.clear)

        changes: dict[str, Callable[[ModuleType], None]] = {
            "multiprocess": partial(change, name="Pool", kind=Pool),
            "pathos.multiprocessing": partial(change, name="Pool", pools="ProcessPool", kind=_ProcessPool),
            "pathos.threading": partial(change, name="_ThreadPool", pools="ThreadPool", kind=_ThreadPool),
        }
        stack.enter_context(change_imported(changes))
        yield
