"""``eechips sample --rank-by``: frames are chosen by a score of every candidate, against numpy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet
import pytest
from affine import Affine

import eechips
from eechips.cli import main
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.manifest.manifest_columns import LAYERS, schema_of
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from eechips.manifest.sqlite.ledger_recovery import recover_ledger
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.coded_store import write_geotiff

Array = npt.NDArray[Any]

L8, NAIP, OWN = "LANDSAT/LC08/C02/T1_L2", "USDA/NAIP/DOQQ", "users/someone/scenes"
CRS, TRANSFORM = "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000)
SHAPE = (120, 120)
CLOUD = 1 << 3
COUNT = 6
TIMES = tuple(f"2020-0{month}-09T17:00:00" for month in range(1, COUNT + 1))
CLOUD_COVER = {0: 31.5, 1: 7.25, 2: 12.0, 4: 7.125, 5: 90.0}  # the fourth image lacks the property
ALL_CLOUDED = 5
AROUND = "-104.9995,39.7215,-104.962,39.747"


def scenes() -> dict[str, Array]:
    """Bands of the images, each of shape (image, row, column): red, near infrared, and quality."""
    random = np.random.default_rng(5)
    red = random.integers(8_000, 12_000, (COUNT, *SHAPE)) + 300 * random.permutation(COUNT)[:, None, None]
    nir = random.integers(11_000, 24_000, (COUNT, *SHAPE))
    quality = np.zeros((COUNT, *SHAPE))
    for number in range(COUNT):
        quality[number, :, : 15 * number] = CLOUD
        nir[number, :60] = nir[number, :60] * (0.7 + 0.06 * ((number * 5) % COUNT))
    quality[ALL_CLOUDED] = CLOUD
    return {name: np.asarray(each, np.uint16) for name, each in (("red", red), ("nir", nir), ("quality", quality))}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    folder = tmp_path_factory.mktemp("scores")
    store, bands = folder / "store", scenes()
    for number, time in enumerate(TIMES):
        path = folder / f"{number}.tif"
        write_geotiff(path, CRS, TRANSFORM, np.stack([each[number] for each in bands.values()]))
        properties = {"SPACECRAFT_ID": "LANDSAT_8"}
        properties |= {"CLOUD_COVER": CLOUD_COVER[number]} if number in CLOUD_COVER else {}
        names = ["SR_B4", "SR_B5", "QA_PIXEL"]
        ingest(path, store, f"{L8}/scene_{number}", bands=names, time_start=time, properties=properties)
        names = ["red", "1", "extra"] if number != 2 else ["red", "infrared", "extra"]
        ingest(path, store, f"{OWN}/scene_{number}", bands=names, time_start=time, properties=properties)
        path = folder / f"photograph_{number}.tif"
        photograph = (np.stack([bands["red"][number]] * 3 + [bands["nir"][number]]) // 100).astype(np.uint8)
        write_geotiff(path, CRS, TRANSFORM, photograph)
        ingest(path, store, f"{NAIP}/scene_{number}", bands=["R", "G", "B", "N"], time_start=time)
    return serve("--assets", str(store), "--no-demo", "--rate", "none", "--concurrency", "none")


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    given: dict[str, Any] = {"dataset": L8, "total": 6, "roi": AROUND, "size": 16, "executor": "threads"}
    given |= {"bands": "SR_B4", "start": "2020-01-01", "end": "2020-07-01", "quiet": True, "rate": None}
    return eechips.sample(**{**given, "endpoint": server.url, "out": out, **options})


def windows(unit: dict[str, Any]) -> dict[str, Array]:
    """Return the bands of the images on the pixels of a chip, in double precision; NaN beyond the images."""
    chip = Grid.from_json(unit["grid"])
    column, row = (round(float(v)) for v in Grid(CRS, tuple(TRANSFORM)[:6], 1, 1).pixel(*chip.xy(0, 0)))
    found = {}
    for name, each in scenes().items():
        padded = np.pad(each.astype(float), ((0, 0), (64, 64), (64, 64)), constant_values=np.nan)
        found[name] = padded[:, row + 64 : row + 64 + chip.height, column + 64 : column + 64 + chip.width]
    return found


def clear_of(bands: dict[str, Array]) -> Array:
    return np.isfinite(bands["quality"]) & (np.nan_to_num(bands["quality"]).astype(int) & CLOUD == 0)


def means(values: Array, clear: Array) -> list[float]:
    """Return the mean of each image over its clear pixels; NaN if there is none."""
    counts = clear.sum(axis=(1, 2))
    sums = np.where(clear, values, 0.0).sum(axis=(1, 2))
    return [float(total / count) if count else np.nan for total, count in zip(sums, counts, strict=True)]


def ndvi(bands: dict[str, Array]) -> Array:
    nir, red = (bands[name] * 2.75e-05 - 0.2 for name in ("nir", "red"))
    return (nir - red) / (nir + red)


SCORES: dict[str, Callable[[dict[str, Array]], Array]] = {
    "NDVI": ndvi,
    "-ndvi": lambda bands: -ndvi(bands),
    "SR_B5 / red": lambda bands: bands["nir"] / bands["red"],
    "NDVI - 0.01 * CLOUD_COVER": lambda bands: ndvi(bands) - 0.01 * cloud_cover(bands),
    "-CLOUD_COVER": lambda bands: -cloud_cover(bands),
    "sqrt(SR_B5 - 14000)": lambda bands: np.sqrt(np.where(bands["nir"] >= 14_000, bands["nir"] - 14_000, np.nan)),
}


def cloud_cover(bands: dict[str, Array]) -> Array:
    values = np.array([CLOUD_COVER.get(number, np.nan) for number in range(COUNT)])
    return values[:, None, None] + np.zeros_like(bands["red"])


def frames_of(run: eechips.Run) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return each unit of a run, and the rows of its frames in layers.parquet."""
    assert set(run.units["state"]) == {"done"}
    rows = pd.read_parquet(run.path / "layers.parquet")
    return [(unit, rows[rows["position"] == i].sort_values("frame")) for i, unit in enumerate(run.units["unit"])]


def images_of(rows: pd.DataFrame) -> list[int]:
    return [int(source[-1]) for sources in rows["sources"] if sources is not None for source in sources]


def check_best(run: eechips.Run, formula: str, count: int, min_clear: float) -> None:
    """Check the images and the scores of frames against the best of all images by numpy."""
    has_changed = False
    for unit, rows in frames_of(run):
        bands = windows(unit)
        clear, values = clear_of(bands), SCORES[formula](bands)
        scores, shares = means(values, clear & np.isfinite(values)), clear.mean(axis=(1, 2))
        there = [n for n in range(COUNT) if shares[n] > 0 and shares[n] >= min_clear]
        best = sorted(there, key=lambda n: (np.isnan(scores[n]), -np.nan_to_num(scores[n]), -shares[n]))[:count]
        has_changed |= set(best) != set(sorted(there, key=lambda n: -shares[n])[:count])
        assert images_of(rows) == sorted(best)
        assert rows["score"].to_list() == pytest.approx([scores[n] for n in sorted(best)], rel=1e-6, nan_ok=True)
        assert rows["clear_fraction"].to_list() == pytest.approx([shares[n] for n in sorted(best)], abs=1e-6)
    assert has_changed  # otherwise the clearest images are the best, and the test finds nothing


@pytest.mark.exhaustive
@pytest.mark.parametrize("formula", slow_except(SCORES, *list(SCORES)[:1]))
def test_frames_have_the_highest_scores_of_all_images_that_are_clear_enough(
    server: Server, tmp_path: Path, formula: str
) -> None:
    check_best(sample(server, tmp_path / "run", frames=2, min_clear=0.3, rank_by=formula), formula, 2, 0.3)


@pytest.mark.slow
def test_an_image_without_a_score_is_taken_last(server: Server, tmp_path: Path) -> None:
    """The fourth image lacks the property; the last one shows no clear pixel, and is never a frame."""
    run = sample(server, tmp_path / "run", frames=6, rank_by="CLOUD_COVER", total=2)
    for _, rows in frames_of(run):
        images, scores = images_of(rows), rows["score"].to_list()
        assert ALL_CLOUDED not in images
        assert 3 in images
        expected = [CLOUD_COVER.get(number, np.nan) for number in images]
        assert scores[: len(images)] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    two = sample(server, tmp_path / "two", frames=2, rank_by="CLOUD_COVER", total=2)
    assert [3 in images_of(rows) for _, rows in frames_of(two)] == [False, False]


@pytest.mark.slow
def test_a_frame_of_a_period_is_the_best_of_its_images(server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"every": "3 months", "rank_by": "ratio", "index": "ratio=nir/red", "total": 3}
    run = sample(server, tmp_path / "run", **options, format="tif-stack")
    for unit, rows in frames_of(run):
        bands = windows(unit)
        clear = clear_of(bands)
        ratio = (bands["nir"].astype(np.float32) / bands["red"].astype(np.float32)).astype(float)
        scores = means(ratio, clear)
        parts = [[n for n in part if clear[n].any()] for part in (range(3), range(3, COUNT))]
        assert images_of(rows) == [max(part, key=lambda n: scores[n]) for part in parts if part]
        scores = [scores[n] for n in images_of(rows)]
        assert rows["score"].dropna().to_list() == pytest.approx(scores, rel=1e-6)
    assert pyarrow.parquet.read_schema(run.path / "layers.parquet").equals(schema_of(LAYERS))
    loaded = eechips.load(run, rows="files")
    assert loaded["score"].to_list() == pytest.approx(run.layers["score"].to_list(), nan_ok=True)


@pytest.mark.slow
def test_photographs_without_a_cloud_mask_are_ranked(server: Server, tmp_path: Path) -> None:
    run = sample(
        server, tmp_path / "run", dataset="NAIP", bands="R,G,B", frames=1, rank_by="-NDVI", total=3, format="tif"
    )
    for unit, rows in frames_of(run):
        bands = windows(unit)
        nir, red = (np.floor(bands[name] / 100) % 256 for name in ("nir", "red"))
        valid = np.isfinite(nir) & (nir + red > 0)
        scores = means((red - nir) / np.where(valid, nir + red, 1), valid)
        assert images_of(rows) == [int(np.argmax(scores))]
        assert rows["score"].to_list() == pytest.approx([max(scores)], rel=1e-6)


@pytest.mark.slow
def test_a_dataset_without_a_record_is_ranked_by_the_images_that_have_the_band(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "run", dataset=OWN, bands="red", frames=5, rank_by="b('1') - CLOUD_COVER", total=1)
    ((unit, rows),) = frames_of(run)
    bands = windows(unit)
    scores = means(bands["nir"] - cloud_cover(bands), np.isfinite(bands["nir"]))
    assert images_of(rows) == [0, 1, 3, 4, 5]
    assert rows["score"].to_list() == pytest.approx([scores[n] for n in images_of(rows)], rel=1e-6, nan_ok=True)


@pytest.mark.slow
def test_scores_cost_no_request_and_runs_without_them_have_no_column(server: Server, tmp_path: Path) -> None:
    def requests(out: str, **options: Any) -> int:
        before = sum(server.requests().values())
        sample(server, tmp_path / out, frames=2, **options)
        return int(sum(server.requests().values()) - before)

    plain = requests("plain")
    assert requests("bands", rank_by="NDVI") == plain
    assert requests("property", rank_by="CLOUD_COVER") == plain
    run = eechips.open_run(tmp_path / "plain")
    for columns in (run.layers.columns, eechips.load(run, rows="files").columns):
        assert "clear_fraction" in columns
        assert "score" not in columns
    assert "score" not in pd.read_parquet(run.path / "layers.parquet").columns
    assert "rank_by" not in json.dumps(run.info)
    assert all("score" not in frame for unit in run.units["unit"] for frame in unit["frames"])


@pytest.mark.slow
@pytest.mark.parametrize("rank_by", [None, "NDVI"])
def test_a_lost_ledger_is_made_again_of_the_tables(server: Server, tmp_path: Path, rank_by: str | None) -> None:
    options: dict[str, Any] = {"frames": 2, "rank_by": rank_by, "total": 2}
    run = sample(server, tmp_path / "run", **options)
    layers = run.layers
    (run.path / LEDGER_NAME).write_bytes(b"no database")
    recover_ledger(run.path)
    pd.testing.assert_frame_equal(eechips.open_run(run.path).layers, layers)
    assert ("score" in layers.columns) == (rank_by is not None)


@pytest.mark.slow
def test_the_command_line_takes_a_formula_that_begins_with_a_minus(server: Server, tmp_path: Path) -> None:
    words = (
        f"sample --dataset {L8} --bands SR_B4 --total 2 --roi={AROUND} --size 16 --start 2020-01-01 --end 2020-07-01"
    )
    words += f" --frames 1 --rank-by -CLOUD_COVER --endpoint {server.url} --executor threads --out {tmp_path / 'run'}"
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 0
    assert set(eechips.open_run(tmp_path / "run").layers["score"]) <= {-31.5, -7.25, -12.0, -7.125}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_by": "NDVY"}, "has no band, spectral index or numeric property 'NDVY'; did you mean 'NDYI' or 'NDVI'"),
        ({"rank_by": "-CLOUD_COVR"}, "numeric property 'CLOUD_COVR'; did you mean 'CLOUD_COVER'"),
        ({"rank_by": "SPACECRAFT_ID"}, "the property SPACECRAFT_ID is not a number; the first image has 'LANDSAT_8'"),
        ({"rank_by": "mean(NDVI)"}, "calls 'mean', which is not a function"),
        ({"rank_by": "NDVI +"}, "cannot be read"),
        ({"rank_by": "3"}, "has no band"),
        ({"rank_by": "NDVI", "frames": None}, "`rank_by` is for several frames: give `frames` or `every`"),
        ({"rank_by": "NDVI", "frames": None, "every": "month:mean"}, "excludes every='month:mean'"),
        ({"rank_by": "NDVI", "dataset": OWN, "bands": "red"}, "property 'NDVI'; there are red, 1, extra, CLOUD_COVER"),
    ],
)
def test_a_wrong_score_is_refused(server: Server, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        sample(server, tmp_path / "run", **{"frames": 2, **options})


def test_frames_nearest_to_a_date_have_no_score(server: Server, tmp_path: Path) -> None:
    table = tmp_path / "events.csv"
    table.write_text("lon,lat,day\n-104.98,39.735,2020-02-01\n")
    options: dict[str, Any] = {"points": table, "columns": "date=day", "near": "40d", "total": None, "roi": None}
    with pytest.raises(UsageError, match="`rank_by` chooses images by their pixels"):
        sample(server, tmp_path / "run", frames="2:nearest", rank_by="NDVI", start=None, end=None, **options)
