"""Searches of STAC catalogues and APIs, and features that they find."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eechips.archive.downloads.criteria import Search
from eechips.archive.downloads.document_reader import DocumentReader
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.search import items
from eechips.archive.downloads.signers import Secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.client.retry import RetryPolicy
from local_tests.support.function_server import Answer
from tests.support.scene_servers import item

SOON = RetryPolicy(retries=4, delay=0.001, max_delay=0.002)


def search(stac: str, *, auth: Auth | None = None, secrets: Mapping[str, str] | None = None, **wanted: Any) -> Found:
    with HostSessions(4, 5.0, 5.0) as hosts:
        reader = DocumentReader(hosts, make_signer(auth or Auth(), Secrets(secrets or {}), hosts), SOON)
        return Found([each["id"] for each in items(Search(stac=stac, **wanted), reader)], reader)


class Found:
    """Ids of found items, and unread entries."""

    def __init__(self, ids: list[str], reader: DocumentReader) -> None:
        self.ids, self.unread = ids, [(each.address, each.reason) for each in reader.unread]


def feature(identifier: str, **properties: Any) -> dict[str, Any]:
    return item(identifier, {"data": {"href": f"{identifier}.tif", "type": "image/tiff"}}, **properties)


def planned(stac: str | Path, **options: Any) -> list[dict[str, Any]]:
    """Return the units of a search."""
    from eechips.archive.scenes.recipe import Scenes

    return [dict(unit) for unit in Scenes(stac=str(stac), **options).get_requests()]


def as_json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


MANY = [feature(f"i{number:02d}", **{"eo:cloud_cover": number}) for number in range(45)]
