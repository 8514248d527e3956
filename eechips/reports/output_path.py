"""Choose the output path of a page or picture of a run; refuse to replace results, and files that eechips did not
write.
"""

from __future__ import annotations

from pathlib import Path

from eechips.errors import UsageError
from eechips.manifest.pictures.chip_pictures import PNG_MARK
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger

MARK = '<meta name="generator" content="eechips">'
"""Element in the head of every page by which eechips recognises its own pages."""
_HEAD = 4096  # bytes


_MARKS = {".html": MARK.encode(), ".png": PNG_MARK}


def output_path(run: Run, out: str | Path | None, name: str) -> Path:
    """Return the path of the file to write.

    Raises:
        UsageError: if the path is a result of the run, since scripts may choose any names for results, or a file that
            eechips has not written.
    """
    path = run.path / name if out is None else Path(out)
    folder = run.path.resolve()
    if folder in path.resolve().parents:
        inside = path.resolve().relative_to(folder).as_posix()
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            if ledger.owner(inside) is not None:
                raise UsageError(f"{path} is a result of the run and would be overwritten: choose another `out`")
    mark = _MARKS.get(path.suffix) if out is None else None
    if mark is not None and path.is_file() and not path.is_symlink() and mark not in _head(path):
        raise UsageError(
            f"{path} was not written by eechips and is not replaced: move it away, or choose another `out`"
        )
    return path


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
