"""Fetch a run in a process of its own while this one trains."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import util
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from eechips.errors import EechipsError, InternalError, RunLockedError, StorageError, UsageError
from eechips.files.scratch_folders import temporary_folder
from eechips.manifest.folder_lock import is_held, lock_folder
from eechips.manifest.run_status import LOG_NAME
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.processes.child_processes import end_with_parent, hide_main
from eechips.storage import is_address, local_path, resolve_inside
from eechips.storage.untrusted_files import parse_json

_LOOK = 0.05  # seconds between two looks at the folder
_WAITING = "waiting"  # for another process that fetches the same run
_LONGEST_STOP = 20.0  # seconds for the requests in flight, after which the process is killed


def folder_of(fetch: partial[object]) -> Path:
    """Return the folder of the ledger of a run that is to be fetched.

    Raises:
        UsageError: if the call does not name it, or cannot be made in another process.
    """
    function, out = fetch.func, fetch.keywords.get("out")
    if function.__module__ == "__main__":
        raise UsageError(
            f"another process calls {function.__qualname__}, and cannot import it: define it in a module, not in"
            " __main__"
        )
    if out is None:
        raise UsageError("the run of a stream needs a folder: partial(…, out=DIR)")
    if fetch.keywords.get("on_empty") == "redraw":
        raise UsageError("on_empty='redraw' changes the plan while it is read: take keep or skip for a stream")
    if is_address(str(out)):
        out = fetch.keywords.get("ledger")
        if out is None:
            raise UsageError("the run of a stream needs a local folder: with an object store, partial(…, ledger=DIR)")
    return local_path(out)


def has_whole_plan(folder: Path) -> bool:
    """Return whether the run in a folder has all its units planned."""
    if not (folder / LEDGER_NAME).is_file():
        return False
    try:
        with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
            return ledger.has_plan and not ledger.is_partial
    except StorageError:
        if (folder / LEDGER_NAME).exists():
            raise
        return False  # a run whose plan failed has removed it meanwhile


def _is_fetched(folder: Path) -> bool:
    """Return whether the run in a folder has no unit left to fetch."""
    if not has_whole_plan(folder):
        return False
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        return ledger.count_open() == 0


class BackgroundRun:
    """A run that another process of this machine fetches, until this process ends or closes it.

    If a run is under way in the folder, the process waits for its end and goes on where it has stopped.

    Args:
        fetch: the call that fetches the run, with ``out``.
        seed: seed of the order in which units are fetched; None for the order of the plan.
        max_disk: bytes of the files that are kept; None for all.

    Attributes:
        lock: folder that the process has locked as long as it lives.

    Raises:
        UsageError: if the call cannot be made in another process.
        EechipsError: the error that ended the run before its plan was whole.
    """

    def __init__(self, fetch: partial[object], seed: int | None, max_disk: int | None = None) -> None:
        self.folder = folder_of(fetch)
        bound = {} if max_disk is None else {"max_disk": max_disk}
        call = partial(fetch, **{"quiet": True, **fetch.keywords}, fetch_seed=seed, **bound)
        context = multiprocessing.get_context("spawn")
        log = self.folder / LOG_NAME
        log_size = log.stat().st_size if log.is_file() else 0
        is_extended = bool(fetch.keywords.get("extend")) and has_whole_plan(self.folder)
        self._starter, self._is_bounded = os.getpid(), max_disk is not None
        self._stack = contextlib.ExitStack()
        self.lock = Path(self._stack.enter_context(temporary_folder()))
        self._pipe, theirs = context.Pipe(duplex=False)
        arguments = (theirs, call, self.folder, self.lock)
        self._process = context.Process(target=_fetch, args=arguments, name="eechips-fetch")
        with hide_main():
            try:
                self._process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                self._stack.close()
                raise UsageError(
                    f"another process fetches the run of a stream, and cannot receive its arguments: {error}"
                ) from error
        theirs.close()
        # Before multiprocessing waits for its processes at the exit of this one; not in copies of it.
        self._finalizer = util.Finalize(self, _stop_at_exit, (self._process, self._stack), exitpriority=10)
        try:
            self._wait_for_plan(log_size, is_extended=is_extended)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the run: requests in flight are finished, unless Ctrl-C interrupts that, and what is fetched is kept.

        A fork of the process that has started it does nothing.
        """
        if os.getpid() != self._starter:
            return
        try:
            if not self._is_bounded and _is_fetched(self.folder):
                self._process.join(_LONGEST_STOP)  # it writes the manifest
        finally:
            _stop(self._process, self._stack)
        self._finalizer.cancel()

    def _wait_for_plan(self, log_size: int, *, is_extended: bool) -> None:
        """Wait until the run is under way and its plan is whole, or it has ended."""
        is_under_way = False
        is_whole = partial(_is_extended, self.folder, log_size) if is_extended else partial(has_whole_plan, self.folder)
        while not (is_under_way and is_whole()):
            is_under_way = is_under_way or self._process.pid in started_processes(self.folder, log_size)
            if not self._pipe.poll(_LOOK):
                continue
            try:
                message = self._pipe.recv()
            except EOFError:
                self._process.join()
                message = InternalError(f"the process that fetches {self.folder} died ({self._process.exitcode})")
            if isinstance(message, EechipsError):
                raise message
            if message is None:
                return
            is_under_way = True  # by another process


def started_processes(folder: Path, offset: int) -> set[int]:
    """Return the processes that began to fetch a run, as its log tells from an offset in bytes on."""
    return {event.get("process", 0) for event in read_log(folder, offset) if event.get("event") == "started"}


def _is_extended(folder: Path, offset: int) -> bool:
    """Return whether a command has added the units that a run lacked, as its log tells from an offset in bytes on."""
    return any(event.get("event") == "extended" for event in read_log(folder, offset))


def read_log(folder: Path, offset: int) -> list[dict[str, Any]]:
    """Return the events of a run's log from an offset in bytes on; a negative one counts from the end."""
    try:
        with resolve_inside(folder / LOG_NAME, folder).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size + offset) if offset < 0 else offset)
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        with contextlib.suppress(ValueError):  # the first line, or the last, may be a part of one
            event = parse_json(line)
            events += [event] if isinstance(event, dict) else []
    return events


def _fetch(pipe: Pipe, call: Callable[[], Any], folder: Path, lock: Path) -> None:
    """Fetch a run, in the process for that, and send its error; None if it has none."""
    os.setsid()  # Ctrl-C in the terminal is for the training, which ends this process
    end_with_parent()
    with lock_folder(lock):
        message = _call(pipe, call, folder)
    with contextlib.suppress(OSError):  # the reader has gone
        pipe.send(message)


def _call(pipe: Pipe, call: Callable[[], Any], folder: Path) -> EechipsError | None:
    """Fetch a run, after another process that does so; return its error."""
    pause = threading.Event()
    while True:
        try:
            call()
        except RunLockedError:
            pipe.send(_WAITING)
            while is_held(folder):
                pause.wait(_LOOK)
            continue
        except EechipsError as error:
            return _portable(error)
        return None


def _portable(error: EechipsError) -> EechipsError:
    """Return an error that another process can receive."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its arguments are
        return EechipsError(f"{type(error).__name__}: {error}")
    return error


def _stop(process: BaseProcess, stack: contextlib.ExitStack) -> None:
    """Stop a process, and close a stack. An exception, such as that of Ctrl-C, kills the process at once."""
    try:
        if process.is_alive():
            process.terminate()
            process.join(_LONGEST_STOP)
    finally:
        if process.is_alive():
            process.kill()
            process.join()
        stack.close()


def _stop_at_exit(process: BaseProcess, stack: contextlib.ExitStack) -> None:
    """Stop a process when this one ends, which a further Ctrl-C only hastens: Python would print it as ignored."""
    with contextlib.suppress(KeyboardInterrupt):
        _stop(process, stack)
