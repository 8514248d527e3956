"""Send units through a queue: an item is a line of JSON with all that a worker elsewhere needs; choose the part of a
task (``3/40``, ``auto``).

A plan is written as items. A worker that receives some of them, from a file, a pipe or a message, fetches these units
and reports their outcomes. There is no common ledger, and nothing is claimed. Items may be delivered more than once:
fetching a unit is idempotent, as its result has the same content and name each time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eechips.engine.config import RunConfig
from eechips.engine.plans.changed_options import check_same_place, describe, plan_identity
from eechips.engine.plans.plan import name_template, read_inputs, units_of
from eechips.engine.queues.reported_outcomes import report_outcomes, write_outcomes
from eechips.engine.run import run
from eechips.engine.service.session import connect
from eechips.errors import RunLockedError, RunMismatchError, UsageError
from eechips.files.scratch_folders import temporary_folder
from eechips.manifest.manifest_columns import State, WorkUnit
from eechips.manifest.run_signature import is_signed, sign
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.untrusted_run import read_info
from eechips.recipe import Recipe, SupportsInteractiveRun, canonical_json
from eechips.recipe.units import UNIT_KINDS, IdCheck
from eechips.storage import is_address, local_path
from eechips.storage.local_store import LocalStore
from eechips.storage.object_store import ObjectStore
from eechips.storage.untrusted_files import parse_json
from eechips.text.formatting import format_count
from eechips.web.redaction import redact, redact_json

T = TypeVar("T")

_log = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f]+")
_LONGEST_END = 300.0  # seconds; schedulers kill a cancelled task after 30 to 90
_LOOK_AGAIN = 1.0  # seconds
_WITHOUT_LEDGER = "deliver the units without an outcome again"
"""How to resume a call that keeps no ledger: repeated, it would fetch the other units again as well."""
_REQUIRED = ("job", "identity", "position", "id", "unit", "name")


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A unit, and the command that planned it.

    Attributes:
        job: words of the command that planned it, from the verb on.
        files: paths and SHA-256 of the files that the command reads, its recipe among them.
        signature: signature of all these, by the user who planned it; see :mod:`eechips.manifest.run_signature`.
    """

    job: tuple[str, ...]
    identity: str
    unit: WorkUnit
    files: tuple[tuple[str, str], ...] = ()
    signature: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether this user has planned the unit with this command, and nothing of it has changed."""
        return is_signed("unit", self._content, self.signature)

    @property
    def _content(self) -> dict[str, Any]:
        planned = self.unit
        return {
            "id": planned.id,
            "name": planned.name,
            "unit": json.loads(planned.unit),
            "position": planned.position,
            "identity": self.identity,
            "job": list(self.job),
            "files": dict(self.files),
        }

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise RunMismatchError if another recipe planned the unit, such as that of an older version."""
        if self.identity != recipe.identity:
            raise RunMismatchError(
                f"unit {self.unit.id[:16]} was planned by another version of {recipe.name}: plan again"
            )

    def signed(self) -> WorkItem:
        """Return the item with the signature of this user, who may have no place for a key."""
        return dataclasses.replace(self, signature=sign("unit", self._content))

    def to_json(self) -> str:
        """Return the item as a line."""
        signature = {} if self.signature is None else {"signature": self.signature}
        return json.dumps({**self._content, **signature}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> WorkItem:
        """Parse a line of :meth:`to_json`; raise UsageError if it is something else."""
        try:
            content = parse_json(line)
            job, identity, position, identifier, unit, name = (content[key] for key in _REQUIRED)
            if not job:
                raise ValueError("job is empty")
            if unit["kind"] not in UNIT_KINDS or not _ID.fullmatch(identifier):
                raise ValueError("its unit has no kind and id")
            planned = WorkUnit(int(position), str(identifier), canonical_json(unit), str(name))
            files = tuple(sorted((str(path), str(digest)) for path, digest in content.get("files", {}).items()))
            signature = content.get("signature")
            signature = None if signature is None else str(signature)
            return cls(tuple(map(str, job)), str(identity), planned, files, signature)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UsageError(f"no unit as `eechips plan` writes it ({error!r}): {line:.120}") from None


def units_of_items(recipe: Recipe, items: Sequence[WorkItem]) -> list[WorkUnit]:
    """Return the units of items, each once, in the order of the plan.

    They keep their positions in the plan: a recipe that names results by them gives the same names everywhere.

    Args:
        items: perhaps with duplicates, as queues may deliver a message twice.

    Raises:
        RunMismatchError: if an item belongs to another recipe, such as that of an older version, or to another plan.
    """
    for item in items:
        item.check_recipe(recipe)
    different = {item.unit.id: item.unit for item in items}
    by_position: dict[int, WorkUnit] = {}
    for unit in different.values():
        other = by_position.setdefault(unit.position, unit)
        if other is not unit:
            raise RunMismatchError(
                f"units {other.id[:16]} and {unit.id[:16]} have the same place in their plans: fetch the lines of each"
                " plan by themselves"
            )
    units = [by_position[position] for position in sorted(by_position)]
    check_ids(units, recipe)
    return units


def check_ids(units: Iterable[WorkUnit], recipe: Recipe) -> None:
    """Raise RunMismatchError if a line of the plan was changed: its result would count as that of the planned unit."""
    ids = IdCheck(recipe.identity)
    for planned in units:
        if not ids.matches(json.loads(planned.unit), planned.id, planned.position):
            raise RunMismatchError(
                f"unit {planned.id[:16]} is not as it was planned: somebody has changed its line. Take the line that"
                " `eechips plan` has written"
            )


def plan_items(recipe: Recipe, config: RunConfig, job: Sequence[str], files: Mapping[str, str]) -> Iterator[WorkItem]:
    """Plan, and yield the units as items.

    Args:
        job: words of the command.
        files: SHA-256 of the files that the command reads, by path.

    Raises:
        UsageError: if the recipe plans while it runs.
        ConfigurationError, RequestError, RecipeError: as a run does.
    """
    if isinstance(recipe, SupportsInteractiveRun):
        raise UsageError(f"{recipe.name} plans while it runs: its units are unknown before")
    read_inputs(recipe)
    read = tuple(sorted(files.items()))
    shown = redact_json([redact(word) for word in job])
    if shown != list(job):
        _log.warning("each line has a secret of the command, for the workers alone: eechips %s", shlex.join(shown))
    with connect(config, recipe=recipe):
        for planned in units_of(recipe, name_template(recipe, config)):
            yield WorkItem(tuple(job), recipe.identity, planned, read).signed()


def fetch_items(
    recipe: Recipe, config: RunConfig, items: Sequence[WorkItem], place: str, ledger_folder: Path | None = None
) -> list[dict[str, Any]]:
    """Fetch the units of items, and write their outcomes beside the results.

    Args:
        config: configuration of the run; its folder is not used.
        place: folder, or URL of an object store, for the results.
        ledger_folder: keeps the ledgers of calls, each in a folder of its own: a call with the same items and the same
            place fetches only those that are left. None for a temporary one.

    Returns:
        The outcome of each unit that was tried, once each, in the order of the items. A call that was stopped, or has
        spent its budget, leaves the others for another delivery. Columns of the manifest; ``plan``, the identity of its
        plan; and for a unit of several files ``files``, a list of all of them with the columns of
        ``layers.parquet``.

    Raises:
        RunMismatchError: if the place has the manifest of another run.
        RunLockedError: if another process fetches the same items, and does not end for five minutes.
        EechipsError: as a run does; then the outcomes are unknown, and all items must be delivered again.
    """
    units = units_of_items(recipe, items)
    place = place if is_address(place) else str(local_path(place))
    described = describe(recipe, config)
    if not is_address(place) and (stored := read_info(Path(place))):
        check_same_place(stored, described, place)
    kept = None if ledger_folder is None else ledger_folder / _ledger_name(units, place)
    if kept is None:
        config = dataclasses.replace(config, command=_WITHOUT_LEDGER)
    with temporary_folder() if kept is None else contextlib.nullcontext(kept) as folder:
        done = run_in_turn(lambda: run(recipe, dataclasses.replace(config, out=folder, results=place), units=units))
        with Ledger(done.path / LEDGER_NAME, readonly=True) as ledger:
            # A call that was stopped while it connected has no plan.
            reported = report_outcomes(ledger, plan_identity(described)) if ledger.has_plan else {}
    outcome_by_id = {
        identifier: outcome for identifier, outcome in reported.items() if outcome["state"] != State.PLANNED
    }
    asked = dict.fromkeys(item.unit.id for item in items)
    outcomes = [
        *(outcome_by_id.pop(identifier) for identifier in asked if identifier in outcome_by_id),
        *outcome_by_id.values(),
    ]
    store = ObjectStore(place) if is_address(place) else LocalStore(Path(place).absolute())
    write_outcomes(store, described, outcomes, config.policy)
    return outcomes


def lacks_outcomes(items: Sequence[WorkItem], outcomes: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether some of the items have no outcome: a call of :func:`fetch_items` was stopped before."""
    return not {item.unit.id for item in items} <= {outcome["id"] for outcome in outcomes}


def _ledger_name(units: Sequence[WorkUnit], place: str) -> str:
    """Return the name of the folder for the ledger of some units, whose ids tell the recipe, in a place."""
    where = place if is_address(place) else str(Path(place).resolve())
    parts = [where, *(f"{unit.position} {unit.id}" for unit in units)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def run_in_turn(
    start: Callable[[], T], clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> T:
    """Start a run as soon as no other process runs in its folder.

    A worker that a scheduler has cancelled ends some time after another one takes its place.

    Raises:
        RunLockedError: if the other process has not ended after five minutes.
    """
    until, is_told = clock() + _LONGEST_END, False
    while True:
        try:
            return start()
        except RunLockedError as error:
            if clock() >= until:
                raise
            if not is_told:
                _log.warning("%s. Waiting for it, five minutes at most", error)
            is_told = True
        sleep(_LOOK_AGAIN)


def read_work_items(lines: Iterable[str]) -> Iterator[WorkItem]:
    """Yield the items in lines; empty lines are skipped.

    Raises:
        UsageError: naming the line.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield WorkItem.from_json(line)
            except UsageError as error:
                raise UsageError(f"line {number}: {error}") from None


def read_job(lines: Iterable[str]) -> tuple[list[WorkItem], tuple[str, ...]]:
    """Return the items of lines, and the words of the command that planned them all.

    Raises:
        UsageError: if several commands planned them, or none.
    """
    items = list(read_work_items(lines))
    jobs = {(item.job, item.files) for item in items}
    if len(jobs) != 1:
        raise UsageError(
            f"the lines come from {len(jobs)} commands: give all lines of one `eechips plan`, and no others"
        )
    ((job, _),) = jobs
    return items, job


_PART = re.compile(r"(\d{1,9})/(\d{1,9})")
_AUTO = re.compile(r"auto(?:/(\d{1,9}))?")
_KUBERNETES = "JOB_COMPLETION_INDEX"
_INDEXES = (
    ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    ("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    (_KUBERNETES, None),
)
"""Variables with the index of a task, from 0 on, and with the number of tasks. Sources, read 2026-11:

- AWS Batch: https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
- Cloud Run: https://cloud.google.com/run/docs/container-contract#jobs-env-vars
- Kubernetes, indexed jobs, which do not tell their number:
  https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
"""
_SLURM = "SLURM_ARRAY_TASK_"
"""Variables of a job array: https://slurm.schedmd.com/job_array.html. Their indexes begin anywhere, and have a step."""


@dataclass(frozen=True, slots=True)
class WorkPart:
    """One of several parts of a plan, which together are the whole plan.

    Attributes:
        number: number of the part, from 1 on.

    Raises:
        UsageError: if there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"there is no part {self.number}/{self.count}: a plan has one part at least")
        if not 1 <= self.number <= self.count:
            raise UsageError(f"there is no part {self.number}/{self.count}: parts are 1/{self.count} to N/{self.count}")

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> WorkPart:
        """Parse ``3/40``; ``auto`` takes the part from the variables of a scheduler, ``auto/40`` all but the number.

        Raises:
            UsageError: if it is malformed, or the variables are missing or name no part.
        """
        if match := _PART.fullmatch(text):
            return cls(int(match[1]), int(match[2]))
        automatic = _AUTO.fullmatch(text)
        if automatic is None:
            raise UsageError(f"{text!r} is not a part: give NUMBER/COUNT, such as 3/40, or auto")
        array_size = None if automatic[1] is None else int(automatic[1])
        index, count = _read_index(environment)
        if count is None and array_size is None:
            raise UsageError(f"{_KUBERNETES} does not tell the number of tasks: give it, as in auto/40")
        if count is not None and array_size is not None and count != array_size:
            raise UsageError(f"the array has {format_count(count, 'task')}, not {array_size}: give auto")
        return cls(index + 1, int(count or array_size or 0))

    def choose(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the lines of this part: every ``count``-th one, empty ones not counted."""
        return itertools.islice((line for line in lines if line.strip()), self.number - 1, None, self.count)


def _read_index(environment: Mapping[str, str]) -> tuple[int, int | None]:
    """Return the index of this task, from 0 on, and the number of tasks if the scheduler tells it."""
    indices: dict[str, tuple[int, int | None]] = {}
    if f"{_SLURM}ID" in environment:
        indices[f"{_SLURM}ID"] = _read_slurm(environment)
    for index, count in _INDEXES:
        if index in environment:
            indices[index] = _number(environment, index), None if count is None else _number(environment, count)
    if not indices:
        names = ", ".join((f"{_SLURM}ID", *(index for index, _ in _INDEXES)))
        raise UsageError(f"no part is known here: none of the variables {names} is set. Give it, as in 3/40")
    counts = {count for _, count in indices.values() if count is not None}
    if len({index for index, _ in indices.values()}) > 1 or len(counts) > 1:
        raise UsageError(f"{' and '.join(indices)} tell different parts: give the part, as in 3/40")
    return next(iter(indices.values()))[0], next(iter(counts), None)


def _read_slurm(environment: Mapping[str, str]) -> tuple[int, int]:
    task, count, least, most = (_number(environment, _SLURM + name) for name in ("ID", "COUNT", "MIN", "MAX"))
    step = max(1, _number(environment, f"{_SLURM}STEP")) if f"{_SLURM}STEP" in environment else 1
    if (most - least) // step + 1 != count or (task - least) % step:
        raise UsageError(
            f"the indexes of this job array have gaps ({format_count(count, 'task')} from {least} to {most}), so its"
            " tasks would fetch other parts than before: give the part, as in 3/40, or requeue the missing tasks"
        )
    return (task - least) // step, count


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not re.fullmatch(r"\d{1,9}", text):
        raise UsageError(f"{name} is {text!r}, not a number")
    return int(text)
