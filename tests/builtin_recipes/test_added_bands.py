"""Samples that are extended by bands, over HTTP against the demo planet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import rasterio

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.engine.plans.changed_options import differences
from eechips.errors import RunMismatchError
from eechips.training.sample_reader import Samples, read_samples
from local_tests.support.local_earth_engine import Server
from tests.builtin_recipes.test_sample_extensions import ROI, digests, sample, sent

pytestmark = pytest.mark.exhaustive

ONE: dict[str, Any] = {"total": 3, "roi": ROI}
MONTHLY: dict[str, Any] = ONE | {"every": "month"}
STACKED: dict[str, Any] = MONTHLY | {"format": "tif-stack"}
NEAR: dict[str, Any] = MONTHLY | {"dataset": ["S2", "S1"], "bands": ["S2:B4", "S1:VV"], "near": "S1:12d"}
Pixels = dict[tuple[Any, ...], bytes]


def pixels(samples: Samples) -> Pixels:
    """The pixels of all bands, by place, dataset, frame and band."""
    found = {}
    for one in samples:
        place = tuple(one.unit["coordinates"])
        for file in one.files:
            dataset = file.array.partition("-")[0].replace("image", "S2")
            frames = file.each_frame()
            with rasterio.open(samples.run.path / file.name) as opened:
                values = opened.read().reshape(len(frames), -1, opened.height, opened.width)
                for frame, bands in zip(frames, values, strict=True):
                    for name, band in zip(file.bands or (), bands, strict=True):
                        key = (place, dataset, frame.start, name)
                        content = band.astype("float64").tobytes() + str(opened.transform).encode()
                        # A map of one time is in each sample of its place.
                        assert key not in found or (dataset == "SRTM" and found[key] == content)
                        found[key] = content
    return found


def images(samples: Samples) -> dict[str, set[tuple[str, ...]]]:
    """The images that the files of each dataset show, of all layers with the same bands."""
    shown: dict[str, set[tuple[str, ...]]] = {}
    for one in samples:
        for file in one.files:
            layer = (file.series or file.label).partition("-t0")[0]
            for frame in file.each_frame():
                shown.setdefault(layer, set()).add((one.id, frame.start or "", *frame.sources))
    return shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "grown", "added", "layers"),
    [
        (ONE, {"bands": "B4,B8,B11"}, 3, {"S2", "S2-B8"}),
        (ONE | {"bands": "B11"}, {"bands": "B11,B4"}, 3, {"S2", "S2-B4"}),  # of smaller pixels than the grid's
        (ONE | {"provenance": True}, {"bands": "B4,B8"}, 3, {"S2", "S2-B8"}),
        (MONTHLY, {"bands": "B4,B8"}, 6, {"S2", "S2-B8"}),
        (STACKED, {"bands": "B4,B8"}, 6, {"S2", "S2-B8"}),
        (MONTHLY | {"every": "month:median"}, {"bands": "B4,B8"}, 6, {"S2", "S2-B8"}),
        (NEAR, {"bands": ["S2:B4,B8", "S1:VV,VH"]}, 12, {"S2", "S1", "S2-B8", "S1-VH"}),
    ],
    ids=["chips", "finer", "provenance", "frames", "stacks", "medians", "near"],
)
def test_only_further_bands_are_fetched_of_the_same_images(
    demo_server: Server, tmp_path: Path, options: dict[str, Any], grown: dict[str, Any], added: int, layers: set[str]
) -> None:
    first = sample(demo_server, tmp_path / "run", **options)
    files, before = digests(first.path), sent(demo_server)
    second = sample(demo_server, tmp_path / "run", extend=True, **options | grown)
    assert sent(demo_server) - before == added
    assert digests(second.path).items() >= files.items()
    assert second.verify() == []
    samples = read_samples(second)
    assert samples.ids == read_samples(first).ids
    shown = images(samples)
    assert shown.keys() == layers
    for name in layers:
        assert shown[name] == shown[name.partition("-")[0]]
    one = sample(demo_server, tmp_path / "one", **options | grown)
    assert pixels(samples) == pixels(read_samples(one))

    sent_before = sent(demo_server)
    for extend in (True, False):
        again = sample(demo_server, tmp_path / "run", extend=extend, **options | grown)
        assert (sent(demo_server), digests(again.path)) == (sent_before, digests(second.path))
    with pytest.raises(RunMismatchError, match="cannot be extended by other options"):
        sample(demo_server, tmp_path / "run", extend=True, **options)


@pytest.mark.slow
def test_bands_datasets_months_and_places_one_after_the_other(demo_server: Server, tmp_path: Path) -> None:
    options = dict(MONTHLY)
    sample(demo_server, tmp_path / "run", **options)
    for grown in (
        {"bands": "B4,B8"},
        {"end": "2020-08-01"},
        {"bands": "B2,B4,B8"},
        {"dataset": ["S2", "SRTM"], "bands": ["S2:B2,B4,B8"]},
        {"total": 4},
        {"bands": ["S2:B2,B4,B8,B3"]},
    ):
        options |= grown
        files = digests(tmp_path / "run")
        run = sample(demo_server, tmp_path / "run", extend=True, **options)
        assert digests(run.path).items() > files.items()
        assert run.verify() == []
    samples = read_samples(run)
    assert {layer.partition("-t0")[0] for layer in samples.layers} == {"S2", "S2-B8", "S2-B2", "SRTM", "S2-B3"}
    one = sample(demo_server, tmp_path / "one", **options)
    assert pixels(samples) == pixels(read_samples(one))
    lockfile = eechips.lock(run, tmp_path / "run.lock", endpoint=demo_server.url)
    found = eechips.rebuild(lockfile, tmp_path / "again", endpoint=demo_server.url, executor="threads", quiet=True)
    assert (found.is_same, found.other_expressions) == (True, 0)
    assert digests(found.run.path) == digests(run.path)


@pytest.mark.slow
def test_readers_join_bands_with_their_samples(demo_server: Server, tmp_path: Path) -> None:
    options = ONE | {"bands": "B4"}
    first = sample(demo_server, tmp_path / "run", **options)
    eechips.split(first, by="random", ratios=[2, 1])
    splits = read_samples(first).splits
    run = sample(demo_server, tmp_path / "run", extend=True, **options | {"bands": "B4,B8"})
    assert read_samples(run).splits == splits
    statistics = eechips.stats(run).layers
    assert {name: list(layer.bands) for name, layer in statistics.items()} == {"S2": ["B4"], "S2-B8": ["B8"]}
    eechips.pack(run, "webdataset", out=tmp_path / "pack")
    streamed = {item.sample.id: {*item.pixels} for item in eechips.stream(run.path)}
    assert streamed == {identifier: {"S2", "S2-B8"} for identifier in read_samples(run).ids}
    text = eechips.card(run).readme.read_text()
    rows = {line.split("`")[1]: line.split("|")[2] for line in text.splitlines() if line.startswith("| 3 `")}
    assert rows.keys() == {"S2", "S2-B8"}
    assert all("Sentinel-2" in content for content in rows.values())
    manifest = pd.read_parquet(run.path / "manifest.parquet")
    assert manifest["completes"].dropna().tolist() == read_samples(run).ids


@pytest.mark.slow
def test_bands_are_added_beside_a_dataset_without_a_record_whose_default_bands_stay() -> None:
    own: dict[str, Any] = {"dataset": ["users/me/scenes", "users/me/labels"], "total": 3, "roi": ROI}
    latest = ChipSample(bands=["users/me/scenes:R,G"], **own).parameters
    grown = ChipSample(bands=["users/me/scenes:R,G,N"], **own).continuing_from(latest, latest)
    assert [layer["layer"] for layer in grown.parameters["layers"]] == ["scenes", "labels", "scenes-N"]
    assert {"layers"} <= grown.growing
    chosen = ChipSample(bands=["users/me/scenes:R,G", "users/me/labels:b1"], **own)
    assert chosen.continuing_from(latest, latest) is chosen  # whether b1 is the default is unknown
    told = differences({"parameters": latest}, {"parameters": chosen.parameters})
    assert list(told) == ['layers[1].bands: null there, ["b1"] here']


def test_bands_of_pictures_and_of_other_commands_stay(demo_server: Server, tmp_path: Path) -> None:
    picture = {"bands": "B4", "format": "png", "total": 2, "roi": ROI}
    sample(demo_server, tmp_path / "run", **picture)
    with pytest.raises(RunMismatchError, match="cannot be extended by other options"):
        sample(demo_server, tmp_path / "run", extend=True, **picture | {"bands": "B4,B3,B2"})
    indexed = {"bands": "B4", "index": "NDVI", "total": 2, "roi": ROI}
    sample(demo_server, tmp_path / "indexed", **indexed)
    with pytest.raises(RunMismatchError, match="cannot be extended by other options"):
        sample(demo_server, tmp_path / "indexed", extend=True, **indexed | {"index": "NDVI,NDWI"})
    grown = sample(demo_server, tmp_path / "indexed", extend=True, **indexed | {"bands": "B4,B8"})
    assert [file.bands for file in read_samples(grown)[0].files] == [("B4", "NDVI"), ("B8",)]
