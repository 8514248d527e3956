"""Whole blocks in splits: requested shares, reproducible, and unchanged by later chips."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import UsageError
from eechips.training.splits.split_balance import Ratios, assign

USUAL = Ratios.parse("0.7,0.15,0.15")

CHIPS = st.lists(st.tuples(st.integers(0, 30).map(str), st.sampled_from("abc")), min_size=40, max_size=200)


def spread(chips: list[tuple[str, str]], placed: dict[str, str], ratios: Ratios) -> float:
    """Return the value that the split minimises, by its definition."""
    total = 0.0
    for stratum in (*{stratum for _, stratum in chips}, None):
        own = [placed[block] for block, each in chips if stratum in (None, each)]
        for name, share in zip(ratios.names, ratios.shares, strict=True):
            weight = 1.0 if stratum is not None else 20.0
            total += weight * (own.count(name) - share * len(own)) ** 2 / (share * len(own))
    return total


@given(chips=CHIPS, seed=st.integers(0, 9))
def test_no_block_would_be_better_off_in_another_split(chips: list[tuple[str, str]], seed: int) -> None:
    blocks, strata = zip(*chips, strict=True)
    if len(set(blocks)) < 4:
        return
    placed = assign(blocks, strata, USUAL, seed)
    assert set(placed) == set(blocks)
    assert set(placed.values()) == set(USUAL.names)
    before = spread(chips, placed, USUAL)
    alone = Counter(placed.values())
    for block in placed:
        for other in USUAL.names:
            if alone[placed[block]] > 1:  # else it may be there so that the split is not empty
                assert spread(chips, placed | {block: other}, USUAL) >= before - 1e-6 or min(alone.values()) == 1


@given(chips=CHIPS, seed=st.integers(0, 9), shuffle=st.randoms())
def test_the_order_of_the_chips_does_not_matter(chips: list[tuple[str, str]], seed: int, shuffle: object) -> None:
    blocks, strata = zip(*chips, strict=True)
    again = list(chips)
    shuffle.shuffle(again)  # type: ignore[attr-defined]
    if len(set(blocks)) >= 3:
        assert assign(blocks, strata, USUAL, seed) == assign(*zip(*again, strict=True), USUAL, seed)


@pytest.mark.parametrize("count", [5, 10, 100, 1003])
@pytest.mark.parametrize("text", ["0.7,0.15,0.15", "0.5,0.5", "a=1,b=2,c=3,d=4"])
def test_single_chips_come_as_near_to_their_shares_as_whole_numbers_allow(count: int, text: str) -> None:
    ratios = Ratios.parse(text)
    placed = Counter(assign([str(n) for n in range(count)], [0] * count, ratios, 0).values())
    for name, share in zip(ratios.names, ratios.shares, strict=True):
        assert abs(placed[name] - share * count) <= 1.0


def test_every_stratum_has_its_share() -> None:
    draw = np.random.default_rng(5)
    blocks = [str(number) for number in draw.integers(0, 600, 6000)]
    strata = draw.choice(list("abcdefgh"), 6000, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01]).tolist()
    placed = assign(blocks, strata, USUAL, 0)
    for stratum in "abcdefgh":
        own = [placed[block] for block, each in zip(blocks, strata, strict=True) if each == stratum]
        for name, share in zip(USUAL.names, USUAL.shares, strict=True):
            assert abs(own.count(name) - share * len(own)) <= max(2.0, 0.03 * len(own))


def test_rare_strata_do_not_all_go_into_the_largest_split() -> None:
    placed = Counter(assign([str(n) for n in range(100)], list(range(100)), USUAL, 0).values())
    assert placed == {"train": 72, "validation": 14, "test": 14}


def test_seeds_differ_and_are_kept() -> None:
    blocks, strata = [str(n) for n in range(50)], [0] * 50
    assert assign(blocks, strata, USUAL, 1) == assign(blocks, strata, USUAL, 1)
    assert assign(blocks, strata, USUAL, 1) != assign(blocks, strata, USUAL, 2)


@given(chips=CHIPS, more=CHIPS)
def test_chips_that_come_later_move_no_block(chips: list[tuple[str, str]], more: list[tuple[str, str]]) -> None:
    blocks, strata = zip(*chips, strict=True)
    if len(set(blocks)) < 3:
        return
    before = assign(blocks, strata, USUAL, 0)
    both = [*chips, *((f"{block}+", stratum) for block, stratum in more)]
    after = assign(*zip(*both, strict=True), USUAL, 0, before)
    assert before.items() <= after.items()


def test_a_split_is_never_empty_if_there_is_a_block_for_it() -> None:
    placed = assign(["a"] * 98 + ["b", "c"], [0] * 100, USUAL, 0)
    assert placed["a"] == "train"
    assert set(placed.values()) == {"train", "validation", "test"}
    equal = assign(["a"] * 50 + ["b"] * 50 + ["c"] * 50, [0] * 150, USUAL, 0)
    assert sorted(equal.values()) == ["test", "train", "validation"]


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"2 blocks are too few for 3 splits: .*, a column of more values, or fewer `ratios`"
    ):
        assign(["a", "b", "b"], [0, 0, 0], USUAL, 0)


@pytest.mark.parametrize(
    ("given_ratios", "names", "shares"),
    [
        ("0.7,0.15,0.15", ("train", "validation", "test"), (0.7, 0.15, 0.15)),
        ("8, 2", ("train", "test"), (0.8, 0.2)),
        ("fit=1,look=3", ("fit", "look"), (0.25, 0.75)),
        ([0.5, 0.25, 0.25], ("train", "validation", "test"), (0.5, 0.25, 0.25)),
        ({"a": 1, "b": 1}, ("a", "b"), (0.5, 0.5)),
    ],
)
def test_ratios_are_parsed_and_normalised(
    given_ratios: object, names: tuple[str, ...], shares: tuple[float, ...]
) -> None:
    found = Ratios.parse(given_ratios)  # type: ignore[arg-type]
    assert found.names == names
    assert found.shares == pytest.approx(shares)
    assert math.fsum(found.shares) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", "1", "a=1", "0.7,x", "0.5,0.5,0,0", "1,2,3,4", "a=1,2", "nan,1"])
def test_invalid_ratios_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="ratios"):
        Ratios.parse(text)


@pytest.mark.parametrize("text", ["0.5,0.5,0", "1,-1", "a=1,a=1", "none=1,test=1", "inf,1"])
def test_ratios_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"every share must be above 0|names must differ"):
        Ratios.parse(text)


def test_the_smallest_split_comes_first_and_of_equal_ones_the_last() -> None:
    assert USUAL.smallest_first == ("test", "validation", "train")
