"""The explorer of a notebook in a real browser, joined with its Python object by the messages of a widget."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

import eechips
from eechips.manifest.exclusions import has_excluded_units
from eechips.planning.areas.regions import parse_region
from local_tests.support.report_browser import canvas, mouse, needs_chromium, requests, search, set_window, wait
from tests.reports.conftest import HOSTILE
from tests.support import finished_run

pytest.importorskip("anywidget", reason="no anywidget")
pytestmark = needs_chromium

MARKED = "return document.getElementById('marked').textContent"


def write_run(folder: Path, count: int) -> eechips.Run:
    """Chips in four rows, of two zones; the name of one zone tries to be a script."""
    rng = np.random.default_rng(0)
    units: list[tuple[dict[str, Any], finished_run.Files | None]] = []
    for number in range(count):
        values = rng.integers(0, 255, (3, 16, 16), dtype=np.uint8)
        unit = {
            "kind": "point",
            "coordinates": [7.0 + number // 4 / 50, 46.0 + number % 4],
            "zone": ["forest", HOSTILE][number % 2],
            "slope": number / 4,
        }
        units.append((unit, {"": ("png", finished_run.png_of(values))}))
    return finished_run.write_run(folder, units, recipe="sample", notes=[HOSTILE])


@pytest.fixture
def run(tmp_path: Path) -> eechips.Run:
    return write_run(tmp_path / "run", 40)


@pytest.fixture
def cell(browser: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Shows an explorer, and returns the browser inside of its frame."""
    from tests.support.notebook_host import hosted, make_comms

    make_comms(monkeypatch)
    with ExitStack() as stack:

        def shown(explorer: Any) -> Any:
            set_window(browser, 1400, is_dark=False)
            browser.get(stack.enter_context(hosted(explorer._widget)))
            enter(browser)
            return browser

        yield shown
        browser.switch_to.default_content()
        browser.get("about:blank")


def enter(browser: Any, loads: int = 1) -> None:
    """Wait until the frame has loaded so many pages, and enter it."""
    browser.switch_to.default_content()
    wait(browser, f"return document.querySelector('iframe')?.dataset.loads === '{loads}'")
    browser.switch_to.frame(browser.find_element("css selector", "iframe"))
    wait(browser, "return document.getElementById('selection')?.dataset.count")
    wait(browser, "return document.getElementById('map').dataset.view")


def until(browser: Any, test: Callable[[], bool]) -> None:
    """Wait for the Python object to have heard."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20, 0.02).until(lambda _: test())


def mark_selection(browser: Any, text: str) -> None:
    browser.find_element("id", "mark-all").click()
    wait(browser, f"{MARKED} === {json.dumps(text)}")


@pytest.mark.exhaustive
def test_the_page_cannot_reach_the_notebook(run: eechips.Run, cell: Callable[..., Any]) -> None:
    browser = cell(run.explore())
    assert browser.execute_script("return origin") == "null"
    reach = "try { parent.document; return 'reached' } catch (error) { return error.name }"
    assert browser.execute_script(reach) == "SecurityError"
    assert HOSTILE in browser.find_element("css selector", ".table-body").text
    assert browser.title != "taken"
    browser.switch_to.default_content()
    assert browser.title == "host"
    hosts = {url.split("/")[2] for url in requests(browser) if url.startswith("http")}
    assert len(hosts) == 1, "the explorer asks nobody but the notebook"
    assert [each for each in browser.get_log("browser") if "SecurityError" not in each["message"]] == []


def test_the_search_box_selects_units_for_python(run: eechips.Run, cell: Callable[..., Any]) -> None:
    explorer = run.explore()
    assert len(explorer.selected) == 40
    browser = cell(explorer)
    assert search(browser, "zone:forest slope:<2") == 4
    until(browser, lambda: explorer.query == "zone:forest slope:<2")
    assert explorer.selected["unit"].map(lambda unit: unit["slope"]).tolist() == [0.0, 0.5, 1.0, 1.5]
    assert explorer.roi is None


@pytest.mark.exhaustive
def test_marks_are_stored_and_removed(run: eechips.Run, cell: Callable[..., Any]) -> None:
    explorer = run.explore()
    ids = run.units["id"].tolist()
    browser = cell(explorer)
    search(browser, "slope:<1")
    mark_selection(browser, "4 marked as bad")
    assert explorer.marked == ids[:4]
    assert search(browser, "mark:bad") == 4
    browser.find_element("css selector", "#groups .thumbnail").click()  # the viewer, where X removes the mark
    mouse(browser).send_keys("x").perform()
    wait(browser, f"{MARKED} === '3 marked as bad'")
    again = eechips.open_run(run.path).explore()
    assert again.marked == explorer.marked
    assert len(again.marked) == 3
    assert run.verify() == [], "a mark removes no file"
    assert len(eechips.split(run.path, by="random", quiet=True).splits) == 37
    browser = cell(again)
    assert browser.execute_script(MARKED) == "3 marked as bad"
    browser.find_element("id", "unmark-all").click()
    wait(browser, f"{MARKED} === '0 marked as bad'")
    assert eechips.open_run(run.path).explore().marked == []


def test_marked_units_are_excluded(run: eechips.Run, cell: Callable[..., Any]) -> None:
    explorer = run.explore()
    before = run.units
    browser = cell(explorer)
    search(browser, "slope:<1")
    mark_selection(browser, "4 marked as bad")
    browser.find_element("id", "exclude").click()
    yes = browser.find_element("id", "yes")
    assert yes.text == "Exclude 4: remove their files"
    yes.click()
    until(browser, lambda: run.counts == {"done": 36, "skipped": 4})
    units = eechips.open_run(run.path).units
    assert units["error"].tolist()[:4] == ["dropped: marked as bad"] * 4
    assert units["file"].isna().sum() == 4
    until(browser, lambda: not any((run.path / file).exists() for file in before["file"][:4]))
    assert explorer.marked == []
    assert has_excluded_units(run.path)  # eechips retry draws others
    assert len(eechips.split(run.path, by="random", quiet=True).splits) == 36
    enter(browser, loads=2)
    assert browser.execute_script(MARKED) == "0 marked as bad"
    assert search(browser, "state:skipped") == 4


def test_a_box_on_the_map_is_a_region(run: eechips.Run, cell: Callable[..., Any]) -> None:
    explorer = run.explore()
    browser = cell(explorer)
    target = canvas(browser)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    half = target.size["width"] // 2 - 20
    keys = mouse(browser)
    keys.key_down("\ue008").move_to_element_with_offset(target, -half, 20).click_and_hold()
    keys.move_by_offset(2 * half, 150).release().key_up("\ue008").perform()
    until(browser, lambda: explorer.roi is not None)
    west, south, east, north = map(float, explorer.roi.split(","))
    inside = shapely.box(west, south, east, north)
    expected = [shapely.Point(unit["coordinates"]).within(inside) for unit in run.units["unit"]]
    assert 0 < sum(expected) < 40
    assert explorer.selected["id"].tolist() == run.units["id"][expected].tolist()
    assert parse_region(explorer.roi) is not None
    assert explorer.roi in browser.find_element("id", "roi").text


def test_a_unit_without_picture_gets_it_when_it_is_chosen(run: eechips.Run, cell: Callable[..., Any]) -> None:
    browser = cell(run.explore(thumbnails=0))
    assert browser.find_elements("css selector", "#chip img") == []
    browser.execute_script("document.getElementById('map').focus()")
    mouse(browser).send_keys("n").perform()
    image = "document.querySelector('#chip img')"
    assert wait(browser, f"return {image}?.naturalWidth") == 16


@pytest.mark.exhaustive
def test_five_thousand_chips(tmp_path: Path, cell: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "run", 5000)
    explorer = run.explore()
    browser = cell(explorer)
    assert len(browser.find_elements("css selector", "#groups .thumbnail img")) > 24
    assert search(browser, "zone:forest slope:>=1000") == 500
    mark_selection(browser, "500 marked as bad")
    expected = run.units["id"].iloc[4000::2].tolist()
    assert explorer.marked == expected
    assert eechips.open_run(run.path).explore(thumbnails=0).marked == expected
    assert explorer.selected["id"].tolist() == expected
    browser.switch_to.default_content()
    assert browser.execute_script("return document.querySelector('iframe').srcdoc.length") < 2_000_000


def test_an_error_is_shown_in_the_page(run: eechips.Run, cell: Callable[..., Any]) -> None:
    from eechips.manifest.folder_lock import lock_folder

    browser = cell(run.explore())
    with lock_folder(run.path):
        browser.find_element("id", "mark-all").click()
        wait(browser, "return !document.getElementById('trouble').hidden")
    assert str(run.path) in browser.find_element("id", "trouble").text
    assert run.explore().marked == []
