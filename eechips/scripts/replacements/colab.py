"""What notebooks of Colab import from ``google.colab``, for other places: signing in and mounting do nothing.

The module itself is not replaced: geemap and others take its presence for Colab, and ask it for more.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def _do_nothing(*_: Any, **__: Any) -> None:
    pass


auth = SimpleNamespace(authenticate_user=_do_nothing)
drive = SimpleNamespace(mount=_do_nothing, flush_and_unmount=_do_nothing)
files = SimpleNamespace(download=_do_nothing)
