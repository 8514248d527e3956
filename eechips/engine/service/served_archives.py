"""Ask a local Earth Engine for the open archives that it serves, what it has taken from them, and their files."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from eechips.client import retry
from eechips.client.access.connection import LOCAL_POLICY
from eechips.errors import ConfigurationError, TransientError
from eechips.manifest.data_source import ArchiveTraffic
from eechips.manifest.source_files import SourceFile, files_from_json

_TIMEOUT = 60.0  # seconds


class ControlError(ValueError):
    """A local Earth Engine refuses a request of :func:`send_control`."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def send_control(url: str, path: str, body: Any = None) -> Any:
    """Send a request to a local Earth Engine, of its own controls or of Earth Engine's, and return its response's JSON.

    Args:
        path: path of the control ("_archives") or of the REST API ("v1/…"), with the query.
        body: JSON of a POST; None for a GET.

    Raises:
        OSError: if it is not reached, or its response is truncated.
        ControlError: if it refuses the request, or has no such path.
        ValueError: if its response is no JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/{path}", data, {"Content-Type": "application/json"})
    # A proxy does not reach this machine; a control does not lead elsewhere.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise ControlError(_message(error), error.code) from None
    except http.client.HTTPException as error:  # a truncated response, or none of HTTP
        raise ConnectionError(f"{type(error).__name__}: {error}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: its response is an error."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request."""


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError, http.client.HTTPException):
        return f"HTTP {error.code}"


def _request_archives(url: str) -> Any:
    """Return a server's list of archives; raise TransientError for no JSON, too, which a proxy may have cut."""
    try:
        return send_control(url, "_archives")
    except ControlError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise TransientError(str(error)) from error


@dataclass(frozen=True, slots=True)
class ServedArchives:
    """The open archives of a local Earth Engine, as it describes them: with their datasets, terms, and what differs.

    Attributes:
        archives: as the server describes them.
        before: what the server has taken from them for others; None if it does not say.
        instance: tells the server that took it from one that is started anew.
    """

    url: str
    archives: tuple[dict[str, Any], ...]
    before: ArchiveTraffic | None = field(default_factory=ArchiveTraffic)
    instance: str | None = None

    @classmethod
    def ask(cls, url: str) -> ServedArchives:
        """Return the archives of a server; none of a service that has no such control.

        Raises:
            ConfigurationError: if the server, or an archive that is asked for its datasets, does not respond.
        """
        try:
            response = retry.call(partial(_request_archives, url), LOCAL_POLICY)
        except ControlError as error:
            if error.status >= 500:
                raise ConfigurationError(f"the open archive cannot be read: {error}") from error
            return cls(url, ())  # another service
        except TransientError as error:
            if not isinstance(error.__cause__, OSError):
                return cls(url, ())
            cure = "start that server again (`eechips serve`), then repeat the command"
            raise ConfigurationError(f"cannot reach {url}: {error}. To resume: {cure}") from error
        listed = response.get("archives") if isinstance(response, dict) else None
        return cls(url, tuple(listed) if isinstance(listed, list) else ())

    def shared(self) -> ServedArchives:
        """Return the archives of a server that others use, too: what it has taken until now is not this run's."""
        traffic, instance = self._stats()
        return replace(self, before=traffic, instance=instance)

    def traffic(self) -> ArchiveTraffic | None:
        """Return what the server has taken from the archives since :meth:`shared`.

        None if it does not say, now or then, or has been started anew since then: what it took before is not known.
        """
        counts, instance = self._stats()
        if self.before is None or counts is None or (self.instance is not None and instance != self.instance):
            return None
        taken = counts - self.before
        return None if min(taken.requests, taken.bytes, taken.used) < 0 else taken

    def _stats(self) -> tuple[ArchiveTraffic | None, str | None]:
        """Return what the server has taken since its start, and what tells it from others; None for what is unsaid."""
        try:
            response = send_control(self.url, "_stats")
        except (OSError, ValueError):
            return None, None
        stats = response if isinstance(response, dict) else {}
        counts, instance = stats.get("archives"), stats.get("instance")
        traffic = ArchiveTraffic.from_json(counts) if isinstance(counts, dict) else None
        return traffic, instance if isinstance(instance, str) else None

    def files(self, images: Sequence[str], bands: Sequence[str] = ()) -> dict[str, tuple[SourceFile, ...]]:
        """Return the files from which images are read, by the ids of the images.

        Args:
            images: ids, at most 500; the result has no entry for an id that is not of an archive.
            bands: bands of the images; all if empty.

        Raises:
            OSError: if the server is not reached.
            ValueError: if an archive does not answer.
        """
        return files_from_json(send_control(self.url, "_files", {"ids": list(images), "bands": list(bands)})["files"])
