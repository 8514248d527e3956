"""What every worker that serves the demo planet needs, drawn once in the process that they are forked from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from eechips.emulator.demo import boundaries, ecoregions, outlines, texture


def draw() -> None:
    """Draws the tables that plans begin with, and the finest textures; numpy and GEOS use a second core if it is free.

    The workers are forked from this process when it has no threads any more.
    """
    outlines.degrees()
    with ThreadPoolExecutor(1) as pool:
        textures = pool.submit(texture.draw)
        boundaries.gaul(1)
        ecoregions.rows()
        textures.result()


draw()
