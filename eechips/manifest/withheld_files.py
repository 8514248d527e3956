"""Move results of a script's interrupted calls out of its sight, until it makes the calls again.

The script has not received what these calls returned. If it finds their files, it leaves the calls out, and misses the
values; if it begins with the removal of partial files, it removes finished results. The files are moved, since
libraries in C, ``os.remove`` and ``shutil.rmtree`` find what is only left out of listings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from eechips.errors import UsageError
from eechips.files.removal import ReservedName, remove, remove_empty, replace, set_aside
from eechips.manifest.reserved_names import CALLS_FOLDER
from eechips.storage.paths import is_inside

_WITHHELD = f"{CALLS_FOLDER}/withheld/files"


def withhold(out: Path, names: Iterable[str]) -> None:
    """Move files of the run to a folder of its own; folders, and files behind links out of the run's folder, stay.

    Args:
        out: the run's folder, absolute.
        names: paths below it.

    Raises:
        OSError: if the file system refuses.
    """
    for name in names:
        if os.path.lexists(out / name) and is_inside(out / name, out):
            target = out / _WITHHELD / name
            target.parent.mkdir(parents=True, exist_ok=True)
            replace(out / name, target)


def is_withheld(out: Path, name: str) -> bool:
    """Return whether a file of the run is set aside because a script was killed before it made its calls again."""
    return os.path.lexists(out / _WITHHELD / name) and not os.path.lexists(out / name)


def forget(out: Path, name: str) -> None:
    """Remove a withheld file, whose name another file of the run has now."""
    remove(out / _WITHHELD / name, ReservedName(CALLS_FOLDER))


def restore(out: Path, *, replaces: bool) -> None:
    """Move withheld files back, also files that a killed process has left.

    Args:
        out: the run's folder, absolute.
        replaces: whether they replace files that have their names meanwhile, as results of calls do. Otherwise these
            are renamed.

    Raises:
        UsageError: if one would be moved out of the folder by a link.
        OSError: if the file system refuses.
    """
    root = out / _WITHHELD
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            source = Path(directory, name)
            target = out / source.relative_to(root)
            if not is_inside(target, out):
                raise UsageError(f"{target.parent} is a link that leads out of {out}: remove it to have {source} there")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not replaces and os.path.lexists(target):
                set_aside(target)
            replace(source, target)
        remove_empty(Path(directory))
    remove_empty(root.parent)
