"""Hide warnings in code that threads run at the same time."""

from __future__ import annotations

import re
import warnings


def ignore(category: type[Warning], message: str = "") -> None:
    """Ignore a warning in this process from now on. A filter that is in force already is not added again.

    ``warnings.catch_warnings`` replaces the filters of the whole process and puts them back, so that a thread can lose
    its filter to another that leaves such a block; with ``-W error`` what it reads then fails. Python's documentation:
    "The catch_warnings manager works by replacing and then later restoring the module's showwarning() function and
    internal list of filter specifications. This means the context manager is modifying global state and therefore is
    not thread-safe." (https://docs.python.org/3.13/library/warnings.html#warnings.catch_warnings)

    Args:
        message: regular expression that the text of the warning matches from its start; empty for any text.
    """
    wanted = ("ignore", re.compile(message, re.IGNORECASE) if message else None, category, None, 0)
    for present in tuple(warnings.filters):
        if present == wanted:
            return
        if issubclass(category, present[2]):
            break
    warnings.filterwarnings("ignore", message, category)
