"""Responses as they are recorded: status, media type, content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,100}(?:; ?charset=[\w-]{1,30})?")
_DISPOSITION = re.compile(r'(?:attachment|inline)(?:; ?filename="?[\w.-]{1,200}"?)?')
_PAYLOAD = re.compile(r"([0-9a-f]{64})\.[a-z0-9]{1,8}")
_SUFFIXES = (
    (b"\x93NUMPY", "npy"), (b"II*\0", "tif"), (b"MM\0*", "tif"), (b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"), (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"),
)  # fmt: skip
_TEXT_SUFFIXES = {"text/csv": "csv", "application/geo+json": "geojson", "application/vnd.google-earth.kml+xml": "kml"}


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    """A final response of the service.

    Attributes:
        status: status of HTTP.
        media_type: media type of the content.
        content: bytes; JSON is written without spaces.
        disposition: under which name a browser saves the content; None for none.
    """

    status: int
    media_type: str
    content: bytes
    disposition: str | None = None

    @classmethod
    def from_headers(cls, status: int, headers: Mapping[str, str], content: bytes) -> RecordedResponse:
        """Return a response of the service; headers of an unusual form are left out.

        Args:
            status: status of HTTP.
            headers: by lower-case names.
            content: the body, decompressed.
        """
        media_type, disposition = headers.get("content-type", ""), headers.get("content-disposition", "")
        return cls(
            status,
            media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream",
            content,
            disposition if _DISPOSITION.fullmatch(disposition) else None,
        )

    @classmethod
    def from_json(cls, described: Mapping[str, Any], read_payload: Callable[[str], bytes | None]) -> RecordedResponse:
        """Return the response of a file of a recording.

        Args:
            described: see :meth:`to_json`.
            read_payload: returns the content of a payload by its name; None if it is missing.

        Raises:
            ValueError, KeyError, TypeError: if it is not a response, or its payload is not the one that it names.
        """
        status, media_type, disposition = described["status"], described["media_type"], described.get("disposition")
        if not isinstance(status, int) or not 200 <= status < 500:
            raise ValueError("its status is not that of a response")
        if not _MEDIA_TYPE.fullmatch(media_type) or not (disposition is None or _DISPOSITION.fullmatch(disposition)):
            raise ValueError("its headers are not those of a response")
        if "payload" not in described:
            content = json.dumps(described["json"], separators=(",", ":"), ensure_ascii=False).encode()
            return cls(status, media_type, content, disposition)
        named = _PAYLOAD.fullmatch(described["payload"])
        payload = read_payload(described["payload"]) if named else None
        if named is None or payload is None or hashlib.sha256(payload).hexdigest() != named[1]:
            raise ValueError("its payload is missing or has changed")
        return cls(status, media_type, payload, disposition)

    def to_json(self) -> dict[str, Any]:
        """Return the response as it is recorded: JSON as it is, other content by the name of its payload."""
        fields: dict[str, Any] = {"media_type": self.media_type, "status": self.status}
        if self.disposition is not None:
            fields["disposition"] = self.disposition
        return {**fields, **({"json": json.loads(self.content)} if self.is_json else {"payload": self.payload_name})}

    @property
    def is_json(self) -> bool:
        """Return whether the content is JSON."""
        return self.media_type.partition(";")[0] == "application/json"

    @property
    def payload_name(self) -> str:
        """The name of the file of the content: its SHA-256, and a suffix by which programs know its format."""
        magic = next((suffix for magic, suffix in _SUFFIXES if self.content.startswith(magic)), None)
        suffix = magic or _TEXT_SUFFIXES.get(self.media_type.partition(";")[0], "bin")
        return f"{hashlib.sha256(self.content).hexdigest()}.{suffix}"
