"""Verify the files of a run, and have what is wrong fetched again: ``eechips verify``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from eechips.cli.finish import show_log
from eechips.cli.retry_commands import ask_permission
from eechips.cli.terminal import echo
from eechips.commands.command import VerbCommand
from eechips.commands.parameters import HELP, LocalPath
from eechips.commands.verification import audit_run, find_problems, open_verified
from eechips.engine.progress import Progress
from eechips.manifest.audit import SampleSize
from eechips.manifest.ledger_recovery import RecoveredLedger
from eechips.manifest.run import Run
from eechips.manifest.run_repair import MANIFEST, Repair, repair
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
    run, recovered = open_verified(folder, recovers=reopen)
    if recovered is not None:
        for line in _describe_recovery(run, recovered):
            echo(line, err=True)
    files = run.file_count
    with Progress(files, 0, None, unit="files") as progress:

        def tell() -> None:
            progress.settle(failed=False)
            progress.show(0, 0)

        problems = find_problems(run, tell)
    for problem in problems:
        echo(f"{problem.file}: {problem.reason}")
    wrong = sum(problem.id != MANIFEST for problem in problems)
    if wrong:
        echo(f"{wrong:,} of {format_count(files, 'file')} missing, changed or damaged", err=True)
    else:
        echo(f"{format_count(files, 'file')}: all present and intact")
    if size is not None:
        audit, different = audit_run(
            run, size, seed, trust=trust, ask=partial(ask_permission, trust=trust), show=show_log
        )
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
