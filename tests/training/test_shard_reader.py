"""Shards that were damaged since they were written give true samples or an error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import eechips
from eechips.errors import StorageError, UsageError
from eechips.files.hashes import hash_file
from eechips.manifest.run import Run
from eechips.training.packs import shard_reader
from eechips.training.packs.shard_index import FileContent, read_index
from eechips.training.packs.shard_reader import read_shard
from local_tests.support.parameters import slow_except
from tests.support.finished_run import geotiff_of, layered, write_run

FORMATS = ("webdataset", "parquet", "tfrecord", "zarr", "hdf5")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("run"), layered(6))


def samples(pack: Path) -> Iterator[Any]:
    """Yield id, metadata and layers of each sample, in a form that can be compared."""
    index = read_index(pack)
    for stored in index.shards:
        for entry in read_shard(pack, index.format, stored):
            layers = {name: _comparable(content) for name, content in entry.layers.items()}
            yield entry.id, entry.metadata, layers


def _comparable(content: Any) -> Any:
    is_file = isinstance(content, FileContent)
    return content if is_file else (content.values.tobytes(), np.asarray(content.valid).tobytes())


@pytest.mark.parametrize("to", slow_except(FORMATS, "webdataset", "parquet", "tfrecord", "hdf5"))
def test_a_damaged_shard_gives_true_samples_or_an_error(to: str, run: Run, tmp_path: Path) -> None:
    pytest.importorskip({"zarr": "zarr", "tfrecord": "google_crc32c", "hdf5": "h5py"}.get(to, "pyarrow"))
    index = eechips.pack(run, to, out=tmp_path, shard_count=4)
    true = list(samples(tmp_path))
    assert len(true) == 6
    random = Random(7)
    refused = 0
    for file in (file for stored in index.shards for file in stored.files):
        path = tmp_path / file.name
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(StorageError, match=r"is damaged: it is missing\. The same `eechips pack` makes"):
            list(samples(tmp_path))
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(StorageError, match=r"is damaged: it has [0-9,]+ of [0-9,]+ bytes"):
            list(samples(tmp_path))
        for position in random.sample(range(len(data) // 4, len(data) // 2), 2):  # where pixels are
            damaged = bytearray(data)
            damaged[position] ^= 1 << random.randrange(8)
            path.write_bytes(damaged)
            with contextlib.suppress(StorageError):
                assert list(samples(tmp_path)) == true
                continue
            refused += 1
        path.write_bytes(data)
    assert refused


def test_a_bit_of_the_index_of_an_hdf5_file_is_noticed(run: Run, tmp_path: Path) -> None:
    """Its B-trees have the filters that a chunk was written without: with such a bit, compressed bytes are pixels.

    See "Version 1 B-trees" of https://docs.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
    """
    h5py = pytest.importorskip("h5py")
    index = eechips.pack(run, "hdf5", out=tmp_path)
    path = tmp_path / index.shards[0].files[0].name
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        name = next(name for name in file if f"{name}_valid" in file)
        pixels, chunk = file[name][0], file[name].id.get_chunk_info(0)
    key = chunk.size.to_bytes(4, "little") + bytes(4) + bytes(8 * (pixels.ndim + 2))
    at = data.index(key + chunk.byte_offset.to_bytes(8, "little"))
    data[at + 4] |= 3  # of both filters
    path.write_bytes(data)
    with h5py.File(path) as file:
        assert not np.array_equal(file[name][0], pixels)  # and libhdf5 sees no error
    with pytest.raises(StorageError, match=r"is damaged: its content differs from the index"):
        list(samples(tmp_path))


def test_a_shard_of_another_pack_is_noticed(run: Run, tmp_path: Path) -> None:
    """Shards of all packs have the same names; those of as many samples often have the same size."""
    half = [eechips.pack(run, "webdataset", out=tmp_path / str(n), shard_count=3, seed=n) for n in range(2)]
    (name, size), (_, size_of_other) = (
        (index.shards[0].files[0].name, index.shards[0].files[0].bytes) for index in half
    )
    assert size == size_of_other
    (tmp_path / "0" / name).write_bytes((tmp_path / "1" / name).read_bytes())
    with pytest.raises(StorageError, match=r"is damaged: its content differs from the index"):
        list(samples(tmp_path / "0"))


def test_a_shard_that_ends_early_is_noticed(run: Run, tmp_path: Path) -> None:
    """Readers of tar files take a block of zeros for their end."""
    index = eechips.pack(run, "webdataset", out=tmp_path)
    path = tmp_path / index.shards[0].files[0].name
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1].name.partition(".")[0]
        start = min(member.offset for member in tar if member.name.startswith(last))
    path.write_bytes(data[:start] + bytes(len(data) - start))
    (stored,) = index.shards
    changed = replace(stored, files=(replace(stored.files[0], sha256=hash_file(path)),))
    with pytest.raises(StorageError, match=r"is damaged: it has 5 of 6 samples"):
        list(read_shard(tmp_path, index.format, changed))


def test_checksums_are_computed_once_for_a_state_of_a_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = eechips.pack(run, "webdataset", out=tmp_path, shard_count=4)
    hashed: list[Path] = []
    monkeypatch.setattr(shard_reader, "hash_file", lambda path: (hashed.append(path), hash_file(path))[1])
    monkeypatch.setattr(shard_reader, "_COARSEST_TIME", 10**15)  # more than the test may take
    true = list(samples(tmp_path))  # just written: a change at the same moment would have the same time
    assert list(samples(tmp_path)) == true
    assert len(hashed) == 2 * 2
    monkeypatch.setattr(shard_reader, "_COARSEST_TIME", 0)
    for _ in range(3):
        assert list(samples(tmp_path)) == true
    assert len(hashed) == 3 * 2
    path = tmp_path / index.shards[0].files[0].name
    data, times = path.read_bytes(), path.stat()
    pixels = next(iter(true[0][2].values())).data
    position = data.index(pixels) + len(pixels) // 2
    with path.open("r+b") as file:  # the same inode and size
        file.seek(position)
        file.write(bytes([data[position] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(StorageError, match="differs from the index"):
        list(samples(tmp_path))


def test_a_reader_of_the_first_samples_hashes_a_shard_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = eechips.pack(run, "webdataset", out=tmp_path)
    (stored,) = index.shards
    hashed: list[Path] = []
    monkeypatch.setattr(shard_reader, "hash_file", lambda path: (hashed.append(path), hash_file(path))[1])
    monkeypatch.setattr(shard_reader, "_COARSEST_TIME", 0)
    for _ in range(3):
        next(read_shard(tmp_path, index.format, stored))
    assert hashed == [tmp_path / stored.files[0].name]
    (tmp_path / stored.files[0].name).unlink()
    with pytest.raises(StorageError, match="is missing"):
        next(read_shard(tmp_path, index.format, stored))


@pytest.mark.parametrize("kind", ["holes", "link"])
def test_a_member_that_claims_other_content_than_its_own_is_refused(kind: str, run: Run, tmp_path: Path) -> None:
    """A file of 512 bytes with holes can claim 64 GiB: https://www.gnu.org/software/tar/manual/html_node/PAX-1.html."""
    index = eechips.pack(run, "webdataset", out=tmp_path)
    (stored,) = index.shards
    path = tmp_path / stored.files[0].name
    member = tarfile.TarInfo("a.png")
    if kind == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    else:
        member.size = 512
        sizes = {"major": "1", "minor": "0", "name": "a.png", "realsize": str(1 << 36)}
        member.pax_headers = {f"GNU.sparse.{name}": value for name, value in sizes.items()}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, None if kind == "link" else io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    changed = replace(stored, files=(replace(stored.files[0], bytes=path.stat().st_size, sha256=hash_file(path)),))
    with pytest.raises(StorageError, match=r"is damaged: a\.png is no plain file"):
        list(shard_reader.read_shard(tmp_path, index.format, changed))


@pytest.mark.parametrize(
    ("place", "value"), [("unit", 5), ("transform", [1]), ("transform", ["x"] * 6), ("bands", 5), ("frames", "x")]
)
def test_metadata_of_other_types_are_refused(place: str, value: object, run: Run, tmp_path: Path) -> None:
    index = eechips.pack(run, "webdataset", out=tmp_path)
    entry = next(shard_reader.read_shard(tmp_path, index.format, index.shards[0]))
    known = json.loads(entry.metadata)
    (known if place == "unit" else known["layers"]["S2"])[place] = value
    with pytest.raises(ValueError, match=r"of another type|no unit"):
        shard_reader._check(replace(entry, metadata=json.dumps(known)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"shards": []}, "its shards have 0 samples instead of 6"), ({"fields": {"class": [[1]]}}, "a field has values")],
)
def test_an_index_that_contradicts_itself_is_refused(
    changes: dict[str, Any], reason: str, run: Run, tmp_path: Path
) -> None:
    eechips.pack(run, "webdataset", out=tmp_path)
    path = tmp_path / "shards.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UsageError, match=reason):
        read_index(tmp_path)


class _Execution:
    """A value whose pickle makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


def write_pickles(to: str, shard: Path, payload: bytes) -> Path:
    """Give the arrays of a shard, in Zarr 2, the codec pickle; return a file that the shard consists of."""
    filters = [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}]  # zarr refuses pickle as the first one
    codecs: dict[str, Any] = {"dtype": "|O", "fill_value": None, "filters": filters, "compressor": None}
    if to == "zarr":
        shutil.rmtree(shard)
        described = {"zarr_format": 2, "shape": [6], "chunks": [6], "order": "C"}
        members: dict[str, Any] = {".zgroup": {"zarr_format": 2}}
        members |= {f"{name}/.zarray": described | codecs for name in ("id", "metadata")}
        for name, content in members.items():
            (shard / name).parent.mkdir(parents=True, exist_ok=True)
            (shard / name).write_text(json.dumps(content))
        for name in ("id", "metadata"):
            (shard / name / "0").write_bytes(payload)
        return shard / "id/0"
    with zipfile.ZipFile(shard) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    consolidated = json.loads(contents[".zmetadata"])
    for name in [name for name in contents if name.endswith("S2/.zarray")]:
        consolidated["metadata"][name] |= codecs
        contents[name] = json.dumps(consolidated["metadata"][name]).encode()
        contents |= {f"{name.removesuffix('.zarray')}{chunk}": payload for chunk in ("0.0.0", "0.0.0.0")}
    contents[".zmetadata"] = json.dumps(consolidated).encode()
    with zipfile.ZipFile(shard, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return shard


@pytest.mark.parametrize("to", ["zarr", "geozarr"])
def test_a_received_pack_executes_nothing(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zarr 2 has a codec that unpickles; numcodecs before 0.16.6 did so without being allowed to."""
    pytest.importorskip("zarr")
    pickles = pytest.importorskip("numcodecs.pickles")
    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    files = {"S2": ("tif", geotiff_of(np.ones((1, 4, 4), dtype=np.uint16)))}
    run = write_run(tmp_path / "run", [({"kind": "point", "number": number}, files) for number in range(6)])
    index = eechips.pack(run, to, out=tmp_path / "pack")
    shard = next(path for path in (tmp_path / "pack").iterdir() if path.name.endswith((".zarr", ".zarr.zip")))
    file = write_pickles(to, shard, pickle.dumps(_Execution(tmp_path / "executed")))
    name = file.relative_to(tmp_path / "pack").as_posix()
    listed = (replace(index.shards[0].files[0], name=name, bytes=file.stat().st_size, sha256=hash_file(file)),)
    with pytest.raises(StorageError, match="is damaged"):
        list(read_shard(tmp_path / "pack", to, replace(index.shards[0], files=listed)))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["values", "link", "soft link", "virtual"])
def test_a_received_pack_reads_no_other_file(kind: str, run: Run, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    index = eechips.pack(run, "hdf5", out=tmp_path / "pack")
    stored = index.shards[0]
    path = tmp_path / "pack" / stored.files[0].name
    shutil.copy(path, tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        shape, dtype = file["S2"].shape, file["S2"].dtype
        del file["S2"]
        if kind == "values":
            file.create_dataset("S2", shape, dtype, external=str(tmp_path / "other.h5"))
        elif kind == "link":
            file["S2"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "S2")
        elif kind == "soft link":
            file["S2"] = h5py.SoftLink("/DEM")
        else:
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "S2", shape)
            file.create_virtual_dataset("S2", layout)
    changed = replace(stored, files=(replace(stored.files[0], bytes=path.stat().st_size, sha256=hash_file(path)),))
    with pytest.raises(StorageError, match="S2 is no array of this file"):
        list(read_shard(tmp_path / "pack", index.format, changed))
