"""Files that came whole, again and again, and were wrong: kept apart, with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eechips.removal import Reserved, remove, replace
from eechips.storage import write_file
from eechips.timestamps import utc_now

QUARANTINE = "quarantine"
"""In the folder of the run: ``<id>.<suffix>`` is the file, ``<id>.json`` says what is wrong with it."""


def quarantine(folder: Path, identifier: str, file: Path, suffix: str, reason: Mapping[str, Any]) -> Path:
    """Puts a file there, with the reason; one of the same unit is replaced.

    Args:
        folder: of the run.
        identifier: of the unit.
        file: the file.
        suffix: of its address.
        reason: JSON.

    Returns:
        Where it is now.
    """
    place = folder / QUARANTINE
    place.mkdir(parents=True, exist_ok=True)
    kept = place / (f"{identifier}.{suffix}" if suffix else identifier)
    release(folder, identifier)
    told = {**reason, "file": kept.name if file.exists() else None, "quarantined": utc_now()}
    text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    write_file(place / f"{identifier}.json", text.encode())  # first: a file without a note would be nobody's
    if file.exists():
        replace(file, kept)
    return kept


def release(folder: Path, identifier: str) -> None:
    """Removes what is there of a unit that came right in the end.

    The quarantine itself stays, even if nothing is in it: another thread may be about to put something there.
    """
    note = folder / QUARANTINE / f"{identifier}.json"
    try:
        kept = json.loads(note.read_bytes())["file"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        kept = None
    if isinstance(kept, str) and kept.partition(".")[0] == identifier:
        remove(note.with_name(kept), Reserved(QUARANTINE))
    remove(note, Reserved(QUARANTINE))
