"""Recordings over HTTP with the real client: what is kept of a service, how it is replayed, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from click.testing import CliRunner, Result

from eechips_local.cli import main
from eechips_local.recording.recording_folder import create_recording
from local_tests.support.command_server import serving_command
from local_tests.support.function_server import Answer, serve_function
from local_tests.support.local_earth_engine import Host, Server, initialize
from local_tests.support.recorders import HEADERS, KEY, PROJECT, TOKEN, Start, list_files, post, recording_of, sum_of
from local_tests.support.stack_store import STACK, Stack

EMAIL = "somebody@example.com"
GRID = {
    "dimensions": {"width": 5, "height": 4},
    "affineTransform": {
        "scaleX": 10, "shearX": 0, "translateX": 500_000, "shearY": 0, "scaleY": -10, "translateY": 4_400_000,
    },
    "crsCode": "EPSG:32613",
}  # fmt: skip


def compute(ee: Any) -> tuple[Any, Any]:
    """Return a value and pixels."""
    image = ee.Image(f"{STACK}/image_1")
    pixels = ee.data.computePixels({"expression": image.add(1), "fileFormat": "NUMPY_NDARRAY", "grid": GRID})
    return ee.ImageCollection(STACK).size().add(1).getInfo(), pixels


def fetch_picture(ee: Any) -> tuple[str, bytes]:
    """Return the URL of a thumbnail, and its bytes."""
    url = ee.Image(f"{STACK}/image_1").getThumbURL({"dimensions": 8, "format": "png", "max": 10_000, "bands": ["red"]})
    response = requests.get(url, timeout=60)
    assert response.status_code == 200, response.text
    return url, response.content


@pytest.fixture(scope="module")
def recording(host: Host, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Record some calls of a service that is stopped then; return the folder, and the results."""
    folder = tmp_path_factory.mktemp("recorded") / "recording"
    service = host.start("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none")
    try:
        direct = compute(initialize(service))
        with serving_command("record", folder, "--upstream", service.url) as recorder:
            ee = initialize(recorder)
            recorded = compute(ee)
            url, picture = fetch_picture(ee)
    finally:
        host.stop(service)
    assert recorded[0] == direct[0]
    np.testing.assert_array_equal(recorded[1], direct[1])
    return folder, (*recorded, url.rpartition("/thumbnails/")[2], picture)


@pytest.fixture(scope="module")
def replay(recording: tuple[Path, Any]) -> Iterator[Server]:
    with serving_command("replay", recording[0]) as server:
        yield server


def test_values_pixels_and_names_are_replayed_without_the_service(recording: tuple[Path, Any], replay: Server) -> None:
    size, pixels, name, picture = recording[1]
    ee = initialize(replay)
    replayed = compute(ee)
    assert replayed[0] == size
    np.testing.assert_array_equal(replayed[1], pixels)
    url, content = fetch_picture(ee)
    assert url.rpartition("/thumbnails/")[2] == name
    assert content == picture


def test_a_request_that_is_not_recorded_is_refused_with_the_nearest(replay: Server) -> None:
    ee = initialize(replay)
    with pytest.raises(ee.EEException, match=r"is not recorded in .* Nearest is value-compute/") as caught:
        ee.ImageCollection(STACK).size().add(2).getInfo()
    assert "it has right 1; this request has right 2. Record it with eechips-local record" in str(caught.value)
    with pytest.raises(ee.EEException, match="There is no recorded imageCollection-computeImages there"):
        ee.data.computeImages({"expression": ee.ImageCollection(STACK)})


def test_a_name_that_is_not_of_the_recording_has_expired(recording: tuple[Path, Any], replay: Server) -> None:
    name = recording[1][2]
    statuses = [
        requests.get(f"{replay.url}/v1/projects/local/{kind}/{each}", timeout=60).status_code
        for kind, each in (("thumbnails", name), ("tables", name), ("thumbnails", "0" * 64 + ":getPixels"))
    ]
    assert statuses == [200, 404, 404]


@pytest.fixture(scope="module")
def start(host: Host) -> Start:
    return host.start


@pytest.mark.slow
def test_only_final_responses_are_kept(start: Start, tmp_path: Path) -> None:
    failures: list[Answer] = [
        (429, {"Retry-After": "7"}, b'{"error": {"code": 429, "message": "Too Many Requests"}}'),
        (503, {}, b'{"error": {"code": 503}}'),
        (401, {}, b'{"error": {"code": 401}}'),
        (403, {}, b'{"error": {"code": 403}}'),
        (200, {"Content-Type": "text/html"}, b"<html>please log in</html>"),
        (200, {"Content-Type": "application/json"}, b'{"result": '),
        (302, {"Location": "https://example.com/"}, b""),
        (404, {"Content-Type": "text/plain"}, b"default backend - 404"),
        (413, {}, b""),
    ]
    waiting = [*failures]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if waiting:
            return waiting.pop(0)
        packed = gzip.compress(b'{"result": 3}')
        return 200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, packed

    with recording_of(start, answer, tmp_path / "out") as server:
        for status, headers, body in failures:
            response = post(server.url, "projects/p/value:compute", sum_of(1, 2), allow_redirects=False)
            assert (response.status_code, response.content) == (status, body)
            assert response.headers.get("Retry-After") == headers.get("Retry-After")
        assert list_files(tmp_path / "out") == ["recording.json"]
        response = post(server.url, "projects/p/value:compute", sum_of(1, 2))
        assert response.json() == {"result": 3}
        assert requests.get(f"{server.url}/_recording", timeout=60).json() == {
            "kept": 1, "known": 0, "not_final": len(failures), "not_recorded": 0,
        }  # fmt: skip
    assert [name.split("/")[0] for name in list_files(tmp_path / "out")] == ["recording.json", "value-compute"]


@pytest.mark.slow
def test_responses_that_arrive_in_part_are_not_kept(start: Start, tmp_path: Path) -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if b'"constantValue": 1}' in body:
            return 200, {"Content-Type": "application/json", "Content-Length": "5000"}, b'{"result": 3}'
        packed = gzip.compress(b'{"result": 3}' * 100)[:-6]
        return 200, {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}, packed

    with recording_of(start, answer, tmp_path / "out") as server:
        for number in (1, 2):
            response = post(server.url, "projects/p/value:compute", sum_of(number, 2))
            assert response.status_code == 503
            assert "did not respond completely" in response.json()["error"]["message"]
    assert list_files(tmp_path / "out") == ["recording.json"]


@pytest.mark.slow
def test_an_error_is_kept_and_does_not_replace_a_result(start: Start, tmp_path: Path) -> None:
    memory = b'{"error": {"code": 400, "message": "User memory limit exceeded.", "status": "INVALID_ARGUMENT"}}'
    json_type = {"Content-Type": "application/json"}
    waiting: list[Answer] = [
        (400, json_type, memory), (200, json_type, b'{"result":3}'), (400, json_type, memory),
    ]  # fmt: skip
    with recording_of(start, lambda *_: waiting.pop(0), tmp_path / "out") as server:
        statuses = []
        for _ in range(3):
            post(server.url, "projects/p/value:compute", sum_of(1, 2))
            (path,) = (tmp_path / "out" / "value-compute").iterdir()
            statuses.append(json.loads(path.read_text(encoding="utf-8"))["response"]["status"])
    assert statuses == [400, 200, 200]


def test_credentials_of_clients_are_not_forwarded_and_nothing_of_the_user_is_kept(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    received = []
    names = iter(("first-name", "second-name"))

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        received.append((path, {name.lower(): value for name, value in headers.items()}.get("authorization")))
        if "/thumbnails?" in path:
            found: Any = {"name": f"projects/{PROJECT}/thumbnails/{next(names)}"}
        elif "thumbnails" in path:
            return 200, {"Content-Type": "image/png"}, b"\x89PNG of " + path.encode()
        elif "missing" in path:
            message = f"{EMAIL} may not read this; project {PROJECT} (number 123456789012), see projects/123456789012"
            return 404, {"Content-Type": "application/json"}, json.dumps({"error": {"message": message}}).encode()
        else:
            found = {"result": [f"projects/{PROJECT}/assets/mine", EMAIL], "nextPageToken": "secret-page"}
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()

    own = {"expression": {"result": "0", "values": {"0": {"constantValue": f"projects/{PROJECT}/assets/mine"}}}}
    picture = {**own, "fileFormat": "PNG"}
    with recording_of(start, answer, tmp_path / "out") as server:
        compute = f"projects/{PROJECT}/value:compute?key={KEY}&prettyPrint=false"
        value = post(server.url, compute, own).json()
        created = [
            post(server.url, f"projects/{PROJECT}/thumbnails?key={KEY}&fields=name", picture).json()["name"]
            for _ in range(2)
        ]
        pixels = requests.get(f"{server.url}/v1/{created[0]}:getPixels", timeout=60).content
        missing = requests.get(
            f"{server.url}/v1/projects/{PROJECT}/assets/missing?key={KEY}", headers=HEADERS, timeout=60
        )
        swapped = requests.get(f"{server.url}/v1/{created[0]}:getPixels".replace("thumbnails", "tables"), timeout=60)
        forgotten = requests.get(f"{server.url}/v1/{created[0][:-1]}x:getPixels", timeout=60)
    assert [authorization for _, authorization in received] == [None] * 5
    assert f"key={KEY}" in received[0][0]
    # The client has a name of the recording, and the service gets its own: the newest.
    assert created[0] == created[1]
    assert pixels == b"\x89PNG of " + f"/v1/projects/{PROJECT}/thumbnails/second-name:getPixels".encode()
    assert (swapped.status_code, forgotten.status_code) == (404, 404)
    assert value["result"][0] == f"projects/{PROJECT}/assets/mine"
    assert missing.status_code == 404
    texts = b"\n".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    texts += "\n".join(list_files(tmp_path / "out")).encode() + "".join(capfd.readouterr()).encode()
    for secret in (TOKEN, KEY, EMAIL, "secret-page", "first-name", "123456789012"):
        assert secret.encode() not in texts.replace(pixels, b"")
    assert PROJECT.encode() not in texts.replace(pixels, b"")
    with nullcontext(start(replay=str(tmp_path / "out"))) as server:
        other = {**own, "expression": json.loads(json.dumps(own["expression"]).replace(PROJECT, "other"))}
        headers = {"X-Goog-User-Project": "other", "Content-Type": "application/json"}
        found = post(server.url, "projects/other/value:compute", other, headers=headers).json()
    assert found["result"] == ["projects/other/assets/mine", "***"]


@pytest.mark.slow
def test_long_lists_and_their_pages_are_recorded(start: Start, tmp_path: Path) -> None:
    """The client sends parameters of more than 2,048 characters as the body of a POST."""
    received = []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        received.append((path, body))
        is_last = b"pageToken=a%2Fb%3D" in body
        found = {"images": [{"id": "last" if is_last else "first"}], **({} if is_last else {"nextPageToken": "a/b="})}
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()

    def list_all(server: Server) -> list[str]:
        parameters = {"filter": "x" * 3000, "pageSize": "1"}
        found = []
        while True:
            response = requests.post(
                f"{server.url}/v1/projects/earthengine-public/assets/A:listImages", data=parameters, timeout=60,
                headers={"X-HTTP-Method-Override": "GET"},
            ).json()  # fmt: skip
            found += [image["id"] for image in response["images"]]
            if "nextPageToken" not in response:
                return found
            parameters["pageToken"] = response["nextPageToken"]

    with recording_of(start, answer, tmp_path / "out") as server:
        assert list_all(server) == ["first", "last"]
    assert len(received) == 2
    assert list_all(start(replay=str(tmp_path / "out"))) == ["first", "last"]


@pytest.mark.slow
def test_concurrent_requests_and_two_recorders_share_a_folder(start: Start, tmp_path: Path) -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        values = json.loads(body)["expression"]["values"]
        (call,) = values.values()
        arguments = call["functionInvocationValue"]["arguments"]
        total = sum(each["constantValue"] for each in arguments.values())
        return 200, {"Content-Type": "application/json"}, json.dumps({"result": total}).encode()

    folder = tmp_path / "out"
    with ExitStack() as stack:
        upstream = stack.enter_context(serve_function(answer))
        recorders = [
            stack.enter_context(serving_command("record", folder, "--upstream", upstream)),  # a process of its own
            start(record=str(folder), upstream=upstream),
        ]

        def ask(number: int) -> Any:
            server = recorders[number % 2]
            # Another order, numbering and spelling of numbers: the same request.
            body = sum_of(number // 4, float(number // 4 + 1), key=f"k{number}")
            return post(server.url, f"projects/p{number % 3}/value:compute", body).json()["result"]

        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(ask, range(200)))
    assert found == [2 * (number // 4) + 1 for number in range(200)]
    files = list((folder / "value-compute").iterdir())
    assert len(files) == 50
    results = {json.loads(path.read_text(encoding="utf-8"))["response"]["json"]["result"] for path in files}
    assert results == set(range(1, 101, 2))
    assert [name for name in list_files(folder) if ".tmp" in name] == []


@pytest.mark.slow
def test_other_requests_are_evaluated_locally_and_not_kept(
    recording: tuple[Path, Any], stack: Stack, tmp_path: Path
) -> None:
    folder = tmp_path / "recording"
    shutil.copytree(recording[0], folder)
    for payload in (folder / "thumbnails-get").iterdir():
        payload.unlink()  # its POST is recorded, and its GET is not
    before = list_files(folder)
    arguments = ["replay", folder, "--fill", "--assets", stack.path, "--workers", "1"]
    with serving_command(*arguments) as server:
        ee = initialize(server)
        assert compute(ee)[0] == recording[1][0]
        assert ee.ImageCollection(STACK).size().add(40).getInfo() == recording[1][0] + 39
        assert fetch_picture(ee)[1] == recording[1][3]
        assert len(ee.data.listImages({"parent": STACK, "pageSize": 2})["images"]) == 2
        sent = post(server.url, "projects/local/value:compute", sum_of(3, 4))
        assert (sent.json(), sent.headers["x-eechips-recording"]) == ({"result": 7}, "filled")
        known = requests.get(f"{server.url}/v1/projects/local/algorithms", timeout=60)
        assert known.headers["x-eechips-recording"] == "recorded"
        unknown = requests.post(f"{server.url}/v1/projects/local/featureView", json={}, timeout=60)
        assert unknown.json()["error"]["message"].startswith("The local Earth Engine does not")
        counts = requests.get(f"{server.url}/_recording", timeout=60).json()
        assert (counts["refused"], counts["filled"]) == (0, 5)
        assert counts["recorded"] >= 6
    assert list_files(folder) == before


@pytest.fixture
def hostile(recording: tuple[Path, Any], tmp_path: Path) -> Path:
    """Return a copy of the recording to damage, beside a secret file."""
    (tmp_path / "secret.txt").write_text("secret")
    shutil.copytree(recording[0], tmp_path / "recording")
    return tmp_path / "recording"


def rewrite(folder: Path, operation: str, **changes: Any) -> None:
    (path,) = (folder / operation).iterdir()
    content = json.loads(path.read_text(encoding="utf-8"))
    content["response"].update(changes)
    path.write_text(json.dumps(content), encoding="utf-8")


def damage_payload_name(folder: Path) -> None:
    rewrite(folder, "image-computePixels", payload="../../secret.txt")


def damage_payload_content(folder: Path) -> None:
    for path in (folder / "payloads").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")


def damage_with_link(folder: Path) -> None:
    for path in (folder / "payloads").iterdir():
        path.unlink()
        path.symlink_to(folder.parent / "secret.txt")


def damage_with_linked_folder(folder: Path) -> None:
    shutil.move(folder / "payloads", folder.parent / "elsewhere")
    (folder / "payloads").symlink_to(folder.parent / "elsewhere")


def damage_with_pipe(folder: Path) -> None:
    for path in (folder / "payloads").iterdir():
        path.unlink()
        os.mkfifo(path)


def damage_status(folder: Path) -> None:
    rewrite(folder, "image-computePixels", status=599)


def damage_media_type(folder: Path) -> None:
    rewrite(folder, "image-computePixels", media_type="text/html\r\nSet-Cookie: a=b")


def damage_depth(folder: Path) -> None:
    (path,) = (folder / "image-computePixels").iterdir()
    path.write_text("[" * 100_000 + "]" * 100_000)


def damage_request(folder: Path) -> None:
    (path,) = (folder / "image-computePixels").iterdir()
    path.write_text(path.read_text().replace("Image.add", "Image.subtract"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_payload_name, "payload is missing or has changed"),
        (damage_payload_content, "payload is missing or has changed"),
        (damage_with_link, "a link, which is not followed"),
        (damage_with_linked_folder, "a link, which is not followed"),
        (damage_with_pipe, "is no regular file"),
        (damage_status, "its status is not that of a response"),
        (damage_media_type, "its headers are not those of a response"),
        (damage_depth, "nested too deeply"),
        (damage_request, "its name is not the hash of its request"),
    ],
)
def test_damaged_and_hostile_files_are_refused(
    start: Start, damage: Callable[[Path], None], message: str, hostile: Path
) -> None:
    damage(hostile)
    ee = initialize(start(replay=str(hostile)))
    with pytest.raises(ee.EEException, match=message):
        compute_pixels(ee)
    assert ee.ImageCollection(STACK).size().add(1).getInfo()


def compute_pixels(ee: Any) -> Any:
    image = ee.Image(f"{STACK}/image_1").add(1)
    return ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": GRID})


def call(*arguments: str | Path) -> Result:
    """Run a command of ``eechips-local`` that ends by itself."""
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "a", "--fill"], "No such option"),
        (["serve", "--record", "a"], "No such option"),
        (["replay", "b", "--demo"], "without --fill, nothing is evaluated locally: leave out --demo."),
        (["replay", "b", "--demo-datasets", "all", "--rate", "none"], "leave out --demo-datasets, --rate."),
        (["replay", "b", "--latency", "0.2", "--faults", "f.json", "--allow-remote"], "--latency, --faults"),
        (["record", "a", "--upstream", "http://example.com"], "credentials are sent there"),
        (["record", "a", "--upstream", "https://me:secret@example.com"], "credentials are sent there"),
        (["record", "a", "--upstream", "http://example.com", "--send-credentials"], "credentials are sent there"),
        (["replay", "b"], "b is no recording: make one by eechips-local record"),
        (["compare", "b"], "b is no recording"),
        (["replay", "empty"], "empty has no requests: record some with eechips-local record empty"),
        (["compare", "empty"], "empty has no requests"),
        (["replay", "missing"], "'missing' does not exist"),
        (["record", "b", "--upstream", "http://127.0.0.1:9"], "b has other files (other.txt): choose an empty folder"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "other.txt").touch()
    create_recording(tmp_path / "empty")
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.slow
def test_a_comparison_lists_differences_by_function(recording: tuple[Path, Any], stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    shutil.copytree(recording[0], folder)
    options = [folder, "--assets", stack.path, "--workers", "1"]
    same = call("compare", *options)
    assert (same.exit_code, same.stderr) == (0, "")
    assert same.stdout.splitlines()[0] == "3 requests evaluated locally, 0 with another result."
    (path,) = (folder / "value-compute").iterdir()
    rewrite(folder, "value-compute", json={"result": 7})
    different = call("compare", *options)
    assert different.exit_code == 1
    table, _, details = different.stdout.partition("\n\nvalue-compute/")
    assert "3 requests evaluated locally, 1 with another result." in table
    assert [line.split() for line in table.splitlines()[4:]] == [
        ["function", "requests", "different"],
        ["Collection.size", "1", "1"],
        ["ImageCollection.load", "1", "1"],
        ["Number.add", "1", "1"],
    ]
    assert details.splitlines() == [path.name, "  result", "  recorded: 7", f"  local:    {recording[1][0]}"]
    rewrite(folder, "value-compute", status=200, json={"result": 7, "\x1b[2J": 1})
    assert "\x1b" not in call("compare", *options).stdout
    path.write_text("{}")
    damaged = call("compare", *options)
    assert damaged.exit_code == 2
    assert "is damaged" in " ".join(damaged.stderr.split())
