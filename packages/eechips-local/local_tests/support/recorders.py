"""Recorders in front of services that respond by functions, and the requests that they receive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from local_tests.support.function_server import Answer, serve_function
from local_tests.support.local_earth_engine import Server

PROJECT = "my-secret-project"
TOKEN = "ya29.a0AfH6SMBx-secret"
KEY = "AIzaSy-secret"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Goog-User-Project": PROJECT, "Content-Type": "application/json"}

Start = Callable[..., Server]
"""Starts a recorder or a replay; see `hosting`."""


@contextmanager
def recording_of(start: Start, answer: Callable[..., Answer], folder: Path) -> Iterator[Server]:
    """Record a service that responds by a function."""
    with serve_function(answer) as upstream:
        yield start(record=str(folder), upstream=upstream)


def post(url: str, path: str, body: Any, **options: Any) -> requests.Response:
    """Send a request with JSON."""
    return requests.post(f"{url}/v1/{path}", data=json.dumps(body), **{"headers": HEADERS, "timeout": 60, **options})


def sum_of(left: Any, right: Any, key: str = "0") -> dict[str, Any]:
    """Return a body whose expression adds two numbers."""
    arguments = {"left": {"constantValue": left}, "right": {"constantValue": right}}
    call = {"functionInvocationValue": {"functionName": "Number.add", "arguments": arguments}}
    return {"expression": {"result": key, "values": {key: call}}}


def list_files(folder: Path) -> list[str]:
    """Return the paths of all files of a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
