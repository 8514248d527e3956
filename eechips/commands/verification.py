"""Verify the files of a run (:func:`verify`): those that are missing, changed or damaged, abandoned temporary files,
and a random sample fetched again (``refetch``).

:mod:`eechips.manifest.file_checks` compares them with their checksums.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import random
import secrets
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path

from eechips.commands.command import FetchCommand
from eechips.commands.fetching import find_command
from eechips.commands.recorded_service import service_of_run
from eechips.commands.retried_runs import as_recorded, recorded_words, require_trust
from eechips.engine.config import RunConfig
from eechips.engine.plans.plan_extension import continue_extended
from eechips.engine.run import run as run_recipe
from eechips.errors import StorageError, UsageError, ValidationError
from eechips.files.abandoned_files import find_abandoned
from eechips.files.scratch_folders import temporary_folder
from eechips.files.temporary_names import new_writer
from eechips.lockfile.content_hashes import ContentChange, compare_contents
from eechips.manifest.audit_records import Audit, SampleSize, count_sample, parse_sample_size, record_audit
from eechips.manifest.file_checks import Problem
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.metadata_keys import CHECKSUMS_ONLY, PLANS_GRADUALLY
from eechips.manifest.run import Run, open_run
from eechips.manifest.run_repair import find_manifest_problems, find_state_problems, repair
from eechips.manifest.run_signature import is_own
from eechips.manifest.sqlite.database import check_origin
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import RecordedResult, read_files
from eechips.manifest.sqlite.ledger_recovery import RecoveredLedger, recover_ledger
from eechips.recipe import Recipe
from eechips.storage import LocalStore, Store, is_inside
from eechips.text.timestamps import utc_now
from eechips.web.redaction import REDACTED


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
        seed: seed of the sample; None for another one each time.
        trust: with ``refetch``, execute the command of run.json even if another user wrote it.

    Returns:
        Damaged, missing and differing files with the reason, in the order of the plan; units whose rows of the ledger
        were changed. Empty if all is intact.

    Raises:
        UsageError: if the folder holds no run, or no command can fetch its units again.
        TransientError, StorageError: if the object store of the results cannot be read; or the ledger is damaged, and
            is not to be made again, or cannot be.

    Example:
        >>> eechips.verify("outputs/sample-naip")
        []
    """
    opened_run = run if isinstance(run, Run) else open_verified(Path(run), recovers=reopen)[0]
    problems = find_problems(opened_run)
    if refetch is not None:
        problems += audit_run(opened_run, parse_sample_size(refetch), seed, trust=trust)[1]
    if reopen:
        repair(opened_run, problems)
    return problems


def open_verified(folder: Path, *, recovers: bool) -> tuple[Run, RecoveredLedger | None]:
    """Open a run, and read every page of its ledger; make a damaged or missing ledger again if that is wanted."""
    try:
        run = open_run(folder)
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            ledger.check_integrity()
            check_origin(ledger.database)
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
    return run.verify(tell) + find_state_problems(run) + find_manifest_problems(run)


def find_left_files(run: Run) -> list[Path]:
    """Return the temporary files and scratch folders of processes that have ended; the run's next command removes them.

    Object stores that show only complete objects have none.
    """
    roots, store = [run.path], run.store
    if isinstance(store, LocalStore) and not is_inside(store.root, run.path):
        roots.append(store.root)
    return [path for root in roots for path in find_abandoned(root, new_writer())]


def audit_run(
    run: Run,
    size: SampleSize,
    seed: int | None,
    *,
    trust: bool,
    quiet: bool = False,
    ask: Callable[[Run, Sequence[str], str], object] | None = None,
    show: Callable[[RunConfig], object] = lambda _: None,
) -> tuple[Audit, list[Problem]]:
    """Fetch a random sample of the finished units of a run again, each request over a connection of its own.

    Pixels and values are compared, not bytes: they must be equal, as the service gives the same response to the same
    request. Units whose file is not as the ledger has it are not drawn: comparing checksums finds these.

    Args:
        seed: seed of the selection; None for another one each time.
        trust: execute the command of run.json even if somebody else wrote it.
        quiet: show errors only, no progress.
        ask: asks for permission to execute the words of a command, and raises UsageError without it; None to refuse.

    Returns:
        The audit, which the run records, and a problem for each unit that differs.

    Raises:
        UsageError: if the run has no files, nothing can make its recipe again, or the recipe has changed.
        EechipsError: as a run does.
    """
    run = dataclasses.replace(run, path=run.path.resolve())  # the working folder changes
    store = run.store
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    units, files, population = _draw(run, size, seed)
    with _recorded_recipe(run, trust=trust, ask=ask) as (recipe, config):
        if recipe.identity != run.info.get("identity"):
            raise UsageError(
                f"the recipe of {run.path} has changed since the run, or another version of eechips made it: what it"
                " fetches now cannot be compared"
            )
        config = dataclasses.replace(config, quiet=config.quiet or quiet, extend=False)
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            recipe = continue_extended(recipe, config, ledger)
        show(config)
        with temporary_folder() as folder:
            done = run_recipe(recipe, _audited(config, folder, len(units)), units=units)
            if done.interrupted:
                raise KeyboardInterrupt
            states = done.units["state"]
            lost = {unit.position for unit in units if str(states.get(unit.position, "")) not in ("done", "empty")}
            problems = _problems(store, done, [unit for unit in units if unit.position not in lost], files)
    audit = Audit(
        time=utc_now(),
        seed=seed,
        population=population,
        compared=len(units) - len(lost),
        different=len(problems),
        failed=len(lost),
        units=tuple(problem.id for problem in problems),
    )
    record_audit(run.path, audit)
    return audit, problems


@contextlib.contextmanager
def _recorded_recipe(
    run: Run, *, trust: bool, ask: Callable[[Run, Sequence[str], str], object] | None
) -> Iterator[tuple[Recipe, RunConfig]]:
    """Make the recipe of a run again, and its configuration, in the folder where its command was typed.

    A run that was started in Python has no command, but most have the call that makes their recipe.

    Raises:
        UsageError: if neither is known, it is another user's, or it fetches no units.
    """
    info = run.info
    call = info.get("call") or {}
    if not info.get("command") and isinstance(call.get("command"), str):
        if not trust and not is_own(run.info, run.path):
            raise UsageError(f"the recipe of {run.path} was not executed: read its run.json, then give `trust`")
        options = {**dict(call.get("options") or {}), **service_of_run(run, str(info.get("source") or ""), {})}
        if REDACTED in str(options):
            raise UsageError(f"the recipe of {run.path} cannot be made again: its call is not in run.json")
        yield find_command(call["command"]).make({**options, "out": run.path})
        return
    words = recorded_words(run)
    with as_recorded(words, run, ask or partial(require_trust, trust=trust)) as again:
        if not isinstance(again.command, FetchCommand):
            rebuild = shlex.join(["eechips", "rebuild", words[2], "DIR", "--compare-with", str(run.path)])
            raise UsageError(f"{run.path} is a rebuilt run, which another rebuild audits: {rebuild}")
        again.params["dry_run"] = False
        yield again.command.receive(again)


def _draw(run: Run, size: SampleSize, seed: int) -> tuple[list[WorkUnit], Mapping[int, Sequence[RecordedResult]], int]:
    """Return a random sample of the units with files, these files, and the number of such units."""
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        meta = ledger.meta()
        if meta.get(PLANS_GRADUALLY) or meta.get(CHECKSUMS_ONLY):
            what = "the calls of a script" if meta.get(PLANS_GRADUALLY) else "whole scenes of an archive"
            raise UsageError(f"{run.path} has {what}, which are not fetched again one by one: leave `refetch` out")
        having = [position for position, file in ledger.rows(("position", "file")) if file is not None]
        if not having:
            raise UsageError(f"{run.path} has no files to compare")
        chosen = sorted(random.Random(seed).sample(having, count_sample(size, len(having))))
        units = [ledger.unit(position) for position in chosen]
    files_by_position = _files_of(run, chosen)
    whole = [
        unit
        for unit in units
        if all(_is_as_recorded(run.store, result_file) for result_file in files_by_position[unit.position])
    ]
    if not whole:
        raise UsageError(
            f"no file of the sample is as it was recorded: eechips verify {shlex.quote(str(run.path))} --reopen"
        )
    return whole, files_by_position, len(having)


def _files_of(run: Run, positions: Collection[int]) -> dict[int, list[RecordedResult]]:
    """Return the files of units by position."""
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        files = read_files(ledger.database, positions)
        return {position: list(own) for position, own in itertools.groupby(files, key=attrgetter("position"))}


def _is_as_recorded(store: Store, file: RecordedResult) -> bool:
    try:
        return store.sha256(file.name) == file.sha256
    except (OSError, UsageError):
        return False


def _audited(config: RunConfig, folder: Path, count: int) -> RunConfig:
    """Return the configuration of a run that fetches a sample into a temporary folder of this machine."""
    name = "processes" if config.executor_class.is_remote else config.chosen_executor.name
    return dataclasses.replace(
        config,
        out=folder,
        results=None,
        on_empty="keep" if config.on_empty == "keep" else "skip",
        estimate=None,
        share_requests=False,
        reuses_connections=False,
        executor=name if name == "threads" else f"{name}:{min(config.chosen_executor.workers, count)}",
        pipeline_options=(),
        budget="",
        command="eechips verify --refetch",
    )


def _problems(
    store: Store, repeated: Run, units: Sequence[WorkUnit], files: Mapping[int, Sequence[RecordedResult]]
) -> list[Problem]:
    """Return a problem for each unit that differs from the same one of another run."""
    fetched = _files_of(repeated, {unit.position for unit in units})
    return [
        Problem(unit.id, files[unit.position][0].name, reason)
        for unit in units
        if (reason := _difference(store, repeated.store, files[unit.position], fetched.get(unit.position, ())))
    ]


def _difference(old: Store, new: Store, before: Sequence[RecordedResult], after: Sequence[RecordedResult]) -> str:
    """Return how the files of a unit differ from those that were fetched again; empty if their values are the same."""
    for first, second in _paired(before, after):
        if second is None:
            return f"{first.layer or 'it'} has no data when it is fetched again"
        if first.sha256 == second.sha256:
            continue
        suffix = first.name.rpartition(".")[2]
        try:
            change = compare_contents(old.read(first.name), new.read(second.name), suffix)
        except (ValidationError, UsageError, StorageError, io.UnsupportedOperation):
            return "its bytes differ from those fetched again, and values of such files cannot be compared"
        if change is not None:
            return f"{first.layer + ': ' if first.layer else ''}{_describe(change)}"
    return "" if len(before) >= len(after) else "it has more files when it is fetched again"


def _paired(
    before: Sequence[RecordedResult], after: Sequence[RecordedResult]
) -> Iterator[tuple[RecordedResult, RecordedResult | None]]:
    """Pair the files of a unit with those that were fetched again, by layer, else in their order."""
    by_layer = {result_file.layer: result_file for result_file in after if result_file.layer}
    in_order = [result_file for result_file in after if not result_file.layer]
    for number, result_file in enumerate(before):
        if result_file.layer:
            yield result_file, by_layer.get(result_file.layer)
        else:
            yield result_file, in_order[number] if number < len(in_order) else None


def _describe(change: ContentChange) -> str:
    if change.share is None:
        return f"fetched again, it has {change.reason}"
    what = "pixels" if change.window is not None else "rows"
    also = f" ({change.reason})" if change.reason else ""
    return f"{change.share:.2%} of its {what} differ from those fetched again{also}"
