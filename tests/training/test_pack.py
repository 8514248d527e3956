"""Packs: every sample once, bit for bit, in complete shards."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning

import eechips
from eechips.errors import RunLockedError, StorageError, UsageError
from eechips.files.temporary_names import temporary_name
from eechips.manifest.folder_lock import lock_run
from eechips.manifest.run import Run
from eechips.training import split_table
from eechips.training.formats import PACK_FORMATS, tfrecord, webdataset
from eechips.training.formats.zarr import dimensions
from eechips.training.samples import read_samples
from eechips.training.shard_index import FileContent, PackIndex, PackLayer, metadata_of, read_index
from eechips.training.sharding import shard_sizes
from local_tests.support.local_earth_engine import wait_until
from tests.support.commands import run_command
from tests.support.finished_run import geotiff_of, layered, move_results, pictures, write_run
from tests.support.programs import EECHIPS, name_ended_writer, run_program

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the readers that we compare with

ENCODED = ("webdataset", "tfrecord", "parquet")
DECODED = ("zarr", "hdf5") if sys.version_info >= (3, 11) else ("hdf5",)  # zarr 3.1 needs Python 3.11
FORMATS = (*ENCODED, *DECODED)
SOME = [pytest.param(name, marks=pytest.mark.slow) if name == "zarr" else name for name in FORMATS]
"""All formats; Zarr, which writes many files, when there is time."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """23 samples of three layers, in two splits and left out."""
    run = write_run(tmp_path_factory.mktemp("run"), layered(23), datasets=[{"id": "A", "licence": "CC0"}])
    split_run(run, ["train", "train", "test", "none"])
    return run


def split_run(run: Run, names: list[str]) -> None:
    ids = read_samples(run).ids
    of_each = [names[number % len(names)] for number in range(len(ids))]
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": of_each, "block": of_each}), {"seed": 0})


def contents(folder: Path) -> dict[str, str]:
    """Sha256 of every file of a pack but the lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".eechips.lock"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def pixels_by_rasterio(path: Path) -> tuple[Any, Any]:
    """Values and mask as rasterio has them, or numpy."""
    if path.suffix == ".npy":
        array = np.load(path)
        return np.stack([array[name] for name in array.dtype.names[:-1]]), array["mask"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as source:
            return source.read(), source.dataset_mask() != 0


def by_webdataset(folder: Path, index: PackIndex) -> Iterator[dict[str, Any]]:
    import webdataset

    urls = [str(folder / stored.files[0].name) for stored in index.shards]
    for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
        layers = {name.partition(".")[0]: data for name, data in sample.items() if name[0] != "_" and name != "json"}
        yield {"id": sample["__key__"], "metadata": sample["json"], **layers}


@pytest.mark.slow
def test_labels_are_files_of_their_own_in_webdataset(run: Run, tmp_path: Path) -> None:
    import webdataset

    index = eechips.pack(run, "webdataset", out=tmp_path / "classes")
    urls = [str(tmp_path / "classes" / stored.files[0].name) for stored in index.shards]
    found = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
    assert {each["cls"] for each in found} == {0, 10, 20}
    assert all(each["cls"] == each["json"]["stratum"] for each in found)
    index = eechips.pack(write_run(tmp_path / "run", pictures(4)), "webdataset", out=tmp_path / "texts")
    urls = [str(tmp_path / "texts" / stored.files[0].name) for stored in index.shards]
    found = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
    assert sorted(each["txt"] for each in found) == ["zone 0", "zone 0", "zone 1", "zone 2"]


def test_metadata_have_no_lists_of_different_types(tmp_path: Path) -> None:
    where, mixed = [["system:band_names", "has", ["B"]]], [[1, 2], ["a"]]
    unit = {"where": {"": where}, "numbers": [1, 0.5, None], "lists": mixed, "objects": [{"v": 1}, {"v": "x"}]}
    run = write_run(tmp_path / "run", [(unit, pictures(1)[0][1])])
    (sample,) = read_samples(run)
    metadata = json.loads(metadata_of(sample))
    assert pa.Table.from_pylist([metadata]).to_pylist() == [metadata]  # as Hugging Face's reader of WebDataset does
    texts = [metadata["unit"]["where"][""][0], metadata["unit"]["lists"], metadata["unit"]["objects"]]
    assert list(map(json.loads, texts)) == [*where, mixed, unit["objects"]]
    assert metadata["unit"]["numbers"] == [1, 0.5, None]


@pytest.mark.slow
def test_pictures_in_parquet_are_images_for_hugging_face(run: Run, tmp_path: Path) -> None:
    index = eechips.pack(run, "parquet", out=tmp_path / "pack")
    paths = [str(tmp_path / "pack" / stored.files[0].name) for stored in index.shards]
    told = json.loads((pq.read_schema(paths[0]).metadata or {})[b"huggingface"])["info"]["features"]
    assert list(told) == pq.read_schema(paths[0]).names
    assert {name for name, each in told.items() if each.get("_type") == "Image"} == {"cover"}

    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("parquet", data_files=paths, split="train", cache_dir=str(tmp_path / "cache"))
    samples = {sample.id: sample for sample in read_samples(run)}
    for row in loaded:
        (file,) = (file for file in samples[row["id"]].files if file.layer == "cover")
        values, _ = pixels_by_rasterio(run.path / file.name)
        np.testing.assert_array_equal(np.asarray(row["cover"]), values[0])
        assert row["S2"]["bytes"][:2] == b"II"


@pytest.mark.slow
def test_a_store_of_zarr_is_opened_by_its_consolidated_metadata(run: Run, tmp_path: Path) -> None:
    import zarr

    eechips.pack(run, "zarr", out=tmp_path)
    group = zarr.open_consolidated(tmp_path / "train.zarr", mode="r")
    assert {"S2", "S2_valid", "DEM", "cover", "id", "metadata"} <= set(group.array_keys())
    plain = zarr.open_group(tmp_path / "train.zarr", mode="r", use_consolidated=False)
    for name in plain.array_keys():
        assert group[name].metadata == plain[name].metadata


@pytest.mark.slow
@pytest.mark.skipif("zarr" not in DECODED, reason="zarr 3.1 needs Python 3.11")
def test_xarray_opens_a_store_of_zarr_with_several_layers(run: Run, tmp_path: Path) -> None:
    import xarray

    eechips.pack(run, "zarr", out=tmp_path)
    found = xarray.open_zarr(tmp_path / "train.zarr").load()
    assert found.S2.dims == ("sample", "S2_band", "y", "x")
    assert found.S2_valid.dims == found.DEM_valid.dims == ("sample", "y", "x")
    assert {axis: found.sizes[axis] for axis in ("S2_band", "DEM_band", "cover_band")} == {
        "S2_band": 4,
        "DEM_band": 1,
        "cover_band": 1,
    }
    samples = {sample.id: sample for sample in read_samples(run)}
    assert found.sizes["sample"] == 12
    for number, identifier in enumerate(found.id.values):
        for file in samples[identifier].files:
            values, valid = pixels_by_rasterio(run.path / file.name)
            np.testing.assert_array_equal(found[file.layer][number], values)
            np.testing.assert_array_equal(found[f"{file.layer}_valid"][number], valid)


@pytest.mark.skipif("zarr" not in DECODED, reason="zarr 3.1 needs Python 3.11")
def test_layers_of_different_sizes_have_dimensions_of_their_own_in_zarr(tmp_path: Path) -> None:
    import xarray

    fine, coarse = np.arange(2 * 4 * 4, dtype=np.uint16).reshape(2, 4, 4), np.arange(3 * 2, dtype=np.uint16)
    files = {"fine": ("tif", geotiff_of(fine)), "coarse": ("tif", geotiff_of(coarse.reshape(1, 2, 3)))}
    eechips.pack(write_run(tmp_path / "run", [({"kind": "point"}, files)]), "zarr", out=tmp_path / "pack")
    found = xarray.open_zarr(tmp_path / "pack" / "all.zarr")
    assert found.fine.dims == ("sample", "fine_band", "fine_y", "fine_x")
    assert found.coarse.dims == ("sample", "coarse_band", "coarse_y", "coarse_x")
    assert found.coarse_valid.dims == ("sample", "coarse_y", "coarse_x")
    np.testing.assert_array_equal(found.coarse[0], coarse.reshape(1, 2, 3))


def test_one_layer_in_zarr_has_the_dimension_band() -> None:
    layer = PackLayer(("tif",), ("B1",), "uint16", (3, 1, 8, 8))
    assert dimensions({"S2": layer}) == {"S2": ("time", "band", "y", "x")}
    both = dimensions({"S2": layer, "S1": replace(layer, shape=(3, 2, 8, 8))})
    assert both == {"S2": ("time", "S2_band", "y", "x"), "S1": ("time", "S1_band", "y", "x")}
    apart = dimensions({"S2": layer, "S1": replace(layer, shape=(5, 2, 8, 8))})
    assert apart == {"S2": ("S2_time", "S2_band", "y", "x"), "S1": ("S1_time", "S1_band", "y", "x")}


def by_tfrecord(folder: Path, index: PackIndex) -> Iterator[dict[str, Any]]:
    from tfrecord.reader import tfrecord_loader

    names = [f"{layer}/encoded" for layer in index.layers]
    for stored in index.shards:
        path = str(folder / stored.files[0].name)
        for record in tfrecord_loader(path, None, dict.fromkeys(["id", "metadata", "split", *names], "byte")):
            layers = {layer.lower(): bytes(record[f"{layer}/encoded"]) for layer in index.layers}
            assert bytes(record["split"]).decode() == stored.shard.split
            yield {"id": bytes(record["id"]).decode(), "metadata": bytes(record["metadata"]), **layers}


def by_parquet(folder: Path, index: PackIndex) -> Iterator[dict[str, Any]]:
    for stored in index.shards:
        for row in pq.read_table(folder / stored.files[0].name).to_pylist():
            layers = {layer.lower(): row[layer]["bytes"] for layer in index.layers}
            assert row["split"] == stored.shard.split
            yield {"id": row["id"], "metadata": row["metadata"].encode(), **layers}


@pytest.mark.parametrize(
    ("to", "reader"),
    [
        pytest.param("webdataset", by_webdataset, marks=pytest.mark.slow),  # imports PyTorch, where it is installed
        pytest.param("tfrecord", by_tfrecord, marks=pytest.mark.slow),  # the same
        ("parquet", by_parquet),
    ],
)
def test_files_come_back_bit_for_bit(run: Run, tmp_path: Path, to: str, reader: Any) -> None:
    index = eechips.pack(run, to, out=tmp_path, shard_count=4)
    found = list(reader(tmp_path, index))
    samples = {sample.id: sample for sample in read_samples(run).of_split("train", "test")}
    assert len(found) == len({each["id"] for each in found}) == len(samples) == index.samples
    for each in found:
        sample = samples[each["id"]]
        for file in sample.files:
            assert each[file.layer.lower()] == (run.path / file.name).read_bytes()
        known = json.loads(each["metadata"])
        assert (known["id"], known["split"], known["unit"]) == (sample.id, sample.split, sample.unit)
        assert known["layers"]["S2"]["transform"] == list(sample.files[0].transform or ())
        assert known["layers"]["S2"]["crs"] == "EPSG:32613"


@pytest.mark.slow
@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=200), st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 70_000]), max_size=5))
def test_examples_are_what_protocol_buffers_read(lengths: dict[str, int]) -> None:
    from tfrecord import example_pb2

    features = {name: bytes([length % 251]) * length for name, length in lengths.items()}
    example = example_pb2.Example()
    example.ParseFromString(tfrecord.example(features))
    found = {name: list(feature.bytes_list.value) for name, feature in example.features.feature.items()}
    assert found == {name: [data] for name, data in features.items()}
    assert tfrecord.features_of(memoryview(example.SerializeToString())) == features


def test_damaged_records_are_noticed(run: Run, tmp_path: Path) -> None:
    index = eechips.pack(run, "tfrecord", out=tmp_path, splits="test")
    [stored] = index.shards
    path = tmp_path / stored.files[0].name
    data = path.read_bytes()
    for position in (3, 9, 5000, len(data) - 1):  # length, its checksum, content, its checksum
        path.write_bytes(data[:position] + bytes([data[position] ^ 8]) + data[position + 1 :])
        with pytest.raises(StorageError, match="is damaged"):
            tfrecord.ids(tmp_path, stored.shard)
    for end in (len(data) - 2, len(data) - 2000, 5):
        path.write_bytes(data[:end])
        with pytest.raises(StorageError, match=r"is damaged|is cut off"):
            tfrecord.ids(tmp_path, stored.shard)


@pytest.mark.parametrize("to", DECODED)
def test_pixels_come_back_bit_for_bit(run: Run, tmp_path: Path, to: str) -> None:
    index = eechips.pack(run, to, out=tmp_path, shard_count=4)
    samples = {sample.id: sample for sample in read_samples(run).of_split("train", "test")}
    count = 0
    for group in by_h5py(tmp_path) if to == "hdf5" else by_zarr(tmp_path):
        for number, (identifier, text) in enumerate(zip(group["id"], group["metadata"], strict=True)):
            sample = samples[identifier]
            assert json.loads(text)["id"] == identifier
            for file in sample.files:
                values, valid = pixels_by_rasterio(run.path / file.name)
                assert group[file.layer].dtype == values.dtype
                np.testing.assert_array_equal(group[file.layer][number], values)
                np.testing.assert_array_equal(group[f"{file.layer}_valid"][number], valid)
            count += 1
    assert count == len(samples) == index.samples
    assert index.layers["S2"].shape == (4, 8, 8)


def by_h5py(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            arrays = {name: file[name][:] for name in file if name not in ("id", "metadata")}
            assert list(file["S2"].attrs["bands"]) == ["B1", "B2", "B3", "B4"]
            yield {**arrays, **{name: file[name].asstr()[:] for name in ("id", "metadata")}}


def by_zarr(folder: Path) -> Iterator[dict[str, Any]]:
    import zarr

    for split in ("train", "test"):
        group = zarr.open_group(folder / f"{split}.zarr", mode="r")
        assert group["S2"].metadata.zarr_format == 3
        assert group["S2"].shards[0] <= 4
        assert group["S2"].chunks == (1, 4, 8, 8)
        yield {name: group[name][:] for name in group.array_keys()}


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


@pytest.mark.slow
def test_readers_of_eechips_agree_with_the_files(run: Run, tmp_path: Path) -> None:
    found: dict[str, list[Any]] = {}
    for to in FORMATS:
        index = eechips.pack(run, to, out=tmp_path / to, shard_count=100, splits="train")
        [shard] = [stored.shard for stored in index.shards]
        entries = list(PACK_FORMATS.get(to).read(tmp_path / to, shard))
        assert PACK_FORMATS.get(to).ids(tmp_path / to, shard) == [entry.id for entry in entries]
        found[to] = [(entry.id, entry.metadata) for entry in entries]
        for entry in entries:
            for layer, content in entry.layers.items():
                file = json.loads(entry.metadata)["layers"][layer]["file"]
                pixels = content.pixels() if isinstance(content, FileContent) else content
                values, valid = pixels_by_rasterio(run.path / file)
                np.testing.assert_array_equal(pixels.values, values)
                np.testing.assert_array_equal(pixels.valid, valid)
    assert all(each == found["webdataset"] for each in found.values())


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
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=200),
    st.integers(1, 50),
    st.integers(1, 5000),
)
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


@pytest.mark.parametrize("to", SOME)
def test_a_repeated_pack_does_nothing(run: Run, tmp_path: Path, to: str) -> None:
    first = eechips.pack(run, to, out=tmp_path, shard_count=4)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert eechips.pack(run, to, out=tmp_path, shard_count=4) == first
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize("to", [SOME[0], SOME[3]])
def test_only_damaged_shards_are_made_again(run: Run, tmp_path: Path, to: str) -> None:
    eechips.pack(run, to, out=tmp_path, shard_count=4)
    before = contents(tmp_path)
    shards = [stored.files for stored in read_index(tmp_path).shards]
    damaged, missing = tmp_path / shards[1][0].name, tmp_path / shards[2][0].name
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    missing.unlink()
    times = {
        path: path.stat().st_ino for files in (shards[0], *shards[3:]) for f in files if (path := tmp_path / f.name)
    }
    eechips.pack(run, to, out=tmp_path, shard_count=4)
    assert contents(tmp_path) == before
    assert {path: path.stat().st_ino for path in times} == times


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("to", ["webdataset", DECODED[0]])
def test_a_killed_pack_resumes(tmp_path: Path, to: str) -> None:
    run = write_run(tmp_path / "run", layered(60))
    eechips.pack(run, to, out=tmp_path / "whole", shard_count=2)
    whole, out = contents(tmp_path / "whole"), tmp_path / "out"
    program = f"import eechips; eechips.pack({str(run.path)!r}, {to!r}, out={str(out)!r}, shard_count=2)"
    for shards in (1, 8):
        done = kill_after(program, out / "shards.jsonl", shards)
        assert shards <= done < 30
        assert not (out / "shards.json").exists()
        assert not list(out.glob("*/zarr.json"))  # nor does anything say that arrays with holes are there
    lines = (out / "shards.jsonl").read_text().splitlines()[1:]
    # The journal names a shard before its files have their names: the kill may have come between both.
    named = [out / file["name"] for line in lines[:-1] for file in json.loads(line)["files"]]
    kept = {path: path.stat().st_ino for path in named}
    assert len(kept) >= 7
    eechips.pack(run, to, out=out, shard_count=2)
    assert contents(out) == whole
    assert {path: path.stat().st_ino for path in kept} == kept
    assert not list(out.glob(".scratch*"))


def kill_after(program: str, journal: Path, shards: int) -> int:
    """Kills a program when its journal has a head and so many lines; returns how many it had in the end."""
    process = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: journal.exists() and journal.read_text().count("\n") > shards, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return journal.read_text().count("\n") - 1


def test_a_truncated_index_line_is_ignored(run: Run, tmp_path: Path) -> None:
    eechips.pack(run, "webdataset", out=tmp_path / "whole", shard_count=2)
    whole = contents(tmp_path / "whole")
    index = read_index(tmp_path / "whole")
    head = {
        name: getattr(index, name) for name in ("format", "seed", "shard_count", "shard_bytes", "selected", "identity")
    }
    lines = [json.dumps(head), *(json.dumps(stored.to_json()) for stored in index.shards[:2])]
    ended = name_ended_writer()
    for end in (len("\n".join(lines)) - 20, len(lines[0]) - 3, 0):
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        (tmp_path / "cut" / temporary_name("shards.jsonl", ended)).write_text("killed")
        (tmp_path / "cut" / "shards.json").unlink()
        (tmp_path / "cut" / "shards.jsonl").write_text("\n".join(lines)[:end])
        eechips.pack(run, "webdataset", out=tmp_path / "cut", shard_count=2)
        assert contents(tmp_path / "cut") == whole
        shutil.rmtree(tmp_path / "cut")


def test_a_file_of_the_user_is_not_replaced_by_a_shard_also_when_a_pack_is_resumed(run: Run, tmp_path: Path) -> None:
    eechips.pack(run, "webdataset", out=tmp_path, shard_count=2)
    whole = contents(tmp_path)
    index = read_index(tmp_path)
    names = ("format", "seed", "shard_count", "shard_bytes", "selected", "identity")
    journal = [{name: getattr(index, name) for name in names}, index.shards[0].to_json()]
    (tmp_path / "shards.json").unlink()
    (tmp_path / "shards.jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal))
    own = tmp_path / index.shards[1].files[0].name
    own.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists and does not belong to this pack"):
        eechips.pack(run, "webdataset", out=tmp_path, shard_count=2)
    assert own.read_bytes() == b"mine"
    own.unlink()
    eechips.pack(run, "webdataset", out=tmp_path, shard_count=2)
    assert contents(tmp_path) == whole


def test_another_pack_is_not_written_over(run: Run, tmp_path: Path) -> None:
    eechips.pack(run, "webdataset", out=tmp_path, shard_count=4)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="was made with seed='0'; remove it, or choose another `out`"):
        eechips.pack(run, "webdataset", out=tmp_path, shard_count=4, seed=1)
    with pytest.raises(UsageError, match="was made with to='webdataset'; remove"):
        eechips.pack(run, "hdf5", out=tmp_path, shard_count=4)
    other = write_run(tmp_path / "other", layered(23, seed=1))
    split_run(other, ["train", "train", "test", "none"])
    with pytest.raises(UsageError, match="was made of other samples"):
        eechips.pack(other, "webdataset", out=tmp_path, shard_count=4)
    shutil.rmtree(tmp_path / "other")
    assert contents(tmp_path) == before


def test_files_of_others_are_not_written_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "train-000001.tar").write_text("mine")
    with pytest.raises(UsageError, match=r"train-000001\.tar exists and is not a pack of eechips"):
        eechips.pack(run, "webdataset", out=tmp_path, shard_count=4)
    assert (tmp_path / "train-000001.tar").read_text() == "mine"


def test_one_process_at_a_time_packs_a_run(run: Run, tmp_path: Path) -> None:
    with lock_run(tmp_path), pytest.raises(RunLockedError):
        eechips.pack(run, "webdataset", out=tmp_path)


def test_a_file_that_has_changed_is_not_packed(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(5))
    path = tmp_path / read_samples(run)[3].files[0].name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(UsageError, match="has changed since it was fetched: eechips verify"):
        eechips.pack(run, "webdataset")
    path.unlink()
    with pytest.raises(UsageError, match="is missing: eechips verify"):
        eechips.pack(run, "webdataset")
    assert not (tmp_path / "packs" / "webdataset" / "shards.json").exists()
    path.write_bytes(data)
    assert eechips.pack(run, "webdataset").samples == 5


def test_a_sample_that_was_lost_on_the_way_is_noticed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = webdataset.write

    def lossy(folder: Path, shard: Any, layout: Any, entries: Any) -> None:
        write(folder, shard, layout, list(entries)[1:])

    monkeypatch.setattr(webdataset, "write", lossy)
    with pytest.raises(StorageError, match="test-000000 reads back with 5 samples"):
        eechips.pack(run, "webdataset", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["shards.jsonl"]


@pytest.mark.slow
def test_a_full_disk_stops_the_pack(run: Run, tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    done = run_program(*EECHIPS, "pack", run.path, "--to", "webdataset", "--out", tmp_path, status=2, preexec_fn=limit)
    assert f"could not write into {tmp_path}" in done.stderr
    assert not list(tmp_path.glob("*.tar"))
    assert not (tmp_path / "shards.json").exists()
    assert eechips.pack(run, "webdataset", out=tmp_path).samples == 18


FILL = """
import resource
import signal
import sys

import eechips
from eechips.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run, out, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
for part in range(9, 0, -1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * part // 10, resource.RLIM_INFINITY))
    try:
        eechips.pack(run, "hdf5", out=out)
    except StorageError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_full_disk_does_not_end_the_process_in_libhdf5(run: Run, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    eechips.pack(run, "hdf5", out=whole)
    size = max(path.stat().st_size for path in whole.glob("*.h5"))
    full = tmp_path / "full"
    done = run_program(sys.executable, "-c", FILL, run.path, full, size, status=0)
    starts = [line.partition(" too large")[0] for line in done.stdout.splitlines()]
    assert starts == [f"could not write into {full}: File"] * 9
    assert eechips.pack(run, "hdf5", out=full).samples == 18
    assert contents(full) == contents(whole)


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
        "sizes", sizes, r"differ, and one array cannot hold them: 4 of 3x8x8 uint8, 1 of 3x8x9 uint8; --to webdataset"
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

    units = pictures(4)
    local = write_run(tmp_path / "local", units)
    files = fsspec.filesystem("memory")
    for sample in read_samples(local):
        for file in sample.files:
            with files.open(f"/packed/{file.name}", "wb") as target:
                target.write((local.path / file.name).read_bytes())
            (local.path / file.name).unlink()
    move_results(local, "memory://packed")
    index = eechips.pack(local, "webdataset", out=tmp_path / "out")
    with tarfile.open(tmp_path / "out" / index.shards[0].files[0].name) as tar:
        source = tar.extractfile(f"{read_samples(local).ids[0]}.png")
        assert source is not None
        assert source.read() == units[0][1][""][1]


def test_metadata_are_one_json_text(run: Run, tmp_path: Path) -> None:
    index = eechips.pack(run, "webdataset", out=tmp_path)
    with tarfile.open(tmp_path / index.shards[0].files[0].name) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.uname, member.mode) == (0, 0, "", 0o644)
            if member.name.endswith(".json"):
                source = tar.extractfile(member)
                assert source is not None
                assert isinstance(json.load(io.TextIOWrapper(source)), dict)


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


JSON_LINES = """
import base64
import json

from eechips.training.shard_index import FileContent, PackEntry

SUFFIX, IS_DECODED, CLOSING = ".jsonl", False, frozenset()


def weight(sizes, metadata):
    return 2 * (sum(sizes) + metadata)


def write(folder, shard, layout, entries):
    with (folder / f"{shard.stem}{SUFFIX}").open("w") as file:
        for entry in entries:
            layers = {n: [c.suffix, base64.b64encode(c.data).decode()] for n, c in entry.layers.items()}
            file.write(json.dumps([entry.id, entry.metadata, layers]) + "\\n")


def read(folder, shard):
    for line in (folder / f"{shard.stem}{SUFFIX}").read_text().splitlines():
        identifier, metadata, layers = json.loads(line)
        yield PackEntry(
            identifier, metadata, {n: FileContent(suffix, base64.b64decode(d)) for n, (suffix, d) in layers.items()}
        )


def ids(folder, shard):
    return [entry.id for entry in read(folder, shard)]


def finish(folder, shards, layout):
    pass
"""


@pytest.mark.slow
def test_an_installed_package_adds_a_format_in_one_file(run: Run, tmp_path: Path) -> None:
    site, out = tmp_path / "site", tmp_path / "out"
    info = site / "json_lines_pack-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "json_lines_pack.py").write_text(JSON_LINES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: json-lines-pack\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[eechips.pack_formats]\njsonlines = json_lines_pack\n")
    command = [sys.executable, "-m", "eechips", "pack", str(run.path), "--to", "jsonlines", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{Path(eechips.__file__).parent.parent}"}
    run_program(*command, status=0, env=environment)
    index = read_index(out)
    assert index.format == "jsonlines"
    lines = [json.loads(line) for path in sorted(out.rglob("*.jsonl")) for line in path.read_text().splitlines()]
    assert len(lines) == index.samples == sum(name != "none" for name in read_samples(run).splits)
