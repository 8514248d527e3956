"""Lines that calls of a script log to the terminal or a queue, in a worker."""

from __future__ import annotations

import dataclasses
import logging
import logging.handlers
import queue
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eechips.scripts.replacements import log_files
from eechips.scripts.serialization import deserialize


@pytest.fixture
def own() -> Iterator[logging.Logger]:
    """A logger of a script, without handlers at the end."""
    logger = logging.getLogger("script.own")
    logger.setLevel("INFO")
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def _of_worker() -> log_files.LogSettings:
    """Return the settings as a worker has them."""
    stored = log_files.present_settings()
    assert stored is not None
    settings: log_files.LogSettings = deserialize(stored)
    return dataclasses.replace(settings, process=("elsewhere", 1))


def test_lines_for_the_terminal_have_format_level_and_stream_of_the_script(
    own: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    own.addHandler(logging.NullHandler())
    for stream, level, form in ((sys.stdout, "INFO", "out|%(message)s"), (sys.stderr, "ERROR", "err|%(message)s")):
        handler = logging.StreamHandler(stream)
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter(form))
        own.addHandler(handler)
    settings = _of_worker()
    own.handlers.clear()
    with settings.collecting():
        own.info("a")
        own.error("b")
    assert own.handlers == []
    assert capsys.readouterr() == ("out|a\nout|b\n", "err|b\n")


def test_a_module_that_adds_its_handler_in_the_worker_too_writes_once(
    own: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    own.addHandler(logging.StreamHandler(sys.stdout))
    with _of_worker().collecting():
        own.info("a")
    assert capsys.readouterr().out == "a\n"


def test_a_formatter_of_this_process_does_not_hide_the_lines(
    own: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("out|%(message)s"))
    handler.formatter.stream = sys.stdout  # type: ignore[union-attr]
    own.addHandler(handler)
    settings = _of_worker()
    own.handlers.clear()
    with settings.collecting():
        own.info("a")
    assert capsys.readouterr().out == "a\n"


def test_records_for_a_queue_come_to_it(own: logging.Logger, tmp_path: Path) -> None:
    """They stayed in the worker: the file of the queue's listener was empty."""
    records: queue.Queue[logging.LogRecord] = queue.Queue()
    own.addHandler(logging.handlers.QueueHandler(records))
    settings = _of_worker()
    handlers, own.handlers = own.handlers, []
    with settings.collecting() as streams:
        own.info("tile %d\nof %s", 1, "Ames", extra={"site": 7})
        try:
            raise ValueError("no data")
        except ValueError:
            own.exception("failed")
    own.handlers = handlers
    log_files.write_logged({name: stream.getvalue() for name, stream in streams.items()}, tmp_path)
    tile, failed = records.get_nowait(), records.get_nowait()
    assert (tile.name, tile.levelname, vars(tile)["site"]) == (own.name, "INFO", 7)
    assert tile.getMessage() == "tile 1\nof Ames"
    assert failed.getMessage().startswith("failed\nTraceback")
