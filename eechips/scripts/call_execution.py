"""Execute a call of a script in a worker, in a separate folder, and collect the files that it writes; refuse results
that nothing receives; end a loop that repeats a failing request without an end.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from eechips.client.error_classification import internal_error
from eechips.errors import EechipsError, RecipeError, RequestError, Stopped, TooLargeError, UsageError, ValidationError
from eechips.files.temporary_names import scratch_name
from eechips.formats import inspect
from eechips.manifest.reserved_names import result_name
from eechips.recipe import Chip, Table
from eechips.recipe.results import RecipeFile, RecipeFiles
from eechips.scripts.module_state import script_modules, set_variables
from eechips.scripts.named_inputs import named_texts
from eechips.scripts.pooling.call_folder import CallFolder, CallResult, Program
from eechips.scripts.pooling.pool_patches import replace_pool_classes
from eechips.scripts.pooling.shared_objects import has_memory, note_memory, record_changes, record_numbers
from eechips.scripts.pooling.state_changes import StateChange, StateChanges
from eechips.scripts.replacements.library_patches import keep_client, leave_out_signals
from eechips.scripts.replacements.log_files import LogSettings, name_in_run
from eechips.scripts.replacements.network_patches import RequestObserver
from eechips.scripts.replacements.random_numbers import seeded
from eechips.scripts.replacements.retry_guard import classify_error, guard_retries, is_transient
from eechips.scripts.serialization import deserialize
from eechips.scripts.working_folder import WorkingFolder
from eechips.text.formatting import some_of

STAGING = "staging"
"""Folder, below the folder of all calls, with a working folder for each process of each machine."""

_MOST_REFUSALS = 3
"""Failures of the same request in a call, after which its own loops may wait; they end with the next one."""

_DATA_TYPES = (bytes, dict, float)
_DATA_PACKAGES = frozenset({"ee", "numpy", "pandas", "geopandas", "xarray"})


@dataclass(frozen=True, slots=True)
class CallContext:
    """Folders and settings of the calls.

    Attributes:
        out: the run's folder, absolute.
        home: the working directory of the command.
        root: folder that has the modules of the script.
        imports: folders that the script imports from.
        packages: installed packages that it has imported, and which may extend classes of others, as geedim does.
        environment: variables of the environment that it has set, or removed (None), by name.
        inputs: files below ``home`` that the script names.
        folders: below ``out``, that the script has made.
        logging: serialized :class:`LogSettings`; None if the script has not configured logging.
        cwd: the script's working directory when it opened the pool: below ``out``, or absolute.
        names_cwd: whether the script had asked for its working directory by then.
    """

    out: Path
    calls: Path
    home: Path
    root: Path
    imports: tuple[str, ...]
    inputs: tuple[str, ...]
    folders: tuple[str, ...]
    logging: bytes | None = None
    cwd: str = "."
    names_cwd: bool = False
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)


class CallExecutor:
    """Run calls, one at a time."""

    def __init__(self, place: CallContext, observer: RequestObserver) -> None:
        self._place, self._observer = place, observer
        self._working_folder = WorkingFolder(
            place.calls / STAGING / scratch_name(),
            (place.out, place.home),
            place.inputs,
            place.folders,
            appends_apart=True,
            names_cwd=place.names_cwd,
            threads=observer.left_running,
            is_again=True,
        )
        self._version: tuple[str, int, int] | None = None
        self._program: Program | None = None
        self._has_raised = False
        self._changes: tuple[StateChange, ...] = ()
        self._written: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._has_locked = False  # whether an array was made read-only, by this call or an earlier one of the program
        sys.path[:] = dict.fromkeys((*place.imports, *sys.path))
        for name in place.environment:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in place.environment.items() if value is not None})
        for name in place.packages:
            with contextlib.suppress(ImportError):  # another machine may lack it; a function that needs it says so
                importlib.import_module(name)
        self._logging: LogSettings = LogSettings({}) if place.logging is None else deserialize(place.logging)
        self._logging.configure()

    def execute(self, folder: CallFolder, position: int) -> RecipeFiles | Chip | Table | bytes | np.ndarray[Any, Any]:
        """Run a call.

        Returns:
            The files that it has written; or a chip or table to fetch, as from a recipe; or, of a recipe's function
            that has written nothing, bytes or an array. A call that has caught the error of its only request and
            written no file has failed; the script receives the call's return value.

        Raises:
            Stopped: if the run is stopping.
            EechipsError: for an exception of a request, and files beside a returned chip or table.
            Exception: what the script's own code raises, unchanged.
        """
        result, files = self._observed_call(folder, position)
        if isinstance(result.value, (Chip, Table)):
            folder.keep(position, replace(result, value=None))
            if files:
                names = some_of([file.name for file in files])
                raise RecipeError(
                    f"the call returns a {type(result.value).__name__} and has written {names}, which cannot be kept"
                    " beside it: return the one, or write the other"
                )
            return result.value
        if not files and (wasted := self._wasted_type(folder, result)):
            folder.keep(position, replace(result, value=None))
            if isinstance(result.value, (bytes, np.ndarray)):
                return result.value
            raise RecipeError(
                f"the call returns an object of type {wasted}, which nothing fetches or receives, and has written no"
                " file: return a Chip, a Table, an array or bytes, or write a file"
            )
        failure = None if files else self._caught(result)
        result = replace(
            result,
            has_caught_failure=failure is not None,
            caught=next(map(str, self._left_out()), ""),
            tested=() if files else tuple(self._working_folder.tested),
            is_without_file=not (files or result.outside or result.appended),
        )
        folder.keep(position, result, self._working_folder.folder, self._place.out)
        if failure is not None:
            raise failure
        return RecipeFiles(files)

    def _observed_call(self, folder: CallFolder, position: int) -> tuple[CallResult, tuple[RecipeFile, ...]]:
        """Run a call in an empty working folder; return what it returned and changed, and its files, checked."""
        self._working_folder.clear()
        self._observer.reset()
        logged: dict[str, io.StringIO] = {}
        try:
            with (
                self._observer.in_call(),
                keep_client(),
                leave_out_signals(),
                note_memory(),
                replace_pool_classes(),
                self._working_folder.entered(self._place.cwd),
                self._logging.collecting() as logged,
                guard_retries(self._may_help, self._observer.pause, self._ends_loop),
            ):
                result = self._call(folder, position)
            if left := self._left_open():
                raise UsageError(
                    f"the call leaves {some_of(left)} open, and what later calls of its process write there is lost:"
                    " open it in each call, or return the rows, and let the script write them"
                )
            files = self._files()
            if self._observer.is_stopped:
                raise Stopped
        except (Stopped, KeyboardInterrupt):
            raise
        except BaseException as error:
            if self._observer.is_stopped:
                raise Stopped from None
            folder.keep(position, CallResult(error=error, changes=self._changes, logged=self._texts(logged)))
            known_error = classify_error(error) if self._has_raised else internal_error(error)
            known_error = self._shared_data_error(error) or known_error
            if isinstance(known_error, RequestError) and self._observer.failure is not None:
                known_error = self._observer.failure  # with the service's message, which libraries omit
            if known_error is not None and known_error is not error:
                raise known_error from error
            raise
        finally:
            self._has_raised = False
            sys.stdout.flush()
        result = replace(
            result,
            outside=self._outside(),
            appended=self._appended(),
            logged=self._texts(logged),
            peculiar=tuple(self._working_folder.peculiar),
            uncounted=tuple(sorted(self._observer.uncounted)),
            has_exported=self._observer.has_exported,
            has_memory=has_memory(),
        )
        return result, files

    def _wasted_type(self, folder: CallFolder, result: CallResult) -> str:
        """Return the type of what a call without files has returned in vain; empty if there is none.

        Whole numbers and texts may say how it went, and an object of Earth Engine what it has fetched or exported.
        """
        if not self._load(folder).is_recipe or result.outside or result.appended:
            return ""
        values = result.value if isinstance(result.value, (list, tuple)) else (result.value,)
        packages = _DATA_PACKAGES - ({"ee"} if self._observer.has_more_than_values else set())
        of_data = (v for v in values if isinstance(v, _DATA_TYPES) or type(v).__module__.partition(".")[0] in packages)
        return next((type(value).__name__ for value in of_data), "")

    def _left_out(self) -> Iterator[EechipsError]:
        """Return errors of requests that the call did without; after one of size, scripts send smaller requests."""
        return (error for error in self._observer.failures.values() if not isinstance(error, TooLargeError))

    def _caught(self, result: CallResult) -> EechipsError | None:
        """Return the error that a call without files has caught: of its only request, or of one without a result."""
        shows_nothing = result.value is None and not self._working_folder.appended
        if self._working_folder.outside or (self._observer.has_answer and not shows_nothing):
            return None
        return self._observer.failure

    def _call(self, folder: CallFolder, position: int) -> CallResult:
        self._changes = ()
        try:
            program = self._load(folder)
            call = folder.call(program, position)
            self._working_folder.show_results(named_texts((call.arguments, dict(call.keywords))))
            changes = StateChanges(call, script_modules(self._place.root)) if program.shares else None
            self._has_locked = self._has_locked or (changes is not None and changes.has_locked)
            try:
                with (
                    seeded(program.seed + position),
                    record_changes(call, program.initargs) as managed,
                    record_numbers(call, program.initargs) as added,
                ):
                    value = call.function(*call.arguments, **call.keywords)
            finally:
                self._changes = changes.found() if changes is not None else ()
            return CallResult(value, changes=self._changes, managed=tuple(managed), added=tuple(added))
        except BaseException:  # an error of the script, not of its folder
            self._has_raised = True
            raise

    def _load(self, folder: CallFolder) -> Program:
        version = folder.version()
        if self._program is None or self._version != version:
            program = folder.program()
            set_variables(program.variables, (self._working_folder.folder, self._place.out))
            if program.initializer is not None:
                program.initializer(*program.initargs)
            self._version, self._program, self._has_locked = version, program, False
        return self._program

    def _shared_data_error(self, error: BaseException) -> UsageError | None:
        """Return what to do about an error of a call that changes what it may only read; None for other errors."""
        errors = (error, error.__cause__)
        if self._working_folder.has_database and any(
            isinstance(cause, sqlite3.OperationalError) and "readonly database" in str(cause)
            for cause in (*errors, error.__context__)  # libraries replace errors of SQLite by their own
        ):
            shared = "an SQLite database"
        elif self._has_locked and any(isinstance(cause, ValueError) and "read-only" in str(cause) for cause in errors):
            shared = "an array of more than 16 MB"
        else:
            return None
        return UsageError(
            f"the call changes {shared}, which others share: return the values, and let the script write them"
        )

    def _may_help(self, error: BaseException) -> bool:
        """Return whether a call may retry after an error; the transport has retried its own already."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, EechipsError):
            cause = cause.__cause__  # not its context, which may be an error that the script has left out
        return cause is None and is_transient(error)

    def _ends_loop(self, error: BaseException) -> bool:
        """Return whether a loop without an end may repeat a request, not whether its items fail for one reason."""
        return self._observer.repeated_failures > _MOST_REFUSALS and classify_error(error) is not None

    def _left_open(self) -> list[str]:
        """Return the files of the working folder that this call, or an earlier one, writes and has not closed."""
        self._written.update(self._working_folder.written)
        if not all(file.closed for file in list(self._written)):
            gc.collect()
        open_paths = [Path(path) for file, path in list(self._written.items()) if not file.closed]
        folder = self._working_folder.folder
        return [path.relative_to(folder).as_posix() for path in open_paths if path.is_relative_to(folder)]

    def _outside(self) -> tuple[str, ...]:
        names, out = self._working_folder.outside, self._place.out
        return tuple(name for name in names if name_in_run(name, out) is None and Path(name).is_file())

    def _texts(self, logged: Mapping[str, io.StringIO]) -> dict[str, str]:
        out = self._place.out
        return {name_in_run(path, out) or path: text for path, stream in logged.items() if (text := stream.getvalue())}

    def _appended(self) -> dict[str, bytes]:
        paths = {name: self._working_folder.folder / name for name in self._working_folder.appended}
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}

    def _files(self) -> tuple[RecipeFile, ...]:
        working_folder = self._working_folder
        paths = {
            name: working_folder.folder / name for name in working_folder.files() if name not in working_folder.appended
        }
        for name in working_folder.outside:
            below = name_in_run(name, self._place.out)
            if below is not None and Path(name).is_file():
                paths[below] = Path(name)
        return tuple(_checked(path, name) for name, path in paths.items())


def _checked(path: Path, name: str) -> RecipeFile:
    """Return a file that a script has written, after checking it.

    Raises:
        ValidationError: if it does not decode; its format is found by its first bytes, or by its suffix.
        UsageError: if its name belongs to the run.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValidationError(f"the script writes a file called {name!r}, which is not UTF-8: rename it") from None
    try:
        result_name(name)
    except UsageError as error:
        raise UsageError(f"the script writes {name}: {error}, or run the script in another folder") from None
    data = path.read_bytes()
    try:
        return RecipeFile(name, data, inspect(data, path.suffix.lstrip(".")))
    except ValidationError as error:
        raise ValidationError(f"{name}: {error}") from None
