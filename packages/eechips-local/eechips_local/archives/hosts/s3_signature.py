"""Authorize requests of S3 by headers (AWS Signature Version 4), and read keys from the environment or
``~/.aws/credentials``.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. By hand, as a request is signed for every
range, and botocore has 80 MB. Ranges are not part of the signature, so one holds for all ranges of a file.
"""

from __future__ import annotations

import configparser
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from eechips_local.archives.archive_errors import ArchiveRefusedError

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class S3Keys:
    """Credentials of S3. Their representation omits the secrets.

    Attributes:
        access: id of the key.
        session: token of temporary credentials; "" for lasting ones.
    """

    access: str = field(repr=False)
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)


def read_keys(environment: Mapping[str, str], prefix: str, profile: str) -> S3Keys | None:
    """Return the keys of the environment, or of AWS's file of credentials; None if neither has any.

    Args:
        environment: environment of the process.
        prefix: prefix of the names of variables: "AWS" for ``AWS_ACCESS_KEY_ID``.
        profile: section of the file.

    Raises:
        ArchiveRefusedError: if the file is damaged.
    """
    access, secret = environment.get(f"{prefix}_ACCESS_KEY_ID"), environment.get(f"{prefix}_SECRET_ACCESS_KEY")
    if access and secret:
        return S3Keys(access, secret, environment.get(f"{prefix}_SESSION_TOKEN", ""))
    path = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials"))  # noqa: PTH111 - "~" alone is no error
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        raise ArchiveRefusedError(f"{path} is no file of AWS credentials.") from None
    if not parser.has_section(profile):
        return None
    credentials = dict(parser.items(profile))
    if not (credentials.get("aws_access_key_id") and credentials.get("aws_secret_access_key")):
        return None
    return S3Keys(
        credentials["aws_access_key_id"], credentials["aws_secret_access_key"], credentials.get("aws_session_token", "")
    )


def sign_s3(
    url: str, keys: S3Keys, region: str, now: datetime, headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the headers of a GET request that authorize it, for 15 minutes.

    Args:
        url: URL of the file, its path quoted, without a query.
        keys: keys of the reader.
        region: region of the bucket.
        now: the time.
        headers: further ones that are part of the signature, with lower-case names.
    """
    parts = urlsplit(url)
    moment = now.astimezone(timezone.utc)
    stamp, day = f"{moment:%Y%m%dT%H%M%SZ}", f"{moment:%Y%m%d}"
    signed = {"x-amz-content-sha256": _EMPTY, "x-amz-date": stamp, **(headers or {})}
    if keys.session:
        signed["x-amz-security-token"] = keys.session
    hashed = {"host": parts.netloc, **signed}
    names = ";".join(sorted(hashed))
    lines = "".join(f"{name}:{hashed[name].strip()}\n" for name in sorted(hashed))
    request = f"GET\n{parts.path or '/'}\n\n{lines}\n{names}\n{_EMPTY}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{keys.secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope},SignedHeaders={names},Signature={signature}"
    return {**signed, "Authorization": credential}
