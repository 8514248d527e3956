"""Folders that stand for buckets, as the real client of Cloud Storage reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from local_tests.support.local_earth_engine import Server


@pytest.fixture
def buckets(tmp_path: Path) -> Path:
    folder = tmp_path / "buckets" / "my-bucket"
    for name in ("a.txt", "folder/b.txt", "folder/ c+d%.txt", "folder/.hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    (tmp_path / "secret.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "broken.txt").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe.txt")
    return folder.parent


@pytest.fixture
def server(buckets: Path, serve_briefly: Callable[..., Server]) -> Server:
    return serve_briefly("--no-demo", "--buckets", str(buckets))


@pytest.fixture
def files(server: Server) -> Any:
    gcsfs = pytest.importorskip("gcsfs")
    return gcsfs.GCSFileSystem(
        endpoint_url=server.url, token="anon", skip_instance_cache=True, use_listings_cache=False
    )


def test_objects_are_listed_and_read_whole_and_in_ranges(files: Any) -> None:
    found = files.find("my-bucket/folder", detail=True)
    assert {name: about["size"] for name, about in found.items()} == {
        "my-bucket/folder/ c+d%.txt": len("content of folder/ c+d%.txt"),
        "my-bucket/folder/b.txt": len("content of folder/b.txt"),
    }
    assert files.cat_file("my-bucket/a.txt") == b"content of a.txt"
    assert files.cat_file("my-bucket/folder/ c+d%.txt") == b"content of folder/ c+d%.txt"
    assert files.cat_file("my-bucket/a.txt", start=3, end=7) == b"tent"
    assert files.size("my-bucket/folder/b.txt") == len("content of folder/b.txt")


def test_missing_objects_and_buckets_are_not_found(files: Any) -> None:
    for path in ("my-bucket/none.txt", "my-bucket/folder", "no-bucket/a.txt"):
        with pytest.raises(FileNotFoundError):
            files.cat_file(path)
    assert files.find("no-bucket") == []


def test_nothing_hidden_or_outside_of_the_bucket_is_read(server: Server) -> None:
    for name in ("folder%2F.hidden", "link.txt", "..%2F..%2Fsecret.txt", "%2Fetc%2Fpasswd"):
        for place in ("storage", "download/storage"):
            found = requests.get(f"{server.url}/{place}/v1/b/my-bucket/o/{name}?alt=media", timeout=60)
            assert found.status_code == 404, (name, found.text)
    assert requests.get(f"{server.url}/storage/v1/b/%2E%2E/o", timeout=60).status_code in (400, 404)


def test_objects_come_in_pages(server: Server) -> None:
    url, names, token = f"{server.url}/storage/v1/b/my-bucket/o", [], None
    while True:
        page = requests.get(url, {"maxResults": 1, **({"pageToken": token} if token else {})}, timeout=60).json()
        names += [each["name"] for each in page["items"]]
        token = page.get("nextPageToken")
        if token is None:
            break
    assert names == ["a.txt", "folder/ c+d%.txt", "folder/b.txt"]  # what can be read; no links, no pipes


def test_a_server_without_buckets_says_so(serve: Any) -> None:
    found = requests.get(f"{serve('--no-demo').url}/storage/v1/b/my-bucket/o", timeout=60)
    assert found.status_code == 404
    assert "--buckets DIR" in found.text
