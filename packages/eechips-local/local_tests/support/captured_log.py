"""What a test logs.

pytest's plugin of logging visits each of 300 loggers six times for each test, also for those that read no log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class CapturedLog(logging.Handler):
    """The records that reach the root logger while a test runs, from the creation of this handler on."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._levels: dict[logging.Logger, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        record.getMessage()  # raises in the test what logging would print: arguments that do not fit
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        """The messages, without tracebacks."""
        return [record.getMessage() for record in self.records]

    @property
    def text(self) -> str:
        """The messages and tracebacks; empty if nothing was logged."""
        return "\n".join(map(logging.Formatter().format, self.records))

    def clear(self) -> None:
        """Forget the records."""
        self.records = []

    def set_level(self, level: int | str, logger: str | None = None) -> None:
        """Set the level of a logger, or of the root logger, until the end of the test."""
        changed = logging.getLogger(logger)
        self._levels.setdefault(changed, changed.level)
        changed.setLevel(level)

    @contextmanager
    def at_level(self, level: int | str, logger: str | None = None) -> Iterator[None]:
        """Set the level of a logger, or of the root logger, inside the block."""
        changed = logging.getLogger(logger)
        before = changed.level
        changed.setLevel(level)
        try:
            yield
        finally:
            changed.setLevel(before)

    def restore_levels(self) -> None:
        """Undo :meth:`set_level`."""
        for changed, level in self._levels.items():
            changed.setLevel(level)


@pytest.fixture
def caplog() -> Iterator[CapturedLog]:
    """Return what the test logs from here on."""
    captured = CapturedLog()
    logging.getLogger().addHandler(captured)
    yield captured
    logging.getLogger().removeHandler(captured)
    captured.restore_levels()
