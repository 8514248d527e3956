"""The explorer in JupyterLab itself: a server, a kernel and a browser."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import eechips
from local_tests.support.report_browser import needs_chromium, search, set_window, wait
from tests.reports.test_explorer_browser import MARKED, mark_selection, write_run

LAB = shutil.which("jupyter-lab")
pytestmark = [*needs_chromium, pytest.mark.skipif(LAB is None, reason="no JupyterLab")]
pytest.importorskip("anywidget", reason="no anywidget")
RUN_ALL = """
const done = arguments[0];
(async () => {
  await jupyterapp.started;
  const panel = await jupyterapp.commands.execute("docmanager:open", { path: "run.ipynb", factory: "Notebook" });
  await panel.context.ready;
  await panel.sessionContext.ready;
  await jupyterapp.commands.execute("notebook:run-all-cells");
  return "ran";
})().then(done, (error) => done(String(error)));
"""
FRAME = "iframe[title='chips of a run']"


@contextmanager
def lab(folder: Path) -> Iterator[str]:
    """Serve a folder by JupyterLab, whose kernel is this Python; yield its address."""
    kernel = folder / "jupyter" / "kernels" / "this"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    paths = os.pathsep.join(filter(None, sys.path))
    spec = {"argv": command, "display_name": "this", "language": "python", "env": {"PYTHONPATH": paths}}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    token = secrets.token_hex()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "HOME": str(folder / "home"),
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_TOKEN": token,
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    (folder / "home").mkdir()
    options = (
        "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.expose_app_in_browser=True",
    )  # fmt: skip
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen([str(LAB), *options], env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"{wait_for_address(folder / 'runtime', server)}/lab?token={token}"
    finally:
        server.terminate()
        server.wait(60)


def wait_for_address(runtime: Path, server: subprocess.Popen[bytes]) -> str:
    """Return the address that a server has written down, as soon as it answers there."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        assert server.poll() is None, "JupyterLab has ended"
        for file in runtime.glob("jpserver-*.json"):
            try:
                url = str(json.loads(file.read_text())["url"]).rstrip("/")
                with urllib.request.urlopen(f"{url}/api", timeout=5):
                    return url
            except (OSError, ValueError):  # it is being written, or does not listen yet
                pass
        time.sleep(0.05)
    raise AssertionError("JupyterLab does not answer")


def write_notebook(path: Path, source: str) -> None:
    cell = {"id": "cell", "cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
    spec = {"kernelspec": {"name": "this", "display_name": "this", "language": "python"}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": spec, "cells": [cell]}))


def test_jupyterlab_shows_the_explorer(tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    run = write_run(tmp_path / "run", 40)
    folder = tmp_path / "lab"
    folder.mkdir()
    write_notebook(folder / "run.ipynb", f"import eechips\neechips.open_run({str(run.path)!r}).explore()")
    with lab(folder) as url:
        set_window(browser, 1400, is_dark=False)
        browser.get(url)
        patient = WebDriverWait(browser, 90, 0.1)
        patient.until(lambda driver: driver.execute_script("return !!window.jupyterapp"))
        browser.set_script_timeout(90)
        assert browser.execute_async_script(RUN_ALL) == "ran"
        patient.until(lambda driver: driver.execute_script(f'return !!document.querySelector("{FRAME}")?.srcdoc'))
        browser.switch_to.frame(browser.find_element("css selector", FRAME))
        try:
            wait(browser, "return document.getElementById('map')?.dataset.view")
            assert browser.execute_script("return origin") == "null"
            assert search(browser, "slope:<1") == 4
            mark_selection(browser, "4 marked as bad")
            assert browser.execute_script(MARKED) == "4 marked as bad"
        finally:
            browser.switch_to.default_content()
            browser.get("about:blank")
    assert eechips.open_run(run.path).explore().marked == run.units["id"].tolist()[:4]
