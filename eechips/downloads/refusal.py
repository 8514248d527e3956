"""Answers of hosts that do not accept how they were asked: what they say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import requests

_LONGEST = 4096  # bytes of an answer that are looked at
_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_REGION = re.compile(rb"<Region>([a-z0-9-]{1,32})</Region>")
_RUN_OUT = frozenset({"ExpiredToken", "TokenRefreshRequired"})
"""What S3 and Google's store answer with 400 to a signature that has run out."""
_GONE = (410, 498)
"""What servers answer to an address that has run out: nginx' ``secure_link``, Esri's."""
_EXPIRED = re.compile(rb"(?i)expired|no longer valid")


@dataclass(frozen=True, slots=True)
class AccessDenial:
    """A host does not accept a signature, or the lack of one.

    Attributes:
        status: of HTTP.
        code: the store's word for it, such as ``RequestTimeTooSkewed``; empty if there is none.
        region: that a bucket of S3 is in, if it was asked for in another.
    """

    status: int
    code: str = ""
    region: str | None = None

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f" ({self.code})" if self.code else "")


def parse_access_denial(response: requests.Response, *, may_expire: bool = False) -> AccessDenial | None:
    """What an answer says of why it is none, if it does not accept who asks; its body may be read from.

    Args:
        response: not of the statuses of success.
        may_expire: whether the address has a query, which may be a signature.
    """
    status = response.status_code
    if status not in (301, 307, 400, 401, 403, *(_GONE if may_expire else ())):
        return None
    body = response.raw.read(_LONGEST, decode_content=True)
    code = _CODE.search(body)
    found = AccessDenial(status, code[1].decode() if code else "", parse_region_hint(response.headers, body))
    is_refusal = status in (401, 403, *_GONE) or found.code in _RUN_OUT or found.region is not None
    is_refusal = is_refusal or (status == 400 and may_expire and _EXPIRED.search(body) is not None)
    return found if is_refusal else None


def parse_region_hint(headers: Mapping[str, str], body: bytes = b"") -> str | None:
    """The region of a bucket, where S3 says that it was asked for in another.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html: ``AuthorizationHeaderMalformed`` and
    ``AuthorizationQueryParametersError`` have ``Region``, others the header.

    Args:
        headers: of the answer.
        body: of it, or its beginning.
    """
    found = _REGION.search(body)
    return found[1].decode() if found else headers.get("x-amz-bucket-region")
