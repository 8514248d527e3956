"""Define every exception that eechips raises on purpose.

::

    EechipsError
    ├── UsageError              a wrong option, file or name: exit status 2
    │   ├── UnknownDatasetError     no such alias, asset or band
    │   ├── RegionError             a region or region file that cannot be used
    │   ├── RunMismatchError        the output folder holds another run
    │   └── RunLockedError          another process is running in the output folder
    ├── ConfigurationError      credentials, project or endpoint: stop the whole run, exit status 2
    │   ├── ProjectUnavailableError the project cannot compute now: the same command resumes the run later
    │   └── ClusterLostError        the Dask cluster is gone: the same command resumes the run on another
    ├── RequestError            one request of one unit failed
    │   ├── TransientError          wait and send again
    │   │   ├── UnreachableError        no connection could be made: the network may be away
    │   │   └── ValidationError         the response is truncated, damaged, or not as requested
    │   ├── TooLargeError           split the unit; never resend it as it is
    │   └── PermanentError          record it and continue
    │       ├── UnknownServiceError     an answer that is in no table: many alike stop the run
    │       └── QuarantinedError        a file came whole again and again, and was wrong each time
    ├── RecipeError             an exception from the recipe's own code
    ├── InternalError           an exception from eechips' own code, or a lack of memory: the unit is tried again later
    ├── LeakageError            chips of different splits lie too near to each other: exit status 1
    ├── WorkerLostError         the unit took its worker process down, or hung, too often
    └── StorageError            a result could not be written (disk full, no permission)

Messages say what happened, to which unit, and what to do. They never carry credentials or thumbnail URLs.
"""

from __future__ import annotations


class EechipsError(Exception):
    """Base class of every error that eechips raises on purpose."""


class UsageError(EechipsError):
    """A wrong option, file or name. The command line exits with status 2."""


class UnknownDatasetError(UsageError):
    """No such dataset alias, asset or band."""


class RegionError(UsageError):
    """A region, or a file of regions, that cannot be used."""


class RunMismatchError(UsageError):
    """The output folder holds another run: plan, recipe or parameters differ."""


class RunLockedError(UsageError):
    """Another process is running in the output folder."""


class ConfigurationError(EechipsError):
    """Credentials, project or endpoint are wrong: no unit can succeed, so the run stops."""


class ProjectUnavailableError(ConfigurationError):
    """The project cannot compute now: a quota of the day or month is used up, billing is disabled, or it is suspended.

    The run stops. Its results are kept, its open units stay open, and the same command resumes it.

    Attributes:
        until: when it can compute again, ISO 8601, UTC; None if unknown.
    """

    def __init__(self, message: str, *, until: str | None = None) -> None:
        super().__init__(message)
        self.until = until


class ClusterLostError(ConfigurationError):
    """The scheduler of a Dask cluster, or all of its workers, are gone.

    The run stops. Its results are kept, its open units stay open, and the same command resumes it.
    """


class RequestError(EechipsError):
    """One request of one unit failed.

    Attributes:
        status: HTTP status, or None where no response arrived.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TransientError(RequestError):
    """The same request may succeed later.

    Attributes:
        retry_after: seconds that the server asked us to wait, or None.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class UnreachableError(TransientError):
    """No connection to the service could be made: the network, or the service, may be away."""


class ValidationError(TransientError):
    """The response is not what was asked for: truncated, undecodable, wrong size, bands, dtype or grid."""


class TooLargeError(RequestError):
    """The request exceeds a limit of the service: split the unit, never resend it as it is."""


class PermanentError(RequestError):
    """The request will never succeed: the failure is recorded, and the run continues."""


class UnknownServiceError(PermanentError):
    """The service refuses the request with an error that eechips does not know.

    A few of them are recorded like other permanent errors. Many alike in a row stop the run.
    """


class QuarantinedError(PermanentError):
    """A file came whole, again and again, and was not what was promised: it is kept apart."""


class RecipeError(EechipsError):
    """The recipe's own code raised.

    Attributes:
        traceback: the recipe's traceback as text.
    """

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class InternalError(EechipsError):
    """The code of eechips raised what it does not expect, or the machine lacked memory; no recipe is at fault.

    A unit is repeated a few times at once, and by the next run. Many such units in a row stop the run.

    Attributes:
        traceback: of what was raised, as text.
    """

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class LeakageError(EechipsError):
    """Chips of different splits show the same ground, or ground too near to it.

    Attributes:
        pairs: the nearest of them: split and id of one, split and id of the other, metres between them.
    """

    def __init__(self, message: str, *, pairs: tuple[tuple[str, str, str, str, float], ...] = ()) -> None:
        super().__init__(message)
        self.pairs = pairs


class MissingResultsError(EechipsError):
    """Results that the workers of a queue were to make are missing or damaged: nothing was joined.

    Attributes:
        lines: of the plan, whose results are missing: queue them again.
    """

    def __init__(self, message: str, *, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines


class WorkerLostError(EechipsError):
    """The worker process of a unit died or hung again and again: the unit is given up."""


class StorageError(EechipsError):
    """A result could not be written: disk full, no permission, folder gone."""
