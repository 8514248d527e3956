"""Make a service account of a server, and write its key as Google's clients read it.

The key has the fields of Google's (https://cloud.google.com/iam/docs/keys-create-delete), and ``url`` and ``project``,
which the command ``earthengine --service_account_file`` takes as its settings.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from eechips_local.assets.asset_errors import AssetWriteError
from eechips_local.assets.store_files import commit, workspace
from eechips_local.server_process import PROJECT
from eechips_local.stores import StoreError

EMAIL = f"client@{PROJECT}.iam.gserviceaccount.com"
"""Address of the account."""
TOKEN_PATH = "/token"
"""Path of the server that exchanges signed assertions for access tokens."""

_BITS = 2048  # of Google's own keys
_LARGEST = 1 << 16  # bytes of a file that may be a key
_LOOPBACK = ("127.0.0.1", "localhost")
_GOOGLE = ("https://oauth2.googleapis.com/token", "https://www.googleapis.com/oauth2/v4/token")
"""Audiences that libraries sign for whatever the key's ``token_uri`` is: google-auth the first one."""


class KeyFileError(StoreError):
    """The file of a key cannot be written."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account, as the server knows it.

    Attributes:
        email: address of the account.
        public_key: PEM.
        audiences: audiences of assertions: addresses of the server's path of tokens, and those that libraries always
            name.
    """

    email: str
    public_key: bytes
    audiences: tuple[str, ...]


def write_key(path: Path, url: str) -> ServiceAccount:
    """Make a service account, and write its key to a file that only this user can read.

    Args:
        path: path of the file. A key that a local Earth Engine has written is replaced.
        url: address of the server.

    Raises:
        KeyFileError: if the file exists and is no such key, or cannot be written.
    """
    _check_replaceable(path)
    private = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    _write_private(path, _key_document(text, url))
    port = urlsplit(url).port
    return ServiceAccount(
        EMAIL,
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (*(f"http://{host}:{port}{TOKEN_PATH}" for host in _LOOPBACK), *_GOOGLE),
    )


def _key_document(private_key: str, url: str) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": private_key,
        "client_email": EMAIL,
        "client_id": str(10**20 + secrets.randbelow(10**20)),
        "token_uri": f"{url}{TOKEN_PATH}",
        "universe_domain": "googleapis.com",
        "url": url,
        "project": PROJECT,
    }


def _check_replaceable(path: Path) -> None:
    """Check that nothing but a key of a local Earth Engine has the name of a file.

    Raises:
        KeyFileError: if something else has it.
    """
    try:
        if not os.path.lexists(path):
            return
        content = path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST else b""
        key_document = json.loads(content) if content else None
    except OSError as error:
        raise KeyFileError(f"cannot read {path} to replace it by a key: {error.strerror}") from error
    except (ValueError, RecursionError):
        key_document = None
    if not (isinstance(key_document, Mapping) and _is_own(key_document)):
        raise KeyFileError(f"{path} exists and is no key of a local Earth Engine: name another file for --key")


def _is_own(document: Mapping[str, Any]) -> bool:
    try:
        host = urlsplit(str(document.get("token_uri"))).hostname
    except ValueError:
        return False
    return document.get("client_email") == EMAIL and host in _LOOPBACK


def _write_private(path: Path, document: Mapping[str, str]) -> None:
    """Write a JSON file of mode 0600, under a temporary name first.

    Raises:
        KeyFileError: if the file system refuses.
    """
    if not path.parent.is_dir():
        raise KeyFileError(f"there is no folder {path.parent} for the key")
    try:
        with workspace(path.parent) as place:
            draft = place / "key"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(json.dumps(document, indent=2) + "\n")
            commit(draft, path)
    except (AssetWriteError, OSError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        raise KeyFileError(f"cannot write the key {path}: {reason}") from error
