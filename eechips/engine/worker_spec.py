"""Describe to workers, wherever they run, what a run does with each unit; refuse workers with another version of
eechips.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from eechips.client.access.connection import NO_SERVICE, ServiceTarget
from eechips.client.access.credentials import find_credentials
from eechips.client.chip_parameters import Method
from eechips.client.http.http_messages import Timeouts
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError
from eechips.recipe import Recipe
from eechips.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Everything that workers need to know. Picklable, without credentials: workers on other machines find their own.

    Attributes:
        token: token of the run's writer, in the names of temporary files; see :mod:`eechips.files.temporary_names`.
        method: how pixels are requested.
        reads_assets: read chips from stored images where that gives the same file.
        target: service and project, without credentials; its endpoint is empty if the recipe needs none.
        key_file: key of a service account, at a path that is valid for the workers; None for the credentials that the
            client library finds.
        send_credentials: send credentials to an endpoint that is not Google's.
        unit_timeout: seconds that a unit may take.
        rate: requests per second of all workers together; None for no limit.
        logs: record every request.
        shares_requests: fetch several chips in one request where possible.
        keeps_empty: write results without a valid pixel.
        export_to: place of chips that are exported because their request takes too long; None to export none.
        appends_id: append the unit's id to names that the recipe gives to results, where names of units are not
            compared with each other.
        version: version of eechips, which must be the same on all machines.
    """

    recipe: Recipe
    store: Store
    token: str
    policy: RetryPolicy
    timeouts: Timeouts
    method: Method
    target: ServiceTarget
    key_file: Path | None
    send_credentials: bool
    unit_timeout: float
    rate: float | None
    logs: bool = False
    reads_assets: bool = False
    shares_requests: bool = True
    keeps_empty: bool = True
    export_to: str | None = None
    appends_id: bool = False
    version: str = field(default_factory=lambda: version("eechips"))

    def check_version(self) -> None:
        """Raise ConfigurationError if this process has another version of eechips."""
        if version("eechips") != self.version:
            here = f"workers have eechips {version('eechips')}"
            raise ConfigurationError(f"{here}, this is {self.version}: install the same")

    def find_target(self) -> ServiceTarget:
        """Return the service to connect to, with the credentials of this machine.

        Raises:
            ConfigurationError: if there are no credentials, or they are rejected.
        """
        endpoint = self.target.endpoint
        if not endpoint:
            return NO_SERVICE
        credentials = find_credentials(endpoint, self.key_file, send_anywhere=self.send_credentials)
        return replace(self.target, credentials=credentials)
