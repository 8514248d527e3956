"""The report in a real browser: it opens without an error or a request, the map moves, a click shows the chip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eechips
from local_tests.support.report_browser import canvas, mouse, moved, needs_chromium, place, requests, view, wait
from tests.support import finished_run

pytestmark = needs_chromium


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_opens_without_error_or_request(page: Callable[..., Any], width: int, is_dark: bool) -> None:
    browser = page(width, is_dark=is_dark)
    assert browser.get_log("browser") == []
    asked = [url for url in requests(browser) if not url.startswith("data:")]
    assert len(asked) == 1
    assert asked[0].startswith("file:")
    assert asked[0].endswith("report.html")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.title != "taken"
    assert "taken" in browser.find_element("css selector", ".notice").text
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 150) is is_dark


def test_the_policy_stops_scripts_that_are_not_its_own(page: Callable[..., Any]) -> None:
    browser = page()
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s);"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)"
    )
    messages = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert messages.count("Content Security Policy") >= 2
    assert browser.title != "1"


def test_the_map_pans_and_zooms(page: Callable[..., Any]) -> None:
    browser = page()
    start = view(browser)
    mouse(browser).move_to_element(canvas(browser)).click_and_hold().move_by_offset(80, -40).release().perform()
    panned = moved(browser, start)
    assert panned[0] < start[0]
    assert panned[1] < start[1]
    assert panned[2] == start[2]
    browser.find_element("id", "nearer").click()
    near = moved(browser, panned)
    assert near[2] == pytest.approx(1.6 * panned[2], rel=1e-3)
    assert near[:2] == pytest.approx(panned[:2])
    browser.find_element("id", "fit").click()
    assert moved(browser, near) == start


def test_the_map_has_names_of_places(page: Callable[..., Any]) -> None:
    browser = page()
    start = view(browser)
    names = "return document.getElementById('map').dataset.names"
    assert "Switzerland" in browser.execute_script(names)
    browser.find_element("id", "nearer").click()
    near = moved(browser, start)
    assert browser.execute_script(names) == "Switzerland"  # fills the map
    far = near
    while far[2] > 4:  # pixels of a degree
        browser.find_element("id", "farther").click()
        far = moved(browser, far)
    found = browser.execute_script(names).split(", ")
    assert {"Brazil", "Canada"} <= {*found}
    assert "Switzerland" not in found  # too small for its name


def test_the_map_does_not_block_scrolling(page: Callable[..., Any]) -> None:
    browser = page()
    start = view(browser)
    wheel = "arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: -150, bubbles: true, cancelable: true}))"
    assert browser.execute_script(f"return {wheel}", canvas(browser)) is True  # the page scrolls
    assert browser.find_element("id", "hint").is_displayed()
    browser.execute_script("document.getElementById('map').focus()")
    assert browser.execute_script(f"return {wheel}", canvas(browser)) is False
    assert moved(browser, start)[2] > start[2]


def test_keys_move_the_map_and_choose_chips(page: Callable[..., Any]) -> None:
    browser = page()
    frame = browser.find_element("id", "map")
    start = view(browser)
    browser.execute_script("arguments[0].focus()", frame)
    mouse(browser).send_keys("+").perform()
    near = moved(browser, start)
    assert near[2] > start[2]
    mouse(browser).send_keys("0").perform()
    assert moved(browser, near) == start
    mouse(browser).send_keys("n").perform()
    first = browser.find_element("css selector", "#chip h3").text
    mouse(browser).send_keys("n").perform()
    assert browser.find_element("css selector", "#chip h3").text != first
    mouse(browser).send_keys("p").perform()
    assert browser.find_element("css selector", "#chip h3").text == first


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("number", [3, 25])
def test_a_click_shows_the_chip(page: Callable[..., Any], zones_run: eechips.Run, width: int, number: int) -> None:
    browser = page(width)
    unit = zones_run.units.iloc[number]
    x, y = place(browser, *unit["unit"]["coordinates"])
    target = canvas(browser)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    mouse(browser).move_to_element_with_offset(target, round(x), round(y)).perform()
    tip = browser.find_element("id", "tip")
    assert unit["id"][:16] in tip.text
    mouse(browser).click().perform()
    panel = browser.find_element("id", "chip")
    assert unit["id"][:16] in panel.text
    assert unit["unit"]["zone"] in panel.text
    assert unit["file"] in panel.text
    image = panel.find_element("css selector", "img.chip")
    assert browser.execute_script("return arguments[0].naturalWidth", image) == 16
    link = panel.find_element("css selector", "a")
    assert link.get_property("href") == (zones_run.path / unit["file"]).as_uri()


def test_a_chip_of_the_sheet_is_shown_and_found_on_the_map(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    browser = page()
    thumbnail = browser.find_elements("css selector", ".thumbnail")[7]
    number = int(thumbnail.get_attribute("data-unit"))
    browser.execute_script("arguments[0].click()", thumbnail)
    browser.find_element("id", "close").click()
    assert zones_run.units["id"].iloc[number][:16] in browser.find_element("id", "chip").text
    assert thumbnail.get_attribute("aria-current") == "true"
    browser.find_element("css selector", ".steps button:last-child").click()
    assert zones_run.units["id"].iloc[number + 1][:16] in browser.find_element("id", "chip").text


def test_classes_are_hidden_and_colours_chosen(page: Callable[..., Any]) -> None:
    from selenium.webdriver.support.ui import Select

    browser = page()
    colours = "return new Set(new Uint32Array(arguments[0].getContext('2d').getImageData(0, 0, arguments[0].width, "
    colours += "arguments[0].height).data.buffer)).size"
    base = browser.find_element("css selector", "#map canvas")
    whole = browser.execute_script(colours, base)
    button = browser.find_element("css selector", "#legend button")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    wait(
        browser,
        f"return (() => {{ {colours.replace('arguments[0]', 'document.querySelector(`#map canvas`)')} }})() < {whole}",
    )
    select = Select(browser.find_element("id", "colouring"))
    assert [option.text for option in select.options][:2] == ["zone", "state of the unit"]
    select.select_by_visible_text("brightness")
    assert len(browser.find_elements("css selector", "#legend canvas")) == 1
    Select(browser.find_element("id", "grouping")).select_by_visible_text("nothing")
    assert len(browser.find_elements("css selector", ".group")) == 1


def test_classes_of_a_map_have_their_names(page: Callable[..., Any], tmp_path: Path) -> None:
    units = [
        ({"kind": "point", "coordinates": [unit["number"], 0], "class": unit["class"]}, files)
        for unit, files in finished_run.layered(9)
    ]
    parameters = {"class_image": "ESA/WorldCover/v200:Map"}
    made = finished_run.write_run(tmp_path, units, recipe="sample", parameters=parameters)
    browser = page(path=eechips.report(made))
    names = ["0", "10 Tree cover", "20 Shrubland"]  # 0 is no class of the map
    groups = browser.find_elements("css selector", "#groups h3")
    assert [group.text.removesuffix(" 3 of 3") for group in groups] == names
    legend = browser.find_elements("css selector", "#legend button")
    assert [button.text.removesuffix("3").strip() for button in legend] == names
    assert browser.find_element("css selector", ".thumbnail").get_attribute("title").startswith("0 · ")


def test_every_control_has_an_accessible_name(page: Callable[..., Any]) -> None:
    browser = page()
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    acting = [
        node
        for node in nodes
        if node.get("role", {}).get("value") in ("button", "combobox", "image", "link", "application")
    ]
    assert len(acting) > 40
    nameless = [node for node in acting if not node.get("name", {}).get("value") and not node.get("ignored")]
    assert nameless == []


def test_text_has_enough_contrast(page: Callable[..., Any]) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.1, 1.4.3), light and dark."""
    for is_dark in (False, True):
        browser = page(is_dark=is_dark)
        styles = browser.execute_script(
            "const s = getComputedStyle(document.documentElement);"
            "return Object.fromEntries(['paper', 'card', 'ink', 'faint', 'accent', 'good', 'bad', 'sea', 'land']"
            ".map((n) => [n, s.getPropertyValue('--' + n).trim()]))"
        )
        for text in ("ink", "faint", "accent", "good", "bad"):
            for ground in ("paper", "card"):
                assert contrast(styles[text], styles[ground]) >= 4.5, (text, ground, is_dark)
        assert contrast(styles["faint"], styles["land"]) >= 4.5
        assert contrast(styles["faint"], styles["sea"]) >= 4.5


def contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG defines it: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_chips_that_are_not_in_the_page_are_taken_from_the_folder(
    page: Callable[..., Any], zones_run: eechips.Run
) -> None:
    browser = page(path=eechips.report(zones_run, thumbnails=1, seed=1))
    number = next(
        i
        for i in range(40)
        if i not in {int(e.get_attribute("data-unit")) for e in browser.find_elements("css selector", ".thumbnail")}
    )
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas(browser))
    x, y = place(browser, *zones_run.units["unit"].iloc[number]["coordinates"])
    mouse(browser).move_to_element_with_offset(canvas(browser), round(x), round(y)).click().perform()
    wait(browser, "return document.querySelector('#chip img.chip')?.naturalWidth === 16")
    assert browser.get_log("browser") == []


def test_the_page_prints(page: Callable[..., Any]) -> None:
    import base64

    browser = page()
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert browser.get_log("browser") == []
