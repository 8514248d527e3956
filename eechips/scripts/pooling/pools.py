"""Provide pools like those of ``multiprocessing`` and ``concurrent.futures``, whose calls are units of a run.

:mod:`eechips.scripts.pooling.call_units` makes the units.

They behave like the originals with three differences: work begins when a result is requested; calls run in the worker
processes of the run; and completed calls of an earlier run are not repeated, but their results are read from the run's
folder. Pools that other packages open, and pools outside a run, are the originals.
:mod:`eechips.scripts.pooling.pool_patches` puts them in the place of the originals.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import queue
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from eechips.scripts.pooling.call_batch import CallBatch, call_values
from eechips.scripts.pooling.call_folder import CallResult
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.original_pools import HOST, ORIGINALS, Hosted, is_of_script
from eechips.scripts.serialization import function_name, is_of_process

_as_completed, _wait = concurrent.futures.as_completed, concurrent.futures.wait


class AsyncResult:
    """A result like ``multiprocessing.pool.AsyncResult``."""

    def __init__(
        self, batch: CallBatch, callback: Any, error_callback: Any, unpack: Callable[[list[Any]], Any]
    ) -> None:
        self._batch, self._callback, self._error_callback, self._unpack = batch, callback, error_callback, unpack
        self._results: list[CallResult] = []
        self._functions: frozenset[str] = frozenset()
        self._number_left = 0
        self._value: Any = None
        self._error: BaseException | None = None

    def expect(self, calls: Sequence[Call]) -> AsyncResult:
        """Add calls to the batch."""
        self._number_left = len(calls)
        self._functions = frozenset(function_name(call.function) for call in calls)
        for call in calls:
            self._batch.add(call, self._settle, self._batch.start(call))
        if not calls:
            self._finish()
        return self

    def get(self, timeout: float | None = None) -> Any:
        """Return the value, or raise the error of the call."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Make the calls unless they are made."""
        if self._number_left:
            self._batch.flush(self._functions)

    def ready(self) -> bool:
        """Return True: the calls are made first, if necessary."""
        self.wait()
        return True

    def successful(self) -> bool:
        """Return whether no call raised an exception."""
        self.wait()
        return self._error is None

    def _settle(self, result: CallResult) -> None:
        self._results.append(result)
        self._number_left -= 1
        if not self._number_left:
            self._finish()

    def _finish(self) -> None:
        self._error = next((r.error for r in self._results if r.error is not None), None)
        if self._error is not None:
            if self._error_callback is not None:
                self._error_callback(self._error)
            return
        self._value = self._unpack([r.value for r in self._results])
        if self._callback is not None:
            self._callback(self._value)


class Pool(Hosted):
    """A pool like ``multiprocessing.Pool``: inside ``eechips run``, its calls are units of the run.

    The number of processes is an option of the run, not of the pool.
    """

    _original = "Pool"
    _shares = False
    _taskqueue: Any = queue.SimpleQueue()  # scripts wait until these attributes are empty
    _cache: Mapping[int, Any] = MappingProxyType({})
    _pool: Sequence[Any] = ()

    def __init__(
        self: Any,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        if not isinstance(self, Pool):  # the original pool of threads, which calls this by its name
            ORIGINALS["Pool"].__init__(self, processes, initializer, initargs, maxtasksperchild, context)
            return
        host = HOST.get()
        assert host is not None
        self._processes = processes or os.cpu_count()
        self._batch = CallBatch(host, initializer, initargs, self._processes if self._shares else None)

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Any = None) -> Any:
        """Return the value of one call."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Any = None, callback: Any = None,
        error_callback: Any = None,
    ) -> AsyncResult:  # fmt: skip
        """Return one call, made when a result of its function is requested, or the pool is joined."""
        call = Call(func, tuple(args), dict(kwds or {}))
        return AsyncResult(self._batch, callback, error_callback, lambda values: values[0]).expect([call])

    def map(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return the values of a call for each item."""
        return list(call_values(self._batch.execute([Call(func, (item,)) for item in iterable])))

    def map_async(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None, callback: Any = None,
        error_callback: Any = None,
    ) -> AsyncResult:  # fmt: skip
        """Return a call for each item, made on request."""
        calls = [Call(func, (item,)) for item in iterable]
        return AsyncResult(self._batch, callback, error_callback, list).expect(calls)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """Return the values of a call for each tuple of arguments."""
        return list(call_values(self._batch.execute([Call(func, tuple(item)) for item in iterable])))

    def starmap_async(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None,
        callback: Any = None, error_callback: Any = None,
    ) -> AsyncResult:  # fmt: skip
        """Return a call for each tuple of arguments, made on request."""
        calls = [Call(func, tuple(item)) for item in iterable]
        return AsyncResult(self._batch, callback, error_callback, list).expect(calls)

    def imap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1) -> _Values:
        """Return the values of a call for each item, as an iterator."""
        return _Values(self._batch.execute([Call(func, (item,)) for item in iterable]))

    def imap_unordered(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int = 1) -> _Values:
        """Return the values in the order of the items, as :meth:`imap`."""
        return self.imap(func, iterable, chunksize)

    def close(self) -> None:
        """Do nothing: the workers belong to the run."""

    def join(self) -> None:
        """Make the calls whose results were not requested."""
        self._batch.flush()

    terminate = join

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.terminate()


class ThreadPool(Pool):
    """A pool like ``multiprocessing.pool.ThreadPool``; changes of variables by calls are applied here."""

    _original = "ThreadPool"
    _shares = True


class _Values:
    """An iterator of values that continues after an error, like that of ``imap``."""

    def __init__(self, results: Sequence[CallResult]) -> None:
        self._results = iter(results)
        self._length = len(results)

    def __iter__(self) -> _Values:
        return self

    def __len__(self) -> int:
        return self._length

    def __next__(self, timeout: float | None = None) -> Any:
        return next(call_values((next(self._results),)))

    next = __next__


class _Future(concurrent.futures.Future):  # type: ignore[type-arg]
    """A future whose call is made when its result is requested."""

    def __init__(self, batch: CallBatch, call: Call) -> None:
        super().__init__()
        self.batch, self.function = batch, function_name(call.function)
        self._number = batch.add(call, self.settle)

    def settle(self, result: CallResult) -> None:
        if self.cancelled():  # by a callback of a call that was made with this one
            return
        if result.error is not None:
            self.set_exception(result.error)
        else:
            self.set_result(result.value)

    def cancel(self) -> bool:
        """Leave the call out, unless it is made."""
        self.batch.discard(self._number)
        if not self.cancelled() and super().cancel():
            self.set_running_or_notify_cancel()  # tells those that wait for it
        return self.cancelled()

    def force(self) -> None:
        if not super().done():
            self.batch.flush({self.function})

    def result(self, timeout: float | None = None) -> Any:
        self.force()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.force()
        return super().exception(timeout)

    def done(self) -> bool:
        self.force()
        return super().done()

    def running(self) -> bool:
        return False

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call a function when the call is made; in an event loop, which requests no result, this is soon."""
        super().add_done_callback(fn)
        with contextlib.suppress(RuntimeError):  # no loop is running
            asyncio.get_running_loop().call_soon(self.batch.flush_for_callbacks)


_of_executors: dict[CallBatch, None] = {}
"""Calls of executors that the script has not shut down, also of those that it has not kept."""


@contextlib.contextmanager
def finish_executors() -> Iterator[None]:
    """Make the calls of executors that are not shut down at the end of the block, as Python does at exit."""
    try:
        yield
        while _of_executors:
            batch = next(iter(_of_executors))
            del _of_executors[batch]
            batch.flush()
            batch.close()
    finally:
        _of_executors.clear()


class _Executor(Hosted):
    _shares = False
    _work_queue: Any = queue.SimpleQueue()  # scripts wait until it is empty

    def __init__(
        self,
        max_workers: int | None = None,
        *args: Any,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        **_: Any,
    ) -> None:
        host = HOST.get()
        assert host is not None
        self._max_workers = max_workers or os.cpu_count()
        self._batch = CallBatch(host, initializer, initargs, self._max_workers if self._shares else None)
        self._futures: WeakSet[_Future] = WeakSet()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Return a call, made when a result of its function is requested, or the executor is shut down."""
        _of_executors[self._batch] = None
        call = Call(fn, args, kwargs)
        if (started := self._batch.start(call)) is not None:
            return started
        future = _Future(self._batch, call)
        self._futures.add(future)
        return future

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:  # fmt: skip
        """Return the values of a call for each item."""
        return call_values(self._batch.execute([Call(fn, item) for item in zip(*iterables, strict=False)]))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Make the calls whose results were not requested, or cancel them."""
        _of_executors.pop(self._batch, None)
        if cancel_futures:
            for future in tuple(self._futures):
                future.cancel()
        self._batch.flush()
        self._batch.close(wait=wait, cancel_futures=cancel_futures)

    def __enter__(self) -> _Executor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # else at the end of the script, if it catches the exception
            self.shutdown()


class ProcessPoolExecutor(_Executor):
    """A pool like ``concurrent.futures.ProcessPoolExecutor``."""

    _original = "ProcessPoolExecutor"


class ThreadPoolExecutor(_Executor):
    """A pool like ``concurrent.futures.ThreadPoolExecutor``; calls change lists, dicts and sets of the script."""

    _original = "ThreadPoolExecutor"
    _shares = True


_default_executors: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


def default_executor(loop: asyncio.AbstractEventLoop, function: Any) -> Any:
    """Return the executor of the run for a loop of the script, in place of the one that the loop would open.

    Returns:
        None for a function of C, as ``input``, or that needs what its process has: it runs without a record.
    """
    if is_of_process(function):
        return None
    if loop not in _default_executors:
        _default_executors[loop] = ThreadPoolExecutor()
    return _default_executors[loop]


def reusable_executor(
    max_workers: int | None = None, *, initializer: Any = None, initargs: Iterable[Any] = (), **_: Any
) -> ProcessPoolExecutor:
    """Replace ``loky.get_reusable_executor``."""
    return ProcessPoolExecutor(max_workers, initializer=initializer, initargs=tuple(initargs))


def as_completed(fs: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
    """Yield futures as ``concurrent.futures.as_completed`` does."""
    return _as_completed(_forced(fs), timeout)


def wait(fs: Iterable[Any], timeout: float | None = None, return_when: str = concurrent.futures.ALL_COMPLETED) -> Any:
    """Wait for futures as ``concurrent.futures.wait`` does."""
    return _wait(_forced(fs), timeout, return_when)


def pool_of_context(
    context: Any,
    processes: int | None = None,
    initializer: Any = None,
    initargs: Iterable[Any] = (),
    maxtasksperchild: int | None = None,
) -> Any:
    """Replace ``multiprocessing.get_context(...).Pool``."""
    kind = Pool if is_of_script(sys._getframe(1)) else ORIGINALS["Pool"]
    return kind(processes, initializer, initargs, maxtasksperchild, context=context.get_context())


def _forced(futures: Iterable[Any]) -> list[Any]:
    """Return futures after their calls are made, those of one executor at once."""
    all_futures = list(futures)
    functions: dict[CallBatch, set[str]] = {}
    for future in all_futures:
        if isinstance(future, _Future):
            functions.setdefault(future.batch, set()).add(future.function)
    for batch, names in functions.items():
        batch.flush(names)
    return all_futures
