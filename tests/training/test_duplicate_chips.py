"""Duplicates: found by an index, against comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.training.quality.quality_flags import find_alike, find_equal, near_pairs
from local_tests.support.call_counts import count_calls


def differing(one: str, other: str) -> int:
    return bin(int(one, 16) ^ int(other, 16)).count("1")


def flipped(draw: np.random.Generator, text: str, count: int) -> str:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8))
    bits[draw.choice(len(bits), count, replace=False)] ^= 1
    return np.packbits(bits).tobytes().hex()


def family(seed: int, count: int) -> list[str]:
    """Hashes of which many are near to others, and some the same."""
    draw = np.random.default_rng(seed)
    found = [draw.bytes(16).hex() for _ in range(4)]
    while len(found) < count:
        found.append(flipped(draw, found[draw.integers(len(found))], int(draw.integers(0, 12))))
    return found


@given(seed=st.integers(0, 2**32 - 1), distance=st.integers(1, 20))
def test_all_near_pairs_are_found_once(seed: int, distance: int) -> None:
    texts = list(dict.fromkeys(family(seed, 60)))
    rows = np.array([list(bytes.fromhex(text)) for text in texts], dtype=np.uint8)
    found = list(near_pairs(rows, distance))
    pairs = ((i, j) for j in range(len(texts)) for i in range(j))
    assert sorted(found) == sorted((i, j) for i, j in pairs if differing(texts[i], texts[j]) <= distance)


@given(seed=st.integers(0, 2**32 - 1), distance=st.integers(0, 12))
def test_a_repetition_is_like_what_is_kept(seed: int, distance: int) -> None:
    hashes: list[str | None] = [*family(seed, 50)]
    hashes[::9] = [None] * len(hashes[::9])
    found = find_alike(hashes, distance)
    kept: list[int] = []
    for index, text in enumerate(hashes):
        near = [k for k in kept if text is not None and differing(text, str(hashes[k])) <= distance]
        assert found.get(index) == (near[0] if near else None)
        if text is not None and not near:
            kept.append(index)


def test_other_features_can_rule_out_a_duplicate() -> None:
    hashes = ["00" * 16, "00" * 16, "00" * 15 + "01", "00" * 16]
    assert find_alike(hashes, 1) == {1: 0, 2: 0, 3: 0}
    assert find_alike(hashes, 0) == {1: 0, 3: 0}
    assert find_alike(hashes, 1, lambda one, other: one % 2 == other % 2) == {2: 0, 3: 1}


def test_equal_keys_are_duplicates() -> None:
    assert find_equal(["a", "b", None, "a", None, "a"]) == {3: 0, 5: 0}
    assert find_equal([]) == {}
    assert find_alike([], 4) == {}
    assert find_alike([None], 4) == {}


@pytest.mark.slow
def test_few_of_a_hundred_thousand_are_compared() -> None:
    draw = np.random.default_rng(0)
    hashes: list[str | None] = [draw.bytes(16).hex() for _ in range(100_000)]
    planted = {index: index - 50_000 for index in range(60_000, 60_100)}
    for index, original in planted.items():
        hashes[index] = flipped(draw, str(hashes[original]), 4)
    with count_calls() as calls:
        assert find_alike(hashes, 4) == planted
    assert calls["triu"] < 2_000, "comparisons of all of a group, or of a portion of 20 MB"
