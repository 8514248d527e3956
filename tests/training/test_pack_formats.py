"""Formats of packs: files and pixels come back bit for bit, by the readers of others."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning

import eechips
from eechips.errors import StorageError
from eechips.manifest.run import Run
from eechips.training.formats import PACK_FORMATS, tfrecord
from eechips.training.formats.zarr import dimensions
from eechips.training.packs.shard_index import FileContent, PackIndex, PackLayer, metadata_of, read_index
from eechips.training.sample_reader import read_samples
from tests.support.finished_run import geotiff_of, pictures, write_run
from tests.support.packs import DECODED, FORMATS, write_packable_run
from tests.support.programs import run_program

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the readers that we compare with


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_packable_run(tmp_path_factory.mktemp("run"))


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


@pytest.mark.slow
@pytest.mark.skipif("zarr" not in DECODED, reason="zarr 3.1 needs Python 3.11")
def test_geozarr_has_the_units_of_records_and_leaves_values_as_they_are(tmp_path: Path) -> None:
    zarr, xarray = pytest.importorskip("zarr"), pytest.importorskip("xarray")
    values = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
    files = {"LST": ("tif", geotiff_of(values)), "DEM": ("tif", geotiff_of(values[:1]))}
    kelvin = {"band": "B1", "units": "K", "scale": 0.02, "offset": 0.0}
    for name, bands, expected in (
        ("same", [kelvin, {**kelvin, "band": "B2"}], {"LST": "0.02 K", "DEM": "0.02 K"}),
        ("others", [kelvin, {"band": "B2", "units": "m", "scale": 1.0, "offset": 0.0}], {"DEM": "0.02 K"}),
        ("unclear", [kelvin, {**kelvin, "units": "m"}], {}),  # of two datasets
        ("shifted", [{**kelvin, "offset": 149.0}], {}),
    ):
        run = write_run(tmp_path / name, [({"kind": "point"}, files)], bands=bands)
        index = eechips.pack(run, "geozarr", quiet=True)
        assert read_index(run.path / "packs" / "geozarr") == index
        store = zarr.storage.ZipStore(run.path / "packs" / "geozarr" / index.shards[0].files[0].name, mode="r")
        with store, xarray.open_zarr(store, group=run.units["id"].iloc[0]) as found:
            assert {layer: found[layer].attrs["units"] for layer in files if "units" in found[layer].attrs} == expected
            np.testing.assert_array_equal(found["LST"].values, values)
            if name == "others":
                assert found["LST"].coords["LST_band_units"].values.tolist() == ["0.02 K", "m"]


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


@pytest.mark.slow
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


def test_metadata_are_one_json_text(run: Run, tmp_path: Path) -> None:
    index = eechips.pack(run, "webdataset", out=tmp_path)
    with tarfile.open(tmp_path / index.shards[0].files[0].name) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.uname, member.mode) == (0, 0, "", 0o644)
            if member.name.endswith(".json"):
                source = tar.extractfile(member)
                assert source is not None
                assert isinstance(json.load(io.TextIOWrapper(source)), dict)


JSON_LINES = """
import base64
import json

from eechips.training.packs.shard_index import FileContent, PackEntry

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
