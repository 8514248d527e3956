"""Regions of time series in a report, in a real browser: the map, the charts, the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import eechips
from local_tests.support.report_browser import canvas, mouse, needs_chromium, place, search
from tests.support import finished_run

pytestmark = needs_chromium

NAMES = ["north", "middle", "south"]


@pytest.fixture(scope="module")
def series_run(tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Three regions of one degree, from north to south."""
    units = []
    for number, name in enumerate(NAMES):
        south = 50.0 - 2 * number
        ring = [[7.0, south], [8.0, south], [8.0, south + 1], [7.0, south + 1], [7.0, south]]
        unit = {"kind": "region", "region": name, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        rows = "".join(f"{name},2019-0{month}-01,{month + number}\n" for month in range(1, 7))
        units.append((unit, {"": ("csv", f"place,date,LST\n{rows}".encode())}))
    return finished_run.write_run(tmp_path_factory.mktemp("series") / "run", units)


def shown_charts(browser: Any) -> list[str]:
    script = (
        "return [...document.querySelectorAll('#series figure')].filter((f) => !f.hidden).map((f) => f.dataset.region)"
    )
    return list(browser.execute_script(script))


def test_a_region_of_the_map_shows_its_chart(page: Callable[..., Any], series_run: eechips.Run) -> None:
    browser = page(path=eechips.report(series_run))
    target = canvas(browser)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    x, y = place(browser, 7.5, 48.5, middle=48.5)
    mouse(browser).move_to_element_with_offset(target, round(x), round(y)).click().perform()
    panel = browser.find_element("id", "chip")
    assert "region middle" in panel.text
    assert len(panel.find_elements("css selector", "svg.chart")) == 1
    assert "place middle" in panel.text
    current = browser.find_element("css selector", "#series figure[aria-current]")
    assert current.get_attribute("data-region") == "middle"
    assert browser.get_log("browser") == []


def test_charts_of_selected_regions_are_shown(page: Callable[..., Any], series_run: eechips.Run) -> None:
    browser = page(path=eechips.report(series_run))
    assert browser.find_element("id", "matches").text == "3 regions"
    assert shown_charts(browser) == NAMES
    assert search(browser, "latitude:<49") == 2
    assert shown_charts(browser) == ["middle", "south"]


def test_a_click_on_a_chart_chooses_its_region(page: Callable[..., Any], series_run: eechips.Run) -> None:
    browser = page(path=eechips.report(series_run))
    browser.execute_script("document.querySelectorAll('#series figure')[2].click()")
    assert "region south" in browser.find_element("id", "chip").text
