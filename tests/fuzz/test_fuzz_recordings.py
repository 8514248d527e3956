"""Recordings that somebody has changed at random: no exception but one that names the damaged file."""

from __future__ import annotations

import io
import json
import random
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eechips_local.recording.canonical_request import CanonicalRequest, hash_request
from eechips_local.recording.recorded_response import RecordedResponse
from eechips_local.recording.recording_folder import RecordingError, RecordingFolder, create_recording
from eechips_local.recording.response_difference import RELATIVE, find_difference
from tests.fuzz.budget import Budget
from tests.fuzz.damage import change_some_bytes

VALUES = (
    None, 0, -1, 1e300, True, "", "../../secret", "a/b", "\x00", "\ud800", [], {}, [[]], {"a": {}}, "x" * 1000,
    "../payloads/" + "0" * 64 + ".npy", 200, "text/html\r\nA: b",
)  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RecordingFolder:
    folder = create_recording(tmp_path_factory.mktemp("recorded") / "recording")
    buffer = io.BytesIO()
    np.save(buffer, np.arange(6.0).reshape(2, 3))
    body = {"expression": {"result": "0000", "values": {"0000": {"constantValue": 1}}}}
    value = CanonicalRequest("value-compute", "POST", "projects/{project}/value:compute", {}, body)
    pixels = CanonicalRequest("image-computePixels", "POST", "projects/{project}/image:computePixels", {}, body)
    folder.keep(value, RecordedResponse(200, "application/json", b'{"result":{"a":[1,2.5,"x"]}}'))
    folder.keep(pixels, RecordedResponse(200, "application/octet-stream", buffer.getvalue()))
    return folder


def find_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all containers of JSON with their keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from find_places(inner)


def change_a_value(draw: random.Random, path: Path) -> None:
    """Change one value of a JSON file; now and then, name the file by its request again."""
    content = json.loads(path.read_text(encoding="utf-8"))
    container, key = draw.choice(list(find_places(content)))
    container[key] = draw.choice(VALUES)
    path.write_text(json.dumps(content), encoding="utf-8")
    if draw.random() < 0.5 and isinstance(content.get("request"), dict):
        try:
            path.rename(path.with_stem(hash_request(content["request"])))
        except UnicodeEncodeError:
            return


@pytest.mark.slow
def test_a_changed_recording_is_refused_or_read_whole(
    budget: Budget, original: RecordingFolder, tmp_path: Path
) -> None:
    files = sorted(path.relative_to(original.folder) for path in original.folder.rglob("*") if path.is_file())
    for draw in budget.draws():
        folder = tmp_path / str(budget.last)
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((original.folder / name).read_bytes())
        chosen = folder / draw.choice(files)
        is_entry = chosen.parent.name.startswith(("value", "image"))
        (change_a_value if is_entry and draw.random() < 0.7 else change_some_bytes)(draw, chosen)
        try:
            entries = list(RecordingFolder(folder).list_entries())
            for entry in entries:
                content, is_json = entry.response.content, entry.response.is_json
                find_difference(content, content, is_json=is_json, tolerance=RELATIVE)
        except RecordingError:
            continue
        except Exception:  # noqa: BLE001 - that none is raised is what is looked at
            pytest.fail(f"seed {budget.last}: {chosen.name}\n{traceback.format_exc()}", pytrace=False)
