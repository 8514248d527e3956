"""Runs and packs as PyTorch datasets."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

import eechips
from eechips.errors import UsageError
from eechips.manifest.run import Run
from eechips.recipe.results import MASK_SUFFIX, RESERVED_LAYERS
from eechips.training import formats
from eechips.training.packs.shard_index import read_index
from eechips.training.sample_reader import read_samples
from eechips.training.splits import split_table
from local_tests.support.captured_log import CapturedLog
from tests.support.finished_run import TRANSFORM, geotiff_of, layered, npy_of, pictures, write_run
from tests.support.programs import run_program

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, DistributedSampler, WeightedRandomSampler  # noqa: E402

from eechips.torch import ChipDataset, ShardDataset  # noqa: E402
from eechips.training.streams.tensor_items import LabelValues, TensorItems  # noqa: E402

pytestmark = [
    pytest.mark.slow,  # PyTorch, which takes seconds to import, is in the extra of CI alone
    # PyTorch's workers are forks of a process with threads, which newer Pythons warn of.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

COUNT = 30
FORMATS = formats.PACK_FORMATS.names[: 5 if sys.version_info >= (3, 11) else 3]  # zarr 3.1 needs Python 3.11


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """30 samples of three layers, 20 of them for training."""
    run = write_run(tmp_path_factory.mktemp("run"), layered(COUNT))
    ids = read_samples(run).ids
    names = [("train", "train", "test")[number % 3] for number in range(COUNT)]
    split_table.write(run.path, pd.DataFrame({"id": ids, "split": names, "block": names}), {"seed": 0})
    return run


@pytest.fixture(scope="module")
def packs(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run in every format, five samples a shard."""
    folder = tmp_path_factory.mktemp("packs")
    for to in FORMATS:
        eechips.pack(run, to, out=folder / to, shard_count=5)
    return {to: folder / to for to in FORMATS}


def test_items_equal_the_files(run: Run) -> None:
    chips = ChipDataset(run)
    assert len(chips) == COUNT
    for number, sample in enumerate(chips.samples):
        item = chips[number]
        assert list(item) == [
            "S2", "S2_valid", "DEM", "DEM_valid", "cover", "cover_valid", "id", "crs", "transform", "bounds"
        ]  # fmt: skip
        with rasterio.open(run.path / sample.files[0].name) as source:
            values, valid, bounds = source.read(), source.dataset_mask() != 0, source.bounds
        assert item["S2"].dtype == torch.int32  # PyTorch does not calculate with uint16
        np.testing.assert_array_equal(item["S2"].numpy(), values)
        np.testing.assert_array_equal(item["S2_valid"].numpy(), valid)
        array = np.load(run.path / sample.files[1].name)
        assert item["DEM"].dtype == torch.float32
        np.testing.assert_array_equal(item["DEM"].numpy(), array["b0"][None])
        np.testing.assert_array_equal(item["DEM_valid"].numpy(), array["mask"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(run.path / sample.files[2].name) as source:
                np.testing.assert_array_equal(item["cover"].numpy(), source.read())
        assert item["cover"].dtype == torch.uint8
        assert (item["id"], item["crs"]) == (sample.id, "EPSG:32613")
        expected = TRANSFORM[2] + 640 * sample.unit["number"]
        assert item["transform"].tolist() == [10.0, 0.0, expected, 0.0, -10.0, TRANSFORM[5]]
        assert item["bounds"].tolist() == list(bounds)


@pytest.mark.parametrize("to", FORMATS)
def test_runs_and_packs_give_the_same_items(run: Run, packs: dict[str, Path], to: str) -> None:
    options: dict[str, Any] = {"split": "train", "layers": ["S2", "DEM"], "label": "class", "fill": 7}
    chips, shards = ChipDataset(run, **options), ShardDataset(packs[to], **options)
    assert chips.classes == shards.classes == (0, 10, 20)
    by_id = {item["id"]: item for item in shards}
    assert len(by_id) == shards.count == len(chips) == 20
    for item in chips:
        other = by_id[item["id"]]
        assert set(other) == set(item)
        for name, value in item.items():
            same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
            assert same, name


def test_a_single_layer_is_called_image(tmp_path: Path) -> None:
    run = write_run(tmp_path, pictures(4))
    item = ChipDataset(run)[1]
    assert list(item) == ["image", "image_valid", "id"]  # pictures know no place, and here nobody else does
    assert item["image"].shape == (3, 8, 8)
    assert item["image"].dtype == torch.uint8
    assert 0 < item["image_valid"].sum() < 64
    index = eechips.pack(run, "webdataset")
    assert [list(each) for each in ShardDataset(tmp_path / "packs" / "webdataset")] == [list(item)] * index.samples


def test_a_chip_that_is_missing_is_named(tmp_path: Path) -> None:
    made = write_run(tmp_path, pictures(2))
    dataset = ChipDataset(made)
    (made.path / made.units["file"][1]).unlink()
    with pytest.raises(UsageError, match=f"{made.units['file'][1]} is missing: eechips verify"):
        [dataset[number] for number in range(2)]
    (made.path / made.units["file"][1]).write_bytes((made.path / made.units["file"][0]).read_bytes())
    with pytest.raises(UsageError, match="has changed since it was fetched"):
        dataset[1]


def test_types_and_masked_pixels(tmp_path: Path) -> None:
    mask = np.array([[True, False], [True, True]])
    types = ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64", "int8"]
    files = {
        name: ("npy", npy_of(np.full((2, 2, 2), 100, dtype=name), mask)) if name != "int8" else
        ("tif", geotiff_of(np.full((2, 2, 2), 100, dtype=name), mask)) for name in types
    }  # fmt: skip
    run = write_run(tmp_path, [({"kind": "point"}, files)])
    item = ChipDataset(run)[0]
    found = {name: str(item[name].dtype).removeprefix("torch.") for name in types}
    assert found == {**{name: name for name in types}, "uint16": "int32", "uint32": "int64"}
    assert all(item[name].sum() == 800 for name in types)
    filled = ChipDataset(run, fill=5, dtype=torch.float32)[0]
    for name in types:
        assert filled[name].dtype == torch.float32
        assert filled[name][:, 0, 1].tolist() == [5, 5]
        assert filled[name].sum() == 610
    mixed = ChipDataset(run, layers=["uint8", "int16"], dtype={"uint8": torch.float16})[0]
    assert (mixed["uint8"].dtype, mixed["int16"].dtype) == (torch.float16, torch.int16)
    large = write_run(
        tmp_path / "large", [({"kind": "point"}, {"": ("npy", npy_of(np.ones((1, 2, 2), "uint64"), mask))})]
    )
    with pytest.raises(UsageError, match="no type that holds uint64, which image is"):
        ChipDataset(large)[0]


def test_labels_come_from_fields_or_layers(run: Run, packs: dict[str, Path], tmp_path: Path) -> None:
    for chips in (
        ChipDataset(run, split="test", label="zone"),
        ShardDataset(packs["tfrecord"], split="test", label="zone"),
    ):
        assert chips.classes == ("b", "ä")
        for item in chips:
            number = next(s.unit["number"] for s in read_samples(run) if s.id == item["id"])
            assert item["label"].dtype == torch.int64
            assert chips.classes[int(item["label"])] == "äb"[number % 2]
    chips = ChipDataset(run, label="class", classes=[20, 10, 0])
    assert chips.labels.tolist() == [2 - s.unit["class"] // 10 for s in chips.samples]
    with pytest.raises(UsageError, match="no sample has a field 'species'; there are: class, number, zone"):
        ChipDataset(run, label="species")
    with pytest.raises(UsageError, match="'class' is 10 in a sample, which is none of the classes"):
        ChipDataset(run, label="class", classes=[0, 20])
    with pytest.raises(UsageError, match="has no labels"):
        _ = ChipDataset(run).labels
    units = pictures(3)
    fractions = [({**unit, "height": 0.5 + number}, files) for number, (unit, files) in enumerate(units)]
    heights = ChipDataset(write_run(tmp_path / "a", fractions), label="height")
    assert heights.classes == ()
    assert heights.labels.tolist() == [0.5, 1.5, 2.5]
    assert heights[2]["label"].dtype == torch.float32
    eechips.pack(tmp_path / "a", "webdataset")
    found = ShardDataset(tmp_path / "a" / "packs" / "webdataset", label="height")
    assert sorted(float(item["label"]) for item in found) == [0.5, 1.5, 2.5]
    partly = write_run(tmp_path / "b", [*fractions[:1], *units[1:]])
    with pytest.raises(UsageError, match="2 of 3 samples have no field 'height'"):
        ChipDataset(partly, label="height")


def test_labels_of_a_csv_file_are_numbers_if_all_are(tmp_path: Path) -> None:
    rows = {
        "class": ["10", "2", "1"],
        "share": ["0.50", "1", "2.00"],
        "gaps": ["10.0", "2.0", "1.0"],
        "code": ["007", "7", "10"],
        "version": ["1.1", "1.10", "1.2"],
        "huge": ["1e999", "2", "3"],
    }
    units = [
        ({**unit, **{name: column[number] for name, column in rows.items()}}, files)
        for number, (unit, files) in enumerate(pictures(3))
    ]
    run = write_run(tmp_path, units)
    eechips.pack(run, "webdataset")
    found = {
        "class": ((1, 2, 10), [2, 1, 0]),
        "share": ((), [0.5, 1.0, 2.0]),
        "gaps": ((1, 2, 10), [2, 1, 0]),
        "code": (("007", "10", "7"), [0, 2, 1]),
        "version": (("1.1", "1.10", "1.2"), [0, 1, 2]),
        "huge": (("1e999", "2", "3"), [0, 1, 2]),
    }
    for label, (classes, expected) in found.items():
        chips, shards = (ChipDataset(run, label=label), ShardDataset(tmp_path / "packs" / "webdataset", label=label))
        assert chips.classes == shards.classes == classes
        assert chips.labels.tolist() == expected
        by_id = dict(zip([sample.id for sample in chips.samples], expected, strict=True))
        assert {item["id"]: item["label"].item() for item in shards} == by_id
    assert ChipDataset(run, label="class", classes=[10, 2, 1]).labels.tolist() == [0, 1, 2]
    assert ChipDataset(run, label="class", classes=["10", "2", "1"]).labels.tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="'class' is 10 in a sample, which is none of the classes"):
        ChipDataset(run, label="class", classes=[1, 2])


def test_numbers_of_a_csv_file_that_the_pack_does_not_list_need_classes() -> None:
    labels = LabelValues()
    with pytest.raises(UsageError, match="too many values"):
        TensorItems((), "plot", labels, None, None, None).targets(["12"])


def test_missing_fields_and_files_are_reported(run: Run, packs: dict[str, Path], tmp_path: Path) -> None:
    for make in (lambda **o: ChipDataset(run, **o), lambda **o: ShardDataset(packs["parquet"], **o)):
        with pytest.raises(UsageError, match="split 'validation'; known are test, train"):
            make(split="validation")
        with pytest.raises(UsageError, match="no layer 'S1': there are "):
            make(layers=["S1"])
    with pytest.raises(UsageError, match="holds no complete pack"):
        ShardDataset(tmp_path)
    with pytest.raises(UsageError, match="there is no rank 2: 2 processes have the ranks 0 to 1"):
        ShardDataset(packs["parquet"], rank=2, world_size=2)


def test_reserved_layer_names_are_refused(tmp_path: Path) -> None:
    tif = ("tif", geotiff_of(np.zeros((1, 8, 8), "uint8")))
    run = write_run(tmp_path, [({"kind": "point", "class": 1}, {"S2": tif, "label": tif})])
    assert "label" in ChipDataset(run)[0]
    with pytest.raises(UsageError, match=r"give layers=\['S2'\], or fetch it by another name"):
        ChipDataset(run, label="class")
    assert ChipDataset(run, label="class", layers=["S2"])[0]["label"] == 0


def test_transforms_are_applied(run: Run, packs: dict[str, Path]) -> None:
    def pair(item: dict[str, Any]) -> tuple[torch.Tensor, str]:
        return item["S2"].float() / 10_000, item["id"]

    chips = ChipDataset(run, layers=["S2"], transform=pair)
    [values, identifier] = chips[3]
    assert values.dtype == torch.float32
    assert identifier == chips.samples[3].id
    assert {identifier for _, identifier in ShardDataset(packs["tfrecord"], transform=pair)} == set(chips.samples.ids)


def ids(loader: Any) -> list[str]:
    return [identifier for batch in loader for identifier in batch["id"]]


@pytest.mark.parametrize("kind", ["run", "webdataset", "parquet"])
def test_workers_share_the_samples_without_loss(run: Run, packs: dict[str, Path], kind: str) -> None:
    """Two workers that live on, three epochs."""
    if kind == "run":
        loader = DataLoader(
            ChipDataset(run, split="train"), batch_size=6, shuffle=True, num_workers=2, persistent_workers=True,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
    else:
        shards = ShardDataset(packs[kind], split="train", shuffle=True, buffer=4, seed=1)
        loader = DataLoader(shards, batch_size=6, num_workers=2, persistent_workers=True)
    wanted = sorted(read_samples(run).of_split("train").ids)
    orders = []
    for epoch in range(3):
        if kind != "run":
            shards.set_epoch(epoch % 2)
        orders.append(ids(loader))
        assert sorted(orders[-1]) == wanted
    assert orders[0] != orders[1]
    if kind != "run":
        assert orders[2] == orders[0]
    batch = next(iter(loader))
    assert batch["S2"].shape == (6, 4, 8, 8)
    assert batch["bounds"].shape == (6, 4)
    del loader


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_spawned_workers_read_items(run: Run, packs: dict[str, Path], context: str) -> None:
    wanted = sorted(read_samples(run).ids)
    shards = ShardDataset(packs["webdataset"], shuffle=True)
    for dataset in (ChipDataset(run), shards):
        loader: Any = DataLoader(
            dataset, batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context=context
        )
        shards.set_epoch(0)
        first = ids(loader)
        shards.set_epoch(1)
        second = ids(loader)
        assert sorted(first) == sorted(second) == wanted
        assert (first != second) == (dataset is shards)


def test_more_workers_than_shards_read_each_item_once(run: Run, tmp_path: Path) -> None:
    eechips.pack(run, "tfrecord", out=tmp_path)
    loader: Any = DataLoader(ShardDataset(tmp_path, split="test"), batch_size=None, num_workers=2)
    assert Counter(item["id"] for item in loader) == Counter(read_samples(run).of_split("test").ids)


def test_distributed_processes_read_disjoint_items(
    run: Run, packs: dict[str, Path], caplog: CapturedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [ShardDataset(packs["parquet"], rank=rank, world_size=4, shuffle=True) for rank in range(4)]
    found = [[item["id"] for item in part] for part in parts]
    assert [part.count for part in parts] == [len(each) for each in found]
    count = len(read_index(packs["parquet"]).shards)
    assert count % 4 > 0
    assert f"{count} shards for 4 processes: some read more samples than others" in caplog.messages[0]
    assert sorted(identifier for each in found for identifier in each) == sorted(read_samples(run).ids)
    for rank, part in enumerate(parts):  # torchrun sets these before torch.distributed is initialized
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "4")
        assert ids(ShardDataset(packs["parquet"], shuffle=True)) == ids(part)


def test_the_order_follows_the_seed(packs: dict[str, Path]) -> None:
    def order(**options: Any) -> list[str]:
        shards = ShardDataset(packs["webdataset"], **options)
        return [item["id"] for item in shards]

    assert order() == order()
    mixed = order(shuffle=True, buffer=10)
    assert mixed == order(shuffle=True, buffer=10)
    assert mixed != order()
    assert mixed != order(shuffle=True, buffer=10, seed=1)
    assert sorted(mixed) == sorted(order())
    assert order(shuffle=True, buffer=1) != order()  # shards by themselves come in another order


def test_samplers_of_pytorch_work(run: Run) -> None:
    chips = ChipDataset(run, label="class")
    weights = 1.0 / torch.bincount(chips.labels).double()[chips.labels]
    sampler = WeightedRandomSampler(weights.tolist(), 300, generator=torch.Generator().manual_seed(0))
    counts = Counter(int(chips.labels[number]) for number in sampler)
    assert all(60 < count < 140 for count in counts.values())
    parts = [DistributedSampler(chips, num_replicas=3, rank=rank, shuffle=True, seed=2) for rank in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(COUNT))


def test_datasets_are_serialisable(run: Run, packs: dict[str, Path]) -> None:
    chips = pickle.loads(pickle.dumps(ChipDataset(run, split="test", label="class")))
    assert torch.equal(chips[0]["S2"], ChipDataset(run, split="test")[0]["S2"])
    shards = pickle.loads(pickle.dumps(ShardDataset(packs["tfrecord"])))
    assert len(list(shards)) == COUNT


def test_missing_pytorch_is_reported() -> None:
    program = "import sys; sys.modules['torch'] = None; import eechips.torch"
    done = run_program(sys.executable, "-c", program)
    assert done.returncode != 0
    assert "eechips.torch needs PyTorch: pip install 'eechips[torch]'" in done.stderr


@pytest.mark.parametrize("to", FORMATS)
def test_every_name_of_an_item_beside_its_layers_is_reserved(run: Run, packs: dict[str, Path], to: str) -> None:
    for item in (next(iter(ShardDataset(packs[to], label="class"))), ChipDataset(run, label="class")[0]):
        own = {name for name in item if name.removesuffix(MASK_SUFFIX) not in ("S2", "DEM", "cover")}
        assert {"label", "id", "crs"} <= own
        assert own <= {*RESERVED_LAYERS}
