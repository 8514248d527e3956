"""The report in a real browser: it opens without an error or a request, the map moves, a click shows the chip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eechips
from tests.support import finished_run

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and its driver"),
]

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
)
HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
ZONES = ["forest", HOSTILE]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Forty chips in two rows, and two failures; a name that tries to be a script."""
    rng = np.random.default_rng(0)
    units: list[tuple[dict[str, Any], finished_run.Files | None]] = []
    for number in range(40):
        values = rng.integers(0, 255, (3, 16, 16), dtype=np.uint8)
        unit = {
            "kind": "point",
            "coordinates": [7.0 + number % 20 / 50, 46.0 + number // 20],
            "zone": ZONES[number % 2],
        }
        units.append((unit, {"": ("png", finished_run.png_of(values))}))
    return finished_run.write_run(tmp_path_factory.mktemp("runs") / "run", units, recipe="sample", notes=[HOSTILE])


@pytest.fixture
def page(browser: Any, run: eechips.Run) -> Callable[..., Any]:
    """Opens the report in a window of a size, light or dark."""

    def opened(width: int = 1400, *, is_dark: bool = False, path: Path | None = None) -> Any:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get_log("performance")
        browser.get_log("browser")
        browser.get((path or eechips.report(run)).as_uri())
        wait(browser, "return document.getElementById('map')?.dataset.view")
        return browser

    return opened


def wait(browser: Any, script: str) -> Any:
    """Return the result of a script as soon as there is one."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20, 0.02).until(lambda driver: driver.execute_script(script))


def view(browser: Any) -> tuple[float, ...]:
    """Longitude and latitude in the middle of the map, and its scale."""
    return tuple(map(float, browser.execute_script("return document.getElementById('map').dataset.view").split()))


def moved(browser: Any, before: tuple[float, ...]) -> tuple[float, ...]:
    wait(browser, f"return document.getElementById('map').dataset.view !== {text_of(before)}")
    return view(browser)


def text_of(before: tuple[float, ...]) -> str:
    return json.dumps(f"{before[0]:.6f} {before[1]:.6f} {before[2]:.3f}")


def place(browser: Any, longitude: float, latitude: float) -> tuple[float, float]:
    """Pixels from the middle of the map."""
    x, y, scale = view(browser)
    squeeze = np.cos(np.radians(46.5))  # the middle of all chips
    return (longitude - x) * squeeze * scale, (y - latitude) * scale


def mouse(browser: Any) -> Any:
    from selenium.webdriver.common.action_chains import ActionChains

    return ActionChains(browser, duration=30)


def canvas(browser: Any) -> Any:
    return browser.find_elements("css selector", "#map canvas")[1]


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


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
def test_a_click_shows_the_chip(page: Callable[..., Any], run: eechips.Run, width: int, number: int) -> None:
    browser = page(width)
    unit = run.units.iloc[number]
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
    assert link.get_property("href") == (run.path / unit["file"]).as_uri()


def test_a_chip_of_the_sheet_is_shown_and_found_on_the_map(page: Callable[..., Any], run: eechips.Run) -> None:
    browser = page()
    thumbnail = browser.find_elements("css selector", ".thumbnail")[7]
    number = int(thumbnail.get_attribute("data-unit"))
    browser.execute_script("arguments[0].click()", thumbnail)
    assert run.units["id"].iloc[number][:16] in browser.find_element("id", "chip").text
    assert thumbnail.get_attribute("aria-current") == "true"
    browser.find_element("css selector", ".steps button:last-child").click()
    assert run.units["id"].iloc[number + 1][:16] in browser.find_element("id", "chip").text


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


def test_chips_that_are_not_in_the_page_are_taken_from_the_folder(page: Callable[..., Any], run: eechips.Run) -> None:
    browser = page(path=eechips.report(run, thumbnails=1, seed=1))
    number = next(
        i
        for i in range(40)
        if i not in {int(e.get_attribute("data-unit")) for e in browser.find_elements("css selector", ".thumbnail")}
    )
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas(browser))
    x, y = place(browser, *run.units["unit"].iloc[number]["coordinates"])
    mouse(browser).move_to_element_with_offset(canvas(browser), round(x), round(y)).click().perform()
    wait(browser, "return document.querySelector('#chip img.chip')?.naturalWidth === 16")
    assert browser.get_log("browser") == []


def test_the_page_prints(page: Callable[..., Any]) -> None:
    import base64

    browser = page()
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert browser.get_log("browser") == []
