"""Define the exceptions that eechips raises on purpose, and the messages of a full disk, a missing permission and a
limit of file sizes (``ulimit -f``).

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
    │   ├── TransientError          the same request may succeed later
    │   │   ├── UnreachableError        no connection could be made: the network may be down
    │   │   └── ValidationError         the response is truncated, damaged, or not as requested
    │   ├── TooLargeError           the request exceeds a limit: split the unit
    │   └── PermanentError          the request never succeeds: the run continues
    │       ├── UnknownServiceError     an unknown error of the service: many of one kind stop the run
    │       └── QuarantinedError        a complete file failed its checks three times
    ├── RecipeError             an exception from the recipe's own code
    ├── InternalError           an exception from eechips' own code, or a lack of memory: the unit is retried later
    ├── LeakageError            chips of different splits are too near to each other: exit status 1
    ├── RunStoppedError         a run that is read while it is fetched has stopped too early
    ├── WorkerLostError         the unit's worker process died or hung too often
    └── StorageError            a result could not be written (disk full, no permission)

    Stopped                     the run is stopping: no EechipsError, and no Exception

Messages say what happened, to which unit, and what to do. They never carry credentials or thumbnail URLs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Literal

_WRITE_DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})
DISK_FAULTS = FULL_DISK | {errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EFBIG}
"""Numbers of errors of a disk, or of the server that has it, and of no program."""
FILE_LIMIT = "a file has the largest size that `ulimit -f`, or the disk, allows. Raise the limit and repeat the command"
"""What is wrong if a file cannot grow, and what helps."""

_NOT_MAPPED = "failed to map segment from shared object"
"""What glibc says of a library on a file system without execution, and of one for which there is no memory."""

BatchUse = Literal["never", "last", "first"]
"""When a batch task computes what was too large for a request: never, after its parts, or instead of its parts."""


class EechipsError(Exception):
    """Base class of every error that eechips raises on purpose."""


class UsageError(EechipsError):
    """A wrong option, file or name. The command line exits with status 2.

    Args:
        text: what is wrong; with mistakes, which file has how many.
        mistakes: each of several mistakes, which the command line prints on lines of their own.
    """

    def __init__(self, text: str = "", mistakes: Sequence[str] = ()) -> None:
        super().__init__(text, *([tuple(mistakes)] if mistakes else []))
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        return f"{self.args[0]}: {'; '.join(self.mistakes)}" if self.mistakes else str(self.args[0])


class RunFileError(UsageError):
    """A run file with mistakes."""


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
        until: time at which it can compute again, ISO 8601, UTC; None if unknown.
    """

    def __init__(self, message: str, *, until: str | None = None) -> None:
        super().__init__(message)
        self.until = until


class ClusterLostError(ConfigurationError):
    """The scheduler of a Dask cluster, or all of its workers, have ended or cannot be reached.

    The run stops. Its results are kept, its open units stay open, and the same command resumes it.
    """


class RequestError(EechipsError):
    """One request of one unit failed.

    Attributes:
        status: HTTP status; None without a response.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TransientError(RequestError):
    """The same request may succeed later.

    Attributes:
        retry_after: seconds to wait, from the response; None if it has none.
        is_queue_full: whether too many batch tasks wait for the service to start one more.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None, is_queue_full: bool = False
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after
        self.is_queue_full = is_queue_full


class UnreachableError(TransientError):
    """No connection to the service could be made: the network or the service may be down."""


class ValidationError(TransientError):
    """The response is truncated, cannot be decoded, or has another size, bands, dtype or grid than requested."""


class ResponseTimeoutError(TransientError):
    """The service did not respond in time. A smaller request may need less."""


class TooLargeError(RequestError):
    """The request exceeds a limit of the service. The unit is split.

    Attributes:
        is_divisible: whether a part may be small enough.
        batch: when a batch task may compute it.
        repeats: times that the same request is worth sending again first, as the load of the moment may be the cause.
        repeats_alone: times that it is if it cannot be divided.
        advice: what the user can do if no part is small enough, a clause.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        is_divisible: bool = True,
        batch: BatchUse = "never",
        repeats: int = 0,
        repeats_alone: int = 0,
        advice: str = "",
    ) -> None:
        super().__init__(message, status=status)
        self.is_divisible, self.batch, self.repeats, self.advice = is_divisible, batch, repeats, advice
        self.repeats_alone = max(repeats, repeats_alone)

    def allows_parts(self, *, divides_all: bool) -> bool:
        """Return whether to request parts: of all requests, or only of those that no batch task computes whole."""
        return self.is_divisible and (divides_all or self.batch != "first")

    def extended(self, text: str) -> TooLargeError:
        """Return the same error with a sentence after its message."""
        extended = copy(self)
        extended.args = (f"{self} {text}",)
        return extended


class PermanentError(RequestError):
    """The request will never succeed: the failure is recorded, and the run continues.

    Attributes:
        fault: fault of the expression or its data, by the name of its row in the table of the service's errors; empty
            for others. Many alike among the first units stop the run.
    """

    def __init__(self, message: str, *, status: int | None = None, fault: str = "") -> None:
        super().__init__(message, status=status)
        self.fault = fault


class UnknownServiceError(PermanentError):
    """The service rejects the request with an error that eechips does not know.

    Single ones are recorded like other permanent errors. Many of one kind in a row stop the run.
    """


class QuarantinedError(PermanentError):
    """A complete file failed its checks three times, and was moved to ``quarantine``."""


class RecipeError(EechipsError):
    """The recipe's own code raised an exception.

    Attributes:
        traceback: the recipe's traceback as text.
    """

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class InternalError(EechipsError):
    """The code of eechips raised an unexpected exception, or the machine lacks memory.

    A unit is repeated a few times, and again by the next run. Many such units in a row stop the run.

    Attributes:
        traceback: traceback of the exception, as text.
    """

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class LeakageError(EechipsError):
    """Chips of different splits overlap, or are too near to each other.

    Attributes:
        pairs: the nearest pairs: split and id of one chip, split and id of the other, metres between them.
    """

    def __init__(self, message: str, *, pairs: tuple[tuple[str, str, str, str, float], ...] = ()) -> None:
        super().__init__(message)
        self.pairs = pairs


class MissingResultsError(EechipsError):
    """Results that the workers of a queue were to make are missing or damaged: nothing was joined.

    Attributes:
        lines: lines of the plan, whose results are missing: queue them again.
    """

    def __init__(self, message: str, *, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines


class RunStoppedError(EechipsError):
    """A run whose samples are read while it is fetched has stopped before all of its units were settled."""


class WorkerLostError(EechipsError):
    """The worker process of a unit died or hung too often; the unit is not repeated."""


class StorageError(EechipsError):
    """A result could not be written: disk full, no permission, folder gone."""

    @classmethod
    def of_write(cls, path: Path | str, error: OSError) -> StorageError:
        """Make the error of a file that could not be written.

        Args:
            path: the file, or ``into`` and a folder, or the folder.
            error: the error of the system.
        """
        if error.errno in FULL_DISK:
            return cls(f"the disk is full: could not write {path}. Make room and repeat the command")
        if error.errno == errno.EFBIG:
            return cls(f"could not write {path}: {error.strerror}: {FILE_LIMIT}")
        if error.errno in _WRITE_DENIED:
            named = Path(path.removeprefix("into ")) if isinstance(path, str) else path
            folder = named if named.is_dir() or isinstance(path, str) else path.parent
            if not folder.is_dir() or not os.access(folder, os.W_OK):
                return cls(
                    f"could not write {path}: {folder} is a folder that you may not write in ({error.strerror}). Copy"
                    " the run to where you may write, or name another place by --out or --to, if the command has it"
                )
        if error.errno in DISK_FAULTS - _WRITE_DENIED:
            return cls(
                f"the disk does not work: could not write {path}: {error.strerror or error}. Repeat the command when it"
                " does"
            )
        return cls(f"could not write {path}: {error.strerror or error}")

    @classmethod
    def of_output(cls, folder: Path, error: OSError) -> StorageError:
        """Make the error of an output folder that cannot be made or locked."""
        if error.errno in FULL_DISK:
            return cls.of_write(folder, error)
        is_taken = error.errno == errno.EEXIST
        reason = "it is a file, or a link that leads nowhere" if is_taken else error.strerror or error
        return cls(f"cannot use {folder} as output folder: {reason}. Name another by --out")


def describe_shortage(error: BaseException, consumer: str, cure: str) -> str | None:
    """Describe an exception that says that the machine gave too little memory, or mapped no shared library.

    Args:
        consumer: what lacks the memory.
        cure: what helps if memory is lacking.

    Returns:
        None for all other exceptions.
    """
    lacks = f"this machine, or a limit (`ulimit -v`), gives {consumer} too little memory"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        fault = f"{type(error).__name__}: {error}".removesuffix(": ")
        return f"{lacks}: {cure} ({fault})"
    if not isinstance(error, ImportError):
        return None
    library = next((line for line in str(error.msg).splitlines() if _NOT_MAPPED in line), None)  # numpy adds others
    if library is None:
        return None
    if os.strerror(errno.ENOMEM) in library:
        return f"{library.strip()}: {lacks}: {cure}"
    denies = "its file system does not allow programs (mounted noexec): install the packages on another one"
    if "Operation not permitted" in library:
        return f"{library.strip()}: {denies}"
    return f"{library.strip()}: either {denies}; or {lacks}: {cure}"


class Stopped(BaseException):
    """The run is stopping: the unit was not finished and stays planned.

    Not an Exception, so that no recipe's ``except Exception`` takes it for a failure.
    """
