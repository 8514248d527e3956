"""Archives whose files need tokens: renewed when they expire, sent with requests of files only, and kept nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.windows import from_bounds

import eechips
from local_tests.archives.archive_host import SECRET, ArchiveHost, archive_host
from local_tests.archives.real_items import RealItems
from tests.support.programs import run_program

pytestmark = pytest.mark.slow

PRAIRIE = "-99.182,47.006,-99.127,47.034"
_LIFE = 3.0  # seconds
_HALTED = 4  # request of a file at which a token expires, of eight without one that does
_PROCESSES = 5  # of the local Earth Engine that have tokens: four workers and the server


@dataclass(frozen=True, slots=True)
class SignedArchive:
    """A served archive whose files need tokens, its items, the file that describes it, and the folder of caches."""

    host: ArchiveHost
    items: RealItems
    toml: Path
    caches: Path

    def sample(self, out: Path) -> subprocess.CompletedProcess[str]:
        words = [
            sys.executable, "-m", "eechips", "sample", "--dataset", "NAIP", "--total", "12", f"--roi={PRAIRIE}",
            "--start", "2009-01-01", "--end", "2021-01-01", "--size", "48", "--format", "tif", "--seed", "4",
            "--executor", "processes:1", "--archive", str(self.toml), "--out", str(out),
        ]  # fmt: skip
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.caches)}
        return run_program(*words, env=environment, timeout=200)


@pytest.fixture
def signed(real_data: Path, tmp_path: Path) -> Iterator[SignedArchive]:
    with archive_host(real_data, tmp_path / "files", "planetary-computer", collections=("naip",), is_signed=True) as (
        host,
        items,
    ):
        toml = host.description(tmp_path / "signed.toml", "planetary-computer")
        yield SignedArchive(host, items, toml, tmp_path / "cache")


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what the files of a folder hold, by their names; tables as their rows."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            yield path.name, str(pq.read_table(path).to_pylist())


def assert_no_token(signed: SignedArchive, ended: subprocess.CompletedProcess[str], out: Path) -> set[str]:
    """Look for tokens in all that a run has left, and return the names of its files."""
    assert SECRET not in ended.stdout + ended.stderr
    found = dict(texts(out))
    assert [name for name, text in (*texts(out), *texts(signed.caches)) if SECRET in text or "sig=" in text] == []
    return set(found)


@pytest.mark.exhaustive
def test_a_token_that_expires_in_the_middle_of_a_run_is_renewed(signed: SignedArchive, tmp_path: Path) -> None:
    signed.host.token_seconds, signed.host.halted = _LIFE, _HALTED
    ended = signed.sample(tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    assert signed.host.requests["expired"] >= 1
    seconds = signed.host.times[-1][0] - signed.host.times[0][0]
    lives = 1 + seconds / (0.9 * _LIFE)  # a token is renewed when nine tenths of its life are over
    assert 2 <= signed.host.requests["token"] <= _PROCESSES * lives + signed.host.requests["expired"]
    assert signed.host.requests["file"] > _HALTED
    table = pd.read_parquet(tmp_path / "run" / "manifest.parquet")
    assert set(table["state"]) == {"done"}
    assert len(table) == 12
    for file, (image,) in zip(table["file"], table["sources"], strict=True):
        (item,) = (each for each in signed.items.items if each["id"].endswith(image.rpartition("/")[2]))
        with (
            rasterio.open(tmp_path / "run" / file) as chip,
            rasterio.open(signed.items.file(item["id"], "image")) as source,
        ):
            expected = source.read(window=from_bounds(*chip.bounds, source.transform))
            valid = chip.read_masks() > 0
            assert valid.any()
            assert np.array_equal(chip.read()[valid], expected[: chip.count][valid])


@pytest.mark.exhaustive
def test_no_token_is_left_anywhere(signed: SignedArchive, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = signed.sample(out)
    assert ended.returncode == 0, ended.stderr
    eechips.report(out)
    eechips.card(out)
    names = assert_no_token(signed, ended, out)
    assert {"run.json", "run.log", "manifest.parquet", "sources.parquet", "report.html", "README.md"} <= names
    hrefs = pd.read_parquet(out / "sources.parquet")["href"]
    assert all(href.startswith(f"{signed.host.url}/files/") and "?" not in href for href in hrefs)
    assert signed.host.requests["token"] >= 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", ["missing", "forbidden"])
def test_errors_of_files_do_not_show_their_tokens(signed: SignedArchive, tmp_path: Path, fault: str) -> None:
    if fault == "missing":
        for item in signed.items.items:
            signed.items.file(item["id"], "image").unlink()
    else:
        signed.host.token_seconds = -1.0
    out = tmp_path / "run"
    ended = signed.sample(out)
    assert ended.returncode != 0
    assert signed.host.url.removeprefix("http://") in ended.stdout + ended.stderr + json.dumps(dict(texts(out)))
    assert signed.host.requests["token"] >= 1
    assert_no_token(signed, ended, out)
