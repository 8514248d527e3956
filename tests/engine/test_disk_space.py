"""Runs whose results do not fit on the disk are refused before they fetch; errors name a full disk."""

from __future__ import annotations

import errno
import json
import shlex
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import eechips
from eechips.builtin_recipes.rasters.images import Images
from eechips.cli.group import describe_fault
from eechips.cli.recipe_execution import _estimated
from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import Estimate
from eechips.engine.run_log import LOG_NAME, RunLog
from eechips.errors import StorageError
from eechips.geo.grid import Grid
from eechips.manifest.sqlite.database import connect
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.recipe import Chip
from eechips.storage.paths import make_folder
from local_tests.support.local_earth_engine import Server, initialize
from tests.support.programs import EECHIPS, largest_file, run_program

ROI = "-105.101,39.9,-105.1,39.901"
VERBS: dict[str, dict[str, Any]] = {
    "images": {"dataset": "S2", "roi": ROI, "bands": "B4", "start": "2020-06-01", "end": "2020-06-20"},
    "composites": {"dataset": "S2", "roi": ROI, "bands": "B4", "start": "2020-06-01", "end": "2020-08-01"},
    "sample": {"dataset": ["NAIP", "DEM"], "roi": ROI, "total": 3, "size": 64, "format": "tif"},
}


def fetch(verb: str, server: Server, out: Path, **options: Any) -> Any:
    usual = {"endpoint": server.url, "executor": "threads", "rate": None, "quiet": True}
    return getattr(eechips, verb)(out=out, **{**VERBS[verb], **usual, **options})


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Bytes that are free on every disk."""
    usage, found = shutil.disk_usage(tmp_path), [10]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=found[0]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_does_not_fit_on_the_disk_is_refused_with_the_figures(
    demo_server: Server, tmp_path: Path, free: list[int], verb: str
) -> None:
    before = demo_server.requests().get("image:computePixels", 0)
    refusal = r"has 10 bytes free, and this takes about \d.* (kB|bytes): choose another"
    with pytest.raises(StorageError, match=refusal) as first:
        fetch(verb, demo_server, tmp_path / "out")
    with pytest.raises(StorageError, match=refusal) as again:  # the plan is there, and no image is surveyed
        fetch(verb, demo_server, tmp_path / "out")
    assert str(again.value) == str(first.value)
    assert demo_server.requests().get("image:computePixels", 0) == before
    free[0] = 10**9
    assert fetch(verb, demo_server, tmp_path / "out").is_complete  # the plan is kept
    free[0] = 0
    assert fetch(verb, demo_server, tmp_path / "out").is_complete  # nothing is left to fetch


@pytest.mark.slow
def test_maps_of_classes_are_expected_to_be_small(demo_server: Server, tmp_path: Path, free: list[int]) -> None:
    free[0] = 3 * 64 * 64 // 2  # half of the pixels' bytes
    run = fetch("sample", demo_server, tmp_path / "out", dataset="WORLDCOVER")
    assert run.is_complete
    assert run.status().bytes < free[0]


@pytest.mark.slow
def test_the_remaining_size_is_estimated_from_fetched_units(
    demo_server: Server, tmp_path: Path, free: list[int]
) -> None:
    options = {"dataset": "NAIP", "total": 40, "size": 8}
    run = fetch("sample", demo_server, tmp_path / "out", estimate=4, **options)  # which asks for itself
    assert run.paused
    each = run.status().bytes / 4
    free[0] = round(each * 36) - 10
    with pytest.raises(StorageError, match="and this takes about"):
        fetch("sample", demo_server, tmp_path / "out", **options)
    free[0] = round(each * 36) + 10
    assert fetch("sample", demo_server, tmp_path / "out", **options).is_complete


@pytest.mark.slow
@pytest.mark.usefixtures("free")
def test_object_stores_have_no_free_space_check(demo_server: Server, tmp_path: Path) -> None:
    where = {"out": "memory://small-disk/sample", "ledger": tmp_path / "ledger"}
    run = eechips.sample(
        **VERBS["sample"], **where, endpoint=demo_server.url, executor="threads", rate=None, quiet=True
    )
    assert run.is_complete


@pytest.mark.slow
def test_an_estimate_counts_the_pixels_of_all_units(demo_server: Server, tmp_path: Path) -> None:
    """Windows of images differ, and what is too large for a request is asked for in several."""
    wide = {"roi": "-105.6,39.6,-104.9,40.1", "end": "2020-06-04", "bands": "B4,B3,B2,B8"}
    found = fetch("images", demo_server, tmp_path / "out", dry_run=True, **wide)
    initialize(demo_server)
    grids = [Grid.from_json(unit["grid"]) for unit in Images(**{**VERBS["images"], **wide}).get_requests()]
    assert len({(grid.width, grid.height) for grid in grids}) > 1
    pixels = sum(grid.width * grid.height for grid in grids)
    headers = 600 * len(grids)  # of the files, one for each image
    assert found.bytes == pytest.approx(pixels * 4 * 2 * 0.7 + headers, rel=1e-6)
    assert found.requests > len(grids) == found.units


def test_a_chip_takes_as_many_requests_as_the_limits_of_the_service_say() -> None:
    def chip(side: int) -> Chip:
        grid = Grid("EPSG:32613", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), side, side)
        return Chip(image=None, grid=grid, bands=("a", "b"), dtype="uint16", format="tif")

    # 3 bands with the mask's, of 3 bytes a value: 50,331,648 / 9 pixels, which is a side of 2,364.
    counts = [count_requests(chip(side), PIXEL_LIMITS["pixels"]) for side in (2364, 2366, 4728, 4732)]
    assert counts == [1, 4, 4, 16]


@pytest.mark.parametrize(
    ("size", "options", "time"),
    [
        (10**12, {}, "about 22.2 h for the transfer at 100 Mbit/s; 61 s on Earth Engine"),
        (10**8, {}, "about 61 s on Earth Engine"),
        (10**12, {"local": True}, "about 61 s on Earth Engine"),
    ],
)
@pytest.mark.usefixtures("free")
def test_a_dry_run_counts_the_transfer_and_looks_at_the_disk(
    tmp_path: Path, size: int, options: dict[str, Any], time: str
) -> None:
    lines = _estimated(Estimate(2700, 2700, size, 61.0), RunConfig(out=tmp_path / "out", **options))
    assert lines[-2:] == [f"time      {time}", f"disk      10 bytes free at {tmp_path / 'out'}: not enough"]
    stored = RunConfig(out=tmp_path / "out", results="s3://bucket/run", **options)
    assert not any("disk" in line for line in _estimated(Estimate(2700, 2700, size, 61.0), stored))
    archive = RunConfig(out=tmp_path / "out", archive="earth-search")
    assert not any(line.startswith("time") for line in _estimated(Estimate(2700, 2700, size, 61.0), archive))


def test_a_log_that_cannot_grow_ends_the_run_with_its_name_and_goes_on_later(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write("started")
        cure = "a file has the largest size that `ulimit -f`, or the disk, allows"
        with (
            largest_file(1),
            pytest.raises(StorageError, match=f"could not write .*{LOG_NAME}: File too large: {cure}"),
        ):
            log.write("planned")
        log.write("finished", name="\udcff", repeats=frozenset("ba"))
    started, finished = map(json.loads, (tmp_path / LOG_NAME).read_text().splitlines())
    assert (started["event"], finished["event"], finished["repeats"]) == ("started", "finished", ["a", "b"])


def test_a_ledger_that_cannot_grow_names_the_limit(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with closing(connect(path, readonly=False)) as database:
        database.execute("CREATE TABLE meta (key TEXT)")
        with (
            largest_file(path.stat().st_size),
            pytest.raises(StorageError, match=r"I/O error: .* `ulimit -f`") as caught,
        ):
            database.execute("INSERT INTO meta VALUES (hex(zeroblob(9999)))")
        assert str(caught.value).startswith(f"cannot use {path}: ")
        database.execute("PRAGMA max_page_count = 2")  # as a disk of so many pages
        with pytest.raises(StorageError, match=f"the disk is full: could not write {path}. Make room and repeat"):
            database.execute("INSERT INTO meta VALUES (hex(zeroblob(9999)))")


def test_a_full_disk_is_no_bug(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"1")
    assert str(StorageError.of_write("a.tif", caught.value)) == (
        "the disk is full: could not write a.tif. Make room and repeat the command"
    )
    assert str(StorageError.of_write(Path("run/a.tif"), OSError(errno.EROFS, "Read-only file system"))) == (
        "could not write run/a.tif: run is a folder that you may not write in (Read-only file system). Copy the run"
        " to where you may write, or name another place by --out or --to, if the command has it"
    )
    assert str(StorageError.of_write(path, OSError(errno.EACCES, "Permission denied"))) == (
        f"could not write {path}: Permission denied"  # a file that may not be written, in a folder that may
    )
    assert describe_fault(caught.value) == "the disk is full. Make room and repeat the command"
    assert describe_fault(OSError(errno.EMFILE, "Too many open files")).startswith("Too many open files: allow more")
    assert describe_fault(FileNotFoundError("a")).startswith("a bug in eechips")
    for lacking in (MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")):
        assert describe_fault(lacking).startswith(
            "this machine, or a limit (`ulimit -v`), gives this command too little memory: allow more"
        )
    denied = PermissionError(errno.EACCES, "Permission denied", "a/run.json")
    assert describe_fault(denied).startswith("cannot use a/run.json: Permission denied. ")
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(StorageError, match=r"gone as output folder: it is a file, or a link that leads nowhere\. Name"):
        make_folder(tmp_path / "gone")


def test_a_help_that_cannot_be_written_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        for option in ("--help", "--version"):
            done = subprocess.run([*EECHIPS, option], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            message = "Error: the disk is full. Make room and repeat the command\n"
            assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.slow
def test_a_working_directory_that_was_removed_is_said(tmp_path: Path) -> None:
    """The fork server of Python needs one, also where all paths are absolute."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = (*EECHIPS, "sample", "--dataset", "NAIP", "--total", "1", "--local", "--out", str(tmp_path / "run"))
    done = run_program("bash", "-c", f"rmdir ../gone && {shlex.join(command)}", cwd=gone, status=2)
    assert "the working directory was removed: change to another one" in done.stderr
