"""Objects of a script that cannot be pickled, such as clients of web services."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eechips import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import run

_CLIENT = """
import ee, requests, ssl
from multiprocessing import Pool
from concurrent.futures import ThreadPoolExecutor

class Client:
    def __init__(self, timeout, headers=None):
        self.timeout, self.headers = timeout, headers or {}
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    def get(self, url):
        response = requests.get(url, timeout=self.timeout, headers=self.headers)
        response.raise_for_status()
        return response.content

class Uploads:
    def __init__(self, client):
        self.client = client
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

ee.Initialize(project="p")
TIMEOUT = 60
"""
_CALLS = """
def work(n):
    region = ee.Geometry.Point([-105.1 + 0.01 * n, 40]).buffer(127).bounds()
    image = ee.Image(n).toByte().visualize(min=0, max=3)
    url = image.getThumbURL({"region": region, "dimensions": "16x16", "format": "png"})
    with open(f"{n}.png", "wb") as file:
        file.write(client.get(url))
    return n
"""


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ("client = Client(TIMEOUT)\n" + _CALLS, "if __name__ == '__main__':\n    print(Pool(2).map(work, range(3)))\n"),
        pytest.param(
            _CALLS.replace("client", "uploads.client"),
            "if __name__ == '__main__':\n    client = Client(timeout=TIMEOUT)\n    uploads: Uploads = Uploads(client)\n"
            "    with ThreadPoolExecutor(2) as executor:\n        print(list(executor.map(work, range(3))))\n",
            marks=pytest.mark.slow,
        ),
        pytest.param(_CALLS, "with Pool(2) as pool, Client(TIMEOUT) as client:\n    print(pool.map(work, range(3)))\n",
                     marks=pytest.mark.slow),
    ],
    ids=["of a module", "of another object", "of a with statement"],
)  # fmt: skip
def test_clients_are_made_anew_in_each_process(made: str, used: str, demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    entered = "Client.__enter__ = lambda self: self\nClient.__exit__ = lambda *_: None\n"
    script.write_text(_CLIENT + entered + made + used)
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "[0, 1, 2]" in result.stdout
    made_run = open_run(tmp_path / "run")
    assert made_run.counts == {"done": 3}
    assert list(made_run.units["file"]) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    "made",
    [
        "client = Client(TIMEOUT)\nclient.headers['Authorization'] = 'token'\n",
        pytest.param("client = Client(TIMEOUT)\nclient.headers.update(a='b')\n", marks=pytest.mark.slow),
        pytest.param("client = Client(1)\nclient = Client(2)\n", marks=pytest.mark.slow),
        pytest.param(
            "def set():\n    global client\n    client = Client(2)\nclient = Client(1)\n", marks=pytest.mark.slow
        ),
        pytest.param("client = open('log.txt', 'w')\n", marks=pytest.mark.slow),
        pytest.param("client = Uploads(open('log.txt', 'w'))\n", marks=pytest.mark.slow),
    ],
)
def test_what_the_script_changes_later_is_refused(made: str, demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "changed.py"
    script.write_text(f"{_CLIENT}{made}{_CALLS}if __name__ == '__main__':\n    Pool(2).map(work, range(3))\n")
    result = run(script, demo_server, tmp_path)
    assert result.returncode != 0
    assert re.search("work cannot be sent to another process: [Cc]annot pickle .*Make what belongs", result.stderr)
