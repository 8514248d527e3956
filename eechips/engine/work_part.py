"""Choose the part of a plan that a task of an array of tasks fetches."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from eechips.errors import UsageError
from eechips.text.formatting import format_count

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
        count: number of parts.

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

        Args:
            text: text of the user.
            environment: variables of this process.

        Raises:
            UsageError: if it is malformed, or the variables are missing or name no part.
        """
        if match := _PART.fullmatch(text):
            return cls(int(match[1]), int(match[2]))
        automatic = _AUTO.fullmatch(text)
        if automatic is None:
            raise UsageError(f"{text!r} is no part: give NUMBER/COUNT, such as 3/40, or auto")
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
            f"the indexes of this job array have gaps ({format_count(count, 'task')} from {least} to {most}), so that"
            " the parts would be others than those of the whole array: give the part, as in 3/40, or requeue the tasks"
        )
    return (task - least) // step, count


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not re.fullmatch(r"\d{1,9}", text):
        raise UsageError(f"{name} is {text!r}, not a number")
    return int(text)
