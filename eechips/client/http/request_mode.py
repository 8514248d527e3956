"""Describe how a thread sends its requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from eechips.client.http.http_messages import HttpRequest
from eechips.client.quota.usage import Usage
from eechips.client.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class RequestMode:
    """How the requests of a thread are sent.

    Attributes:
        usage: counts the requests; None outside of :meth:`Transport.metered`.
        policy: policy of retries; None for that of the transport.
        accept: checks the bodies of responses to the client; None outside of :meth:`Transport.checking`.
        captured: receives requests of the client, which are not sent; None to send them.
    """

    usage: Usage | None = None
    policy: RetryPolicy | None = None
    accept: Callable[[bytes], object] | None = None
    captured: list[HttpRequest] | None = None


class ThreadMode(threading.local):
    """The mode of requests, for each thread its own."""

    mode = RequestMode()
