"""Import boto3 when it is used. rasterio imports it with itself, for its own sessions of ``s3://``."""

from __future__ import annotations

import importlib
import sys
import threading
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_NAME = "boto3"


def defer_boto3() -> None:
    """Defer the import of boto3 in this process until one of its attributes is read.

    It takes a fifth of the start of a process that uses rasterio (``import boto3`` in ``rasterio/session.py``). Call
    this before rasterio is imported, and only in processes that this package starts. It does nothing where boto3 is not
    installed, or imported already. ``importlib.util.LazyLoader`` does not suit several threads before Python 3.12.3
    (https://github.com/python/cpython/issues/117983).
    """
    if _NAME in sys.modules:
        return
    spec = find_spec(_NAME)
    if spec is not None:
        deferred = module_from_spec(spec)
        deferred.__class__ = _Deferred
        sys.modules[_NAME] = deferred


class _Deferred(ModuleType):
    """A module that is imported, under its own name, when an attribute is read."""

    _turn = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        with self._turn:
            if sys.modules.get(_NAME) is self:
                del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)  # other threads wait for its end
