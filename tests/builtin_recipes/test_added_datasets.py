"""Samples that are extended by datasets, over HTTP against the demo planet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import rasterio

import eechips
from eechips.errors import RunMismatchError, UsageError
from eechips.lockfile.lockfile_format import Lockfile
from eechips.manifest.exclusions import exclude_units
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.sample_reader import Samples, read_samples
from local_tests.support.local_earth_engine import Server, wait_until
from tests.builtin_recipes.test_sample_extensions import ROI, digests, sample, sent
from tests.support.programs import run_program

BOTH: dict[str, Any] = {"dataset": ["S2", "SRTM"], "bands": ["S2:B4"]}
MONTHLY: dict[str, Any] = {"total": 3, "roi": ROI, "every": "month"}
Pixels = dict[tuple[Any, ...], bytes]


def pixels(samples: Samples) -> Pixels:
    """The pixels of all files, by place, layer and frame."""
    found = {}
    for one in samples:
        place = tuple(one.unit["coordinates"])
        for file in one.files:
            with rasterio.open(samples.run.path / file.name) as opened:
                key = (place, file.label.rpartition("t")[0] if file.frame is not None else file.label, file.start)
                content = opened.read().tobytes() + str(opened.transform).encode()
                assert key not in found or (file.label == "SRTM" and found[key] == content)  # a map of one time
                found[key] = content
    return found


@pytest.mark.slow
def test_a_dataset_is_added_to_the_chips_that_are_there(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"total": 3, "roi": ROI}
    first = sample(demo_server, tmp_path / "run", **options)
    files, before = digests(first.path), sent(demo_server)
    eechips.split(first, by="random", ratios=[2, 1])
    splits = dict(zip(read_samples(first).ids, read_samples(first).splits, strict=True))
    second = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH | {"total": 4})
    assert sent(demo_server) - before == 3 + 2  # the elevation of three places, both datasets of the fourth
    assert digests(second.path).items() >= files.items()
    assert second.verify() == []
    samples, one = read_samples(second), sample(demo_server, tmp_path / "one", **options | BOTH | {"total": 4})
    assert samples.layers == ("S2", "SRTM")
    assert [[file.layer for file in each.files] for each in samples] == [["S2", "SRTM"]] * 4
    assert pixels(samples) == pixels(read_samples(one))
    manifest = pd.read_parquet(second.path / "manifest.parquet")
    assert manifest["extension"].tolist() == [0] * 3 + [1] * 4
    assert manifest["completes"].fillna("").tolist() == [""] * 3 + manifest["id"].tolist()[:3] + [""]
    assert [part["parameters"].get("dataset") for part in second.info["extensions"]] == [
        "COPERNICUS/S2_SR_HARMONIZED",
        None,
    ]
    assert dict(zip(samples.ids, samples.splits, strict=True)) == splits | {samples.ids[3]: None}
    eechips.split(second, by="random", ratios=[2, 1])
    assert dict(zip(read_samples(second).ids, read_samples(second).splits, strict=True)).items() >= splits.items()
    assert list(eechips.stats(second).layers) == ["S2", "SRTM"]

    sent_before = sent(demo_server)
    again = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH | {"total": 4})
    assert (sent(demo_server), digests(again.path)) == (sent_before, digests(second.path))


@pytest.mark.slow
def test_files_that_are_lost_are_those_of_their_own_datasets(demo_server: Server, tmp_path: Path) -> None:
    """A unit of the first plan is fetched again as it was, also by a command with more datasets."""
    options: dict[str, Any] = {"total": 2, "roi": ROI}
    sample(demo_server, tmp_path / "run", **options)
    run = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH)
    files, before = digests(run.path), sent(demo_server)
    lost = [sorted(files)[0], *[name for name in files if "SRTM" in name][:1]]
    for name in set(lost):
        (run.path / name).unlink()
    again = sample(demo_server, tmp_path / "run", **options | BOTH)
    assert sent(demo_server) - before == len(set(lost))
    assert digests(again.path) == files
    assert again.verify() == []


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("named", ["first", "added"])
def test_a_place_is_dropped_with_the_files_of_all_datasets(demo_server: Server, tmp_path: Path, named: str) -> None:
    options: dict[str, Any] = {"total": 3, "roi": ROI}
    sample(demo_server, tmp_path / "run", **options)
    run = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH)
    files, ids = digests(run.path), read_samples(run).ids
    chosen = ids[2] if named == "first" else _added_to(run, ids[2])
    assert exclude_units(run.path, {chosen: "dropped: black"}) == (1, 0)
    assert len(digests(run.path)) == len(files) - 2
    assert read_samples(run).ids == ids[:2]
    before = sent(demo_server)
    again = sample(demo_server, tmp_path / "run", **options | BOTH)  # another place, with both datasets
    assert sent(demo_server) - before == 2
    assert again.verify() == []
    assert again.counts == {"done": 5, "skipped": 2}
    assert [[file.layer for file in one.files] for one in read_samples(again)] == [["S2", "SRTM"]] * 3
    assert exclude_units(run.path, {}, [ids[0]]) == (0, 1)  # a damaged file: both are fetched again
    mended = sample(demo_server, tmp_path / "run", **options | BOTH)
    assert (sent(demo_server) - before, digests(mended.path).items() & files.items()) == (
        4, {item for item in files.items() if item[0] in digests(again.path)}
    )  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.slow
def test_places_that_were_dropped_and_replaced_stay_so_in_an_extension(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"total": 3, "roi": ROI}
    run = sample(demo_server, tmp_path / "run", **options)
    ids = read_samples(run).ids
    exclude_units(run.path, {ids[2]: "dropped: black"})
    replaced = sample(demo_server, tmp_path / "run", **options)
    exclude_units(run.path, {ids[0]: "dropped: black"})
    kept, before = read_samples(replaced).ids, sent(demo_server)
    grown = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH)
    assert sent(demo_server) - before == 2 + 2  # the elevation of two places, both datasets of a new one
    assert grown.verify() == []
    samples = read_samples(grown)
    assert samples.ids[:2] == kept
    assert [[file.layer for file in one.files] for one in samples] == [["S2", "SRTM"]] * 3


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_card_names_the_datasets_of_all_frames(demo_server: Server, tmp_path: Path) -> None:
    sample(demo_server, tmp_path / "run", **MONTHLY)
    run = sample(demo_server, tmp_path / "run", extend=True, **MONTHLY | BOTH)
    eechips.stats(run)
    text = eechips.card(run).readme.read_text()
    rows = {line.split("`")[1]: line.split("|")[2] for line in text.splitlines() if line.startswith("| 3 `")}
    assert list(rows) == ["S2-t00", "S2-t01", "SRTM"]
    assert all("Sentinel-2" in rows[name] for name in ("S2-t00", "S2-t01"))
    assert "SRTM" in rows["SRTM"]
    layers = pd.read_parquet(run.path / "layers.parquet")
    series = dict(zip(layers["layer"], layers["series"].fillna("none"), strict=True))
    assert series == {"S2-t00": "S2", "S2-t01": "S2", "SRTM": "none"}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("further", "near", "requests"),
    [(["SRTM"], {}, 3), (["S1"], {"near": "S1:12d"}, 6), (["SRTM", "S1"], {"near": "S1:12d"}, 9)],
)
def test_datasets_dates_and_places_are_added_at_once(
    demo_server: Server, tmp_path: Path, further: list[str], near: dict[str, Any], requests: int
) -> None:
    first = sample(demo_server, tmp_path / "run", **MONTHLY)
    files, before = digests(first.path), sent(demo_server)
    grown = MONTHLY | near | {"dataset": ["S2", *further], "bands": ["S2:B4"]}
    second = sample(demo_server, tmp_path / "run", extend=True, **grown)
    assert sent(demo_server) - before == requests
    whole = grown | {"total": 4, "end": "2020-08-01"}
    third = sample(demo_server, tmp_path / "run", extend=True, **whole)
    assert second.verify() == third.verify() == []
    assert digests(third.path).items() >= files.items()
    one = sample(demo_server, tmp_path / "one", **whole)
    assert pixels(read_samples(third)) == pixels(read_samples(one))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_one_dataset_after_the_other_and_stacks(demo_server: Server, tmp_path: Path) -> None:
    options = MONTHLY | {"format": "tif-stack", "total": 2}
    first = sample(demo_server, tmp_path / "run", **options)
    files = digests(first.path)
    sample(demo_server, tmp_path / "run", extend=True, **options | BOTH)
    before = sent(demo_server)
    three = options | {"dataset": ["S2", "SRTM", "S1"], "bands": ["S2:B4"], "near": "S1:12d"}
    third = sample(demo_server, tmp_path / "run", extend=True, **three)
    assert sent(demo_server) - before == 2 * 2
    assert digests(third.path).items() >= files.items()
    samples, one = read_samples(third), read_samples(sample(demo_server, tmp_path / "one", **three))
    assert samples.layers == one.layers == ("S2", "SRTM", "S1")
    assert {f"{file.label} {file.frames}" for each in samples for file in each.files} == {
        f"{file.label} {file.frames}" for each in one for file in each.files
    }
    assert pixels(samples) == pixels(one)


@pytest.mark.slow
def test_datasets_may_only_be_added(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"total": 2, "roi": ROI}
    run = sample(demo_server, tmp_path / "run", **options)
    for message, further in (
        ("must come first", BOTH | {"bands": ["S2:B3"]}),
        ("must come first", {"dataset": ["SRTM", "S2"], "bands": ["S2:B4"]}),
        ("cannot be extended by other options", {"bands": "B3"}),
    ):
        with pytest.raises((UsageError, RunMismatchError), match=message):
            sample(demo_server, tmp_path / "run", **options | further, extend=True)
    grown = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH)
    with pytest.raises(RunMismatchError, match="cannot be extended by other options"):
        sample(demo_server, tmp_path / "run", extend=True, **options)
    assert run.path == grown.path


@pytest.mark.exhaustive
@pytest.mark.slow
def test_loaders_read_a_sample_as_one(demo_server: Server, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    options: dict[str, Any] = {"total": 3, "roi": ROI}
    sample(demo_server, tmp_path / "run", **options)
    run = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH)
    one = sample(demo_server, tmp_path / "one", **options | BOTH)
    eechips.pack(run, "webdataset", out=tmp_path / "pack")
    from eechips.torch import ChipDataset, ShardDataset

    expected = [[item[name] for name in ("S2", "SRTM")] for item in ChipDataset(one)]
    for dataset in (ChipDataset(run), ShardDataset(tmp_path / "pack")):
        items = [[item[name] for name in ("S2", "SRTM")] for item in dataset]
        assert len(items) == 3
        assert all(any(all(map(torch.equal, item, other)) for other in expected) for item in items)
    streamed = {item.sample.id: item.pixels for item in eechips.stream(run.path)}
    assert streamed.keys() == set(read_samples(run).ids)
    assert [*map(list, streamed.values())] == [["S2", "SRTM"]] * 3


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_an_extension_by_months_a_dataset_and_places_that_is_killed_twice(demo_server: Server, tmp_path: Path) -> None:
    places = pd.DataFrame({"lon": [-105.29 + 0.001 * number for number in range(24)], "lat": 39.95})
    table, run = tmp_path / "plots.csv", tmp_path / "run"
    places.head(20).to_csv(table, index=False)
    sample(demo_server, run, points=table, every="month")
    files, before = digests(run), sent(demo_server)
    places.to_csv(table, index=False)
    command = [
        *(sys.executable, "-m", "eechips", "sample", "--dataset", "S2", "--dataset", "SRTM", "--bands", "S2:B4"),
        *("--size", "8", "--format", "tif", "--start", "2020-05-01", "--end", "2020-09-01", "--every", "month"),
        *("--points", str(table), "--endpoint", demo_server.url, "--rate", "none", "--method", "pixels"),
        *("--executor", "threads", "--in-flight", "4", "--out", str(run), "--quiet", "--extend"),
    ]
    new = 20 + 20 * 3 + 4 * 5  # elevations of the places; their further months, with elevations; further places
    for count in (50, 80):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda count=count: len(list((run / "chips").glob("*.tif"))) >= count, process)
        finally:
            process.kill()
            process.communicate()
    run_program(*command, status=0)
    found = eechips.open_run(run)
    assert found.verify() == []
    assert digests(run).items() >= files.items()
    assert len(digests(run)) == len(files) + new
    assert sent(demo_server) - before < new + 2 * 4 * 5  # what was there before a kill is not fetched again
    assert json.loads((run / "run.json").read_text())["extensions"][1]["units"] == 20 + 20 + 4
    assert subprocess.run([sys.executable, "-m", "eechips", "retry", str(run)], check=False).returncode == 0
    one = sample(demo_server, tmp_path / "one", points=table, every="month", end="2020-09-01", **BOTH)
    assert pixels(read_samples(found)) == pixels(read_samples(one))


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("options", [{"total": 3, "roi": ROI}, MONTHLY, MONTHLY | {"format": "tif-stack"}], ids=str)
def test_a_run_with_added_datasets_is_locked_and_rebuilt(
    demo_server: Server, tmp_path: Path, options: dict[str, Any]
) -> None:
    sample(demo_server, tmp_path / "run", **options)
    run = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH | {"total": 4})
    lockfile = eechips.lock(run, tmp_path / "run.lock", endpoint=demo_server.url)
    with Lockfile(lockfile) as opened:
        sizes = [path.stat().st_size for path in (run.path / "chips").iterdir()]
        assert (opened.header.files, opened.header.bytes) == (len(sizes), sum(sizes))
    found = eechips.rebuild(lockfile, tmp_path / "again", endpoint=demo_server.url, executor="threads", quiet=True)
    assert (found.is_same, found.other_expressions) == (True, 0)
    assert digests(found.run.path) == digests(run.path)
    assert found.run.verify() == []
    assert read_samples(found.run).layers == read_samples(run).layers
    assert pixels(read_samples(found.run)) == pixels(read_samples(run))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_lockfile_leaves_out_samples_that_lack_a_dataset(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"total": 3, "roi": ROI}
    sample(demo_server, tmp_path / "run", **options)
    run = sample(demo_server, tmp_path / "run", extend=True, **options | BOTH)
    with Ledger(run.path / LEDGER_NAME) as ledger, ledger.transaction():
        ledger.database.execute("UPDATE units SET state = 'failed_permanent', file = NULL WHERE position = 4")
    lockfile = eechips.lock(run, tmp_path / "run.lock", endpoint=demo_server.url)
    found = eechips.rebuild(lockfile, tmp_path / "again", endpoint=demo_server.url, executor="threads", quiet=True)
    assert (found.is_same, found.files) == (True, 4)
    assert read_samples(found.run).ids == read_samples(run).ids


def _added_to(run: eechips.Run, identifier: str) -> str:
    """The id of the unit that completes another one."""
    manifest = pd.read_parquet(run.path / "manifest.parquet").set_index("completes")
    return str(manifest.loc[identifier, "id"])
