"""Run a script as a recipe: execute it once in the parent, plan the calls of its pools meanwhile, wait for its export
tasks, say why it has no results.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from eechips.client.access.connection import Connection
from eechips.client.access.discovery import DiscoveryFile
from eechips.client.error_classification import classify_exception
from eechips.engine.fetch_phases import stop_message
from eechips.engine.progress import Progress, say
from eechips.engine.run_context import RecipeContext
from eechips.engine.service.local_server import EXPORTS_FOLDER, UNUSED_EXPORTS
from eechips.errors import ConfigurationError, EechipsError, RecipeError, Stopped, TransientError, UsageError
from eechips.files.hashes import hash_file
from eechips.files.removal import LockedFolder, RecordedFile, remove, remove_tree
from eechips.manifest.reserved_names import CALLS_FOLDER, list_foreign_files
from eechips.manifest.run_signature import sealing_key
from eechips.manifest.run_status import OUTSIDE_FILES
from eechips.manifest.sqlite.ledger_queries import read_files
from eechips.manifest.withheld_files import restore
from eechips.recipe import canonical_json, hash_code
from eechips.recipe.protocol import with_identity
from eechips.scripts.call_execution import STAGING, CallContext, CallExecutor
from eechips.scripts.named_inputs import named_inputs
from eechips.scripts.pooling.call_batch import make_awaited_calls
from eechips.scripts.pooling.call_folder import CallFolder, Program
from eechips.scripts.pooling.call_units import ScriptHost, lacks_file
from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.original_pools import ScriptStopped
from eechips.scripts.pooling.pool_patches import replace_pools
from eechips.scripts.pooling.pools import finish_executors
from eechips.scripts.replacements import network_patches
from eechips.scripts.replacements.library_patches import (
    await_threads,
    end_processes_with_run,
    keep_client,
    leave_out_signals,
    run_exit_handlers,
)
from eechips.scripts.replacements.name_replacement import find_modules
from eechips.scripts.replacements.random_numbers import seeded
from eechips.scripts.replacements.retry_guard import guard_retries
from eechips.scripts.script_source import ScriptSource, is_notebook
from eechips.scripts.working_folder import WorkingFolder
from eechips.text.formatting import describe_exception, format_count, some_of

_RECORDED = (
    "Pools of multiprocessing, concurrent.futures, joblib, loky, multiprocess, pathos, pqdm and tqdm are recorded if"
    " the script or a module of its folder opens them, not if an installed package does"
)
_PROCESSES_APART = (
    "Processes that Dask, Ray or subprocess start have neither the endpoint nor the credentials of the run. Let Dask"
    ' use threads (`scheduler="threads"`, `processes=False`), or make the calls in a pool of Python'
)
_SEED = 0


class ScriptRecipe:
    """The recipe of a script, which is planned while it runs.

    Attributes:
        name: its stem.
        identity: SHA-256 of its code, without comments, docstrings and layout, and of its arguments.
        datasets: empty, since they are unknown.
        imports: packages that the file imports.

    Args:
        out: the run's folder, absolute.
        home: the working directory of the command, absolute.
    """

    datasets: Sequence[str] = ()

    def __init__(self, source: ScriptSource, arguments: Sequence[str], out: Path, home: Path) -> None:
        self.path, self.name, self.imports = source.path.absolute(), source.path.stem, source.imports
        self._source: ScriptSource | None = source
        self._out, self._home, self._arguments = out, home, tuple(arguments)
        self.parameters: Mapping[str, Any] = {"arguments": list(arguments)}
        content = {"code": hash_code(source.tree), "parameters": self.parameters}
        self.identity = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        self._key = sealing_key(self.identity)
        self._observer: network_patches.RequestObserver | None = None
        self._executor: tuple[Path, CallExecutor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None, "_observer": None}

    def continuing(self, identity: str) -> ScriptRecipe:
        """Return the recipe for calls of another version; see :class:`eechips.recipe.SupportsCodeChanges`."""
        again = with_identity(self, identity)
        again._key = sealing_key(identity)
        return again

    def get_requests(self) -> NoReturn:
        """Raise UsageError: a script is planned while it runs."""
        raise UsageError(f"{self.path.name} is a script, which is planned while it runs: its units are unknown before")

    def _report_files(self, host: ScriptHost, context: RecipeContext, working_folder: WorkingFolder) -> None:
        """Record files outside of the run, and say what the script and its calls have noted of files."""
        files = {*host.outside, *(name for name in working_folder.outside if Path(name).is_file())}
        folders = sorted({str(Path(name).parent) for name in files})
        context.ledger.note(OUTSIDE_FILES, {"files": len(files), "folders": folders})
        for name, own in working_folder.renamed.items():
            context.say(f"The script's {name} is called {own}: the run has a file of that name.")
        for note in host.notes:
            context.say(note)
        if host.lacks_files:
            context.say(
                f"Calls have not found files. Each works in a folder of its own, in which files of {self._out} and"
                f" {self._home} are found if Python or rasterio opens, lists or tests for them, or the script or the"
                " arguments of the call name them."
            )

    def _release_removed(self, context: RecipeContext) -> None:
        """Remove files that the script has deleted from the records of their calls.

        Calls whose files were deleted before this command are open, so they have no file in the ledger.
        """
        gone = [file.name for file in read_files(context.ledger.database) if not (self._out / file.name).is_file()]
        if gone:
            context.ledger.release(*gone)
            context.say(
                f"The script has removed or renamed files of its calls, which the run does not have: {some_of(gone)}."
            )

    def run_interactively(self, context: RecipeContext) -> bool:
        """Execute the script, with its pools working for the run; return whether it has finished.

        Raises:
            RecipeError: if the script's own code raises an exception.
            ConfigurationError: if the service rejects the project or the credentials.
        """
        assert self._source is not None
        for line in self._source.ignored:
            context.say(f"Ignored, as it is for notebooks: {line}")
        inputs, folders = named_inputs((*self._source.texts, *self._arguments), self._home, self._out)
        imports = tuple(dict.fromkeys(self._source.search_path(sys.path)))
        calls = self._out / CALLS_FOLDER
        place = CallContext(
            self._out, calls, self._home, self._source.root, imports, inputs, folders, packages=self.imports
        )
        working_folder = WorkingFolder(self._out, (self._home,), inputs, folders, is_again=bool(context.ledger.end))
        host = ScriptHost(context, self.identity, place, self._key, working_folder)
        if self._observer is None:  # else one of threads that make the calls
            self._observer = network_patches.observe_script(context.connection)
        self._observer.deadline = context.deadline
        try:
            with (
                keep_client(),
                leave_out_signals(),
                replace_pools(host),
                working_folder.entered(),
                self._as_main() as main,
                find_modules(working_folder.import_folders),
            ):
                with (
                    run_exit_handlers(),
                    end_processes_with_run(),
                    await_threads(self._observer.stop, self._observer.note_started),
                    finish_executors(),
                ):
                    try:
                        self._execute(main, host)
                    finally:
                        host.call_notes.uncounted |= self._observer.uncounted
                        host.call_notes.unrecorded |= self._observer.unrecorded
                        host.call_notes.lost_results = list(map(str, self._observer.lost_results))
                host.check()
                if self._observer.has_stopped:  # the script has caught it, or one of its threads was stopped
                    raise Stopped
                with working_folder.suspended():
                    tasks = self._await_exports(context, host)
        except ScriptStopped as stop:
            if stop.error is not None:
                raise stop.error from None
            return False
        except (KeyboardInterrupt, Stopped):  # outside of its pools, which say so themselves
            _say_why_stopped(context, is_spent=self._observer.is_spent)
            return False
        except RecipeError:
            for note in host.call_notes.of_requests():
                context.say(note)
            raise
        finally:
            self._observer.close()
            host.appended.finish()
            working_folder.remove_links()
            restore(self._out, replaces=False)
            remove_tree(self._out / CALLS_FOLDER / STAGING, LockedFolder(self._out))
            self._release_removed(context)
        self._report_files(host, context, working_folder)
        self._check_results(host, context, tasks + len(working_folder.outside))
        return True

    def _await_exports(self, context: RecipeContext, host: ScriptHost) -> int:
        """Wait for the tasks that the script has started on a local Earth Engine, which ends with the run."""
        config = context.config
        if not config.is_local:
            return 0
        tasks = await_tasks(config.out / EXPORTS_FOLDER, is_repeated=host.repeats_exports, quiet=config.quiet)
        if host.repeats_exports:
            remove_repeats(self._out / EXPORTS_FOLDER)
        host.complete_exports()
        return tasks

    def _check_results(self, host: ScriptHost, context: RecipeContext, tasks: int) -> None:
        """Raise RecipeError if the script has used no pool, or its calls have left out what exists already.

        Args:
            tasks: number of the export tasks that it has started, and of files that it has written elsewhere.
        """
        if not host.calls and context.ledger.end and not context.ledger.count_open():
            return  # it has left out what the calls of earlier runs have done
        files = sorted(set(list_foreign_files(self._out)) - {UNUSED_EXPORTS})
        has_exported = self._observer is not None and self._observer.has_exported and not context.config.is_local
        if host.outside or tasks or files or has_exported:
            if not host.calls:
                left = f" It left {some_of(files)} in its working directory." if files else ""
                started = " The batch tasks that it has started continue after the run." if has_exported else ""
                said = f"{self.path.name} passed no call to a pool that a run records: nothing is known of what it did."
                context.say(f"{said}{left}{started} {_RECORDED}")
            return
        if host.calls and host.tested:
            raise RecipeError(
                f"{self.path} has written no file: its calls have found {some_of(sorted(host.tested))} in {self._home}."
                " If it leaves out what exists, run it in a folder without these files"
            )
        if not host.calls and not host.call_notes.unsent:
            raise RecipeError(
                f"{self.path} has no results: it passed no call to a pool and wrote no file to its working directory."
                f" Printed text, and files elsewhere, are not recorded. {self._hint}"
            )

    def on_worker_start(self, connection: Connection, discovery: DiscoveryFile) -> None:
        """Connect a worker's copy of the recipe."""
        before = self._observer
        if before is not None:  # of the script's own requests, or of threads that made calls of an earlier pool
            before.close()
        self._observer = network_patches.attach(connection, discovery)
        self._observer.deadline = math.inf if before is None else before.deadline

    def get_result(self, index: int, unit: Any) -> Any:
        """Make one call, in a worker.

        Args:
            unit: number of the pool's use, name of the function, description of the arguments.

        Returns:
            The files that it has written, or a chip or table to fetch.
        """
        folder = CallFolder(self._out / CALLS_FOLDER / f"{unit['use']:04d}", self._key)
        if self._executor is None or self._executor[0] != folder.path:
            assert self._observer is not None
            place: CallContext = folder.place()
            self._executor = folder.path, CallExecutor(place, self._observer)
        return self._executor[1].execute(folder, index)

    def _execute(self, main: ModuleType, host: ScriptHost) -> None:
        assert self._source is not None
        try:
            with guard_retries(wait=self._wait):
                self._source.execute(main.__dict__)
                if self._source.is_recipe and self._source.functions is not None:  # in place of the main part
                    requests, result = (getattr(main, name) for name in self._source.functions)
                    if calls := [Call(result, item) for item in enumerate(requests())]:
                        host.execute(calls, Program(is_recipe=True))
        except SystemExit as error:
            host.call_notes.add_exit(error.code)
            if host.call_notes.status and not host.call_notes.has_failures:
                raise RecipeError(f"{self.path}: the script ended with status {host.call_notes.status}") from None
        except Exception as error:  # an error of the script, reported with its line
            if host.has_raised(error):
                return  # already in the ledger
            if isinstance(error, EechipsError) and not isinstance(error, TransientError):
                raise
            classified = classify_exception(error)
            if isinstance(classified, ConfigurationError):
                raise classified from None
            text = "".join(traceback.format_exception(error))
            own = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.path)]
            of_cells = " of its code cells" if is_notebook(self.path) else ""
            where = f"{self.path}, line {own[-1]}{of_cells}" if own else str(self.path)
            hint = self._hint if lacks_file(error) else _PROCESSES_APART if _is_of_process_apart(error) else ""
            message = f"{where}: {describe_exception(error)}"
            raise RecipeError(f"{message.rstrip('.')}. {hint}" if hint else message, traceback=text) from error
        finally:
            with contextlib.suppress(ValueError):  # the script has closed a file in its place
                sys.stdout.flush()

    def _wait(self, seconds: float) -> None:
        """Wait in the script's own process, until the run stops."""
        assert self._observer is not None
        make_awaited_calls(is_idle=True)
        self._observer.pause(seconds)

    @property
    def _hint(self) -> str:
        """Return the folders in which files are searched."""
        return (
            f"The script's working directory is {self._out}; files of {self._home} are found there if Python or"
            " rasterio opens, lists or tests for them, or the script names them. To run it in the folder where the"
            " command is typed: --out ."
        )

    @contextlib.contextmanager
    def _as_main(self) -> Iterator[ModuleType]:
        """Set the interpreter's state as for ``python FILE``, with a fixed seed of random numbers."""
        assert self._source is not None
        main = ModuleType(f"recipe_{self.name}" if self._source.is_recipe else "__main__")
        main.__dict__.update(
            __file__=str(self.path), __builtins__=__builtins__, get_ipython=NotebookShell, display=print
        )
        main.__package__ = self._source.package or None
        before, argv, path = sys.modules["__main__"], sys.argv, list(sys.path)
        outputs = sys.stdout, sys.stderr
        sys.modules["__main__"], sys.argv = main, [str(self.path), *self._arguments]
        sys.path[:] = self._source.search_path(path)
        try:
            with seeded(_SEED):
                yield main
        finally:
            if self._observer is not None and not self._observer.has_threads:
                main.__dict__.clear()  # as at the end of Python: files that the script has left open are written
            sys.modules["__main__"], sys.argv, sys.path[:] = before, argv, path
            sys.stdout, sys.stderr = outputs


class NotebookShell:
    """Replace IPython's shell: set folder and environment, ignore everything else."""

    def magic(self, line: str) -> None:
        """Execute a magic in the form of old versions of nbconvert."""
        self.run_line_magic(*line.lstrip("%").partition(" ")[::2])

    def run_line_magic(self, name: str, line: str = "") -> None:
        """Execute a magic that changes folder or environment."""
        words = line.strip()
        if name == "cd":
            os.chdir(Path(words.strip("'\"") or "~").expanduser())
        elif name in ("env", "set_env") and words:
            variable, _, value = words.partition("=" if "=" in words else " ")
            os.environ[variable.strip()] = value.strip()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def _is_of_process_apart(error: Exception) -> bool:
    """Return whether a process of its own has failed, perhaps as it lacks the credentials of the run."""
    return isinstance(error, BrokenExecutor) or "earthengine authenticate" in str(error)


def _say_why_stopped(context: RecipeContext, *, is_spent: bool) -> None:
    """Say which limit has stopped a script, if it was one, and how to go on."""
    if is_spent:
        context.log.write("budget exhausted")
        context.say("Stopping: the limit of requests or bytes is reached.")
    elif time.monotonic() >= context.deadline:
        context.log.write("time limit reached")
        context.say("Stopping: the time limit is reached.")
    context.say(stop_message(context.config))


_PAUSE = 0.3  # seconds between two requests for the states of all tasks
_OVERWRITES = "Cannot overwrite asset"
_NUMBERED = re.compile(r"^(.*) \(\d+\)(\..*)$", re.DOTALL)
_LOST = {"done": True, "error": {"message": "the local Earth Engine was started again meanwhile"}}


def await_tasks(folder: Path, *, is_repeated: bool, quiet: bool) -> int:
    """Wait until every task of the local Earth Engine has ended, and show how many have.

    Args:
        folder: folder of the exports, for the message.
        is_repeated: whether an earlier run of the script was interrupted, whose tasks this one has started again: one
            task may find its asset there.

    Returns:
        The number of tasks.

    Raises:
        RecipeError: if tasks have failed; names them.
    """
    import ee

    known: dict[str, dict[str, Any]] = {task["name"]: task for task in ee.data.listOperations()}
    if not known:
        return 0
    with Progress(len(known), 0, None, quiet=quiet, unit="exports") as progress:
        waiting = set(known)
        while True:
            for name in [name for name in waiting if known[name].get("done")]:
                waiting.remove(name)
                progress.settle(failed="error" in known[name])
            progress.show(0, 0)
            if not waiting:
                break
            time.sleep(_PAUSE)
            listed = {task["name"]: task for task in ee.data.listOperations()}
            known |= {name: listed.get(name, {**known[name], **_LOST}) for name in waiting}
    tasks = list(known.values())
    failed = [task for task in tasks if "error" in task]
    if is_repeated:
        there = {message: task for task in failed if (message := _message(task)).startswith(_OVERWRITES)}
        failed = [task for task in failed if task not in there.values()]
    count = format_count(len(tasks), "export task")
    if failed:
        raise RecipeError(
            f"{len(failed):,} of {count} failed: {_described(failed)}. Files of the others are in {folder}"
        )
    say(f"{count} completed: {folder}", quiet=quiet)
    return len(tasks)


def _described(tasks: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for task in tasks:
        name = task.get("metadata", {}).get("description") or task["name"]
        texts.append(f"{name} ({_message(task).rstrip('.')})")
    return some_of(texts)


def _message(task: Mapping[str, Any]) -> str:
    return str(task["error"].get("message"))


def remove_repeats(folder: Path) -> None:
    """Remove numbered copies, such as "a (1).tif", of equal files: an interrupted run had exported them before."""
    for path in sorted(folder.rglob("*")):
        match = _NUMBERED.match(path.name)
        first = None if match is None else path.with_name(f"{match[1]}{match[2]}")
        if first is not None and first.is_file():
            remove(path, RecordedFile(first.stat().st_size, hash_file(first)))
