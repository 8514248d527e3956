"""Replace the pools of a script by pools of a run: of the standard library, joblib, loky, pathos, event loops."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

from eechips.processes.context_values import context_value
from eechips.scripts.pooling import original_pools, pools
from eechips.scripts.pooling.blocking_waits import watch_waits
from eechips.scripts.pooling.call_batch import make_calls
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.original_pools import is_hosted
from eechips.scripts.pooling.pathos_pools import replace_pathos
from eechips.scripts.replacements.name_replacement import replace_names

_POOLS: Mapping[str, Mapping[str, Any]] = {
    "multiprocessing": {"Pool": pools.Pool},
    "multiprocessing.pool": {"Pool": pools.Pool, "ThreadPool": pools.ThreadPool},
    "multiprocessing.dummy": {"Pool": pools.ThreadPool},
    "multiprocessing.context": {},
    "concurrent.futures": {
        "ProcessPoolExecutor": pools.ProcessPoolExecutor,
        "ThreadPoolExecutor": pools.ThreadPoolExecutor,
        "as_completed": pools.as_completed,
        "wait": pools.wait,
    },
    "concurrent.futures._base": {"as_completed": pools.as_completed, "wait": pools.wait},
    "concurrent.futures.process": {"ProcessPoolExecutor": pools.ProcessPoolExecutor},
    "concurrent.futures.thread": {"ThreadPoolExecutor": pools.ThreadPoolExecutor},
    "loky": {"ProcessPoolExecutor": pools.ProcessPoolExecutor, "get_reusable_executor": pools.reusable_executor},
}


@contextlib.contextmanager
def replace_pools(host: original_pools.PoolHost) -> Iterator[None]:
    """Replace the pools of the script by pools of the host inside the block; libraries keep their own."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(context_value(original_pools.HOST, host))
        for block in (replace_parallel, replace_default_executors, replace_pathos, watch_waits, replace_pool_classes):
            stack.enter_context(block())
        # The run has chosen how its workers start.
        stack.enter_context(replace_names(multiprocessing, set_start_method=lambda *_, **__: None))
        yield


@contextlib.contextmanager
def replace_pool_classes() -> Iterator[None]:
    """Replace the classes of pools inside the block. Without a host, in a worker, pools of processes have threads."""
    from multiprocessing import context

    with contextlib.ExitStack() as stack:
        for name, values in _POOLS.items():
            if find_spec(name) is not None:  # loky may not be installed
                stack.enter_context(replace_names(importlib.import_module(name), **values))
        stack.enter_context(replace_names(context.BaseContext, Pool=pools.pool_of_context))
        yield


@contextlib.contextmanager
def replace_parallel() -> Iterator[None]:
    """Make the calls that the script gives to ``Parallel`` in the run, inside the block; none without joblib.

    The class stays: libraries derive from it, and call it in their own way.
    """
    if find_spec("joblib") is None:
        yield
        return
    joblib = importlib.import_module("joblib")
    kind = joblib.Parallel
    with replace_names(kind, __call__=_replacement(kind.__call__, joblib.effective_n_jobs)):
        yield


def _replacement(original: Callable[..., Any], effective_jobs: Callable[[int | None], int]) -> Callable[..., Any]:
    def call(self: Any, iterable: Iterable[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]) -> Any:
        """Return the values of calls in their order: a list, or an iterator where ``return_as`` says so."""
        shares, frame = bool(getattr(self._backend, "supports_sharedmem", False)), sys._getframe(1)
        if not (is_hosted(frame) or (not shares and _is_of_client_library(frame))):
            return original(self, iterable)
        calls = [Call(function, tuple(arguments), dict(keywords)) for function, arguments, keywords in iterable]
        values = make_calls(calls, threads=effective_jobs(self.n_jobs) if shares else None)
        return values if getattr(self, "return_generator", False) else list(values)

    return call


def _is_of_client_library(frame: Any) -> bool:
    """Return whether a frame of a run belongs to a library that has imported Earth Engine's client, such as geemap.

    Processes that it starts itself would have neither the endpoint nor the credentials of the run.
    """
    return original_pools.HOST.get() is not None and frame.f_globals.get("ee") is sys.modules["ee"]


@contextlib.contextmanager
def replace_default_executors() -> Iterator[None]:
    """Make the calls that event loops of the script make in threads of their own in the run, inside the block."""
    loops, threads = asyncio.base_events.BaseEventLoop, asyncio.threads
    in_executor, in_thread = loops.run_in_executor, threads.to_thread

    def run_in_executor(self: Any, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Return a future of a call; ``None`` means the run's executor, unless the script has set a default."""
        if executor is None and self._default_executor is None and is_hosted(sys._getframe(1)):
            executor = pools.default_executor(self, partial(func, *args) if args else func)
        return in_executor(self, executor, func, *args)

    def to_thread(func: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Return a coroutine of a call."""
        if not is_hosted(sys._getframe(1)):
            return in_thread(func, *args, **options)
        return _awaited(in_thread, partial(func, *args, **options) if args or options else func)

    with (
        replace_names(loops, run_in_executor=run_in_executor),
        replace_names(threads, to_thread=to_thread),
        replace_names(asyncio, to_thread=to_thread),
    ):
        yield


async def _awaited(in_thread: Callable[..., Any], function: Callable[..., Any]) -> Any:
    loop = asyncio.get_running_loop()
    executor = pools.default_executor(loop, function)
    return await (in_thread(function) if executor is None else loop.run_in_executor(executor, function))
