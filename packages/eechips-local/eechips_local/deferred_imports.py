"""Import boto3 and IPython when they are used: rasterio and Earth Engine's client import them with themselves."""

from __future__ import annotations

import importlib
import sys
import threading
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_NAMES = ("boto3", "IPython")


def defer_imports() -> None:
    """Defer the imports of boto3 and IPython in this process until one of their attributes is read.

    boto3 takes a fifth of the start of a process that uses rasterio (``import boto3`` in ``rasterio/session.py``, for
    ``s3://``), IPython a seventh of the import of Earth Engine's client (``import IPython`` in ``ee/oauth.py``, for
    notebooks). Call this before those are imported, and only in processes that this package starts. It does nothing
    where a package is not installed, or imported already. ``importlib.util.LazyLoader`` does not suit several threads
    before Python 3.12.3 (https://github.com/python/cpython/issues/117983).
    """
    for name in _NAMES:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None:
            deferred = module_from_spec(spec)
            deferred.__class__ = _Deferred
            sys.modules[name] = deferred


class _Deferred(ModuleType):
    """A package that is imported, under its own name, when an attribute is read."""

    _turn = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        with self._turn:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
        package = importlib.import_module(self.__name__)  # other threads wait for its end
        for submodule, module in [*vars(self).items()]:
            if isinstance(module, ModuleType):  # imported before the package, which has no attribute of it then
                vars(package).setdefault(submodule, module)
        return getattr(package, name)
