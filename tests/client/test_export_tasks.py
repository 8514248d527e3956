"""Tasks that export chips: one for each request, with the pixels of a request."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio

from eechips import Chip, Grid
from eechips.client.access.connection import ServiceTarget, connect
from eechips.client.exports.export_place import ExportPlace
from eechips.client.exports.export_tasks import fetch_statuses, file_mark, start_export
from eechips.client.http.http_messages import Timeouts
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.errors import PermanentError, TransientError, ValidationError
from local_tests.support.function_server import Answer, serve_function
from local_tests.support.local_earth_engine import Host, Server, initialize, wait_until
from local_tests.support.parameters import slow_except
from tests.support.engine_service import ALGORITHMS, DISCOVERY
from tests.support.export_runs import ExportService, export_service

PLACE = ExportPlace.parse("gs://my-bucket/folder/")
UNIT = "0123456789abcdef" * 4
_USED = "A different Operation was already started with the given request_id."
GRID = Grid("EPSG:32613", (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_400_000.0), 300, 20)


@pytest.fixture(scope="module")
def service(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportService]:
    with export_service(host, tmp_path_factory.mktemp("buckets")) as found:
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


@pytest.mark.slow
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


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_task_whose_request_id_the_service_has_already_is_found_by_its_description(
    ee: Any, host: Host, tmp_path: Path
) -> None:
    name = start_export(masked_chip(ee), PLACE, UNIT, "c").url.rpartition("/")[2].removesuffix(".tif")
    with export_service(host, tmp_path) as fresh:
        own = initialize(fresh.server)
        chip = masked_chip(own)
        options = {"fileFormat": "GEO_TIFF", "cloudStorageDestination": {"bucket": "my-bucket", "filenamePrefix": "x"}}
        request = {"expression": own.Image(1), "description": name, "grid": GRID.to_pixel_grid()}
        started = own.data.exportImage(name, {**request, "fileExportOptions": options})
        assert start_export(chip, PLACE, UNIT, "c").operation == started["name"]


@pytest.mark.slow
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
        assert file.descriptions == ("low", "high", file_mark(task.url))
        assert tuple(file.transform)[:6] == GRID.transform
        low, high, mask = file.read()
    np.testing.assert_array_equal(low, wanted["low"])
    np.testing.assert_array_equal(high, wanted["high"])
    np.testing.assert_array_equal(mask, ((low != 0) & (high != 0)).astype(np.float32))


def test_unknown_tasks_have_ended(ee: Any) -> None:
    status = fetch_statuses(["projects/local/operations/NONE"])["projects/local/operations/NONE"]
    assert status.is_done
    assert str(status.error) == "Earth Engine does not know the task any longer"


@pytest.mark.slow
def test_a_task_that_the_service_does_not_start_is_an_error_with_its_message(ee: Any) -> None:
    place = ExportPlace("my-bucket", "folder/.hidden")
    with pytest.raises(PermanentError, match="Invalid object name prefix"):
        start_export(masked_chip(ee), place, UNIT, "e")


def test_a_list_of_tasks_without_an_end_is_an_error(ee: Any) -> None:
    """The task was started before, so that its operation is looked for in the list."""
    page = json.dumps({"operations": [{"name": "projects/local/operations/1"}], "nextPageToken": "same"}).encode()
    known = json.dumps({"error": {"code": 409, "message": "it exists", "status": "ALREADY_EXISTS"}}).encode()
    chip = masked_chip(ee)

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        if "$discovery" in path or urlsplit(path).path.endswith("/algorithms"):
            return 200, {"Content-Type": "application/json"}, DISCOVERY if "$discovery" in path else ALGORITHMS
        is_list = urlsplit(path).path.endswith("/operations")
        return (200 if is_list else 409), {"Content-Type": "application/json"}, page if is_list else known

    with serve_function(answer) as url:
        initialize(Server(url))
        with pytest.raises(ValidationError, match="the pages of the tasks of projects/local have no end"):
            start_export(chip, PLACE, UNIT, "a")


TASK = "projects/local/operations/A"
NO_TASKS: tuple[Any, ...] = (
    None, [], "x", {}, {"name": "projects/local/operations/B", "done": True}, {"name": TASK, "metadata": None},
    {"name": TASK, "metadata": []}, {"name": TASK, "done": "false"},
    {"name": TASK, "metadata": {"batchEecuUsageSeconds": "NaN"}},
)  # fmt: skip
FAILED_TASKS: tuple[tuple[Any, str], ...] = (
    ("boom", "boom"), (None, "unknown"), ({"code": "NOT_FOUND", "message": ["a"]}, "['a']"), ({"code": 5.5}, "unknown")
)  # fmt: skip


def test_what_does_not_describe_a_task_is_no_state_of_it(ee: Any) -> None:
    """It had ended, or was an internal error, which stopped the run."""
    contents: list[Any] = []

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        if "$discovery" in path or urlsplit(path).path.endswith("/algorithms"):
            return 200, headers, DISCOVERY if "$discovery" in path else ALGORITHMS
        return 200, headers, json.dumps(contents[-1]).encode()

    with serve_function(answer) as url:
        initialize(Server(url))
        for content in NO_TASKS:
            contents.append(content)
            with pytest.raises(ValidationError, match=f"came back that does not describe the task {TASK}"):
                fetch_statuses([TASK])
        for error, message in FAILED_TASKS:
            contents.append({"name": TASK, "done": True, "error": error})
            status = fetch_statuses([TASK])[TASK]
            assert (status.is_done, str(status.error)) == (True, message)


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("refused", slow_except([1, 4, 5], 5))
def test_an_id_that_was_used_up_is_followed_by_another(ee: Any, status: int, refused: int) -> None:
    """A task that was refused since too many waited has used up its id: public file 57160282156."""
    asked: list[str] = []
    chip = masked_chip(ee)

    def answer(path: str, _: Mapping[str, str], body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        if "$discovery" in path or urlsplit(path).path.endswith("/algorithms"):
            return 200, headers, DISCOVERY if "$discovery" in path else ALGORITHMS
        if urlsplit(path).path.endswith("/operations"):
            return 200, headers, b"{}"
        asked.append(json.loads(body)["requestId"])
        if len(asked) <= refused:
            return status, headers, json.dumps({"error": {"code": status, "message": _USED}}).encode()
        return 200, headers, b'{"name": "projects/local/operations/A"}'

    with serve_function(answer) as url:
        initialize(Server(url))
        if refused == 5:
            with pytest.raises(PermanentError, match="already started with the given request_id"):
                start_export(chip, PLACE, UNIT, "f")
        else:
            assert start_export(chip, PLACE, UNIT, "f").operation == "projects/local/operations/A"
    assert len(set(asked)) == len(asked) == min(refused + 1, 5)
    assert all(len(each) <= 60 for each in asked)


@pytest.mark.parametrize("refusals", [8, None])
def test_each_request_to_a_full_queue_has_an_id_of_its_own(ee: Any, refusals: int | None) -> None:
    """Public file 57160282156: a request that was refused since too many tasks waited has used up its id.

    Args:
        refusals: after which there is room in the queue; None for a queue that stays full.
    """
    asked: list[str] = []
    full = "Too many tasks already in the queue (3000). Please wait for some of them to complete."
    chip = masked_chip(ee)

    def answer(path: str, _: Mapping[str, str], body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        if "$discovery" in path or urlsplit(path).path.endswith("/algorithms"):
            return 200, headers, DISCOVERY if "$discovery" in path else ALGORITHMS
        assert "image:export" in path, path  # nothing is looked for among the tasks
        asked.append(json.loads(body)["requestId"])
        if refusals is None or len(asked) <= refusals or asked[-1] in asked[:-1]:
            code, message = (409, _USED) if asked[-1] in asked[:-1] else (400, full)
            return code, headers, json.dumps({"error": {"code": code, "message": message}}).encode()
        return 200, headers, b'{"name": "projects/local/operations/A"}'

    with serve_function(answer) as url:
        quota = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=1, start=1), clients=1).client(0)
        policy = RetryPolicy(retries=1, delay=0.001, max_delay=0.002, total=0.1 if refusals is None else 60.0)
        with connect(ServiceTarget(url, "local", None), quota, policy, Timeouts()):
            if refusals is None:
                with pytest.raises(TransientError, match=r"Too many tasks already in the queue \(3000\)"):
                    start_export(chip, PLACE, UNIT, "g")
            else:
                assert start_export(chip, PLACE, UNIT, "g").operation == "projects/local/operations/A"
    assert len(set(asked)) == len(asked)
    assert refusals is None or len(asked) == refusals + 1
    assert all(re.fullmatch("[a-z0-9-]{1,60}", each) for each in asked)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("watched", "lists", "gets"),
    [
        (range(0), 0, 0),
        (range(1190, 1200), 0, 10),  # few: each by its name, whatever else the project has
        (range(1150, 1200), 1, 0),  # the newest: on the first page
        (range(700, 800), 1, 0),
        (range(600, 800), 2, 0),
        (range(50), 2, 50),  # the oldest: a third page would be longer than it spares requests
    ],
)
def test_tasks_are_listed_as_long_as_that_spares_requests(watched: range, lists: int, gets: int) -> None:
    """Of a project with 1,200 tasks."""
    asked: list[str] = []

    def answer(path: str, _: Mapping[str, str], __: bytes) -> Answer:
        parts = urlsplit(path)
        if "$discovery" in path or parts.path.endswith("/algorithms"):
            return 200, {"Content-Type": "application/json"}, DISCOVERY if "$discovery" in path else ALGORITHMS
        asked.append(parts.path)
        name = "projects/local/operations/{:04}"
        if parts.path.endswith("/operations"):
            query = parse_qs(parts.query)
            newest = 1200 - int(query.get("pageToken", ["0"])[0])
            assert query["pageSize"] == ["500"]
            numbers = range(newest - 1, max(newest - 501, -1), -1)
            page: dict[str, Any] = {"operations": [{"name": name.format(n), "done": n % 2 == 0} for n in numbers]}
            if numbers[-1]:
                page["nextPageToken"] = str(1200 - numbers[-1])
        else:
            number = int(parts.path.rpartition("/")[2])
            page = {"name": name.format(number), "done": number % 2 == 0}
        return 200, {"Content-Type": "application/json"}, json.dumps(page).encode()

    with serve_function(answer) as url:
        initialize(Server(url))
        names = [f"projects/local/operations/{number:04}" for number in watched]
        found = fetch_statuses(names)
    assert sorted(found) == names
    assert {name: status.is_done for name, status in found.items()} == {n: int(n[-4:]) % 2 == 0 for n in names}
    counted = [path.endswith("/operations") for path in asked]
    assert (counted.count(True), counted.count(False)) == (lists, gets)
