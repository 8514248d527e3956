"""Call hooks: functions of the user that create items from URLs that are not STAC."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from eechips.archive.catalogs.fetch import ItemMaker
from eechips.errors import UsageError


def parse_hook(text: str) -> ItemMaker:
    """Return the hook of ``module:function``.

    The function takes a URL and returns an item: a dictionary, JSON, or an object with ``to_dict``, such as an item of
    pystac. Several threads call it at once. Modules of the working folder are found, too.

    Raises:
        UsageError: if there is no such function.
    """
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise UsageError(f"'{text}' is not a hook such as module:function")
    if module == "script":
        raise UsageError(f"'{text}' is a command: give a function, module:function, that runs it and returns the item")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no hook {text}: {error}") from error
    if not callable(function):
        raise UsageError(f"the hook {text} is not callable")

    def make(address: str) -> bytes:
        item = function(address)
        if isinstance(item, (str, bytes)):
            return item.encode() if isinstance(item, str) else item
        return json.dumps(item.to_dict() if hasattr(item, "to_dict") else item).encode()

    return make
