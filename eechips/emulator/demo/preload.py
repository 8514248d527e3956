"""What every worker that serves the demo planet needs, drawn once in the process that they are forked from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from eechips.emulator.demo import boundaries, ecoregions, linework, outlines, texture


def draw() -> None:
    """Draws the tables that plans begin with, and the finest textures; GEOS and numpy use a second core if it is free.

    The workers are forked when this process has no more than one thread again.
    """
    outlines.degrees()
    linework.land()
    with ThreadPoolExecutor(1) as pool:
        others = [pool.submit(draw_others) for draw_others in (ecoregions.rows, texture.draw)]
        boundaries.gaul(1)
        for other in others:
            other.result()


draw()
