"""Decide which requests are recorded, and rewrite them in a canonical form, by whose hash their responses are found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from eechips_local.evaluation.graph_nodes import decode_constant
from eechips_local.protocol.field_checks import check_workload_tag
from eechips_local.protocol.messages import decode
from eechips_local.protocol.request_body import is_folded
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.recording.canonical_expression import canonical_expression
from eechips_local.recording.placeholders import Placeholders, map_texts

CREATED = ("thumbnails", "filmstripThumbnails", "videoThumbnails", "tables", "maps")
"""Resources that a POST creates and a GET fetches."""

_PROJECT = r"projects/[^/:]+"
_OPERATIONS = (
    ("discovery", "GET", r"\$discovery/rest"),
    ("algorithms", "GET", rf"{_PROJECT}/algorithms"),
    ("config", "GET", rf"{_PROJECT}/config"),
    ("value-compute", "POST", rf"{_PROJECT}/value:compute"),
    ("image-computePixels", "POST", rf"{_PROJECT}/image:computePixels"),
    ("table-computeFeatures", "POST", rf"{_PROJECT}/table:computeFeatures"),
    ("imageCollection-computeImages", "POST", rf"{_PROJECT}/imageCollection:computeImages"),
    *((kind, "POST", rf"{_PROJECT}/{kind}") for kind in CREATED),
    *((f"{kind}-get", "GET", rf"{_PROJECT}/{kind}/[^/:]+(?::\w+|/tiles/\d+/-?\d+/-?\d+)") for kind in CREATED),
    ("assets-getPixels", "POST", rf"{_PROJECT}/assets/.+:getPixels"),
    ("assets-list", "GET", rf"{_PROJECT}(?:/assets(?:/.+)?)?:list(?:Assets|Images|Features)"),
    ("assets-search", "GET", rf"{_PROJECT}/assets:search"),
    ("assets", "GET", rf"{_PROJECT}/assets/[^:]+"),
)
_PROJECT_ID = re.compile(r"[\w.:-]{1,100}")
_VERSION = re.compile(r"v1(?:alpha|beta)?/")
_NAMED = re.compile(rf"{_PROJECT}/(?P<kind>{'|'.join(CREATED)})/(?P<id>[^/:]+)(?P<rest>.*)")
# Parameters that do not decide what a response has in it: https://cloud.google.com/apis/docs/system-parameters.
_IGNORED = frozenset(
    {"$.xgafv", "access_token", "callback", "key", "oauth_token", "prettyPrint", "quotaUser", "uploadType",
     "upload_protocol", "userProject"}
)  # fmt: skip


_CREDENTIALS = frozenset({"access_token", "key", "oauth_token"})
_SHORTEST_SECRET = 8  # characters; shorter texts occur in other words

# Asks for what an earlier request has cost, by a name that the service has invented for it.
_PROFILE = "Profile.getProfiles"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as a client sends it.

    Attributes:
        method: HTTP method.
        path: decoded, without the first slash.
        query: after the question mark, encoded.
        headers: by lower-case names.
        content: the body.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def project(self) -> str | None:
        """The client's project; None where the request does not name it."""
        named = self.headers.get("x-goog-user-project", "")
        if _PROJECT_ID.fullmatch(named):
            return named
        match = re.match(r"(?:v1(?:alpha|beta)?/)?projects/([^/:]+)(?!.*/assets(?:[/:]|$))", self.path)
        return match[1] if match and _PROJECT_ID.fullmatch(match[1]) else None

    def create_placeholders(self, *servers: str) -> Placeholders:
        """Return what is replaced in the request and its response.

        Args:
            servers: base URLs of this server and of the service.
        """
        authorization = self.headers.get("authorization", "").rpartition(" ")[2]
        parameters = self.query.encode() + (b"&" + self.content if self.is_folded else b"")
        query = parse_qsl(parameters.decode("latin-1"))
        credentials = {value for name, value in query if name in _CREDENTIALS}
        credentials |= {authorization, self.headers.get("x-goog-api-key", "")}
        secrets = tuple(sorted(value for value in credentials if len(value) >= _SHORTEST_SECRET))
        return Placeholders(self.project, servers, secrets)

    @property
    def is_folded(self) -> bool:
        """Return whether it is a GET whose parameters are the body of a POST."""
        return is_folded(self.method, self.headers)

    def unfold(self) -> ReceivedRequest:
        """Return the request with its parameters in the query.

        Raises:
            InvalidError: if its body is not text.
        """
        if not self.is_folded:
            return self
        try:
            return replace(self, method="GET", query=self.content.decode("ascii"), content=b"")
        except UnicodeDecodeError as error:
            raise InvalidError("The parameters of the request are not ASCII.") from error


@dataclass(frozen=True, slots=True)
class CanonicalRequest:
    """A request without what differs between clients and users.

    Attributes:
        operation: name of the folder of its responses.
        method: HTTP method.
        path: without version, with a placeholder for the client's project.
        query: parameters that decide the response.
        body: JSON, its expression in canonical form; None without one.
    """

    operation: str
    method: str
    path: str
    query: Mapping[str, Any]
    body: Any = None

    def to_json(self) -> dict[str, Any]:
        """Return the request as it is recorded."""
        fields = {"body": self.body, "method": self.method, "path": self.path, "query": dict(self.query)}
        return {name: value for name, value in fields.items() if value not in (None, {})}

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal."""
        return hash_request(self.to_json())

    @property
    def created_kind(self) -> str | None:
        """The resource that the request creates, such as ``thumbnails``; None for another request."""
        return self.operation if self.operation in CREATED else None

    @property
    def page_token(self) -> str | None:
        """The token of the page that the request asks for; None for the first page."""
        body = self.body if isinstance(self.body, dict) else {}
        token = self.query.get("pageToken", body.get("pageToken"))
        return token if isinstance(token, str) and token else None

    @property
    def name_kind(self) -> str | None:
        """The resource that the request fetches by its name, such as ``thumbnails``; None for another request."""
        match = _NAMED.fullmatch(self.path)
        return match["kind"] if match else None

    @property
    def name_key(self) -> str | None:
        """The key of the request that created the name of this one; None for requests without such a name."""
        match = _NAMED.fullmatch(self.path)
        return match["id"] if match else None


def hash_request(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a request's JSON, with sorted keys and without spaces.

    Raises:
        UnicodeEncodeError: if it has lone surrogates.
    """
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def find_operation(method: str, path: str) -> str | None:
    """Return the operation of a request, None for one that is not recorded.

    Args:
        method: HTTP method.
        path: without the first slash and without version.
    """
    return next(
        (name for name, verb, form in _OPERATIONS if verb == method and re.fullmatch(form, path, re.DOTALL)), None
    )


def canonical_request(received: ReceivedRequest, placeholders: Placeholders) -> CanonicalRequest | None:
    """Return the canonical form of a request; None for one that is not recorded.

    A body that is not JSON is not recorded, and profiles of other requests are not. An expression that is not well
    formed stays as it is: its response is an error.
    """
    try:
        received = received.unfold()
    except InvalidError:
        return None
    path = _VERSION.sub("", received.path, count=1) if _VERSION.match(received.path) else received.path
    operation = find_operation(received.method, path)
    if operation is None:
        return None
    body = None
    if received.method == "POST":
        try:
            body = _canonical_body(map_texts(decode(received.content), placeholders.hide))
        except (InvalidError, RecursionError):
            return None
        if _PROFILE in list_functions(body):
            return None
    path = placeholders.hide(path) if "/assets" in path else re.sub(rf"^{_PROJECT}", "projects/{project}", path)
    query = _canonical_query(received.query, placeholders)
    canonical = CanonicalRequest(operation, received.method, path, query, body)
    try:
        hash_request(canonical.to_json())
    except (RecursionError, UnicodeEncodeError):  # half of a surrogate pair, which no file can have
        return None
    return canonical


def _canonical_body(body: Any) -> Any:
    """Return a body with its expression in canonical form, without nulls and without a valid workload tag."""
    if not isinstance(body, dict):
        return body
    rest = {name: value for name, value in body.items() if value is not None and not _is_valid_tag(name, value)}
    expression = rest.pop("expression", None)
    try:
        rest = decode_constant(rest)
        if expression is not None:
            rest["expression"] = canonical_expression(expression)
    except (InvalidError, RecursionError):
        return body
    return rest


def _canonical_query(query: str, placeholders: Placeholders) -> dict[str, Any]:
    values_by_name: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _IGNORED and (name, value) != ("alt", "json") and not _is_valid_tag(name, value):
            values_by_name.setdefault(name, []).append(placeholders.hide(value))
    return {name: values[0] if len(values) == 1 else sorted(values) for name, values in sorted(values_by_name.items())}


def _is_valid_tag(name: str, value: Any) -> bool:
    """Return whether a field is a workload tag that the service accepts: its response does not depend on it."""
    if name != "workloadTag" or not isinstance(value, str):
        return False
    try:
        check_workload_tag(value)
    except InvalidError:
        return False
    return True


def list_functions(body: Any) -> list[str]:
    """Return the names of the functions that the expression of a canonical body calls, sorted."""
    expression = body.get("expression") if isinstance(body, dict) else None
    values = expression.get("values") if isinstance(expression, dict) else None
    function_names: set[str] = set()
    for node in values.values() if isinstance(values, dict) else ():
        call = node.get("functionInvocationValue") if isinstance(node, dict) else None
        name = call.get("functionName") if isinstance(call, dict) else None
        if isinstance(name, str):
            function_names.add(name)
    return sorted(function_names)
