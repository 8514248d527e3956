"""Convert the calls of a script's pools to units of the run, in the order of the script; refuse a script that differs
from its last run.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from eechips.engine.plans.plan import DEFAULT_TEMPLATE, plan_units
from eechips.engine.run_context import RecipeContext
from eechips.errors import EechipsError, RecipeError, RunMismatchError
from eechips.manifest.manifest_columns import State, WorkUnit
from eechips.manifest.run_status import OUTSIDE_FILES
from eechips.manifest.sqlite.ledger_queries import read_files
from eechips.manifest.withheld_files import restore, withhold
from eechips.recipe import canonical_json
from eechips.scripts.call_execution import CallContext
from eechips.scripts.module_state import module_variables
from eechips.scripts.named_inputs import subfolders
from eechips.scripts.pooling.appended_files import AppendedFiles
from eechips.scripts.pooling.call_descriptions import EarlierCalls, describe_calls
from eechips.scripts.pooling.call_folder import CallFolder, CallResult, Program
from eechips.scripts.pooling.call_notes import CallNotes
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.merged_changes import apply
from eechips.scripts.pooling.original_pools import ScriptStopped, is_installed
from eechips.scripts.pooling.shared_objects import repeat_changes, repeat_numbers
from eechips.scripts.pooling.use_places import present_place
from eechips.scripts.replacements.log_files import present_settings, write_logged
from eechips.scripts.replacements.random_numbers import present_seed
from eechips.scripts.replacements.retry_guard import causes
from eechips.scripts.serialization import function_name
from eechips.scripts.working_folder import WorkingFolder
from eechips.storage import NameTemplate
from eechips.text.formatting import format_count, some_of

_ADVICE = (
    "If it is random, set a seed; if it numbers the items of a set, sort them; if it has a temporary folder, name one"
    " that stays; if it leaves out what exists, test in the script for the files of a call, not for their folder;"
    " otherwise choose another folder with `out`, or remove this one"
)
_USE_UNDER_WAY = "use_under_way"
"""In the ledger: number of the use of a pool whose results the script has not received yet; None for none."""

_EXPORTS_UNDER_WAY = "exports_under_way"
"""In the ledger: whether batch tasks of a run with a local Earth Engine may not have completed; they end with it."""

_NOT_FOUND = ("No such file", "does not exist in the file system", "unable to open database file", "no such table")


class ScriptHost:
    """Make the calls of a script's pools.

    Attributes:
        calls: number of completed calls, including those of earlier runs.
        outside: files that calls have written outside the run's folder.
        tested: inputs whose existence was tested by calls that wrote no file.
        call_notes: what the end of the run says of the calls.
        appended: files to which the calls or the script append.
        repeats_exports: whether batch tasks of an earlier run may not have completed: calls start them again.

    Args:
        place: folders and settings of the calls; the folders that the script makes are added.
        key: signs arguments and results of calls.
    """

    def __init__(
        self, bench: RecipeContext, identity: str, place: CallContext, key: bytes, working_folder: WorkingFolder
    ) -> None:
        self._bench, self._identity, self._place, self._key = bench, identity, place, key
        self._working_folder = working_folder
        self._uses = 0
        self._stop: ScriptStopped | None = None
        self.calls = 0
        self._raised: list[BaseException] = []
        self.outside: set[str] = set()
        self.tested: set[str] = set()
        self.call_notes = CallNotes()
        self._planned_before = bench.ledger.end
        self._has_ended = OUTSIDE_FILES in bench.ledger.meta()
        self.repeats_exports = bool(bench.ledger.meta().get(_EXPORTS_UNDER_WAY))
        if bench.config.is_local:
            bench.ledger.note(_EXPORTS_UNDER_WAY, True)
        self.appended = AppendedFiles(place.out)
        working_folder.using = self.appended.use
        self._changed: set[str] = set()
        self._earlier: EarlierCalls | None = None
        self._output = sys.stdout
        self._environment_before, self._environment = dict(os.environ), dict[str, str | None]()
        self._received: set[int] = set()
        self._positions: dict[int, range] = {}  # in the plan, by the number of the use of a pool
        for position, unit in bench.ledger.rows(("position", "unit")):
            use = json.loads(unit)["value"]["use"]
            self._positions[use] = range(self._positions.get(use, range(position, 0)).start, position + 1)
        self._interrupted = self._withhold_results()

    def execute(self, calls: Sequence[Call], program: Program) -> list[CallResult]:
        """Make the calls that have no result yet.

        Raises:
            RecipeError: if a function or an argument cannot be pickled.
            ScriptStopped: if the user stops the run, or if the last run recorded other calls.
        """
        self.check()
        try:
            with self._working_folder.suspended():
                if not (program.in_any_order and self._planned_before):
                    return self._execute(calls, program, *self._find_use(calls))
                return self._execute_in_any_order(calls, program)
        except ScriptStopped as stop:
            self._stop = stop
            raise
        except RunMismatchError as error:  # which the script could take for a call's
            self._stop = ScriptStopped(error)
            raise self._stop from error

    def note_unsent(self, function: str, obstacle: str) -> None:
        """Note a call that a thread of the script makes, since it cannot be sent to another process."""
        self.call_notes.unsent[function, obstacle] += 1

    def check(self) -> None:
        """Raise ScriptStopped again if it was raised before: the script may have caught it."""
        if self._stop is not None:
            raise self._stop

    def _execute_in_any_order(self, calls: Sequence[Call], program: Program) -> list[CallResult]:
        """Make calls of which earlier runs may have made each in another use of a pool."""
        ledger = self._bench.ledger
        if self._earlier is None:
            self._earlier = EarlierCalls(unit for (unit,) in ledger.rows(("unit",), range(self._planned_before)))
        results: dict[int, CallResult] = {}
        for number, part in self._earlier.by_use(calls).items():
            place = (self._positions[number].start, number) if number else (ledger.end, max(self._positions) + 1)
            results.update(zip(map(id, part), self._execute(part, program, *place), strict=True))
        return [results[id(call)] for call in calls]

    def _execute(self, calls: Sequence[Call], program: Program, first: int, number: int) -> list[CallResult]:
        """Make the calls of a use of a pool, whose first one has a position in the plan."""
        if 0 < self._interrupted <= number:
            restore(self._place.out, replaces=True)
            self._interrupted = 0
        folder = CallFolder(self._place.calls / f"{number:04d}", self._key)
        functions = tuple({id(call.function): call.function for call in calls}.values())
        slots = self._plan(number, first, calls, in_any_order=program.in_any_order)
        done = self._reopen(folder, number, first, slots) if first < self._planned_before else {}
        variables = module_variables(self._place.root)
        program = replace(program, first=first, functions=functions, seed=present_seed(), variables=variables)
        folder.store(program, slots, present_place())
        folder.store_place(self._present_place())
        end = first + len(slots)
        self._uses, self.calls = max(self._uses, number), max(self.calls, end)
        self._bench.ledger.note(_USE_UNDER_WAY, number)
        others = [position for position, call in enumerate(slots, first) if call is None and position not in done]
        try:
            parts = zip([first, *(position + 1 for position in others)], [*others, end], strict=True)
            is_settled = all(self._bench.settle(start, stop) for start, stop in parts if start < stop)
        except EechipsError as error:  # it ends the run without the script's handlers
            raise ScriptStopped(error) from error
        if not is_settled:
            raise ScriptStopped
        results = [done.get(position) or folder.result(position) for position in range(first, end)]
        self._complete(results, first, slots, in_any_order=program.in_any_order)
        is_again = first < self._planned_before and None not in slots
        if not program.in_any_order or any(result.appended for result in results):
            self.appended.receive(number, [result.appended for result in results], is_again=is_again)
        for result, call in zip(results, slots, strict=True):
            write_logged(result.logged if call is not None or not program.in_any_order else {}, self._place.out)
        self._received.update(position for position, call in enumerate(slots, first) if call is not None)
        self._bench.ledger.note(_USE_UNDER_WAY, None)
        call_results = [(result, call) for result, call in zip(results, slots, strict=True) if call is not None]
        self.call_notes.unclear |= apply((change, call) for result, call in call_results for change in result.changes)
        for position, (result, call) in enumerate(zip(results, slots, strict=True), first):
            if call is not None:
                repeat_numbers(result.added, call, program.initargs)
                if position in done:
                    repeat_changes(result.managed, call, program.initargs)
        for result, _ in call_results:
            self._note(result)
        numbers = {id(call): number for number, call in enumerate(calls)}  # as of a set, not always those of the plan
        return [result for result, _ in sorted(call_results, key=lambda pair: numbers[id(pair[1])])]

    def complete_exports(self) -> None:
        """Note that all batch tasks of the calls have completed."""
        self._bench.ledger.note(_EXPORTS_UNDER_WAY, None)

    def has_raised(self, error: BaseException) -> bool:
        """Return whether an exception is, or was caused by, the exception of a call."""
        return any(cause is raised for cause in causes(error) for raised in self._raised)

    @property
    def lacks_files(self) -> bool:
        """Return whether a call failed because it did not find a file."""
        return any(map(lacks_file, self._raised))

    @property
    def notes(self) -> list[str]:
        """Return notes on the calls."""
        return [*self.call_notes.lines(), *self._of_values(), *self._of_repetition()]

    def _of_repetition(self) -> Iterator[str]:
        """Yield notes on files that may have lines twice, and on functions that may not return what they would now."""
        for name in sorted(self._changed):
            yield (
                f"Calls of {name}() have the results of an earlier run, in which variables that it uses were others,"
                " as the time. If its values or names of files depend on these, choose another folder with `out`."
            )
        if names := self.appended.repeated:
            yield (
                f"{some_of(sorted(set(names)))} may have lines twice: the script was run again from its top, and has"
                " appended other lines than before. Remove those that you do not need."
            )
        if names := [] if self._has_ended else self.appended.changed:
            yield (
                f"{some_of(names)} may have items twice: the script was run again from its top, has read what the"
                " interrupted run had left there, and has changed it. If so, remove it and repeat the command, which"
                " makes no completed call again."
            )

    def _of_values(self) -> Iterator[str]:
        """Yield notes on values that the script lacks: it was interrupted, and has left out the calls since."""
        counts: Counter[str] = Counter()
        for position, unit, state in () if self._has_ended else self._bench.ledger.rows(("position", "unit", "state")):
            if position not in self._received and State(state).has_result:
                value = json.loads(unit)["value"]
                result = CallFolder(self._place.calls / f"{value['use']:04d}", self._key).result(position)
                counts[value["function"]] += result.value is not None or bool(result.changes)
        for name, count in (+counts).items():
            yield (
                f"The script was interrupted, and has left out {format_count(count, 'call')} of {name}() since, as it"
                " found their results: it has not received what they returned. If it needs these values, choose another"
                " folder with `out`."
            )

    def _present_place(self) -> CallContext:
        changed = dict(os.environ.items() ^ self._environment_before.items())
        self._environment = {name: os.environ.get(name) for name in {*self._environment, *changed}}
        new_folders = (name for name in subfolders(self._place.out, self._place.out) if name != ".")
        return replace(
            self._place,
            folders=tuple(dict.fromkeys((*self._place.folders, *new_folders))),
            environment=self._environment,
            logging=present_settings(collects_output=sys.stdout is not self._output),
            imports=tuple(dict.fromkeys((*sys.path, *self._working_folder.import_folders()))),
            cwd=self._working_folder.cwd,
            names_cwd=self._working_folder.names_cwd,
            packages=tuple(filter(_may_extend_classes, self._place.packages)),
        )

    def _withhold_results(self) -> int:
        """Withhold the files of the use of a pool that was interrupted, until the script repeats it, or a later use.

        Returns:
            The number of the use; 0 for none.
        """
        ledger = self._bench.ledger
        number = ledger.meta().get(_USE_UNDER_WAY) or 0
        if number:
            withhold(self._place.out, [f.name for f in read_files(ledger.database, self._positions.get(number, ()))])
        return int(number)

    def _find_use(self, calls: Sequence[Call]) -> tuple[int, int]:
        """Return the position in the plan, and the number, of a use of a pool.

        A script that skips what it has may not repeat a completed use of a pool; its calls then belong to a later use,
        or to a new one if it was killed before its end. Of uses with the same calls, that one is repeated whose
        functions had the same variables, or else the first that is at the same place in the script, or not done.
        """
        first, number = self.calls, self._uses + 1
        functions = tuple({id(call.function): call.function for call in calls}.values())
        similar: tuple[int, int] | None = None
        place = present_place()
        while stored := self._stored(number):
            is_done = all(done for *_, done in stored)
            if {unit.id for unit in self._units(number, first, calls)} <= {identifier for _, identifier, _ in stored}:
                folder = CallFolder(self._place.calls / f"{number:04d}", self._key)
                has_state, has_place = folder.has(functions, place)
                if has_state:
                    return first, number
                if similar is None and (not is_done or has_place):
                    similar = first, number
            if not is_done:
                break
            first, number = first + len(stored), number + 1
        else:
            if similar is None and OUTSIDE_FILES not in self._bench.ledger.meta():  # the script has not ended yet
                return first, number
        if similar is not None and any(done for *_, done in self._stored(similar[1])):
            self._changed.update(function_name(function) for function in functions)
        return similar or (self.calls, self._uses + 1)

    def _units(self, number: int, first: int, calls: Sequence[Call]) -> list[WorkUnit]:
        """Return the units of the calls of a use of a pool."""
        values = ({"use": number, **description} for description in describe_calls(calls))
        return [
            WorkUnit(first + unit.position, unit.id, unit.unit, unit.name)
            for unit in plan_units(values, self._identity, NameTemplate(DEFAULT_TEMPLATE))
        ]

    def _plan(self, number: int, first: int, calls: Sequence[Call], *, in_any_order: bool) -> list[Call | None]:
        """Add the calls to the ledger's plan, or find them there.

        A script that skips what it has, as files or rows of a table, makes fewer calls when it is run again; the
        omitted calls must be done, unless it may make them later.

        Returns:
            The calls by their positions in the plan, from ``first`` on; None for omitted calls.

        Raises:
            RunMismatchError: if the calls differ from those of the last run.
        """
        units = self._units(number, first, calls)
        stored = self._stored(number)
        if not stored:
            self._bench.ledger.add(units)
            self._positions[number] = range(first, first + len(units))
            self._bench.log.write("planned", units=len(units), use=number)
            return list(calls)
        there = {identifier: position for position, identifier, _ in stored}
        different = [unit for unit in units if unit.id not in there]
        if different:
            value = json.loads(different[0].unit)["value"]
            example = f"{value['function']}() with {canonical_json(value['arguments'])[:100]}"
            raise RunMismatchError(
                f"the script differs from its last run: {len(different)} of the {len(units)} calls of"
                f" its pool no. {number} are new, such as {example}. {_ADVICE}"
            )
        by_position = {there[unit.id]: call for unit, call in zip(units, calls, strict=True)}
        undone = [position for position, _, is_done in stored if position not in by_position and not is_done]
        if undone and not in_any_order:
            raise RunMismatchError(
                f"the script differs from its last run: of the {len(stored)} calls of its pool no. {number}, it leaves"
                f" out {len(undone)} calls that have not been done. {_ADVICE}"
            )
        return [by_position.get(position) for position, _, _ in stored]

    def _reopen(
        self, folder: CallFolder, number: int, first: int, calls: Sequence[Call | None]
    ) -> dict[int, CallResult]:
        """Make completed calls again that lack a result; return the results of the other completed calls.

        A file of theirs was removed, and its name perhaps given to another; they returned names of Earth Engine,
        which may have expired; their batch tasks may have ended with the local Earth Engine of a run that was
        interrupted, or have failed; or they have changed shared memory, which ended with the script.
        """
        ledger = self._bench.ledger
        wanted = {position for position, call in enumerate(calls, first) if call is not None}
        rows = ledger.rows(("position", "file", "sha256"), range(first, first + len(calls)))
        without_file = [(n, digest) for n, file, digest in rows if file is None and n in wanted]
        expired = [n for n, digest in without_file if digest is not None or folder.has_issued_names(n)]
        removed = [
            file.position for file in read_files(ledger.database, wanted) if not (self._place.out / file.name).is_file()
        ]
        results = {position: folder.result(position) for position in range(first, first + len(calls))}
        lost = [position for position in sorted(wanted) if self._is_lost(results[position])]
        ledger.reopen({*expired, *removed, *lost})
        return {position: results[position] for position, _, is_done in self._stored(number) if is_done}

    def _is_lost(self, result: CallResult) -> bool:
        """Return whether a result lacks its batch tasks, its files outside of the run, or memory that it changed."""
        has_exports = not (self.repeats_exports and result.has_exported)
        has_files = all(Path(name).is_file() for name in result.outside)
        return not (has_exports and has_files) or result.has_memory

    def _stored(self, number: int) -> list[tuple[int, str, bool]]:
        """Return position and id of the planned calls of a use of a pool, and whether they are done."""
        rows = self._bench.ledger.rows(("position", "lower(hex(id))", "state"), self._positions.get(number, ()))
        return [(position, identifier, State(state).has_result) for position, identifier, state in rows]

    def _complete(
        self, results: list[CallResult], first: int, calls: Sequence[Call | None], *, in_any_order: bool
    ) -> None:
        """Note the results of a use of a pool, also of calls that the script has left out; set errors of the ledger."""
        columns = "position", "state", "error_class", "error", "file", "unit"
        rows = list(self._bench.ledger.rows(columns, range(first, first + len(calls))))
        noted = [n for n, call in enumerate(calls) if call is not None or not in_any_order]  # others come later
        if remarks := self.call_notes.add([rows[n] for n in noted], [results[n] for n in noted]):
            self._bench.ledger.set_errors(remarks)
        for number, (_, state, kind, message, *_) in enumerate(rows):
            result = results[number]
            if calls[number] is None:
                continue
            if State(state).is_failure and result.error is None and not result.has_caught_failure:
                results[number] = replace(result, value=None, error=RecipeError(f"{kind}: {message}"))
            elif not State(state).is_failure and result.error is not None:
                results[number] = CallResult()

    def _note(self, result: CallResult) -> None:
        """Note what the result of a call says beside its value."""
        if result.error is not None:
            self._raised.append(result.error)
        self.outside.update(result.outside)
        self._working_folder.outside.update(dict.fromkeys(result.outside))
        self.tested.update(result.tested)


_EXTENDED = ("ee", "xarray")


def _may_extend_classes(name: str) -> bool:
    """Return whether an imported module may add attributes to classes of ``ee`` or ``xarray``.

    It must be an installed package that imports one of these. Importing all packages of a script into each worker may
    take gigabytes, and a module of the script may do work when it is imported.
    """
    path = getattr(sys.modules.get(name), "__file__", None)
    if path is None or not is_installed(Path(path)):
        return False
    extended = [sys.modules[package] for package in _EXTENDED if package in sys.modules]
    own = [
        module
        for key, module in tuple(sys.modules.items())
        if f"{key}.".startswith(f"{name}.") and hasattr(module, "__dict__")
    ]
    return any(value is package for module in own for value in tuple(vars(module).values()) for package in extended)


def lacks_file(error: BaseException) -> bool:
    """Return whether an exception of Python, GDAL, pyogrio, rasterio or SQLite reports a missing file."""
    return isinstance(error, FileNotFoundError) or any(words in str(error) for words in _NOT_FOUND)
