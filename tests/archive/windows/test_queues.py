"""The programs of docs/how-to/serverless.md: the windows of a new object pass through a queue once."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import fsspec
import numpy as np
import pytest
import rasterio

from local_tests.support.loopback import serving
from local_tests.support.object_server import ObjectServer, missing_packages, serving_objects
from tests.archive.windows.test_results import RECIPE, ROOT, index_of, write_scene
from tests.docs.blocks import read_blocks
from tests.support.programs import run_program

pytestmark = pytest.mark.slow
WIDTH, HEIGHT = 300, 260
MEMORY = "152MB"  # little, for several windows
MOST = 3  # deliveries of a message


def documented(first: str) -> dict[str, Any]:
    """Return the names that a program of docs/how-to/serverless.md defines, unchanged except for its memory."""
    blocks = read_blocks((ROOT / "docs" / "how-to" / "serverless.md").read_text())
    (program,) = [block.text for block in blocks if block.text.startswith(f'"""{first}')]
    namespace: dict[str, Any] = {}
    exec(program.replace('"512MB"', f'"{MEMORY}"'), namespace)
    return namespace


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of an image with eechips and the recipe."""
    (tmp_path / "recipes").mkdir()
    shutil.copy(RECIPE, tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@contextlib.contextmanager
def served(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    if reason := missing_packages(store):
        pytest.skip(reason)
    with serving_objects("bucket", store) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def check_results(files: dict[str, bytes], scene: Path) -> None:
    """Check that windows equal a direct computation, each present once."""
    expected, seen = index_of(scene), np.zeros((HEIGHT, WIDTH), dtype=int)
    for data in files.values():
        with rasterio.io.MemoryFile(data) as memory, memory.open() as window:
            column, row = round((window.transform.c - 5e5) / 10), round((44e5 - window.transform.f) / 10)
            location = np.s_[row : row + window.height, column : column + window.width]
            assert np.array_equal(window.read(1, masked=True).filled(0), expected[location].filled(0))
            seen[location] += 1
    assert (seen == 1).all()


class Lambda:
    """Emulate the event source mapping between an SQS queue and a function, with partial failures.

    Attributes:
        deliveries: deliveries of each message, by its body.
    """

    def __init__(self, queue: Any, url: str, handler: Callable[[Any, Any], Any]) -> None:
        self._queue, self._url, self._handler = queue, url, handler
        self.deliveries: dict[str, int] = {}

    def drain(self, *, forget: int = 0) -> None:
        """Delivers until nothing is left; what the handler did of the first batches is forgotten, and comes again."""
        while messages := self._queue.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            records = [{"messageId": each["MessageId"], "body": each["Body"]} for each in messages]
            for each in messages:
                self.deliveries[each["Body"]] = self.deliveries.get(each["Body"], 0) + 1
            told = self._handler({"Records": records}, None)
            failed = {each["itemIdentifier"] for each in told["batchItemFailures"]}
            assert failed <= {each["MessageId"] for each in messages}
            if forget:  # as if the function had been ended before it answered
                forget -= 1
                continue
            for each in messages:
                if each["MessageId"] not in failed:
                    self._queue.delete_message(QueueUrl=self._url, ReceiptHandle=each["ReceiptHandle"])


@pytest.mark.exhaustive
@pytest.mark.usefixtures("shell")
def test_from_an_object_of_s3_through_sqs_to_its_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moto's S3 and SQS: an event, a queue with its dead letters, redelivery twice, and a raster that is replaced."""
    with served("s3", monkeypatch):
        import boto3

        queue, store = boto3.client("sqs"), boto3.client("s3")
        with contextlib.closing(queue), contextlib.closing(store):
            dead = queue.create_queue(QueueName="windows-dead")["QueueUrl"]
            arn = queue.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            rule = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": MOST})}
            url = queue.create_queue(QueueName="windows", Attributes={"VisibilityTimeout": "0", **rule})["QueueUrl"]
            monkeypatch.setenv("QUEUE_URL", url)
            monkeypatch.setenv("RESULTS", "s3://bucket/ndvi")

            def results() -> dict[str, bytes]:
                kept = store.list_objects_v2(Bucket="bucket", Prefix="ndvi/").get("Contents", [])
                keys = [each["Key"] for each in kept if each["Key"].endswith(".tif")]
                return {key: store.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}

            scene = write_scene(tmp_path / "scene.tif", WIDTH, HEIGHT)
            store.upload_file(str(scene), "bucket", "in/new scene+é.tif")
            start = documented("Send the windows")["start"]
            start({"Service": "Amazon S3", "Event": "s3:TestEvent"}, None)
            told = {"s3": {"bucket": {"name": "bucket"}, "object": {"key": "in/new+scene%2B%C3%A9.tif"}}}
            start({"Records": [told]}, None)
            start({"Records": [told]}, None)  # the event comes twice
            queue.send_message(QueueUrl=url, MessageBody="no line of a plan")
            mapping = Lambda(queue, url, documented("Compute the windows")["handler"])
            mapping.drain(forget=1)
            made = results()
            check_results(made, scene)
            assert len(made) == len(mapping.deliveries) - 1
            assert max(mapping.deliveries.values()) > 2  # some were made three times
            letters = queue.receive_message(QueueUrl=dead, MaxNumberOfMessages=10)["Messages"]
            assert [each["Body"] for each in letters] == ["no line of a plan"]
            assert mapping.deliveries["no line of a plan"] == MOST

            scene = write_scene(tmp_path / "scene.tif", WIDTH, HEIGHT - 1)
            store.upload_file(str(scene), "bucket", "in/new scene+é.tif")  # another version
            lines = [body for body in mapping.deliveries if body.startswith("{")]
            queue.purge_queue(QueueUrl=dead)
            queue.send_message(QueueUrl=url, MessageBody=lines[0])
            Lambda(queue, url, documented("Compute the windows")["handler"]).drain()
            letters = queue.receive_message(QueueUrl=dead, MaxNumberOfMessages=10)["Messages"]
            assert [each["Body"] for each in letters] == [lines[0]]
            assert results() == made
            words = ["eechips", "work", "--units", "-", "--out", "s3://bucket/ndvi", "--executor", "threads", "-q"]
            done = run_program(*words, status=1, input=letters[0]["Body"])
            assert "was replaced" in json.loads(done.stdout)["error"]


class Context:
    """As Lambda has it, with little time left."""

    def get_remaining_time_in_millis(self) -> int:
        return 240_000


@pytest.mark.exhaustive
@pytest.mark.usefixtures("shell")
def test_invalid_messages_do_not_block_other_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = write_scene(tmp_path / "scene.tif", WIDTH, HEIGHT)
    words = ["eechips", "plan", "run", "recipes/cog_ndvi.py", "--max-memory", MEMORY, "-p", f"href={scene}"]
    lines = run_program(*words, status=0).stdout.splitlines()
    first = json.loads(lines[0])
    others = {
        "version": json.dumps({**first, "identity": "0" * 64, "id": "1" * 64}),
        "verb": json.dumps({**first, "job": ["fly"], "id": "2" * 64}),
        "serve": json.dumps({**first, "job": ["serve"], "id": "3" * 64}),
        "unit": json.dumps({**first, "unit": {"kind": "window"}, "id": "4" * 64}),
        "lack": json.dumps({"id": first["id"][::-1]}),
    }
    hostile = ["", "no line", "[]", "5", "null", '"id"', '{"id": []}', '{"id": 5}', "[" * 100_000, "x" * 250_000]
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    bodies = {
        **{f"bad {number}": body for number, body in enumerate(hostile)},
        **others,
        "good 0": json.dumps(first, indent=1),
        "good 0 again": lines[0],
        **{f"good {number}": line for number, line in enumerate(lines[1:], start=1)},
    }
    records = [{"messageId": message, "body": body} for message, body in bodies.items()]
    told = documented("Compute the windows")["handler"]({"Records": records}, Context())
    assert {each["itemIdentifier"] for each in told["batchItemFailures"]} == {
        message for message in bodies if not message.startswith("good")
    }
    check_results({path.name: path.read_bytes() for path in (tmp_path / "results").rglob("*.tif")}, scene)


def test_windows_for_which_no_time_is_left_are_delivered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eechips work` ends with 130 then; to compute the rest one by one would take more time than is left."""
    program = tmp_path / "eechips"
    program.write_text('#!/bin/sh\necho >> calls\necho \'{"id": "a", "state": "done"}\'\nexit 130\n')
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RESULTS", "results")
    records = [{"messageId": f"message {unit}", "body": json.dumps({"id": unit})} for unit in "abc"]
    told = documented("Compute the windows")["handler"]({"Records": records}, Context())
    assert [each["itemIdentifier"] for each in told["batchItemFailures"]] == ["message b", "message c"]
    assert (tmp_path / "calls").read_text() == "\n"


class Topic:
    """A topic of Pub/Sub, whose push subscription delivers until it is acknowledged, or a message is dead.

    Attributes:
        address: host and port, for ``PUBSUB_EMULATOR_HOST``.
        published: what is in it.
    """

    def __init__(self) -> None:
        self.address = ""
        self.published: list[bytes] = []

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        grpc = pytest.importorskip("grpc")
        types = pytest.importorskip("google.pubsub_v1").types

        def publish(request: Any, context: Any) -> Any:
            self.published += [message.data for message in request.messages]
            return types.PublishResponse(message_ids=[str(len(self.published)) for _ in request.messages])

        method = grpc.unary_unary_rpc_method_handler(
            publish, types.PublishRequest.deserialize, types.PublishResponse.serialize
        )
        server = grpc.server(futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": method}),)
        )
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait()

    def push(self, url: str, message: dict[str, Any]) -> list[int]:
        """Delivers a message until it is acknowledged, or so often as it may be; the answers' statuses."""
        told: list[int] = []
        while not told or (not 200 <= told[-1] < 300 and len(told) < MOST):
            body = json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"})
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
            with contextlib.closing(connection):
                connection.request("POST", "/", body, {"Content-Type": "application/json"})
                told.append(connection.getresponse().status)
        return told


@contextlib.contextmanager
def answering(application: Any) -> Iterator[str]:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server, serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.exhaustive
@pytest.mark.usefixtures("shell")
def test_from_an_object_of_google_s_through_pubsub_to_its_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, topic = write_scene(tmp_path / "scene.tif", WIDTH, HEIGHT), Topic()
    with served("gs", monkeypatch), topic.serving():
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", topic.address)
        monkeypatch.setenv("TOPIC", "projects/p/topics/windows")
        monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
        files = fsspec.filesystem("gs", token="anon", skip_instance_cache=True)
        files.pipe("bucket/in/new scene.tif", scene.read_bytes())
        told = {"eventType": "OBJECT_FINALIZE", "bucketId": "bucket", "objectId": "in/new scene.tif"}
        with answering(documented("A WSGI application: publish the")["arrived"]) as url:
            assert topic.push(url, {"attributes": {**told, "eventType": "OBJECT_DELETE"}}) == [204]
            assert topic.push(url, {"attributes": told}) == [204]
            assert topic.push(url, {"attributes": {**told, "objectId": "in/none.tif"}}) == [500] * MOST
            assert topic.push(url, {"data": ""}) == [400] * MOST
        lines = list(topic.published)
        assert len(lines) > 1
        with answering(documented("A WSGI application: gunicorn")["application"]) as url:
            for line in (*lines, lines[0]):  # one comes twice
                assert topic.push(url, {"data": base64.b64encode(line).decode()}) == [204]
            assert topic.push(url, {"data": "not base64 of anything"}) == [400] * MOST
            assert topic.push(url, {"attributes": {}}) == [400] * MOST
            assert topic.push(url, {"data": base64.b64encode(b"\xff").decode()}) == [400] * MOST
            assert topic.push(url, {"data": ""}) == [500] * MOST
            results = {path.name: path.read_bytes() for path in (tmp_path / "results").rglob("*.tif")}
            assert len(results) == len(lines)
            check_results(results, scene)
            files.rm("bucket/in/new scene.tif")
            assert topic.push(url, {"data": base64.b64encode(lines[0]).decode()}) == [500] * MOST  # a dead letter
