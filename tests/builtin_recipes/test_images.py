"""``eechips images`` from end to end, on the demo planet; test_real_images.py has those of real data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.features import geometry_mask

import eechips
from eechips.builtin_recipes.rasters.composites import Composites
from eechips.builtin_recipes.rasters.images import Images
from eechips.client.chip_parameters import rendered
from eechips.client.http.http_messages import HttpRequest
from eechips.client.template_requests import TemplateRequests
from eechips.errors import RegionError, UnknownDatasetError, UsageError
from eechips.geo.grid import Grid
from eechips.recipe import Chip
from eechips.reports.contact_sheet import layout
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command

ROI = "-105.3,40.15,-105.29,40.16"
JUNE = {"roi": ROI, "start": "2020-06-01", "end": "2020-07-01"}
S2 = "COPERNICUS/S2_SR_HARMONIZED"
CLOUDY = "2020-06-10"  # a third of the region is under clouds


def fetch(server: Server, out: Path, dataset: str = "S2", **options: Any) -> eechips.Run:
    return eechips.images(dataset, endpoint=server.url, rate=None, executor="threads", quiet=True, out=out, **options)


def pixels(ee: Any, image: Any, grid: Grid) -> npt.NDArray[Any]:
    """Return the pixels of the service at a grid: (rows, columns), with fields."""
    found: npt.NDArray[Any] = ee.data.computePixels(
        {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid.to_pixel_grid()}
    )
    return found


@pytest.fixture(scope="module")
def june(demo_server: Server, tmp_path_factory: pytest.TempPathFactory) -> eechips.Run:
    """Sentinel-2 in June, with clouds masked; a band of 10 m and one of 20 m."""
    out = tmp_path_factory.mktemp("june")
    return fetch(demo_server, out, bands="B4,SCL", mask="auto", where="CLOUDY_PIXEL_PERCENTAGE < 60", **JUNE)


def test_each_image_of_the_collection_is_a_file(june: eechips.Run, demo_ee: Any) -> None:
    there = demo_ee.ImageCollection(S2).filterBounds(demo_ee.Geometry.Rectangle([-105.3, 40.15, -105.29, 40.16]))
    there = there.filterDate("2020-06-01", "2020-07-01").filter(demo_ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 60))
    indices, times = demo_ee.List(
        [there.aggregate_array("system:index"), there.aggregate_array("system:time_start")]
    ).getInfo()
    assert [unit["image"] for unit in june.units["unit"]] == [
        name for _, name in sorted(zip(times, indices, strict=True))
    ]
    assert set(june.units["state"]) == {"done"}
    assert june.verify() == []
    for unit in june.units.to_dict("records"):
        index, date = unit["unit"]["image"], unit["unit"]["date"]
        assert unit["file"] == f"images/{date}_{index}.tif"
        assert list(unit["sources"]) == [f"{S2}/{index}"]
        assert next(iter(unit["dates"])).startswith(date)
        assert index.startswith(date.replace("-", ""))


def test_a_preview_has_the_date_of_each_image(june: eechips.Run, tmp_path: Path) -> None:
    days = [dates[0][:10] for dates in june.units["dates"]]
    assert [chip.label for row in layout(june) for chip in row.chips] == days
    with Image.open(eechips.preview(june, edge=64, out=tmp_path / "sheet.png")) as sheet:
        line = np.asarray(sheet.convert("L"))[:16]
    assert (line < 128).any()  # letters on white, above the first row


def test_the_grid_is_the_first_band_s_and_others_are_resampled_to_it(june: eechips.Run, demo_ee: Any) -> None:
    for unit in june.units.to_dict("records"):
        grid = Grid.from_json(unit["unit"]["grid"])
        assert grid.resolution == (10.0, 10.0)
        image = demo_ee.Image(f"{S2}/{unit['unit']['image']}").select("B4", "SCL")
        expected = pixels(demo_ee, image, grid)
        clear = ~np.isin(expected["SCL"], [1, 3, 8, 9, 10])
        with rasterio.open(june.path / unit["file"]) as file:
            assert file.dtypes == ("uint16", "uint16")  # one type for both in a GeoTIFF
            assert np.array_equal(file.read_masks(1) != 0, clear)
            for number, band in enumerate(("B4", "SCL"), start=1):
                assert np.array_equal(file.read(number)[clear], expected[band][clear])
        assert unit["valid_fraction"] == np.count_nonzero(clear) / clear.size
    fractions = {
        unit["date"]: fraction for unit, fraction in zip(june.units["unit"], june.units["valid_fraction"], strict=True)
    }
    assert 0 < fractions[CLOUDY] < 1


def test_a_repeated_command_fetches_only_lost_files(june: eechips.Run, demo_server: Server) -> None:
    options: dict[str, Any] = {"bands": ["B4", "SCL"], "mask": "scl", "where": ["CLOUDY_PIXEL_PERCENTAGE < 60"], **JUNE}
    before = demo_server.requests()
    assert fetch(demo_server, june.path, **options).is_complete
    assert demo_server.requests() == before
    lost = june.path / june.units["file"].iloc[1]
    whole = lost.read_bytes()
    lost.unlink()
    fetch(demo_server, june.path, **options)
    assert lost.read_bytes() == whole
    assert sum(demo_server.requests().values()) - sum(before.values()) <= 3  # the list of functions, and a profile
    with pytest.raises(UsageError, match="mask"):
        fetch(demo_server, june.path, **options | {"mask": "none"})


def test_arrays_keep_the_types_of_their_bands(demo_server: Server, tmp_path: Path) -> None:
    run = fetch(demo_server, tmp_path, bands="B4,SCL", format="npy", limit=1, **JUNE)
    array = np.load(run.path / run.units["file"].iloc[0])
    assert (array["B4"].dtype, array["SCL"].dtype) == (np.uint16, np.uint8)
    assert len(run.units) == 1


def test_a_picture_is_transparent_under_clouds(demo_server: Server, tmp_path: Path) -> None:
    run = fetch(demo_server, tmp_path, format="png", mask="cs_cdf:0.5", **JUNE | {"start": CLOUDY, "end": "2020-06-11"})
    (unit,) = run.units.to_dict("records")
    with Image.open(run.path / unit["file"]) as picture:
        assert picture.mode == "RGBA"
        assert picture.size == (unit["width"], unit["height"])
        alpha = np.asarray(picture)[..., 3]
    assert 0 < unit["valid_fraction"] < 1
    assert np.count_nonzero(alpha) / alpha.size == unit["valid_fraction"]
    assert run.info["datasets"][0]["id"] == S2
    assert "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED" in json.dumps(run.info["datasets"])


@pytest.mark.slow
def test_fully_masked_images_may_be_skipped(demo_server: Server, tmp_path: Path) -> None:
    run = fetch(
        demo_server, tmp_path, mask="scl:vegetation,bare,water,snow,cloud,shadow,cirrus", on_empty="skip", **JUNE
    )
    empty = run.units[run.units["state"] == "empty"]
    assert len(empty) == len(run.units) == 6
    assert empty["file"].isna().all()
    for on_empty, image_format, message in (
        ("redraw", "tif", "nothing else to draw"),
        ("skip", "jpg", "jpg has no mask"),
    ):
        with pytest.raises(UsageError, match=message):
            fetch(demo_server, tmp_path, on_empty=on_empty, format=image_format, **JUNE)


@pytest.mark.slow
def test_a_region_on_the_server_clips(demo_server: Server, demo_ee: Any, tmp_path: Path) -> None:
    table = "FAO/GAUL_SIMPLIFIED_500m/2015/level2"
    there = demo_ee.FeatureCollection(table).filterBounds(demo_ee.Geometry.Point(-105.2, 40.0)).first()
    polygon = shapely.geometry.shape(there.geometry().getInfo())
    roi = f"{table}:ADM2_CODE={there.getNumber('ADM2_CODE').getInfo()}"
    options: dict[str, Any] = {
        "roi": roi,
        "start": "2020-06-01",
        "end": "2020-06-10",
        "bands": "LST_Day_1km",
        "limit": 1,
    }
    (whole,) = fetch(demo_server, tmp_path / "whole", "MODIS_LST", **options).units.to_dict("records")
    (clipped,) = fetch(demo_server, tmp_path / "clipped", "MODIS_LST", clip=True, **options).units.to_dict("records")
    assert clipped["transform"] == whole["transform"]
    with (
        rasterio.open(tmp_path / "whole" / whole["file"]) as left,
        rasterio.open(tmp_path / "clipped" / clipped["file"]) as right,
    ):
        shape = shapely.transform(shapely.segmentize(polygon, 0.01), lambda xy: _project(left.crs, xy))
        inside = ~geometry_mask([shape], left.shape, left.transform)
        edge = ~geometry_mask([shape.boundary.buffer(1_500)], left.shape, left.transform)
        valid = (left.read_masks(1) != 0) & inside
        assert np.array_equal((right.read_masks(1) != 0)[~edge], valid[~edge])
        assert np.array_equal(right.read(1)[valid & ~edge], left.read(1)[valid & ~edge])
        assert valid[~edge].any()
        assert not inside[~edge].all()


def _project(crs: Any, xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.column_stack(rasterio.warp.transform("EPSG:4326", crs, xy[:, 0], xy[:, 1]))


def test_an_image_without_an_id_is_found_in_its_collection(demo_server: Server, demo_ee: Any) -> None:
    recipe = Images(dataset="S2", bands="B4", mask="auto", **JUNE)
    unit = next(iter(recipe.get_requests()))
    assert "is_computed" not in unit
    grid = Grid.from_json(unit["grid"]).window(0, 0, 20, 20)
    by_id, found = (recipe.get_result(0, each).image.image() for each in (unit, {**unit, "is_computed": True}))
    assert "first" in found.serialize()
    assert "first" not in by_id.serialize()
    assert np.array_equal(pixels(demo_ee, by_id, grid), pixels(demo_ee, found, grid))


@pytest.mark.parametrize(
    ("recipe", "options"),
    [(Images, {"mask": "cs"}), (Images, {"clip": True}), (Composites, {"mask": "scl", "every": "week"})],
)
def test_the_expression_is_turned_to_json_once(demo_ee: Any, recipe: type[Images], options: dict[str, Any]) -> None:
    """Differences between units are written into the template; one request is built for comparison."""
    asked: list[Chip] = []

    def capture(chip: Chip) -> HttpRequest:
        asked.append(chip)
        expression = demo_ee.serializer.encode(rendered(chip), for_cloud_api=True)
        assert chip.grid is not None
        return HttpRequest("POST", "", json.dumps({"expression": expression, "grid": chip.grid.to_pixel_grid()}), {})

    planned = recipe(dataset="S2", **options, **JUNE)
    requests = TemplateRequests(capture)
    units = list(planned.get_requests())
    assert len(units) >= 5
    for unit in units:
        chip = planned.get_result(0, unit)
        assert isinstance(chip, Chip)
        assert requests.fill(chip) is not None
    assert len(asked) == 2  # with holes, and to compare


@pytest.mark.slow
def test_more_images_than_a_page_in_order_of_time(demo_server: Server, demo_ee: Any) -> None:
    before = demo_server.requests()
    units = list(Images(dataset="MODIS_LST", roi=ROI).get_requests())
    asked = {kind: count - before.get(kind, 0) for kind, count in demo_server.requests().items()}
    assert len(units) > 1_000
    assert asked["table:computeFeatures"] == -(-len(units) // 1_000)
    assert asked["value:compute"] == 1
    times = [unit["time"] for unit in units]
    assert times == sorted(times)
    assert len(set(times)) == len(units) == demo_ee.ImageCollection("MODIS/061/MOD11A2").size().getInfo()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_more_images_than_a_collection_may_return(demo_server: Server, demo_ee: Any) -> None:
    """Beyond 5,000, where getInfo gives up."""
    box = [-105.0, 39.0, -104.9, 39.1]
    recipe = Images(
        dataset="MODIS/061/MOD11A1",
        roi=",".join(map(str, box)),
        start="2005-01-01",
        end="2020-01-01",
        bands="LST_Day_1km",
    )
    units = list(recipe.get_requests())
    there = demo_ee.ImageCollection("MODIS/061/MOD11A1").filterBounds(demo_ee.Geometry.Rectangle(box, None, False))
    count = there.filterDate("2005-01-01", "2020-01-01").size().getInfo()
    assert len({unit["image"] for unit in units}) == len(units) == count > 5_000
    assert [unit["time"] for unit in units] == sorted(unit["time"] for unit in units)


def test_a_dry_run_is_an_estimate(demo_server: Server, tmp_path: Path) -> None:
    foreseen = eechips.images("S2", endpoint=demo_server.url, out=tmp_path, dry_run=True, **JUNE)
    assert foreseen.units == foreseen.requests == 6
    assert foreseen.bytes is not None
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_fetches_images(demo_server: Server, tmp_path: Path) -> None:
    arguments = ["images", "--dataset", "L8", f"--roi={ROI}", "--start", "2020-06-01", "--end", "2020-07-01"]
    arguments += ["--where", "CLOUD_COVER < 101", "--where", "WRS_PATH in (33, 34)", "--mask", "--bands", "SR_B4,SR_B5"]
    arguments += [
        "--endpoint",
        demo_server.url,
        "--rate",
        "none",
        "--executor",
        "processes:1",
        "--out",
        str(tmp_path / "out"),
    ]
    arguments += ["--name", "{date}/{image}", "--crs", "utm", "--scale", "60", "-q"]
    run_command(*arguments, status=0)
    run = eechips.open_run(tmp_path / "out")
    assert len(run.units) == 3
    assert set(run.units["crs"]) == {"EPSG:32613"}
    assert len(set(map(str, run.units["transform"]))) == 1  # all on the same pixels
    assert run.info["parameters"]["mask"] == "qa_pixel:fill,dilated,cirrus,cloud,shadow"
    assert run.info["parameters"]["where"] == ["CLOUD_COVER < 101", "WRS_PATH in (33, 34)"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset": "S3"}, UnknownDatasetError, "no dataset called 'S3'"),
        ({"dataset": "SRTM"}, UsageError, "is a single image, not a collection"),
        ({"where": "CLOUDY < 5"}, UsageError, "no image there has a property 'CLOUDY'; there are|did you mean"),
        ({"where": "MGRS_TILE < 5 < 6"}, UsageError, "is not a value"),
        ({"where": "CLOUDY_PIXEL_PERCENTAGE < -1"}, UsageError, "no image with CLOUDY_PIXEL_PERCENTAGE < -1 between"),
        ({"start": "2020-06-01", "end": "2020-06-02"}, UsageError, "has no image between"),
        (
            {"start": "2199-01-01", "end": None},
            UsageError,
            r"has no image from 2199-01-01 on, which is after today \(2",
        ),
        ({"bands": "B4,B99"}, UnknownDatasetError, "has no band 'B99'"),
        ({"bands": "B4,B3", "format": "png"}, UsageError, "png takes 1 or 3 bands, not 2"),
        ({"stretch": (5.0, 1.0), "format": "png"}, UsageError, "must be below"),
        ({"stretch": "5,6"}, UsageError, "tif holds the values"),
        ({"format": "gif"}, UsageError, "unknown format 'gif'"),
        ({"limit": 0}, UsageError, "`limit` must be at least 1"),
        ({"roi": "nowhere.gpkg"}, RegionError, "is not a file"),
        ({"crs": "EPSG:32633"}, RegionError, "UTM zone 33N"),
        ({"grid": f"{S2}/x", "scale": 10.0}, UsageError, "leave `scale` out"),
    ],
)
def test_invalid_options_are_refused(
    demo_server: Server, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fetch(demo_server, tmp_path, **{**JUNE, **options})
