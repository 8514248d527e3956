"""Collect what the end of a run says of a script's calls: what they left out, and what is not recorded or counted."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import managers
from typing import Any

from eechips.manifest.sqlite.unit_record import State
from eechips.scripts.pooling.call_folder import Call, CallResult
from eechips.scripts.pooling.call_variables import variables
from eechips.scripts.serialization import function_name, without_partial
from eechips.text.formatting import format_count, some_of


class CallNotes:
    """Notes on calls that succeeded.

    Attributes:
        uncounted: libraries and programs that have sent requests to Earth Engine past the quota.
        unrecorded: what of the script has fetched results without a pool: threads, processes, coroutines.
        lost_results: errors of the script's own requests for results.
    """

    def __init__(self) -> None:
        self.uncounted: set[str] = set()
        self.unrecorded: set[str] = set()
        self.lost_results: list[str] = []
        self._peculiar: set[str] = set()
        self._totals: Counter[str] = Counter()  # calls by function, as the others
        self._without: Counter[str] = Counter()
        self._catching: Counter[str] = Counter()
        self._managed: Counter[str] = Counter()
        self._unsent: Counter[tuple[str, str]] = Counter()

    def add_unsent(self, function: str, obstacle: str) -> None:
        """Note a call that a thread of the script makes, since it cannot be sent to another process."""
        self._unsent[function, obstacle] += 1

    def add_repeated(self, calls: Iterable[Call]) -> None:
        """Note the calls that an earlier run of the script has made, whose changes of managed objects are lost."""
        self._managed.update(function_name(call.function) for call in calls if _is_given_managed(call))

    def add(self, rows: Sequence[tuple[Any, ...]], results: Sequence[CallResult]) -> dict[int, str]:
        """Note the calls of a use of a pool.

        Args:
            rows: position, state, class and message of the error, file and unit of each call.
            results: results of the same calls.

        Returns:
            Remarks for the column ``error`` of the manifest, by position: on calls without a file, if others of their
            function have written one, and on calls that have caught errors of requests.
        """
        names = [json.loads(row[5])["value"]["function"] for row in rows]
        with_file = Counter(name for name, row in zip(names, rows, strict=True) if row[4] is not None)
        self._totals.update(names)
        remarks: dict[int, str] = {}
        for name, (position, state, _, _, file, _), result in zip(names, rows, results, strict=True):
            self._peculiar.update(result.peculiar)
            self.uncounted.update(result.uncounted)
            if not State(state).has_result:
                continue
            if file is None and with_file[name] and not (result.outside or result.appended):
                calls = "call" if with_file[name] == 1 else "calls"
                caught = f"; it has caught: {result.caught}" if result.caught else ""
                remarks[position] = f"wrote no file, although {with_file[name]} other {calls} of {name}() did{caught}"
                self._without[name] += 1
            elif result.caught:
                remarks[position] = f"did without a request, whose error it has caught: {result.caught}"
                self._catching[name] += 1
        return remarks

    def of_requests(self) -> Iterator[str]:
        """Yield the notes on requests that are not counted, and on work that is not recorded."""
        if self.uncounted:
            yield (
                f"Requests that the script sends to Earth Engine by {' and '.join(sorted(self.uncounted))} are not"
                " counted: they pass neither the quota nor the budget, and are not repeated. Requests by requests,"
                " urllib3.PoolManager, urllib, httpx and aiohttp are."
            )
        if self.unrecorded:
            names = " and ".join(sorted(self.unrecorded))
            yield f"Not recorded, and done again when the script is repeated: the work of {names}. Use a pool instead."
        for (name, obstacle), count in self._unsent.items():
            yield (
                f"Not recorded, and done again when the script is repeated: {format_count(count, 'call')} of {name}(),"
                f" made in the script's own threads, as they cannot be sent to another process: {obstacle.rstrip('.')}."
                " Make what belongs to one process in the function that uses it."
            )

    def lines(self) -> Iterator[str]:
        """Yield the notes."""
        yield from self.of_requests()
        if self.lost_results:
            requests = format_count(len(self.lost_results), "request")
            yield f"{requests} of the script itself failed, and it may lack data: {self.lost_results[0]}"
        if self._peculiar:
            yield (
                "Not recorded: they are not regular files (links to other folders, pipes, sockets):"
                f" {some_of(sorted(self._peculiar))}."
            )
        for counts, what in (
            (self._without, "wrote no file, unlike the others"),
            (self._catching, "caught errors of requests, and may lack data"),
        ):
            for name, count in counts.items():
                yield f"{count} of {self._totals[name]} calls of {name}() {what}: see the column error of the manifest."
        for name, count in self._managed.items():
            yield (
                f"{count} of {self._totals[name]} calls of {name}() were made by an earlier run: the script lacks what"
                " they put into queues, lists and values of multiprocessing.Manager. If it needs this, return it from"
                " the calls, or choose another folder with `out`."
            )


_SYNCHRONIZATION = ("AcquirerProxy", "BarrierProxy", "ConditionProxy", "EventProxy")
"""Types of multiprocessing.managers."""


def _is_given_managed(call: Call) -> bool:
    """Return whether a call has an object of a manager that holds data, as an argument or a variable."""
    code: Any = getattr(inspect.unwrap(without_partial(call.function)), "__code__", None)
    used = () if code is None else (*code.co_names, *code.co_freevars)
    own = {n: v for n, v in variables(call.function).items() if n in used or n.startswith("self.")}
    values = [*call.arguments, *call.keywords.values(), *own.values()]
    if isinstance(call.function, partial):
        values += [*call.function.args, *call.function.keywords.values()]
    values += [part for value in values if isinstance(value, (tuple, list)) for part in value]
    return any(isinstance(v, managers.BaseProxy) and type(v).__name__ not in _SYNCHRONIZATION for v in values)
