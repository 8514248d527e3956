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
        naming: held while a file gets a name that nothing else has.
        report: called with the shares of files that are computed and written.

    Raises:
        AssetWriteError: if a file cannot be written, or a link leads out of the destination.
    """
    folder = destination.root / destination.folder
    for count, file in enumerate(files, 1):
        target = folder / destination.name(file.part, file.ending)
        with writing(target), naming:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(destination.root)):
                raise AssetWriteError(f"Cannot write {target}: a link leads out of {destination.root}.")
            commit(place / file.staged, target if destination.replaces else _free(target))
        report(1.0, count / len(files))


def _free(target: Path) -> Path:
    """Return a name that no file has: Drive keeps files of the same name, and its desktop client numbers them."""
    found, number = target, 0
    while os.path.lexists(found):
        number += 1
        found = target.with_name(f"{target.stem} ({number}){target.suffix}")
    return found
