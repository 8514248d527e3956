"""Collect what the end of a run says of a script's calls: what they left out, and what is not recorded or counted."""

from __future__ import annotations

import contextlib
import json
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from eechips.manifest.manifest_columns import State
from eechips.scripts.pooling.call_folder import CallResult
from eechips.text.formatting import format_count, some_of


class CallNotes:
    """Notes on calls that succeeded.

    Attributes:
        uncounted: libraries and programs that have sent requests to Earth Engine past the quota.
        unrecorded: what of the script has fetched results without a pool: threads, coroutines, and processes, which
            are listed.
        unclear: variables that calls of threads have set to different values, in a way that their source does not show.
        lost_results: errors of the script's own requests for results.
        unsent: calls that threads of the script make, by function and why another process cannot.
        has_failures: whether calls have failed.
        status: exit status of the script, and the text with which it has ended; empty after success.
    """

    def __init__(self) -> None:
        self.uncounted: set[str] = set()
        self.unrecorded: dict[str, list[Any]] = {}
        self.unclear: set[str] = set()
        self.lost_results: list[str] = []
        self.has_failures = False
        self.status = ""
        self._peculiar: set[str] = set()
        self._totals: Counter[str] = Counter()  # calls by function, as the others
        self._without: Counter[str] = Counter()
        self._catching: Counter[str] = Counter()
        self.unsent: Counter[tuple[str, str]] = Counter()

    def add_exit(self, code: object) -> None:
        """Note what ``sys.exit`` was given: a status, or an object that Python prints, with the status 1."""
        if isinstance(code, int):
            self.status = str(int(code)) if code else ""
        elif code is not None:
            self.status = f"1: {code}"

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
        for name, (position, state, *_), result in zip(names, rows, results, strict=True):
            self._peculiar.update(result.peculiar)
            self.uncounted.update(result.uncounted)
            if not State(state).has_result:
                self.has_failures = True
                continue
            if result.is_without_file and with_file[name]:
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
            processes = (process for listed in self.unrecorded.values() for process in listed)
            if failed := [f"{p.name} (exit code {p.exitcode})" for p in processes if _has_failed(p)]:
                yield (
                    f"Processes that the script started have failed: {some_of(failed)}. Results may be missing. Repeat"
                    " the command, or use a pool, whose failed calls are recorded and made again."
                )
        for (name, obstacle), count in self.unsent.items():
            yield (
                f"Not recorded, and done again when the script is repeated: {format_count(count, 'call')} of {name}(),"
                f" made in the script's own threads, as they cannot be sent to another process: {obstacle}."
            )

    def lines(self) -> Iterator[str]:
        """Yield the notes."""
        yield from self.of_requests()
        if self.status:
            yield f"The script ended with status {self.status.rstrip('.')}."
        if self.unclear:
            names = " and ".join(sorted(self.unclear))
            yield (
                f"Calls of threads have set {names} to different values: the script may have another one than plain"
                " threads leave. Return the values instead."
            )
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


def _has_failed(process: Any) -> bool:
    """Return whether a process ended with an error, or was killed, but not by ``terminate``."""
    with contextlib.suppress(ValueError):  # the script has closed it
        return process.exitcode not in (None, 0, -signal.SIGTERM)
    return False
