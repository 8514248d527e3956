"""Keep recorded responses in a folder, and read those of a folder that other users may have made.

::

    recording.json                              marks the folder
    value-compute/KEY.json                      a request with its response; KEY is the hash of the request
    payloads/SHA256.npy                         the content of a response that is not JSON, named by its hash

Files are written under temporary names and renamed, so that several recorders may share a folder. A file whose name is
not the hash of what it has is not used. No name in a file leads out of the folder.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips_local.assets.store_files import commit, workspace, writing
from eechips_local.recording.canonical_request import CanonicalRequest, find_operation, hash_request
from eechips_local.recording.recorded_response import RecordedResponse

_MARKER = "recording.json"
_FORMAT = {"eechips_recording": 1}
_PAYLOADS = "payloads"
_KEY = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(rf"{_KEY.pattern}\.json")
_MOST_BYTES = 256 << 20
_MOST_NESTED = 200  # levels of a response: coordinates in properties in features


class RecordingError(Exception):
    """A folder is not a recording, or one of its files is damaged."""


@dataclass(frozen=True, slots=True)
class RecordingEntry:
    """A request with its response.

    Attributes:
        path: path of the file, relative to the folder.
        request: in canonical form.
        response: response of the service.
    """

    path: str
    request: CanonicalRequest
    response: RecordedResponse


class RecordingFolder:
    """A folder of requests and their responses. Threads and processes may share it.

    Args:
        folder: folder that exists; see :func:`create_recording` and :func:`open_recording`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, request: CanonicalRequest, response: RecordedResponse) -> bool:
        """Keep a response; return whether the folder has changed.

        A response replaces an earlier one, but an error does not replace a result: some errors of the service, such as
        exceeded memory, pass.

        Raises:
            AssetWriteError: if it cannot be written.
            RecordingError: if it is nested more deeply than is read.
        """
        name = f"{request.operation}/{request.key}.json"
        text = self._encode(request, response)
        before = self._read_bytes(name)
        payload = None if response.is_json else f"{_PAYLOADS}/{response.payload_name}"
        is_there = payload is None or self._has_content(payload, response.content)
        if before is not None and ((before == text and is_there) or response.status >= 400 > self._status(before)):
            return False
        target = self.folder / name
        with workspace(self.folder) as place:
            with writing(target):
                target.parent.mkdir(exist_ok=True)
                (self.folder / _PAYLOADS).mkdir(exist_ok=True)
            if payload is not None and not is_there:
                _put(place, self.folder / payload, response.content)
            _put(place, target, text)
        return True

    def find(self, request: CanonicalRequest) -> RecordingEntry | None:
        """Return a request with its response; None if it is not recorded.

        Raises:
            RecordingError: if its file is damaged.
        """
        return self.find_key(request.operation, request.key)

    def find_key(self, operation: str, key: str) -> RecordingEntry | None:
        """Return a request with its response by its key; None if it is not recorded.

        Args:
            operation: operation of the request, such as ``thumbnails``.
            key: from a name of a recording; texts of other forms are no keys.

        Raises:
            RecordingError: if its file is damaged.
        """
        name = f"{operation}/{key}.json"
        return self._read(name) if _KEY.fullmatch(key) and (self.folder / name).exists() else None

    def list_entries(self) -> Iterator[RecordingEntry]:
        """Yield all requests with their responses, in the order of their files' names.

        Raises:
            RecordingError: if a file is damaged.
        """
        for folder in sorted(self.folder.iterdir()):
            for name in self.list_names(folder.name):
                yield self._read(name)

    def read_request(self, name: str) -> CanonicalRequest:
        """Return the request of a file.

        Raises:
            RecordingError: if it is damaged.
        """
        return self._read_request(name)[0]

    def list_names(self, operation: str) -> Iterator[str]:
        """Yield the paths of the requests of an operation, relative to the folder and sorted."""
        folder = self.folder / operation
        if not folder.is_symlink() and folder.is_dir():
            with os.scandir(folder) as entries:  # glob takes ten times as long for 10,000 files
                names = sorted(entry.name for entry in entries)
            yield from (f"{operation}/{name}" for name in names if _FILE.fullmatch(name))

    def _has_content(self, name: str, content: bytes) -> bool:
        """Return whether a file has some content; one that is damaged has not."""
        try:
            return self._read_bytes(name) == content
        except RecordingError:
            return False

    def _encode(self, request: CanonicalRequest, response: RecordedResponse) -> bytes:
        asked = json.loads(json.dumps(request.to_json(), sort_keys=True))
        # Fields of the response stay in the service's order, which clients may use: that of columns, for example.
        content = {"request": asked, "response": response.to_json()}
        if _is_nested_too_deeply(content):
            raise RecordingError("The request or its response is nested too deeply.")
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

    def _status(self, text: bytes) -> int:
        try:
            status = json.loads(text)["response"]["status"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return 599  # damaged: replaced by anything
        return status if isinstance(status, int) else 599

    def _read(self, name: str) -> RecordingEntry:
        request, content = self._read_request(name)
        with self._checking(name):
            response = RecordedResponse.from_json(
                content["response"], lambda payload: self._read_bytes(f"{_PAYLOADS}/{payload}")
            )
        return RecordingEntry(name, request, response)

    def _read_request(self, name: str) -> tuple[CanonicalRequest, Any]:
        """Return the request of a file, and all that is in the file."""
        with self._checking(name):
            data = self._read_bytes(name)
            if data is None:
                raise ValueError("it was removed meanwhile")
            content = _parse(data)
            request = content["request"]
            operation, stem = name.removesuffix(".json").split("/")
            if hash_request(request) != stem:
                raise ValueError("its name is not the hash of its request")
            canonical = CanonicalRequest(
                operation, request["method"], request["path"], request.get("query", {}), request.get("body")
            )
            if find_operation(canonical.method, canonical.path) != operation:
                raise ValueError("its folder is not that of its request")
        return canonical, content

    @contextmanager
    def _checking(self, name: str) -> Iterator[None]:
        """Turn errors of a file that is not one of a recording into a sentence.

        Raises:
            RecordingError: in place of them.
        """
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordingError(f"{self.folder / name} is damaged: {error}. Record it again.") from error

    def _read_bytes(self, name: str) -> bytes | None:
        """Return the content of a file of the folder; None if it does not exist.

        Raises:
            RecordingError: if it or its folder is a link, or it is no regular file, or too large.
        """
        folder, _, last = name.rpartition("/")
        try:
            inside = os.open(self.folder / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                # A pipe would wait for its writer.
                opened = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
            finally:
                os.close(inside)
            with os.fdopen(opened, "rb") as file:
                if not stat.S_ISREG(os.fstat(opened).st_mode):
                    raise RecordingError(f"{self.folder / name} is no regular file: it is not read.")
                data = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            is_link = error.errno in (errno.ELOOP, errno.ENOTDIR)
            reason = "a link, which is not followed" if is_link else f"not readable ({error.strerror})"
            raise RecordingError(f"{self.folder / name} is {reason}.") from error
        if len(data) > _MOST_BYTES:
            raise RecordingError(f"{self.folder / name} has more than {_MOST_BYTES >> 20} MiB: it is not read.")
        return data


def create_recording(folder: Path) -> RecordingFolder:
    """Make a folder for a recording, or return the recording that is in it.

    Raises:
        RecordingError: if it has other files.
        AssetWriteError: if it cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if _MARKER in names:
        return open_recording(folder)
    if names:
        raise RecordingError(f"{folder} has other files ({min(names)}): choose an empty folder.")
    with workspace(folder) as place:
        _put(place, folder / _MARKER, (json.dumps(_FORMAT) + "\n").encode())
    return RecordingFolder(folder)


def open_filled_recording(folder: Path) -> RecordingFolder:
    """Return the recording in a folder.

    Raises:
        RecordingError: if there is none, or it has no requests.
    """
    recording = open_recording(folder)
    if not any(name for part in folder.iterdir() for name in recording.list_names(part.name)):
        raise RecordingError(f"{folder} has no requests: record some with eechips-local record {folder}.")
    return recording


def open_recording(folder: Path) -> RecordingFolder:
    """Return the recording in a folder.

    Raises:
        RecordingError: if there is none.
    """
    recording = RecordingFolder(folder)
    try:
        marker = recording._read_bytes(_MARKER)
        known = None if marker is None else _parse(marker)
    except ValueError as error:
        raise RecordingError(f"{folder / _MARKER} is damaged: {error}.") from error
    if known is None:
        raise RecordingError(f"{folder} is no recording: make one by eechips-local record {folder}.")
    if known != _FORMAT:
        raise RecordingError(f"{folder} was recorded by another version of eechips: record it again.")
    return recording


def _parse(data: bytes) -> Any:
    """Parse JSON of bounded depth."""
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _is_nested_too_deeply(value):
        raise ValueError("it is nested too deeply")
    return value


def _is_nested_too_deeply(value: Any) -> bool:
    """Return whether JSON has too many levels. Functions that recurse into it would fail."""
    level = [value]
    for _ in range(_MOST_NESTED):
        level = [
            member
            for outer in level
            for member in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(member, (dict, list))
        ]
        if not level:
            return False
    return True


def _put(place: Path, target: Path, content: bytes) -> None:
    """Write a file in a scratch folder, then rename it to its target."""
    (place / target.name).write_bytes(content)
    commit(place / target.name, target)
