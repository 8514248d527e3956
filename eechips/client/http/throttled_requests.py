"""Make requests that a recipe sends by ``requests`` pass the throttle of its run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import requests

from eechips.client.http.http_sessions import SEND_OF_REQUESTS
from eechips.client.http.transport import Transport, current_transport
from eechips.web.urls import origin

_THROTTLED: list[Transport] = []
"""Transports whose quota requests of recipes pass, in the order of their beginning."""
_THROTTLING = threading.Lock()


def throttle_requests_library(transport: Transport) -> Callable[[], None]:
    """Make requests that this process sends by ``requests`` outside our own sessions pass the throttle.

    For processes in which a recipe may fetch by itself: its requests count against the same quota, that of the thread's
    own run if the thread is known to work for one. A permit is held until the body is there, or the headers where the
    recipe streams the body.

    Returns:
        What puts everything back as it was, once it was called for all transports.
    """

    def send(adapter: requests.adapters.HTTPAdapter, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        own = current_transport() or next(reversed(_THROTTLED), transport)
        own.check_open()
        with own.quota.permit() as permit:
            response = SEND_OF_REQUESTS(adapter, request, *args, **kwargs)
            if origin(request.url) == origin(own.endpoint):  # what others answer says nothing of its quota
                permit.record_response(
                    response.status_code, {name.lower(): value for name, value in response.headers.items()}
                )
            if not kwargs.get("stream", bool(args and args[0])):
                permit.received = len(response.content)
            return response

    def undo() -> None:
        with _THROTTLING:
            if transport in _THROTTLED:
                _THROTTLED.remove(transport)
            if not _THROTTLED:
                requests.adapters.HTTPAdapter.send = SEND_OF_REQUESTS  # type: ignore[method-assign]

    with _THROTTLING:
        _THROTTLED.append(transport)
        requests.adapters.HTTPAdapter.send = send  # type: ignore[assignment,method-assign]
    return undo
