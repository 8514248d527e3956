"""Keep the number of requests in flight that a project's quota allowed, for later runs.

The service does not publish its limits: a run learns them from rejected requests
(:mod:`eechips.client.quota.congestion`), and the next run of the same project begins with them. The memory is one small
JSON file in the user's cache folder; runs work without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.errors import StorageError, UsageError
from eechips.files.local_paths import CACHE_VARIABLE, cache_folder, make_private
from eechips.storage import write_file
from eechips.web.urls import is_loopback

LIMITS_NAME = "limits.json"
_MOST = 200  # projects that are remembered: those seen last


@dataclass(frozen=True, slots=True)
class LearnedLimit:
    """Limit of a project's quota that a run has learned.

    Attributes:
        in_flight: requests that may be in flight at once, at least 1.
        restricted: whether the service said that it restricts the project's parallelism
            (``x-earth-engine-quota-status: parallelism_restricted=true``).
        seen: when, ISO 8601, UTC.
    """

    in_flight: int
    restricted: bool
    seen: str


def load_learned_limit(endpoint: str, project: str, folder: Path | None = None) -> LearnedLimit | None:
    """Load the limit that earlier runs learned of a project's quota.

    Args:
        folder: folder of the file; None for the user's cache folder.

    Returns:
        None if no limit is stored, or the file cannot be read.
    """
    where = folder or cache_folder()
    if where is None:
        return None
    entry = _read(where / LIMITS_NAME).get(endpoint, {}).get(project)
    return None if entry is None else LearnedLimit(**entry)


def save_learned_limit(endpoint: str, project: str, learned: LearnedLimit, folder: Path | None = None) -> bool:
    """Store the limit that a run learned, in place of the stored one.

    The limit of a server on loopback, whose port changes, is stored only if the folder is named by the argument or by
    ``EECHIPS_CACHE``.

    Args:
        folder: folder of the file; None for the user's cache folder.

    Returns:
        Whether it was stored; False also if the folder cannot be written.
    """
    if is_loopback(endpoint) and folder is None and not os.environ.get(CACHE_VARIABLE):
        return False
    where = folder or cache_folder()
    if where is None:
        return False
    try:
        make_private(where)
        with _alone(where / f".{LIMITS_NAME}.lock"):
            known = _read(where / LIMITS_NAME)
            known.setdefault(endpoint, {})[project] = dataclasses.asdict(learned)
            write_file(where / LIMITS_NAME, (json.dumps(_newest(known), indent=2) + "\n").encode())
    except (OSError, StorageError, UsageError):
        return False
    return True


_Known = dict[str, dict[str, dict[str, Any]]]
"""Endpoint, project, and the fields of :class:`LearnedLimit`."""


def _read(path: Path) -> _Known:
    """Return the valid entries of a file; none if it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    known: _Known = {}
    for endpoint, projects in _items(content):
        for project, entry in _items(projects):
            fields = dict(_items(entry))
            if _is_sound(fields):
                known.setdefault(endpoint, {})[project] = {
                    f.name: fields[f.name] for f in dataclasses.fields(LearnedLimit)
                }
    return known


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    yield from value.items() if isinstance(value, dict) else ()


def _is_sound(fields: Mapping[str, Any]) -> bool:
    in_flight = fields.get("in_flight")
    return (
        type(in_flight) is int
        and in_flight >= 1
        and isinstance(fields.get("restricted"), bool)
        and isinstance(fields.get("seen"), str)
    )


def _newest(known: _Known) -> _Known:
    """Return the entries seen last, so that the file stays small."""
    entries = [
        (entry["seen"], endpoint, project)
        for endpoint, projects in known.items()
        for project, entry in projects.items()
    ]
    kept: _Known = {}
    for _, endpoint, project in sorted(sorted(entries)[-_MOST:], key=lambda entry: entry[1:]):
        kept.setdefault(endpoint, {})[project] = known[endpoint][project]
    return kept


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes and threads out of the block."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
