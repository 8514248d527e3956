"""Redirect the log of a library while eechips uses it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

DASK = ("distributed", "tornado", "asyncio", "bokeh")
"""Loggers of Dask and of packages that it uses."""


@contextlib.contextmanager
def redirect_loggers(names: Sequence[str], handler: logging.Handler) -> Iterator[None]:
    """Replace the handlers of loggers by one handler, for the duration of the block.

    Args:
        names: of the loggers; their child loggers are included.
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
