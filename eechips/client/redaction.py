"""Remove secrets from text before it reaches a log, the ledger or an error message.

A thumbnail or table name opens without credentials for hours, so its URL is as secret as a password.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

REDACTED = "[hidden]"
"""What stands where a secret was."""

_LEAST = 4
"""Characters of a secret that is looked for by its value: a shorter one stands in innocent words."""
_NAME = (
    r"(?:token|passw(?:or)?d|passphrase|pwd|secret|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|account[_-]?key|shared[_-]?key)"
)
"""How the names of secrets end: ``token``, ``client_secret``, ``apiKey``, ``DB_PASSWORD``."""
_SECRET_NAME = re.compile(rf"(?i).*{_NAME}")
_VALUE = r"(?:'[^']*'|\"[^\"]*\"|[^\s&\"',}]+)"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"\b((?:thumbnails|videoThumbnails|filmstripThumbnails|tables|maps)/)[^\s:/'\"?)]+"),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w\-./+=~]{6,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\bya29\.[\w\-.]+"), REDACTED),
    (re.compile(r"\b1//[\w\-]{20,}"), REDACTED),
    (
        re.compile(
            r"(?i)([\"']?(?:access_?token|refresh_?token|id_?token|client_?secret|private_?key(?:_id)?|assertion"
            r"|api_?key|signature|x-goog-(?:signature|credential))[\"']?\s*[=:]\s*[\"']?)[^\s&\"',}]+"
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            r"(?i)([?&](?:key|sig|token|jwt|password|[\w-]*(?:api|subscription)-key|x-amz-(?:credential|security-token)"
            r"|md5|hmac|hdn(?:ts|ea|tl)|auth|ticket)=)[^\s&\"']+"
        ),
        rf"\1{REDACTED}",
    ),
    # What expires opens something, whatever the names of its other parameters are.
    (
        re.compile(
            r"(?i)(://[^\s?\"']+\?)(?=[^\s\"']*(?:exp|expir(?:e|es|y|ation)([-_]?(?:at|on|time|date))?|valid[-_]?until)=)"
            r"[^\s\"']+"
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), REDACTED),
    (re.compile(r"((?:https?|ftp)://)[^\s/@\"']+@"), rf"\1{REDACTED}@"),
    (re.compile(rf"(?i)(\b[\w.-]*{_NAME}=){_VALUE}"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)([\"'][\w.-]*{_NAME}[\"']\s*:\s*)(?![{{\[]){_VALUE}"), rf'\1"{REDACTED}"'),
    (re.compile(rf"(?i)(--[\w-]*{_NAME}\s+){_VALUE}"), rf"\1{REDACTED}"),
)


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """Return the text without thumbnail, table and map names, tokens, keys and passwords.

    Args:
        text: what is to be kept or shown.
        secrets: further values that are hidden wherever they stand; see :func:`collect_secrets`.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_named(value: Any) -> Any:
    """Return JSON with every value hidden whose name says that it is a secret."""
    if isinstance(value, Mapping):
        return {
            name: REDACTED if _is_secret(name) and _is_value(each) else redact_named(each)
            for name, each in value.items()
        }
    return [redact_named(each) for each in value] if isinstance(value, (list, tuple)) else value


def collect_secrets(value: Any) -> frozenset[str]:
    """Return the texts in JSON whose names say that they are secrets, for :func:`redact`."""
    return frozenset(secret for secret in _secrets(value) if len(secret) >= _LEAST)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            if _is_secret(name) and _is_value(each):
                yield str(each)
            else:
                yield from _secrets(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _secrets(each)


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAME.fullmatch(name) is not None


def _is_value(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
