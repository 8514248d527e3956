"""Videos that the real client exports, decoded by FFmpeg and Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import requests

from local_tests.support.export_tasks import Folders, finished
from local_tests.support.local_earth_engine import Server
from local_tests.support.stack_store import SHAPE, STACK


def pictures(ee: Any) -> Any:
    """Frames of one colour each, which video codecs keep."""

    def picture(image: Any) -> Any:
        cloud = ee.Number(image.get("cloud")).multiply(4)
        shown = ee.Image.constant([cloud, 128, ee.Number(255).subtract(cloud)]).toByte().rename(["r", "g", "b"])
        return shown.clip(image.geometry()).set("cloud", cloud)

    return ee.ImageCollection(STACK).map(picture)


def grid(ee: Any) -> dict[str, Any]:
    return {"region": ee.Image(f"{STACK}/image_0").geometry(), "crs": "EPSG:32613", "scale": 10}


@pytest.mark.slow
def test_a_collection_becomes_an_mp4(ee: Any, folders: Folders, name: str) -> None:
    av = pytest.importorskip("av")
    task = ee.batch.Export.video.toDrive(pictures(ee), "x", name, "video", framesPerSecond=2.5, **grid(ee))
    task.start()
    status = finished(task)
    assert (status["state"], status["task_type"]) == ("COMPLETED", "EXPORT_VIDEO"), status
    (path,) = (folders.drive / name).iterdir()
    assert path.name == "video.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, float(stream.average_rate)) == ("h264", 2.5)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 4
    height, width = SHAPE
    for index, frame in enumerate(frames):
        assert frame.shape[0] - height in (0, 1, 2)
        assert frame.shape[1] - width in (0, 1, 2)
        inside = frame[20 : height - 20, 20 : width - 20].reshape(-1, 3)
        np.testing.assert_allclose(np.median(inside, axis=0), [42 * index, 128, 255 - 42 * index], atol=4)


@pytest.mark.slow
def test_the_usual_projection_and_a_bucket(ee: Any, folders: Folders, name: str) -> None:
    pytest.importorskip("av")
    task = ee.batch.Export.video.toCloudStorage(pictures(ee), "x", "my-bucket", name, dimensions=64)
    task.start()
    status = finished(task)
    assert status["state"] == "COMPLETED", status
    assert (folders.buckets / "my-bucket" / f"{name}.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.slow
def test_an_animation(ee: Any, server: Server, folders: Folders, name: str) -> None:
    collection, _ = pictures(ee).prepare_for_export(grid(ee))
    body = {
        "expression": ee.serializer.encode(collection, for_cloud_api=True),
        "videoOptions": {"framesPerSecond": 10},
        "fileExportOptions": {"fileFormat": "GIF", "driveDestination": {"folder": name, "filenamePrefix": "a"}},
    }
    operation = requests.post(f"{server.url}/v1/projects/local/video:export", json=body).json()
    done = requests.post(f"{server.url}/v1/{operation['name']}:wait", json={"timeout": "60s"}).json()
    assert done["metadata"]["state"] == "SUCCEEDED", done
    with PIL.Image.open(Path(folders.drive / name / "a.gif")) as image:
        assert (image.n_frames, image.info["duration"]) == (4, 100)


@pytest.mark.slow
def test_videos_that_cannot_be_made_fail(ee: Any, name: str) -> None:
    empty = ee.ImageCollection(STACK).filter(ee.Filter.gt("cloud", 1000))
    for message, collection, options in (
        (r"need images with 3 bands .RGB.; found one with 2", ee.ImageCollection(STACK), grid(ee)),
        ("The collection has no images", empty.map(lambda image: image), grid(ee)),
        (r"more images than maxFrames .2.", pictures(ee), {**grid(ee), "maxFrames": 2}),
        (r"more than maxPixels .100.", pictures(ee), {**grid(ee), "maxPixels": 100}),
        ("frame rate must be between 0.1 and 120: 500", pictures(ee), {**grid(ee), "framesPerSecond": 500}),
    ):
        task = ee.batch.Export.video.toDrive(collection, name, **options)
        task.start()
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(finished(task).get("error_message", "none"))
