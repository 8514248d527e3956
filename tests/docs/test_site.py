"""The documentation site, built strictly and without network."""

from __future__ import annotations

import html
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.text.toml_text import parse_toml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NO_MKDOCS_2_WARNING": "1",
            "http_proxy": "http://127.0.0.1:1",  # nothing listens there
            "https_proxy": "http://127.0.0.1:1",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_build_has_no_broken_links_or_missing_pages(site: Path) -> None:
    assert "eechips" in (site / "index.html").read_text(encoding="utf-8")


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis.com" not in page
    assert 'src="http' not in page


def test_llms_txt_lists_every_page(site: Path) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    assert {page for page in pages if f"({page})" not in text} == set()
    assert "- [Changelog](changelog.html)" in text


def test_signatures_of_python_functions_show_their_options(site: Path) -> None:
    page = re.sub(r"<[^>]+>", "", (site / "reference" / "python.html").read_text(encoding="utf-8"))
    for text in ("per_ecoregion: int | str | None = None", "least_valid: float = 0.5", "shard_count: int = 1000"):
        assert text in page
    # Those of any function in plan, of a command in the fixture's ingest, of explore in the method of a run.
    assert page.count("**options: Any") == 3


def test_pages_say_below_their_titles_which_extras_they_need(site: Path) -> None:
    text = (site / "how-to" / "timeseries.html").read_text(encoding="utf-8")
    assert "pip install 'eechips[local,report,series]'" in html.unescape(text)
    assert "The examples need" not in (site / "reference" / "errors.html").read_text(encoding="utf-8")


def test_extras_are_found_in_blocks_and_declared_by_the_package() -> None:
    hooks = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
    page = "# A\n\nAs `eechips plot` does.\n\n```sh\neechips sample --local \\\n    --out s3://bucket/a\n```\n"
    assert hooks["find_extras"](page) == ["local", "s3"]
    assert hooks["with_extras"](page).splitlines()[2].endswith("`pip install 'eechips[local,s3]'`*")
    assert hooks["with_extras"]("# A\n\nText.\n") == "# A\n\nText.\n"
    declared = parse_toml((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(hooks["EXTRAS"]) <= set(declared)
