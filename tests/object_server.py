"""A server on loopback that speaks the protocol of S3 and counts what it is asked for: moto's, behind a counter."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ObjectServer:
    """What was asked for; ``url`` is its address.

    Attributes:
        asked: requests by method, such as PUT, and LIST for a GET that lists.
        puts: by key, how often it was uploaded.
        broken: uploads that are to be answered with 503.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.puts: Counter[str] = Counter()
        self.broken = 0
        self._lock = threading.Lock()
        self._application = DomainDispatcherApplication(create_backend_app)

    def forget(self) -> None:
        """Forgets what was asked for."""
        with self._lock:
            self.asked.clear()
            self.puts.clear()

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which clients find it."""
        return {**ACCOUNT, "AWS_ENDPOINT_URL": self.url}

    def client(self) -> Any:
        """A client of boto3's for it."""
        import boto3

        keys = {name.lower(): value for name, value in ACCOUNT.items() if "KEY" in name}
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **keys)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        with self._lock:
            self.asked["LIST" if method == "GET" and "list-type" in query else method] += 1
            if method == "PUT" and path.count("/") > 1:
                if self.broken:
                    self.broken -= 1
                    start_response("503 Slow Down", [("Content-Type", "application/xml")])
                    return [b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"]
                self.puts[path] += 1
        return self._application(environ, start_response)


@contextmanager
def serving_objects(bucket: str) -> Iterator[ObjectServer]:
    """A server with an empty bucket."""
    found = ObjectServer()
    server = make_server("127.0.0.1", 0, found, threaded=True)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = found.client()
        client.create_bucket(Bucket=bucket)
        found.asked.clear()
        yield found
    finally:
        server.shutdown()
        server.server_close()
