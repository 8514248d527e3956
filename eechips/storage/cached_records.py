"""Keep what runs learn for later runs: small JSON objects in the user's cache folder, a file for each subject.

Runs work without them: what cannot be read is as good as missing, and what cannot be written is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eechips.errors import StorageError, UsageError
from eechips.files.local_paths import CACHE_VARIABLE, cache_folder, make_private
from eechips.storage.single_files import write_file
from eechips.storage.untrusted_files import parse_json
from eechips.web.urls import is_loopback


def load_record(folder: str, endpoint: str, subject: str) -> dict[str, Any]:
    """Load the record of a subject at a service; empty if there is none, or it cannot be read.

    Args:
        folder: folder of records of one kind, in the user's cache folder.
    """
    path = _path(folder, endpoint, subject)
    try:
        content = parse_json(path.read_bytes()) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def save_record(folder: str, endpoint: str, subject: str, record: Mapping[str, Any]) -> bool:
    """Store the record of a subject at a service, in place of an earlier one.

    The port of a server on loopback changes: its records are stored only if ``EECHIPS_CACHE`` is set.

    Returns:
        Whether it was stored; False also if the folder cannot be written.
    """
    path = _path(folder, endpoint, subject)
    if path is None or (is_loopback(endpoint) and not os.environ.get(CACHE_VARIABLE)):
        return False
    try:
        make_private(path.parent)
        write_file(path, (json.dumps(dict(record), indent=2) + "\n").encode())
    except (OSError, StorageError, UsageError):
        return False
    return True


def _path(folder: str, endpoint: str, subject: str) -> Path | None:
    cache = cache_folder()
    key = hashlib.sha256(f"{endpoint}\n{subject}".encode()).hexdigest()
    return None if cache is None else cache / folder / f"{key[:32]}.json"
