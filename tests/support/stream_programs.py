"""Programs that read a run while another process fetches it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import eechips
from local_tests.support.local_earth_engine import wait_until
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service

COUNT = 30


PROGRAM = """
import json, os, sys
from functools import partial
from pathlib import Path
import eechips

folder, url = Path(sys.argv[1]), sys.argv[2]
fetch = partial(
    eechips.run, str(folder / "recipe.py"), parameters={"count": 30}, endpoint=url, project="test", rate=None,
    in_flight=2, executor="threads", method="pixels", out=folder / "out",
)
stream = eechips.stream(fetch, seed=5)
state = folder / f"state-{stream.rank}.json"
if state.exists():
    stream.load_state_dict(json.loads(state.read_text()))
for item in stream:
    with (folder / f"seen-{stream.rank}").open("a") as file:
        file.write(f"{item.sample.unit['number']}\\n")
    written = state.with_suffix(".part")
    written.write_text(json.dumps(stream.state_dict()))
    os.replace(written, state)
    if item.ordinal == int(os.environ.get("LAST_ORDINAL", -1)):
        break
"""


def fetch_of(folder: Path, service: Service, count: int = COUNT, **options: Any) -> partial[object]:
    """The call that fetches chips of the numbers 1 to ``count``."""
    (folder / "recipe.py").write_text(CHIPS)
    given: dict[str, Any] = {
        "parameters": {"count": count}, "endpoint": service.url, "project": "test", "rate": None, "in_flight": 4,
        "executor": "threads", "method": "pixels", "out": folder / "out",
    }  # fmt: skip
    return partial(eechips.run, str(folder / "recipe.py"), **{**given, **options})


def start(folder: Path, service: Service, program: str = PROGRAM, **environment: str) -> subprocess.Popen[str]:
    """A training in a process of its own."""
    (folder / "recipe.py").write_text(CHIPS)
    (folder / "training.py").write_text(program)
    return subprocess.Popen(
        [sys.executable, folder / "training.py", folder, service.url], env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def numbers(items: Iterable[Any]) -> list[int]:
    """The numbers of the units of items."""
    return [item.sample.unit["number"] for item in items]


def seen(folder: Path, rank: int = 0) -> list[int]:
    """What a training has seen so far."""
    path = folder / f"seen-{rank}"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def order_of(seed: int, epoch: int = 0, count: int = COUNT) -> list[int]:
    """The numbers of the units in the order of an epoch, as documented: numpy's permutation."""
    return (1 + np.random.default_rng([seed, epoch]).permutation(count)).tolist()


def wait_for(training: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Waits until a training has seen so many samples."""
    wait_until(lambda: len(seen(folder)) >= count, training)
