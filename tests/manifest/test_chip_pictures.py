"""Pictures of chips for notebooks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
from affine import Affine
from PIL import Image

from eechips.formats import npy
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.pictures.chip_pictures import GAP, Picture, encode_png, render_chip, render_sheet
from eechips.manifest.pictures.run_preview import MAX_BYTES, contact_sheet
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.quality.chip_pixels import decode
from local_tests.support.call_counts import count_calls

Pixels = npt.NDArray[Any]


def random_pixels(seed: int, shape: tuple[int, ...], high: int = 256, dtype: str = "uint8") -> Pixels:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def geotiff(path: Path, pixels: Pixels, mask: Pixels | None = None) -> Path:
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", crs="EPSG:32613", transform=Affine(10, 0, 5e5, 0, -10, 4e6), **profile) as file:
        file.write(pixels)
        if mask is not None:
            file.write_mask(mask)
    return path


def rendered(path: Path, edge: int) -> Picture:
    return render_chip(path, edge).picture()


def test_pictures_are_shown_as_they_are(tmp_path: Path) -> None:
    pixels = random_pixels(0, (32, 32, 3))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (rendered(tmp_path / "a.png", 32) == pixels.transpose(2, 0, 1)).all()
    grey = random_pixels(1, (32, 32))
    Image.fromarray(grey).save(tmp_path / "b.png")
    assert (rendered(tmp_path / "b.png", 32) == np.stack([grey] * 3)).all()


def test_chips_of_one_sheet_are_stretched_alike(tmp_path: Path) -> None:
    dark = random_pixels(3, (3, 16, 16), 1000, "uint16")
    paths = [geotiff(tmp_path / "dark.tif", dark), geotiff(tmp_path / "bright.tif", dark + 2000)]
    shown = render_sheet([paths], 16)
    left, right = shown[:, GAP : GAP + 16, GAP : GAP + 16], shown[:, GAP : GAP + 16, GAP + 16 + GAP : -GAP]
    assert left.max() < 100
    assert right.min() > 150
    np.testing.assert_allclose(*(rendered(path, 16).astype(int) for path in paths), atol=1)  # each by itself


def test_an_image_with_alpha_and_nodata_is_shown_without_a_warning(tmp_path: Path) -> None:
    """As quarter quads of NAIP are; warnings are errors here."""
    path = geotiff(tmp_path / "quad.tif", random_pixels(0, (4, 8, 8), 255))
    with rasterio.open(path, "r+") as file:
        file.nodata = 255
        file.colorinterp = [*file.colorinterp[:3], rasterio.enums.ColorInterp.alpha]
    assert rendered(path, 8).shape == (3, 8, 8)
    assert decode(path.read_bytes(), "tif").values.shape == (4, 8, 8)


def test_transparent_pixels_are_grey(tmp_path: Path) -> None:
    pixels = random_pixels(0, (8, 8, 4))
    pixels[..., 3] = 255
    pixels[2:4, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    shown = rendered(tmp_path / "a.png", 8)
    assert (shown[:, 2:4] == 225).all()
    assert (shown[:, :2] == pixels[:2, :, :3].transpose(2, 0, 1)).all()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_data_are_stretched_from_the_2nd_to_the_98th_percentile(dtype: str, suffix: str, tmp_path: Path) -> None:
    pixels = random_pixels(2, (4, 50, 50), 3000, dtype)
    valid = np.ones((50, 50), dtype=bool)
    valid[:10] = False
    pixels[:, :10] = 32000  # what is masked does not count
    path = tmp_path / f"chip.{suffix}"
    if suffix == "tif":
        geotiff(path, pixels, valid)
    else:
        array = np.zeros((50, 50), dtype=[*((name, dtype) for name in "abcd"), ("mask", "bool")])
        for name, band in zip("abcd", pixels, strict=True):
            array[name] = band
        array["mask"] = valid
        path.write_bytes(npy.encode(array))
    shown = rendered(path, 50)
    assert shown.shape == (3, 50, 50)
    assert (shown[:, :10] == 225).all()
    for band, found in zip(pixels, shown, strict=False):
        low, high = np.percentile(band[valid], (2, 98))
        expected = np.clip((band - low) / (high - low), 0, 1) * 255
        assert np.abs(found[valid] - expected[valid]).max() <= 1


@pytest.mark.parametrize("ends", [(-1.7e308, 1.7e308), (0.0, 5e-324), (0.0, 1e-310)])
def test_chips_with_values_at_the_ends_of_float64_are_shown_without_a_warning(
    ends: tuple[float, float], tmp_path: Path
) -> None:
    values = np.linspace(-1.0, 1.0, 64).reshape(8, 8) * 0.5 + 0.5
    pixels = (ends[0] * (1 - values) + ends[1] * values)[None]
    shown = rendered(geotiff(tmp_path / "a.tif", pixels), 8)
    assert np.all(np.diff(shown[0].astype(int).ravel()) >= 0)


def test_chips_with_nan_are_shown(tmp_path: Path) -> None:
    pixels = np.full((1, 8, 8), np.nan, dtype="float32")
    assert rendered(geotiff(tmp_path / "nan.tif", pixels), 8).shape == (3, 8, 8)
    pixels[0, 0, 0] = 5.0
    assert (rendered(geotiff(tmp_path / "one.tif", pixels), 8)[:, 0, 0] == 127).all()
    np.save(tmp_path / "plain.npy", np.zeros((4, 6)))
    assert rendered(tmp_path / "plain.npy", 12).shape == (3, 8, 12)
    np.save(tmp_path / "bands.npy", np.zeros((4, 6, 5)))
    assert rendered(tmp_path / "bands.npy", 6).shape == (3, 4, 6)
    np.save(tmp_path / "row.npy", np.zeros(4))
    with pytest.raises(ValueError, match="is not a picture"):
        rendered(tmp_path / "row.npy", 6)


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_codes_of_classes_have_the_same_colour_in_every_file(suffix: str, tmp_path: Path) -> None:
    codes = [np.array([[10, 10], [20, 80]], dtype="uint8"), np.array([[80, 80], [80, 10]], dtype="uint8")]
    pictures = []
    for number, values in enumerate(codes):
        path = tmp_path / f"{number}.{suffix}"
        if suffix == "tif":
            geotiff(path, values[None])
        else:
            np.save(path, values)
        assert render_chip(path, 2).has_classes
        pictures.append(rendered(path, 2))
    first, second = pictures
    assert (first[:, 0, 0] == second[:, 1, 1]).all()
    assert (first[:, 1, 1] == second[:, 0, 0]).all()
    assert len(np.unique(first.reshape(3, -1), axis=1).T) == 3


def test_chips_of_many_values_have_no_classes(tmp_path: Path) -> None:
    many = np.arange(64, dtype="uint8").reshape(1, 8, 8)
    assert not render_chip(geotiff(tmp_path / "many.tif", many), 8).has_classes
    assert not render_chip(geotiff(tmp_path / "deep.tif", many.astype("int16") // 60), 8).has_classes
    assert not render_chip(geotiff(tmp_path / "bands.tif", np.repeat(many // 60, 3, axis=0)), 8).has_classes
    Image.fromarray(many[0] // 60).save(tmp_path / "grey.png")
    assert not render_chip(tmp_path / "grey.png", 8).has_classes


def test_small_files_stay_small_unless_enlarged(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", np.zeros((1, 10, 20), dtype="uint16"))
    assert render_chip(path, 40).values.shape == (1, 20, 40)
    assert render_chip(path, 40, enlarges=False).values.shape == (1, 10, 20)
    assert render_chip(path, 10, enlarges=False).values.shape == (1, 5, 10)


def test_chips_lie_side_by_side(tmp_path: Path) -> None:
    for name, value, size in (("a", 10, (16, 16)), ("b", 20, (16, 8)), ("c", 30, (4, 4))):
        Image.fromarray(np.full(size, value, dtype="uint8")).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    whole = render_sheet([paths[:2], paths[2:]], 16)
    assert whole.shape == (3, 2 * (16 + GAP) + GAP, 2 * (16 + GAP) + GAP)
    assert (whole[:, GAP : GAP + 16, GAP : GAP + 16] == 10).all()
    assert (whole[:, GAP : GAP + 16, 2 * GAP + 16 + 4 : 2 * GAP + 16 + 12] == 20).all()  # in the middle of its square
    assert (whole[:, 2 * GAP + 16 : 2 * GAP + 32, GAP : GAP + 16] == 30).all()
    with Image.open(io.BytesIO(encode_png(whole))) as image:
        assert (np.asarray(image) == whole.transpose(1, 2, 0)).all()


def test_noise_is_made_small_enough(tmp_path: Path) -> None:
    """Noise cannot be compressed: the worst there is."""
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for i, path in enumerate(paths):
        Image.fromarray(random_pixels(i, (128, 128, 3))).save(path)
    found = contact_sheet(paths)
    assert len(found) <= MAX_BYTES
    with Image.open(io.BytesIO(found)) as image:
        assert image.width == 6 * (80 + GAP) + GAP


def test_a_single_large_file_is_read_at_the_size_of_the_picture(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "mosaic.tif", np.tile(np.arange(3000, dtype="uint16"), (1, 2000, 1)))
    with Image.open(io.BytesIO(contact_sheet([path]))) as image:
        assert image.width == 512 + 2 * GAP


@pytest.fixture
def large(tmp_path: Path) -> Run:
    """A run of 30,000 chips, of which a few are there."""
    units = 30_000
    folder = tmp_path / "run"
    (folder / "chips").mkdir(parents=True)
    with Ledger(folder / LEDGER_NAME) as ledger:
        planned = [WorkUnit(i, f"{i:064x}", '{"kind":"call","value":1}', f"chips/{i}") for i in range(units)]
        ledger.store_plan({}, planned)
        ledger.record([Record(position=i, state=State.DONE, file=f"chips/{i}.png", bytes=1) for i in range(units)])
    return Run(folder)


@pytest.mark.slow
def test_only_a_few_chips_of_a_large_run_are_read(large: Run) -> None:
    wanted = large.sample_files(12)
    assert len(wanted) == 12
    assert [wanted[0].name, wanted[-1].name] == ["0.png", "29999.png"]
    for i, path in enumerate(wanted):
        Image.fromarray(random_pixels(i, (32, 32, 3))).save(path)
    large._repr_html_()  # imports what it needs
    with count_calls() as calls:
        assert "base64" in large._repr_html_()
    assert sum(calls.values()) < 30_000, "one for each chip"


@pytest.mark.slow
def test_missing_files_are_left_out(large: Run) -> None:
    shown = large._repr_html_()
    assert "30,000 done" in shown
    assert "<img" not in shown
    (large.path / "chips" / "0.png").write_bytes(b"no picture")
    assert "No picture: " in large._repr_html_()


def test_tables_show_their_first_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["<b>", "x"] * 10, "value": range(20)})
    (tmp_path / "chips").mkdir()
    frame.to_parquet(tmp_path / "chips" / "a.parquet")
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.store_plan({}, [WorkUnit(0, "0" * 64, '{"kind":"call","value":1}', "a")])
        ledger.record([Record(position=0, state=State.DONE, file="chips/a.parquet", bytes=1, rows=20)])
    shown = Run(tmp_path)._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<td>4</td>" in shown
    assert "<td>5</td>" not in shown
    assert "<script" not in shown


@pytest.mark.parametrize("enlarges", [True, False])
@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (4, 0, 3)])
def test_an_array_without_pixels_is_no_picture(tmp_path: Path, shape: tuple[int, ...], enlarges: bool) -> None:
    path = tmp_path / "empty.npy"
    np.save(path, np.empty(shape))
    with pytest.raises(ValueError, match=r"is not a picture: it has [34] rows and 0 columns|it has 0 rows"):
        render_chip(path, 40, enlarges=enlarges)


def test_an_array_of_a_mask_alone_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    np.save(path, np.ones((2, 2), dtype=[("mask", bool)]))
    with pytest.raises(ValueError, match="is not a picture: it has a mask and no band"):
        render_chip(path, 40)


@pytest.mark.parametrize("header", ["{'descr': (", "{'descr': " + "1+" * 4000 + "1}", "[" * 99])
def test_an_array_whose_header_breaks_its_parser_is_no_picture(tmp_path: Path, header: str) -> None:
    """A report of a run of others lists it, and shows the rest."""
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(ValueError, match=r"a\.npy is a damaged array"):
        render_chip(path, 20)
