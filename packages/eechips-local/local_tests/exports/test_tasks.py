"""Tasks of exports: order, cancelling, attempts, repeated requests, and how they end with their server."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from eechips_local.exports.destinations import ExportConfig
from eechips_local.exports.task_queue import QueueFullError, TaskExistsError, TaskQueue
from eechips_local.exports.tasks import ExportTask, TaskResult
from eechips_local.protocol.request_errors import InvalidError, NotFoundError
from local_tests.support.export_tasks import Folders, export_server, finished
from local_tests.support.local_earth_engine import ServerProcess, initialize, start_server, stop_server, wait_until
from local_tests.support.process_tree import descendants, is_running
from local_tests.support.stack_store import STACK, Stack


class Gate:
    """Attempts that end when they are told to; they note the order in which they begin."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.results: dict[str, list[TaskResult]] = {}
        self._open: dict[str, threading.Event] = {}

    def __call__(self, task: ExportTask) -> Gate.Run:
        self.begun.append(task.description)
        return Gate.Run(self, task.description)

    def open(self, name: str) -> None:
        self.event(name).set()

    def event(self, name: str) -> threading.Event:
        return self._open.setdefault(name, threading.Event())

    class Run:
        def __init__(self, gate: Gate, name: str) -> None:
            self.gate, self.name = gate, name

        def execute(self, report: Callable[[float, float], None]) -> TaskResult:
            report(0.5, 0.0)
            assert self.gate.event(self.name).wait(60)
            waiting = self.gate.results.get(self.name)
            return waiting.pop(0) if waiting else TaskResult(eecu_seconds=2.0)

        def cancel(self) -> None:
            self.gate.results[self.name] = [TaskResult((8, "killed"), is_intermittent=True)]
            self.gate.open(self.name)


class Tasks:
    """A queue whose clock stands still until it is set."""

    def __init__(self, drive: Path, running: int = 1) -> None:
        self.gate = Gate()
        self.now = 1_000_000.0
        self.charged: list[tuple[str | None, float, Iterable[str]]] = []
        config = ExportConfig(drive=drive, running=running)
        self.queue = TaskQueue(config, self.gate, lambda *charge: self.charged.append(charge), lambda: self.now)

    def submit(self, name: str, project: str = "p", **options: Any) -> str:
        body = {"description": name, "fileExportOptions": {"driveDestination": {}}, **options}
        found = self.queue.submit(project, "image:export", body, json.dumps(body).encode())
        return str(found["name"].rpartition("/")[2])

    def state(self, task: str) -> str:
        return str(self.queue.operation("p", task)["metadata"]["state"])

    def wait(self, task: str) -> dict[str, Any]:
        wait_until(lambda: bool(self.queue.operation("p", task).get("done")))
        return self.queue.operation("p", task)


@pytest.fixture
def tasks(tmp_path: Path) -> Iterator[Tasks]:
    found = Tasks(tmp_path)
    yield found
    found.queue.stop()


def test_tasks_run_by_priority_and_then_in_their_order(tasks: Tasks) -> None:
    ids = [tasks.submit("first")]
    ids += [tasks.submit(f"usual-{index}") for index in range(2)]
    ids += [tasks.submit("urgent", priority={"value": 500}), tasks.submit("idle", priority=0)]
    assert [tasks.state(task) for task in ids] == ["RUNNING", *["PENDING"] * 4]
    for name in ("first", "usual-0", "usual-1", "urgent", "idle"):
        tasks.gate.open(name)
    assert [tasks.wait(task)["metadata"]["state"] for task in ids] == ["SUCCEEDED"] * 5
    assert tasks.gate.begun == ["first", "urgent", "usual-0", "usual-1", "idle"]
    listed = tasks.queue.operations("p")
    assert [operation["name"].rpartition("/")[2] for operation in listed] == ids[::-1]
    assert tasks.queue.operations("other") == []


def test_several_run_at_a_time(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path, running=3)
    ids = [tasks.submit(str(index)) for index in range(5)]
    assert [tasks.state(task) for task in ids] == ["RUNNING"] * 3 + ["PENDING"] * 2
    tasks.gate.open("1")
    tasks.wait(ids[1])
    wait_until(lambda: tasks.state(ids[3]) == "RUNNING")
    assert tasks.state(ids[4]) == "PENDING"
    tasks.queue.stop()
    states = [tasks.state(task) for task in ids]
    assert states == ["CANCELLED", "SUCCEEDED", "CANCELLED", "CANCELLED", "CANCELLED"]


def test_times_and_shares_are_those_of_the_clock_and_the_attempt(tasks: Tasks) -> None:
    running, waiting = tasks.submit("a"), tasks.submit("b")
    wait_until(lambda: tasks.queue.operation("p", running)["metadata"].get("progress") == 0.25)
    pending = tasks.queue.operation("p", waiting)["metadata"]
    assert (pending["createTime"], pending["startTime"]) == (
        "1970-01-12T13:46:40Z", "1970-01-01T00:00:00Z",
    )  # fmt: skip
    assert not {"attempt", "stages", "endTime", "destinationUris"} & pending.keys()
    begun = tasks.queue.operation("p", running)["metadata"]
    assert begun["stages"][0].items() >= {"completeWorkUnits": 0.5, "totalWorkUnits": "1"}.items()
    assert begun["stages"][1].keys() == {"displayName", "description"}
    assert "batchEecuUsageSeconds" not in begun
    tasks.now += 60
    tasks.gate.open("a")
    metadata = tasks.wait(running)["metadata"]
    assert metadata["endTime"] == metadata["updateTime"] == "1970-01-12T13:47:40Z"
    assert metadata["batchEecuUsageSeconds"] == 2
    assert tasks.charged == [(None, 2.0, frozenset())]


def test_cancelled_tasks(tasks: Tasks) -> None:
    running, pending = tasks.submit("a"), tasks.submit("b")
    tasks.queue.cancel("p", pending)
    assert tasks.state(pending) == "CANCELLED"
    wait_until(lambda: tasks.gate.begun == ["a"])
    tasks.queue.cancel("p", running)
    for task in (running, pending):
        found = tasks.wait(task)
        assert (found["metadata"]["state"], found["error"]) == ("CANCELLED", {"code": 1, "message": "Cancelled."})
        tasks.queue.cancel("p", task)  # has no effect
    assert tasks.gate.begun == ["a"]


def test_tasks_of_all_projects_are_found_by_their_ids_alone(tasks: Tasks) -> None:
    task = tasks.submit("a", project="mine")
    assert tasks.queue.operation("earthengine-legacy", task)["name"] == f"projects/mine/operations/{task}"
    with pytest.raises(NotFoundError):
        tasks.queue.operation("other", task)
    tasks.queue.cancel("earthengine-legacy", task)
    wait_until(lambda: bool(tasks.queue.operation("mine", task).get("done")))
    tasks.queue.delete("earthengine-legacy", task)
    assert tasks.queue.operations("mine") == []


def test_failures_that_may_be_intermittent_are_repeated(tasks: Tasks) -> None:
    out_of_memory = TaskResult((8, "Execution failed; out of memory."), is_intermittent=True, eecu_seconds=1.0)
    tasks.gate.results = {"a": [out_of_memory] * 2, "b": [out_of_memory] * 9, "c": [TaskResult((3, "wrong"))]}
    for name in "abc":
        tasks.gate.open(name)
    found = [tasks.wait(tasks.submit(name)) for name in "abc"]
    assert [(f["metadata"]["state"], f["metadata"]["attempt"]) for f in found] == [
        ("SUCCEEDED", 3), ("FAILED", 5), ("FAILED", 1),
    ]  # fmt: skip
    assert found[0]["metadata"]["batchEecuUsageSeconds"] == 4
    assert found[1]["error"] == {"code": 8, "message": "Execution failed; out of memory."}
    assert found[2]["error"] == {"code": 3, "message": "wrong"}


def test_a_request_that_is_sent_again_starts_no_second_task(tasks: Tasks) -> None:
    first = tasks.submit("a", requestId="one-1")
    assert tasks.submit("a", requestId="one-1") == first
    assert tasks.submit("a", project="q", requestId="one-1") != first
    with pytest.raises(TaskExistsError, match="different Operation was already started with the given"):
        tasks.submit("b", requestId="one-1")
    for wrong in ("a b", "x" * 61, "ü"):
        with pytest.raises(InvalidError, match="Invalid request ID"):
            tasks.submit("c", requestId=wrong)


@pytest.mark.parametrize("name", ["two words", "a/b", "Müller", "a\n", "x" * 101])
def test_descriptions_are_those_that_the_service_accepts(tasks: Tasks, name: str) -> None:
    assert tasks.submit("All.of,these:are;in_it-1", priority=1)
    with pytest.raises(InvalidError, match="The description must contain only the following characters"):
        tasks.submit(name)


@pytest.mark.parametrize("options", [{"priority": -1}, {"priority": {"value": 10_000}}, {"fileExportOptions": {}}])
def test_malformed_requests_are_refused(tasks: Tasks, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        tasks.submit("a", **options)
    assert tasks.queue.operations("p") == []


@pytest.mark.slow
def test_the_queue_has_an_end(tasks: Tasks) -> None:
    for index in range(3001):
        tasks.submit(str(index))
    with pytest.raises(QueueFullError, match=r"Too many tasks already in the queue \(3000\)"):
        tasks.submit("one-more", requestId="one-1")
    with pytest.raises(TaskExistsError):
        tasks.submit("one-more", requestId="one-1")


# In processes


@pytest.fixture(scope="module")
def server(stack: Stack, folders: Folders) -> Iterator[ServerProcess]:
    """Serve the small store from a process of its own, whose children are counted."""
    found = export_server(start_server, stack, folders)
    yield found
    stop_server(found)


def endless(ee: Any) -> Any:
    """An image that takes days, of a few pixels."""
    many = ee.List.sequence(1, 5000).iterate(
        lambda y, n: ee.List.sequence(1, 5000).iterate(
            lambda x, m: ee.List.sequence(1, 5000).map(lambda z: ee.Number(z).add(m)).size(), n
        ),
        0,
    )
    return ee.Image(f"{STACK}/image_0").toFloat().add(ee.Number(many)).toFloat()


def start(ee: Any, image: Any, name: str) -> Any:
    task = ee.batch.Export.image.toDrive(image, name, "tasks", name)
    task.start()
    return task


def idle_processes(ee: Any, server: ServerProcess) -> set[int]:
    """The processes of a server that has everything running that it needs, and no task."""
    assert ee.Number(1).getInfo() == 1
    assert finished(start(ee, ee.Image(f"{STACK}/image_0"), "before"))["state"] == "COMPLETED"
    return set(descendants(server.process.pid))


@pytest.mark.slow
def test_a_running_task_is_killed_when_it_is_cancelled(server: ServerProcess, folders: Folders) -> None:
    ee = initialize(server)
    before = idle_processes(ee, server)
    task = start(ee, endless(ee), "cancelled")
    wait_until(lambda: len(set(descendants(server.process.pid)) - before) == 1)
    assert task.status()["state"] == "RUNNING"
    assert len(list(folders.drive.glob(".eechips-local-*"))) == 1
    task.cancel()
    status = finished(task)
    assert (status["state"], status["error_message"]) == ("CANCELLED", "Cancelled.")
    assert not list(folders.drive.glob(".eechips-local-*"))
    assert set(descendants(server.process.pid)) == before
    assert finished(start(ee, ee.Image(f"{STACK}/image_0"), "next"))["state"] == "COMPLETED"
    found = [path.name for path in (folders.drive / "tasks").iterdir()]
    assert "next.tif" in found
    assert not [name for name in found if "cancelled" in name]


@pytest.mark.slow
def test_a_task_whose_process_dies_is_tried_again(server: ServerProcess, folders: Folders) -> None:
    ee = initialize(server)
    before = idle_processes(ee, server)
    task = start(ee, endless(ee), "killed")
    for attempt in range(1, 6):
        wait_until(lambda attempt=attempt: task.status().get("attempt") == attempt)
        wait_until(lambda: len(set(descendants(server.process.pid)) - before) == 1)
        (process,) = set(descendants(server.process.pid)) - before
        before.add(process)
        os.kill(process, signal.SIGKILL)
    status = finished(task)
    assert (status["state"], status["attempt"]) == ("FAILED", 5)
    assert status["error_message"] == "Execution failed; out of memory."
    assert not list(folders.drive.glob(".eechips-local-*"))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "end", ["exit", *(pytest.param(end, marks=pytest.mark.slow) for end in ("SIGTERM", "SIGKILL"))]
)
def test_no_process_outlives_the_server(stack: Stack, tmp_path: Path, end: str) -> None:
    server = start_server("--no-demo", "--assets", str(stack.path), "--drive", str(tmp_path))
    ee = initialize(server)
    tasks = [start(ee, endless(ee), str(index)) for index in range(3)]
    wait_until(lambda: len(list(tmp_path.glob(".eechips-local-*"))) == 2)
    assert [task.status()["state"] for task in tasks] == ["RUNNING", "RUNNING", "READY"]
    processes = descendants(server.process.pid)
    if end == "exit":
        stop_server(server)
    else:
        server.process.send_signal(getattr(signal, end))
        server.process.wait(60)
        server.process.stdin.close()
        server.process.stdout.close()
    wait_until(lambda: not any(map(is_running, processes)))
    if end == "SIGKILL":  # the next server removes what this one could not
        server = start_server("--no-demo", "--assets", str(stack.path), "--drive", str(tmp_path))
        ee = initialize(server)
        assert finished(start(ee, ee.Image(f"{STACK}/image_0"), "next"))["state"] == "COMPLETED"
        stop_server(server)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["next.tif", "tasks"]
    else:
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_operations_as_resources(server: ServerProcess) -> None:
    ee = initialize(server)
    tasks = [start(ee, ee.Image(f"{STACK}/image_0"), f"resource-{index}") for index in range(3)]
    for task in tasks:
        waited = requests.post(f"{server.url}/v1/{task.name}:wait", json={"timeout": "60s"}).json()
        assert waited["done"] is True
    listing = f"{server.url}/v1/projects/local/operations"
    first = requests.get(listing, {"pageSize": 2}).json()
    assert [operation["name"] for operation in first["operations"]] == [tasks[2].name, tasks[1].name]
    second = requests.get(listing, {"pageSize": 1, "pageToken": first["nextPageToken"]}).json()
    assert second["operations"][0]["name"] == tasks[0].name
    assert requests.delete(f"{server.url}/v1/{tasks[0].name}").json() == {}
    with pytest.raises(ee.EEException, match="Operation not found"):
        ee.data.getOperation(tasks[0].name)
    long = start(ee, endless(ee), "long")
    assert requests.post(f"{server.url}/v1/{long.name}:wait", json={"timeout": "0.1s"}).json().get("done") is None
    assert requests.delete(f"{server.url}/v1/{long.name}").json()["error"]["status"] == "FAILED_PRECONDITION"
    assert requests.post(f"{server.url}/v1/{long.name}:wait", json={"timeout": "soon"}).status_code == 400
    long.cancel()
    assert finished(long)["state"] == "CANCELLED"


@pytest.mark.slow
def test_the_client_may_send_a_request_again(server: ServerProcess) -> None:
    ee = initialize(server)
    task = ee.batch.Export.image.toDrive(ee.Image(f"{STACK}/image_0"), "again", "tasks")
    (request_id,) = ee.data.newTaskId()
    names = {ee.data.exportImage(request_id, dict(task.config))["name"] for _ in range(3)}
    assert len(names) == 1
    other = ee.batch.Export.image.toDrive(ee.Image(f"{STACK}/image_1"), "again", "tasks")
    with pytest.raises(ee.EEException, match="A different Operation was already started with the given request_id"):
        ee.data.exportImage(request_id, dict(other.config))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_exports_are_charged(stack: Stack, tmp_path: Path) -> None:
    server = start_server(
        "--no-demo", "--assets", str(stack.path), "--drive", str(tmp_path), "--eecu-hours", "0.000001", "--exports", "3"
    )
    ee = initialize(server)
    assert ee.data.getProjectConfig()["maxConcurrentExports"] == 3
    with ee.data.workloadTagContext("my-tag"):
        task = start(ee, ee.Image(f"{STACK}/image_0"), "charged")
    spent = finished(task)["batch_eecu_usage_seconds"]
    account = server.stats()["compute"]["workload_tags"]
    assert account["my-tag"] == {"requests": 1, "eecu_seconds": spent}
    with pytest.raises(ee.EEException, match="Your usage exceeded the custom quota"):
        start(ee, ee.Image(f"{STACK}/image_0"), "too-much")
    stop_server(server)
