"""Pass lines that calls of a script log in workers to the log files that the script has opened.

A process that plain Python forks has the handlers of its parent. A worker of a run has none: it collects the lines of
each call, and the parent writes them through its handlers, in the order of the plan.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eechips.errors import RecipeError
from eechips.scripts.serialization import serialize

_OWN = "eechips"


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log file of the script.

    Attributes:
        path: absolute, as the handler has it.
        logger: name of the logger with the handler; empty for the root.
        level: level of the handler.
    """

    path: str
    logger: str
    level: int
    formatter: logging.Formatter | None
    filters: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a script has set of Python's logging.

    Attributes:
        levels: levels by name of the logger, empty for the root.
        silent: loggers that pass nothing to their parents.
        has_terminal: whether the root has a handler that writes to no file.
        process: machine and process of the script.
    """

    levels: Mapping[str, int]
    silent: tuple[str, ...] = ()
    files: tuple[LogFile, ...] = ()
    has_terminal: bool = False
    process: tuple[str, int] = field(default_factory=lambda: _this_process())

    def configure(self) -> None:
        """Set the levels in a worker."""
        if self._is_here:
            return
        if self.has_terminal:
            logging.basicConfig()
        for name, level in self.levels.items():
            logging.getLogger(name or None).setLevel(level)
        for name in self.silent:
            logging.getLogger(name).propagate = False

    @contextlib.contextmanager
    def collecting(self) -> Iterator[dict[str, io.StringIO]]:
        """Collect what is logged inside the block, by path of the file; nothing where the script's handlers are."""
        streams: dict[str, io.StringIO] = {}
        with contextlib.ExitStack() as stack:
            for file in () if self._is_here else self.files:
                handler = logging.StreamHandler(streams.setdefault(file.path, io.StringIO()))
                handler.setLevel(file.level)
                handler.setFormatter(file.formatter)
                for record_filter in file.filters:
                    handler.addFilter(record_filter)
                logger = logging.getLogger(file.logger or None)
                logger.addHandler(handler)
                stack.callback(logger.removeHandler, handler)
            yield streams

    @property
    def _is_here(self) -> bool:
        return self.process == _this_process()


def present_settings() -> bytes | None:
    """Serialize what the script has set; None if it has not configured logging."""
    loggers = _loggers()
    handlers = [(name, handler) for name, logger in loggers.items() for handler in logger.handlers]
    if not handlers:
        return None
    settings = LogSettings(
        levels={name: logger.level for name, logger in loggers.items() if logger.level or not name},
        silent=tuple(name for name, logger in loggers.items() if not logger.propagate and name),
        has_terminal=any(not isinstance(handler, logging.FileHandler) for name, handler in handlers if not name),
        files=tuple(
            LogFile(handler.baseFilename, name, handler.level, handler.formatter, tuple(handler.filters))
            for name, handler in handlers
            if isinstance(handler, logging.FileHandler)
        ),
    )
    try:
        return serialize(settings, "a handler of logging")
    except RecipeError:  # a filter that belongs to this process
        return serialize(LogSettings(settings.levels, settings.silent, (), settings.has_terminal), "levels of logging")


def name_in_run(path: str, out: Path) -> str:
    """Return a path of a log file relative to the run's folder, which may be moved; unchanged if it is elsewhere."""
    for folder in (out, Path(os.path.realpath(out))):
        if Path(path).is_relative_to(folder):
            return Path(path).relative_to(folder).as_posix()
    return path


def write_logged(texts: Mapping[str, str], out: Path) -> None:
    """Write what a call has logged through the handlers of the script.

    Args:
        texts: by :func:`name_in_run` of the file.
        out: the run's folder.
    """
    written: set[str] = set()
    for logger in _loggers().values():
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler) or handler.baseFilename in written:
                continue
            text = texts.get(name_in_run(handler.baseFilename, out))
            if text is None:
                continue
            written.add(handler.baseFilename)
            handler.acquire()
            try:
                if handler.stream is None:
                    handler.stream = handler._open()
                handler.stream.write(text)
                handler.flush()
            finally:
                handler.release()


def _loggers() -> dict[str, logging.Logger]:
    """Return all loggers by name, except those of this package. The name of the root is empty."""
    manager = logging.Logger.manager
    named = {name: logger for name, logger in manager.loggerDict.items() if isinstance(logger, logging.Logger)}
    own = {name for name in named if name.partition(".")[0] == _OWN}
    return {"": manager.root, **{name: logger for name, logger in named.items() if name not in own}}


def _this_process() -> tuple[str, int]:
    return platform.node(), os.getpid()
