"""The page of ``eechips-local serve`` in a real browser: assets, requests, slots, tasks, and the map."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import requests as http
from PIL import Image

from local_tests.page.conftest import COLLECTION, CORNER, HEIGHTS, HOSTILE, QUAD, QUADS, ZOOM
from local_tests.support.local_earth_engine import Server, computations_in_flight, initialize, wait_until
from local_tests.support.report_browser import mouse, needs_chromium, requests, wait

pytestmark = needs_chromium


def text(browser: Any, identifier: str) -> str:
    """The text of an element."""
    return str(browser.find_element("id", identifier).text)


def choose(browser: Any, asset: str) -> None:
    """Click an asset of the list, and wait until it is drawn."""
    button = browser.find_element("css selector", f"[data-asset='{asset}']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    wait_for_tiles(browser)


def unfold(browser: Any, collection: str) -> None:
    """Unfold the images of a collection, and wait for them."""
    button = f"document.querySelector('[data-asset=\"{collection}\"]')"
    browser.execute_script(f"{button}.parentElement.querySelector('details').open = true")
    wait(browser, f"return {button}.parentElement.querySelector('details [data-asset]')")


def wait_for_tiles(browser: Any) -> tuple[int, int]:
    """Wait until all tiles in sight are drawn or have failed; return their numbers."""
    script = (
        "const [done, failed, all] = document.getElementById('map').dataset.tiles?.split(' ').map(Number) ?? [];"
        "const isBusy = document.body.classList.contains('is-busy');"
        "return !isBusy && all > 0 && done + failed === all ? [done, failed] : null"
    )
    done, failed = wait(browser, script)
    return done, failed


def corner(browser: Any) -> tuple[int, int]:
    """Column and row of the map's first pixel in the world of its zoom."""
    column, row = browser.execute_script("return document.getElementById('map').dataset.corner").split()
    return int(column), int(row)


def zoom(browser: Any) -> int:
    return int(browser.execute_script("return document.getElementById('map').dataset.view").split()[2])


def zoom_to(browser: Any, wanted: int) -> None:
    """Click the buttons of the map until it has a zoom."""
    while (now := zoom(browser)) != wanted:
        browser.find_element("id", "farther" if now > wanted else "nearer").click()
        wait(browser, f"return !document.getElementById('map').dataset.view.endsWith(' {now}')")
    wait_for_tiles(browser)


def drawn_pixels(browser: Any, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Pixels of the map's tiles, (height, width, 4)."""
    script = (
        "const canvas = document.querySelector('#map canvas.tiles');"
        "return Array.from(canvas.getContext('2d').getImageData(...arguments).data)"
    )
    values = browser.execute_script(script, left, top, width, height)
    return np.array(values, dtype=np.uint8).reshape(height, width, 4)


def own_pixels(browser: Any, shape: tuple[int, int]) -> np.ndarray:
    """Pixels of the map where the quad is, if the map has its zoom."""
    column, row = corner(browser)
    return drawn_pixels(browser, CORNER[0] - column, CORNER[1] - row, shape[1], shape[0])


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_opens_without_error_and_asks_this_machine_only(
    page: Callable[..., Any], server: Server, width: int, is_dark: bool
) -> None:
    browser = page(width, is_dark=is_dark)
    choose(browser, QUADS)
    assert browser.get_log("browser") == []
    asked = [url for url in requests(browser) if not url.startswith(("data:", "blob:"))]
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith(f"{server.url}/")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 150) is is_dark


def test_watching_is_neither_counted_nor_logged(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    http.post(f"{server.url}/_requests", json={"keep": 10}, timeout=60).raise_for_status()
    before = server.stats()
    polls = int(browser.execute_script("return document.body.dataset.polls"))
    wait(browser, f"return Number(document.body.dataset.polls) >= {polls + 2}")
    after = server.stats()
    assert after["requests"] == before["requests"]
    assert after["in_flight"]["busy"] == before["in_flight"]["busy"]
    assert http.get(f"{server.url}/_requests", timeout=60).json() == {"requests": []}


def test_a_page_in_the_background_does_not_ask(page: Callable[..., Any]) -> None:
    browser = page()
    # The page's timer does not run any more: the test calls what is due.
    browser.execute_script(
        "const usual = setTimeout;"
        "window.setTimeout = (task, ...rest) => {"
        "  if (task.name !== 'watch') return usual(task, ...rest);"
        "  window.due = task;"
        "}"
    )
    wait(browser, "return window.due !== undefined")
    polls = "return document.body.dataset.polls"
    before = browser.execute_script(polls)
    browser.execute_async_script("window.due().then(arguments[0])")
    assert int(browser.execute_script(polls)) == int(before) + 1
    browser.execute_script(
        "Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    before = browser.execute_script(polls)
    browser.execute_async_script("window.due().then(arguments[0])")
    assert browser.execute_script(polls) == before
    browser.execute_script(
        "Object.defineProperty(document, 'visibilityState', {value: 'visible', configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    wait(browser, f"return Number(document.body.dataset.polls) > {before}")


def test_the_search_selects_assets(page: Callable[..., Any]) -> None:
    browser = page()
    every = browser.execute_script("return document.querySelectorAll('[data-asset]').length")
    assert every > 40
    browser.find_element("id", "asset-query").send_keys("sentinel copernicus")
    found = browser.execute_script("return [...document.querySelectorAll('[data-asset]')].map((e) => e.dataset.asset)")
    assert 0 < len(found) < every
    assert all(name.startswith("COPERNICUS/") for name in found)
    browser.find_element("id", "asset-query").send_keys(" nonsense")
    assert "No asset has these words" in text(browser, "assets")


def test_slots_and_requests_follow_the_server(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    wait(browser, "return document.getElementById('slots').textContent === '0'")
    assert "of 20" in text(browser, "slots-note")
    with computations_in_flight(server, 3):
        wait(browser, "return document.getElementById('slots').textContent === '3'")
        assert browser.execute_script("return document.getElementById('slots-meter').style.width") == "15%"
        # One script reads all rows: the page replaces them whenever it hears from the server.
        rows = browser.execute_script(
            "return [...document.querySelectorAll('#requests-table tr.in-flight')].map((row) => row.innerText)"
        )
        assert [("value:compute" in row, "in flight" in row) for row in rows] == [(True, True)] * 3
    wait(browser, "return document.getElementById('slots').textContent === '0'")


def test_requests_have_status_and_workload_tag(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    ee = initialize(server)
    with ee.data.workloadTagContext("harvest-2020"):
        assert ee.Number(1).add(1).getInfo() == 2
    with pytest.raises(ee.EEException):
        ee.Image("NO/SUCH").getInfo()
    cells = wait(
        browser,
        "const rows = [...document.querySelectorAll('#requests-table tbody tr')].map((row) =>"
        " [...row.cells].map((cell) => cell.textContent));"
        "const isFailed = (row) => row[2] === '400' || row[2] === '404';"
        "return rows.some((row) => row[4] === 'harvest-2020') && rows.some(isFailed) ? rows : null",
    )
    tagged = next(row for row in cells if row[4] == "harvest-2020")
    assert tagged[1:3] == ["value:compute", "200"]
    assert re.fullmatch(r"[\d.]+ (ms|s)", tagged[3])


def test_tasks_are_listed_and_hostile_errors_are_text(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    ee = initialize(server)
    ee.batch.Export.image.toDrive(ee.Image("USGS/SRTMGL1_003").select(HOSTILE), "x", scale=90).start()
    row = wait(
        browser,
        "const row = document.querySelector('#tasks-table tbody tr');"
        "return row?.textContent.includes('failed') ? row.textContent : null",
    )
    assert HOSTILE in row
    assert browser.title == "Local Earth Engine · eechips"


def test_an_asset_is_drawn_as_its_dataset_usually_is(page: Callable[..., Any], quad: np.ndarray) -> None:
    browser = page()
    choose(browser, QUADS)
    assert browser.find_element("id", "look-bands").get_property("value") == "R, G, B"
    zoom_to(browser, ZOOM)
    pixels = own_pixels(browser, quad.shape[1:])
    assert (pixels[..., 3] == 255).all()
    np.testing.assert_array_equal(np.moveaxis(pixels[..., :3], -1, 0), quad)
    browser.execute_script("const o = arguments[0]; o.value = 40; o.dispatchEvent(new Event('input'))",
                           browser.find_element("id", "opacity"))  # fmt: skip
    assert browser.execute_script("return document.querySelector('#map canvas.tiles').style.opacity") == "0.4"


@pytest.mark.parametrize("collection", ["COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT"])
def test_a_collection_whose_images_have_several_bands_is_drawn_when_it_is_chosen(
    page: Callable[..., Any], collection: str
) -> None:
    browser = page(390)  # each tile has thousands of images
    choose(browser, collection)  # of whose images some lack the usual bands
    assert not browser.find_element("id", "problem").is_displayed(), text(browser, "problem")
    assert wait_for_tiles(browser)[0] > 0


def test_drawn_tiles_are_those_that_the_client_gets(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    choose(browser, "USGS/SRTMGL1_003")
    column, row = corner(browser)
    x, y = -(-column // 256), -(-row // 256)  # the first tile that is whole
    look = {"min": 0, "max": 6000, "gamma": 1.6, "format": "png"}
    tiles = initialize(server).Image("USGS/SRTMGL1_003").getMapId(look)["tile_fetcher"]
    tile = Image.open(io.BytesIO(http.get(tiles.format_tile_url(x, y, zoom(browser)), timeout=60).content))
    drawn = drawn_pixels(browser, x * 256 - column, y * 256 - row, 256, 256)
    np.testing.assert_array_equal(drawn, np.asarray(tile.convert("RGBA")))
    assert len(np.unique(drawn[..., 0])) > 5


def test_the_address_has_the_asset_and_the_place(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    browser.get("about:blank")
    browser.get(f"{server.url}/#asset={QUAD}&at=-84.2,36.1,{ZOOM}")
    wait_for_tiles(browser)
    assert text(browser, "layer-note").startswith(QUAD)
    longitude, latitude, shown = browser.execute_script("return document.getElementById('map').dataset.view").split()
    assert (float(longitude), float(latitude), int(shown)) == (pytest.approx(-84.2), pytest.approx(36.1), ZOOM)
    browser.find_element("id", "nearer").click()
    wait(browser, f"return decodeURIComponent(location.hash).endsWith(',{ZOOM + 1}')")
    assert f"asset={QUAD}" in browser.execute_script("return decodeURIComponent(location.hash)")


def test_an_address_without_an_asset_says_so(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    browser.get("about:blank")
    browser.get(f"{server.url}/#asset=no/<b>such</b>")
    wait(browser, "return document.getElementById('problem')?.hidden === false")
    assert text(browser, "problem") == "There is no asset no/<b>such</b>."


def test_the_value_at_a_click_is_that_of_the_file(page: Callable[..., Any], quad: np.ndarray) -> None:
    browser = page()
    choose(browser, QUADS)
    zoom_to(browser, ZOOM)
    column, row = corner(browser)
    canvas = browser.find_element("css selector", "#map canvas.marks")
    x, y = CORNER[0] - column + 57, CORNER[1] - row + 91
    size = canvas.size
    offset = (x - size["width"] // 2, y - size["height"] // 2)
    mouse(browser).move_to_element_with_offset(canvas, *offset).click().perform()
    wait(browser, "return document.querySelector('#value dd')")
    shown = re.findall(r"[\d.]+", browser.find_element("css selector", "#value h3").text)
    latitude, longitude = float(shown[0]), -float(shown[1])
    world = 256 * 2**ZOOM
    picked = (
        int((longitude + 180) / 360 * world) - CORNER[0],
        int((0.5 - math.asinh(math.tan(math.radians(latitude))) / (2 * math.pi)) * world) - CORNER[1],
    )
    # The element may lie between two pixels of the screen.
    assert abs(picked[0] - 57) <= 1
    assert abs(picked[1] - 91) <= 1
    values = browser.execute_script(
        "return [...document.querySelectorAll('#value dd')].map((e) => Number(e.textContent))"
    )
    assert values == quad[:, picked[1], picked[0]].tolist()


def test_an_asset_without_a_record_is_stretched_to_its_values(page: Callable[..., Any], quad: np.ndarray) -> None:
    browser = page()
    unfold(browser, COLLECTION)
    choose(browser, HEIGHTS)
    assert text(browser, "layer-title") == HOSTILE
    low, high = (float(browser.find_element("id", f"look-{name}").get_property("value")) for name in ("min", "max"))
    values = quad[0].astype(np.float32) / 100 + 7
    assert (low, high) == pytest.approx(np.percentile(values, [2, 98]), abs=0.05)
    zoom_to(browser, ZOOM)
    grey = own_pixels(browser, quad.shape[1:])[..., 0].astype(float)
    expected = np.clip((values - low) / (high - low) * 255, 0, 255)
    assert np.abs(grey - expected).max() <= 1


def test_an_expression_is_drawn(page: Callable[..., Any], server: Server, quad: np.ndarray) -> None:
    browser = page()
    choose(browser, QUADS)  # where it is
    ee = initialize(server)
    inverted = ee.Image(255).subtract(ee.Image(QUAD)).visualize(bands=["R", "G", "B"], min=0, max=255)
    paste(browser, inverted.serialize())
    wait(browser, "return document.getElementById('layer-title').textContent === 'Expression'")
    zoom_to(browser, ZOOM)
    pixels = own_pixels(browser, quad.shape[1:])
    assert np.abs(np.moveaxis(pixels[..., :3], -1, 0).astype(int) - (255 - quad)).max() <= 1


def paste(browser: Any, expression: str) -> None:
    """Paste an expression, and draw it."""
    browser.execute_script("document.querySelector('.expression').open = true")
    browser.execute_script("document.getElementById('expression').value = arguments[0]", expression)
    browser.find_element("id", "draw-expression").click()


def test_values_that_are_no_picture_are_shown(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    paste(browser, initialize(server).Dictionary({"a": [1, 2], "b": HOSTILE}).serialize())
    shown = wait(browser, "return document.querySelector('#value pre')?.textContent")
    assert "onerror" in shown
    assert browser.execute_script("return document.querySelectorAll('#value img, #value script').length") == 0


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("ee.Image('a')", "This is no JSON"),
        ('{"a": 1}', "the fields 'result' and 'values'"),
        ('{"type": "CompoundValue", "scope": []}', "for_cloud_api=True"),
        ('{"result": "0", "values": {"0": {"valueReference": "9"}}}', "9"),
    ],
)
def test_errors_are_readable(page: Callable[..., Any], expression: str, message: str) -> None:
    browser = page()
    paste(browser, expression)
    wait(browser, "return !document.getElementById('problem').hidden")
    assert message in text(browser, "problem")
    assert "{" not in text(browser, "problem").replace(expression, "")


def test_hostile_names_and_messages_are_text(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    unfold(browser, COLLECTION)
    assert HOSTILE in [each.text for each in browser.find_elements("css selector", ".asset-title")]
    paste(browser, initialize(server).Image(HOSTILE).serialize())
    wait(browser, "return !document.getElementById('problem').hidden")
    assert "onerror" in text(browser, "problem")
    assert browser.execute_script("return document.querySelectorAll('main img, main script').length") == 0
    assert browser.title == "Local Earth Engine · eechips"


def test_the_policy_stops_foreign_scripts_and_html(page: Callable[..., Any]) -> None:
    browser = page()
    refused = browser.execute_script(
        "const s = document.createElement('script'); const found = [];"
        "try { s.textContent = 'document.title = 1'; document.body.append(s) } catch (e) { found.push(e.name) }"
        "try { document.body.innerHTML = '<p>1</p>' } catch (e) { found.push(e.name) }"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i); return found"
    )
    assert refused == ["TypeError", "TypeError"]
    messages = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "Content Security Policy" in messages
    assert browser.title == "Local Earth Engine · eechips"


def test_a_lost_server_is_reported(page: Callable[..., Any], browser: Any, server: Server) -> None:
    opened = page()
    opened.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    opened.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        wait(opened, "return document.getElementById('connection').textContent.includes('does not answer')")
    finally:
        opened.execute_cdp_cmd("Network.emulateNetworkConditions", {**offline, "offline": False})
    wait(opened, "return document.getElementById('connection').textContent.startsWith('at ')")


def test_failed_tiles_say_why(page: Callable[..., Any], server: Server) -> None:
    browser = page()
    fault = {"seed": 0, "faults": [{"type": "status", "status": 500, "on": "maps.tiles:get", "message": "out of ink"}]}
    http.post(f"{server.url}/_faults", json=fault, timeout=60).raise_for_status()
    try:
        browser.find_element("css selector", f"[data-asset='{QUADS}']").click()
        _, failed = wait_for_tiles(browser)
        assert failed > 0
        assert "out of ink" in text(browser, "problem")
    finally:
        http.post(f"{server.url}/_faults", json={"seed": 0, "faults": []}, timeout=60).raise_for_status()
    wait_until(lambda: server.stats()["in_flight"]["now"] == 0)
