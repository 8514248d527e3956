"""Where results go that are objects of a store: ``s3://…``, ``gs://…``, ``az://…``, whatever fsspec knows.

Object stores show an object when the whole of it has arrived, so that an upload is staged and committed at once:
nothing is sent twice. Two units of one name are found out when the second is recorded; both are failures then.

What a store needs to know besides the address, such as an endpoint, fsspec takes from its own configuration
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration) and from the store's usual variables.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from eechips.errors import ConfigurationError, StorageError, TransientError, UsageError
from eechips.storage import Staged, check_name

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.+")
_CHECKED_AT_ONCE = 50_000_000
"""Bytes up to which s3fs sends an object in one piece, so that S3 can check its sha256."""
_SAID_NO = (PermissionError, FileNotFoundError)


def is_address(out: str) -> bool:
    """Whether a place for results is an address, and not a local folder."""
    return _ADDRESS.fullmatch(out) is not None


class ObjectStore:
    """A prefix of an object store. Picklable; every process opens connections of its own. Threads may share it.

    Attributes:
        url: ``protocol://bucket/prefix``.
    """

    is_overwritten = True

    def __init__(self, url: str) -> None:
        if not is_address(url):
            raise UsageError(f"'{url}' is no address such as s3://bucket/folder")
        self.url = url.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    def check(self) -> None:
        """Lists the prefix.

        Raises:
            ConfigurationError: if that fails: what to install, or what the store says.
        """
        with self._asking():
            files, root = self._opened
            with contextlib.suppress(FileNotFoundError):
                files.ls(root, detail=False)

    def stage(self, name: str, data: bytes, token: str) -> Staged:
        """Uploads an object under its final name.

        Args:
            name: below the prefix.
            data: the content.
            token: of no use here.

        Raises:
            TransientError: if the store did not take it, although it may the next time.
            StorageError: if it will not.
        """
        digest = hashlib.sha256(data)
        files, root = self._opened
        options = {}
        protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
        if "s3" in protocols and len(data) < _CHECKED_AT_ONCE:  # S3 refuses what arrives otherwise
            options["ChecksumSHA256"] = base64.b64encode(digest.digest()).decode()
        key = f"{root}/{check_name(name)}"
        try:
            files.pipe_file(key, data, **options)
            if not options and files.size(key) != len(data):
                raise TransientError(f"{self.url}/{name} arrived incomplete")
        except _SAID_NO as error:
            raise StorageError(f"could not write {self.url}/{name}: {error}") from error
        except (OSError, TimeoutError) as error:
            raise TransientError(f"could not upload {self.url}/{name}: {error}") from error
        return Staged(name=name, temporary=name, size=len(data), sha256=digest.hexdigest())

    def commit(self, staged: Staged) -> None:
        """It is there already."""

    def discard(self, staged: Staged) -> None:
        """Removes an object that is not wanted after all."""
        files, root = self._opened
        with self._asking():
            files.rm_file(f"{root}/{staged.name}")

    def flush(self) -> None:
        """What has arrived is safe."""

    def sweep(self) -> int:
        """Nothing is left behind: uploads that broke off have left no object."""
        return 0

    def sizes(self, folders: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Names and sizes in bytes of all objects, by one listing, whatever the folders."""
        files, root = self._opened
        with self._asking():
            found = files.find(root, detail=True, withdirs=False)
        for key, about in found.items():
            yield key[len(root) + 1 :], int(about["size"])

    def read(self, name: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: if there is none.
        """
        files, root = self._opened
        content: bytes = files.cat_file(f"{root}/{check_name(name)}")
        return content

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        try:
            files, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise ConfigurationError(f"{self.url} needs a package that is not installed: {error}") from None
        except ValueError as error:
            raise UsageError(f"'{self.url}' is no address of a store: {error}") from None
        return files, root.rstrip("/")

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as error:
            raise ConfigurationError(f"{self.url} does not answer as it should: {error}") from error
