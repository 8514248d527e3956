"""Keys that replace ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.catalogs.partitions.id_segments import KEY, found_in, keys_of


@given(st.lists(st.text(max_size=6), max_size=30), st.text(max_size=3), st.text(max_size=3))
def test_keys_are_those_of_owner_and_id(ids: list[str], one: str, other: str) -> None:
    column = pa.chunked_array([pa.array(ids[:5], pa.string()), pa.array(ids[5:], pa.string())])
    keys = keys_of(column, one)
    assert (keys.dtype, keys.shape) == (KEY, (len(ids),))
    assert keys.tolist() == keys_of(pa.array(ids, pa.string()), one).tolist()
    assert len(np.unique(keys)) == len(set(ids))
    assert len(np.unique(np.concatenate([keys, keys_of(column, other)]))) == len(set(ids)) * (1 if one == other else 2)


def test_keys_are_stable_across_versions() -> None:
    """Shards of a job that was killed have them."""
    assert keys_of(pa.array(["a"]), "collection=x").tobytes().hex() == "4669609b972318caac4f175004bdd937"


@given(st.sets(st.binary(min_size=16, max_size=16), max_size=20), st.lists(st.binary(min_size=16, max_size=16)))
def test_positions_of_keys_are_found(wanted: set[bytes], others: list[bytes]) -> None:
    ordered = np.sort(np.array(sorted(wanted), KEY))
    keys = np.array([*others, *sorted(wanted)[::2], *sorted(wanted)[:1]], KEY)
    here, there = found_in(ordered, keys)
    assert (keys[here] == ordered[there]).all()
    assert sorted(here.tolist()) == [number for number, key in enumerate(keys) if key in ordered]
