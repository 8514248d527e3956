"""Ask a local Earth Engine which open archives it serves, and from which files its images are read."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eechips.errors import ConfigurationError
from eechips.manifest.source_files import SourceFile, files_from_json

_TIMEOUT = 60.0  # seconds


class ControlError(ValueError):
    """A local Earth Engine refuses a request of its own controls.

    Attributes:
        status: status of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def send_control(url: str, path: str, body: Any = None) -> Any:
    """Send a request to a local Earth Engine's own controls, and return the JSON of its response.

    Args:
        url: URL of the server.
        path: path of the control ("_archives").
        body: JSON of a POST; None for a GET.

    Raises:
        OSError: if it is not reached.
        ControlError: if it refuses the request, or has no such control.
        ValueError: if its response is no JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/{path}", data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise ControlError(_message(error), error.code) from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


@dataclass(frozen=True, slots=True)
class ServedArchives:
    """The open archives of a local Earth Engine.

    Attributes:
        url: URL of the server.
        archives: as it describes them, with their datasets: id, terms, and what differs.
    """

    url: str
    archives: tuple[dict[str, Any], ...]

    @classmethod
    def ask(cls, url: str) -> ServedArchives:
        """Return the archives of a server; none of a service that has no such control.

        Raises:
            ConfigurationError: if an archive does not answer that is asked for its datasets.
        """
        try:
            response = send_control(url, "_archives")
        except ControlError as error:
            if error.status >= 500:
                raise ConfigurationError(f"the open archive cannot be read: {error}") from error
            return cls(url, ())  # another service
        except ValueError:
            return cls(url, ())
        listed = response.get("archives") if isinstance(response, dict) else None
        return cls(url, tuple(listed) if isinstance(listed, list) else ())

    def files(self, images: Sequence[str], bands: Sequence[str] = ()) -> dict[str, tuple[SourceFile, ...]]:
        """Return the files from which images are read, by the ids of the images.

        Args:
            images: at most 500 ids; those of other assets are left out of the result.
            bands: bands of the images; all if empty.

        Raises:
            OSError: if the server is not reached.
            ValueError: if an archive does not answer.
        """
        return files_from_json(send_control(self.url, "_files", {"ids": list(images), "bands": list(bands)})["files"])
