"""Run files of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REGION = "roi = [-105.1, 40.0, -104.9, 40.2]"
SAMPLE = f'[sample]\ndataset = "NAIP"\ntotal = 1\n{REGION}\n'


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path) -> dict[str, Any]:
    from eechips.text.toml_text import parse_toml

    return parse_toml(path.read_text(encoding="utf-8"))
