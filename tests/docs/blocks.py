"""Read the blocks of the documentation's pages, and prepare folders in which their commands run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
import yaml
from affine import Affine

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```", flags=re.M | re.S)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: its first word, such as ``sh``.
        title: title of a block with ``title="NAME"``: the name of the file that it shows.
        text: what stands in it, without indentation.
    """

    language: str
    title: str | None
    text: str

    @property
    def is_run(self) -> bool:
        """Return whether the tests execute the block: shell and Python that is no file."""
        return self.title is None and self.language in ("sh", "python")


def list_pages() -> list[Path]:
    """Return the README and the pages of the site, without those that are excluded from it."""
    config = re.search(r"exclude_docs: \|\n((?:  .*\n)+)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    excluded = {line.strip().lstrip("/") for line in config[1].splitlines()} if config else set()
    pages = sorted(path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).as_posix() not in excluded)
    return [ROOT / "README.md", *pages]


def name_page(page: Path) -> str:
    """Return the path of a page below the project's folder."""
    return page.relative_to(ROOT).as_posix()


def read_blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    return [_read_block(match) for match in _BLOCK.finditer(text)]


def strip_blocks(text: str) -> str:
    """Return a page without its fenced blocks."""
    return _BLOCK.sub("", text)


def read_front_matter(text: str) -> dict[str, Any]:
    """Return the values at the head of a page, between two lines of ``---``."""
    match = re.match(r"---\n(.*?)\n---\n", text, flags=re.S)
    return dict(yaml.safe_load(match[1])) if match else {}


def list_commands(block: Block) -> Iterator[str]:
    """Yield the command lines of a shell or console block; lines that end with a backslash are joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    yield from (line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def prepare_folder(folder: Path) -> None:
    """Put into a folder what pages take for granted: the recipes, and a reader's raster and zones."""
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    values = np.random.default_rng(0).integers(1, 255, (4, 1300, 1300), dtype="uint8")
    profile = {"driver": "GTiff", "width": 1300, "height": 1300, "count": 4, "dtype": "uint8", "crs": "EPSG:26913"}
    # 13 km around 40 N, 105.05 W.
    grid = Affine(10, 0, 489_000, 0, -10, 4_431_000)
    with rasterio.open(folder / "my_quad.tif", "w", transform=grid, **profile) as file:
        file.write(values)
    boxes = {"west": shapely.box(-105.1, 39.9, -105.05, 40.0), "east": shapely.box(-105.05, 39.9, -105.0, 40.0)}
    write_features(folder / "my_zones.geojson", "zone", boxes)


def write_features(path: Path, field: str, shapes: dict[str, Any]) -> None:
    """Write polygons with a field as GeoJSON."""
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": {field: name}}
        for name, shape in shapes.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


def run_block(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Execute a block in a folder, and require that it succeeds."""
    words = ["bash", "-euo", "pipefail", "-c", block.text] if block.language == "sh" else [sys.executable, "-c", ""]
    if block.language == "python":
        (folder / "block.py").write_text(block.text, encoding="utf-8")
        words = [sys.executable, "block.py"]
    done = subprocess.run(
        words, cwd=folder, env=make_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def make_environment() -> dict[str, str]:
    """Return this environment, with the scripts of this Python first on the path."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "packages" / "eechips-local"))),
    }


def write_file(block: Block, folder: Path) -> None:
    """Write the file that a block with a title shows."""
    path = folder / str(block.title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def _read_block(match: re.Match[str]) -> Block:
    info = match["info"].strip()
    title = _TITLE.search(info)
    language = re.match(r"[\w.+-]*", info)
    return Block(language[0] if language else "", title[1] if title else None, textwrap.dedent(match["text"]))
