"""Chips of known datasets have their usual pictures; others are stretched alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine

from eechips.datasets import find_dataset, list_datasets
from eechips.formats import npy
from eechips.manifest.pictures.chip_pictures import describe_colours, render_chip, render_sheet
from eechips.manifest.pictures.display_styles import DisplayStyle, choose_style, display_styles
from eechips.reports.page import report
from eechips.reports.thumbnails import swatch
from tests.support.commands import run_command
from tests.support.finished_run import write_run

SIZE = 16


def styles(*aliases: str) -> tuple[DisplayStyle, ...]:
    return display_styles({"datasets": [{"id": known.id} for alias in aliases if (known := find_dataset(alias))]})


def geotiff(path: Path, bands: dict[str, Any], dtype: str) -> Path:
    profile = {"driver": "GTiff", "count": len(bands), "height": SIZE, "width": SIZE, "dtype": dtype}
    with rasterio.open(path, "w", crs="EPSG:32613", transform=Affine(10, 0, 5e5, 0, -10, 4e6), **profile) as file:
        file.write(np.stack([np.broadcast_to(np.asarray(band), (SIZE, SIZE)).astype(dtype) for band in bands.values()]))
        file.descriptions = tuple(bands)
    return path


def colour(path: Path, *aliases: str) -> list[int]:
    """Of the first pixel."""
    return [int(value) for value in render_chip(path, SIZE, styles=styles(*aliases)).picture()[:, 0, 0]]


SENTINEL = {"B2": 300, "B3": 1500, "B4": 3000, "B8": 4000}


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_a_chip_of_sentinel_2_is_natural_whatever_the_order_of_its_bands(tmp_path: Path, suffix: str) -> None:
    path = geotiff(tmp_path / "chip.tif", SENTINEL, "uint16")
    if suffix == "npy":
        path = tmp_path / "chip.npy"
        array = np.zeros((SIZE, SIZE), dtype=[(name, "uint16") for name in SENTINEL])
        for name, value in SENTINEL.items():
            array[name] = value
        path.write_bytes(npy.encode(array))
    assert colour(path, "WORLDCOVER", "S2") == [255, 127, 25]


def test_clouds_do_not_make_the_ground_black(tmp_path: Path) -> None:
    ground = geotiff(tmp_path / "ground.tif", {"B4": 1500, "B3": 1500, "B2": 1500}, "uint16")
    clouds = geotiff(tmp_path / "clouds.tif", {"B4": 15000, "B3": 15000, "B2": 15000}, "uint16")
    shown = render_sheet([[ground, clouds]], SIZE, styles("S2"))
    assert (shown[:, 8, 8] == 127).all()


def test_values_outside_the_dataset_are_stretched(tmp_path: Path) -> None:
    """Reflectances from 0 to 1, and temperatures in degrees."""
    ramp = np.linspace(0.0, 0.3, SIZE * SIZE).reshape(SIZE, SIZE)
    scaled = render_chip(
        geotiff(tmp_path / "a.tif", {"B4": ramp, "B3": ramp, "B2": ramp}, "float32"), SIZE, styles=styles("S2")
    )
    assert scaled.picture().min() == 0
    assert scaled.picture().max() == 255
    celsius = geotiff(tmp_path / "b.tif", {"LST_Day_1km": 100 * ramp}, "float32")
    assert len(np.unique(render_chip(celsius, SIZE, styles=styles("MODIS_LST")).picture())) > 50
    bytes_of = geotiff(tmp_path / "c.tif", {"B4": 200, "B3": 100, "B2": ramp * 800}, "uint8")
    assert render_chip(bytes_of, SIZE, styles=styles("S2")).style is None


def test_composites_of_a_dataset_are_painted_as_it_is(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", {"B4": 3000, "B3": 1500, "B2": 300}, "float32")
    assert colour(path, "S2") == [255, 127, 25]


def test_classes_have_the_colours_and_names_of_the_catalogue(tmp_path: Path) -> None:
    cover = geotiff(tmp_path / "a.tif", {"Map": 10 + 70 * (np.arange(SIZE) % 2)}, "uint8")
    assert colour(cover, "WORLDCOVER") == [0x00, 0x64, 0x00]
    (painting,) = describe_colours([render_chip(cover, SIZE, styles=styles("S2", "WORLDCOVER"))])
    assert painting.classes == ((10, "Tree cover", "006400"), (80, "Permanent water bodies", "0064c8"))
    assert colour(geotiff(tmp_path / "b.tif", {"landcover": 41}, "uint8"), "NLCD") == [0x68, 0xAB, 0x5F]
    assert colour(geotiff(tmp_path / "c.tif", {"label": 6}, "uint8"), "DYNAMICWORLD") == [0xC4, 0x28, 0x1B]


@pytest.mark.parametrize("alias", [known.alias for known in list_datasets() if known.classes])
def test_every_named_class_has_a_colour(alias: str) -> None:
    known = find_dataset(alias)
    assert known is not None
    assert known.class_colours.keys() == known.classes.keys()


def test_a_band_of_bytes_that_is_no_map_is_grey(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", {"R": 100, "G": 150, "B": 200}, "uint8")
    assert colour(path, "NAIP") == [100, 150, 200]


def test_one_band_has_the_palette_of_its_dataset(tmp_path: Path) -> None:
    ramp = np.linspace(13000, 16500, SIZE * SIZE).reshape(SIZE, SIZE)
    shown = render_chip(
        geotiff(tmp_path / "a.tif", {"LST_Day_1km": ramp}, "uint16"), SIZE, styles=styles("MODIS_LST")
    ).picture()
    assert shown[:, 0, 0].tolist() == [0x04, 0x02, 0x74]
    assert shown[:, -1, -1].tolist() == [0xFF, 0x00, 0x00]


def test_elevations_are_stretched_alike_in_all_chips(tmp_path: Path) -> None:
    low, high = (geotiff(tmp_path / f"{z}.tif", {"elevation": z + np.arange(SIZE)}, "int16") for z in (1500, 2500))
    shown = render_sheet([[low, high]], SIZE, styles("DEM"))
    assert shown[:, 4:20, 4:20].max() < 10
    assert shown[:, 4:20, 24:40].min() > 245


@pytest.mark.parametrize(
    ("names", "painted"),
    [
        (["blue", "green", "red", "nir"], [2, 1, 0]),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B5"], [2, 1, 0]),
        (["SR_B1", "SR_B2", "SR_B3"], [2, 1, 0]),
        (["B8", "B4", "B3"], [0, 1, 2]),
        (["VV", "VH"], [0]),
        (["", "", ""], [0, 1, 2]),
        (["B"], [0]),
    ],
)
def test_bands_of_unknown_data_are_red_green_and_blue_by_their_names(names: list[str], painted: list[int]) -> None:
    assert choose_style(names, ()) == (painted, None)


def test_radar_in_decibels_is_stretched_from_percentile_to_percentile(tmp_path: Path) -> None:
    ramp: npt.NDArray[np.float64] = np.linspace(-25, 0, SIZE * SIZE).reshape(SIZE, SIZE)
    seen = render_chip(geotiff(tmp_path / "a.tif", {"VV": ramp, "VH": ramp - 6}, "float32"), SIZE)
    assert [painting.text for painting in describe_colours([seen])] == ["VV, -24.5 to -0.5"]
    assert (seen.picture().min(), seen.picture().max()) == (0, 255)


@pytest.mark.parametrize(
    "info", [{}, {"datasets": None}, {"datasets": ["x", {"id": 7}, {"id": "projects/p/assets/a"}]}]
)
def test_runs_of_unknown_datasets_have_no_styles(info: dict[str, Any]) -> None:
    assert display_styles(info) == ()


def test_report_and_contact_sheet_say_how_chips_are_painted(tmp_path: Path) -> None:
    optical = geotiff(tmp_path / "a.tif", SENTINEL, "uint16").read_bytes()
    cover = geotiff(tmp_path / "b.tif", {"Map": 10}, "uint8").read_bytes()
    units = [({"kind": "point", "n": n}, {"S2": ("tif", optical), "WORLDCOVER": ("tif", cover)}) for n in range(2)]
    known = [{"id": "COPERNICUS/S2_SR_HARMONIZED"}, {"id": "ESA/WorldCover/v200"}]
    run = write_run(tmp_path / "run", units, datasets=known)
    page = report(run).read_text()
    assert "S2: B4, B3, B2 as red, green and blue, 0 to 3,000." in page
    assert "Tree cover" in page
    assert swatch("006400") in page
    found = run_command("preview", run.path)
    assert "rendered: B4, B3, B2 as red, green and blue, 0 to 3,000" in found.output
