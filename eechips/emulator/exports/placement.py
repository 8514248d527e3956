"""Give finished files of exports their names."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from eechips.emulator.assets.asset_errors import AssetWriteError
from eechips.emulator.assets.store_files import commit, workspace, writing
from eechips.emulator.exports.destinations import Destination
from eechips.emulator.exports.jobs import ExportedFile

__all__ = ["AssetWriteError", "put_in_place", "workspace"]


def put_in_place(
    place: Path,
    files: Sequence[ExportedFile],
    destination: Destination,
    naming: threading.Lock,
    report: Callable[[float, float], None],
) -> None:
    """Move files to their destination, each whole.

    Args:
        place: folder of the files, on the file system of the destination.
        files: in order.
        destination: of the task.
        naming: held while files get names that nothing else has.
        report: called with the shares of files that are computed and written.

    Raises:
        AssetWriteError: if a file cannot be written, or a link leads out of the destination.
    """
    folder = destination.root / destination.folder
    with naming:
        targets = [folder / name for name in _names(files, destination, folder)]
        for count, (file, target) in enumerate(zip(files, targets, strict=True), 1):
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(destination.root)):
                    raise AssetWriteError(f"Cannot write {target}: a link leads out of {destination.root}.")
                commit(place / file.staged, target)
            report(1.0, count / len(files))


def _names(files: Sequence[ExportedFile], destination: Destination, folder: Path) -> list[str]:
    """Return the names of the files of a task.

    Drive keeps files of the same name. A folder cannot, so the later ones have a number, as Drive's desktop client
    gives them; all files of a task have the same.
    """
    number = 0
    while True:
        mark = f" ({number})" if number else ""
        names = [destination.name(file.part, f"{mark}{file.ending}") for file in files]
        if destination.replaces or not any(os.path.lexists(folder / name) for name in names):
            return names
        number += 1
