"""Collect the calls of a pool until the script requests a result, and make them in the run or in its own threads."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from eechips.errors import RecipeError
from eechips.scripts.pooling.call_folder import CallResult, Program
from eechips.scripts.pooling.call_variables import Call, executed_function
from eechips.scripts.pooling.changed_objects import (
    LostChanges,
    argument_objects,
    changed_argument,
    lost_changes,
    lost_copy,
)
from eechips.scripts.pooling.original_pools import HOST, ORIGINALS, PoolHost
from eechips.scripts.serialization import function_name, serialize

_batches: WeakKeyDictionary[CallBatch, None] = WeakKeyDictionary()  # in the order in which they were made


class CallBatch:
    """Calls that are deferred until a result is requested.

    A call of a pool of threads that cannot be sent to another process, such as one with a queue or an open file, starts
    at once in a thread of this process, and is not recorded.

    Args:
        threads: number of threads of the pool; None for a pool of processes.
    """

    def __init__(self, host: PoolHost, initializer: Any, initargs: Iterable[Any], threads: int | None) -> None:
        self._host, self._threads = host, threads
        self._program = Program(initializer=initializer, initargs=tuple(initargs), shares=threads is not None)
        self._waiting: dict[int, tuple[Call, Callable[[CallResult], None], concurrent.futures.Future[Any] | None]] = {}
        self._added = 0
        self._executor: Any = None
        self._functions: dict[int, tuple[Callable[..., Any], LostChanges]] = {}
        self._lost: dict[tuple[int, int], tuple[Any, LostChanges]] = {}
        self._passed: dict[int, tuple[Any, int]] = {}  # objects in arguments, and how many calls have them
        self._thread, self._added_before = (os.getpid(), threading.get_ident()), 0
        _batches[self] = None

    def add(
        self, call: Call, settle: Callable[[CallResult], None], started: concurrent.futures.Future[Any] | None = None
    ) -> int:
        """Add a call, and return its number; ``settle`` receives its result. See `start`."""
        self._added += 1
        self._waiting[self._added] = call, settle, started
        return self._added

    def discard(self, number: int) -> None:
        """Leave a call out, unless it is made."""
        self._waiting.pop(number, None)

    def start(self, call: Call) -> concurrent.futures.Future[Any] | None:
        """Start a call in a thread of this process, if it needs what this process has; return None for others.

        Raises:
            RecipeError: if a call of a pool of processes changes a file through memory that they share.
        """
        if self._note_objects(call):
            for number, (earlier, settle, started) in self._waiting.items():
                if started is None and self._obstacle(earlier):
                    self._waiting[number] = earlier, settle, self._started(earlier)
        return self._started(call)

    def _started(self, call: Call) -> concurrent.futures.Future[Any] | None:
        if not (obstacle := self._obstacle(call)):
            return None
        if self._threads is None:
            raise RecipeError(
                f"calls of {function_name(call.function)}() cannot be made in other processes: {obstacle}"
            )
        if self._executor is None:
            of_pool = self._program
            self._executor = ORIGINALS["ThreadPoolExecutor"](self._threads, "", of_pool.initializer, of_pool.initargs)
        self._host.note_unsent(function_name(call.function), obstacle)
        started: concurrent.futures.Future[Any] = self._executor.submit(call.function, *call.arguments, **call.keywords)
        return started

    def flush(self, functions: Collection[str] | None = None, *, in_any_order: bool = False) -> None:
        """Make the waiting calls, or only the calls of some functions: others may need what the script does later.

        A function that writes what others put in a queue ends when the script has their results and says so.

        Args:
            in_any_order: see `Program`.
        """
        waiting, self._waiting = self._waiting, {}
        chosen: list[tuple[Call, Callable[[CallResult], None], concurrent.futures.Future[Any] | None]] = []
        for number, (call, settle, started) in waiting.items():
            if functions is None or function_name(call.function) in functions:
                chosen.append((call, settle, started))
            else:
                self._waiting[number] = call, settle, started
        program = replace(self._program, in_any_order=in_any_order)
        results = self._results([(call, started) for call, _, started in chosen], program)
        for (_, settle, _), result in zip(chosen, results, strict=True):
            settle(result)

    def flush_awaited(self, *, is_idle: bool) -> None:
        """Make the calls for which the script waits otherwise than by their results: see `make_awaited_calls`."""
        if self._thread != (os.getpid(), threading.get_ident()):
            return
        has_more, self._added_before = self._added > self._added_before, self._added
        deferred = {function_name(call.function) for call, _, started in self._waiting.values() if started is None}
        if deferred and not (is_idle and has_more):
            self.flush(deferred)

    def flush_for_callbacks(self) -> None:
        """Make the calls; errors that end the run are raised where a result is awaited, not in the event loop."""
        waiting = self._waiting
        try:
            self.flush(in_any_order=True)
        except BaseException as error:  # noqa: BLE001 - the loop drops exceptions that end the run
            for _, settle, _ in waiting.values():
                settle(CallResult(error=error))

    def execute(self, calls: Sequence[Call]) -> list[CallResult]:
        """Make calls now, and return their results."""
        for call in calls:
            self._note_objects(call)
        return self._results([(call, self._started(call)) for call in calls], self._program)

    def close(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """End the threads of this process; see ``concurrent.futures.Executor.shutdown``."""
        if self._executor is not None:
            self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _results(
        self, calls: Sequence[tuple[Call, concurrent.futures.Future[Any] | None]], program: Program
    ) -> list[CallResult]:
        """Return the results of calls, of which some have started in threads of this process."""
        deferred = [call for call, started in calls if started is None]
        results = iter(self._host.execute(deferred, program) if deferred else ())
        return [next(results) if started is None else _result(started) for _, started in calls]

    def _obstacle(self, call: Call) -> str:
        """Return why a call cannot be sent to another process; empty if it can."""
        lost = self._lost_changes(call.function)
        if self._threads is None:
            return lost.reason or changed_argument(call, lost.changed, is_of_processes=True)
        shared = (item for item in argument_objects(call, lost.arguments) if self._passed[id(item)][1] > 1)
        return (
            lost.reason
            or _refusal((call.arguments, dict(call.keywords)), "an argument")
            or changed_argument(call, lost.changed)
            or next((lost_copy(type(item).__name__) for item in shared), "")
        )

    def _lost_changes(self, function: Callable[..., Any]) -> LostChanges:
        """Return what calls of a function lose, found once for methods and partial functions that are new each time."""
        if id(function) not in self._functions:
            executed = executed_function(function)
            parts = getattr(executed, "__func__", executed), getattr(executed, "__self__", None)
            key, is_of_processes = (id(parts[0]), id(parts[1])), self._threads is None
            if key not in self._lost:
                self._lost[key] = parts, lost_changes(function, is_of_processes=is_of_processes)
            lost = self._lost[key][1]
            refusal = "" if is_of_processes else _refusal(function, function_name(function))
            self._functions[id(function)] = function, replace(lost, reason=refusal or lost.reason)
        return self._functions[id(function)][1]

    def _note_objects(self, call: Call) -> bool:
        """Note what a call may change in its arguments; return whether an earlier call, only one, has it as well."""
        counts = set[int]()
        for item in argument_objects(call, self._lost_changes(call.function).arguments):
            count = self._passed.get(id(item), (item, 0))[1] + 1
            self._passed[id(item)] = item, count
            counts.add(count)
        return 2 in counts


def _refusal(value: Any, what: str) -> str:
    try:
        serialize(value, what)
    except RecipeError as error:
        return f"{str(error.__cause__).rstrip('.')}. Make what belongs to one process in the function that uses it"
    return ""


def _result(started: concurrent.futures.Future[Any]) -> CallResult:
    error = started.exception()
    return CallResult(error=error) if error is not None else CallResult(started.result())


def call_values(results: Iterable[CallResult]) -> Iterator[Any]:
    """Yield the values of calls; raise the error of the first that failed."""
    for result in results:
        if result.error is not None:
            raise result.error
        yield result.value


def make_awaited_calls(*, is_idle: bool = False) -> None:
    """Make the deferred calls of this thread, since the script waits for what they do.

    Args:
        is_idle: whether the script may only pause between calls: it waits if it has added none since the last pause.
    """
    for batch in tuple(_batches):
        batch.flush_awaited(is_idle=is_idle)


def make_calls(calls: Sequence[Call], *, threads: int | None) -> Iterator[Any]:
    """Return the values of calls, which are made at once; the first that failed raises its error.

    Args:
        calls: in the order of the plan.
        threads: number of threads of the script that make them; None for processes.
    """
    host = HOST.get()
    assert host is not None
    return call_values(CallBatch(host, None, (), threads).execute(calls))
