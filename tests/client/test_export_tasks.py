"""Tasks that export chips: one for each request, with the pixels of a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from eechips import Chip, Grid
from eechips.client.export_place import ExportPlace
from eechips.client.export_tasks import fetch_statuses, start_export
from eechips.errors import PermanentError
from tests.support.export_runs import ExportService, export_service
from tests.support.local_earth_engine import initialize, wait_until

PLACE = ExportPlace.parse("gs://my-bucket/folder/")
UNIT = "0123456789abcdef" * 4
GRID = Grid("EPSG:32613", (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_400_000.0), 300, 20)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportService]:
    with export_service(tmp_path_factory.mktemp("buckets")) as found:
        yield found


@pytest.fixture
def ee(service: ExportService) -> Any:
    return initialize(service.server)


def masked_chip(ee: Any) -> Chip:
    """Return a chip of two bands with different masks, one of which has fractions."""
    elevation = ee.Image("USGS/SRTMGL1_003").select("elevation").toFloat()
    low = elevation.updateMask(elevation.mod(3)).rename("low")
    high = elevation.add(0.5).toFloat().updateMask(elevation.mod(5).divide(4)).rename("high")
    return Chip(low.addBands(high), grid=GRID, bands=("low", "high"), dtype="float32", format="tif")


def test_the_same_request_starts_one_task_and_another_key_another(ee: Any, service: ExportService) -> None:
    chip = masked_chip(ee)
    first, again = start_export(chip, PLACE, UNIT, "a"), start_export(chip, PLACE, UNIT, "a")
    assert first == again
    assert first.url.startswith("gs://my-bucket/folder/eechips-0123456789abcdef-")
    other = start_export(chip, PLACE, UNIT, "b")
    wider = start_export(replace(chip, grid=GRID.window(0, 0, 300, 10)), PLACE, UNIT, "a")
    assert len({first, other, wider}) == 3
    listed = [each["metadata"]["description"] for each in ee.data.listOperations()]
    assert len(listed) == len(set(listed)) == 3


def test_a_task_whose_request_id_the_service_has_already_is_found_by_its_description(ee: Any, tmp_path: Path) -> None:
    name = start_export(masked_chip(ee), PLACE, UNIT, "c").url.rpartition("/")[2].removesuffix(".tif")
    with export_service(tmp_path) as fresh:
        own = initialize(fresh.server)
        chip = masked_chip(own)
        options = {"fileFormat": "GEO_TIFF", "cloudStorageDestination": {"bucket": "my-bucket", "filenamePrefix": "x"}}
        request = {"expression": own.Image(1), "description": name, "grid": GRID.to_pixel_grid()}
        started = own.data.exportImage(name, {**request, "fileExportOptions": options})
        assert start_export(chip, PLACE, UNIT, "c").operation == started["name"]


def test_an_exported_file_has_the_values_of_a_request_and_zeros_where_they_are_masked(
    ee: Any, service: ExportService
) -> None:
    chip = masked_chip(ee)
    task = start_export(chip, PLACE, UNIT, "d")
    wait_until(lambda: fetch_statuses([task.operation])[task.operation].is_done)
    status = fetch_statuses([task.operation])[task.operation]
    assert status.error is None
    assert status.eecu_seconds > 0
    parameters = {"expression": chip.image.unmask(0), "fileFormat": "NUMPY_NDARRAY", "grid": GRID.to_pixel_grid()}
    wanted = ee.data.computePixels(parameters)
    with rasterio.open(service.buckets / "my-bucket" / task.url.removeprefix("gs://my-bucket/")) as file:
        assert file.descriptions == ("low", "high", "eechips_mask")
        assert tuple(file.transform)[:6] == GRID.transform
        low, high, mask = file.read()
    np.testing.assert_array_equal(low, wanted["low"])
    np.testing.assert_array_equal(high, wanted["high"])
    np.testing.assert_array_equal(mask, ((low != 0) & (high != 0)).astype(np.float32))


def test_unknown_tasks_have_ended(ee: Any) -> None:
    status = fetch_statuses(["projects/local/operations/NONE"])["projects/local/operations/NONE"]
    assert status.is_done
    assert status.error == "Earth Engine does not know the task any longer"


def test_a_task_that_the_service_does_not_start_is_an_error_with_its_message(ee: Any) -> None:
    place = ExportPlace("my-bucket", "folder/.hidden")
    with pytest.raises(PermanentError, match="Invalid object name prefix"):
        start_export(masked_chip(ee), place, UNIT, "e")
