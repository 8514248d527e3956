"""Small files that claim or unpack to more than memory holds are refused before decoding."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.errors import EechipsError, StorageError, ValidationError
from eechips.formats import inspect, validate
from eechips.manifest.pictures.chip_pictures import render_chip
from eechips.storage.untrusted_files import parse_json, read_frame, read_parquet
from eechips.training.quality.chip_pixels import decode
from tests.support import oversized_files

CONTENTS = {"png": oversized_files.png, "tif": oversized_files.tiff, "npy": oversized_files.npy}


@pytest.mark.parametrize("suffix", CONTENTS)
def test_a_picture_that_would_fill_the_memory_is_refused(suffix: str, tmp_path: Path) -> None:
    data = CONTENTS[suffix]()
    assert len(data) < 200_000
    for read in (validate, inspect):
        with pytest.raises(ValidationError):
            read(data, suffix)
    with pytest.raises(EechipsError):
        decode(data, suffix)
    (tmp_path / f"x.{suffix}").write_bytes(data)
    if suffix != "tif":  # of which blocks are read
        with pytest.raises((OSError, ValueError)):
            render_chip(tmp_path / f"x.{suffix}", 64)


def test_an_archive_that_claims_gigabytes_is_refused() -> None:
    with pytest.raises(ValidationError, match="claims to hold"):
        inspect(oversized_files.zipped(), "zip")


@pytest.mark.slow
def test_a_table_of_a_billion_rows_is_refused(tmp_path: Path) -> None:
    data = oversized_files.parquet(9 << 24)
    assert len(data) < 2_000_000
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(StorageError, match="claims to have"):
        read_parquet(tmp_path / "x.parquet")
    with pytest.raises(StorageError, match="claims to have"):
        read_frame(data, "parquet", name="x.parquet")
    with pytest.raises(ValidationError):
        validate(data, "parquet")


def test_json_that_is_nested_too_deep_is_refused() -> None:
    for depth in (65, 500, 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json("[" * depth + "]" * depth)
    assert parse_json("[" * 60 + "]" * 60)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
def test_refusing_takes_no_memory(tmp_path: Path) -> None:
    """In a process that may have 1.5 GiB of addresses, most of which are libraries."""
    (tmp_path / "x.png").write_bytes(oversized_files.png())
    program = (
        "import resource, sys; from pathlib import Path; from eechips.formats import validate\n"
        "from eechips.errors import ValidationError\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))\n"
        "try: validate(Path(sys.argv[1]).read_bytes(), 'png')\n"
        "except ValidationError: sys.exit(7)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.png")], check=False)
    assert ended.returncode == 7
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 1 << 30
