"""Import packages that only extras of the distribution install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from eechips.errors import UsageError


def import_extra(module: str, need: str, extra: str) -> Any:
    """Import a module of a package that an extra installs.

    Args:
        module: name of the module.
        need: what needs which package, as the error says it.
        extra: name of the extra.

    Raises:
        UsageError: if the package, or one that it needs, is not installed.
    """
    package = module.partition(".")[0]
    try:
        import_module(package)  # its own absence is no cause to tell
        return import_module(module)
    except ImportError as error:
        cause = "" if error.name == package else f" ({error})"
        raise UsageError(f"{need}: pip install 'eechips[{extra}]'{cause}") from error
