"""The full-size view of a report, in a real browser: chips, frames, layers."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

import eechips
from eechips.datasets import find_dataset
from eechips.formats import geotiff
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from local_tests.support.report_browser import mouse, needs_chromium, search, wait
from tests.support import finished_run

pytestmark = needs_chromium

COVER = "ESA/WorldCover/v200"
BLANK = finished_run.png_of(np.zeros((3, 8, 8), dtype=np.uint8))
TIMES = ["2020-01-05T10:00:00Z", "2020-06-29T10:00:00Z", "2020-12-31T10:00:00Z"]


def is_open(browser: Any) -> bool:
    return bool(browser.execute_script("return document.getElementById('viewer').open"))


def open_chip(browser: Any, number: int) -> None:
    thumbnail = browser.find_element("css selector", f'.thumbnail[data-unit="{number}"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", thumbnail)
    thumbnail.click()
    assert is_open(browser)


def title(browser: Any) -> str:
    return str(browser.find_element("id", "viewer-title").text)


def stage(browser: Any) -> list[tuple[str, str]]:
    """Source and opacity of the pictures, from the lowest."""
    script = "return [...document.querySelectorAll('#stage img')].map((i) => [i.src, getComputedStyle(i).opacity])"
    return [tuple(each) for each in browser.execute_script(script)]


def test_keys_move_through_the_selection(page: Callable[..., Any], zones_run: eechips.Run) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = page()
    ids = [each[:16] for each in zones_run.units["id"]]
    search(browser, "zone:forest slope:<3")
    open_chip(browser, 4)
    assert ids[4] in title(browser)
    assert "forest" in title(browser)
    assert browser.find_element("id", "position").text == "3 of 6"
    mouse(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert ids[6] in title(browser)
    mouse(browser).send_keys(Keys.ARROW_LEFT).send_keys(Keys.ARROW_LEFT).send_keys(Keys.ARROW_LEFT).perform()
    assert ids[0] in title(browser)
    browser.find_element("id", "before").click()
    assert ids[10] in title(browser)  # around the end
    properties = browser.find_element("id", "properties").text
    assert "slope\n2.5" in properties
    mouse(browser).send_keys(Keys.ESCAPE).perform()
    assert not is_open(browser)
    assert ids[10] in browser.find_element("id", "chip").text
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [1400, 390])
def test_the_view_fits_the_window(page: Callable[..., Any], width: int) -> None:
    browser = page(width)
    open_chip(browser, 3)
    inner = browser.execute_script("const v = document.getElementById('viewer'); return [v.scrollWidth, v.clientWidth]")
    assert inner[0] <= inner[1] <= width
    browser.find_element("id", "close").click()
    assert not is_open(browser)


def test_pictures_in_the_folder_are_shown_in_full(page: Callable[..., Any], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 300, 300), dtype=np.uint8)
    units = [({"kind": "point", "coordinates": [7.0, 46.0]}, {"": ("png", finished_run.png_of(pixels))})]
    path = eechips.report(finished_run.write_run(tmp_path / "run", units))
    browser = page(path=path)
    open_chip(browser, 0)
    wait(browser, "return document.getElementById('resolution').textContent === 'File: 300 × 300 pixels'")
    browser = page(path=path.rename(tmp_path / "alone.html"))  # without the folder: the thumbnail
    open_chip(browser, 0)
    wait(browser, "return document.getElementById('resolution').textContent === 'Preview: 144 × 144 pixels'")


@pytest.fixture(scope="module")
def layered_run(tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Chips of three frames each, and a map of classes."""
    rng = np.random.default_rng(0)
    crs = rasterio.crs.CRS.from_epsg(32613)
    everything = np.ones((16, 16), dtype=np.bool_)

    def tif(values: Any, names: tuple[str, ...]) -> tuple[str, bytes]:
        return "tif", geotiff.encode(values, everything, names, crs, Affine(*finished_run.TRANSFORM))

    units = []
    for number in range(3):
        frames = {
            f"S2-t{k:02d}": tif(rng.integers(0, 3000, (3, 16, 16), dtype=np.uint16), ("B4", "B3", "B2"))
            for k in range(3)
        }
        cover = rng.choice(np.array([10, 40], dtype=np.uint8), (1, 16, 16))
        units.append(({"kind": "point", "site": f"site {number}"}, {**frames, "cover": tif(cover, ("Map",))}))
    folder = tmp_path_factory.mktemp("layered") / "run"
    run = finished_run.write_run(folder, units, datasets=[{"id": "COPERNICUS/S2_SR_HARMONIZED"}, {"id": COVER}])
    with contextlib.closing(sqlite3.connect(folder / LEDGER_NAME)) as database, database:
        for number, time in enumerate(TIMES):
            facts = {"series": "S2", "frame": number, "dates": [time], "clear_fraction": 0.5 + number / 4}
            sql = "UPDATE layers SET metadata = json_patch(metadata, ?) WHERE layer = ?"
            database.execute(sql, (json.dumps(facts), f"S2-t{number:02d}"))
    database.close()
    return run


def test_pictures_have_their_name_and_date(page: Callable[..., Any], tmp_path: Path) -> None:
    picture = {"": ("png", finished_run.png_of(np.zeros((3, 16, 16), dtype=np.uint8)))}
    days = {"north": "2020-06-05T10:00:00Z", "south": "2020-06-09T10:00:00Z"}
    units = [({"kind": "point", "site": site, "date": day}, picture) for site, day in days.items()]
    run = finished_run.write_run(tmp_path / "run", units)
    with contextlib.closing(sqlite3.connect(run.path / LEDGER_NAME)) as database, database:
        database.execute("UPDATE units SET dates = json_array(json_extract(unit, '$.date'))")
    database.close()
    browser = page(path=eechips.report(run))
    captions = [each.text for each in browser.find_elements("css selector", ".cell-name")]
    assert captions == ["north", "2020-06-05", "south", "2020-06-09"]


def test_frames_are_a_film_strip(page: Callable[..., Any], layered_run: eechips.Run) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = page(path=eechips.report(layered_run))
    assert browser.find_element("css selector", ".cell-name").text == "S2 2020-01-05"
    assert [each.text for each in browser.find_elements("css selector", ".unit-name")] == ["site 0", "site 1", "site 2"]
    open_chip(browser, 1)
    assert title(browser).startswith("site 1")
    buttons = browser.find_elements("css selector", "#strip button")
    times = [time[:16].replace("T", " ") for time in TIMES]
    assert [button.text.split("\n") for button in buttons] == [
        [times[0], "50% clear"],
        [times[1], "75% clear"],
        [times[2], "100% clear"],
    ]
    seen = [stage(browser)[0][0]]
    for _ in range(2):
        mouse(browser).send_keys(Keys.ARROW_DOWN).perform()
        seen.append(stage(browser)[0][0])
    assert len(set(seen)) == 3
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["false", "false", "true"]
    mouse(browser).send_keys(Keys.ARROW_RIGHT).perform()  # the next chip, the same frame
    pressed = browser.find_element("css selector", "#strip [aria-pressed=true]")
    assert pressed.get_attribute("data-frame") == "2"


def test_layers_have_names_legends_and_opacity(page: Callable[..., Any], layered_run: eechips.Run) -> None:
    browser = page(path=eechips.report(layered_run))
    open_chip(browser, 0)
    layers = browser.find_elements("css selector", "#layers > div")
    assert [layer.get_attribute("data-layer") for layer in layers] == ["S2", "cover"]
    assert "B4, B3, B2 as red, green and blue, 0 to 3,000" in layers[0].text
    record = find_dataset(COVER)
    assert record is not None
    for code in (10, 40):
        assert record.classes[code] in layers[1].text
    swatches = layers[1].find_elements("css selector", ".class-colour")
    colours = [swatch.value_of_css_property("background-color") for swatch in swatches]
    wanted = [tuple(bytes.fromhex(record.class_colours[code])) for code in (10, 40)]
    assert [tuple(map(int, colour.strip("rgba()").split(",")[:3])) for colour in colours] == wanted
    assert len(stage(browser)) == 1
    layers[1].find_element("css selector", "input[type=checkbox]").click()
    assert [opacity for _, opacity in stage(browser)] == ["1", "0.6"]
    slider = "const s = arguments[0]; s.value = 25; s.dispatchEvent(new Event('input'))"
    browser.execute_script(slider, layers[1].find_element("css selector", "input[type=range]"))
    assert [opacity for _, opacity in stage(browser)] == ["1", "0.25"]
    browser.find_element("id", "after").click()
    assert [opacity for _, opacity in stage(browser)] == ["1", "0.25"]  # the same for the next chip
    assert browser.get_log("browser") == []


def captions(browser: Any) -> list[list[str]]:
    """The texts below each picture of the sheet."""
    return [
        [name.text for name in picture.find_elements("css selector", ".cell-name")]
        for picture in browser.find_elements("css selector", "#groups .thumbnail")
    ]


def test_images_of_a_place_have_their_dates(page: Callable[..., Any], tmp_path: Path) -> None:
    days = ["2020-06-15", "2020-06-20"]
    units = [({"kind": "image", "image": day}, {"": ("png", BLANK)}) for day in days]
    run = finished_run.write_run(tmp_path / "run", units, recipe="images")
    with contextlib.closing(sqlite3.connect(run.path / LEDGER_NAME)) as ledger, ledger:
        ledger.executemany(
            "UPDATE units SET dates = ? WHERE position = ?", [(f'["{d}T18:03:00Z"]', n) for n, d in enumerate(days)]
        )
    browser = page(path=eechips.report(run))
    assert captions(browser) == [[day] for day in days]


def test_units_are_called_by_the_column_that_tells_them_apart(page: Callable[..., Any], tmp_path: Path) -> None:
    """The label of a class comes first among the usual names, and says nothing of a plot."""
    units = [
        ({"kind": "point", "properties": {"label": label, "plot": plot}}, {"": ("png", BLANK)})
        for label, plot in [("forest", "a7"), ("forest", "a8"), ("water", "a9"), ("water", "b1")]
    ]
    browser = page(path=eechips.report(finished_run.write_run(tmp_path / "run", units)))
    assert captions(browser) == [["a7"], ["a8"], ["a9"], ["b1"]]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("count", "shown", "hidden"), [(30, 30, []), (31, 24, ["Show 7 more"])])
def test_no_button_shows_a_few_pictures(
    page: Callable[..., Any], tmp_path: Path, count: int, shown: int, hidden: list[str]
) -> None:
    units = [({"kind": "point", "number": number}, {"": ("png", BLANK)}) for number in range(count)]
    browser = page(path=eechips.report(finished_run.write_run(tmp_path / "run", units)))
    assert len(captions(browser)) == shown
    assert [button.text for button in browser.find_elements("css selector", "#groups .group > button")] == hidden
