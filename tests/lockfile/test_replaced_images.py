"""Images that are replaced or gone before a rebuild: which chips they change, and by how much."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import eechips
from local_tests.support.local_earth_engine import Host
from tests.support.changing_images import COLLECTION, CRS, EDGE, Source, at, files_of, members, options, pixels_of
from tests.support.commands import run_command


@pytest.mark.exhaustive
@pytest.mark.slow
def test_replaced_images_are_named_with_their_chips_and_the_exact_share_of_pixels(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(8)
    run = source.sample(3, 32, tmp_path / "run", format="tif")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    before = {each["id"]: each["version"] for each in members(lockfile, "assets.jsonl")}
    assert before.keys() == {f"{COLLECTION}/image_{number}" for number in range(8)}
    assert len({each["expression"] for each in members(lockfile, "units.jsonl")}) == 24
    for number in (1, 4, 6):
        source.pixels[number][0, : EDGE // 3, :] += 1
        source.pixels[number][1, :, : EDGE // 4] += 1
    for number in (1, 4, 6, 7):  # the last one with the same pixels
        source.put(number)
    found = eechips.rebuild(lockfile, tmp_path / "again", compare_with=run, **options(source.server))

    old, new = files_of(run), files_of(found.run)
    exact = {name: float((pixels_of(old[name]) != pixels_of(new[name])).any(axis=0).mean()) for name in old}
    images = dict(zip(run.units["file"], run.units["unit"], strict=True))
    assert {each.file: each.change.share for each in found.differences if each.change} == {
        name: share for name, share in exact.items() if share
    }
    for each in found.differences:
        assert each.change is not None
        assert each.replaced == (f"{COLLECTION}/image_{images[each.file]['properties']['image']}",)
        left, top, width, height = each.change.window or (0, 0, 0, 0)
        changed = (pixels_of(old[each.file]) != pixels_of(new[each.file])).any(axis=0)
        rows, columns = np.nonzero(changed)
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())

    assert [each.id.rpartition("_")[2] for each in found.replaced] == ["1", "4", "6", "7"]
    for asset in found.replaced:
        shares = [exact[name] for name, unit in images.items() if asset.id.endswith(f"_{unit['properties']['image']}")]
        assert (asset.files, asset.changed) == (3, sum(share > 0 for share in shares))
        assert asset.share == pytest.approx(np.mean(shares))
        assert asset.before == before[asset.id]
        assert asset.now is not None
        assert asset.now > asset.before
    assert found.other_expressions == 0
    with (tmp_path / "again" / "rebuild-assets.csv").open() as file:
        assert [row["asset"] for row in csv.DictReader(file)] == [each.id for each in found.replaced]

    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server),
                "--compare-with", run.path, status=1)  # fmt: skip
    assert "4 assets changed at the source:" in done.stdout
    assert "no pixel of 3 files has changed" in done.stdout
    by_hashes = eechips.rebuild(lockfile, tmp_path / "again", **options(source.server))
    assert {each.file for each in by_hashes.differences} == {each.file for each in found.differences}
    assert all(each.change.share is None for each in by_hashes.differences if each.change)


@pytest.mark.slow
def test_a_version_that_changed_without_a_pixel_leaves_the_files_the_same(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    source.put(1)
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server), status=0)
    assert "4 of 4 files are the same to the byte" in done.stdout
    assert "1 asset changed at the source:" in done.stdout
    assert "no pixel of 2 files has changed" in done.stdout


@pytest.mark.slow
def test_an_image_that_was_replaced_before_the_run_was_locked_has_no_version(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    source.put(0)
    done = run_command("lock", run.path, "-o", tmp_path / "a.lock", "-q", status=0)
    assert "1 asset changed at the source after the run had fetched them" in done.stderr
    assert f"{COLLECTION}/image_0" in done.stderr
    assert ["version" in each for each in members(tmp_path / "a.lock", "assets.jsonl")] == [False, True]


@pytest.mark.slow
def test_a_lockfile_without_versions_asks_no_service(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    requests = source.server.requests()
    run_command("lock", run.path, "-o", tmp_path / "a.lock", "-q", "--no-versions", status=0)
    assert source.server.requests() == requests
    assert [each.keys() for each in members(tmp_path / "a.lock", "assets.jsonl")] == [{"id"}, {"id"}]
    assert eechips.rebuild(tmp_path / "a.lock", tmp_path / "again", **options(source.server)).is_same


@pytest.mark.exhaustive
@pytest.mark.slow
def test_images_that_are_gone_are_named(make_source: Callable[[int], Source], host: Host, tmp_path: Path) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    host.stop(source.server)
    shutil.rmtree(source._folder / "store" / COLLECTION / "image_1")
    document = source._folder / "store" / COLLECTION / "collection.json"
    content = json.loads(document.read_text())
    content["links"] = [link for link in content["links"] if "image_1" not in link["href"]]
    document.write_text(json.dumps(content))
    source.start()
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server),
                "--retries", "1", status=1)  # fmt: skip
    assert "2 of 4 files are the same to the byte" in done.stdout
    assert "2 files could not be fetched" in done.stdout
    assert f"{COLLECTION}/image_1: it is gone; 2 of 2 files changed" in done.stdout


SOURCES = f"""
import ee
from eechips import Chip, Grid

def get_requests():
    return [0, 1]

def get_result(index, number):
    grid = Grid("{CRS}", (10.0, 0.0, 500000.0 + {10 * EDGE} * number, 0.0, -10.0, 4400000.0), 16, 16)
    asset = f"{COLLECTION}/image_{{number}}"
    return Chip(ee.Image(asset), grid=grid, format="tif", sources=(asset,))
"""


@pytest.mark.slow
def test_replaced_images_of_a_recipe_are_named(
    make_source: Callable[[int], Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = make_source(2)
    Path("recipe.py").write_text(SOURCES)
    service = ("--endpoint", source.server.url, "--project", "local", "--executor", "threads", "-q")
    run_command("run", "recipe.py", "--out", "run", *service, status=0)
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)
    assert ["version" in each for each in members(Path("r.lock"), "assets.jsonl")] == [True, True]
    assert [each["expression"] for each in members(Path("r.lock"), "units.jsonl")] == [None, None]
    source.pixels[1][:] += 1
    source.put(1)
    done = run_command("rebuild", "r.lock", "again", *service, status=1)
    assert "1 of 2 files are the same to the byte" in done.stdout
    assert f"{COLLECTION}/image_1: version" in done.stdout
    assert "1 of 1 file changed" in done.stdout
