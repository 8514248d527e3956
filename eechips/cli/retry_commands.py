"""Verify, repeat, extend or sign a run: ``eechips verify``, ``retry``, ``update`` and ``trust``; ask before a command
of somebody else is executed.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from eechips.cli.group import FAILURES, INTERRUPTED, NEWS, main
from eechips.cli.recipe_execution import refresh, show_log
from eechips.cli.terminal import ask, echo, echo_lines, echo_quoted
from eechips.commands.parameters import run_command
from eechips.commands.retried_runs import as_recorded, has_open_units, recorded_words, refused_options
from eechips.commands.updated_runs import update
from eechips.commands.verification import audit_run, find_left_files, find_problems, open_verified
from eechips.engine.progress import Progress
from eechips.engine.results.run_records import encode_info
from eechips.errors import UsageError
from eechips.manifest.audit_records import SampleSize, parse_sample_size
from eechips.manifest.failures import reopen_failures
from eechips.manifest.file_checks import SET_ASIDE, Problem
from eechips.manifest.folder_lock import waiting_clause
from eechips.manifest.manifest_columns import State
from eechips.manifest.reserved_names import CALLS_FOLDER
from eechips.manifest.run import INFO_NAME, Run, open_run
from eechips.manifest.run_repair import MANIFEST, Repair, repair
from eechips.manifest.run_signature import FOLDER, is_own, sealing_key, signed_folder
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_recovery import RecoveredLedger
from eechips.scripts.pooling.call_folder import seal_results
from eechips.storage import write_file
from eechips.text.formatting import format_count


@run_command("retry")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Only errors of this class. May be repeated.")
@click.option(
    "--unit",
    "ids",
    multiple=True,
    metavar="ID",
    help="Only this unit, by its id or the beginning of it. May be repeated.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show errors only, no progress.")
@click.option("--trust", is_flag=True, help="Execute the command of run.json even if somebody else wrote it.")
def retry_command(folder: Path, classes: tuple[str, ...], ids: tuple[str, ...], quiet: bool, trust: bool) -> None:
    """Run failed units again: all, those with a class of error, or single ones.

    The command in run.json is executed again, in the folder where it was typed, with the same endpoint and project.
    Like every resumed run, it also fetches planned units, those that failed for a transient reason, and replacements
    of dropped ones. A changed recipe is refused. The exit status is that of the run.

    If you made the run, and neither its folder has moved nor its recipe has changed, the command is executed at once.
    Otherwise it is shown with the options that set more than data, and executed if you confirm it or give --trust;
    credentials are then sent to Google's own endpoints only.

    \b
    Examples:
      eechips retry outputs/sample-naip
      eechips retry outputs/sample-naip --class permanent
      eechips retry outputs/sample-naip --unit 3f2a9c71
    """
    run = open_run(folder)
    words, place = recorded_words(run), run.path.resolve()
    if not classes and not ids and not has_open_units(run):
        if not quiet:
            echo("No failed units: nothing to retry.")
        return
    permit = partial(ask_permission, trust=trust)
    with (
        as_recorded(words, run, permit, lambda verb: main.get_command(click.Context(main), verb)) as again,
        reopen_failures(place, classes, ids) as count,
        again,
    ):
        again.params["quiet"] = quiet = quiet or again.params["quiet"]
        what = f"Retrying {format_count(count, 'failed unit')}" if count else "Finishing the run"
        if not quiet:
            echo(f"{what} with: {shlex.join(words)}", err=True)
        again.command.invoke(again)


def ask_permission(run: Run, words: Sequence[str], reason: str, *, trust: bool) -> None:
    """Show a command that is not executed unasked, with the reason, and ask for permission.

    Raises:
        UsageError: if it is not given.
    """
    endpoint = run.info.get("endpoint") or "no service"
    echo(f"The command needs your permission, as {reason}. Command, for {endpoint}, in {Path.cwd()}:", err=True)
    echo_quoted(shlex.join(words))
    if refused := refused_options(words):
        echo(f"It sets more than data: {', '.join(refused)}", err=True)
    if trust:
        return
    if sys.stdin.isatty() and sys.stderr.isatty() and ask("Execute it?"):
        return
    raise UsageError(f"the command of {run.path} was not executed: read it and its recipe, then give `trust`")


_CONFIRMED = {
    "command": "Command",
    "call": "Options",
    "directory": "typed in",
    "endpoint": "Endpoint",
    "project": "Project",
    "results": "Results",
}


@run_command("trust")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def trust_command(folder: Path, yes: bool) -> None:
    """Take over a run that somebody else made: show its run.json, ask for confirmation, and sign it.

    Commands that read a run execute no code from it and never leave its folder. Results in an object store, such as
    s3://bucket/folder, are read and changed with your credentials, so only in runs that you made or trust. The same
    holds for resuming a script: the return values of its calls are stored as Python objects, which may execute code.

    \b
    Examples:
      eechips trust downloads/sample-naip
    """
    run = open_run(folder)
    info = run.info
    if is_own(info, run.path):
        echo(f"{folder} is yours already")
        return
    if not info:
        raise UsageError(f"{folder} has no {INFO_NAME}: there is nothing to trust")
    for name, title in _CONFIRMED.items():
        echo(f"{title}:", err=True)
        echo_quoted(str(info.get(name) or "none"))
    if not yes and not (sys.stdin.isatty() and ask("Trust it?")):
        raise UsageError(f"{folder} is not trusted: read the above, then give --yes")
    if (run.path / CALLS_FOLDER).exists():
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            seal_results(run.path / CALLS_FOLDER, sealing_key(str(ledger.meta().get("identity"))))
    write_file(run.path / INFO_NAME, encode_info({**info, FOLDER: signed_folder(run.path)}))
    if not is_own(run.info, run.path):
        raise UsageError("your key cannot be stored: set EECHIPS_CACHE to a folder that only you can write to")
    echo(f"{folder} is trusted")


@run_command("update")
@click.option("--until", metavar="DATE", help="Day after the last one to fetch, YYYY-MM-DD.  [default: today, UTC]")
@click.option("--refetch", is_flag=True, help="Fetch results again if their images have a new version in the archive.")
@click.option("--exit-code", is_flag=True, help="Exit with status 3 if something is new.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing if the run is complete.")
@click.option("--trust", is_flag=True, help="Execute the command of run.json even if somebody else wrote it.")
def update_command(folder: Path, until: str | None, refetch: bool, exit_code: bool, quiet: bool, trust: bool) -> None:
    """Extend a run of images, composites or time series by what is new in its archive, and print one line.

    The command in run.json is executed again with a later --end and --extend. Existing files are kept. Composites and
    tables end with the day before the latest image of the archive, and with a whole period. Images that have a new
    version in the archive are counted; --refetch fetches their results again.

    The exit status is 0 if the run is complete, whether or not there was something new, and 1 if units failed.

    \b
    Examples:
      eechips update outputs/images-s2
      eechips update outputs/images-s2 --until 2024-07-01
      eechips update outputs/images-s2 --exit-code
      eechips update outputs/images-s2 --quiet                  # for cron, which mails what is printed
    """
    context = click.get_current_context()
    run_update = update(open_run(folder), until=until, refetch=refetch, trust=trust)
    if run_update.is_interrupted:
        context.exit(INTERRUPTED)
    is_complete = open_run(folder).is_complete
    is_silent = quiet and is_complete
    if not is_silent:
        echo(run_update.describe())
    if run_update.added:
        refresh(open_run(folder))
    for name in () if is_silent else run_update.replaced:
        echo(f"New version: {name}", err=True)
    if not is_complete:
        context.exit(FAILURES)
    if exit_code and run_update.has_news:
        context.exit(NEWS)


@run_command("verify")
@click.option(
    "--reopen",
    is_flag=True,
    help="Have the next eechips retry fetch again what is missing, changed or damaged; make a damaged ledger or"
    " manifest again.",
)
@click.option(
    "--refetch",
    metavar="N|N%",
    help="Fetch a random sample of the finished units again (a number or a share of them), each request over a"
    " connection of its own, and compare pixels and values.",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the sample. [default: another one each time]")
@click.option("-q", "--quiet", is_flag=True, help="Print problems only, no progress.")
@click.option(
    "--trust", is_flag=True, help="With --refetch: execute the command of run.json even if another user wrote it."
)
@click.pass_context
def verify_command(
    ctx: click.Context, folder: Path, reopen: bool, refetch: str | None, seed: int | None, quiet: bool, trust: bool
) -> None:
    """Check that every file of a run is present, has the recorded sha256, and decodes.

    Prints a line for each missing, changed or damaged file, and exits with status 1 if there is one. --reopen marks
    their units, so that eechips retry fetches exactly these, and replaces the files. A ledger that is damaged or
    missing is made again from the manifest, or from what can be read of it.

    Checksums show that files are those that were received, but not that a file has the pixels of its own request.
    --refetch audits that: it says how many units may be wrong, with a confidence of 95%. The report shows audits.

    \b
    Examples:
      eechips verify outputs/sample-naip
      eechips verify outputs/sample-naip --reopen; eechips retry outputs/sample-naip
      eechips verify outputs/sample-naip --refetch 1%
    """
    size = None if refetch is None else parse_sample_size(refetch)
    run, recovered = open_verified(folder, recovers=reopen)
    if recovered is not None:
        echo_lines(_describe_recovery(recovered), err=True)
    files = run.file_count
    with Progress(files, 0, None, quiet=quiet, unit="files") as progress:
        problems = find_problems(run, progress.step)
    for problem in problems:
        echo(f"{problem.file}: {problem.reason}")
    typed = shlex.quote(str(folder))
    waits = waiting_clause(folder)
    waiting = sum(problem.reason == SET_ASIDE for problem in problems)
    wrong = sum(problem.id != MANIFEST for problem in problems) - waiting
    changed = sum(problem.file == LEDGER_NAME for problem in problems)  # rows
    if wrong > changed:
        echo(f"{wrong - changed:,} of {format_count(files, 'file')} missing, changed or damaged", err=True)
    elif not waiting and not quiet:
        echo(f"{format_count(files, 'file')}: all present and intact")
    if abandoned := find_left_files(run):
        count, first = format_count(len(abandoned), "temporary file"), os.path.relpath(abandoned[0], folder)
        echo(f"{count} of killed processes, such as {first}: the run's command, repeated, removes them", err=True)
    if size is not None:
        different = _audit(run, size, seed, quiet=quiet, trust=trust)
        problems += different
        wrong += len(different)
    if reopen:
        echo_lines(_describe_repair(run, repair(run, problems)), err=True)
    elif len(problems) > waiting:
        what, then = ("fetch them again", f", then eechips retry {typed}") if wrong else ("write it anew", "")
        echo(f"To {what}: {waits}eechips verify {typed} --reopen{then}", err=True)
    left = sum(count for state, count in run.counts.items() if State(state).is_open)
    if left and not wrong:
        echo(f"{format_count(left, 'unit')} not fetched yet: {waits}eechips retry {typed}", err=True)
    if problems or recovered is not None:
        ctx.exit(1)


def _audit(run: Run, size: SampleSize, seed: int | None, *, quiet: bool, trust: bool) -> list[Problem]:
    """Print the audit of a run, unless it is quiet and nothing differs, and return the units that differ."""
    permission = partial(ask_permission, trust=trust)
    audit, different = audit_run(run, size, seed, trust=trust, quiet=quiet, ask=permission, show=show_log)
    for problem in different:
        echo(f"{problem.file}: {problem.reason}")
    if different or audit.failed or not quiet:
        echo(f"Audit: {audit.describe()} (seed {audit.seed})")
    if audit.failed:
        echo(f"{format_count(audit.failed, 'unit')} of the sample could not be fetched again", err=True)
    return different


def _describe_recovery(recovered: RecoveredLedger) -> list[str]:
    kept = "" if recovered.kept is None else f"; the former one is {recovered.kept.name}"
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
        typed = f"eechips retry {shlex.quote(str(run.path))}"
        cure = typed if run.info.get("command") else "repeat the call that made the run"
        lines.append(f"Reopened: {' and '.join(what)}. To fetch again and replace: {cure}")
    return lines
