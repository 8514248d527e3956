"""A chip of each polygon of a file, against rasterio's mask and windows of the source rasters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.windows
import shapely

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.errors import RunMismatchError, UsageError
from eechips.planning.areas.separate_regions import read_separate_regions
from eechips.planning.sampling.sample_places import region_places
from local_tests.support.local_earth_engine import Server
from tests.support.field_scenes import (
    DATES,
    SCENES,
    check_clipped,
    field_shapes,
    in_metres,
    masked,
    write_fields,
    write_scenes,
)  # fmt: skip

DATED = {"start": "2020-05-02", "end": "2020-08-01"}  # without the image of the next zone
LATEST = "c"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    write_scenes(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, serve: Callable[..., Server]) -> Server:
    return serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")


def _sample(server: Server, folder: Path, out: Path, dataset: Any = SCENES, **options: Any) -> eechips.Run:
    given = {
        "regions": str(folder / "fields.gpkg"),
        "columns": "id=field",
        "executor": "threads",
        "quiet": True,
        **DATED,
    }
    run = eechips.sample(dataset, out=out, endpoint=server.url, rate=None, **given | options)
    assert isinstance(run, eechips.Run)
    return run


def _zone_31(folder: Path) -> dict[str, Any]:
    found = gpd.read_file(folder / "fields.gpkg").to_crs("EPSG:32631").set_index("field").geometry
    return dict(found.items())


def test_columns_of_the_file_are_properties_of_its_regions(tmp_path: Path) -> None:
    """Labels of polygons were lost; of a region of several features those that are the same stay."""
    boxes = [shapely.box(x, 40.0, x + 0.01, 40.01) for x in (-105.0, -104.9, -104.8)]
    columns = {"field": ["a", "b", "b"], "crop": ["rye", "oats", "oats"], "plants": [1, 2, 3]}
    gpd.GeoDataFrame(columns, geometry=boxes, crs="EPSG:4326").to_file(tmp_path / "fields.geojson")
    places = region_places(read_separate_regions(tmp_path / "fields.geojson", "field"), is_clipped=False)
    assert [place.fields["properties"] for place in places] == [
        {"field": "a", "crop": "rye", "plants": 1},
        {"field": "b", "crop": "oats", "plants": None},
    ]


@pytest.mark.slow
def test_each_chip_is_the_image_that_rasterio_clips(server: Server, folder: Path, tmp_path: Path) -> None:
    run = _sample(server, folder, tmp_path / "run", clip=True)
    assert run.verify() == []
    assert run.counts == {"done": 3, "empty": 1}  # a speck has no pixel's centre
    for unit in run.units.to_dict("records"):
        region = unit["unit"]["region"]
        assert unit["file"] == f"chips/{region}.tif"
        check_clipped(run.path / unit["file"], folder / f"{LATEST}.tif", _zone_31(folder)[region])
    assert gpd.read_parquet(run.path / "manifest.parquet")["region"].nunique() == len(field_shapes())


@pytest.mark.slow
def test_a_margin_shows_the_window_of_the_source_around_the_region(
    server: Server, folder: Path, tmp_path: Path
) -> None:
    run = _sample(server, folder, tmp_path / "run", margin=95.0)
    for name, shape in _zone_31(folder).items():
        *_, transform = masked(folder / f"{LATEST}.tif", shape)
        with (
            rasterio.open(folder / f"{LATEST}.tif") as source,
            rasterio.open(run.path / "chips" / f"{name}.tif") as file,
        ):
            assert (file.transform.c, file.transform.f) == (transform.c - 100, transform.f + 100)
            window = rasterio.windows.from_bounds(*file.bounds, transform=source.transform)
            assert np.array_equal(file.read(masked=True).filled(0), source.read(window=window))


@pytest.mark.slow
def test_frames_are_the_clipped_images(server: Server, folder: Path, tmp_path: Path) -> None:
    run = _sample(server, folder, tmp_path / "run", clip=True, frames=len(DATES))
    names = {date: image for image, date in DATES.items()}
    shapes = _zone_31(folder)
    rows = run.layers.reset_index().to_dict("records")
    assert len(rows) == len(DATES) * len(shapes)
    for row in rows:
        (date,) = row["dates"]
        region = Path(row["file"]).name.split(".")[0]
        check_clipped(run.path / row["file"], folder / f"{names[date[:10]]}.tif", shapes[region])


@pytest.mark.slow
@pytest.mark.parametrize("reducer", ["mean", "mosaic"])
def test_periods_are_those_of_the_clipped_images(server: Server, folder: Path, tmp_path: Path, reducer: str) -> None:
    options = {"start": "2020-05-02", "end": "2020-06-02", "every": f"1 month:{reducer}"}
    run = _sample(server, folder, tmp_path / "run", clip=True, **options)
    shapes = _zone_31(folder)
    for row in run.layers.reset_index().to_dict("records"):
        shape = shapes[Path(row["file"]).name.split(".")[0]]
        each = [masked(folder / f"{image}.tif", shape) for image in ("a", "b")]
        _, valid, transform = each[0]
        expected = np.mean([values for values, *_ in each], axis=0) if reducer == "mean" else each[1][0]
        with rasterio.open(run.path / row["file"]) as file:
            assert file.transform == transform
            assert np.array_equal(file.read_masks(1) > 0, valid)
            np.testing.assert_allclose(file.read()[:, valid], expected[:, valid], rtol=1e-6)


@pytest.mark.slow
def test_several_datasets_are_on_the_pixels_of_the_first(server: Server, folder: Path, tmp_path: Path) -> None:
    run = _sample(server, folder, tmp_path / "run", [f"{SCENES}/a", f"{SCENES}/b"], clip=True, start=None, end=None)
    rows = run.layers.reset_index().to_dict("records")
    assert len(rows) == 2 * len(field_shapes())
    for row in rows:
        region, image = Path(row["file"]).name.split(".")[0], row["layer"].rpartition("/")[2]
        check_clipped(run.path / row["file"], folder / f"{image}.tif", _zone_31(folder)[region])


@pytest.mark.slow
def test_ids_that_are_no_file_names_stay_in_their_folder(server: Server, tmp_path: Path) -> None:
    ids = ["../../up", "a/b", "A_B", "Wäldchen 你好", "", "x" * 300, "/etc/passwd", "twice", "twice", None]
    shapes = [in_metres(shapely.box(0, 0, 95, 95), 100 * number, 1000) for number in range(len(ids))]
    frame = gpd.GeoDataFrame({"field": ids}, geometry=shapes, crs="EPSG:32631").to_crs("EPSG:4326")
    frame.to_file(tmp_path / "fields.gpkg")
    run = _sample(server, tmp_path, tmp_path / "run")
    assert sorted(unit["region"] for unit in run.units["unit"]) == sorted({name for name in ids if name})
    files = [run.path / name for name in run.units["file"]]
    assert len({file.name.casefold() for file in files}) == 7
    assert all(file.is_file() and file.resolve().parent == run.path / "chips" for file in files)


@pytest.mark.slow
def test_chips_are_compared_with_the_regions(server: Server, folder: Path, tmp_path: Path) -> None:
    report = eechips.check(_sample(server, folder, tmp_path / "run"))
    assert "outside" not in report.unchecked
    assert not any("outside" in flags for flags in report.files["flags"])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["gpkg", "shp"])
def test_a_rebuilt_run_is_the_same(server: Server, folder: Path, tmp_path: Path, suffix: str) -> None:
    path = write_fields(tmp_path / f"fields.{suffix}", field_shapes())
    run = _sample(server, folder, tmp_path / "run", clip=True, margin=50.0, regions=str(path))
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    found = eechips.rebuild(lockfile, tmp_path / "again", endpoint=server.url, executor="threads", quiet=True)
    assert found.is_same


def test_options_that_contradict_each_other_are_refused(folder: Path) -> None:
    fields = str(folder / "fields.gpkg")
    for options, message in (
        ({"total": 3, "clip": True}, "`clip` belongs to `regions`"),
        ({"total": 3, "margin": 5.0}, "`margin` belongs to `regions`"),
        ({"total": 3, "columns": "id=field"}, "`columns` belongs to `points`, `cells` and `regions`"),
        ({"total": 3, "regions": fields}, "exactly one of"),
        ({"regions": fields, "size": 64}, "leave `size`"),
        ({"regions": fields, "grid": "thumb"}, "leave `size`"),
        ({"regions": fields, "roi": "4,39,5,40"}, "leave one of them out"),
    ):
        with pytest.raises(UsageError, match=message):
            ChipSample(dataset=SCENES, **options)


@pytest.mark.slow
def test_a_sample_depends_on_its_regions_where_it_clips(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.gpkg").write_bytes((folder / "fields.gpkg").read_bytes())
    plain, clipped, copied = (
        ChipSample(dataset=SCENES, regions=str(path), clip=clip).identity
        for path, clip in (
            (folder / "fields.gpkg", False),
            (folder / "fields.gpkg", True),
            (tmp_path / "copy.gpkg", True),
        )
    )
    assert plain != clipped == copied


@pytest.mark.slow
def test_a_run_is_refused_after_the_ids_of_a_shapefile_were_exchanged(
    server: Server, folder: Path, tmp_path: Path
) -> None:
    shapes = field_shapes()
    path = write_fields(tmp_path / "fields.shp", shapes)
    _sample(server, folder, tmp_path / "run", clip=True, regions=str(path))
    before = path.read_bytes()
    write_fields(path, dict(zip(reversed(shapes), shapes.values(), strict=True)))
    assert path.read_bytes() == before  # ids are in another file
    with pytest.raises(RunMismatchError, match=r"regions: .* has other contents now"):
        _sample(server, folder, tmp_path / "run", clip=True, regions=str(path))


def _files(run: eechips.Run) -> dict[str, bytes]:
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in (run.path / "chips").rglob("*.tif")}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("clip", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_rows_of_the_file_and_periods_are_added_to_the_regions_that_are_there(
    server: Server, folder: Path, tmp_path: Path, clip: bool
) -> None:
    path, fields = tmp_path / "fields.gpkg", gpd.read_file(folder / "fields.gpkg")
    options: dict[str, Any] = {"regions": str(path), "clip": clip, "every": "month", "method": "pixels"}
    options |= {"share_requests": False, "profile_every": 0, "on_empty": "keep"}

    def sample(name: str, rows: gpd.GeoDataFrame, **more: Any) -> eechips.Run:
        rows.to_file(path)
        return _sample(server, folder, tmp_path / name, **options | more)

    first = sample("run", fields.head(2), end="2020-07-02", start="2020-05-02")
    before, sent, known = _files(first), server.requests()["image:computePixels"], first.layers["sources"].count()
    second = sample("run", fields, end="2020-07-02", start="2020-05-02", extend=True)
    third = sample("run", fields, end="2020-08-02", start="2020-05-02", extend=True)
    with_images = third.layers["sources"].count() - known  # others need no request
    assert 0 < server.requests()["image:computePixels"] - sent == with_images < len(third.layers) - len(before)
    assert third.verify() == []
    assert _files(third).items() >= _files(second).items() >= before.items()
    assert [part["units"] for part in third.info["extensions"]] == [2, len(fields) - 2, len(fields)]
    one = sample("one", fields, end="2020-08-02", start="2020-05-02")
    assert _pixels(third) == _pixels(one)
    for message, rows, more in (
        ("lacks regions of the run", fields.tail(2), {}),
        ("the outline of region .* is not that of the run", _moved(fields), {}),
        ("`clip` and its region must be those of the run", fields, {"clip": not clip}),
    ):
        with pytest.raises(UsageError, match=message):
            sample("run", rows, end="2020-08-02", start="2020-05-02", extend=True, **more)
    if clip:
        with pytest.raises(UsageError, match=r"the outline of region .* is not that of the run"):
            sample("run", _pierced(fields), end="2020-09-02", start="2020-05-02", extend=True)
    assert _files(third) == _files(eechips.open_run(tmp_path / "run"))


def _moved(fields: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    moved = fields.geometry.copy()
    moved.iloc[0] = shapely.affinity.translate(moved.iloc[0], 0.0001)
    return fields.set_geometry(moved)


def _pierced(fields: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Other outlines with the same bounds."""
    polygons = fields.geometry.copy()
    polygons.iloc[0] = polygons.iloc[0].difference(polygons.iloc[0].representative_point().buffer(0.0001))
    return fields.set_geometry(polygons)


def _pixels(run: eechips.Run) -> dict[tuple[str, str], bytes]:
    """The pixels of each frame, by region and first day."""
    layers, units = run.layers.reset_index(), run.units["unit"]
    pixels = {}
    for file, position, start in zip(layers["file"], layers["position"], layers["start"], strict=True):
        with rasterio.open(run.path / file) as raster:
            pixels[units.iloc[position]["region"], start] = raster.read().tobytes() + raster.read_masks().tobytes()
    return pixels
