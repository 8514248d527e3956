"""The choice of frames, against a search through all combinations."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.planning.imagery.frame_choice import (
    SAME_PASS,
    Candidate,
    TimeWindow,
    choose_frames,
    choose_of_windows,
    split_window,
)

HOUR = 3_600_000
WINDOW = TimeWindow(0, 100 * HOUR)

candidates = st.lists(
    st.builds(lambda hour, share: (hour * HOUR, share / 8), st.integers(0, 99), st.integers(0, 8)),
    max_size=9,
    unique_by=lambda each: each[0],
).map(lambda found: [Candidate(f"i{time}", time, clear) for time, clear in found])


@given(candidates, st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_clearest_frames_have_the_greatest_sum_of_all_combinations(
    found: list[Candidate], count: int, least: float
) -> None:
    chosen = [each for each in choose_frames(found, count, WINDOW, "clearest", min_clear=least) if each is not None]
    suitable = [each for each in found if each.clear > 0 and each.clear >= least]
    assert len(chosen) == min(count, len(suitable))
    best = max(sum(each.clear for each in some) for some in itertools.combinations(suitable, len(chosen)))
    assert sum(each.clear for each in chosen) == best
    assert [each.time for each in chosen] == sorted(each.time for each in chosen)


@given(candidates, st.data(), st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_frames_with_scores_are_those_with_the_greatest_scores(
    found: list[Candidate], data: st.DataObject, count: int, least: float
) -> None:
    """No image that is left out is better than one that is taken: by score, then by clear share; no score is least."""
    scored = [replace(each, score=data.draw(st.none() | st.integers(-2, 2).map(float))) for each in found]
    chosen = [each for each in choose_frames(scored, count, WINDOW, "clearest", min_clear=least) if each is not None]
    suitable = [each for each in scored if each.clear > 0 and each.clear >= least]
    by_score = sorted(suitable, key=lambda each: (each.score is None, -(each.score or 0.0), -each.clear))
    best = [(each.score, each.clear) for each in by_score[:count]]
    assert sorted(((each.score, each.clear) for each in chosen), key=str) == sorted(best, key=str)


@given(candidates, st.integers(1, 4))
def test_spread_frames_are_the_clearest_of_their_intervals(found: list[Candidate], count: int) -> None:
    chosen = choose_frames(found, count, WINDOW, "spread")
    assert len(chosen) == count
    for window, each in zip(split_window(WINDOW, count), chosen, strict=True):
        inside = [one for one in found if window.start <= one.time < window.end and one.clear > 0]
        assert (each is None) == (not inside)
        assert each is None or each.clear == max(one.clear for one in inside)


@given(candidates, st.integers(1, 4), st.integers(0, 99))
def test_no_other_image_is_nearer_than_the_nearest_frames(found: list[Candidate], count: int, hour: int) -> None:
    moment = hour * HOUR
    chosen = [each for each in choose_frames(found, count, WINDOW, "nearest", moment=moment) if each is not None]
    suitable = [each for each in found if each.clear > 0]
    distances = sorted(abs(each.time - moment) for each in suitable)
    assert sorted(abs(each.time - moment) for each in chosen) == distances[: len(chosen)]
    assert len(chosen) == min(count, len(suitable))


@given(candidates, st.sampled_from([2, 4]), st.integers(0, 99))
def test_half_of_the_frames_lie_before_the_date(found: list[Candidate], count: int, hour: int) -> None:
    chosen = choose_frames(found, count, WINDOW, "before-after", moment=hour * HOUR)
    assert len(chosen) == count
    assert all(each is None or each.time < hour * HOUR for each in chosen[: count // 2])
    assert all(each is None or each.time >= hour * HOUR for each in chosen[count // 2 :])


def test_neighbouring_tiles_of_one_pass_are_one_frame() -> None:
    east, west = Candidate("east", 0, 0.6), Candidate("west", SAME_PASS - 1, 0.9)
    later = Candidate("later", SAME_PASS * 3, 0.2)
    assert choose_frames([east, west, later], 2, WINDOW, "clearest") == [west, later]
    assert choose_frames([east, west], 2, WINDOW, "clearest") == [west, None]


def test_equally_clear_frames_are_far_apart_in_time() -> None:
    days = [Candidate(f"d{hour}", hour * HOUR, 1.0) for hour in range(0, 100, 2)]
    assert [each and each.time // HOUR for each in choose_frames(days, 3, WINDOW, "clearest")] == [0, 48, 98]


def test_of_equally_clear_images_the_one_nearest_to_the_middle_is_the_frame_of_an_interval() -> None:
    days = [Candidate(f"d{hour}", hour * HOUR, 1.0) for hour in range(0, 100, 2)]
    window = TimeWindow(0, 100 * HOUR)
    assert [each and each.time // HOUR for each in choose_frames(days, 2, window, "spread")] == [24, 74]
    assert [each and each.time // HOUR for each in choose_frames(days, 1, window, "clearest")] == [50]
    assert choose_of_windows(days, [TimeWindow(0, 8 * HOUR)]) == [days[2]]


def test_equally_clear_frames_around_a_date_are_near_it() -> None:
    days = [Candidate(f"d{hour}", hour * HOUR, 1.0) for hour in range(0, 100, 2)]
    chosen = choose_frames(days, 4, WINDOW, "before-after", moment=51 * HOUR)
    assert [each and each.time // HOUR for each in chosen] == [48, 50, 52, 54]


def test_an_image_without_a_clear_pixel_is_no_frame() -> None:
    dark = Candidate("dark", 5 * HOUR, 0.0)
    assert choose_frames([dark], 1, WINDOW, "clearest") == [None]
    assert choose_of_windows([], [WINDOW]) == [None]


def test_parts_of_a_window_have_no_gap() -> None:
    parts = split_window(TimeWindow(0, 10), 3)
    assert [(each.start, each.end) for each in parts] == [(0, 3), (3, 6), (6, 10)]


def test_choices_by_date_need_a_date() -> None:
    with pytest.raises(ValueError, match="nearest needs a moment"):
        choose_frames([], 1, WINDOW, "nearest")
