"""Parts of a plan for tasks of an array: whole together, and the same each time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.engine.queues.queue_items import WorkPart
from eechips.errors import UsageError


def slurm(task: int, count: int, least: int, most: int, step: int = 1) -> dict[str, str]:
    names = ("ID", "COUNT", "MIN", "MAX", "STEP")
    return {f"SLURM_ARRAY_TASK_{name}": str(n) for name, n in zip(names, (task, count, least, most, step), strict=True)}


@given(st.integers(1, 50), st.integers(0, 200), st.integers(0, 3))
def test_parts_are_whole_together_and_of_equal_size(count: int, units: int, empty: int) -> None:
    lines = [f"{number}\n" for number in range(units)]
    file = [line for each in lines for line in (each, *["\n"] * empty)]
    parts = [list(WorkPart(number, count).choose(file)) for number in range(1, count + 1)]
    assert sorted(line for part in parts for line in part) == sorted(lines)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("text", "environment", "part"),
    [
        ("3/40", {}, (3, 40)),
        ("auto", slurm(0, 8, 0, 7), (1, 8)),
        ("auto", slurm(8, 8, 1, 8), (8, 8)),
        ("auto", slurm(12, 4, 0, 12, 4), (4, 4)),
        ("auto/8", slurm(7, 8, 0, 7), (8, 8)),
        ("auto/40", {"JOB_COMPLETION_INDEX": "2"}, (3, 40)),
        ("auto", {"JOB_COMPLETION_INDEX": "2", **slurm(2, 8, 0, 7)}, (3, 8)),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}, (1, 10)),
        ("auto", {"CLOUD_RUN_TASK_INDEX": "9", "CLOUD_RUN_TASK_COUNT": "10"}, (10, 10)),
    ],
)
def test_schedulers_tell_the_part(text: str, environment: dict[str, str], part: tuple[int, int]) -> None:
    found = WorkPart.parse(text, environment)
    assert (found.number, found.count) == part


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/40", {}, "no part 0/40"),
        ("41/40", {}, "no part 41/40"),
        ("0/0", {}, "no part 0/0: a plan has one part at least"),
        ("three", {}, "is not a part"),
        (
            "auto",
            {"JOB_COMPLETION_INDEX": "2", **slurm(3, 8, 0, 7)},
            "SLURM_ARRAY_TASK_ID and JOB_COMPLETION_INDEX tell different parts",
        ),
        ("auto", {}, "none of the variables SLURM_ARRAY_TASK_ID"),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "give it, as in auto/40"),
        ("auto/9", slurm(0, 8, 0, 7), "has 8 tasks, not 9"),
        ("auto", slurm(5, 2, 3, 5), "have gaps"),
        ("auto", {"CLOUD_RUN_TASK_INDEX": "x", "CLOUD_RUN_TASK_COUNT": "10"}, "CLOUD_RUN_TASK_INDEX is 'x'"),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "10", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}, "no part 11/10"),
    ],
)
def test_what_is_no_part_is_refused(text: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorkPart.parse(text, environment)
