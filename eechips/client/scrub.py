"""Removing secrets from text before it reaches a log, the ledger or an error message.

A thumbnail or table name opens without credentials for hours, so its URL is as secret as a password.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
"""What stands where a secret was."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"\b((?:thumbnails|videoThumbnails|filmstripThumbnails|tables|maps)/)[^\s:/'\"?)]+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w\-./+=~]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\bya29\.[\w\-.]+"), HIDDEN),
    (re.compile(r"\b1//[\w\-]{20,}"), HIDDEN),
    (
        re.compile(
            r"(?i)([\"']?(?:access_?token|refresh_?token|id_?token|client_?secret|private_?key(?:_id)?|assertion"
            r"|api_?key|signature|x-goog-(?:signature|credential))[\"']?\s*[=:]\s*[\"']?)[^\s&\"',}]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            r"(?i)([?&](?:key|sig|token|jwt|password|[\w-]*(?:api|subscription)-key|x-amz-(?:credential|security-token))=)"
            r"[^\s&\"']+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), HIDDEN),
    (re.compile(r"((?:https?|ftp)://)[^\s/@\"']+@"), rf"\1{HIDDEN}@"),
)


def scrub(text: str) -> str:
    """The text without thumbnail, table and map names, tokens, keys and passwords."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
