"""Verify the files of a run: :func:`verify`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from eechips.errors import StorageError
from eechips.manifest.audit import Audit, SampleSize, record_audit
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.ledger_recovery import RecoveredLedger, recover_ledger
from eechips.manifest.run import Problem, Run, open_run
from eechips.manifest.run_repair import find_manifest_problems, repair

if TYPE_CHECKING:
    from eechips.engine.config import RunConfig


def verify(
    run: str | Path | Run,
    *,
    reopen: bool = False,
    refetch: int | str | None = None,
    seed: int | None = None,
    trust: bool = False,
) -> list[Problem]:
    """Check that every file of a run is present, has the recorded sha256, and decodes.

    Args:
        run: the run, or its folder.
        reopen: have :func:`eechips.retry` fetch again what is missing, changed or damaged, and nothing else; make a
            damaged ledger or manifest again.
        refetch: fetch a random sample of the finished units again, so many (``60``) or such a share (``"1%"``), and
            compare pixels and values; the result is the last of ``run.audits``.
        seed: of the sample; None for another one each time.
        trust: with ``refetch``, execute the command of run.json even if another user wrote it.

    Returns:
        Damaged, missing and differing files with the reason, in the order of the plan; empty if all files are intact.

    Raises:
        UsageError: if the folder holds no run, or no command can fetch its units again.
        TransientError, StorageError: if the object store of the results cannot be read; or the ledger is damaged, and
            is not to be made again, or cannot be.

    Example:
        >>> eechips.verify("outputs/sample-naip")
        []
    """
    found = run if isinstance(run, Run) else open_verified(Path(run), recovers=reopen)[0]
    problems = find_problems(found)
    if refetch is not None:
        problems += audit_run(found, SampleSize.parse(refetch), seed, trust=trust)[1]
    if reopen:
        repair(found, problems)
    return problems


def open_verified(folder: Path, *, recovers: bool) -> tuple[Run, RecoveredLedger | None]:
    """Open a run, and read every page of its ledger; make a damaged or missing ledger again if that is wanted."""
    try:
        run = open_run(folder)
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            ledger.check_integrity()
            for _ in ledger.batches(("state", "sha256")):
                pass
        return run, None
    except StorageError:
        if not recovers:
            raise
    recovered = recover_ledger(folder)
    return open_run(folder), recovered


def find_problems(run: Run, tell: Callable[[], object] = lambda: None) -> list[Problem]:
    """Return what is missing, changed or damaged; ``tell`` is called for each file."""
    return run.verify(tell) + find_manifest_problems(run)


def audit_run(
    run: Run,
    size: SampleSize,
    seed: int | None,
    *,
    trust: bool,
    ask: Callable[[Run, list[str]], object] | None = None,
    show: Callable[[RunConfig], object] = lambda _: None,
) -> tuple[Audit, list[Problem]]:
    """Fetch a sample of the finished units again, and record how many differ; see :func:`refetch`."""
    from eechips.commands.refetch import refetch

    audit, problems = refetch(run, size, seed, trust=trust, ask=ask, show=show)
    record_audit(run.path, audit)
    return audit, problems
