"""Hooks: code of the user's that makes items from addresses that are no STAC."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eechips.catalogs.fetch import Maker
from eechips.errors import UsageError

_SCRIPT = "script:"
_TIMEOUT = 300.0  # seconds that a script may take for an item


def hook_of(text: str) -> Maker:
    """The hook of ``module:function``, or of ``script:COMMAND``.

    The function takes an address and returns an item. The command, which is split as a shell would but run without one,
    gets the address as its last argument and prints an item. Modules are looked for in the present folder as well.

    Raises:
        UsageError: if there is no such function, or no command.
    """
    if text.startswith(_SCRIPT):
        return _Script(text.removeprefix(_SCRIPT))
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise UsageError(f"'{text}' is no hook: it is module:function or script:COMMAND")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no hook {text}: {error}") from error
    if not callable(function):
        raise UsageError(f"the hook {text} cannot be called")
    return _Function(function)


class _Function:
    def __init__(self, function: Callable[[str], Any]) -> None:
        self._function = function

    def __call__(self, address: str) -> bytes:
        return json.dumps(self._function(address)).encode()


class _Script:
    def __init__(self, command: str) -> None:
        self._words = shlex.split(command)
        if not self._words:
            raise UsageError(f"'{_SCRIPT}' needs a command: {_SCRIPT}./make_item.sh")

    def __call__(self, address: str) -> bytes:
        done = subprocess.run([*self._words, address], capture_output=True, timeout=_TIMEOUT, check=False)
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"exit status {done.returncode}: {told[-1] if told else ''}")
        return done.stdout
