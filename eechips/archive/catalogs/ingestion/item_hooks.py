"""Call hooks (``module:function``, ``script:COMMAND``): user code that creates items from URLs that are not STAC; kill
a script that takes too long.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eechips.errors import UsageError

_SCRIPT = "script:"
_TIMEOUT = 300.0  # seconds of a script for an item


def parse_hook(text: str, *, timeout: float = _TIMEOUT) -> ItemMaker:
    """Return the hook of ``module:function``, or of ``script:COMMAND``.

    The function takes a URL and returns an item: a dictionary, JSON, or an object with ``to_dict``, such as an item of
    pystac. Several threads call it at once. The command is split as by a shell, but runs without one, receives the URL
    as its last argument and prints an item. Modules of the working folder are found, too.

    Args:
        timeout: seconds for an item, after which the command and all its child processes are killed.

    Raises:
        UsageError: if there is no such function or command.
    """
    module, colon, name = text.partition(":")
    if text.startswith(_SCRIPT) and not _is_of_module(name):
        return _Script(name, timeout)
    if not colon or not module or not name:
        raise UsageError(f"'{text}' is not a hook such as module:function or script:COMMAND")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no hook {text}: {error}") from error
    if not callable(function):
        raise UsageError(f"the hook {text} is not callable")
    return _Function(function)


def _is_of_module(name: str) -> bool:
    """Return whether a name is no command, and may be a function of the user's own script.py."""
    return name.isidentifier() and shutil.which(name) is None and Path("script.py").is_file()


class _Function:
    def __init__(self, function: Callable[[str], Any]) -> None:
        self._function = function

    def __call__(self, address: str) -> bytes:
        item = self._function(address)
        if isinstance(item, (str, bytes)):
            return item.encode() if isinstance(item, str) else item
        return json.dumps(item.to_dict() if hasattr(item, "to_dict") else item).encode()

    def stop(self) -> None:
        """Do nothing: a function cannot be stopped."""


class _Script:
    def __init__(self, command: str, timeout: float) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"'{command}' is not a command: {error}") from error
        if not self._words:
            raise UsageError(f"'{_SCRIPT}' needs a command: {_SCRIPT}./make_item.sh")
        if shutil.which(self._words[0]) is None:
            raise UsageError(f"there is no command '{self._words[0]}', or it cannot be executed")
        self._timeout = timeout
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._is_stopped = threading.Lock(), False

    def __call__(self, address: str) -> bytes:
        if address.startswith("-"):
            raise ValueError("the URL begins with a dash, which the command would take for an option")
        process = self._begun(address)
        try:
            printed, complaints = process.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"not done after {self._timeout:g} seconds") from None
        finally:
            with self._lock:
                self._running.discard(process)
            _end(process)
        if process.returncode:
            lines = complaints.decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"exit status {process.returncode}: {lines[-1] if lines else ''}")
        return printed

    def stop(self) -> None:
        """Kill running commands, and start no more."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                _kill(process)

    def _begun(self, address: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_stopped:
                raise RuntimeError("interrupted")
            process = subprocess.Popen(
                [*self._words, address],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # child processes hold the pipes, too: they are killed together
            )
            self._running.add(process)
        return process


ItemMaker = _Function | _Script
"""A hook. Several threads call it with a URL, and get the JSON of an item; a call may take long, and raise anything."""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a command after it has ended or timed out."""
    if process.poll() is None:
        _kill(process)
    with process:  # closes its pipes, waits
        pass


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
