"""Selecting units in a report, in a real browser: search, histograms, map, table, export."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eechips
from local_tests.support.report_browser import canvas, mouse, needs_chromium, place, query, search, wait
from tests.reports.conftest import HOSTILE
from tests.support import finished_run

pytestmark = needs_chromium

COUNT = "document.getElementById('selection').dataset.count"


def shown_rows(browser: Any) -> list[str]:
    """Texts of the first column of the rows in sight, from the top."""
    script = "return [...document.querySelectorAll('.table-body .table-row')].map((row) => row.firstChild.textContent)"
    return list(browser.execute_script(script))


def sheet(browser: Any) -> set[int]:
    """Numbers of the units on the sheet of chips."""
    script = "return [...document.querySelectorAll('#groups .thumbnail')].map((each) => Number(each.dataset.unit))"
    return set(browser.execute_script(script))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", range(40)),
        ("zone:forest", range(0, 40, 2)),
        ("FOREST", range(0, 40, 2)),
        ("-zone:forest", range(1, 40, 2)),
        ("zone:for", range(0, 40, 2)),
        ('zone:"for"', ()),
        ("zone:forest,script", range(40)),
        ("slope:5..7", range(20, 29)),
        ("slope:5..<7", range(20, 28)),
        ("slope:>5 slope:<=7", range(21, 29)),
        ("slope:5", [20]),
        ("latitude:>46.5 zone:forest", range(20, 40, 2)),
        ("box:6.9,45.9,7.1,46.1", range(6)),
        ("state:done", range(40)),
        ("error:none", range(40)),
        ("nosuchword", ()),
        ("slope:steep", ()),
        ("nosuch:forest", ()),
    ],
)
def test_a_query_selects_units(page: Callable[..., Any], text: str, expected: Any) -> None:
    browser = page()
    assert search(browser, text) == len(expected)
    assert sheet(browser) == set(expected)
    rows = browser.find_element("id", "rows-frame").get_attribute("aria-rowcount")
    assert int(rows) == len(expected) + 1
    assert browser.get_log("browser") == []


def test_an_id_selects_its_unit(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    browser = page()
    assert search(browser, zones_run.units["id"].iloc[11][:16]) == 1
    assert sheet(browser) == {11}


def test_a_wrong_term_is_explained(page: Callable[..., Any]) -> None:
    browser = page()
    search(browser, "slope:steep nosuch:1")
    remarks = browser.find_element("id", "remarks").text
    assert "slope:steep: slope is a number" in remarks
    assert "there is no column nosuch" in remarks


def test_a_hostile_name_is_text_and_can_be_selected(page: Callable[..., Any]) -> None:
    browser = page()
    text = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    assert search(browser, f'zone:"{text}"') == 20
    assert HOSTILE in browser.find_element("css selector", ".table-body").text
    assert browser.title != "taken"


def test_the_selection_is_cleared(page: Callable[..., Any]) -> None:
    browser = page()
    assert not browser.find_element("id", "clear").is_displayed()
    search(browser, "zone:forest")
    assert browser.find_element("id", "matches").text == "20 of 40 units"
    browser.find_element("id", "clear").click()
    assert wait(browser, f"return {COUNT} === '40'")
    assert query(browser) == ""


def bar(browser: Any, field: str, number: int) -> Any:
    found = browser.find_element("css selector", f'.histogram[data-field="{field}"] [data-bar="{number}"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    return found


def test_bars_of_histograms_select(page: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = page()
    bar(browser, "slope", 2).click()
    assert query(browser) == "slope:2..<3"
    assert sheet(browser) == {8, 9, 10, 11}
    mouse(browser).key_down(Keys.SHIFT).click(bar(browser, "slope", 4)).key_up(Keys.SHIFT).perform()
    assert query(browser) == "slope:2..<5"
    assert sheet(browser) == set(range(8, 20))
    bar(browser, "slope", 6).click()
    assert query(browser) == "slope:6..<7"
    bar(browser, "slope", 6).click()  # again: no selection
    assert query(browser) == ""
    mouse(browser).click_and_hold(bar(browser, "slope", 1)).move_to_element(
        bar(browser, "slope", 3)
    ).release().perform()
    assert query(browser) == "slope:1..<4"
    assert sheet(browser) == set(range(4, 16))


def test_the_bars_count_all_units(page: Callable[..., Any]) -> None:
    """The number of units that each bar selects is the height of its bar."""
    browser = page()
    tips = browser.execute_script(
        "return [...document.querySelectorAll('.histogram')].map((f) => [f.dataset.field,"
        " [...f.querySelectorAll('title')].map((t) => Number(t.textContent.split(': ')[1]))])"
    )
    assert {field for field, _ in tips} == {"slope", "brightness"}
    for _, counts in tips:
        assert sum(counts) == 40
    same = browser.find_element("css selector", "#plots + .note").text  # no histogram of one bar
    assert "valid fraction: 1 for all 40" in same
    assert "bytes: " in same
    for field, counts in tips:
        for number in (0, len(counts) - 1):
            browser.find_element("id", "query").clear()
            search(browser, "")
            bar(browser, field, number).click()
            assert browser.execute_script(f"return Number({COUNT})") == counts[number]


def test_a_range_is_typed(page: Callable[..., Any]) -> None:
    browser = page()
    script = "const [a, b] = document.querySelectorAll('.histogram[data-field=slope] input'); a.value = 1; b.value = 2;"
    browser.execute_script(f"{script} b.dispatchEvent(new Event('change'))")
    assert query(browser) == "slope:1..2"
    assert sheet(browser) == set(range(4, 9))


def test_a_box_on_the_map_selects(page: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = page()
    target = canvas(browser)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    (x0, y0), (x1, y1) = place(browser, 6.95, 46.1), place(browser, 7.11, 45.9)
    actions = mouse(browser).move_to_element_with_offset(target, round(x0), round(y0))
    actions.key_down(Keys.SHIFT).click_and_hold().move_by_offset(round(x1 - x0), round(y1 - y0)).release()
    actions.key_up(Keys.SHIFT).perform()
    assert query(browser).startswith("box:")
    assert sheet(browser) == set(range(6))
    search(browser, "")
    browser.find_element("id", "in-view").click()
    assert browser.execute_script(f"return Number({COUNT})") == 40
    assert query(browser).startswith("box:")


def test_the_table_is_sorted(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    browser = page()
    ids = [each[:16] for each in zones_run.units["id"]]
    assert shown_rows(browser)[:5] == ids[:5]
    script = "const h = [...document.querySelectorAll('[role=columnheader]')].find((h) => h.textContent === 'slope');"
    head = browser.execute_script(f"{script} h.querySelector('button').click(); return h")
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown_rows(browser)[:3] == ids[:3]
    browser.execute_script(f"{script} h.querySelector('button').click()")
    assert head.get_attribute("aria-sort") == "descending"
    assert shown_rows(browser)[:3] == ids[:36:-1]
    search(browser, "slope:<3")
    assert shown_rows(browser)[:3] == ids[11:8:-1]


def test_the_table_has_elements_for_the_rows_in_sight_only(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    browser = page()
    frame = browser.find_element("id", "rows-frame")
    browser.execute_script("arguments[0].style.height = '120px'", frame)
    wait(browser, "return document.querySelectorAll('.table-body .table-row').length < 30")
    browser.execute_script("arguments[0].scrollTop = 1e6", frame)
    last = zones_run.units["id"].iloc[-1][:16]
    wait(browser, f"return document.querySelector('.table-body').lastChild.firstChild.textContent === '{last}'")


def test_keys_move_through_the_table(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = page()
    search(browser, "zone:forest")
    browser.execute_script("document.getElementById('rows-frame').focus()")
    mouse(browser).send_keys(Keys.ARROW_DOWN).send_keys(Keys.ARROW_DOWN).perform()
    assert zones_run.units["id"].iloc[2][:16] in browser.find_element("id", "chip").text
    chosen = browser.find_elements("css selector", ".table-row[aria-selected=true]")
    assert [row.get_attribute("data-unit") for row in chosen] == ["2"]


def test_the_selection_is_saved_as_csv(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser = page()
    search(browser, "slope:<2")
    browser.find_element("id", "save").click()
    WebDriverWait(browser, 20, 0.02).until(lambda _: list(browser.downloads.glob("selection*.csv")))
    (path,) = browser.downloads.glob("selection*.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    units = zones_run.units.iloc[:8]
    assert [row["id"] for row in rows] == [each[:16] for each in units["id"]]
    assert [row["zone"] for row in rows] == [unit["zone"] for unit in units["unit"]]
    assert [float(row["slope"]) for row in rows] == [unit["slope"] for unit in units["unit"]]
    assert [row["file"] for row in rows] == list(units["file"])


def test_ids_are_copied_or_shown(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    browser = page()
    search(browser, "slope:<1")
    browser.execute_script("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
    browser.find_element("id", "copy").click()
    wait(browser, "return !document.getElementById('ids').hidden")
    text = browser.execute_script("return document.getElementById('ids').value")
    assert text.split() == [each[:16] for each in zones_run.units["id"].iloc[:4]]


def test_failed_units_come_first_and_are_selected(page: Callable[..., Any], tmp_path: Path) -> None:
    """Also if the units have a column called state."""
    pixels = np.zeros((3, 8, 8), dtype=np.uint8)
    units = [
        ({"kind": "point", "state": name}, {"": ("png", finished_run.png_of(pixels))}) for name in ("Bern", "Jura")
    ]
    units += [({"kind": "point", "state": "Bern", "number": n}, None) for n in range(3)]
    browser = page(path=eechips.report(finished_run.write_run(tmp_path / "run", units)))
    assert browser.find_element("css selector", "main > *").get_attribute("id") == "failures"
    browser.find_element("id", "select-failed").click()
    assert query(browser) == "unit_state:failed"
    assert browser.execute_script(f"return {COUNT}") == "3"
    assert search(browser, "state:bern") == 4


def test_a_page_of_one_unit_counts_it_in_the_singular(page: Callable[..., Any], tmp_path: Path) -> None:
    files: finished_run.Files = {"": ("png", finished_run.png_of(np.zeros((3, 8, 8), dtype=np.uint8)))}
    browser = page(path=eechips.report(finished_run.write_run(tmp_path / "run", [({"kind": "point"}, files)])))
    assert browser.find_element("id", "matches").text == "1 unit"
