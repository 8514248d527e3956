"""Images grouped by pass, against pandas."""

from __future__ import annotations

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from eechips.geo.grid import Grid
from eechips.planning.imagery.inventory import Scene, group_passes

GRID = Grid("EPSG:32613", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 1, 1)
HOUR = 3_600_000

scenes = st.lists(
    st.tuples(st.integers(0, 24 * 40), st.sampled_from(["LANDSAT_8", "LANDSAT_9"]), st.integers(33, 35)), max_size=30
).map(
    lambda found: [
        Scene(f"i{number}", hour * HOUR, GRID, True, True, {"SPACECRAFT_ID": platform, "WRS_PATH": path})
        for number, (hour, platform, path) in enumerate(sorted(found))
    ]
)


def table_of(found: list[Scene]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [{"index": each.index, "time": each.time, **each.properties} for each in found]
    return pd.DataFrame(rows, columns=["index", "time", "SPACECRAFT_ID", "WRS_PATH"])


@given(scenes)
def test_passes_of_a_day_are_groups_by_day_and_platform(found: list[Scene]) -> None:
    table = table_of(found)
    days = pd.to_datetime(table["time"], unit="ms").dt.floor("D")
    expected = {frozenset(each) for _, each in table.groupby([days, "SPACECRAFT_ID"])["index"]}
    passes = group_passes(found, "day", "L8")
    assert {frozenset(scene.index for scene in each) for each in passes} == expected
    assert [each[0].time for each in passes] == sorted(each[0].time or 0 for each in passes)


@given(scenes)
def test_passes_of_an_orbit_have_no_gap_of_half_an_orbit(found: list[Scene]) -> None:
    table = table_of(found)
    names = ["SPACECRAFT_ID", "WRS_PATH"]
    later = table.groupby(names)["time"].diff().gt(3_000_000)
    number = later.groupby([table[name] for name in names]).cumsum().rename("number")
    expected = {frozenset(each) for _, each in table.groupby([*names, number])["index"]}
    passes = group_passes(found, "orbit", "L8")
    assert {frozenset(scene.index for scene in each) for each in passes} == expected


def test_images_without_a_time_are_passes_of_their_own() -> None:
    found = [Scene(name, None, GRID, True, True) for name in "ab"]
    assert group_passes(found, "day", "L8") == [[each] for each in found]
