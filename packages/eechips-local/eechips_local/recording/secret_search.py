"""Search a recording for what must not be published: credentials, addresses of people, names of users and projects."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eechips_local.recording.recording_archive import DAMAGES, list_recording

_SHORTEST = 6  # characters of a known secret; shorter ones occur in other words
_TEXTS = (".json", ".csv", ".geojson", ".kml")

# Forms of https://docs.github.com/en/code-security/secret-scanning for Google, and what names a person or a machine.
_FORMS = (
    ("an access token", rb"ya29\.[\w-]{8,}"),
    ("a refresh token", rb"\b1//[\w-]{20,}"),
    ("an API key", rb"AIza[\w-]{30,}"),
    ("a client secret", rb"GOCSPX-[\w-]{10,}"),
    ("a private key", rb"-----BEGIN [A-Z ]*PRIVATE KEY"),
    ("an authorization header", rb"Bearer [\w.~+/-]{16,}"),
    ("a signed token", rb"\beyJ[\w-]{16,}\.eyJ[\w-]{8,}\."),
    ("a path of a home folder", rb"(?:/home/|/Users/|[A-Z]:\\{1,2}Users\\{1,2})[\w.-]+"),
)
_EMAIL = rb"[\w.%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
# Compressed pixels have short texts of this form by chance.
_LONG_EMAIL = rb"[\w.%+-]{5,}@[A-Za-z0-9-]{4,}(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """Something in a recording that must not be published.

    Attributes:
        file: relative to the folder.
        kind: in words, without the secret itself.
    """

    file: str
    kind: str


def find_secrets(folder: Path, known: Sequence[str] = ()) -> list[FoundSecret]:
    """Return what must not be published, file by file.

    Args:
        folder: folder of the recording.
        known: secrets and names of the user, such as the id of the project.
    """
    secrets = [re.escape(secret.encode()) for secret in known if len(secret) >= _SHORTEST]
    named = [("a name of yours", rb"(?<![\w-])(?:" + b"|".join(secrets) + rb")(?![\w-])")] if secrets else []
    found_secrets = []
    for name in list_recording(folder):
        is_text = name.endswith(_TEXTS)
        forms = [*_FORMS, *named, ("an e-mail address", _EMAIL if is_text else _LONG_EMAIL)]
        for content in _read_parts((folder / name).read_bytes()):
            found_secrets += [FoundSecret(name, kind) for kind, form in forms if re.search(form, content)]
    return list(dict.fromkeys(found_secrets))


def _read_parts(content: bytes) -> Iterator[bytes]:
    """Yield the content of a file, and of the files in an archive."""
    yield content
    if content.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for member in archive.infolist():
                    yield archive.read(member)
        except DAMAGES:
            return  # a damaged archive of the service is recorded as it is
