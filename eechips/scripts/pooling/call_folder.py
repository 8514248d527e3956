"""Store the calls of a script's pools, and their results, on disk between the parent and the workers.

Each use of a pool has a folder with the functions and their globals, the arguments of every call, and the returned
value or raised exception of every call. A script that is run again receives these results instead of repeating calls.
Each pickle is signed (:mod:`eechips.manifest.run_signature`); a pickle from elsewhere is rejected, not unpickled.
"""

from __future__ import annotations

import array
import contextlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eechips.errors import RecipeError
from eechips.files.removal import ReservedName, remove
from eechips.manifest.run_signature import seal, unseal, unsealed
from eechips.recipe import canonical_json
from eechips.scripts.issued_names import has_issued_names, known_requests, learn
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.shared_objects import ManagedChange, SharedChange
from eechips.scripts.pooling.state_changes import StateChange
from eechips.scripts.serialization import (
    describe,
    deserialize,
    deserialize_result,
    function_name,
    is_sendable,
    serialize,
)
from eechips.storage import resolve_inside, write_file

_PROGRAM, _ARGUMENTS, _INDEX, _PLACE = "program.pickle", "arguments.pickle", "arguments.index", "place.pickle"
_STATE = "state"
_PER_FOLDER = 1000  # results


@dataclass(frozen=True, slots=True)
class Program:
    """The functions and settings that all calls of one use of a pool share.

    Attributes:
        first: position in the plan of the first call.
        initializer: called once in every process; None for none.
        shares: whether the pool has threads, which share the script's variables.
        is_recipe: whether the calls are of the functions of a recipe: what they return is not received.
        in_any_order: whether the script may make the same calls together with others when it is run again.
        seed: seed of random numbers; each call adds its position in the plan.
        variables: data in variables of modules of the script's folder, by module and name.
    """

    first: int = 0
    functions: tuple[Callable[..., Any], ...] = ()
    initializer: Callable[..., Any] | None = None
    initargs: tuple[Any, ...] = ()
    shares: bool = False
    is_recipe: bool = False
    in_any_order: bool = False
    seed: int = 0
    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a call.

    Attributes:
        managed: its changes of objects of ``multiprocessing.Manager``.
        added: what it has added to numbers that processes share.
        outside: files that it wrote by absolute paths outside the run's folder.
        appended: content that it appended to files which several calls append to, by name.
        logged: lines that it logged, by path of the script's log file, relative if it is in the run's folder.
        has_caught_failure: whether the unit has failed with an error that the call has caught.
        peculiar: relative paths of new files that are not regular files.
        caught: error of a request that the call has caught, and did not repeat with success.
        tested: inputs whose existence it has tested, if it has written no file.
        uncounted: libraries that have sent its requests to Earth Engine past the quota.
        has_exported: whether it has started batch tasks.
        issued: digests of the requests of names in it that Earth Engine has issued for some hours.
        is_without_file: whether it has neither written a file nor appended to one. The ledger does not tell: of calls
            that write equal files, it has the file of one.
        has_memory: whether it may have changed shared memory.
    """

    value: Any = None
    error: BaseException | None = None
    changes: tuple[StateChange, ...] = ()
    managed: tuple[ManagedChange, ...] = ()
    added: tuple[SharedChange, ...] = ()
    outside: tuple[str, ...] = ()
    appended: Mapping[str, bytes] = field(default_factory=dict)
    logged: Mapping[str, str] = field(default_factory=dict)
    has_caught_failure: bool = False
    peculiar: tuple[str, ...] = ()
    caught: str = ""
    tested: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    has_exported: bool = False
    issued: Mapping[str, str] = field(default_factory=dict)
    is_without_file: bool = False
    has_memory: bool = False

    @property
    def is_nothing(self) -> bool:
        """Return whether it records nothing but the end of the call."""
        return self.value is None and self.error is None and self == CallResult()  # arrays have no equality


class CallFolder:
    """The calls of one use of a pool, in pickles that a key signs."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path, self._key = path, key

    def store(self, program: Program, calls: Sequence[Call | None], place: str) -> None:
        """Store the calls, with None for completed ones; stored results are kept.

        Args:
            place: place in the script at which the pool is used.

        Raises:
            RecipeError: if a function or an argument cannot be pickled.
            StorageError: if it cannot be written.
        """
        numbers = {id(function): number for number, function in enumerate(program.functions)}
        ends = array.array("Q", [0])
        packed: list[bytes] = []
        for position, call in enumerate(calls, program.first):
            if call is None:
                ends.append(ends[-1])
                continue
            content = numbers[id(call.function)], call.arguments, dict(call.keywords)
            data = serialize(content, f"an argument of {function_name(call.function)}")
            packed.append(seal(data, self._key, self._name(f"arguments {position}")))
            ends.append(ends[-1] + len(packed[-1]))
        names = ", ".join(dict.fromkeys(function_name(function) for function in program.functions))
        self.path.mkdir(parents=True, exist_ok=True)
        write_file(self.path / _ARGUMENTS, b"".join(packed))
        write_file(self.path / _INDEX, ends.tobytes())
        self._write(self.path / _PROGRAM, serialize(program, names), _PROGRAM)
        write_file(self.path / _STATE, f"{_state(program.functions)}\n{place}".encode())

    def has(self, functions: Sequence[Callable[..., Any]], place: str) -> tuple[bool, bool]:
        """Return whether functions have the variables with which the calls were stored, and whether it was there.

        Args:
            place: place in the script.
        """
        path = self.path / _STATE
        state, _, stored_place = path.read_text().partition("\n") if path.is_file() else ("none", "", "")
        return state == _state(functions), place == stored_place

    def program(self) -> Program:
        """Return the objects that the calls share, loaded into this process."""
        shared_program: Program = deserialize(self._read(self.path / _PROGRAM, _PROGRAM))
        return shared_program

    def version(self) -> tuple[str, int, int]:
        """Return what changes when calls are stored again: with other functions, or in another order of these."""
        state = (self.path / _PROGRAM).stat()
        return str(self.path), state.st_ino, state.st_mtime_ns

    def store_place(self, place: Any) -> None:
        """Store the context of the calls; raise StorageError if it cannot be written."""
        self._write(self.path / _PLACE, pickle.dumps(place), _PLACE)

    def place(self) -> Any:
        """Return the stored context of the calls."""
        return pickle.loads(self._read(self.path / _PLACE, _PLACE))

    def call(self, program: Program, position: int) -> Call:
        """Return the call at a position of the plan."""
        ends = array.array("Q")
        with (self.path / _INDEX).open("rb") as index:
            index.seek((position - program.first) * ends.itemsize)
            ends.frombytes(index.read(2 * ends.itemsize))
        with (self.path / _ARGUMENTS).open("rb") as arguments:
            arguments.seek(ends[0])
            data = arguments.read(ends[1] - ends[0])
        name = self._name(f"arguments {position}")
        number, positional, keywords = deserialize(unseal(data, self._key, name, self.path / _ARGUMENTS))
        return Call(program.functions[number], positional, keywords)

    def keep(self, position: int, result: CallResult, staging: Path | None = None, out: Path | None = None) -> None:
        """Store the result of a call, unless it is None.

        Args:
            staging: folder in which the call ran.
            out: destination of its files: returned paths below ``staging`` become paths below ``out``.

        Raises:
            RecipeError: if the result cannot be pickled.
            StorageError: if it cannot be written.
        """
        path = self._result(position)
        if result.is_nothing:
            remove(path, ReservedName(self.path.parent.name))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        moved = None if staging is None or out is None else (staging, out)
        packed = _packed(result, moved)
        if issued := known_requests(packed):
            packed = _packed(replace(result, issued=issued), moved)
        self._write(path, packed, _result_name(position))

    def result(self, position: int) -> CallResult:
        """Return the result of a call; raise UsageError if it was not stored by a run of this user."""
        try:
            call_result: CallResult = deserialize_result(self._read(self._result(position), _result_name(position)))
        except FileNotFoundError:
            return CallResult()
        learn(call_result.issued)
        return call_result

    def has_issued_names(self, position: int) -> bool:
        """Return whether the result of a call has names that Earth Engine has issued for some hours."""
        path = self._result(position)
        return path.is_file() and has_issued_names(path.read_bytes())

    def _result(self, position: int) -> Path:
        return self.path / "results" / f"{position // _PER_FOLDER:06d}" / f"{position:09d}.pickle"

    def _write(self, path: Path, data: bytes, name: str) -> None:
        write_file(path, seal(data, self._key, self._name(name)), is_one_of_many=True)

    def _read(self, path: Path, name: str) -> bytes:
        resolve_inside(path, self.path.parent)
        return unseal(path.read_bytes(), self._key, self._name(name), path)

    def _name(self, name: str) -> str:
        """Return the signed name of a file, which stays the same if the run is moved."""
        return f"{self.path.name} {name}"


def seal_results(folder: Path, key: bytes) -> None:
    """Sign the stored return values of calls in a run that the user trusts.

    Args:
        folder: folder of all calls of a run.
        key: key of this user, for the script of the run.

    Raises:
        UsageError: if one of the files is a link out of the folder, or no regular file.
        StorageError: if one cannot be written.
    """
    for path in sorted(folder.glob("*/results/*/*.pickle")):
        if not path.stem.isdecimal():
            continue
        resolve_inside(path, folder)
        use = path.parents[2].name
        sealed = seal(unsealed(path.read_bytes()), key, f"{use} {_result_name(int(path.stem))}")
        write_file(path, sealed, is_one_of_many=True)


def _state(functions: Sequence[Callable[..., Any]]) -> str:
    """Return a digest of functions with the variables that they use; empty if they cannot leave the process."""
    with contextlib.suppress(RecipeError):
        return canonical_json(list(map(describe, functions)))
    return ""


def _result_name(position: int) -> str:
    return f"results {position}"


def _packed(result: CallResult, moved: tuple[Path, Path] | None) -> bytes:
    if result.error is None:
        try:
            return serialize(result, "what the call returned", moved)
        except RecipeError:
            changes = tuple(filter(is_sendable, result.changes))
            if len(changes) == len(result.changes):
                raise
            return serialize(replace(result, changes=changes), "what the call returned", moved)
    try:
        data = serialize(result, "what the call raised")
        deserialize(data)  # exceptions with a custom constructor may be pickled, but not unpickled
    except (RecipeError, TypeError, AttributeError, pickle.UnpicklingError, ImportError):
        return serialize(CallResult(error=RecipeError(f"{type(result.error).__name__}: {result.error}")), "an error")
    return data
