"""Sign what decides what is executed and where it writes, with the user's key (``run.key``), so that only this user's
commands may set more than data.

A command reaches eechips in the run.json of a folder, in a line of a queue, or in a lockfile. Each of them may come
from another user, and carries an HMAC (RFC 2104) with a key that only this user can read. It covers a kind and a JSON
object in a canonical form, so that no signature is valid for another kind, another object or another order of words:

- run.json: the command with its options, the recipe with its identity and parameters, the template of names, the
  service, the working folder, and the folder of the run itself: a copy in another folder is another user's.
- a line: the command with its options, the files that it reads by their SHA-256, the recipe's identity, and the unit
  with its id, name and position.
- a lockfile: its whole header, and the SHA-256 of its list of units.

What the calls of a script leave for later is pickled, and unpickling executes code: each of these pickles is sealed
with a key that is derived from the same one, see :func:`unseal`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from eechips.errors import UsageError
from eechips.files.abandoned_files import sweep_folder
from eechips.files.local_paths import cache_folder, make_private
from eechips.files.removal import NamedPath, place_new, remove
from eechips.files.temporary_names import new_writer, temporary_name

SIGNATURE = "signature"
"""The key of run.json for the signature."""

FOLDER = "folder"
"""The key of run.json for the folder of the run, absolute, where it was signed."""

Kind = Literal["run", "unit", "lockfile"]

_KEY_NAME = "run.key"
_KEY_BYTES = 32
_SEALED = b"eechips-sealed\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_OF_RUN = (
    "command", "directory", FOLDER, "recipe", "identity", "parameters", "call", "name", "source", "results",
    "endpoint", "project", "code_changes",
)  # fmt: skip
"""The keys of run.json that the signature covers: all that a later command acts upon."""


def sign(kind: Kind, content: Mapping[str, Any]) -> str | None:
    """Sign a JSON object.

    Args:
        kind: what it is: the signature of one kind is not valid for another.

    Returns:
        Hexadecimal digits; None if this user has no place for a key.
    """
    key = _key(create=True)
    return None if key is None else _digest(key, kind, content)


def is_signed(kind: Kind, content: Mapping[str, Any], signature: object) -> bool:
    """Return whether this user has signed a JSON object."""
    key = _key(create=False)
    if key is None or not isinstance(signature, str):
        return False
    return hmac.compare_digest(_digest(key, kind, content).encode(), signature.encode(errors="replace"))


def sign_run(info: Mapping[str, Any]) -> str | None:
    """Sign what later commands read from run.json; see :func:`sign`."""
    return sign("run", _of_run(info))


def is_own(info: Mapping[str, Any], folder: Path) -> bool:
    """Return whether this user wrote what later commands act upon in a run.json, for the folder where it is.

    Args:
        folder: folder of the run. If it was moved or copied since, the run counts as another user's.
    """
    return info.get(FOLDER) == signed_folder(folder) and is_signed("run", _of_run(info), info.get(SIGNATURE))


def signed_folder(folder: Path) -> str:
    """Return the folder of a run as run.json records it."""
    return str(folder.resolve())


def sealing_key(identity: str) -> bytes:
    """Derive the key that seals the data of a script; workers may receive it, unlike the user's own key.

    Returns:
        32 bytes; random ones if this user has no place for a key, so that nothing that was kept can be used later.
    """
    key = _key(create=True) or secrets.token_bytes(_KEY_BYTES)
    return hmac.new(key, f"sealed {identity}".encode(), hashlib.sha256).digest()


def seal(data: bytes, key: bytes, name: str) -> bytes:
    """Prepend an HMAC to data, for :func:`unseal`.

    Args:
        data: such as a pickle.
        key: see :func:`sealing_key`.
        name: name of what it is: the seal of one is not valid for another.
    """
    return _SEALED + _seal_of(data, key, name) + data


def unseal(data: bytes, key: bytes, name: str, path: Path) -> bytes:
    """Verify and return data that were sealed with a key under a name.

    Raises:
        UsageError: if it was not, or has been changed since; it must not be unpickled.
    """
    content = unsealed(data)
    stored_seal = data[len(_SEALED) : len(_SEALED) + _DIGEST_BYTES] if data.startswith(_SEALED) else b""
    if not hmac.compare_digest(stored_seal, _seal_of(content, key, name)):
        raise UsageError(
            f"{path} was not written by a run of yours, or was changed since, and reading it may execute code: choose"
            " another folder (`out`)"
        )
    return content


def unsealed(data: bytes) -> bytes:
    """Return sealed data without verification."""
    return data[len(_SEALED) + _DIGEST_BYTES :] if data.startswith(_SEALED) else data


def _seal_of(data: bytes, key: bytes, name: str) -> bytes:
    return hmac.new(key, len(name.encode()).to_bytes(8, "big") + name.encode() + data, hashlib.sha256).digest()


def _of_run(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: info.get(name) for name in _OF_RUN}


def _digest(key: bytes, kind: Kind, content: Mapping[str, Any]) -> str:
    """Return the HMAC of an object: keys sorted, all text as ASCII, so that equal objects have equal bytes."""
    text = json.dumps({"kind": kind, "content": content}, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode("ascii"), hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """Return the user's key, and create a missing one if asked to; None if there is none.

    A key that another user has put into a shared cache folder does not count: who knows it can sign. Neither does a
    link, which another user may lead to a file of this user or of the system that everybody can read. To the superuser
    folders of others are given, as in containers: any owner counts.
    """
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / _KEY_NAME
    try:
        if create and not path.exists():
            _make(path)
        user = os.geteuid()
        with open(path, "rb", opener=_open_file) as file:
            is_own = not user or os.fstat(file.fileno()).st_uid in (user, 0)
            key = file.read(_KEY_BYTES + 1)
    except OSError:
        return None
    return key if is_own and len(key) == _KEY_BYTES else None


def _open_file(path: str, flags: int) -> int:
    """Open a file, unless it is a link; do not wait for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _make(path: Path) -> None:
    """Write a new key, readable by the user alone; keep one that another process has just written."""
    make_private(path.parent)
    sweep_folder(path.parent, new_writer())
    temporary = path.with_name(temporary_name(path.name, str(new_writer())))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        place_new(temporary, path)
    finally:
        remove(temporary, NamedPath())
