"""Who does the work of a script's pools: every use of one becomes units of the run, in the order of the script."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eechips.engine.plan import DEFAULT_TEMPLATE, plan_units
from eechips.engine.run import Bench
from eechips.errors import EechipsError, RecipeError, RunMismatchError
from eechips.manifest.record import Planned, State
from eechips.recipe import canonical_json
from eechips.scripts.calls import Call, CallFolder, Program, Result, apply
from eechips.scripts.execution import Place
from eechips.scripts.shipping import describe, function_name
from eechips.scripts.stage import subfolders
from eechips.storage import NameTemplate, write_file

PLACE = "place.pickle"
_MOST_NAMED = 3
_NOT_FOUND = ("No such file", "does not exist in the file system", "unable to open database file", "no such table")


class Stopped(BaseException):
    """The run has stopped: the script ends where it asks for results that are not there.

    Attributes:
        error: that stopped it; None if it was the user.
    """

    def __init__(self, error: EechipsError | None = None) -> None:
        super().__init__()
        self.error = error


class Host:
    """Makes the calls of a script's pools.

    Attributes:
        calls: made so far, or found made.

    Args:
        bench: of the run.
        identity: of the script.
        place: where calls run; the folders that the script makes are added.
    """

    def __init__(self, bench: Bench, identity: str, place: Place) -> None:
        self._bench, self._identity, self._place = bench, identity, place
        self._uses = 0
        self.calls = 0
        self._raised: list[BaseException] = []
        self._outside: set[str] = set()
        self._peculiar: set[str] = set()

    def execute(
        self, calls: Sequence[Call], *, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...], shares: bool
    ) -> list[Result]:
        """Makes calls, but for those whose results are there.

        Raises:
            RecipeError: if something cannot be given to another process.
            RunMismatchError: if the script asks for something else than the last time.
            Stopped: if the user stops the run.
        """
        first, number = self.calls, self._uses + 1
        folder = CallFolder(self._place.calls / f"{number:04d}")
        functions = tuple({id(call.function): call.function for call in calls}.values())
        folder.store(Program(first, functions, initializer, initargs, shares), calls)
        write_file(folder.path / PLACE, pickle.dumps(self._present_place()))
        self._plan(number, first, calls)
        self._uses, self.calls = number, first + len(calls)
        try:
            is_settled = self._bench.settle(first, self.calls)
        except EechipsError as error:  # it ends the run: the script is not asked
            raise Stopped(error) from error
        if not is_settled:
            raise Stopped
        results = self._results(folder, first, calls)
        join_appended(folder.path / "appended", self._place.out, [result.appended for result in results])
        return [self._delivered(result, call) for result, call in zip(results, calls, strict=True)]

    def has_raised(self, error: BaseException) -> bool:
        """Whether an exception is, or comes from, one that a call has raised."""
        seen: list[BaseException] = []
        cause: BaseException | None = error
        while cause is not None and cause not in seen:
            seen.append(cause)
            if any(cause is raised for raised in self._raised):
                return True
            cause = cause.__cause__ or cause.__context__
        return False

    @property
    def outside(self) -> list[str]:
        """Files that calls have written outside the run's folder."""
        return sorted(self._outside)

    @property
    def lacks_files(self) -> bool:
        """Whether a call has raised as it did not find a file."""
        return any(map(lacks_file, self._raised))

    @property
    def notes(self) -> list[str]:
        """What is to be said of files that are not recorded."""
        return list(_of_peculiar(sorted(self._peculiar)))

    def _present_place(self) -> Place:
        made = (name for name in subfolders(self._place.out, self._place.out) if name != ".")
        root = logging.getLogger()
        return replace(
            self._place,
            folders=tuple(dict.fromkeys((*self._place.folders, *made))),
            log_level=root.level if root.handlers else None,
        )

    def _plan(self, number: int, first: int, calls: Sequence[Call]) -> None:
        """Adds the calls to the ledger's plan, or finds them there."""
        values = (
            {"use": number, "function": function_name(c.function), "arguments": describe(c.arguments),
             **({"keywords": describe(dict(c.keywords))} if c.keywords else {})}
            for c in calls
        )  # fmt: skip
        units = [
            Planned(first + unit.position, unit.id, unit.unit, unit.name)
            for unit in plan_units(values, self._identity, NameTemplate(DEFAULT_TEMPLATE))
        ]
        stored = [found for found in self._ids() if first <= found[0]]
        if not stored:
            self._bench.ledger.add(units)
            self._bench.log.write("planned", units=len(units), use=number)
            return
        there = dict(stored)
        different = [unit for unit in units if there.get(unit.position) != unit.id]
        if different:
            example = canonical_json(different[0].unit)[:120]
            raise RunMismatchError(
                f"the script asks for something else than the last time: {len(different)} of the {len(units)} calls of"
                f" its pool no. {number} are new, such as {example}. If it is random, seed it; else choose"
                " another folder with --out, or remove this one"
            )

    def _ids(self) -> Iterator[tuple[int, str]]:
        for rows in self._bench.ledger.batches(("position", "lower(hex(id))")):
            yield from rows

    def _results(self, folder: CallFolder, first: int, calls: Sequence[Call]) -> list[Result]:
        end = first + len(calls)
        rows = [
            row
            for batch in self._bench.ledger.batches(("position", "state", "error_class", "error"))
            for row in batch
            if first <= row[0] < end
        ]
        found = []
        for position, state, kind, message in rows:
            result = folder.result(position)
            if State(state).is_failure and result.error is None and not result.has_caught_failure:
                result = Result(error=RecipeError(f"{kind}: {message}"))
            elif not State(state).is_failure and result.error is not None:
                result = Result()
            found.append(result)
        return found

    def _delivered(self, result: Result, call: Call) -> Result:
        """Lets the script have what came of a call."""
        if result.error is not None:
            self._raised.append(result.error)
        if result.changes:
            apply(result.changes, call.function)
        self._outside.update(result.outside)
        self._peculiar.update(result.peculiar)
        return result


def join_appended(before: Path, out: Path, appended: Sequence[Mapping[str, bytes]]) -> None:
    """Writes the files that several calls have added to: what was there, and what they added, in the plan's order.

    A heading that each call has written, as none has seen what the others did, is there once.

    Args:
        before: folder that keeps what was there at first, for a script that is run again.
        out: the run's folder.
        appended: what each call has added, by name.
    """
    for name in dict.fromkeys(name for each in appended for name in each):
        path, kept = out / name, before / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            write_file(kept, path.read_bytes() if path.is_file() else b"")
        parts = [part for part in (kept.read_bytes(), *(each.get(name, b"") for each in appended)) if part]
        heads = {part.partition(b"\n")[0] for part in parts}
        has_headings = len(parts) > 1 and len(heads) == 1 and all(part.count(b"\n") > 1 for part in parts[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        bodies = (part.partition(b"\n")[2] if has_headings and number else part for number, part in enumerate(parts))
        write_file(path, b"".join(bodies))


def lacks_file(error: BaseException) -> bool:
    """Whether an exception says that a file is not there: Python's own, or one of GDAL, pyogrio, rasterio or SQLite."""
    return isinstance(error, FileNotFoundError) or any(words in str(error) for words in _NOT_FOUND)


def _of_peculiar(peculiar: Sequence[str]) -> Iterator[str]:
    if peculiar:
        yield (
            f"Not recorded, as they are no regular files (links to other folders, pipes, sockets): {_some(peculiar)}."
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
