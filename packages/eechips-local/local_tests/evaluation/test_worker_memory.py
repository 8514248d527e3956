"""Memory that the workers of the local Earth Engine keep from chip to chip."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest

from local_tests.support.local_earth_engine import initialize, start_server, stop_server
from local_tests.support.process_tree import children

pytestmark = pytest.mark.slow

CHIPS = 5
GRID = {
    "dimensions": {"width": 256, "height": 256},
    "affineTransform": {"scaleX": 1, "scaleY": -1, "translateX": 533_900.0, "translateY": 4_472_600.0},
    "crsCode": "EPSG:26913",
}


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted in /proc; glibc is configured")
def test_chips_reuse_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("MALLOC_")]:
        monkeypatch.delenv(name)  # Dask sets some in the process that starts its workers
    server = start_server("--rate", "none")
    try:
        ee = initialize(server)
        image = ee.ImageCollection("USDA/NAIP/DOQQ").filterDate("2019-01-01", "2020-01-01").mosaic().add(0.0)
        request = {"expression": image, "fileFormat": "NPY", "grid": GRID}
        for _ in range(3):  # caches are filled
            ee.data.computePixels(request)
        (worker,) = [pid for parent in children(server.process.pid) for pid in children(parent) if page_faults(pid) > 0]
        before = page_faults(worker)
        for _ in range(CHIPS):
            ee.data.computePixels(request)
        pages = 256 * 256 * 4 * 8 // resource.getpagesize()  # of the chip
        assert page_faults(worker) - before < CHIPS * pages
    finally:
        stop_server(server)


def page_faults(pid: int) -> int:
    """Return the number of page faults that needed no disk: `minflt` of https://man7.org/linux/man-pages/man5/proc.5.html."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[7])
