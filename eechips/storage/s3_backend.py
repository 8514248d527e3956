"""Read and write objects of S3 by obstore: endpoint, region, credentials, attempts, time-outs, checks of uploads and
listings.

A put costs a quarter of the processor time that s3fs takes, and no package but obstore is imported for it as long as
credentials and place come from variables.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from eechips.errors import TransientError, ValidationError
from eechips.storage.store import StoredFile
from eechips.text.timestamps import present
from eechips.web.list_pages import REPEATED_BY

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutResult
    from obstore.store import S3Store

Page = list[StoredFile]
"""Objects; their names are keys, bucket included."""

BLOCK = 8 << 20
"""Bytes of a large object that are read at a time."""
_SINGLE_PUT = 50_000_000
"""Bytes up to which an object is uploaded by one request, and size of the parts of larger ones."""
_CONCURRENCY = 2
"""Concurrent parts of an upload."""
_PAGE = 1000
"""Objects of a page, the most that S3 lists at a time."""
_ATTEMPTS = 5
"""Attempts of a request, unless ``AWS_MAX_ATTEMPTS`` is set."""
_DAMAGED_PAGE = "list response"
"""Part of obstore's messages about a page that arrived damaged or was cut off. It requests only refused ones again."""
_FIRST_PAUSE, _MOST_PAUSE = 0.1, 15.0
"""Seconds before a listing begins anew, doubled each time: as obstore waits before it requests a page again."""
_TIMEOUTS = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "10m"}
_CREDENTIAL_LIFE = timedelta(minutes=10)
"""Time after which credentials that may expire are requested again: botocore renews them long before they do."""
_KEYS = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
_AMAZON = "https://s3.amazonaws.com"
_REGION_HEADER = "x-amz-bucket-region"
_OTHER_PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-")
"""Regions that :data:`_AMAZON` does not know."""
_SECONDS = 10.0


class S3Backend:
    """A bucket. S3 rejects an object, or a part of one, that arrives with another SHA-256 than was sent.

    Attributes:
        process: number of the process with obstore's threads. One that is forked from it has none of them, and would
            wait for ever (https://github.com/tokio-rs/tokio/issues/4301).

    Args:
        environment: variables of AWS's own tools.
        single_put: bytes up to which an object is uploaded by one request, and size of the parts of larger ones.
    """

    is_atomic = True
    process: ClassVar[int | None] = None

    def __init__(self, bucket: str, environment: Mapping[str, str] = os.environ, single_put: int = _SINGLE_PUT) -> None:
        import obstore

        self._obstore, self._bucket = obstore, bucket
        self._environment, self._single_put = environment, single_put
        self._is_checked = False  # whether an object that does not exist is missing, and empty listings are true

    @cached_property
    def _store(self) -> S3Store:
        S3Backend.process = S3Backend.process or os.getpid()
        return open_bucket(self._bucket, self._environment)

    def put(self, key: str, data: bytes) -> None:
        """Upload; compare the size of large objects, and of others whose tag is not their MD5, as encrypted ones have
        (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html): the page of a log-in may have a tag as well.
        """
        is_single = len(data) < self._single_put
        result = self._put(key, data, is_single=is_single)
        tag = (result["e_tag"] or "").strip('"')
        if not is_single or tag != hashlib.md5(data, usedforsecurity=False).hexdigest():
            self._check_size(key, len(data))

    def _put(self, key: str, content: bytes | Iterator[bytes], *, is_single: bool) -> PutResult:
        return self._obstore.put(
            self._store,
            _name(key),
            content,
            use_multipart=not is_single,
            chunk_size=self._single_put,
            max_concurrency=_CONCURRENCY,
        )

    def create(self, key: str, data: bytes) -> bool:
        """Upload if S3 has no object with the key: it answers 412 if there is one
        (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._obstore.put(self._store, _name(key), data, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def upload(self, path: Path, key: str, tell: Callable[[int], None]) -> None:
        """Upload a file; compare the size of large ones."""
        size = path.stat().st_size
        if size < self._single_put:
            self.put(key, path.read_bytes())
            tell(size)
            return
        self._put(key, _blocks(path, tell), is_single=False)
        self._check_size(key, size)

    def read(self, key: str) -> bytes:
        """Read an object by one request."""
        return bytes(self._obstore.get(self._store, _name(key)).bytes())

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Read a range by one request."""
        return bytes(self._obstore.get_range(self._store, _name(key), start=start, end=end))

    def blocks(self, key: str) -> Iterator[bytes]:
        """Read an object in blocks, by one request."""
        for block in self._obstore.get(self._store, _name(key)).stream(min_chunk_size=BLOCK):
            yield bytes(block)

    def size(self, key: str) -> int:
        """Return the bytes of an object."""
        return int(self._obstore.head(self._store, _name(key))["size"])

    def remove(self, key: str) -> None:
        """Remove an object; S3 does not say whether there was one."""
        self._obstore.delete(self._store, _name(key))

    def rename(self, key: str, other: str) -> None:
        """Rename an object."""
        self._obstore.rename(self._store, _name(key), _name(other))

    def pages(self, prefix: str, size: int | None = None) -> Iterator[Page]:
        """Yield objects, 1,000 a page.

        obstore follows a token that repeats: then a page's first key repeats. It takes other documents than listings,
        such as the page of a log-in, for an empty one. After a damaged page, the listing begins anew, without the
        objects of earlier pages: directory buckets list in no order
        (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).

        Raises:
            ValidationError: if the pages have no end, or nothing is listed but an object with a made-up name is there.
        """
        is_empty = True
        for page in self._listed_pages(_name(prefix), size or _PAGE):
            is_empty = False
            yield [
                StoredFile(
                    f"{self._bucket}/{stored_object['path']}",
                    int(stored_object["size"]),
                    stored_object["last_modified"].timestamp(),
                )
                for stored_object in page
            ]
        if is_empty and not self._is_checked:
            self._check_absence(f"{prefix}{uuid.uuid4()}")
            self._is_checked = True

    def _listed_pages(self, prefix: str, size: int) -> Iterator[Sequence[ObjectMeta]]:
        from obstore.exceptions import GenericError

        seen: set[str] = set()
        attempts = 0
        while True:
            first_keys: set[str] = set()
            try:
                for page in self._obstore.list(self._store, prefix, chunk_size=size):
                    if page[0]["path"] in first_keys:
                        raise ValidationError(
                            f"the pages of bucket {self._bucket} have no end: {page[0]['path']} repeats. {REPEATED_BY}"
                        )
                    first_keys.add(page[0]["path"])
                    if new := [stored_object for stored_object in page if stored_object["path"] not in seen]:
                        attempts = 0
                        seen.update(stored_object["path"] for stored_object in new)
                        yield new
                return
            except GenericError as error:
                attempts += 1
                if _DAMAGED_PAGE not in str(error) or attempts >= _attempts(self._environment):
                    raise
            time.sleep(min(_FIRST_PAUSE * 2.0 ** (attempts - 1), _MOST_PAUSE))

    def _check_absence(self, key: str) -> None:
        """Ask for an object that does not exist; S3 answers 404, or 403 to those who may not list all of a bucket
        (https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html).
        """
        from obstore.exceptions import PermissionDeniedError

        with suppress(FileNotFoundError, PermissionDeniedError):
            self.size(key)
            raise ValidationError(
                f"nothing is listed below {key.rpartition('/')[0]}, but an object whose name was made up is there: what"
                " answers is no object store, but perhaps the log-in of a network"
            )

    def _check_size(self, key: str, size: int) -> None:
        try:
            is_whole = self.size(key) == size
        except FileNotFoundError:
            is_whole = False
        if not is_whole:
            raise TransientError(f"{key} arrived incomplete")


def _name(key: str) -> str:
    """Return the key below the bucket."""
    return key.partition("/")[2]


def _blocks(path: Path, tell: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
            sent += len(block)
            tell(sent)


def open_bucket(bucket: str, environment: Mapping[str, str] = os.environ) -> S3Store:
    """Return a bucket of obstore, with the endpoint, region and credentials that AWS's own tools would use.

    botocore reads profiles, and finds credentials of machines and containers, unless variables say it all.

    Raises:
        requests.RequestException: if Amazon does not say in which region the bucket is.
        botocore.exceptions.BotoCoreError: if there are no credentials.
    """
    from obstore.store import S3Store

    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    has_key = bool(environment.get("AWS_ACCESS_KEY_ID"))
    is_public = environment.get("AWS_SKIP_SIGNATURE", "").lower() == "true"
    bundle = environment.get("AWS_CA_BUNDLE")
    provider: Callable[[], dict[str, Any]] | None = None
    if not (has_key or is_public) or not region or environment.get("AWS_PROFILE"):
        from botocore.configprovider import ConfiguredEndpointProvider
        from botocore.session import get_session

        session = get_session()
        region = region or session.get_config_variable("region")
        bundle = bundle or session.get_config_variable("ca_bundle")
        configured = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3")
        endpoint = endpoint or configured.provide()
        if not (has_key or is_public):
            provider = _credentials_of(session)
    if not endpoint and not (region or "").startswith(_OTHER_PARTITIONS):
        region = region_of(bucket, _AMAZON, bundle) or region
    # A request to remove several objects is not known to all stores that are compatible with S3.
    config: dict[str, Any] = {"checksum_algorithm": "sha256", "disable_bulk_delete": True}
    config |= {"region": region or "us-east-1", **({"endpoint": endpoint} if endpoint else {})}
    config |= {name: environment[variable] for name, variable in _KEYS.items() if has_key and variable in environment}
    client: dict[str, Any] = {**_TIMEOUTS, "allow_http": bool(endpoint and endpoint.startswith("http:"))}
    if bundle:
        client["root_certificate"] = Path(bundle).read_bytes()
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]
        client_options=client,  # type: ignore[arg-type]
        retry_config={"max_retries": max(0, _attempts(environment) - 1)},
        credential_provider=provider,  # type: ignore[arg-type]
    )


def _attempts(environment: Mapping[str, str]) -> int:
    text = environment.get("AWS_MAX_ATTEMPTS", "")
    return int(text) if text.isdecimal() else _ATTEMPTS


def _credentials_of(session: Any) -> Callable[[], dict[str, Any]]:
    """Return a function that returns the credentials of a session of botocore at the time.

    Raises:
        botocore.exceptions.NoCredentialsError: if it finds none.
    """
    from botocore.exceptions import NoCredentialsError

    credentials = session.get_credentials()
    if credentials is None:
        raise NoCredentialsError

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": present() + _CREDENTIAL_LIFE,
        }

    return provide


def region_of(bucket: str, service: str, bundle: str | None = None) -> str | None:
    """Return the region of a bucket, which anybody may ask for; None if there is no such bucket.

    Args:
        service: address of S3.
        bundle: file of root certificates.

    Raises:
        requests.RequestException: if the service does not respond.
    """
    import requests

    asked = requests.head(f"{service}/{bucket}", timeout=_SECONDS, allow_redirects=False, verify=bundle or True)
    return asked.headers.get(_REGION_HEADER)
