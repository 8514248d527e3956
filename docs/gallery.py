"""Make the pictures of the gallery on the demo planet.

python docs/gallery.py [NAME…]

Without names, all pictures are made. The commands are those of gallery.md. Data of the demo planet end today, unless
EECHIPS_DEMO_UNTIL is set; this script sets it, so that the pictures are the same on every day. It needs Chromium.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

DOCS = Path(__file__).resolve().parent
WIDTH = 1336  # pixels of a picture


def main(names: list[str]) -> None:
    """Run the commands of the gallery in a temporary folder, and write the pictures."""
    makers = {
        "chips": make_chips,
        "months": make_months,
        "mosaic": make_mosaic,
        "series": make_series,
        "report": make_report,
        "page": make_page,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in names or makers:
            makers[name](Path(folder))


def read_commands(*words: str) -> list[str]:
    """Return the commands of gallery.md that contain one of the words."""
    text = (DOCS / "gallery.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^\$ (.*)$", text, flags=re.M)
    return [line for line in lines if any(word in line for word in words)]


def run_commands(folder: Path, *words: str) -> None:
    """Run the commands of gallery.md that contain one of the words."""
    for line in read_commands(*words):
        subprocess.run(
            shlex.split(line), cwd=folder, check=True, env={**os.environ, "EECHIPS_DEMO_UNTIL": "2025-01-01"}
        )


def make_chips(folder: Path) -> None:
    """Make the contact sheet of chips."""
    run_commands(folder, "sample --dataset NAIP", "preview outputs/sample-naip")
    save(Image.open(folder / "outputs" / "sample-naip" / "preview.png"), "chips.jpg")


def make_months(folder: Path) -> None:
    """Make the picture of composites of eight months."""
    run_commands(folder, "composites", "preview outputs/months")
    save(Image.open(folder / "outputs" / "months" / "preview.png"), "months.jpg")


def make_mosaic(folder: Path) -> None:
    """Make the picture of the mosaic."""
    run_commands(folder, "eechips mosaic")
    with rasterio.open(folder / "outputs" / "mosaic" / "mosaic.tif") as file:
        pixels = file.read([1, 2, 3])
    save(Image.fromarray(np.moveaxis(pixels, 0, -1)), "mosaic.jpg")


def make_series(folder: Path) -> None:
    """Make the plot of the series."""
    run_commands(folder, "timeseries", "plot")
    plot = folder / "outputs" / "timeseries-modis-061-mod11a2" / "plot.png"
    (DOCS / "images" / "series.png").write_bytes(plot.read_bytes())


def make_report(folder: Path) -> None:
    """Make the picture of the report."""
    run_commands(folder, "sample --dataset NAIP", "eechips report")
    page, picture = folder / "outputs" / "sample-naip" / "report.html", folder / "report.png"
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1336,1330",
            f"--screenshot={picture}", page.as_uri(),
        ],
        check=True,
    )  # fmt: skip
    save(Image.open(picture), "report.jpg")


def make_page(folder: Path) -> None:
    """Make the picture of the local Earth Engine's page, during a run."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1336,1250"):
        options.add_argument(flag)
    env = {**os.environ, "EECHIPS_DEMO_UNTIL": "2025-01-01"}
    (serve,) = read_commands("eechips serve")
    with (
        subprocess.Popen([*shlex.split(serve), "--port", "0"], env=env, stdout=subprocess.PIPE, text=True) as server,
        webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser,
    ):
        url = re.findall(r"http://[\d.:]+", server.stdout.readline())[0]
        browser.get(f"{url}/#asset=COPERNICUS/S2_SR_HARMONIZED&at=-104.98,40.03,11")
        wait = WebDriverWait(browser, 600)
        drawn = (
            "const [a, b, all] = document.getElementById('map').dataset.tiles?.split(' ') ?? []; return a && a === all"
        )
        wait.until(lambda driver: driver.execute_script(drawn))
        browser.execute_script(
            "const set = (name, day) => (document.getElementById(`look-${name}`).value = day);"
            "set('from', '2024-06-15'); set('until', '2024-07-15'); document.getElementById('look').requestSubmit()"
        )
        wait.until(
            lambda driver: driver.execute_script(
                f"return !document.body.classList.contains('is-busy') && (() => {{{drawn}}})()"
            )
        )
        run = "eechips sample --dataset NAIP --per-ecoregion 120 --out outputs/watched --project local --endpoint"
        with subprocess.Popen([*shlex.split(run), url], cwd=folder, env=env) as running:
            wait.until(lambda driver: int(driver.find_element("id", "slots").text) > 15)
            browser.execute_async_script("setTimeout(arguments[0], 2500)")
            browser.save_screenshot(str(folder / "page.png"))
            running.terminate()
        server.terminate()
    save(Image.open(folder / "page.png"), "page.jpg")


def save(image: Image.Image, name: str) -> None:
    """Write a picture at the width of the gallery, as JPEG."""
    size = (WIDTH, round(image.height * WIDTH / image.width))
    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(DOCS / "images" / name, quality=85)


if __name__ == "__main__":
    main(sys.argv[1:])
