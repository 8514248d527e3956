"""Recognise responses that deny access, and the reason they give: a missing or expired signature, another
region of S3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import requests

_LONGEST = 4096  # bytes of a body that are searched
_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_NAME = "(?=[0-9-]*[a-z])[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"  # of a region, which botocore wants to have a letter
_REGION = re.compile(rf"<Region>({_NAME})</Region>".encode())
_RUN_OUT = frozenset({"ExpiredToken", "TokenRefreshRequired"})
"""Codes that S3 and Google Cloud Storage send with status 400 for an expired signature."""
_GONE = (410, 498)
"""Statuses for expired URLs: ``secure_link`` of nginx, and Esri."""
_EXPIRED = re.compile(rb"(?i)expired|no longer valid")


@dataclass(frozen=True, slots=True)
class AccessDenial:
    """A host rejects a signature, or requires one.

    Attributes:
        status: status of HTTP.
        code: error code of the store, such as ``RequestTimeTooSkewed``; empty if there is none.
        region: region of the S3 bucket, if the request went to another region.
    """

    status: int
    code: str = ""
    region: str | None = None

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f" ({self.code})" if self.code else "")


def parse_access_denial(response: requests.Response, *, may_expire: bool = False) -> AccessDenial | None:
    """Return why a response denies access; None if it fails for another reason. May read from the body.

    Args:
        may_expire: whether the URL has a query, which may be a signature.
    """
    status = response.status_code
    if status not in (301, 307, 400, 401, 403, *(_GONE if may_expire else ())):
        return None
    body = response.raw.read(_LONGEST, decode_content=True)
    code = _CODE.search(body)
    denial = AccessDenial(status, code[1].decode() if code else "", parse_region_hint(response.headers, body))
    is_refusal = status in (401, 403, *_GONE) or denial.code in _RUN_OUT or denial.region is not None
    is_refusal = is_refusal or (status == 400 and may_expire and _EXPIRED.search(body) is not None)
    return denial if is_refusal else None


def parse_region_hint(headers: Mapping[str, str], body: bytes = b"") -> str | None:
    """Return the region of an S3 bucket from the response to a request to another region; None for other texts.

    ``AuthorizationHeaderMalformed`` and ``AuthorizationQueryParametersError`` contain ``Region``, other responses have
    a header (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
    """
    match = _REGION.search(body)
    stated = match[1].decode() if match else headers.get("x-amz-bucket-region", "")
    return stated if re.fullmatch(_NAME, stated) else None
