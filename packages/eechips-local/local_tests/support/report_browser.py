"""Reports in headless Chromium: opening a page, waiting for its state, pointing at its map."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

needs_chromium = [
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


@contextmanager
def started(profile: Path) -> Iterator[Any]:
    """A browser with a profile of its own; downloads go to the profile's folder ``downloads``."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(profile / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.downloads = profile / "downloads"
    driver.get("about:blank")  # leaves the browser's own first page, whose parts may be asked for late
    try:
        yield driver
    finally:
        driver.quit()


def set_window(browser: Any, width: int, *, is_dark: bool) -> None:
    """Set the size and the colour scheme of a window, and forget what was logged."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get_log("performance")
    browser.get_log("browser")


def open_page(browser: Any, path: Path, width: int = 1400, *, is_dark: bool = False) -> Any:
    """Open a report in a window of a size, light or dark, and wait until its selection is shown."""
    set_window(browser, width, is_dark=is_dark)
    browser.get(path.as_uri())
    wait(browser, "return document.getElementById('selection')?.dataset.count")
    wait(browser, "const m = document.getElementById('map'); return m === null || m.dataset.view")
    return browser


def wait(browser: Any, script: str) -> Any:
    """Return the result of a script as soon as there is one."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 100, 0.02).until(lambda driver: driver.execute_script(script))


def search(browser: Any, query: str) -> int:
    """Type a query into the search box, and return the number of units that it selects."""
    script = "const q = document.getElementById('query'); q.value = arguments[0]; q.dispatchEvent(new Event('input'))"
    browser.execute_script(f"document.getElementById('selection').dataset.count = ''; {script}", query)
    return int(wait(browser, "return document.getElementById('selection').dataset.count"))


def query(browser: Any) -> str:
    """Return the query in the search box."""
    return str(browser.execute_script("return document.getElementById('query').value"))


def view(browser: Any) -> tuple[float, ...]:
    """Longitude and latitude in the middle of the map, and its scale."""
    return tuple(map(float, browser.execute_script("return document.getElementById('map').dataset.view").split()))


def moved(browser: Any, before: tuple[float, ...]) -> tuple[float, ...]:
    """Wait until the map shows another view, and return it."""
    text = json.dumps(f"{before[0]:.6f} {before[1]:.6f} {before[2]:.3f}")
    wait(browser, f"return document.getElementById('map').dataset.view !== {text}")
    return view(browser)


def place(browser: Any, longitude: float, latitude: float, *, middle: float = 46.5) -> tuple[float, float]:
    """Pixels from the middle of the map; ``middle`` is the latitude in the middle of all units."""
    x, y, scale = view(browser)
    squeeze = np.cos(np.radians(middle))
    return (longitude - x) * squeeze * scale, (y - latitude) * scale


def mouse(browser: Any) -> Any:
    from selenium.webdriver.common.action_chains import ActionChains

    return ActionChains(browser, duration=30)


def canvas(browser: Any) -> Any:
    """The canvas that receives pointer events."""
    return browser.find_elements("css selector", "#map canvas")[1]


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for, without those of the browser's own first page."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    own = ("chrome://", "chrome-untrusted://")
    return [each["request"]["url"] for each in sent if not each["documentURL"].startswith(own)]
