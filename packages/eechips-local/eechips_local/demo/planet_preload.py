"""Load or draw what every worker of the demo planet needs, in the process that they are forked from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from eechips_local.demo.borders import boundary_tables, ecoregions, state_outlines
from eechips_local.demo.land import texture
from eechips_local.demo.satellites import wrs


def load() -> None:
    """Load the tables that plans begin with, the finest textures, and which scenes of Landsat show land.

    Where they are drawn first, GEOS and numpy use a second core if it is free. The workers are forked when this process
    has no more than one thread again.
    """
    state_outlines.degrees()
    with ThreadPoolExecutor(1) as pool:
        others = [pool.submit(load_others) for load_others in (ecoregions.rows, texture.load, wrs.lands)]
        boundary_tables.gaul(1)
        for other in others:
            other.result()


load()
