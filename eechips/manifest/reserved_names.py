"""List the names in an output folder that no unit may have; refuse too long names, and folders with files that a new
run would overwrite.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from eechips.errors import UsageError
from eechips.files.temporary_names import SCRATCH_PREFIX, is_temporary
from eechips.manifest.export import FAILURES_NAME, LAYERS_NAME, PARQUET_NAME
from eechips.manifest.folder_lock import LOCK_NAME
from eechips.manifest.run_signature import is_own
from eechips.manifest.run_status import LOG_NAME
from eechips.manifest.source_files import SOURCES_NAME
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.manifest.untrusted_run import INFO_NAME, read_info
from eechips.storage import check_name

REPORT_NAME = "report.html"

_SQLITE = tuple(f"{LEDGER_NAME}{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))
_OF_COMMANDS = (
    SOURCES_NAME,
    "planning.sqlite",
    "planning.sqlite-journal",
    "local.log",
    "beam",
    "beam.log",
    "splits.parquet",
    "quality.parquet",
    "croissant.json",
    "stats.json",
    "smoothed.parquet",
    "rebuild.csv",
    "rebuild-assets.csv",
)

GENERATED_FILES = (INFO_NAME, PARQUET_NAME, LAYERS_NAME, FAILURES_NAME, REPORT_NAME)
"""Files that every run writes; they replace those of the run before."""

OF_EVERY_RUN = frozenset({*_SQLITE, *GENERATED_FILES, LOG_NAME, LOCK_NAME})
"""Files that a run itself writes, now or at its end."""

RESERVED = OF_EVERY_RUN.union(_OF_COMMANDS)
"""Files in the folder of a run that eechips writes itself, or reads as its own."""

FOREIGN_FILES = "foreign"
"""In the ledger: paths of the files that were in the output folder before the run had a plan."""

_FOLDERS = RESERVED - {"beam"}
CALLS_FOLDER = ".calls"
"""In the folder of a script's run: pickled arguments and return values of its calls."""

OUTCOMES_FOLDER = ".eechips-outcomes"
"""Beside results of workers without a common ledger: their outcomes."""

_MOST_BYTES = 255
_PREFIXES = (CALLS_FOLDER, ".parts", ".eechips", SCRATCH_PREFIX)


def list_foreign_files(root: Path) -> list[str]:
    """List visible files that no run has written, as paths below an output folder with forward slashes."""
    foreign_files: list[str] = []
    for directory, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(directory).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        foreign_files += [prefix + name for name in files if not name.startswith(".") and prefix + name not in RESERVED]
    return foreign_files


def result_name(name: str) -> str:
    """Normalise the name of a result's file; refuse the names of the run's own files.

    Upper and lower case count as equal: on some file systems they are. A part of a path has 255 bytes at most, as on
    most file systems, and the manifest keeps names as UTF-8.

    Args:
        name: path below the output folder, with its suffix.

    Raises:
        UsageError: if the name leads out of the folder, belongs to the run, is too long, or is no text.
    """
    normal = posixpath.normpath(check_name(name))
    try:
        longest = max(len(part.encode()) for part in normal.split("/"))
    except UnicodeEncodeError:
        raise UsageError(f"no result can be called {name!a}: it is not valid Unicode; choose another name") from None
    if longest > _MOST_BYTES:
        raise UsageError(
            f"no result can be called {name[:80]}…: a part of it has {longest} bytes, and {_MOST_BYTES} is the most;"
            " choose a shorter name"
        )
    first, *further = (part.casefold() for part in normal.split("/"))
    is_own = first in (_FOLDERS if further else RESERVED) or first.startswith(_PREFIXES)
    if is_own or normal == "." or any(map(is_temporary, (first, *further))):
        raise UsageError(f"no result can be called {name}: the run has files of that name; choose another one")
    return normal


def check_new(folder: Path) -> None:
    """Check that a folder has no files that a new run would overwrite.

    Files that a run of this user has written there may be overwritten, if its ledger has been removed.

    Raises:
        UsageError: if it has any; the message names them.
    """
    there = [name for name in GENERATED_FILES if os.path.lexists(folder / name) and not (folder / name).is_dir()]
    if there and not is_own(read_info(folder), folder):
        raise UsageError(
            f"{folder} has {', '.join(there)}, which no run of yours has written there and which this one would"
            " overwrite: choose another folder (`out`), or move the files away"
        )
