"""A process that runs several local Earth Engines, which share its libraries and the process that forks workers."""

from __future__ import annotations

import json
import sys
import threading
from queue import SimpleQueue

from eechips.emulator.__main__ import create_parser, read_config
from eechips.emulator.server import ServerConfig, serve


def main() -> None:
    """Start a server for each line of standard input, a JSON list of arguments, and print its URL as JSON.

    All of them stop at the end of standard input.
    """
    end = threading.Event()
    servers = []
    for line in sys.stdin:
        config = read_config(vars(create_parser().parse_args(json.loads(line))))
        urls: SimpleQueue[str | None] = SimpleQueue()
        servers.append(threading.Thread(target=_serve, args=(config, urls, end)))
        servers[-1].start()
        url = urls.get()
        if url is None:
            sys.exit("a local Earth Engine did not start")
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
    end.set()
    for server in servers:
        server.join()


def _serve(config: ServerConfig, urls: SimpleQueue[str | None], end: threading.Event) -> None:
    try:
        serve(config, urls.put, end.wait)
    finally:
        urls.put(None)  # read only if there is no URL before it
