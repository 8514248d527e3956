"""Verify the files of a run, and have what is wrong fetched again: ``eechips verify``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from eechips.cli.command import IN_PYTHON, VerbCommand
from eechips.cli.group import main
from eechips.cli.parameters import HELP, LocalPath
from eechips.cli.terminal import echo
from eechips.engine.progress import Progress
from eechips.errors import StorageError
from eechips.manifest.audit import Audit, SampleSize, record_audit
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.ledger_recovery import RecoveredLedger, recover_ledger
from eechips.manifest.run import Problem, Run, open_run
from eechips.manifest.run_repair import MANIFEST, Repair, find_manifest_problems, repair
from eechips.manifest.unit_record import State
from eechips.text.formatting import format_count


@click.command("verify", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=LocalPath(), metavar="DIR")
@click.option(
    "--reopen",
    is_flag=True,
    help="Have the next eechips retry fetch again what is missing, changed or damaged; make a damaged ledger or"
    " manifest again.",
)
@click.option(
    "--refetch",
    metavar="N|N%",
    help="Fetch a random sample of the finished units again, so many or such a share, each request over a connection of"
    " its own, and compare pixels and values.",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the sample. [default: another one each time]")
@click.option(
    "--trust", is_flag=True, help="With --refetch: execute the command of run.json even if another user wrote it."
)
@click.pass_context
def verify_command(
    ctx: click.Context, folder: Path, reopen: bool, refetch: str | None, seed: int | None, trust: bool
) -> None:
    """Check that every file of a run is present, has the recorded sha256, and decodes.

    Prints a line for each missing, changed or damaged file, and exits with status 1 if there is one. --reopen marks
    their units, so that eechips retry fetches exactly these, and replaces the files. A ledger that is damaged or
    missing is made again, of the manifest or of what can be read of it.

    Checksums show that files are those that were received. That a file has the pixels of its own request, they cannot
    show: --refetch audits it, and says how many units may be wrong, with a confidence of 95%. The report shows audits.

    \b
    Examples:
      eechips verify outputs/sample-naip
      eechips verify outputs/sample-naip --reopen; eechips retry outputs/sample-naip
      eechips verify outputs/sample-naip --refetch 1%
    """
    size = None if refetch is None else SampleSize.parse(refetch)
    run, recovered = _open(folder, recovers=reopen)
    if recovered is not None:
        for line in _describe_recovery(run, recovered):
            echo(line, err=True)
    files = run.file_count
    with Progress(files, 0, None, unit="files") as progress:

        def tell() -> None:
            progress.settle(failed=False)
            progress.show(0, 0)

        problems = _find_problems(run, tell)
    for problem in problems:
        echo(f"{problem.file}: {problem.reason}")
    wrong = sum(problem.id != MANIFEST for problem in problems)
    if wrong:
        echo(f"{wrong:,} of {format_count(files, 'file')} missing, changed or damaged", err=True)
    else:
        echo(f"{format_count(files, 'file')}: all present and intact")
    if size is not None:
        audit, different = _audit(run, size, seed, trust=trust)
        for problem in different:
            echo(f"{problem.file}: {problem.reason}")
        problems += different
        wrong += len(different)
        echo(f"Audit: {audit.describe()} (seed {audit.seed})")
        if audit.failed:
            echo(f"{format_count(audit.failed, 'unit')} of the sample could not be fetched again", err=True)
    if reopen:
        for line in _describe_repair(run, repair(run, problems)):
            echo(line, err=True)
    elif problems:
        what, then = ("fetch them again", f", then eechips retry {folder}") if wrong else ("write it anew", "")
        echo(f"To {what}: eechips verify {folder} --reopen{then}", err=True)
    left = sum(count for state, count in run.counts.items() if State(state).is_open)
    if left and not wrong:
        echo(f"{format_count(left, 'unit')} not fetched yet: eechips retry {folder}", err=True)
    if problems or recovered is not None:
        ctx.exit(1)


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
    found = run if isinstance(run, Run) else _open(Path(run), recovers=reopen)[0]
    problems = _find_problems(found)
    if refetch is not None:
        with main.make_context("eechips", [], resilient_parsing=True, obj=IN_PYTHON):
            problems += _audit(found, SampleSize.parse(refetch), seed, trust=trust)[1]
    if reopen:
        repair(found, problems)
    return problems


def _open(folder: Path, *, recovers: bool) -> tuple[Run, RecoveredLedger | None]:
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


def _find_problems(run: Run, tell: Callable[[], object] = lambda: None) -> list[Problem]:
    return run.verify(tell) + find_manifest_problems(run)


def _audit(run: Run, size: SampleSize, seed: int | None, *, trust: bool) -> tuple[Audit, list[Problem]]:
    from eechips.cli.refetch import refetch

    audit, problems = refetch(run, size, seed, trust=trust)
    record_audit(run.path, audit)
    return audit, problems


def _describe_recovery(run: Run, recovered: RecoveredLedger) -> list[str]:
    kept = "" if recovered.kept is None else f"; the damaged one is {recovered.kept.name}"
    lines = [f"The ledger was made again of {recovered.source}: {format_count(recovered.units, 'unit')}{kept}."]
    if not recovered.is_whole:
        lines.append("Not all of it could be read: eechips retry plans again, and fetches the units that are lost.")
    if recovered.reopened:
        lines.append(f"{format_count(recovered.reopened, 'unit')} may lack files that are unknown: fetched again.")
    return lines


def _describe_repair(run: Run, done: Repair) -> list[str]:
    lines = []
    if done.manifests:
        lines.append(f"Written anew: {', '.join(done.manifests)}.")
    if done.units or done.assembled:
        what = [format_count(done.units, "unit")] if done.units else []
        what += [format_count(done.assembled, "assembled file")] if done.assembled else []
        lines.append(f"Reopened: {' and '.join(what)}. To fetch again and replace: {_cure(run)}")
    return lines


def _cure(run: Run) -> str:
    """Return what fetches the open units of a run."""
    return f"eechips retry {run.path}" if run.info.get("command") else "repeat the call that made the run"
