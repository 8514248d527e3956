"""One file from its address to the disk: gone on with where it was cut, checked, begun again if it is wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import requests
import urllib3

from eechips.client import retry
from eechips.client.classify import classify_exception, is_passing
from eechips.client.throttle import Slot
from eechips.client.transport import Transport
from eechips.downloads.address import file_of, shown
from eechips.downloads.checks import Checksum, Promise, inspect, md5_of
from eechips.downloads.coding import codings_of, decoded
from eechips.downloads.given import AssetKey, Given, Wanted
from eechips.downloads.hosts import Hosts
from eechips.downloads.partial import Partial, Version, range_of, unsatisfied_of
from eechips.downloads.rate import Rate, Room, paced
from eechips.downloads.refusal import Refusal, refusal_of
from eechips.errors import EechipsError, PermanentError, QuarantinedError, TransientError, ValidationError
from eechips.timestamps import parse_retry_after
from eechips.writers import Facts

if TYPE_CHECKING:
    from typing_extensions import Self

_PIECE = 1 << 19  # bytes that are read at a time
_PROGRESS = 1 << 16
"""Bytes that requests must bring for another to follow as if nothing had happened, and that must come within the time
that a host may be silent: one that sends a byte now and then would keep a place for ever."""
_SURPLUS = 1 << 24
"""Bytes that are taken of a file beyond twice its declared size. A catalogue may be wrong, and then the whole file is
needed in quarantine to find out why; the limit stops files without end."""
_TRIES = 3
"""Whole files that may be wrong before one is put into quarantine."""
_INSPECTORS = 2
"""Threads that look at headers: one that takes long does not keep the others waiting."""
_REFUSALS = 3
"""Signatures in a row that a host may refuse without sending anything."""
_NO_PARTS = (400, 405, 409, 412, 428, 501)
"""What hosts answer that know no ``Range`` or ``If-Range``, and should have sent the whole."""

Tell = Callable[..., None]
"""Notes what happens: ``tell("transfer", status=206, …)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to transfer.

    Attributes:
        href: the address, as it is stored: without its query.
        asset: collection, item and key.
        promise: what the catalogue says of the file.
        path: where the file is while it is on its way.
    """

    href: str
    asset: AssetKey
    promise: Promise
    path: Path

    @property
    def wanted(self) -> Wanted:
        """Whose address is asked for."""
        return Wanted(self.href, self.asset)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that came, whole and right.

    Attributes:
        size: bytes.
        sha256: hexadecimal.
        facts: what GDAL found in its header.
        checked: by what it is known to be right, such as ``size`` and ``sha256``.
    """

    size: int
    sha256: str
    facts: Facts
    checked: tuple[str, ...]


class _RefusedError(Exception):
    """A host does not accept the signature, or the lack of one."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class _TooMuchError(Exception):
    """More comes than the catalogue says that the file has."""


class _OverdueError(Exception):
    """A file takes longer than one may."""


class Courier:
    """Transfers files. Threads share it; use it in a ``with`` block.

    Headers are looked at in threads of their own, few: PROJ prepares itself anew for each thread, and all others stand
    still meanwhile, for longer than a hundred headers take.

    Args:
        hosts: whom files come from.
        signer: makes addresses open.
        transport: lends slots and waits.
        rate: of all transfers.
        room: on the disk.
        timeout: seconds that a file may take: nobody can end a thread, so it ends by itself.
        clock: seconds, monotonic.
        takes_files: whether addresses may be files of this machine: not those that others tell us.
    """

    def __init__(
        self,
        hosts: Hosts,
        signer: Given,
        transport: Transport,
        rate: Rate,
        room: Room,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        takes_files: bool,
    ) -> None:
        self._timeout, self._clock = timeout, clock
        self._hosts, self._signer, self._transport = hosts, signer, transport
        self._rate, self._room, self._takes_files = rate, room, takes_files
        policy = transport.policy
        # With many hosts, one that is away is not the network.
        self._policy = replace(policy, offline=0.0)
        self._inspectors = ThreadPoolExecutor(_INSPECTORS, "eechips-header")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inspectors.shutdown(wait=False, cancel_futures=True)

    def fetch(self, order: Order, tell: Tell) -> Arrived:
        """Transfers a file, or what is missing of it.

        Args:
            order: which.
            tell: notes what happens.

        Raises:
            QuarantinedError: if it came whole three times, and was wrong each time; it is still where it was.
            TransientError, PermanentError: if it does not come.
            StorageError: if it cannot be written.
        """
        wanted = order.promise.wanted
        partial = Partial(order.path, () if wanted is None else (wanted.algorithm,))
        end = self._clock() + self._timeout
        try:
            while True:
                try:
                    self._complete(order, partial, tell, end)
                    arrived = self._check(order, partial)
                except (ValidationError, _TooMuchError) as error:
                    tell("check", error=str(error), failures=partial.failures + 1)
                    if partial.failures + 1 >= _TRIES:
                        raise QuarantinedError(
                            f"{shown(order.href)} came {_TRIES} times, and was wrong: {error}"
                        ) from None
                    partial.reset(failed=True)
                else:
                    unknown = {"unknown": order.promise.checksum} if order.promise.is_unknown else {}
                    tell("check", bytes=arrived.size, sha256=arrived.sha256, by=arrived.checked, **unknown)
                    return arrived
        except _OverdueError:
            raise TransientError(f"it was not through after {self._timeout:g} s; what has come is kept") from None
        finally:
            partial.close()

    def _check(self, order: Order, partial: Partial) -> Arrived:
        """Sees whether a whole file is right.

        Raises:
            ValidationError: if it is not.
        """
        promise, version = order.promise, partial.version
        told = None if version is None or version.md5 is None else Checksum("md5", version.md5)
        checked = ["length"]
        if promise.size is not None:
            if partial.size != promise.size:
                raise ValidationError(f"it has {partial.size:,} bytes, and should have {promise.size:,}")
            checked.append("size")
        for checksum in (promise.wanted, told):
            if checksum is None:
                continue
            found = partial.digest(checksum.algorithm)
            if found != checksum.digest:
                raise ValidationError(f"its {checksum.algorithm} is {found}, and should be {checksum.digest}")
            checked.append(checksum.algorithm)
        partial.close()
        facts = self._inspectors.submit(inspect, partial.path, promise).result()
        if promise.is_raster:
            checked.append("header")
        return Arrived(partial.size, partial.digest(), facts, tuple(checked))

    def _complete(self, order: Order, partial: Partial, tell: Tell, end: float) -> None:
        """Asks until all is here. Only requests that bring nothing new are failures, and have to wait."""
        refusals, most = 0, partial.size
        file = file_of(order.href)
        if file is not None and not self._takes_files:
            raise PermanentError(
                f"{shown(order.href)} is no address of the web, and the catalogue is not of this machine"
            )

        def attempt() -> None:
            nonlocal refusals, most
            if self._clock() > end:
                raise _OverdueError
            try:
                if file is None:
                    self._ask(order, partial, tell, end)
                else:
                    self._copy(file, order, partial, tell, end)
            except TransientError:
                if partial.size < most + _PROGRESS:
                    raise
                most, refusals = partial.size, 0
            except _RefusedError as refused:
                refusal = refused.refusal
                can_help = self._signer.renew(order.wanted, refusal.region)
                refusals += 1
                tell("sign", status=refusal.status, code=refusal.code, again=can_help)
                if not can_help or refusals >= _REFUSALS:
                    text = f"{shown(order.href)} is refused with {refusal}: see --auth and --auth-host"
                    raise PermanentError(text, status=refusal.status) from None
            else:
                refusals = 0

        while not partial.is_whole:
            retry.call(attempt, self._policy, pause=self._transport.pause)

    def _ask(self, order: Order, partial: Partial, tell: Tell, end: float) -> None:
        """Makes one request, and writes what it brings.

        Raises:
            _RefusedError: if the signature is not accepted.
            TransientError: if that was not all.
            PermanentError: if nothing will come.
        """
        address = self._signer.sign(order.wanted)
        headers, offset = {}, partial.size
        validator = None if partial.version is None else partial.version.validator
        if offset and validator is not None:
            headers = {"Range": f"bytes={offset}-", "If-Range": validator}
        failure: EechipsError | None = None
        with self._hosts.limit(address.url), self._transport.lent() as slot:
            try:
                with self._hosts.get(address.url, headers, self._signer.headers) as response:
                    tell("transfer", status=response.status_code, offset=offset if _is_part(response) else 0)
                    is_rest = _accept(
                        response, partial, order, is_part="Range" in headers, may_expire="?" in address.url
                    )
                    if is_rest:
                        self._receive(response, partial, order.promise, slot, end)
                    return
            except (OSError, urllib3.exceptions.HTTPError) as error:
                failure = classify_exception(error)
                if failure is None:
                    raise
        # The original names the address, which may be a secret.
        tell("cut", bytes=slot.received, at=partial.size, error=str(failure))
        raise failure from None

    def _copy(self, file: Path, order: Order, partial: Partial, tell: Tell, end: float) -> None:
        """Copies a file of this machine, or what is missing of it.

        Raises:
            PermanentError: if it cannot be read.
        """
        try:
            with self._transport.lent() as slot, file.open("rb") as source:
                found = os.fstat(source.fileno())
                version = Version(found.st_size, f'"{found.st_mtime_ns:x}"', None)
                if partial.version != version:
                    partial.begin(version)
                tell("transfer", offset=partial.size)
                source.seek(partial.size)
                with self._room.for_bytes(max(0, found.st_size - partial.size)) as room:
                    while data := source.read(_PIECE):
                        self._take(data, partial, order.promise, slot, room, end)
        except OSError as error:
            raise PermanentError(f"{file} cannot be read: {error.strerror or error}") from None

    def _take(
        self,
        data: bytes,
        partial: Partial,
        promise: Promise,
        slot: Slot,
        room: Callable[[int], None],
        end: float,
    ) -> None:
        slot.received += len(data)
        self._rate.pay(len(data))
        if promise.size is not None and partial.size + len(data) > 2 * promise.size + _SURPLUS:
            raise _TooMuchError(f"it has more than the {promise.size:,} bytes that it should have")
        partial.write(data)
        room(len(data))
        if self._clock() > end:
            raise _OverdueError

    def _receive(self, response: requests.Response, partial: Partial, promise: Promise, slot: Slot, end: float) -> None:
        """Writes what an answer brings.

        Raises:
            TransientError: if that was not all.
        """
        version = partial.version
        assert version is not None
        with self._room.for_bytes(max(0, (version.total or 0) - partial.size)) as room:
            for data in self._pieces(response, promise):
                self._take(data, partial, promise, slot, room, end)
        if version.total is not None and partial.size < version.total:
            raise urllib3.exceptions.IncompleteRead(partial.size, version.total - partial.size)
        if _is_part(response) and version.total is None:
            # A part may be shorter than what was asked for: only who asks for more learns that there is none.
            raise TransientError("nobody has told whether more of the file is to come", status=206)
        partial.finish()

    def _pieces(self, response: requests.Response, promise: Promise) -> Iterator[bytes]:
        """What comes, as it comes: of a connection that is cut, nothing that has come is lost.

        Raises:
            TransientError: if it comes too slowly.
        """
        read = getattr(response.raw, "read1", response.raw.read)  # older versions of urllib3 do not have it
        size = self._rate.piece(_PIECE)
        pieces = paced(lambda: read(size, decode_content=False), self._hosts.patience, _PROGRESS, self._clock)
        codings = codings_of(response.headers, promise)
        return decoded(pieces, codings, _PIECE) if codings else pieces


def _is_part(response: requests.Response) -> bool:
    """Whether an answer is a part of a file, whatever its status is: `rclone serve s3` answers with 200."""
    return response.status_code == 206 or range_of(response.headers.get("Content-Range")) is not None


def _accept(response: requests.Response, partial: Partial, order: Order, *, is_part: bool, may_expire: bool) -> bool:
    """Makes sure that what an answer brings belongs to what is here, or begins anew.

    Args:
        response: the answer.
        partial: what is here.
        order: what was asked for.
        is_part: whether what is missing was asked for, not all.
        may_expire: whether the address has a query, which may be a signature.

    Returns:
        Whether anything is still to come.

    Raises:
        _RefusedError: if the signature is not accepted.
        TransientError: if another version came, which is not to be mixed with the one that is here, or later may help.
        PermanentError: if there is no such file.
    """
    status, headers = response.status_code, response.headers
    if (refusal := refusal_of(response, may_expire=may_expire)) is not None:
        raise _RefusedError(refusal)
    found = range_of(headers.get("Content-Range"))
    if status == 200 and _is_part(response):
        status = 206
    if status == 200 or (status == 206 and not is_part and found is not None and found[0] == 0):
        partial.begin(*_whole(headers, found[2] if status == 206 and found else None, order.promise))
        return True
    if status == 206:
        version = partial.version
        if found is None or version is None or found[0] != partial.size or codings_of(headers, order.promise):
            partial.reset()
            raise TransientError(f"another part came than was asked for: {headers.get('Content-Range')}", status=206)
        told = Version.of(headers, found[2])
        if not version.is_same(told):
            partial.reset()
            raise TransientError("the file has changed since it was begun", status=206)
        if version.total is None and told.total is not None:
            partial.measure(told.total)
        return True
    if status == 416:
        version, size = partial.version, unsatisfied_of(headers.get("Content-Range"))
        is_all = size == partial.size and version is not None and version.is_same(Version.of(headers, size))
        if is_part and is_all:
            partial.finish()
            return False
        partial.reset()
        raise TransientError("the file is shorter than the part that is here", status=status)
    text = f"{shown(order.href)} answered HTTP {status}"
    if is_part and status in _NO_PARTS:
        partial.reset()
        raise TransientError(f"{text} to who asked for the rest: from its beginning", status=status)
    if is_passing(status) or status == 202:  # 202: it is being brought from where it cannot be sent from
        after = parse_retry_after({name.lower(): value for name, value in headers.items()})
        raise TransientError(text, status=status, retry_after=after)
    raise PermanentError(text, status=status)


def _whole(headers: Mapping[str, str], total: int | None, promise: Promise) -> tuple[Version, tuple[str, ...]]:
    """The version of a file that comes from its beginning, and the digests that its server tells.

    Args:
        headers: of the answer.
        total: bytes, where the answer says so by ``Content-Range``.
        promise: of the file.
    """
    if codings_of(headers, promise):  # how long it is, and of which version, is said of its coded form
        return Version(None, None, None), ()
    length = headers.get("Content-Length", "")
    md5 = md5_of(headers)
    size = total if total is not None else int(length) if length.isdecimal() else None
    return Version.of(headers, size, md5), () if md5 is None else ("md5",)
