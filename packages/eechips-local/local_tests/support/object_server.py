"""Servers of object stores on loopback that count their requests.

S3 is moto's server behind a counter that compares checksums as S3 does, Google Cloud Storage is gcp-storage-emulator,
and Azure Blob Storage is Azurite (``npm install -g azurite``).
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote

from local_tests.support.loopback import LoopbackServer

ACCOUNT = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
STORES = ("s3", "gs", "az")
_AZURITE = "azurite-blob"
# Azurite's own account, which is public: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
_AZURE_NAME = "devstoreaccount1"
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_AZURE_LINE = re.compile(r'"(?P<method>[A-Z]+) /devstoreaccount1/(?P<path>\S*) HTTP/[\d.]+" (?P<status>\d+)')


def remove_store_settings() -> None:
    """Remove the user's own accounts and endpoints of object stores; tests set theirs. Certificates stay."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "STORAGE_EMULATOR_HOST"))]:
        if name != "AWS_CA_BUNDLE":
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # clients without credentials would ask 169.254.169.254


def missing_packages(store: str) -> str | None:
    """Return the packages that a store's server and client lack, or None."""
    needed = {"s3": ("obstore", "s3fs", "moto"), "gs": ("gcsfs", "gcp_storage_emulator"), "az": ("adlfs",)}[store]
    for package in needed:
        if find_spec(package) is None:
            return f"{package} is not installed"
    if store == "az" and shutil.which(_AZURITE) is None:
        return "Azurite is not installed: npm install -g azurite"
    return None


class ObjectServer:
    """A server with one bucket.

    Attributes:
        url: URL of the server.
        bucket: its address, such as ``s3://name``.
        environment: variables by which clients find it.
        asked: requests by method, such as PUT, and LIST for those that list.
        puts: by key (``run/a.png``), how often it was uploaded.
        digests: by key, the sha256 of what was uploaded last, hexadecimal (S3 only).
        broken: uploads that are to be answered with 503 (S3 only).
        spoiled: uploads whose content is to change on its way (S3 only).
        content: what an object holds, by key; None if there is none.
        remove: removes an object.
    """

    def __init__(self, bucket: str) -> None:
        self.url = ""
        self.bucket = bucket
        self.environment: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.puts: Counter[str] = Counter()
        self.digests: dict[str, str] = {}
        self.broken = self.spoiled = 0
        self.content: Callable[[str], bytes | None]
        self.remove: Callable[[str], None]
        self.lock = threading.Lock()

    def forget(self) -> None:
        """Forgets what was asked for."""
        with self.lock:
            self.asked.clear()
            self.puts.clear()

    def note(self, method: str, key: str | None = None) -> None:
        """Notes a request, and the key that it uploads, if it does."""
        with self.lock:
            self.asked[method] += 1
            if key is not None:
                self.puts[key] += 1


@contextmanager
def serving_objects(name: str, store: str = "s3") -> Iterator[ObjectServer]:
    """A server of a store with an empty bucket; clients that fsspec keeps of others are forgotten.

    Args:
        name: name of the bucket.
        store: ``s3``, ``gs`` or ``az``.
    """
    import fsspec

    with {"s3": _s3, "gs": _gs, "az": _az}[store](name) as found:
        found.forget()
        fsspec.get_filesystem_class(store).clear_instance_cache()
        yield found


class _Counted:
    """Moto's application behind a counter. What arrives with another sha256 than it was sent with is refused."""

    def __init__(self, server: ObjectServer) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self._server = server
        self._application = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        server = self._server
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        key = path.partition("/")[2].partition("/")[2]
        if method != "PUT" or not key:
            server.note("LIST" if method == "GET" and "list-type" in query else method)
            return self._application(environ, start_response)
        with server.lock:
            is_broken, is_spoiled = server.broken > 0, server.spoiled > 0
            server.broken -= is_broken
            server.spoiled -= is_spoiled and not is_broken
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body[:-1] + b"?" if is_spoiled else body)
        arrived = hashlib.sha256(environ["wsgi.input"].getvalue())
        wanted = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        if is_broken:
            return _refused(start_response, "503 Slow Down", "SlowDown", "Reduce your request rate.")
        if wanted and base64.b64decode(wanted) != arrived.digest():
            return _refused(start_response, "400 Bad Request", "BadDigest", "The SHA256 did not match.")
        server.note(method, None if "partNumber" in query else key)
        server.digests[key] = arrived.hexdigest()
        return self._application(environ, start_response)


def _refused(start_response: Any, status: str, code: str, message: str) -> list[bytes]:
    start_response(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]


@contextmanager
def _s3(name: str) -> Iterator[ObjectServer]:
    import boto3
    from botocore.exceptions import ClientError
    from moto.backends import get_backend
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: object) -> None:
            """Says nothing."""

    get_backend("s3").reset()  # moto keeps what earlier servers of this process were given
    found = ObjectServer(f"s3://{name}")
    server = make_server("127.0.0.1", 0, _Counted(found), threaded=True, request_handler=Quiet)
    found.url = f"http://127.0.0.1:{server.server_port}"
    found.environment = {**ACCOUNT, "AWS_ENDPOINT_URL": found.url}
    with _serving(server):
        keys = {key.lower(): value for key, value in ACCOUNT.items() if "KEY" in key}
        client = boto3.client("s3", endpoint_url=found.url, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=name)

        def content(key: str) -> bytes | None:
            try:
                body: bytes = client.get_object(Bucket=name, Key=key)["Body"].read()
            except ClientError:
                return None
            return body

        found.content = content
        found.remove = lambda key: client.delete_object(Bucket=name, Key=key)
        try:
            yield found
        finally:
            client.close()


@contextmanager
def _gs(name: str) -> Iterator[ObjectServer]:
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import buckets
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    found = ObjectServer(f"gs://{name}")

    class Counted(Storage):  # type: ignore[misc]
        def create_file(self, bucket_name: str, file_name: str, *values: Any) -> Any:
            found.note("UPLOADED", file_name)
            return super().create_file(bucket_name, file_name, *values)

    storage = Counted(use_memory_fs=True)
    turn = threading.Lock()  # the storage is not made for threads

    class Handler(RequestHandler):  # type: ignore[misc]
        def __init__(self, *values: Any) -> None:
            super().__init__(storage, *values)

        def do_GET(self) -> None:  # noqa: N802
            found.note("LIST" if self.path.partition("?")[0].endswith("/o") else "GET")
            with turn:
                super().do_GET()

        def do_POST(self) -> None:  # noqa: N802
            found.note("POST")
            with turn:
                super().do_POST()

        def do_PUT(self) -> None:  # noqa: N802
            found.note("PUT")
            with turn:
                super().do_PUT()

    buckets.create_bucket(name, storage)
    server = LoopbackServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    # Without the variable it asks Google what kind of bucket it is.
    found.environment = {"STORAGE_EMULATOR_HOST": found.url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def content(key: str) -> bytes | None:
        try:
            held: bytes = storage.get_file(name, key, show_error=False)
        except (NotFound, FileNotFoundError):
            return None
        return held

    found.content = content
    found.remove = lambda key: storage.delete_file(name, key)
    with _serving(server):
        yield found


@contextmanager
def _az(name: str) -> Iterator[ObjectServer]:
    from azure.core.exceptions import ResourceNotFoundError
    from azure.storage.blob import BlobServiceClient

    found = ObjectServer(f"az://{name}")
    place = ["--blobHost", "127.0.0.1", "--blobPort", "0"]
    command = [_AZURITE, *place, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if at := re.search(r"listens on (http://\S+)", line):
                    found.url = at.group(1)
                    break
            assert found.url, "".join(said)
            reader = threading.Thread(target=_read, args=(process.stdout, name, found), daemon=True)
            reader.start()
            text = f"AccountName={_AZURE_NAME};AccountKey={_AZURE_KEY};BlobEndpoint={found.url}/{_AZURE_NAME};"
            found.environment = {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{text}"}
            with BlobServiceClient.from_connection_string(text) as service, service.create_container(name) as blobs:

                def content(key: str) -> bytes | None:
                    try:
                        held: bytes = blobs.download_blob(key).readall()
                    except ResourceNotFoundError:
                        return None
                    return held

                found.content = content
                found.remove = lambda key: blobs.delete_blob(key)
                yield found
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()


def _read(lines: Any, container: str, server: ObjectServer) -> None:
    """Notes what Azurite says of every request."""
    for line in lines:
        asked = _AZURE_LINE.search(line)
        if asked is None:
            continue
        path, _, query = asked["path"].partition("?")
        key = unquote(path).partition(f"{container}/")[2]
        is_upload = asked["method"] == "PUT" and key and asked["status"] == "201" and "comp=block&" not in query
        server.note("LIST" if "comp=list" in query else asked["method"], key if is_upload else None)


@contextmanager
def _serving(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
