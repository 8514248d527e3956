"""The tiles of the Military Grid Reference System."""

from __future__ import annotations

import pytest

from eechips_local.demo.satellites import mgrs


@pytest.mark.slow
def test_tiles_of_the_whole_earth_are_those_of_its_parts() -> None:
    everywhere = list(mgrs.tiles(None))
    assert len(everywhere) == len(set(everywhere)) == 20385
    for bounds in ((5.0, 45.0, 12.0, 50.0), (-180.0, -56.0, -160.0, -50.0), (100.0, 80.0, 120.0, 83.0)):
        part = set(mgrs.tiles(bounds))
        assert part <= set(everywhere)
        assert part >= {tile for tile in everywhere if bounds[0] < mgrs.middle(tile)[0] < bounds[2]
                        and bounds[1] < mgrs.middle(tile)[1] < bounds[3]}  # fmt: skip
