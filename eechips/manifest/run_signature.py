"""Sign run.json, so that commands in it are executed only if this user has written them.

A run folder may come from another user. Its run.json has a command that ``eechips retry`` executes, and the command
names recipes, endpoints and projects. Its results may be at any address. So run.json carries an HMAC (RFC 2104) with a
key that only this user can read. What the calls of a script leave for later is pickled, and unpickling executes code:
each of these pickles is sealed with a key that is derived from the same one, see :func:`unseal`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.removal import NamedPath, place_new, remove
from eechips.temporary_files import sweep_folder
from eechips.temporary_names import new_writer, temporary_name
from eechips.user_cache import cache_folder

SIGNATURE = "signature"
"""The key of run.json for the signature."""

_KEY_NAME = "run.key"
_KEY_BYTES = 32
_SEALED = b"eechips-sealed\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_SIGNED = ("command", "directory", "endpoint", "project", "results")
_CALL = "call"  # signed where there is one: earlier versions recorded none


def sign(info: Mapping[str, Any]) -> str | None:
    """Sign what ``eechips retry`` reads from run.json.

    Args:
        info: the content of run.json.

    Returns:
        Hexadecimal digits; None if this user has no place for a key.
    """
    key = _key(create=True)
    return None if key is None else _digest(key, info)


def is_own(info: Mapping[str, Any]) -> bool:
    """Return whether this user wrote what others act upon in a run.json.

    That is the command, its directory and options, the endpoint, the project and the address of the results.
    """
    key, signature = _key(create=False), info.get(SIGNATURE)
    if key is None or not isinstance(signature, str):
        return False
    return hmac.compare_digest(_digest(key, info).encode(), signature.encode(errors="replace"))


def sign_job(words: Sequence[str]) -> str | None:
    """Sign the command of units that are sent to workers.

    Args:
        words: of the command, from the verb on.

    Returns:
        Hexadecimal digits; None if this user has no place for a key.
    """
    key = _key(create=True)
    return None if key is None else _digest(key, _as_job(words))


def is_own_job(words: Sequence[str], signature: str | None) -> bool:
    """Return whether this user has planned units with a command."""
    key = _key(create=False)
    if key is None or signature is None:
        return False
    return hmac.compare_digest(_digest(key, _as_job(words)).encode(), signature.encode(errors="replace"))


def sign_lockfile(call: Mapping[str, Any]) -> str | None:
    """Sign the command, options and files of a lockfile.

    Args:
        call: JSON with the SHA-256 of every file that the command reads.

    Returns:
        Hexadecimal digits; None if this user has no place for a key.
    """
    key = _key(create=True)
    return None if key is None else _digest(key, _as_lockfile(call))


def is_own_lockfile(call: Mapping[str, Any], signature: str | None) -> bool:
    """Return whether this user has written a lockfile with a command, options and files."""
    key = _key(create=False)
    if key is None or signature is None:
        return False
    return hmac.compare_digest(_digest(key, _as_lockfile(call)).encode(), signature.encode(errors="replace"))


def sealing_key(identity: str) -> bytes:
    """Derive the key that seals the data of a script; workers may receive it, unlike the user's own key.

    Args:
        identity: of the script.

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
        name: of what it is: the seal of one is not valid for another.
    """
    return _SEALED + _seal_of(data, key, name) + data


def unseal(data: bytes, key: bytes, name: str, path: Path) -> bytes:
    """Verify and return data that were sealed with a key under a name.

    Raises:
        UsageError: if it was not, or has been changed since; it must not be unpickled.
    """
    content = unsealed(data)
    found = data[len(_SEALED) : len(_SEALED) + _DIGEST_BYTES] if data.startswith(_SEALED) else b""
    if not hmac.compare_digest(found, _seal_of(content, key, name)):
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


def _as_lockfile(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"command": ["lockfile"], _CALL: call}  # a list, as no run.json has


def _as_job(words: Sequence[str]) -> dict[str, Any]:
    return {"command": ["units", *words]}  # a list, as no run.json has


def _digest(key: bytes, info: Mapping[str, Any]) -> str:
    call = [info[_CALL]] if _CALL in info else []
    signed = json.dumps([*(info.get(name) for name in _SIGNED), *call]).encode()
    return hmac.new(key, signed, hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """Return the user's key, and create a missing one if asked to; None if there is none."""
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / _KEY_NAME
    try:
        if create and not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _make(path: Path) -> None:
    """Write a new key, readable by the user alone; keep one that another process has just written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_folder(path.parent, new_writer())
    temporary = path.with_name(temporary_name(path.name, str(new_writer())))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        place_new(temporary, path)
    finally:
        remove(temporary, NamedPath())
