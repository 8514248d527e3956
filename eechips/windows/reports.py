"""What GDAL reports without failing: parts of a raster that it could not read, and does without.

A mask, or a place beside a raster, of which the request fails is for GDAL as if it were not there: the pixels come
without it. rasterio has such reports in its log only (https://rasterio.readthedocs.io/en/stable/topics/errors.html), at
the level INFO, which nobody listens to; so they are taken from there.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator

_LOGGERS = ("rasterio._env", "rasterio._err")
_SIGNALLED = re.compile(r"GDAL signalled an error: err_no=\d+, msg=['\"](.*)['\"]$", re.DOTALL)
_HTTP = re.compile(r"HTTP response code on|Request for .* failed with response_code")
_here = threading.local()


class _Ear(logging.Filter):
    """Takes what is reported to a thread that listens; lets through what would be shown without it."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard: list[str] | None = getattr(_here, "heard", None)
        text = record.getMessage()
        if heard is not None:
            signalled = _SIGNALLED.search(text)
            if signalled or _HTTP.search(text):
                heard.append(signalled[1] if signalled else text)
                return False
        return record.levelno >= logging.getLogger("rasterio").getEffectiveLevel()


_EAR = _Ear()


@contextlib.contextmanager
def reported() -> Iterator[list[str]]:
    """Listens, in this thread.

    Yields:
        What GDAL has reported so far inside the block: errors that were no failure, and answers of HTTP other than 2xx.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.addFilter(_EAR)  # once, however often it is added
        if logger.level in (logging.NOTSET, logging.WARNING):
            logger.setLevel(logging.INFO)
    before = getattr(_here, "heard", None)
    heard: list[str] = []
    _here.heard = heard
    try:
        yield heard
    finally:
        _here.heard = before
