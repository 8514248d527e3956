"""Redirect the log of a library while eechips uses it, and write records as safe lines."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from eechips.text.formatting import one_line, replace_control_characters

DASK = ("distributed", "tornado", "asyncio", "bokeh")
"""Loggers of Dask and of packages that it uses."""


class LineFormatter(logging.Formatter):
    """Write the message of a record as one safe line; a traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without the traceback."""
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback."""
        return replace_control_characters(super().formatException(ei))


@contextlib.contextmanager
def redirect_loggers(names: Sequence[str], handler: logging.Handler) -> Iterator[None]:
    """Replace the handlers of loggers by one handler, for the duration of the block.

    Args:
        handler: closed at the end.
    """
    below = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in names]
    loggers = {name: logging.getLogger(name) for name in {*below, *names}}
    before = {name: (logger.handlers[:], logger.propagate) for name, logger in loggers.items()}
    for name, logger in loggers.items():
        logger.handlers[:] = [handler] if name in names else []
        logger.propagate = name not in names
    try:
        yield
    finally:
        for name, (handlers, propagate) in before.items():
            loggers[name].handlers[:], loggers[name].propagate = handlers, propagate
        handler.close()
