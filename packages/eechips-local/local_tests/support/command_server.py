"""Local Earth Engines as processes of ``eechips-local serve``, with its page, or which record and replay."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_tests.support.local_earth_engine import Server


@contextmanager
def serving_command(verb: str, *arguments: str | Path) -> Iterator[Server]:
    """Run a command of ``eechips-local`` that serves on any free port for the duration of the block.

    Args:
        verb: serve, record or replay.
        *arguments: further ones.
    """
    command = [sys.executable, "-m", "eechips_local", verb, "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, f"eechips-local {verb} did not start: {line!r}"
        yield Server(found[0])
    finally:
        with process:
            process.send_signal(signal.SIGINT)
            process.wait(60)
