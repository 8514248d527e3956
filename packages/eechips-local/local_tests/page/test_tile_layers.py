"""Tiles of ``image.getMapId()`` in maps of other pages, as geemap and folium show them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from local_tests.page.conftest import CORNER, QUAD, ZOOM
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.loopback import QuietServer, serving
from local_tests.support.report_browser import needs_chromium, set_window, wait

pytestmark = needs_chromium

TILE = (CORNER[0] // 256, CORNER[1] // 256)

PICTURE = '<!doctype html><title>tiles</title><img id="tile" src="{tile}">'

LEAFLET = """<!doctype html><title>tiles</title><link rel="stylesheet" href="/leaflet.css">
<div id="map" style="width: 700px; height: 500px"></div><script src="/leaflet.js"></script><script>
const map = L.map("map", {{zoomAnimation: false, fadeAnimation: false}});
const layer = L.tileLayer("{url}", {{attribution: "eechips"}});
layer.on("load", () => (document.title = "drawn")).on("tileerror", () => (document.title = "failed"));
map.setView(map.unproject([{x}, {y}], {zoom}), {zoom}); layer.addTo(map);
</script>"""


@contextmanager
def serving_page(files: dict[str, bytes]) -> Iterator[str]:
    """Serve files on another port of loopback: another origin than the local Earth Engine's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            kind = {"css": "text/css", "js": "text/javascript"}.get(self.path.rpartition(".")[2], "text/html")
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as server, serving(server) as url:
        yield url


def find_leaflet() -> Path:
    """The folder of Leaflet's files, of whichever installed package has them."""
    for package in metadata.distributions():
        for file in package.files or ():
            if file.name == "leaflet.js":
                return Path(str(package.locate_file(file))).parent
    pytest.skip("no installed package has Leaflet")


def url_of_tiles(server: Server) -> str:
    look = {"bands": ["R", "G", "B"], "min": 0, "max": 255, "format": "png"}
    return str(initialize(server).Image(QUAD).getMapId(look)["tile_fetcher"].url_format)


@pytest.mark.exhaustive
def test_a_page_of_another_origin_shows_a_tile_and_cannot_read_it(browser: Any, server: Server) -> None:
    tile = url_of_tiles(server).format(z=ZOOM, x=TILE[0], y=TILE[1])
    with serving_page({"/": PICTURE.format(tile=tile).encode()}) as address:
        set_window(browser, 800, is_dark=False)
        browser.get(address)
        assert wait(browser, "return document.getElementById('tile').naturalWidth") == 256
        reads = "const [url, done] = arguments; fetch(url).then(() => done('read'), () => done('refused'))"
        for path in ("/_activity", "/_stats", "/"):
            assert browser.execute_async_script(reads, f"{server.url}{path}") == "refused"
        taints = (
            "const c = document.createElement('canvas').getContext('2d'); c.drawImage(document.images[0], 0, 0);"
            "try { c.getImageData(0, 0, 1, 1); return 'read' } catch (e) { return e.name }"
        )
        assert browser.execute_script(taints) == "SecurityError"


def screenshot(browser: Any, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Pixels of the page, (height, width, 3)."""
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as picture:
        return np.asarray(picture.convert("RGB").crop((left, top, left + width, top + height)))


@pytest.mark.exhaustive
def test_leaflet_draws_tiles(browser: Any, server: Server, quad: np.ndarray) -> None:
    folder = find_leaflet()
    files = {f"/{name}": (folder / name).read_bytes() for name in ("leaflet.js", "leaflet.css")}
    x, y = CORNER[0] + 100, CORNER[1] + 75  # the middle of the quad
    page = LEAFLET.format(url=url_of_tiles(server), x=x, y=y, zoom=ZOOM)
    with serving_page({"/": page.encode(), **files}) as address:
        set_window(browser, 800, is_dark=False)
        browser.get(address)
        wait(browser, "return document.title !== 'tiles'")
        assert browser.title == "drawn"
        box = browser.find_element("id", "map").rect
        drawn = screenshot(browser, int(box["x"]) + 350 - 100, int(box["y"]) + 250 - 75, 200, 150)
    np.testing.assert_array_equal(np.moveaxis(drawn, -1, 0), quad)
