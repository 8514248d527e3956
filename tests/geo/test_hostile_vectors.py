"""Vector files of strangers are read correctly or refused with a sentence; no other file is opened, nobody is asked."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely

from eechips.errors import RegionError
from eechips.geo import vectors
from eechips.geo.untrusted_vectors import read_layer
from eechips.geo.vectors import read_features
from local_tests.support.parameters import slow_except
from tests.support.hostile_files import SECRET, Trap, set_trap
from tests.support.hostile_vectors import HOSTILE, LIMITS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells who reads")


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    with set_trap(tmp_path) as found:
        yield found


def read_whole(path: Path) -> tuple[np.ndarray, pa.Table]:
    """Read a file whose features must have geometries."""
    geometries, table = read_features(path)
    if shapely.is_missing(geometries).any():
        raise RegionError(f"{path}: a feature has no geometry")
    return geometries, table


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", slow_except(HOSTILE, *list(HOSTILE)[::12]))
def test_a_hostile_file_is_read_or_refused(name: str, trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    make, expected = HOSTILE[name]
    path = make(trap.place)
    trap.watched.touched()
    monkeypatch.setattr(vectors, "read_layer", functools.partial(read_layer, limits=LIMITS))
    if isinstance(expected, str):
        with pytest.raises(RegionError, match=expected) as caught:
            read_whole(path)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < 600 + len(str(path))
        assert SECRET not in message
        assert not re.search(r"scratch|Traceback", message)
    else:
        geometries, table = read_whole(path)
        column = next((each for each in table.column_names if each.lower() == "name"), None)
        names = [""] * len(geometries) if column is None else table.column(column).to_pylist()
        assert [name or "" for name in names] == expected or expected == [""]
        assert shapely.is_valid(geometries).all()
        assert not shapely.is_empty(geometries).any()
        assert SECRET not in str(table.to_pydict())
        table.validate(full=True)
    assert trap.is_untouched()
