"""Every format that images come in, decoded by programs that are not ours, against the pixels that were stored."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest
import requests
from rasterio.io import MemoryFile

from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import CRS, SHAPE, STACK, TRANSFORM, Stack

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def server(stack_server: Server) -> Server:
    return stack_server


@pytest.fixture(scope="module")
def ee(server: Server) -> Any:
    return initialize(server)


def grid(column: int = 0, row: int = 0, width: int = SHAPE[1], height: int = SHAPE[0]) -> dict[str, Any]:
    """A PixelGrid of the stored images' own pixels."""
    return {
        "crsCode": CRS,
        "dimensions": {"width": width, "height": height},
        "affineTransform": {
            "scaleX": 10, "scaleY": -10, "translateX": TRANSFORM.c + 10 * column, "translateY": TRANSFORM.f - 10 * row,
        },
    }  # fmt: skip


def picture(content: bytes) -> tuple[str, Any]:
    with MemoryFile(content) as memory, memory.open() as file:
        return file.driver, file.read()


def tiff(content: bytes) -> tuple[Any, Any, Any, Any]:
    with MemoryFile(content) as memory, memory.open() as file:
        return file.read(), file.transform, file.crs.to_string(), file.descriptions


# computePixels and getPixels


def test_numpy_arrays(ee: Any, stack: Stack) -> None:
    for params in ({"expression": ee.Image(f"{STACK}/image_2")}, {"assetId": f"{STACK}/image_2"}):
        get = ee.data.computePixels if "expression" in params else ee.data.getPixels
        found = get({**params, "fileFormat": "NUMPY_NDARRAY"})
        assert found.dtype == np.dtype([("red", "<u2"), ("nir", "<u2")])
        np.testing.assert_array_equal(found["red"], stack.pixels[2, 0])
        np.testing.assert_array_equal(found["nir"], stack.pixels[2, 1])


def test_windows_are_returned_in_every_type(ee: Any, stack: Stack) -> None:
    image = ee.Image(f"{STACK}/image_0").select("red")
    for name, dtype in (
        ("toUint8", "u1"), ("toInt8", "i1"), ("toInt16", "<i2"), ("toInt32", "<i4"), ("toFloat", "<f4"),
        ("toDouble", "<f8"), ("toUint32", "<u4"),
    ):  # fmt: skip
        typed = getattr(image, name)()
        found = ee.data.computePixels({"expression": typed, "fileFormat": "NUMPY_NDARRAY", "grid": grid(20, 30, 17, 9)})
        limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
        expected = stack.pixels[0, 0, 30:39, 20:37].astype(np.float64)
        expected = expected if limits is None else np.clip(expected, limits.min, limits.max)
        assert found.dtype["red"] == np.dtype(dtype)
        np.testing.assert_array_equal(found["red"], expected)


def test_geotiffs(ee: Any, stack: Stack) -> None:
    image = ee.Image(f"{STACK}/image_3")
    content = ee.data.computePixels({"expression": image, "fileFormat": "GEO_TIFF", "grid": grid(5, 6, 50, 40)})
    pixels, transform, crs, bands = tiff(content)
    np.testing.assert_array_equal(pixels, stack.pixels[3, :, 6:46, 5:55])
    assert (transform.c, transform.f, crs, bands) == (TRANSFORM.c + 50, TRANSFORM.f - 60, CRS, ("red", "nir"))


def test_bands_and_visualization_of_stored_pixels(ee: Any, stack: Stack) -> None:
    options = {"ranges": [{"min": 0, "max": 10_000}], "paletteColors": ["000000", "FF0000"]}
    content = ee.data.getPixels(
        {"assetId": f"{STACK}/image_0", "fileFormat": "PNG", "bandIds": ["nir"], "visualizationOptions": options}
    )
    driver, pixels = picture(content)
    assert (driver, pixels.shape) == ("PNG", (4, *SHAPE))
    valid = stack.pixels[0, 1] > 0
    np.testing.assert_array_equal(pixels[3] > 0, valid)
    np.testing.assert_allclose(pixels[0][valid], stack.pixels[0, 1][valid] / 10_000 * 255, atol=1)
    assert not pixels[1:3].any()


def test_a_region_gives_the_size(ee: Any, stack: Stack) -> None:
    west, north = TRANSFORM.c + 100, TRANSFORM.f - 200
    corners = [[west, north], [west + 80, north], [west + 80, north - 60], [west, north - 60], [west, north]]
    lonlat = ee.Geometry.Polygon([corners], CRS, False).transform("EPSG:4326", 1e-3).coordinates().getInfo()
    shrunk = np.array(lonlat[0])
    shrunk = (shrunk - shrunk.mean(axis=0)) * 0.999 + shrunk.mean(axis=0)
    region = {"type": "Polygon", "coordinates": [[*shrunk.tolist(), shrunk[0].tolist()]]}
    found = ee.data.getPixels({"assetId": f"{STACK}/image_0", "fileFormat": "NUMPY_NDARRAY", "region": region})
    np.testing.assert_array_equal(found["red"], stack.pixels[0, 0, 20:26, 10:18])
    # With a size as well, "the grid will finally be rescaled to the requested size" (reference of getPixels).
    asked = {"assetId": f"{STACK}/image_0", "region": region, "grid": {"dimensions": {"width": 16, "height": 18}}}
    found = ee.data.getPixels({**asked, "fileFormat": "NUMPY_NDARRAY"})
    np.testing.assert_array_equal(found["red"], stack.pixels[0, 0, 20:26, 10:18].repeat(2, 1).repeat(3, 0))
    asked["grid"] = {"dimensions": {"width": 4, "height": 3}}
    _, transform, crs, _ = tiff(ee.data.getPixels({**asked, "fileFormat": "GEO_TIFF"}))
    assert (transform[:6], crs) == ((20, 0, west, 0, -20, north), CRS)


@pytest.mark.parametrize("form", ["ZIPPED_GEO_TIFF", "TF_RECORD_IMAGE", "BMP"])
def test_formats_for_other_methods_are_refused(ee: Any, form: str) -> None:
    with pytest.raises(ee.EEException, match=f"(Unsupported file format: {form}|Invalid value at 'file_format')"):
        ee.data.computePixels({"expression": ee.Image(1), "fileFormat": form, "grid": grid()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dimensions": {"width": 32_769, "height": 1}}, "Pixel grid dimensions (32769x1) must be less than"),
        ({"dimensions": {"width": 5000, "height": 5000}}, "Total request size (150000000 bytes) must be less than or"),
        ({"dimensions": {"width": 0, "height": 5}}, "Pixel grid dimensions (0x5) must be greater than zero"),
        ({"affineTransform": {"scaleX": 1}}, "cannot be inverted"),
        ({"crsCode": "EPSG:0"}, "The CRS of a map projection could not be parsed."),
        (
            {"crsWkt": 'LOCAL_CS["here",UNIT["metre",1]]', "crsCode": ""},
            "The CRS of a map projection could not be parsed.",
        ),
        ({"crsCode": "+proj=utm +zone=13"}, "The CRS of a map projection could not be parsed."),
        ({"crsWkt": "proj=utm zone=13", "crsCode": ""}, "The CRS of a map projection could not be parsed."),
    ],
)
def test_impossible_grids_are_refused(ee: Any, change: dict[str, Any], message: str) -> None:
    params = {"expression": ee.Image(f"{STACK}/image_0"), "fileFormat": "NPY", "grid": {**grid(), **change}}
    with pytest.raises(ee.EEException) as caught:
        ee.data.computePixels(params)
    assert message in str(caught.value)


# Thumbnails and downloads


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_thumbnails(ee: Any, stack: Stack, form: str) -> None:
    image = ee.Image(f"{STACK}/image_1").select(["red", "nir", "red"])
    response = requests.get(image.getThumbURL({"min": 0, "max": 10_000, "dimensions": "300x200", "format": form}))
    driver, pixels = picture(response.content)
    assert response.headers["content-type"] == {"png": "image/png", "jpg": "image/jpeg"}[form]
    assert driver == {"png": "PNG", "jpg": "JPEG"}[form]
    valid = stack.pixels[1, 0] > 0
    tolerance = 1 if form == "png" else 60  # noise is the worst case for a JPEG
    shown = stack.pixels[1][[0, 1, 0]] / 10_000 * 255
    error = np.abs(pixels[:3].astype(float) - np.floor(shown))[:, valid]
    assert (error.max() if form == "png" else error.mean()) <= tolerance


@pytest.mark.slow
def test_a_thumbnail_without_a_size_has_that_of_its_image(ee: Any) -> None:
    """It is refused where that is too large (KMarkert/cartoee#4, tylere/AGU2017#1)."""
    image = ee.Image(f"{STACK}/image_1").select("red").visualize(min=0, max=255)
    _, own = picture(requests.get(image.getThumbURL({})).content)
    assert own.shape[1:] == SHAPE
    large = image.resample("bilinear").reproject(CRS, [1, 0, TRANSFORM.c, 0, -1, TRANSFORM.f])
    _, whole = picture(requests.get(large.getThumbURL({})).content)
    assert max(whole.shape[1:]) > 512
    for factor, message in ((10, "Pixel grid dimensions"), (3, "Total request size")):
        with pytest.raises(ee.EEException, match=message):
            image.reproject(CRS, [1 / factor, 0, TRANSFORM.c, 0, -1 / factor, TRANSFORM.f]).getThumbURL({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": "20000x20"}, r"Pixel grid dimensions \(20000x20\) must be less than or equal to 10000\."),
        ({"dimensions": [4000, 4000]}, r"Total request size \(96000000 bytes\) must be less than or equal to 33554432"),
        ({"dimensions": 9000}, "Total request size"),
        ({"scale": 0.05, "crs": CRS}, "Pixel grid dimensions"),
    ],
)
def test_pictures_that_are_too_large_are_refused_at_once(ee: Any, options: dict[str, Any], message: str) -> None:
    image = ee.Image(f"{STACK}/image_1")
    region = image.geometry()
    with pytest.raises(ee.EEException, match=message):
        image.getThumbURL({"bands": ["red", "nir", "red"], "min": 0, "max": 1, "region": region, **options})


def test_downloads(ee: Any, stack: Stack) -> None:
    image = ee.Image(f"{STACK}/image_1")
    response = requests.get(image.getDownloadURL({"format": "GEO_TIFF", "name": "red and nir"}))
    assert response.headers["content-disposition"] == "attachment; filename=red_and_nir.tif"
    pixels, transform, _, _ = tiff(response.content)
    np.testing.assert_array_equal(pixels, stack.pixels[1])
    assert transform == TRANSFORM
    response = requests.get(image.getDownloadURL({"format": "NPY"}))
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content))["nir"], stack.pixels[1, 1])


def test_archives(ee: Any, stack: Stack) -> None:
    image = ee.Image(f"{STACK}/image_1")
    together = requests.get(image.getDownloadURL({"name": "all", "filePerBand": False})).content
    apart = requests.get(image.getDownloadURL({"name": "one"})).content
    with zipfile.ZipFile(io.BytesIO(together)) as archive:
        assert archive.namelist() == ["all.tif"]
        np.testing.assert_array_equal(tiff(archive.read("all.tif"))[0], stack.pixels[1])
    with zipfile.ZipFile(io.BytesIO(apart)) as archive:
        assert archive.namelist() == ["one.red.tif", "one.nir.tif"]
        np.testing.assert_array_equal(tiff(archive.read("one.nir.tif"))[0][0], stack.pixels[1, 1])


def test_downloads_that_are_too_large_are_refused_at_once(ee: Any, server: Server) -> None:
    before = server.requests().get("thumbnails:getPixels", 0)
    with pytest.raises(
        ee.EEException, match=r"Total request size \(\d+ bytes\) must be less than or equal to 33554432"
    ):
        ee.Image(f"{STACK}/image_1").getDownloadURL({"scale": 0.5, "format": "GEO_TIFF"})
    assert server.requests().get("thumbnails:getPixels", 0) == before


# Filmstrips


def test_filmstrips_lie_below_each_other(ee: Any, stack: Stack) -> None:
    collection = ee.ImageCollection(STACK).select("red")
    shown = {"min": 0, "max": 255, "dimensions": "300x200", "format": "png"}
    driver, pixels = picture(requests.get(collection.getFilmstripThumbURL(shown)).content)
    assert (driver, pixels.shape[1:]) == ("PNG", (4 * SHAPE[0], SHAPE[1]))
    for index in range(4):
        frame = pixels[:, index * SHAPE[0] : (index + 1) * SHAPE[0]]
        expected = stack.pixels[index, 0]
        np.testing.assert_array_equal(frame[-1] > 0, expected > 0)
        np.testing.assert_array_equal(frame[0][expected > 0], np.minimum(expected, 255)[expected > 0])


def test_filmstrips_lie_beside_each_other(ee: Any, server: Server, stack: Stack) -> None:
    expression = json.loads(ee.ImageCollection(STACK).select("red").limit(2).map(_byte).serialize())
    body = {"expression": expression, "orientation": "HORIZONTAL", "fileFormat": "PNG"}
    name = requests.post(f"{server.url}/v1/projects/local/filmstripThumbnails", json=body).json()["name"]
    _, pixels = picture(requests.get(f"{server.url}/v1/{name}:getPixels").content)
    assert pixels.shape[1:] == (SHAPE[0], 2 * SHAPE[1])
    np.testing.assert_array_equal(pixels[0, :, SHAPE[1] :], np.minimum(stack.pixels[1, 0], 255))


def _byte(image: Any) -> Any:
    return image.toByte()


def test_filmstrips_of_nothing_are_refused(ee: Any) -> None:
    empty = ee.ImageCollection(STACK).filterDate("1990-01-01", "1991-01-01").select("red")
    response = requests.get(empty.getFilmstripThumbURL({"dimensions": 16, "min": 0, "max": 1}))
    assert (response.status_code, response.json()["error"]["message"]) == (400, "The collection has no images.")


# Animations


def animation(content: bytes) -> tuple[list[Any], list[int], int]:
    """The frames of a GIF as Pillow sees them, their milliseconds, and how often it repeats (0: for ever)."""
    with PIL.Image.open(io.BytesIO(content)) as found:
        assert found.format == "GIF"
        frames, times = [], []
        for frame in PIL.ImageSequence.Iterator(found):
            frames.append(np.array(frame.convert("RGBA")))
            times.append(frame.info["duration"])
        return frames, times, found.info["loop"]


@pytest.mark.slow
def test_animations_show_one_image_after_the_other(ee: Any, stack: Stack) -> None:
    collection = ee.ImageCollection(STACK).select("red")
    shown = {"min": 0, "max": 255, "dimensions": "300x200", "framesPerSecond": 4}
    answer = requests.get(collection.getVideoThumbURL(shown))
    assert answer.headers["content-type"] == "image/gif"
    frames, times, loop = animation(answer.content)
    assert (len(frames), set(times), loop) == (4, {250}, 0)
    for index, frame in enumerate(frames):
        expected = stack.pixels[index, 0]
        assert frame.shape == (*SHAPE, 4)
        np.testing.assert_array_equal(frame[..., 3] > 0, expected > 0)
        grey = np.minimum(expected, 255)[expected > 0]
        if len(np.unique(grey)) < 255:
            np.testing.assert_array_equal(frame[..., :3][expected > 0], np.stack([grey] * 3, axis=-1))
        else:
            assert np.abs(frame[..., 0][expected > 0].astype(int) - grey).max() <= 4


@pytest.mark.slow
def test_palettes_of_animations_keep_their_colours(ee: Any, stack: Stack) -> None:
    collection = ee.ImageCollection(STACK).select("red").map(lambda image: image.gt(128))
    frames, times, _ = animation(
        requests.get(collection.getVideoThumbURL({"min": 0, "max": 1, "palette": ["ff0000", "0000ff"]})).content
    )
    assert set(times) == {200}  # five frames a second
    for index, frame in enumerate(frames):
        expected = stack.pixels[index, 0]
        found = {tuple(colour) for colour in frame[expected > 0]}
        assert found <= {(255, 0, 0, 255), (0, 0, 255, 255)}
        np.testing.assert_array_equal(frame[..., 2][expected > 0] == 255, (expected > 128)[expected > 0])


def test_frames_of_many_colours_come_close(ee: Any) -> None:
    lonlat = ee.Image.pixelLonLat().multiply(25).add(128).toByte()
    image = lonlat.addBands(lonlat.select(0).add(lonlat.select(1)).divide(2).toByte())
    region = ee.Geometry.Rectangle([-5, -5, 5, 5], None, False)
    shown = {"region": region, "dimensions": 100, "crs": "EPSG:4326"}
    expected = ee.data.computePixels(
        {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": {
            "dimensions": {"width": 100, "height": 100}, "crsCode": "EPSG:4326",
            "affineTransform": {"scaleX": 0.1, "scaleY": -0.1, "translateX": -5, "translateY": 5}}}
    )  # fmt: skip
    content = requests.get(ee.ImageCollection([image, image.add(1).toByte()]).getVideoThumbURL(shown)).content
    frames, _, _ = animation(content)
    assert len(frames) == 2
    wanted = np.stack([expected[name] for name in expected.dtype.names], axis=-1).astype(int)
    assert np.abs(frames[0][..., :3] - wanted).mean() < 8
    assert (frames[0][..., 3] == 255).all()


def test_equal_frames_stay_frames_of_their_own(ee: Any) -> None:
    """Clients write a text on each frame, and count them (geemap's ``add_text_to_gif``)."""
    region = ee.Geometry.Rectangle([-5, -5, 5, 5], None, False)
    shown = {"region": region, "dimensions": 300, "crs": "EPSG:4326", "min": -5, "max": 5, "framesPerSecond": 4}
    image = ee.Image.pixelLonLat().select("longitude")
    content = requests.get(ee.ImageCollection([image, image, image]).getVideoThumbURL(shown)).content
    frames, times, _ = animation(content)
    assert times == [250, 250, 250]
    # A frame is drawn in places, which join without a seam.
    shades = frames[0][:, :, 0].astype(int)
    np.testing.assert_allclose(shades, np.broadcast_to((np.arange(300) + 0.5) / 300 * 255, (300, 300)), atol=2)
    np.testing.assert_array_equal(frames[2], frames[0])


@pytest.mark.slow
def test_an_animation_has_as_many_pixels_as_the_service_allows(ee: Any) -> None:
    """512 * 512 * 100 in all, on frames of the size that is asked for: geemap asks for 700 by 554, 66 times."""
    shown = {"region": ee.Geometry.Rectangle([0, -5, 1, 5], None, False), "crs": "EPSG:4326", "min": 0, "max": 1}
    images = ee.ImageCollection([ee.Image(0).toByte()] * 20)
    content = requests.get(images.getVideoThumbURL({**shown, "dimensions": "52x520"})).content
    frames, _, _ = animation(content)
    assert (len(frames), frames[0].shape) == (20, (520, 52, 4))
    refused = requests.get(images.getVideoThumbURL({**shown, "dimensions": "253x5200"}))
    assert refused.status_code == 400
    assert "(26312000 pixels) must be less than or equal to 26214400" in refused.json()["error"]["message"]


def test_impossible_animations_are_refused(ee: Any, server: Server) -> None:
    expression = json.loads(ee.ImageCollection(STACK).select("red").map(_byte).serialize())
    empty = json.loads(ee.ImageCollection(STACK).filterDate("1990-01-01", "1991-01-01").serialize())
    two = json.loads(ee.ImageCollection(STACK).serialize())
    for body, message in (
        ({"expression": expression, "fileFormat": "MP4"}, "Unsupported file format: MP4."),
        ({"expression": expression, "videoOptions": {"framesPerSecond": 121}}, "between 0.1 and 120"),
        ({"expression": expression, "videoOptions": {"maxFrames": 3}}, "more than maxFrames"),
        ({"expression": expression, "videoOptions": {"maxPixelsPerFrame": "100"}}, "more pixels than"),
        ({"expression": empty}, "The collection has no images."),
        ({"expression": two}, "GIF images have 1 or 3 bands, not 2"),
    ):
        name = requests.post(f"{server.url}/v1/projects/local/videoThumbnails", json=body).json()["name"]
        answer = requests.get(f"{server.url}/v1/{name}:getPixels")
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]


# Collections of images


def test_images_come_in_pages(ee: Any) -> None:
    collection = ee.ImageCollection(STACK)
    first = ee.data.computeImages({"expression": collection, "pageSize": 3})
    assert [image["id"] for image in first["images"]] == [f"{STACK}/image_{index}" for index in range(3)]
    rest = ee.data.computeImages({"expression": collection, "pageSize": 3, "pageToken": first["nextPageToken"]})
    assert [image["name"] for image in rest["images"]] == [ee.data.getAsset(f"{STACK}/image_3")["name"]]
    assert rest["images"][0]["bands"] == ee.data.getAsset(f"{STACK}/image_3")["bands"]
    computed = collection.map(lambda image: image.add(1).set("system:time_start", 1500, "n", 0)).limit(1)
    (image,) = ee.data.computeImages({"expression": computed})["images"]
    assert image.pop("geometry")["type"] == "Polygon"
    assert image.pop("bands")[0]["id"] == "red"
    assert image == {"type": "IMAGE", "startTime": "1970-01-01T00:00:01.500Z", "properties": {"n": 0}}
    assert "nextPageToken" not in rest


@pytest.mark.parametrize("step", [-0.1, 0.1])
def test_rows_of_a_download_go_the_way_that_its_transform_says(ee: Any, step: float) -> None:
    """As geedim's test_download expects, which runs against the service."""
    asked = {"crs": "EPSG:4326", "crs_transform": [0.1, 0, 10, 0, step, 20], "dimensions": [3, 4]}
    expected = 20 + step * np.arange(0.5, 4)
    image = ee.Image.pixelLonLat()
    latitudes = np.load(io.BytesIO(requests.get(image.getDownloadURL({**asked, "format": "NPY"})).content))["latitude"]
    np.testing.assert_allclose(latitudes[:, 0], expected)
    content = requests.get(image.getDownloadURL({**asked, "format": "GEO_TIFF"})).content
    with MemoryFile(content) as memory, memory.open() as file:
        assert file.transform.e == pytest.approx(step)
        np.testing.assert_allclose(file.read(2)[:, 0], expected)


def test_masked_reads_of_a_geotiff_are_masked_where_the_image_is(ee: Any) -> None:
    """As geedim's test_tiler_map_tiles expects, which runs against the service."""
    south = ee.Image.pixelLonLat().select("latitude").lt(19.9)
    asked = {"crs": "EPSG:4326", "crs_transform": [0.1, 0, 10, 0, -0.1, 20], "dimensions": [1, 3], "format": "GEO_TIFF"}
    for cast, least in (("toUint8", 0), ("toInt16", -32768), ("toFloat", -np.inf), ("toDouble", -np.inf)):
        image = getattr(ee.Image(5), cast)().updateMask(south)
        with MemoryFile(requests.get(image.getDownloadURL(asked)).content) as memory, memory.open() as file:
            assert file.nodata == least
            assert file.read(1)[:, 0].tolist() == [least, 5, 5]
            assert file.read(1, masked=True).mask[:, 0].tolist() == [True, False, False]
