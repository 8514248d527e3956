"""Images by the real client over HTTP: what its own methods send, and the files that come back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from affine import Affine
from PIL import Image as Picture
from rasterio.io import MemoryFile
from rasterio.warp import Resampling, reproject, transform_bounds

from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, initialize

CRS = "EPSG:32613"
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 4_400_000)
SHAPE = (600, 500)
RANDOM = np.random.default_rng(21)


def smooth(low: float, high: float, count: int) -> Any:
    """Random surfaces without steps, shape (count, height, width)."""
    walk = np.cumsum(np.cumsum(RANDOM.normal(size=(count, *SHAPE)), axis=1), axis=2)
    low_, high_ = walk.min(axis=(1, 2), keepdims=True), walk.max(axis=(1, 2), keepdims=True)
    return low + (high - low) * (walk - low_) / (high_ - low_)


REFLECTANCE = smooth(200, 9000, 4).astype(np.uint16)
ELEVATION = smooth(1500, 2600, 1)[0].astype(np.float32)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Any:
    """The client, on a store of a scene of four bands and an elevation model."""
    folder = tmp_path_factory.mktemp("images")
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "crs": CRS, "transform": TRANSFORM}
    for name, values in (("scene", REFLECTANCE), ("dem", ELEVATION[None])):
        path = folder / f"{name}.tif"
        with rasterio.open(path, "w", count=len(values), dtype=values.dtype.name, **profile) as file:
            file.write(values)
    ingest(
        folder / "scene.tif", folder / "store", "test/scene", bands=["B2", "B3", "B4", "B8"], time_start="2020-06-01"
    )
    ingest(folder / "dem.tif", folder / "store", "test/dem", bands=["elevation"])
    return initialize(serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none"))


def fetch(url: str) -> bytes:
    response = requests.get(url, timeout=60)
    assert response.status_code == 200, response.text
    return response.content


def window(column: int, row: int, width: int, height: int) -> dict[str, Any]:
    """The grid of some of the scene's own pixels, as computePixels takes it."""
    t = TRANSFORM * Affine.translation(column, row)
    affine = {"scaleX": t.a, "shearX": 0, "translateX": t.c, "shearY": 0, "scaleY": t.e, "translateY": t.f}
    return {"crsCode": CRS, "affineTransform": affine, "dimensions": {"width": width, "height": height}}


def pixels(ee: Any, image: Any, column: int = 40, row: int = 60, width: int = 64, height: int = 48) -> Any:
    """Some of an image's pixels as a numpy structured array."""
    request = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": window(column, row, width, height)}
    return ee.data.computePixels(request)


HERE = np.s_[60:108, 40:104]


@pytest.mark.slow
def test_a_download_of_native_pixels_is_exact(images: Any) -> None:
    """crs, crs_transform and dimensions give the very pixels and the very transform."""
    transform = TRANSFORM * Affine.translation(123, 217)
    options = {"crs": CRS, "crs_transform": list(transform)[:6], "dimensions": "90x70", "format": "GEO_TIFF"}
    data = fetch(images.Image("test/scene").getDownloadURL(options))
    with MemoryFile(data) as memory, memory.open() as file:
        assert file.transform == transform
        assert (file.width, file.height, file.count) == (90, 70, 4)
        assert file.crs.to_epsg() == 32613
        assert file.descriptions == ("B2", "B3", "B4", "B8")
        assert set(file.dtypes) == {"uint16"}
        assert np.array_equal(file.read(), REFLECTANCE[:, 217:287, 123:213])


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32612"])
def test_a_download_without_region_covers_the_image_and_no_more(images: Any, crs: str) -> None:
    """The client gives an image in another crs pixels of one degree, by which its extent is not to be rounded."""
    options = {"crs": crs, "scale": 100, "format": "GEO_TIFF"}
    data = fetch(images.Image("test/scene").select("B8").getDownloadURL(options))
    with MemoryFile(data) as memory, memory.open() as file:
        extent = (TRANSFORM.c, TRANSFORM.f - 10 * SHAPE[0], TRANSFORM.c + 10 * SHAPE[1], TRANSFORM.f)
        west, south, east, north = transform_bounds(CRS, crs, *extent)
        column, row = file.res
        assert west - 2 * column < file.bounds.left <= west + column
        assert east - column <= file.bounds.right < east + 2 * column
        assert south - 2 * row < file.bounds.bottom <= south + row
        assert north - row <= file.bounds.top < north + 2 * row
        assert (file.read(1) > 0).mean() > 0.8


@pytest.mark.parametrize(
    ("mode", "method"), [(None, Resampling.nearest), ("bilinear", Resampling.bilinear), ("bicubic", Resampling.cubic)]
)
def test_another_crs_is_gdal_s_warp(images: Any, mode: str | None, method: Resampling) -> None:
    image = images.Image("test/scene").select("B8")
    image = image if mode is None else image.resample(mode)
    transform = Affine(1e-4, 0, -104.99, 0, -1e-4, 39.745)
    options = {"crs": "EPSG:4326", "crs_transform": list(transform)[:6], "dimensions": [100, 80], "format": "NPY"}
    found = np.load(io.BytesIO(fetch(image.getDownloadURL(options))))["B8"]
    expected = np.zeros((80, 100))
    reproject(
        REFLECTANCE[3].astype(np.float64), expected, src_crs=CRS, src_transform=TRANSFORM, dst_crs="EPSG:4326",
        dst_transform=transform, resampling=method, tolerance=0, XSCALE=1, YSCALE=1,
    )  # fmt: skip
    if mode is None:
        assert (found != expected).mean() < 0.002  # centres that lie on an edge between two pixels, but for rounding
    else:
        assert np.abs(found - expected).max() < 1.0
        assert np.allclose(found, expected, rtol=1e-3)


def test_archives(images: Any) -> None:
    image = images.Image("test/scene").select(["B4", "B8"])
    region = images.Geometry.Rectangle([500_100, 4_399_500, 500_300, 4_399_800], CRS, False)
    one = zipfile.ZipFile(io.BytesIO(fetch(image.getDownloadURL({"region": region, "name": "mine"}))))
    assert one.namelist() == ["mine.B4.tif", "mine.B8.tif"]
    together = {"region": region, "name": "mine", "filePerBand": False, "format": "ZIPPED_GEO_TIFF"}
    archive = zipfile.ZipFile(io.BytesIO(fetch(image.getDownloadURL(together))))
    with MemoryFile(archive.read("mine.tif")) as memory, memory.open() as file:
        assert np.array_equal(file.read(), REFLECTANCE[2:, 20:50, 10:30])
        assert file.transform == TRANSFORM * Affine.translation(10, 20)


def test_thumbnails(images: Any) -> None:
    scene = images.Image("test/scene")
    region = images.Geometry.Rectangle([500_400, 4_399_000, 501_400, 4_400_000], CRS, False)
    url = scene.getThumbURL(
        {
            "region": region,
            "dimensions": 100,
            "format": "png",
            "bands": ["B4", "B3", "B2"],
            "min": 0,
            "max": 9000,
            "crs": CRS,
        }
    )
    picture = Picture.open(io.BytesIO(fetch(url)))
    assert (picture.mode, picture.size) == ("RGB", (100, 100))
    expected = np.floor(REFLECTANCE[[2, 1, 0], 0:100, 40:140] / 9000 * 255 + 0.5)
    assert np.abs(np.moveaxis(np.asarray(picture).astype(int), -1, 0) - expected).max() <= 1
    palette = {
        "min": -1,
        "max": 1,
        "palette": ["brown", "white", "green"],
        "dimensions": "40x30",
        "region": region,
        "format": "jpg",
    }
    picture = Picture.open(io.BytesIO(fetch(scene.normalizedDifference(["B8", "B4"]).getThumbURL(palette))))
    assert (picture.format, picture.size) == ("JPEG", (40, 30))


def test_masked_pixels_of_a_thumbnail_are_transparent(images: Any) -> None:
    scene = images.Image("test/scene").select("B8")
    options = {"region": images.Geometry.Rectangle([500_000, 4_394_000, 505_000, 4_400_000], CRS, False), "crs": CRS}
    url = scene.updateMask(scene.gt(4000)).getThumbURL(
        {**options, "dimensions": "500x600", "max": 9000, "format": "png"}
    )
    picture = Picture.open(io.BytesIO(fetch(url)))
    assert picture.mode == "LA"
    assert np.array_equal(np.asarray(picture)[..., 1], np.where(REFLECTANCE[3] > 4000, 255, 0))


def test_expressions(images: Any) -> None:
    scene = images.Image("test/scene").divide(10000)
    named = {"NIR": scene.select("B8"), "RED": scene.select("B4"), "blue": scene.select("B2")}
    evi = scene.expression("EVI = 2.5 * ((NIR - RED) / (NIR + 6 * RED - 7.5 * blue + 1))", named)
    blue, _, red, nir = REFLECTANCE[:, 60:108, 40:104] / 10000
    found = pixels(images, evi)
    assert found.dtype.names == ("EVI",)
    assert np.allclose(found["EVI"], 2.5 * ((nir - red) / (nir + 6 * red - 7.5 * blue + 1)), rtol=1e-4, atol=1e-5)
    choice = scene.expression("b('B8') > b(2) ? 1 : 0")
    assert np.array_equal(pixels(images, choice)["constant"], nir > red)


def test_operators_that_the_client_offers(images: Any) -> None:
    scene = images.Image("test/scene")
    nir, red = (REFLECTANCE[i][HERE].astype(np.int64) for i in (3, 2))
    b8, b4 = scene.select("B8"), scene.select("B4")
    expected = {
        "add": nir + red, "subtract": nir - red, "multiply": nir * red, "max": np.maximum(nir, red), "gte": nir >= red,
        "And": (nir != 0) & (red != 0), "bitwiseXor": nir ^ red, "mod": nir % red, "hypot": np.hypot(nir, red),
    }  # fmt: skip
    for name, values in expected.items():
        found = pixels(images, getattr(b8, name)(b4))["B8"]
        assert np.allclose(found, values, rtol=1e-6), name
    assert np.array_equal(pixels(images, b8.rightShift(3).toByte())["B8"], np.clip(nir >> 3, 0, 255))
    assert np.array_equal(pixels(images, b8.where(b4.gt(4000), -1))["B8"], np.where(red > 4000, -1, nir))
    assert np.array_equal(pixels(images, b8.clamp(1000, 2000))["B8"], np.clip(nir, 1000, 2000))
    remapped = b8.divide(1000).toInt().remap([1, 2, 3], [10, 20, 30], 0)
    assert np.array_equal(
        pixels(images, remapped)["remapped"], np.array([0, 10, 20, 30, 0, 0, 0, 0, 0, 0])[nir // 1000]
    )


def test_terrain_and_neighbourhoods(images: Any) -> None:
    dem = images.Image("test/dem")
    z = ELEVATION.astype(np.float64)
    east = (z[60:108, 41:105] - z[60:108, 39:103]) / 20
    north = (z[59:107, 40:104] - z[61:109, 40:104]) / 20
    slope = np.degrees(np.arctan(np.hypot(east, north)))
    assert np.allclose(pixels(images, images.Terrain.slope(dem))["slope"], slope, rtol=2e-3, atol=1e-3)
    shade = pixels(images, images.Terrain.hillshade(dem))["hillshade"]
    assert shade.dtype == np.uint8
    focal = pixels(images, dem.focalMax(2, "square"))["elevation"]
    around = np.lib.stride_tricks.sliding_window_view(ELEVATION, (5, 5))[58:106, 38:102]
    assert np.array_equal(focal, around.max(axis=(2, 3)))
    spread = pixels(images, dem.reduceNeighborhood(images.Reducer.stdDev(), images.Kernel.square(2)))[
        "elevation_stdDev"
    ]
    assert np.allclose(spread, around.astype(np.float64).std(axis=(2, 3)), rtol=1e-5, atol=1e-4)


def test_array_pixels(images: Any) -> None:
    scene = images.Image("test/scene")
    weights = images.Array([[0.1, 0.2, 0.3, 0.4], [1, -1, 1, -1]])
    product = (
        images.Image(weights).matrixMultiply(scene.toArray().toArray(1)).arrayProject([0]).arrayFlatten([["a", "b"]])
    )
    found = pixels(images, product)
    values = REFLECTANCE[:, 60:108, 40:104].astype(np.float64)
    assert np.allclose(found["a"], np.einsum("b,bij->ij", [0.1, 0.2, 0.3, 0.4], values))
    assert np.allclose(found["b"], np.einsum("b,bij->ij", [1, -1, 1, -1], values))


def test_coarser_pixels_by_a_reducer(images: Any) -> None:
    """Each band from pixels of its own: geeViz reduces whole scenes of Sentinel-2 (getImagesLib.py, ``getS2``)."""
    scene, t = images.Image("test/scene"), TRANSFORM * Affine.scale(8)
    affine = {"scaleX": t.a, "shearX": 0, "translateX": t.c, "shearY": 0, "scaleY": t.e, "translateY": t.f}
    grid = {"crsCode": CRS, "affineTransform": affine, "dimensions": {"width": 60, "height": 70}}

    def coarse(image: Any) -> Any:
        image = image.reduceResolution(images.Reducer.mean(), False, 64)
        return images.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})

    other = scene.select("B4").reproject(CRS, None, 30)
    found = coarse(other.addBands(scene.select("B8")).addBands(1))
    assert found.dtype.names == ("B4", "B8", "constant")
    assert np.allclose(found["B8"], REFLECTANCE[3, :560, :480].reshape(70, 8, 60, 8).mean(axis=(1, 3)), rtol=1e-6)
    assert (found["B4"] == coarse(other)["B4"]).all()
    assert (found["constant"] == 1).all()


def test_painted_features(images: Any) -> None:
    square = images.Geometry.Rectangle([500_505, 4_399_005, 500_705, 4_399_205], CRS, False)
    features = images.FeatureCollection([images.Feature(square, {"kind": 3})])
    found = pixels(images, images.Image().byte().paint(features, "kind").unmask(0))["constant"]
    expected = np.zeros((48, 64))
    expected[20:39, 11:30] = 3
    assert (found != expected).sum() <= 2 * 80  # the edges run through the centres of pixels


def test_image_information_matches_the_protocol(images: Any) -> None:
    info = images.Image("test/scene").divide(10000).getInfo()
    assert info["bands"][0]["data_type"]["precision"] == "float"
    assert info["bands"][0]["data_type"]["max"] == pytest.approx(6.5535)
    assert images.Image([1, 2.5]).bandNames().getInfo() == ["constant", "constant_1"]
    for image, message in [
        (images.Image("test/scene").select("B99"), "Band pattern 'B99' did not match any bands"),
        (images.Image("test/none"), "Image asset 'test/none' not found"),
        (images.Image("test/scene").expression("b('B8' +"), "Unable to parse the expression"),
        (images.Image("test/scene").hersDescriptor(), "Image.hersDescriptor"),
    ]:
        with pytest.raises(images.EEException, match=message):
            image.getInfo()
