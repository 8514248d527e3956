"""Pass lines that calls of a script log in workers to the log files, streams and queues of the script's handlers.

A process that plain Python forks has the handlers of its parent. A worker of a run has none: it writes to its own
standard streams, and collects the lines for files of each call, which the parent writes in the order of the plan, and
the records for queues.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.handlers
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eechips.scripts.serialization import is_sendable, serialize

_OWN = "eechips"
_TERMINALS = ("stdout", "stderr")
_QUEUE = "/queue of "
"""Beginning of the destination, absolute as a path, of a handler with a queue; the name of its logger follows."""
_PRINTED = "/standard output"
"""Destination, absolute as a path, of what calls print, if the script has put a file in the place of its output."""


@dataclass(frozen=True, slots=True)
class LogHandler:
    """A handler that the script has added.

    Attributes:
        destination: absolute path of a file, as the handler has it; ``stdout`` or ``stderr``; or a queue.
        logger: name of the logger with the handler; empty for the root.
    """

    destination: str
    logger: str
    level: int
    formatter: logging.Formatter | None
    filters: tuple[Any, ...]

    @property
    def is_terminal(self) -> bool:
        """Return whether it writes to a standard stream."""
        return self.destination in _TERMINALS

    def opened(self, stream: Any) -> logging.Handler:
        """Return a handler with these settings that writes to a stream."""
        handler = logging.StreamHandler(stream)
        handler.setLevel(self.level)
        handler.setFormatter(_Records() if self.destination.startswith(_QUEUE) else self.formatter)
        for record_filter in self.filters:
            handler.addFilter(record_filter)
        return handler


class _Records(logging.Formatter):
    """Write records as lines of JSON, with the text of the message."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        fields = {name: value for name, value in vars(record).items() if isinstance(value, (str, int, float))}
        return json.dumps({**fields, "msg": text, "message": text, "exc_text": None})


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a script has set of Python's logging.

    Attributes:
        levels: levels by name of the logger, empty for the root.
        silent: loggers that pass nothing to their parents.
        process: machine and process of the script.
        collects_output: whether what calls print goes to the script's own standard output.
    """

    levels: Mapping[str, int]
    silent: tuple[str, ...] = ()
    handlers: tuple[LogHandler, ...] = ()
    process: tuple[str, int] = field(default_factory=lambda: _this_process())
    collects_output: bool = False

    def configure(self) -> None:
        """Set the levels in a worker."""
        if self._is_here:
            return
        for name, level in self.levels.items():
            logging.getLogger(name or None).setLevel(level)
        for name in self.silent:
            logging.getLogger(name).propagate = False

    @contextlib.contextmanager
    def collecting(self) -> Iterator[dict[str, io.StringIO]]:
        """Collect what is logged inside the block, by path of the file; nothing where the script's handlers are.

        Lines for a standard stream appear at once, unless a module of the worker has such a handler of its own. Files
        of handlers of the worker are closed at the end: the next call opens those for appending in its own folder.
        """
        streams: dict[str, io.StringIO] = {}
        with contextlib.ExitStack() as stack:
            if not self._is_here:
                stack.callback(_close_files)
                if self.collects_output:
                    output = streams[_PRINTED] = io.StringIO()
                    stack.enter_context(contextlib.redirect_stdout(output))
            handlers = () if self._is_here else self.handlers
            shown = {settings.logger for settings in handlers if _has_terminal(settings.logger)}
            for settings in handlers:
                if settings.is_terminal and settings.logger in shown:
                    continue
                logger = logging.getLogger(settings.logger or None)
                terminal = getattr(sys, settings.destination) if settings.is_terminal else None
                handler = settings.opened(terminal or streams.setdefault(settings.destination, io.StringIO()))
                logger.addHandler(handler)
                stack.callback(logger.removeHandler, handler)
            yield streams

    @property
    def _is_here(self) -> bool:
        return self.process == _this_process()


def present_settings(*, collects_output: bool = False) -> bytes | None:
    """Serialize what the script has set; None if it has not configured logging, nor redirected its output.

    Args:
        collects_output: whether it has put a file in the place of its standard output.
    """
    loggers = _loggers()
    if not (collects_output or any(logger.handlers for logger in loggers.values())):
        return None
    settings = LogSettings(
        levels={name: logger.level for name, logger in loggers.items() if logger.level or not name},
        silent=tuple(name for name, logger in loggers.items() if not logger.propagate and name),
        handlers=tuple(
            _portable(LogHandler(destination, name, handler.level, handler.formatter, tuple(handler.filters)))
            for name, logger in loggers.items()
            for handler in logger.handlers
            if (destination := _destination(name, handler))
        ),
        collects_output=collects_output,
    )
    return serialize(settings, "levels of logging")


def _close_files() -> None:
    """Close the files of handlers of this process; those that append open them again at the next line."""
    for handler in (handler for logger in _loggers().values() for handler in logger.handlers):
        if isinstance(handler, logging.FileHandler):
            handler.close()


def _portable(handler: LogHandler) -> LogHandler:
    """Return a handler without a formatter and filters that belong to this process."""
    return handler if is_sendable(handler) else replace(handler, formatter=None, filters=())


def _has_terminal(logger: str) -> bool:
    """Return whether a logger of this process writes to a standard stream."""
    return any(_destination(logger, handler) in _TERMINALS for handler in logging.getLogger(logger or None).handlers)


def _destination(logger: str, handler: logging.Handler) -> str:
    """Return where a handler writes: a file, a standard stream, a queue, or nowhere, if forks would not share it."""
    if isinstance(handler, logging.FileHandler):
        return handler.baseFilename
    if isinstance(handler, logging.NullHandler):
        return ""
    if isinstance(handler, logging.handlers.QueueHandler):
        return f"{_QUEUE}{logger}"
    stream = getattr(handler, "stream", None)
    if stream in (sys.stdout, sys.__stdout__):
        return "stdout"
    return "stderr" if stream in (sys.stderr, sys.__stderr__) or not logger else ""


def name_in_run(path: str, out: Path) -> str | None:
    """Return an absolute path relative to the run's folder, links resolved; None if it is outside."""
    for there in (Path(os.path.normpath(path)), Path(os.path.realpath(path))):
        for folder in (out, Path(os.path.realpath(out))):
            if there.is_relative_to(folder):
                return there.relative_to(folder).as_posix()
    return None


def write_logged(texts: Mapping[str, str], out: Path) -> None:
    """Write what a call has logged through the handlers of the script.

    Args:
        texts: by path of the file, relative if it is in the run's folder, which may be moved.
    """
    if printed := texts.get(_PRINTED):
        sys.stdout.write(printed)
    written: set[str] = set()
    for name, logger in _loggers().items():
        for handler in logger.handlers:
            if isinstance(handler, logging.handlers.QueueHandler):
                for line in texts.get(f"{_QUEUE}{name}", "").splitlines():
                    handler.handle(logging.makeLogRecord(json.loads(line)))
            if not isinstance(handler, logging.FileHandler) or handler.baseFilename in written:
                continue
            text = texts.get(name_in_run(handler.baseFilename, out) or handler.baseFilename)
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
