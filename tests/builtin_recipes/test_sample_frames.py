"""``eechips sample --frames`` and ``--every``: time series of chips, against numpy and rasterio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
from affine import Affine

import eechips
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.manifest.pictures.frame_rows import read_frame_rows
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff

Array = npt.NDArray[Any]

L8, RADAR = "LANDSAT/LC08/C02/T1_L2", "users/someone/radar"
CRS, TRANSFORM = "EPSG:32613", Affine(30, 0, 500_000, 0, -30, 4_400_000)
SHAPE = (120, 120)
CLOUD = 1 << 3
# The last two images are of one pass: neighbouring scenes, which overlap.
TIMES = tuple(
    f"2020-{time}"
    for time in ("01-05T17:00:00", "01-21T17:00:00", "02-06T17:00:00", "03-09T17:00:00", "03-09T17:00:24")
)
RADAR_TIMES = ("2020-01-07T01:00:00", "2020-02-05T01:00:00", "2020-06-01T01:00:00")
LABELS = "projects/p/assets/labels"
AROUND = "-104.9995,39.7215,-104.962,39.747"


def scenes() -> tuple[Array, Array]:
    """Values and quality of five images in order of time, clouded in different places; shape (image, row, column)."""
    values = np.arange(1, SHAPE[0] * SHAPE[1] * 5 + 1, dtype=np.int64).reshape(5, *SHAPE) % 60_000 + 1
    quality = np.zeros((5, *SHAPE), dtype=np.uint16)
    quality[0, :40, :] = CLOUD
    quality[1, :, :70] = CLOUD
    quality[2, 60:, :] = CLOUD
    quality[3, 20:90, 20:90] = CLOUD
    quality[4, 30:60, 30:60] = CLOUD
    return values.astype(np.uint16), quality


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Server:
    folder = tmp_path_factory.mktemp("series")
    for number, (time, *bands) in enumerate(zip(TIMES, *scenes(), strict=True)):
        path = folder / f"{number}.tif"
        write_geotiff(path, CRS, TRANSFORM, np.stack(bands))
        options: dict[str, Any] = {"bands": ["SR_B4", "QA_PIXEL"], "time_start": time}
        ingest(path, folder / "store", f"{L8}/scene_{number}", **options)
    for number, time in enumerate(RADAR_TIMES):
        path = folder / f"radar_{number}.tif"
        write_geotiff(path, CRS, TRANSFORM, np.full((1, *SHAPE), number + 1, dtype=np.float32))
        ingest(path, folder / "store", f"{RADAR}/pass_{number}", bands=["VV"], time_start=time)
    ingest(folder / "radar_2.tif", folder / "store", LABELS, bands=["label"])
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def sample(server: Server, out: Path, **options: Any) -> eechips.Run:
    given = {
        "dataset": L8,
        "bands": "SR_B4",
        "total": 12,
        "roi": AROUND,
        "size": 16,
        "executor": "threads",
        "quiet": True,
    }
    given |= {"rate": None, "endpoint": server.url, "out": out, "start": "2020-01-01", "end": "2020-07-01"}
    return eechips.sample(**{**given, **options})


def window(grid: dict[str, Any], array: Array) -> Array:
    """Return the part of an array on the images' pixels that a chip covers; zero beyond them."""
    chip = Grid.from_json(grid)
    column, row = (round(float(v)) for v in Grid(CRS, tuple(TRANSFORM)[:6], 1, 1).pixel(*chip.xy(0, 0)))
    padded = np.pad(array, 64)
    return padded[row + 64 : row + 64 + chip.height, column + 64 : column + 64 + chip.width]


def frames_of(run: eechips.Run) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return each unit of a run, and the rows of its frames in layers.parquet."""
    rows = pd.read_parquet(run.path / "layers.parquet")
    units = enumerate(run.units["unit"])
    return [(unit, rows[rows["position"] == position].sort_values("frame")) for position, unit in units]


def read(path: Path) -> tuple[Array, Array]:
    with rasterio.open(path) as file:
        return file.read(1), file.read_masks(1) > 0


def clear_shares(unit: dict[str, Any]) -> list[float]:
    _, quality = scenes()
    covered = window(unit["grid"], np.ones(SHAPE, dtype=bool))
    return [float((covered & (window(unit["grid"], each) & CLOUD == 0)).mean()) for each in quality]


@pytest.mark.slow
def test_frames_are_the_clearest_images_with_the_pixels_of_the_files(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "run", frames=3)
    assert set(run.units["state"]) == {"done"}
    values, _ = scenes()
    for unit, rows in frames_of(run):
        shares = clear_shares(unit)
        chosen = [int(frame["image"].rpartition("_")[2]) for frame in unit["frames"] if "image" in frame]
        best = sorted(filter(None, distinct(unit)), reverse=True)[:3]
        assert sorted((shares[n] for n in chosen), reverse=True) == best
        assert chosen == sorted(chosen)
        assert not {3, 4} <= set(chosen)
        assert len(rows) == 3
        for number, row in zip(chosen, rows.itertuples(), strict=False):
            assert row.clear_fraction == pytest.approx(shares[number], abs=1e-6)
            assert list(row.sources) == [f"{L8}/scene_{number}"]
            assert list(row.dates) == [f"{TIMES[number]}Z"]
            pixels, valid = read(run.path / row.file)
            np.testing.assert_array_equal(pixels[valid], window(unit["grid"], values[number])[valid])
            np.testing.assert_array_equal(valid, window(unit["grid"], np.ones(SHAPE, dtype=bool)))


@pytest.mark.slow
def test_frames_without_an_image_are_masked_and_keep_their_place(server: Server, tmp_path: Path) -> None:
    before = server.requests().get("image:computePixels", 0)
    run = sample(server, tmp_path / "run", every="month", total=4, share_requests=False, method="pixels")
    shown = sum("image" in frame for unit in run.units["unit"] for frame in unit["frames"])
    assert server.requests()["image:computePixels"] - before == shown < 4 * 6
    for unit, rows in frames_of(run):
        assert [row.start for row in rows.itertuples()] == [f"2020-0{month}-01" for month in range(1, 7)]
        images = ["image" in frame for frame in unit["frames"]]
        assert images[3:] == [False, False, False]
        for has_image, row in zip(images, rows.itertuples(), strict=True):
            assert (row.valid_fraction == 0.0) == (not has_image)
            assert row.dtype == "uint16"
    assert set(run.units["state"]) == {"done"}
    assert run.units["valid_fraction"].max() < 1.0


@pytest.mark.slow
def test_places_with_missing_frames_are_skipped_as_asked(server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"frames": 3, "min_clear": 0.9}
    skipped = sample(server, tmp_path / "skip", on_empty="skip", **options)
    short = ["empty" if sum(s >= 0.9 for s in distinct(unit)) < 3 else "done" for unit, _ in frames_of(skipped)]
    assert {"empty", "done"} == set(short)
    assert list(skipped.units["state"]) == short


def distinct(unit: dict[str, Any]) -> list[float]:
    """Return the clear shares of a place by acquisition."""
    shares = clear_shares(unit)
    return [*shares[:3], max(shares[3:])]


@pytest.mark.slow
def test_redrawn_places_have_all_frames(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "run", frames=3, min_clear=0.9, on_empty="redraw", total=4)
    done = run.units[run.units["state"] == "done"]
    assert len(done) == 4
    for unit in done["unit"]:
        assert all(frame["clear"] >= 0.9 for frame in unit["frames"])


@pytest.mark.slow
def test_a_reduced_period_equals_numpy(server: Server, tmp_path: Path) -> None:
    run = sample(server, tmp_path / "run", every="month:mean", mask="auto", end="2020-03-01", total=6)
    values, quality = scenes()
    for unit, rows in frames_of(run):
        months = [(0, 1), (2,)]
        for images, row in zip(months, rows.itertuples(), strict=True):
            clear = np.stack([window(unit["grid"], quality[n]) & CLOUD == 0 for n in images])
            clear &= window(unit["grid"], np.ones(SHAPE, dtype=bool))
            stack = np.ma.array(np.stack([window(unit["grid"], values[n]) for n in images]), mask=~clear)
            mean = stack.mean(axis=0)
            pixels, valid = read(run.path / row.file)
            assert pixels.dtype == np.float32
            np.testing.assert_array_equal(valid, ~np.ma.getmaskarray(mean))
            np.testing.assert_array_equal(pixels[valid], mean.compressed().astype(np.float32))


@pytest.mark.slow
def test_a_second_sensor_is_the_image_nearest_in_time(server: Server, tmp_path: Path) -> None:
    run = sample(
        server, tmp_path / "run", dataset=(L8, RADAR), bands=(f"{L8}:SR_B4", f"{RADAR}:VV"),
        every="month", end="2020-04-01", near=("radar:3d",), total=3,
    )  # fmt: skip
    for unit, rows in frames_of(run):
        radar = rows[rows["series"] == "radar"]
        assert list(radar["layer"]) == ["radar-t00", "radar-t01", "radar-t02"]
        for frame, row in zip(unit["frames"], radar.itertuples(), strict=True):
            moments = pd.to_datetime(list(RADAR_TIMES), utc=True)
            gaps = abs(moments - pd.Timestamp(frame["time"])) if "time" in frame else None
            nearest = int(gaps.argmin()) if gaps is not None and gaps.min() <= pd.Timedelta(days=3) else None
            assert row.sources is None if nearest is None else list(row.sources) == [f"{RADAR}/pass_{nearest}"]
            pixels, valid = read(run.path / row.file)
            assert (pixels[valid] == (0 if nearest is None else nearest + 1)).all()
            assert valid.any() == (nearest is not None)


def test_an_image_of_labels_needs_no_time(server: Server, tmp_path: Path) -> None:
    """Whether an asset of one's own is an image is known once it is asked for."""
    options: dict[str, Any] = {
        "dataset": (L8, RADAR, LABELS),
        "bands": f"{L8}:SR_B4",
        "every": "month",
        "dry_run": True,
    }
    assert sample(server, tmp_path / "run", end="2020-03-01", near=("radar:3d",), **options).units == 12


@pytest.mark.slow
def test_a_sensor_without_an_image_in_any_frame_has_the_types_of_its_bands(server: Server, tmp_path: Path) -> None:
    run = sample(
        server, tmp_path / "run", dataset=(L8, RADAR), bands=(f"{L8}:SR_B4", f"{RADAR}:VV"),
        every="month", end="2020-03-01", near=("radar:1h",), total=2,
    )  # fmt: skip
    radar = run.layers[run.layers["series"] == "radar"]
    assert (radar["valid_fraction"] == 0.0).all()
    assert set(radar["dtype"]) == {"float32"}
    assert {str(read(run.path / file)[0].dtype) for file in radar["file"]} == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize(("reducer", "dtype"), [("min", "uint16"), ("mosaic", "uint16"), ("mean", "float32")])
def test_a_reduced_period_without_an_image_has_the_type_of_the_others(
    server: Server, tmp_path: Path, reducer: str, dtype: str
) -> None:
    run = sample(server, tmp_path / "run", every=f"month:{reducer}", mask="auto", end="2020-05-01", total=1)
    assert run.layers["valid_fraction"].iloc[-1] == 0.0
    assert list(run.layers["dtype"]) == [dtype] * 4


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_a_stack_of_frames_is_one_file_with_the_pixels_and_masks_of_the_frames(
    server: Server, tmp_path: Path, masked: bool
) -> None:
    options: dict[str, Any] = {
        "dataset": (L8, RADAR), "bands": (f"{L8}:SR_B4,QA_PIXEL", f"{RADAR}:VV"), "every": "month",
        "end": "2020-05-01", "near": ("radar:3d",), "total": 3, "mask": "auto" if masked else "none",
    }  # fmt: skip
    single = sample(server, tmp_path / "single", **options)
    run = sample(server, tmp_path / "stack", format="tif-stack", **options)
    rows = run.layers
    assert rows["file"].nunique() == 6
    for (_, one), (_, many) in zip(single.layers.iterrows(), rows.iterrows(), strict=True):
        same = ["series", "frame", "start", "end", "clear_fraction", "valid_fraction", "dates", "sources", "bands"]
        assert one[same].dropna().to_dict() == many[same].dropna().to_dict()
        bands = range(int(many["frame"]) * len(many["bands"]) + 1, (int(many["frame"]) + 1) * len(many["bands"]) + 1)
        with rasterio.open(single.path / one["file"]) as frame, rasterio.open(run.path / many["file"]) as file:
            valid = frame.dataset_mask() > 0
            np.testing.assert_array_equal(file.read_masks(list(bands)) > 0, np.stack([valid] * len(bands)))
            np.testing.assert_array_equal(file.read(list(bands))[:, valid], frame.read()[:, valid])
            assert (file.crs, file.transform, file.count) == (frame.crs, frame.transform, 4 * len(bands))
            time = many["dates"][0] if many["dates"] else f"{many['start']}/{many['end']}"
            assert [file.descriptions[band - 1] for band in bands] == [f"{name} {time}" for name in many["bands"]]
    assert eechips.verify(run.path) == []


@pytest.mark.slow
def test_an_array_of_frames_has_the_frames_first(server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"every": "month", "end": "2020-05-01", "total": 2}
    single = sample(server, tmp_path / "single", format="npy", **options)
    run = sample(server, tmp_path / "stack", format="npy-stack", **options)
    assert run.units["file"].map(lambda name: name.count(".")).max() == 1
    for position, file in enumerate(run.units["file"]):
        frames = [np.load(single.path / each) for each in single.layers.loc[position, "file"]]
        np.testing.assert_array_equal(np.load(run.path / file), np.stack(frames))
    np.testing.assert_array_equal(
        eechips.stack(run, masked=True, lazy=False).chips, eechips.stack(single, masked=True, lazy=False).chips
    )
    sheets = [read_frame_rows(each.path, rows=9, columns=9) for each in (single, run)]
    assert [[(row.name, [chip.label for chip in row.chips]) for row in sheet] for sheet in sheets[:1]] == [
        [(row.name, [chip.label for chip in row.chips]) for row in sheet] for sheet in sheets[1:]
    ]
    assert len(sheets[1]) == 2


@pytest.mark.slow
def test_a_stack_is_fetched_again_after_its_file_was_lost(server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"every": "month", "end": "2020-03-01", "total": 2, "format": "tif-stack"}
    run = sample(server, tmp_path / "run", **options)
    lost = run.path / run.units["file"][1]
    whole = lost.read_bytes()
    lost.write_bytes(whole[:-1])
    assert [problem.file for problem in eechips.verify(run.path)] == [run.units["file"][1]]
    lost.unlink()
    again = sample(server, tmp_path / "run", **options)
    assert lost.read_bytes() == whole
    assert list(again.layers["frame"]) == [0, 1, 0, 1]


@pytest.mark.slow
def test_frames_before_and_after_a_date_of_the_table(server: Server, tmp_path: Path) -> None:
    table = tmp_path / "events.csv"
    table.write_text("lon,lat,day\n-104.98,39.735,2020-02-01\n")
    run = sample(
        server, tmp_path / "run", total=None, roi=None, points=table, columns="date=day", near="40d",
        frames="2:before-after", start=None, end=None,
    )  # fmt: skip
    ((unit, _),) = frames_of(run)
    first, second = (frame["time"][:10] for frame in unit["frames"])
    assert first < "2020-02-01" <= second


@pytest.mark.slow
def test_the_choice_of_frames_costs_two_requests_for_many_chips(server: Server, tmp_path: Path) -> None:
    def planned(out: str, **options: Any) -> int:
        before = sum(server.requests().values())
        sample(server, tmp_path / out, dry_run=True, **options)
        return int(sum(server.requests().values()) - before)

    assert planned("frames", frames=3) == planned("plain") + 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 2, "every": "month"}, "exclude each other"),
        ({"frames": 0}, "must be 1 to 10,000"),
        ({"frames": 2, "start": None}, "need `start` and `end`"),
        ({"min_clear": 0.5}, "`min_clear` is for several frames"),
        ({"frames": 2, "min_clear": 1.5}, "from 0 to 1"),
        ({"every": "month:means"}, "did you mean"),
        ({"every": "month:mean", "min_clear": 0.5}, "excludes every='month:mean'"),
        ({"every": "fortnight"}, "is not a step of time"),
        ({"frames": "2:nearest"}, "needs the date of each place"),
        ({"frames": "2:best"}, "the choice is one of clearest"),
        ({"format": "tif-stack"}, "format='tif-stack' is for several frames"),
        ({"frames": 2, "format": "png-stack"}, "one of png, jpg, tif, npy, tif-stack, npy-stack"),
        ({"frames": 2, "grid": "thumb"}, "grid='native'"),
        ({"frames": 2, "provenance": True}, "of every frame anyway"),
        ({"frames": 2, "dataset": f"{RADAR}/pass_0", "bands": None}, "is one image"),
        ({"frames": 2, "near": ("S1:6d",)}, "near='S1:6d'"),
        ({"frames": 2, "dataset": (L8, RADAR), "bands": f"{L8}:SR_B4"}, "as in near='radar:6d'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    server: Server, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sample(server, tmp_path / "run", **options)
