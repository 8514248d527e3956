"""A browser, and the report of a run in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eechips
from local_tests.support.report_browser import open_page, started
from tests.support import finished_run

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
ZONES = ["forest", HOSTILE]


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="package")
def zones_run(tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Forty chips in two rows, of two zones; the name of one zone tries to be a script."""
    rng = np.random.default_rng(0)
    units: list[tuple[dict[str, Any], finished_run.Files | None]] = []
    for number in range(40):
        values = rng.integers(0, 255, (3, 16, 16), dtype=np.uint8)
        unit = {
            "kind": "point",
            "coordinates": [7.0 + number % 20 / 50, 46.0 + number // 20],
            "zone": ZONES[number % 2],
            "slope": number / 4,
        }
        units.append((unit, {"": ("png", finished_run.png_of(values))}))
    return finished_run.write_run(tmp_path_factory.mktemp("runs") / "run", units, recipe="sample", notes=[HOSTILE])


@pytest.fixture
def page(browser: Any, zones_run: eechips.Run) -> Callable[..., Any]:
    """Opens the report of the run with two zones, or another one."""

    def opened(width: int = 1400, *, is_dark: bool = False, path: Path | None = None) -> Any:
        return open_page(browser, path or eechips.report(zones_run), width, is_dark=is_dark)

    return opened
