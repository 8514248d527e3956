"""A notebook's part of a widget: a page on loopback that shows it, and the comm that joins it with its object."""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm

PAGE = """<!doctype html><title>host</title><link rel="icon" href="data:,"><div id="cell"></div><script type="module">
import widget from "/widget.js";
const handlers = new Set();
document.addEventListener("load", ({ target }) => {
  if (target.srcdoc) target.dataset.loads = String(Number(target.dataset.loads ?? 0) + 1);
}, true);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(""));
const ask = async (path, body) => (await fetch(path, { method: "POST", body })).json();
const model = {
  get: (name) => state[name],
  on: (name, handler) => handlers.add(handler),
  off: (name, handler) => handlers.delete(handler),
  send: (content, _, buffers = []) => ask("/message", JSON.stringify({ content, buffers: buffers.map(text) })),
};
const state = await ask("/state");
widget.render({ model, el: document.getElementById("cell") });
for (;;) {
  for (const { content, buffers } of await ask("/messages")) {
    for (const handler of handlers) handler(content, buffers.map((each) => new DataView(bytes(each).buffer)));
  }
}
</script>"""


class HostComm(BaseComm):
    """The end of a comm in the kernel: what it publishes waits for the page."""

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        if not hasattr(self, "sent"):
            self.sent: queue.Queue[dict[str, Any]] = queue.Queue()
            self.state: dict[str, Any] = {}
        self.state |= (data or {}).get("state", {})
        if (data or {}).get("method") == "custom":
            packed = [base64.b64encode(each).decode() for each in buffers or ()]
            self.sent.put({"content": data["content"], "buffers": packed})

    def receive(self, message: dict[str, Any]) -> None:
        """Hand a message of the page to the widget."""
        self.handle_msg(
            {
                "content": {"data": {"method": "custom", "content": message["content"]}},
                "buffers": [memoryview(base64.b64decode(each)) for each in message["buffers"]],
            }
        )

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Return the next message, or none after some seconds."""
        try:
            return [self.sent.get(timeout=seconds)]
        except queue.Empty:
            return []


def make_comms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have widgets get comms of this host, as a kernel has them get its own."""
    monkeypatch.setattr(comm, "create_comm", HostComm)


@contextmanager
def hosted(widget: Any) -> Iterator[str]:
    """Serve a page that shows a widget of :func:`make_comms`; yield its address."""
    channel = widget.comm
    assert isinstance(channel, HostComm)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/widget.js":
                self._send("text/javascript", widget._esm)
            else:
                self._send("text/html; charset=utf-8", PAGE)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            found: Any = None
            if self.path == "/state":
                found = {name: value for name, value in channel.state.items() if isinstance(value, (str, int))}
            elif self.path == "/messages":
                found = channel.wait(1.0)
            else:
                with lock:
                    channel.receive(json.loads(body))
            self._send("application/json", json.dumps(found))

        def _send(self, kind: str, text: str) -> None:
            data = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            with suppress(ConnectionError):  # the page has been left
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    lock = threading.Lock()  # a kernel handles one message at a time
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
