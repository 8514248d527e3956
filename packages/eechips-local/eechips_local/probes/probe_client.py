"""Send the requests of probes by the real client, one at a time, and measure them.

The client is initialised without credentials: it is connected to a recorder on this machine, which adds them. Requests
are repeated only where the service asks for it, so that an answer is the service's own.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import requests

from eechips_local.archives.hosts.retry_header import parse_retry_after
from eechips_local.probes.probe import Probe, ProbeOutcome, ProbeResult
from eechips_local.quota.compute_cost import PROFILE_REQUEST_HEADER, PROFILE_RESPONSE_HEADER

_SECONDS = (10.0, 150.0)  # to connect, and between two parts of a response
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before the repeats of a request
_LONGEST_WAIT = 120.0  # seconds that the service may ask for
_REPEATED = frozenset({429, 500, 502, 503, 504})
_OF_CREDENTIALS = frozenset({401, 407})
_LONGEST_MESSAGE = 4000  # characters; a message may repeat what it was sent


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request and its response.

    Attributes:
        status: status of the response; 0 without one.
        message: message of the error, or the reason why there is no response; empty for a result.
        received: bytes of the response.
        seconds: until the response was there.
        profile: id of the profile of the computation; empty for none.
    """

    status: int
    message: str
    received: int
    seconds: float
    profile: str = ""


class RefusedError(Exception):
    """A request that a probe has sent itself was refused."""


class RefusedAccountError(Exception):
    """The service refuses the credentials or the project: no probe has an answer."""


class ProbeClient:
    """The real client, connected to a server on this machine. It asks one probe at a time, which may use threads.

    Attributes:
        ee: the module.

    Args:
        url: URL of the server.
        project: project of the requests.

    Raises:
        RefusedAccountError: if the service refuses the account or the project.
    """

    def __init__(self, url: str, project: str) -> None:
        import ee
        from googleapiclient.errors import Error as GoogleError

        self.ee: Any = ee
        self.url, self.project = url, project
        self._session = requests.Session()
        self._session.trust_env = False  # the recorder is on this machine: no proxy, no credentials of a .netrc
        self._sent: list[SentRequest] = []
        self._compute: list[float] = []  # of exports, which no profile counts
        self._is_profiled = True
        ee.Reset()
        # The client fetches no list of deprecated assets, from storage.googleapis.com, where it has one.
        ee.deprecation.deprecated_assets = {"": ee.deprecation.DeprecatedAsset("", None, None, None)}
        ee.data.setMaxRetries(0)
        try:
            ee.Initialize(None, url=url, project=project, http_transport=self)
        except (ee.EEException, GoogleError, requests.RequestException) as error:
            reason = next(
                (sent_request.message for sent_request in reversed(self._sent) if sent_request.message), str(error)
            )
            raise RefusedAccountError(f"the service refuses the account or the project {project}: {reason}") from None

    def close(self) -> None:
        """Close the connections, and leave the client uninitialised."""
        self._session.close()
        self.ee.Reset()

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        redirections: int | None = None,
        connection_type: object = None,
    ) -> tuple[Any, bytes]:
        """Send a request of the client; the signature is that of ``httplib2.Http.request``."""
        import httplib2

        response = self._send(method, uri, body, dict(headers or {}))
        response_headers = {name.lower(): value for name, value in response.headers.items()}
        return httplib2.Response({**response_headers, "status": str(response.status_code)}), response.content

    def get(self, url: str) -> bytes:
        """Return the content of a URL that the service has named, such as that of a thumbnail.

        Raises:
            RefusedError: if it is an error.
        """
        return self._checked(self._send("GET", url, None, {}))

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request as it is, and return the JSON of its response.

        Args:
            method: HTTP method.
            path: below ``v1/``; ``{project}`` stands for the project.
            body: JSON, or text that is sent as it is; None for none.

        Raises:
            RefusedError: if it is an error.
        """
        url = f"{self.url}/v1/{path.replace('{project}', self.project)}"
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": "application/json", "X-Goog-User-Project": self.project}
        return json.loads(self._checked(self._send(method, url, text, headers)))

    def count_compute(self, seconds: float) -> None:
        """Add the EECU-seconds of an export, which its task reports."""
        self._compute.append(seconds)

    def ask(self, probe: Probe) -> ProbeResult:
        """Return the answer to a probe.

        Raises:
            RefusedAccountError: if the service refuses the credentials.
        """
        self._sent.clear()
        self._compute.clear()
        started = time.monotonic()
        answer = self._ask(probe)
        seconds = time.monotonic() - started
        last = self._sent[-1] if self._sent else SentRequest(0, "", 0, 0.0)
        if last.status in _OF_CREDENTIALS:
            raise RefusedAccountError(f"the service refuses the credentials: {last.message}")
        return replace(
            answer,
            status=last.status,
            requests=len(self._sent),
            received=sum(sent_request.received for sent_request in self._sent),
            seconds=round(seconds, 3),
            eecu_seconds=self._measure_compute(),
        )

    def profile(self, build: Any) -> str:
        """Return the profile of a computation, as the service writes it.

        Args:
            build: returns an object; see :data:`eechips_local.probes.probe.Build`.
        """
        self._sent.clear()
        build(self.ee).getInfo()
        names = [sent_request.profile for sent_request in self._sent if sent_request.profile]
        with self._unprofiled():
            return str(self._get_profiles(ids=names).getInfo())

    def _ask(self, probe: Probe) -> ProbeResult:
        """Ask; see :meth:`ask`. What measures the requests is added later."""
        try:
            return ProbeResult(ProbeOutcome.VALUE, value=_to_json(probe.ask(self)))
        except (self.ee.EEException, RefusedError) as raised:
            error: Exception = raised
            last = self._sent[-1] if self._sent else None
            if last is not None and 400 <= last.status < 500 and last.status not in _REPEATED:
                return ProbeResult(ProbeOutcome.ERROR, message=(last.message or str(error))[:_LONGEST_MESSAGE])
        except (requests.RequestException, OSError, ValueError, KeyError, TypeError) as raised:
            error = raised
        return ProbeResult(ProbeOutcome.UNANSWERED, message=f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE])

    def _measure_compute(self) -> float | None:
        """Return the EECU-seconds of the requests so far; None if the service reports none."""
        names = [sent_request.profile for sent_request in self._sent if sent_request.profile]
        eecu_seconds = list(self._compute)
        if names:
            with self._unprofiled(), contextlib.suppress(self.ee.EEException, ValueError):
                listed = self.ee.List([self._get_profiles(ids=[name], maxEntries=1) for name in names]).getInfo()
                eecu_seconds += map(_parse_profile, listed)
        return round(sum(eecu_seconds), 4) if eecu_seconds else None

    def _get_profiles(self, **arguments: Any) -> Any:
        # As ee.profilePrinting does: the function is hidden.
        return self.ee.apifunction.ApiFunction.lookup("Profile.getProfiles").call(**arguments)

    @contextlib.contextmanager
    def _unprofiled(self) -> Iterator[None]:
        self._is_profiled = False
        try:
            yield
        finally:
            self._is_profiled = True

    def _send(self, method: str, url: str, body: str | bytes | None, headers: dict[str, str]) -> requests.Response:
        """Send a request; repeat it where the service asks for it."""
        if method == "POST" and self._is_profiled:
            headers[PROFILE_REQUEST_HEADER] = "1"
        data = body.encode() if isinstance(body, str) else body
        for wait in (*_WAITS, None):
            started = time.monotonic()
            response = self._session.request(method, url, data=data, headers=headers, timeout=_SECONDS)
            self._sent.append(_measure(response, time.monotonic() - started))
            asked = parse_retry_after(response.headers.get("Retry-After", ""))
            if response.status_code not in _REPEATED or wait is None or asked > _LONGEST_WAIT:
                break
            time.sleep(max(wait, asked))
        return response

    def _checked(self, response: requests.Response) -> bytes:
        if response.status_code >= 400:
            raise RefusedError(self._sent[-1].message)
        return response.content


def _measure(response: requests.Response, seconds: float) -> SentRequest:
    """Return the measures of a response."""
    message = _read_message(response) if response.status_code >= 400 else ""
    profile = response.headers.get(PROFILE_RESPONSE_HEADER, "")
    return SentRequest(response.status_code, message, len(response.content), seconds, profile)


def _parse_profile(text: str) -> float:
    """Return the EECU-seconds of a profile: the sum of its first column, in which a dash is next to nothing.

    Raises:
        ValueError: if the text is no profile.
    """
    head, *lines = str(text).splitlines() or [""]
    if not head.split()[:1] or not head.split()[0].startswith("EECU"):
        raise ValueError(f"the first column is not EECU-seconds: {head[:60]!r}")
    cells = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    return math.fsum(0.0 if cell == "-" else float(cell.replace(",", "")) for cell in cells)


def _read_message(response: requests.Response) -> str:
    """Return the message of an error, or the beginning of a body of another form."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(response.json()["error"]["message"])
    return f"HTTP {response.status_code}: {response.text[:200]}"


def _to_json(value: Any) -> Any:
    """Return a value as JSON has it: no tuples, names as texts."""
    return json.loads(json.dumps(value))
