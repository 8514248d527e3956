"""Replace parts of Earth Engine's client (``ee.Initialize``, credentials) and of Python (signals, ``atexit``, the wait
for threads) while a script runs; restore them afterwards.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import multiprocessing.process
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing import context, util
from typing import Any

from eechips.errors import RecipeError, Stopped
from eechips.processes.child_processes import end_with_parent
from eechips.recipe import canonical_json
from eechips.scripts.issued_names import learn
from eechips.scripts.pooling import original_pools
from eechips.scripts.pooling.original_pools import ScriptStopped
from eechips.scripts.replacements.name_replacement import present_function, replace_names, stand_in
from eechips.scripts.serialization import describe


def initialize(*_: Any, **__: Any) -> None:
    """Replace ``ee.Initialize``: the run has initialised the client, with its own endpoint and project."""


def authenticate(*_: Any, **__: Any) -> bool:
    """Replace ``ee.Authenticate``: the run has credentials, or needs none."""
    return True


def credentials(*_: Any, **__: Any) -> Any:
    """Replace the functions that read credentials, which the script passes to ``ee.Initialize``."""
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def default_credentials(*_: Any, **__: Any) -> tuple[Any, None]:
    """Replace ``google.auth.default``."""
    return credentials(), None


_ISSUED = ("thumbid", "mapid", "docid")
"""Keys of names in what the client's functions return."""


@functools.cache
def _makers_of_names() -> Mapping[str, Callable[..., Any]]:
    """Return replacements of the client's functions that make names, which record the requests of the names."""
    import ee.data

    names = ("getThumbId", "getMapId", "getDownloadId", "getTableDownloadId")
    return {name: _maker_of_names(name, getattr(ee.data, name)) for name in names}


def _maker_of_names(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def make(*arguments: Any, **options: Any) -> Any:
        try:
            content = canonical_json([name, describe(arguments), describe(options)])
        except RecipeError:  # an argument cannot be described, so the request stays unknown
            return original(*arguments, **options)
        issued = original(*arguments, **options)
        digest = hashlib.sha256(content.encode()).hexdigest()
        learn({str(issued[key]): digest for key in _ISSUED if key in issued})
        return issued

    return make


@contextlib.contextmanager
def keep_client() -> Iterator[None]:
    """Disable initialisation and authentication of the client inside the block, and record requests of names."""
    import ee
    import google.auth
    from google.oauth2 import service_account

    with (
        replace_names(ee, Initialize=initialize, Authenticate=authenticate, Reset=initialize),
        replace_names(ee, ServiceAccountCredentials=credentials),
        replace_names(ee.data, **_makers_of_names()),
        replace_names(google.auth, default=default_credentials),
        replace_names(google.auth._default, default=default_credentials),
        replace_names(service_account.Credentials, from_service_account_file=credentials),
    ):
        yield


class _OpenBlock:
    """What multiprocessing refers to weakly while a block is open."""


@contextlib.contextmanager
def end_processes_with_run() -> Iterator[None]:
    """End processes that the script forks inside the block, as managers are, when the run is killed.

    They hold the lock of the run's folder and the pipes of its workers and server open, as all forks do. One that the
    end of the run stops has the status of an exception, without its traceback.
    """
    block = _OpenBlock()
    util.register_after_fork(block, _prepare_fork)
    yield
    del block


def _prepare_fork(_: _OpenBlock) -> None:
    process = multiprocessing.process.current_process()
    work = process.run

    def run() -> None:
        try:
            work()
        except (KeyboardInterrupt, Stopped, ScriptStopped):
            sys.exit(1)

    process.run = run  # type: ignore[method-assign]
    end_with_parent()


@contextlib.contextmanager
def leave_out_signals() -> Iterator[None]:
    """Leave out handlers and alarms that this thread sets inside the block, unless it is the process's main thread.

    Calls of a pool of processes run in a main thread, and may limit their time by ``signal.alarm``; calls of a run
    do not, and requests of the run have limits of time. Only a main thread may set a handler
    (https://docs.python.org/3/library/signal.html), and an alarm without its handler ends the process. Other threads
    may set alarms.
    """
    thread = threading.current_thread()
    is_main = thread is threading.main_thread()

    def of_main(name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
        original = present_function(signal, name)

        def called(*arguments: Any, **options: Any) -> Any:
            is_left_out = not is_main and threading.current_thread() is thread
            return (otherwise if is_left_out else original)(*arguments, **options)

        return stand_in(signal, name, called)

    def present_handler(signalnum: int, handler: Any) -> Any:  # with the names of signal.signal
        return signal.getsignal(signalnum)

    with replace_names(
        signal,
        signal=of_main("signal", present_handler),
        alarm=of_main("alarm", lambda _: 0),
        setitimer=of_main("setitimer", lambda *_: (0.0, 0.0)),
    ):
        yield


@contextlib.contextmanager
def run_exit_handlers() -> Iterator[None]:
    """Call what the script has registered by :mod:`atexit` at the end of the block, as Python does at its own exit.

    By then, the script's working folder is no longer that of the run.
    """
    handlers: list[tuple[Callable[..., Any], Callable[[], Any]]] = []
    register, unregister = present_function(atexit, "register"), present_function(atexit, "unregister")

    def registered(func: Callable[..., Any], /, *args: Any, **options: Any) -> Callable[..., Any]:
        if original_pools.is_of_script(sys._getframe(2)):
            handlers.append((func, partial(func, *args, **options)))
        else:
            register(func, *args, **options)
        return func

    def unregistered(func: Callable[..., Any], /) -> None:
        handlers[:] = [handler for handler in handlers if handler[0] != func]
        unregister(func)

    with replace_names(
        atexit,
        register=stand_in(atexit, "register", registered),
        unregister=stand_in(atexit, "unregister", unregistered),
    ):
        try:
            yield
        finally:
            while handlers:
                try:
                    handlers.pop()[1]()
                except (Exception, SystemExit) as error:  # noqa: BLE001 - shown as by Python, which calls the next, too
                    sys.excepthook(type(error), error, error.__traceback__)


_GRACE = 10.0
"""Seconds for the threads and processes of a script that is stopped; Python itself waits longer, at exit."""

_GLANCE = 0.02  # seconds between two looks at them


@contextlib.contextmanager
def await_threads(stop: Callable[[], None], note: Callable[[Any], None]) -> Iterator[None]:
    """Wait at the end of the block for threads and processes that the script has started, as Python does at exit.

    Where processes fork by default, all of the script's do: one that the script spawns would lack the credentials.
    A thread that the end of the run stops ends without a traceback, and stops the script, which may wait for it.

    Args:
        stop: stops the requests of the threads, once the script itself is stopped.
        note: receives each thread and process before it starts.
    """
    started: list[Any] = []
    forks = multiprocessing.get_start_method() == "fork"
    report, main = threading.excepthook, threading.main_thread()
    is_script_in_main, is_ending = threading.current_thread() is main, threading.Event()

    def report_error(error: Any) -> None:
        if not issubclass(error.exc_type, (Stopped, ScriptStopped)):
            report(error)
        elif is_script_in_main and not is_ending.is_set():
            is_ending.set()
            assert main.ident is not None
            signal.pthread_kill(main.ident, signal.SIGINT)

    def starting(start: Callable[[Any], None]) -> Callable[[Any], None]:
        def started_by_script(self: Any) -> None:
            is_own = original_pools.is_of_script(sys._getframe(1))
            if is_own and forks and isinstance(self, multiprocessing.process.BaseProcess):
                self._Popen = context.ForkProcess._Popen  # type: ignore[attr-defined]
            if is_own:
                note(self)
            start(self)
            if is_own and not self.daemon:
                started.append(self)

        return started_by_script

    with contextlib.ExitStack() as stack:
        for kind in (threading.Thread, multiprocessing.process.BaseProcess):
            stack.enter_context(replace_names(kind, start=starting(kind.start)))
        stack.enter_context(replace_names(threading, excepthook=report_error))
        try:
            yield
            for thread in started:  # which may start others
                thread.join()
        except (KeyboardInterrupt, Stopped, ScriptStopped):
            is_ending.set()
            stop()
            end = time.monotonic() + _GRACE
            # Python 3.11 takes a thread for ended if a signal has interrupted its join; these lists do not.
            while time.monotonic() < end and not _running().isdisjoint(started):
                time.sleep(_GLANCE)
            raise


def _running() -> set[Any]:
    """Return the threads and processes of this process that have not ended."""
    return {*threading.enumerate(), *multiprocessing.active_children()}
