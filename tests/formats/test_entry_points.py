"""A package of somebody else adds a chip format in one file: WebP, made of the PNGs that Earth Engine sends."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eechips.formats.raster import decoding
from local_tests.support.local_earth_engine import Server
from tests.support.programs import EECHIPS, run_program

MODULE = '''
"""WebP pictures, compressed without loss."""

import numpy as np

from eechips.formats import ChipFormat, EncodedFile, FileMetadata
from eechips.formats.png import decode, merge
from eechips.formats.png import validate as validate_png
from eechips.formats.raster import decoding, encode_picture


def encode(colours, alpha, expectation):
    bands = colours if alpha is None else [*colours, alpha]
    data = encode_picture(np.stack(list(bands)), "WEBP", has_alpha=alpha is not None, LOSSLESS=True, EXACT=True)
    return EncodedFile(data, "webp", validate(data, expectation))


def receive(data, expectation):
    validate_png(data, expectation)
    return encode(*decode(data), expectation)


def assemble(parts, expectation):
    return encode(*merge(parts), expectation)


def validate(data, expectation):
    with decoding(data, "WEBP") as source:
        source.read()
        width, height, mask = source.width, source.height, source.dataset_mask()
    expectation.check_size(width, height)
    valid = float((mask != 0).mean())
    return FileMetadata(width=width, height=height, bands=("red", "green", "blue"), dtype="uint8", valid_fraction=valid)


WEBP = ChipFormat(
    name="webp",
    suffixes=("webp",),
    magic=(b"RIFF",),
    media_type="image/webp",
    is_picture=True,
    has_mask=True,
    request_format="png",
    part_format="png",
    gdal_driver="WEBP",
    receive=receive,
    assemble=assemble,
    validate=validate,
)
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installed package: one module, and its entry point."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "webp_chips.py").write_text(MODULE)
    info = folder / "webp_chips-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: webp-chips\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[eechips.formats]\nwebp = webp_chips:WEBP\n")
    return folder


def eechips(package: Path, server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    return run_program(
        *EECHIPS,
        *arguments,
        env={**os.environ, "PYTHONPATH": paths, "EECHIPS_ENDPOINT": server.url, "EECHIPS_PROJECT": "local"},
    )


def sample(package: Path, server: Server, out: Path, format: str) -> pd.DataFrame:
    options = (
        "--dataset",
        "NAIP",
        "--total",
        "3",
        "--roi=-105,39.5,-104.5,40",
        "--size",
        "48",
        "--executor",
        "processes:2",
    )
    done = eechips(package, server, "sample", *options, "--format", format, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(out / "manifest.parquet")


def read(path: Path) -> np.ndarray:
    with decoding(path.read_bytes(), "WEBP" if path.suffix == ".webp" else "PNG") as source:
        return source.read()[:3]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_package_adds_a_format_in_one_file(package: Path, demo_server: Server, tmp_path: Path) -> None:
    found = sample(package, demo_server, tmp_path / "webp", "webp")
    expected = sample(package, demo_server, tmp_path / "png", "png").set_index("unit")
    assert list(found["state"]) == ["done"] * 3
    for row in found.itertuples():
        path = tmp_path / "webp" / row.file
        assert path.suffix == ".webp"
        assert path.read_bytes()[8:12] == b"WEBP"
        np.testing.assert_array_equal(read(path), read(tmp_path / "png" / expected.loc[row.unit, "file"]))
    verified = eechips(package, demo_server, "verify", str(tmp_path / "webp"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    previewed = eechips(package, demo_server, "preview", str(tmp_path / "webp"))
    assert previewed.returncode == 0, previewed.stdout + previewed.stderr


@pytest.mark.slow
def test_without_the_package_the_format_is_unknown(demo_server: Server, tmp_path: Path) -> None:
    done = eechips(tmp_path, demo_server, "sample", "--dataset", "NAIP", "--total", "1", "--format", "webp")
    assert done.returncode == 2
    assert "unknown format 'webp': one of png, jpg, tif, npy" in done.stderr
