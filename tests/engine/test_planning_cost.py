"""Samples of a plan tell what planning costs if the service has planned them."""

from __future__ import annotations

from eechips.engine.planning_cost import PlanningSample, Spent, most_telling
from eechips.planning.planning_requests import DividedItems


def sample(tried: int, sent: int, requests: int) -> PlanningSample:
    return PlanningSample(Spent(), Spent(sent, 5.0), tried, [DividedItems(tried, requests, [(1, 2.0)] * requests)])


def test_a_sample_that_the_folder_of_the_run_answers_tells_no_cost() -> None:
    known, partly, asked, smaller = sample(72, 0, 4), sample(60, 2, 3), sample(20, 2, 2), sample(5, 1, 1)
    assert most_telling([smaller, known, asked, partly]) is asked
    assert most_telling([known, partly]) is None
    assert most_telling([]) is None
