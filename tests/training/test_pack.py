"""Packs: every sample once, in complete shards."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eechips
from eechips.errors import UsageError
from eechips.manifest.run import Run
from eechips.training.formats import PACK_FORMATS, webdataset
from eechips.training.packs.shard_index import FileContent, read_index
from eechips.training.packs.sharding import shard_sizes
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from tests.support.commands import run_command
from tests.support.finished_run import geotiff_of, layered, move_results, pictures, write_run
from tests.support.packs import DECODED, ENCODED, FORMATS, SOME, contents, split_run, write_packable_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_packable_run(tmp_path_factory.mktemp("run"))


@pytest.mark.slow
@pytest.mark.parametrize("to", SOME)
def test_the_same_samples_make_the_same_bytes(run: Run, tmp_path: Path, to: str) -> None:
    for name in ("one", "two"):
        eechips.pack(run, to, out=tmp_path / name, shard_count=5, seed=3)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    index = read_index(tmp_path / "one")
    listed = [file for stored in index.shards for file in stored.files] + list(index.files)
    assert {file.name: file.sha256 for file in listed} == {k: v for k, v in one.items() if k != "shards.json"}
    assert index.run["datasets"] == [{"id": "A", "licence": "CC0"}]


def test_order_is_mixed_by_the_seed(run: Run, tmp_path: Path) -> None:
    orders = []
    for seed in (0, 1):
        index = eechips.pack(run, "webdataset", out=tmp_path / str(seed), splits="train", seed=seed)
        orders.append([i for stored in index.shards for i in webdataset.ids(tmp_path / str(seed), stored.shard)])
    planned = read_samples(run).of_split("train").ids
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(planned)
    assert orders[0] != orders[1]
    assert planned not in orders


def test_shards_hold_one_split(run: Run, tmp_path: Path) -> None:
    index = eechips.pack(run, "webdataset", out=tmp_path, shard_count=3)
    assert index.splits == {"test": 6, "train": 12}
    assert index.left_out == {"none": 5}
    of_each = dict(zip(read_samples(run).ids, read_samples(run).splits, strict=True))
    for stored in index.shards:
        assert stored.files[0].name == f"{stored.shard.split}-{stored.shard.number:06d}.tar"
        assert {of_each[i] for i in webdataset.ids(tmp_path, stored.shard)} == {stored.shard.split}
    assert index.fields["zone"] == ("b", "ä")
    assert index.fields["class"] == (0, 10, 20)
    only = eechips.pack(run, "webdataset", out=tmp_path / "only", splits=["test"])
    assert only.splits == {"test": 6}
    assert only.left_out == {"none": 5, "train": 12}
    with pytest.raises(UsageError, match="unknown split 'validation'; known are test, train"):
        eechips.pack(run, "webdataset", out=tmp_path / "none", splits="validation")
    for name, value in (("shard_count", 2.5), ("shard_count", True), ("shard_bytes", "1MB"), ("seed", "a")):
        with pytest.raises(UsageError, match=f"`{name}` is a whole number"):  # no index of them could be read
            eechips.pack(run, "webdataset", out=tmp_path / "none", **{name: value})


@pytest.mark.parametrize("to", FORMATS)
def test_splits_may_have_any_name(tmp_path: Path, to: str) -> None:
    run = write_run(tmp_path / "run", pictures(4))
    split_run(run, ["west / north", "é"])
    index = eechips.pack(run, to, out=tmp_path / "out")
    assert index.splits == {"west / north": 2, "é": 2}
    assert read_index(tmp_path / "out") == index
    assert {file.name.partition("/")[0] for s in index.shards for file in s.files} == {
        f"{name}{'' if to == 'zarr' else '-000000'}{PACK_FORMATS.get(to).SUFFIX}" for name in ("west___north", "é")
    }
    for stored in index.shards:
        entries = list(PACK_FORMATS.get(to).read(tmp_path / "out", stored.shard))
        assert [json.loads(entry.metadata)["split"] for entry in entries] == [stored.shard.split] * 2
    split_run(run, ["a/b", "a_b"])
    with pytest.raises(UsageError, match="splits 'a/b' and 'a_b' would have the same names"):
        eechips.pack(run, to, out=tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("to", DECODED)
def test_shards_of_arrays_are_alike(run: Run, tmp_path: Path, to: str) -> None:
    """Of 8 x 8 pixels: 4 x 2, 1 x 4 and 1 x 1 bytes of values, 3 of masks; 4,000 around them, and metadata."""
    most = 5 * (64 * (8 + 4 + 1 + 3) + 4_000 + 1_600)
    index = eechips.pack(run, to, out=tmp_path, splits="train", shard_bytes=most)
    assert [stored.shard.count for stored in index.shards] == [4, 4, 4]
    single = eechips.pack(run, to, out=tmp_path / "single", splits="train", shard_bytes=1)
    assert [stored.shard.count for stored in single.shards] == [1] * 12


def test_a_run_that_was_not_split_is_packed_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(5))
    index = eechips.pack(tmp_path, "webdataset")
    assert index.splits == {"all": 5}
    assert repr(index) == "<eechips pack, webdataset: 5 all in 1 shards>"
    with tarfile.open(tmp_path / "packs" / "webdataset" / "all-000000.tar") as tar:
        names = tar.getnames()
    assert sorted(names) == sorted(f"{i}.{suffix}" for i in read_samples(run).ids for suffix in ("png", "txt", "json"))
    with pytest.raises(UsageError, match="has no splits yet: eechips split"):
        eechips.pack(run, "parquet", splits="train")


def test_samples_that_came_after_the_split_are_not_forgotten(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(5))
    ids = read_samples(run).ids[:3]
    split_table.write(tmp_path, pd.DataFrame({"id": ids, "split": "train", "block": "a"}), {})
    with pytest.raises(UsageError, match="2 of 5 samples came after the run was split: eechips split"):
        eechips.pack(run, "webdataset")


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=200), st.integers(1, 50), st.integers(1, 5000))
def test_sizes_of_shards_stay_within_bounds(weights: list[int], most_count: int, most_bytes: int) -> None:
    counts = shard_sizes(np.array(weights), most_count, most_bytes)
    assert sum(counts) == len(weights)
    assert all(1 <= count <= most_count for count in counts)
    first = 0
    for count in counts:
        assert count == 1 or sum(weights[first : first + count]) <= most_bytes
        first += count


def test_alike_samples_are_divided_alike() -> None:
    assert shard_sizes(np.full(1001, 10), 1000, 10**9) == [500, 501]
    assert shard_sizes(np.full(7, 100), 1000, 299) == [2, 2, 1, 2]
    assert shard_sizes(np.array([], dtype=np.int64), 10, 10) == []


@pytest.mark.slow
@pytest.mark.parametrize("to", ENCODED)
@pytest.mark.parametrize("most", [6_000, 20_000, 60_000])
def test_shards_are_no_larger_than_allowed(tmp_path: Path, to: str, most: int) -> None:
    rng = np.random.default_rng(0)
    units = [
        ({"kind": "point", "n": n}, {"": ("bin", rng.bytes(int(rng.integers(0, 5000))))}) for n in range(60)
    ]  # fmt: skip
    index = eechips.pack(write_run(tmp_path, units), to, shard_bytes=most)
    for stored in index.shards:
        around = 10_240 if to == "webdataset" else 12_000 if to == "parquet" else 0  # end of a tar; footer
        assert stored.shard.count == 1 or sum(file.bytes for file in stored.files) <= most + around


@pytest.mark.parametrize("to", DECODED)
def test_samples_that_fit_no_array_are_refused(tmp_path: Path, to: str) -> None:
    def refused(name: str, units: Any, message: str) -> None:
        run = write_run(tmp_path / name, units)
        with pytest.raises(UsageError, match=message):
            eechips.pack(run, to)

    def chip(shape: tuple[int, int, int], dtype: str = "uint8") -> dict[str, tuple[str, bytes]]:
        return {"": ("tif", geotiff_of(np.zeros(shape, dtype)))}

    def unit(number: int) -> dict[str, Any]:
        return {"kind": "point", "n": number}

    sizes = [(unit(n), chip((3, 8, 8 + (n == 4)))) for n in range(5)]
    refused(
        "sizes", sizes, r"differ, and one array cannot hold them: 4 of 3x8x8 uint8, 1 of 3x8x9 uint8; --to geozarr has"
    )
    types = [(unit(n), chip((3, 8, 8), "uint16" if n else "uint8")) for n in range(2)]
    refused("types", types, "1 of 3x8x8 uint")
    refused("tables", [(unit(0), {"": ("csv", b"a,b\n1,2\n")})], "file is csv, which has no pixels")
    layers = layered(3)
    layers[1] = (layers[1][0], {k: v for k, v in layers[1][1].items() if k != "DEM"})
    refused("layers", layers, "1 of 3 samples have no DEM")


def test_samples_may_differ_where_files_stay_as_they_are(tmp_path: Path) -> None:
    units = layered(6)
    units[1] = (units[1][0], {k: v for k, v in units[1][1].items() if k != "DEM"})
    units[2] = (units[2][0], {"S2": ("tif", geotiff_of(np.zeros((2, 5, 9), "float32")))})
    units[3] = (units[3][0], {"": ("csv", b"a,b\n1,2\n")})
    run = write_run(tmp_path, units)
    for to in ENCODED:
        index = eechips.pack(run, to)
        entries = {e.id: e for s in index.shards for e in PACK_FORMATS.get(to).read(tmp_path / "packs" / to, s.shard)}
        for sample in read_samples(run):
            assert set(entries[sample.id].layers) == {file.label for file in sample.files}
            for file in sample.files:
                content = entries[sample.id].layers[file.label]
                assert isinstance(content, FileContent)
                assert content == FileContent(file.suffix, (tmp_path / file.name).read_bytes())


def test_layers_that_readers_cannot_tell_apart(tmp_path: Path) -> None:
    tif = ("tif", geotiff_of(np.zeros((1, 8, 8), "uint8")))
    run = write_run(tmp_path, [({"kind": "point"}, {"a": tif, "A": tif})])
    with pytest.raises(UsageError, match="cannot distinguish the layers A and a"):
        eechips.pack(run, "webdataset")
    odd = write_run(tmp_path / "odd", [({"kind": "point"}, {"id": tif})])
    for to in (*DECODED, "parquet"):
        with pytest.raises(UsageError, match="cannot be called id"):
            eechips.pack(odd, to)


def test_the_command_packs_a_run(run: Run, tmp_path: Path) -> None:
    arguments = ["pack", str(run.path), "--to", "parquet", "--out", str(tmp_path), "--shard-count", "5"]
    done = run_command(*arguments, status=0)
    lines = done.output.splitlines()
    assert lines[0].startswith("test: 6 samples in 2 shards, ")
    assert lines[1].startswith("train: 12 samples in 3 shards, ")
    assert lines[2] == "left out: 5 samples of split none"
    assert lines[3].startswith("18 samples, ")
    assert lines[3].endswith(f"in {tmp_path}")
    again = run_command(*arguments, "--seed", "1", status=2)
    assert "was made with --seed 0" in again.output
    run_command("pack", run.path, "--to", "zip", status=2)


def test_results_in_an_object_store_are_packed(tmp_path: Path) -> None:
    import fsspec

    local = write_run(tmp_path / "local", pictures(4))
    formats = ("webdataset", "tfrecord", "hdf5")
    near = [[shard.files for shard in eechips.pack(local, to, out=tmp_path / f"near {to}").shards] for to in formats]
    files = fsspec.filesystem("memory")
    for sample in read_samples(local):
        for file in sample.files:
            with files.open(f"/packed/{file.name}", "wb") as target:
                target.write((local.path / file.name).read_bytes())
            (local.path / file.name).unlink()
    move_results(local, "memory://packed")
    assert near == [[shard.files for shard in eechips.pack(local, to, out=tmp_path / to).shards] for to in formats]


def test_a_foreign_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no complete pack"):
        read_index(tmp_path)
    index = eechips.pack(write_run(tmp_path / "run", pictures(2)), "webdataset", out=tmp_path)
    true = json.loads((tmp_path / "shards.json").read_text())
    (shard,) = true["shards"]
    (file,) = shard["files"]
    shards: list[Any] = [7, {**shard, "stride": {}}, {**shard, "count": -1}, {**shard, "files": [{}]}]
    shards += [{**shard, "files": [{**file, **wrong}]} for wrong in ({"name": 1e308}, {"name": "../a"}, {"bytes": "9"})]
    foreign = [[], *({**true, "shards": [wrong]} for wrong in shards), {**true, "run": []}, {**true, "samples": None}]
    for value in foreign:
        (tmp_path / "shards.json").write_text(json.dumps(value))
        with pytest.raises(UsageError, match="is not an index of a pack"):
            read_index(tmp_path)
    (tmp_path / "shards.json").write_text(json.dumps(true))
    assert read_index(tmp_path) == index
    (tmp_path / "shards.json").unlink()
    os.mkfifo(tmp_path / "shards.json")
    with pytest.raises(UsageError, match="no regular file"):
        read_index(tmp_path)
