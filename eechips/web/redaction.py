"""Remove secrets from texts, before they reach a log, the ledger, run.json or an error message.

The name of a thumbnail or table opens it without credentials for hours, and so does a signed URL: both are as secret as
a password.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from eechips.web.urls import EXPIRY_ENDS, SIGNATURE_NAMES

REDACTED = "***"
"""Replaces a secret."""

_LONGEST = 20_000
"""Characters beyond a cut that are redacted as well: a secret that begins before the cut ends within them."""
_LEAST = 4
"""Characters of a secret that is replaced by its value: a shorter one occurs in innocent words."""
_NAME = (
    r"(?:token|passw(?:or)?d|passphrase|pwd|secret|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|account[_-]?key|shared[_-]?key)"
)
"""Last part of the names of secrets: ``token``, ``client_secret``, ``apiKey``, ``DB_PASSWORD``."""
_SECRET_NAME = re.compile(rf"(?i).*{_NAME}")
_SECRET_OPTION = re.compile(rf"(?i)--?[\w-]*{_NAME}")
_FIELD_NAMES = (
    r"(?:access_?token|refresh_?token|id_?token|client_?secret|private_?key(?:_id)?|assertion|api_?key|passw(?:or)?d"
    r"|passphrase|x-goog-(?:signature|credential)|signature(?=[\\\"'\s]*[=:][\\\"'\s]*[\w.~+/%=-]{16}))"
)
"""Names of secrets in JSON, forms and signatures. The signature of a class of land is a word, one of keys is longer."""
_QUERY_WORDS = (
    r"token|secret|passw|pwd|signature|credential|api_?-?key|access_?-?key|subscription-key|jwt|session|auth(?!or)"
    r"|policy"
)
"""Parts of names of query parameters that grant access."""
_PASS = r"pass(?!(?:=|%3d)(?:asc|desc)ending\b)"
"""Name of a query parameter. Searches of radar images have passes of an orbit."""
_HEADER_NAMES = (
    r"(?<![\w-])(?:(?:[\w-]*-)?(?:authorization|cookie)"
    r"|[\w-]*\w-(?:token|secret|password|signature|credential|(?:api|access|subscription|account|secret|auth)-?key))"
)
"""Names of HTTP headers that grant access: ``Authorization``, ``X-Api-Key``, ``X-Amz-Security-Token``."""
_ISSUED = r"(?:thumbnails|videoThumbnails|filmstripThumbnails|tables|maps)"
"""Names of two hexadecimal numbers that the service issues. Folders of users are called so as well."""
_BARE = (
    r"(?<![\w-])(?:AIza[\w-]{35}|GOCSPX-[\w-]{20,}|PLAK[\da-f]{32}|gh[oprsu]_\w{36,}|github_pat_\w{30,}|hf_[A-Za-z\d]{30,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})(?![\w-])"
)
"""Keys and client secrets of Google, keys of Planet, tokens of GitHub and Hugging Face, JSON web tokens (RFC 7519)."""
_QUOTE = r"\\*[\"']"
"""A quotation mark, also in a text that is a JSON string itself."""
_UNREDACTED = r"(?!\*{3}[\])>.:;]*(?:\s|$))"
"""No secret that was replaced before: the parenthesis in ``(token=***)`` is not part of it."""
_QUOTED = rf"(?P<quote>{_QUOTE})(?!\s*(?:,\s*\\*[\"'{{\[]|[}})\]]+(?:[\s,\"'\\]|$)))(?s:.)*?(?P=quote)"
"""A quoted value. A quotation mark after ``token=`` may instead close a JSON string: then more JSON follows it."""
_VALUE = rf"(?:{_QUOTED}|{_UNREDACTED}(?:[^\s&\"',}}\\]|\\+(?![\\\"']))+)"

_REPLACED = rf"\1{REDACTED}"
"""Keeps the first group of a pattern, the name, and replaces the rest."""

# Texts come from servers and have any length, so each pattern takes time in proportion to it. A name is tried from its
# start alone, by a lookbehind: from each of its letters, the time would grow with the square of its length.
_SUBSTITUTIONS: tuple[tuple[str, str], ...] = (
    # First, while the key is whole.
    (
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)",
        REDACTED,
    ),
    (rf"(\bprojects/[^\s/'\"]+/{_ISSUED}/)[\w-]{{6,}}(?![\w-]|\.\w|/(?!tiles/))", _REPLACED),
    # Also in an address that is part of another one's query, as login pages of networks have it.
    (rf"((?:\b|(?<=2[Ff])){_ISSUED}(?:/|%(?:25)?2[Ff]))[\da-f]{{6,}}-[\da-f]{{6,}}(?![\w-])", _REPLACED),
    # Not the word in "basic volcanic rocks"; that after the name of a header is replaced below.
    (
        r"\b((?i:bearer|basic))\s+(?![A-Z]?[a-z]{1,20}(?:-[a-z]{1,20})*\.?(?![\w\-./+=~]))[\w\-./+=~]{6,}",
        rf"\1 {REDACTED}",
    ),
    (r"\bya29\.[\w\-.]+", REDACTED),
    (r"\b1//[\w\-]{20,}", REDACTED),
    # Tokens that are known by their form, which stand without a name in messages of others.
    (_BARE, REDACTED),
    (rf"(?i)({_HEADER_NAMES}(?:{_QUOTE})?\s*:\s*(?:{_QUOTE})?)[^\r\n\"'\\]+", _REPLACED),
    # The whole query of a URL that expires: one of its parameters grants access, whatever its name is.
    (rf"(?i)(?<![^\s\"'])((?:(?!://)[^\s\"'])*://[^\s?\"']*\?)(?=[^\s\"']*(?:{EXPIRY_ENDS})=)[^\s\"']+", _REPLACED),
    # What follows the name is checked first, and once, not after each word.
    (
        rf"(?i)([?&;#](?=[^?&;#=\s]*={_UNREDACTED}[^&\s\"'])[^?&;#=\s]*(?:{_QUERY_WORDS})[^?&;#=\s]*=)[^&\s\"']+",
        _REPLACED,
    ),
    (rf"(?i)([?&;#](?:key|sas|code|{_PASS}|key-pair-id|{SIGNATURE_NAMES})=){_UNREDACTED}[^&\s\"']+", _REPLACED),
    # User and password of a URL; a token may replace the user. In URLs of stores, a user without a password is a
    # container. Paths have one slash of the two; a drive has one letter.
    (r"(?i)((?:https?|ftp):(?:\\*/){1,2})[^\s/@\"\\]+@", rf"\1{REDACTED}@"),
    (r"((?<=\w\w):/{1,2}[^\s/@?#:\"]*:)[^\s/@?#\"]+(?=@)", _REPLACED),
    # Of a URL that is part of another one's query, or stands in JSON as some servers write it.
    (
        rf"(?i)((?:%3f|%26|%3b|\\u0026|&amp;)(?:[\w.-]{{0,40}}?(?:{_QUERY_WORDS})[\w.-]{{0,40}}|key|sas|code|{_PASS}|key-pair-id"
        rf"|{SIGNATURE_NAMES})(?:%3d|=)){_UNREDACTED}(?:(?!%26|\\u0026)[^\s&\"'])+",
        _REPLACED,
    ),
    (r"(?i)((?:https?|ftp)%3a%2f%2f)(?:(?!%2f|%40)[^\s/@\"'&?])+(?=%40)", _REPLACED),
    (rf"(?i)({_FIELD_NAMES}[ \t]*[=:][ \t]*){_QUOTED}", _REPLACED),
    (
        rf"(?i)({_FIELD_NAMES}(?:{_QUOTE})?\s*[=:]\s*(?:{_QUOTE})?){_UNREDACTED}(?!\]+[\s,}}])(?:[^\s&\"',}}\\]|\\(?![\"']))+",
        _REPLACED,
    ),
    (rf"(?i)(?<![\w.-])([\w.-]*{_NAME}[ \t]*=(?!=)[ \t]*){_VALUE}", _REPLACED),
    (rf"(?i)([\"'][\w.-]*{_NAME}[\"']\s*:\s*)(?![{{\[]){_VALUE}", rf'\1"{REDACTED}"'),
    (rf"(?i)(?<!\\)(\\+\"[\w.-]*{_NAME}\\+\"\s*:\s*\\+\")[^\"\\]+", _REPLACED),
    (rf"(?i)(?<![\w-])((?:(?!--)[\w-])*--[\w-]*{_NAME}\s+)(?!--){_VALUE}", _REPLACED),
)
_PATTERNS = tuple((re.compile(pattern), replacement) for pattern, replacement in _SUBSTITUTIONS)

_CANDIDATE = re.compile(
    r"[=:]|--|//|s/|ya29\.|AIza|GOCSPX|PLAK|gh._|github_pat_|hf_|eyJ|(?i:%3d|%3a|%(?:25)?2f|(?:bearer|basic)\s)"
)
"""Part of every text that has a secret: names and numbers, most of the texts of units, are searched for it alone."""


def is_redacted(text: str) -> bool:
    """Return whether a text, such as a URL, has lost its secrets to :func:`redact`, so that it cannot be used."""
    return REDACTED in text and redact(text) == text


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """Replace the secrets of a text: names of thumbnails, tables and maps, signatures, tokens, keys and passwords.

    Names of parameters stay, except in the query of a URL that expires.

    Args:
        secrets: further values, replaced wherever they occur; see :func:`collect_secrets`.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    if not _CANDIDATE.search(text):
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_beginning(text: str, most: int, secrets: Collection[str] = ()) -> str:
    """Return the beginning of a text that may have megabytes, without secrets; see :func:`redact`.

    More of it is redacted than is returned: a secret that the cut divides is known by its whole form only.

    Args:
        most: characters that are returned at most.
    """
    return redact(text[: most + _LONGEST], secrets)[:most]


def redact_end(text: str, most: int, secrets: Collection[str] = ()) -> str:
    """Return the end of a text; see :func:`redact_beginning`."""
    return redact(text[-most - _LONGEST :], secrets)[-most:]


def redact_json(value: Any) -> Any:
    """Replace the secrets of JSON: values whose names are those of secrets, and secrets in texts."""
    if isinstance(value, Mapping):
        return {
            name: REDACTED if _is_secret(name) and _is_value(member) else redact_json(member)
            for name, member in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [REDACTED if is_secret else redact_json(member) for member, is_secret in _arguments(value)]
    return redact(value) if isinstance(value, str) else value


def redact_unit(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the secrets of a unit. Columns of the user's table, its properties, may have any name, such as ``token``.

    Texts of columns lose secrets by their form, as in the query of a URL.
    """
    return {name: _redact_member(name, member) for name, member in unit.items()}


def _redact_member(name: str, member: Any) -> Any:
    if name == "properties" and isinstance(member, Mapping):
        return {column: redact_json(value) for column, value in member.items()}
    if name == "value" and isinstance(member, Mapping):
        return redact_unit(member)
    return redact_json({name: member})[name]


def collect_secrets(value: Any) -> frozenset[str]:
    """Return the values of JSON whose names are those of secrets, for :func:`redact`."""
    return frozenset(secret for secret in _secrets(value) if len(secret) >= _LEAST)


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            if _is_secret(name) and _is_value(member):
                yield str(member)
            else:
                yield from _secrets(member)
    elif isinstance(value, (list, tuple)):
        for member, is_secret in _arguments(value):
            yield from [member] if is_secret else _secrets(member)


def _arguments(values: Sequence[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield members of a list, and whether each is the value of an option before it that names a secret."""
    option: Any = None
    for value in values:
        is_named = isinstance(option, str) and _SECRET_OPTION.fullmatch(option) is not None
        yield value, is_named and isinstance(value, str) and not value.startswith("--")
        option = value


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAME.fullmatch(name) is not None


def _is_value(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
