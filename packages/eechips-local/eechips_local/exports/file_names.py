"""Give finished files of exports their names: where one exists, a number is added, or it is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from eechips_local.assets.asset_errors import AssetWriteError
from eechips_local.assets.store_files import commit, commit_new, workspace, writing
from eechips_local.exports.destinations import Destination
from eechips_local.exports.process_messages import ExportedFile

__all__ = ["AssetWriteError", "put_in_place", "workspace"]


def put_in_place(
    place: Path, files: Sequence[ExportedFile], destination: Destination, report: Callable[[float, float], None]
) -> None:
    """Move files to their destination, each whole.

    Args:
        place: folder of the files, on the file system of the destination.
        files: in order.
        destination: destination of the task.
        report: called with the shares of files that are computed and written.

    Raises:
        AssetWriteError: if a file cannot be written, or a link leads out of the destination.
    """
    folder, number = destination.root / destination.folder, 0
    while not _place(place, files, destination, [folder / name for name in _names(files, destination, number)], report):
        number += 1


def _place(
    place: Path,
    files: Sequence[ExportedFile],
    destination: Destination,
    targets: Sequence[Path],
    report: Callable[[float, float], None],
) -> bool:
    """Move files to their names; move none of them, and return False, if something has one that is not replaced."""
    moves = [(place / file.staged, target) for file, target in zip(files, targets, strict=True)]
    for _, target in moves:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(destination.root)):
                raise AssetWriteError(f"Cannot write {target}: a link leads out of {destination.root}.")
    if not destination.replaces:
        with writing(destination.root):
            return commit_new(moves)
    for count, (source, target) in enumerate(moves, 1):
        with writing(target):
            commit(source, target)
        report(1.0, count / len(moves))
    return True


def _names(files: Sequence[ExportedFile], destination: Destination, number: int) -> list[str]:
    """Return the names of the files of a task.

    Drive keeps files of the same name. A folder cannot, so the later ones have a number, as Drive's desktop client
    gives them; all files of a task have the same.
    """
    mark = f" ({number})" if number else ""
    return [destination.name(file.part, f"{mark}{file.ending}") for file in files]
