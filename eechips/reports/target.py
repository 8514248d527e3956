"""Where a page or a picture of a run goes."""

from __future__ import annotations

from pathlib import Path

from eechips.errors import UsageError
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.run import Run


def target(run: Run, out: str | Path | None, name: str) -> Path:
    """The file that is to be written.

    Args:
        run: of which it is.
        out: what the caller wants; None for a file in the run's folder.
        name: of that.

    Raises:
        UsageError: if it is a result of the run; scripts call theirs what they like.
    """
    path = run.path / name if out is None else Path(out)
    folder = run.path.resolve()
    if folder in path.resolve().parents:
        inside = path.resolve().relative_to(folder).as_posix()
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            if ledger.owner(inside) is not None:
                raise UsageError(f"{path} is a result of the run, and is not to be lost: choose another --out")
    return path
