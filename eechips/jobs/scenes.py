"""``eechips scenes``: whole scenes by STAC search, one file for each asset."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

from eechips.catalogs.schema import SCHEMA_NAME
from eechips.downloads.address import bare, file_of, shown
from eechips.downloads.answer import ANSWER_NAME, Answer, noting, with_others
from eechips.downloads.assets import chosen_assets, unit_of
from eechips.downloads.checks import Promise
from eechips.downloads.hosts import Hosts
from eechips.downloads.partial import forget, offer
from eechips.downloads.quarantine import quarantine, release
from eechips.downloads.rate import Rate, Room
from eechips.downloads.reader import POLICY, Reader, Unread, told_unread
from eechips.downloads.search import Search, chosen, items
from eechips.downloads.secret import read_secrets
from eechips.downloads.signing import Auth, AuthName, Given, Signer, signer_of
from eechips.downloads.transfer import Courier, Order
from eechips.engine import Estimate, RunConfig
from eechips.engine.assembly import Results, Settled
from eechips.engine.files import Placed
from eechips.engine.log import RunLog
from eechips.engine.plan import check_same, describe, name_template
from eechips.engine.site import Site
from eechips.errors import EechipsError, PermanentError, QuarantinedError, StorageError, UsageError
from eechips.human import human_bytes
from eechips.jobs.asset_store import Put, check_store, open_store
from eechips.jobs.further import Further
from eechips.jobs.options import check_dates, fetch, field_names, names_of, slug, split, takes
from eechips.jobs.scene_items import local_item, scene_names
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.lock import locked
from eechips.manifest.record import State
from eechips.manifest.run import Run
from eechips.planning.conditions import Condition, parse_condition
from eechips.planning.regions import AssetRegion, BoxRegion, FileRegion, parse_region
from eechips.recipe import Unit, canonical_json, unit_id
from eechips.storage import ID_LENGTH, LocalStore, safe_component

_log = logging.getLogger(__name__)

_VERSION = 1  # of what the units mean: changed when old ones would be transferred otherwise
_PARTIAL = "partial"
_LINE_SECONDS = 10.0  # between two lines that say how far a search is
_READ_TIMEOUT, _UNIT_TIMEOUT = 60.0, 86400.0
"""Seconds: silence ends a request, and a large file may take a day."""
_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another go on, which may only have to hash or write what has come."""
_OF_EARTH_ENGINE = (
    "local", "local_assets", "endpoint", "project", "credentials", "send_credentials", "scheduler", "pipeline_options",
)  # fmt: skip


@dataclass(slots=True)
class _Desk:
    """What the threads of a run share."""

    site: Site
    folder: Path
    reader: Reader
    courier: Courier
    room: Room


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """The recipe of ``eechips scenes``: a unit is an asset of an item, and its result is the file, as it is.

    The run is an ordinary one, in threads of one process: transfers wait for the network, and share connections,
    tokens and the bytes that they may use a second. Earth Engine is not asked.

    Attributes:
        stac: address of a STAC API or a static catalogue, or path or address of STAC GeoParquet: a file, a pattern, or
            a folder, such as ``eechips catalog`` writes.
        collection: id, or several.
        roi: ``W,S,E,N`` in degrees, or a vector file; None for everywhere.
        start: first day or moment, ISO 8601; None for no bound.
        end: day or moment after the last.
        where: conditions on properties, as ``eo:cloud_cover < 20``.
        assets: keys, or names of bands, of the assets to take; those that are data if None.
        max_items: items at most.
        per_host: transfers from one host at a time.
        max_rate: bytes a second of all transfers together.
        auth: how addresses are made to open; see :class:`eechips.downloads.signing.Auth`.
        auth_host: hosts that may see the secrets.
        token_url: where tokens or signatures are to be had.
        secrets: file of secrets; those of the environment count more.
        requester_pays: whether the account pays for what S3 sends.
        ingest: folder of assets that good scenes are put into.
        asset_id: Earth Engine id of the collection that they are put into; None for ``scenes/<collection>``.
        ingester: puts them there; None for what fills the stores of the local Earth Engine.
    """

    stac: str
    collection: str | Sequence[str] = ()
    roi: str | Path | None = None
    start: str | None = None
    end: str | None = None
    where: str | Sequence[str] = ()
    assets: str | Sequence[str] | None = None
    max_items: int | None = None
    per_host: int = 10
    max_rate: float | None = None
    auth: AuthName = "none"
    auth_host: str | Sequence[str] = ()
    token_url: str | None = None
    secrets: str | Path | None = None
    requester_pays: bool = False
    ingest: str | Path | None = None
    asset_id: str | None = None
    ingester: Put | None = field(default=None, repr=False, compare=False)
    _desk: list[_Desk] = field(default_factory=list, init=False, repr=False, compare=False)
    _signed: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    name = "scenes"
    name_template = "scenes/{item}/{asset}"
    needs_service = False
    is_foreign = True
    is_concurrent = True
    slots = 10
    datasets = ()

    def __post_init__(self) -> None:
        if self.max_items is not None and self.max_items < 1:
            raise UsageError(f"--max-items must be at least 1, not {self.max_items}")
        if self.per_host < 1:
            raise UsageError(f"--per-host must be at least 1, not {self.per_host}")
        if self.max_rate is not None and not self.max_rate > 0:
            raise UsageError(f"--max-rate must be above 0 bytes a second, not {self.max_rate:g}")
        if self.assets is not None and not all(self.asset_names or ("",)):
            raise UsageError("--assets must name at least one asset: A,B,C")
        if self.ingest is not None and self.ingester is None:
            check_store()
        if self.asset_id is not None and self.ingest is None:
            raise UsageError("--id is for --ingest: what the scenes' collection is to be called")
        check_dates(self.start, self.end)
        _ = self.access, self.search  # a mistake is told before the folder is made

    @cached_property
    def collections(self) -> tuple[str, ...]:
        """Ids of the collections."""
        return names_of(self.collection) if self.collection else ()

    @cached_property
    def asset_names(self) -> tuple[str, ...] | None:
        """Names of the assets to take."""
        return None if self.assets is None else names_of(self.assets)

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Parsed."""
        texts = (self.where,) if isinstance(self.where, str) else self.where
        return tuple(parse_condition(text) for text in texts if text)

    @cached_property
    def access(self) -> Auth:
        """How addresses are made to open."""
        hosts = names_of(self.auth_host) if self.auth_host else ()
        return Auth(kind=self.auth, hosts=hosts, token_url=self.token_url, requester_pays=self.requester_pays)

    @cached_property
    def search(self) -> Search:
        """What the catalogue is asked."""
        region = self._region
        return Search(
            stac=self.stac,
            collections=self.collections,
            region=None if region is None else region.polygon() if isinstance(region, BoxRegion) else region.polygon,
            start=_moment(self.start),
            end=_moment(self.end),
            conditions=self.conditions,
            most=self.max_items,
        )

    @cached_property
    def _region(self) -> BoxRegion | FileRegion | None:
        if self.roi is None:
            return None
        region = parse_region(self.roi)
        if isinstance(region, (BoxRegion, FileRegion)):
            return region
        assert isinstance(region, AssetRegion)
        raise UsageError(f"--roi {self.roi}: a table of Earth Engine is not asked here; take W,S,E,N or a vector file")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that choose scenes, as JSON; nothing that only says how they come."""
        region = self._region
        return {
            "stac": bare(self.stac),
            "collection": list(self.collections),
            "roi": None if region is None else region.parameters,
            "start": self.start,
            "end": self.end,
            "where": [str(condition) for condition in self.conditions],
            "assets": None if self.asset_names is None else list(self.asset_names),
            "max_items": self.max_items,
        }

    @cached_property
    def identity(self) -> str:
        """Sha256, hexadecimal, of what was asked for."""
        content = {"scenes": _VERSION, **self.parameters}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    @property
    def assembly(self) -> dict[str, Any]:
        """Where good scenes are put."""
        return {"ingest": None if self.ingest is None else str(Path(self.ingest).absolute()), "id": self.asset_id}

    @contextlib.contextmanager
    def attend(self, site: Site) -> Iterator[None]:
        """Opens what the threads of the run share, for the duration of the block.

        Raises:
            UsageError: if results are to go into an object store.
            ConfigurationError: if a secret is missing.
        """
        from rasterio.errors import NotGeoreferencedWarning

        if not isinstance(site.store, LocalStore):
            raise UsageError("scenes come into a folder, where what was cut goes on: --out DIR")
        folder, transport, timeouts = site.store.root, site.transport, site.timeouts
        with warnings.catch_warnings(), Hosts(self.per_host, timeouts.connect, timeouts.read) as hosts:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            signer, room = Given(self._signer(hosts), self._signed), Room(folder)
            patience = dataclasses.replace(POLICY, retries=min(POLICY.retries, transport.policy.retries))
            reader = Reader(hosts, signer, patience, transport.pause)
            is_here = file_of(self.stac) is not None
            rate = Rate(self.max_rate)
            courier = Courier(hosts, signer, transport, rate, room, site.unit_timeout, takes_files=is_here)
            self._desk.append(_Desk(site, folder, reader, courier, room))
            interval = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_INTERVAL)
            try:
                with courier:
                    yield
            finally:
                sys.setswitchinterval(interval)
                self._desk.clear()
                _remove_if_empty(folder / _PARTIAL)

    def get_requests(self) -> Iterator[Unit]:
        """Asks the catalogue, or takes the answer that is kept, and gives a unit for each asset.

        Yields:
            ``{"kind": "scene", "collection", "item", "asset", "href", "datetime", "promise"}``.

        Raises:
            UsageError: if nothing was found, or no item has the assets.
            ConfigurationError: if the catalogue does not answer.
            StorageError: if there is no room for what was found.
        """
        if not self._desk:  # only to see what there is
            with Hosts(self.per_host, _READ_TIMEOUT, _READ_TIMEOUT) as hosts:
                reader = Reader(hosts, self._signer(hosts))
                yield from self._units(self._found(reader), reader.unread)
            return
        (desk,) = self._desk
        answer = self._answer(desk)
        total = 0
        for unit in self._units(answer, desk.reader.unread):
            identifier = unit_id(unit, self.identity)[:ID_LENGTH]
            fields = {"collection": unit["collection"], "item": unit["item"], "asset": unit["asset"]}
            desk.site.log.write("scene", id=identifier, step="query", **fields, href=shown(unit["href"]))
            total += unit["promise"].get("size") or 0
            yield unit
        desk.room.check(total)

    def get_result(self, index: int, unit: Unit) -> Any:
        """Transfers the file of a unit: an :class:`eechips.engine.files.Placed`.

        Raises:
            QuarantinedError: if it came whole three times, and was wrong each time.
            RequestError: if it does not come.
            StorageError: if it cannot be written.
        """
        (desk,) = self._desk
        identifier = unit_id(unit, self.identity)[:ID_LENGTH]
        path = _on_its_way(desk.folder, identifier)
        promise = Promise.from_json(unit["promise"])
        order = Order(href=unit["href"], collection=unit["collection"] or "", promise=promise, path=path)

        def tell(step: str, **fields: Any) -> None:
            desk.site.log.write("scene", id=identifier, step=step, **fields)

        try:
            arrived = desk.courier.fetch(order, tell)
        except QuarantinedError as error:
            told = {**_told(unit), "reason": str(error)}
            kept = quarantine(desk.folder, identifier, path, promise.suffix, told)
            forget(path)
            tell("quarantine", file=kept.name, error=str(error))
            raise
        except PermanentError:
            forget(path)
            raise
        release(desk.folder, identifier)
        return Placed(
            temporary=offer(path).relative_to(desk.folder).as_posix(),
            suffix=promise.suffix,
            size=arrived.size,
            sha256=arrived.sha256,
            facts=arrived.facts,
            sources=(f"{unit['collection']}/{unit['item']}" if unit["collection"] else unit["item"],),
            dates=(unit["datetime"],) if unit.get("datetime") else (),
        )

    def foresee(self, units: Iterable[Unit]) -> Estimate:
        """What a run would fetch, as far as the catalogue says."""
        count = 0
        sizes: list[int | None] = []
        for unit in units:
            count += 1
            sizes.append(unit["promise"].get("size"))
        known = [size for size in sizes if size is not None]
        total = round(sum(known) * count / len(known)) if known else None
        return Estimate(units=count, requests=count, bytes=total, seconds=None)

    def assemble(self, results: Results) -> None:
        """Writes a STAC item beside the files of each item, and puts good scenes into a store of assets.

        Raises:
            UsageError: if none could be put there.
        """
        kept = self.kept(results.folder)
        if kept is None:
            told = f"{results.folder / ANSWER_NAME} is gone, and with it what the catalogue says of the scenes"
            raise StorageError(f"{told}: put it back, or choose another --out")
        answer = {(item.get("collection"), item["id"]): item for item in kept}
        scenes: dict[tuple[str | None, str], list[Settled]] = {}
        for settled in results:
            key = settled.unit["collection"], settled.unit["item"]
            scenes.setdefault(key, []).append(settled)
            if settled.record.state is not State.FAILED_TRANSIENT:  # which goes on where it was, if it is tried again
                forget(_on_its_way(results.folder, unit_id(settled.unit, self.identity)[:ID_LENGTH]))
        _remove_if_empty(results.folder / _PARTIAL)
        names = scene_names(scenes)
        ingested: list[str] = []
        refused: list[str] = []
        with RunLog(results.folder) as log, self._open_store() as put:
            for key, parts in scenes.items():
                here = [part for part in parts if part.path is not None]
                if not here:
                    continue
                folder, called = safe_component(key[0] or "items"), names[key]
                name = f"stac/{folder}/{called}.json"
                with results.make(name) as path:
                    path.write_text(json.dumps(local_item(answer[key], here, name), indent=2, ensure_ascii=False))
                if put is None or len(here) < len(parts):
                    continue
                fields = {"ids": [unit_id(p.unit, self.identity)[:ID_LENGTH] for p in here], "step": "ingest"}
                try:
                    asset = f"{self.asset_id or (f'scenes/{folder}' if key[0] else 'scenes')}/{called}"
                    put(results.folder / name, asset, tuple(part.unit["asset"] for part in here))
                except EechipsError as error:
                    refused.append(str(error))
                    log.write("scene", **fields, error=str(error))
                else:
                    ingested.append(asset)
                    log.write("scene", **fields, asset=asset)
        if self.ingest is not None:
            results.say(f"{len(ingested):,} of {len(scenes):,} scenes are assets in {self.ingest}")
        if refused:
            raise UsageError(f"{len(refused):,} scenes could not be ingested; the first: {refused[0]}")

    def ask_again(self, folder: Path, log: RunLog) -> Iterator[Unit]:
        """Asks the catalogue anew, and gives a unit for each asset that it has now, or had when it was asked before.

        Args:
            folder: of the run; the answer is kept there.
            log: of the run.

        Raises:
            UsageError, ConfigurationError: see :meth:`get_requests`.
        """
        with Hosts(self.per_host, _READ_TIMEOUT, _READ_TIMEOUT) as hosts:
            reader = Reader(hosts, self._signer(hosts))
            answer = Answer(folder / ANSWER_NAME, self.identity)
            yield from self._units(answer if self._ask(reader, answer, log) else (), reader.unread)

    def kept(self, folder: Path) -> Answer | None:
        """The catalogue's answer of an earlier command, if a folder has it."""
        answer = Answer(folder / ANSWER_NAME, self.identity)
        return None if answer.asked is None else answer

    def _open_store(self) -> contextlib.AbstractContextManager[Put | None]:
        """What puts scenes where they are to be assets; None if they are not."""
        if self.ingest is None or self.ingester is not None:
            return contextlib.nullcontext(self.ingester)
        return open_store(Path(self.ingest))

    def _signer(self, hosts: Hosts) -> Signer:
        file = None if self.secrets is None else Path(self.secrets)
        return signer_of(self.access, read_secrets(file), hosts)

    def _answer(self, desk: _Desk) -> Iterable[dict[str, Any]]:
        """The answer that is kept; if there is none, the catalogue's, which is kept if it has items."""
        answer = Answer(desk.folder / ANSWER_NAME, self.identity)
        if answer.asked is not None:
            return answer
        return answer if self._ask(desk.reader, answer, desk.site.log) else ()

    def _ask(self, reader: Reader, answer: Answer, log: RunLog) -> int:
        """Asks the catalogue, and keeps its answer, with the items of an earlier one that it has not any more."""
        before = answer if answer.asked is not None else ()
        count = answer.keep(with_others(noting(self._found(reader), self._signed), before), reader.unread)
        log.write("asked", stac=shown(self.stac), items=count, unread=len(reader.unread))
        for each in reader.unread:
            log.write("unread", address=each.address, error=each.reason)
        return count

    def _found(self, reader: Reader) -> Iterator[dict[str, Any]]:
        """The catalogue's items."""
        folder = file_of(self.stac)
        if folder is None or not (folder / SCHEMA_NAME).is_file():
            return _counted(items(self.search, reader))
        from eechips.catalogs.catalog import open_catalog

        region = self.search.region
        bounds = None if region is None else region.bounds
        catalog = open_catalog(folder)
        found = catalog.items(bbox=bounds, start=self.start, end=self.end, collections=self.collections)
        return _counted(chosen(((item, str(folder / SCHEMA_NAME)) for item in found), self.search, reader))

    def _units(self, found: Iterable[Mapping[str, Any]], unread: Sequence[Unread]) -> Iterator[Unit]:
        count = without = unknown = 0
        there: dict[str, None] = {}
        size = 0
        for item in found:
            keys = list(chosen_assets(item, self.asset_names))
            there |= dict.fromkeys(item["assets"])
            count += 1
            without += not keys
            for key in keys:
                unit = unit_of(item, key)
                promise = Promise.from_json(unit["promise"])
                size += promise.size or 0
                unknown += promise.is_unknown
                yield unit
        lost = told_unread(unread)
        if count == 0:
            raise UsageError(f"{shown(self.stac)} has no item that was asked for" + (f"; {lost}" if lost else ""))
        if without == count:
            raise UsageError(f"no item has the assets that were asked for; there are {', '.join(there) or 'none'}")
        lacking = f"; {without:,} more have none of the assets" if without else ""
        sizes = f", {human_bytes(size)}" if size else ""
        many = "1 item" if count - without == 1 else f"{count - without:,} items"
        _log.info("%s of %s%s%s", many, shown(self.stac), sizes, lacking)
        if unknown:
            told = f"{unknown:,} checksums are no multihashes, or of a kind that is not known here"
            _log.warning("%s: these files are checked by all else", told)
        if lost:
            _log.warning("%s", lost)


def _counted(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same items; of a search that takes long, how many they are is told."""
    last = time.monotonic()
    for count, item in enumerate(found):
        if time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            _log.info("%s items so far", f"{count:,}")
        yield item


def _told(unit: Unit) -> dict[str, Any]:
    return {name: unit[name] for name in ("collection", "item", "asset")} | {"href": shown(unit["href"])}


def _on_its_way(folder: Path, identifier: str) -> Path:
    """Where the file of a unit is before it has its name, and until that is in the ledger."""
    return folder / _PARTIAL / f"{identifier}.data"


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # something is on its way still, or never was
        folder.rmdir()


def _moment(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)


def _folder(recipe: Scenes) -> str:
    return f"scenes-{slug('-'.join(recipe.collections) or 'stac')}"


_OPTIONS = field_names(Scenes)


def scenes_recipe(options: Mapping[str, Any]) -> tuple[Scenes, RunConfig]:
    """The recipe and the run's config for the options of ``scenes``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    chosen = dict(options)
    for option in _OF_EARTH_ENGINE:
        if chosen.pop(option, None):
            raise UsageError(
                f"--{option.replace('_', '-')} is for Earth Engine and its workers: scenes asks a catalogue"
            )
    if chosen.pop("engine", "threads") not in ("threads", "processes"):
        raise UsageError("--engine is threads: transfers share connections, tokens and the rate")
    for name, value in {"read_timeout": _READ_TIMEOUT, "unit_timeout": _UNIT_TIMEOUT}.items():
        chosen.setdefault(name, value)
    recipe, config = split(Scenes, _OPTIONS, chosen, _folder)
    if config.results is not None:
        raise UsageError("scenes come into a folder, where what was cut goes on: --out DIR")
    return recipe, dataclasses.replace(config, engine="threads")


def refresh_scenes(recipe: Scenes, config: RunConfig) -> int:
    """Asks the catalogue of a run again, and adds what is new to its plan. Nothing is fetched yet.

    What the catalogue has not any more stays. What it has changed (another address, size or checksum) stays as it was,
    and is told.

    Args:
        recipe: of the run.
        config: of the run; where there is none yet, nothing happens.

    Returns:
        Units that were added.

    Raises:
        UsageError: if the folder holds another run, or is in use.
        ConfigurationError: if the catalogue does not answer.
    """
    if not (config.out / LEDGER_NAME).exists():
        return 0
    with locked(config.out), Ledger(config.out / LEDGER_NAME) as ledger, RunLog(config.out) as log:
        if not ledger.has_plan or not check_same(ledger, describe(recipe, config), config.out):
            return 0
        further = Further(ledger, recipe.identity, name_template(recipe, config))
        added = [planned for unit in recipe.ask_again(config.out, log) if (planned := further.of(unit)) is not None]
        Room(config.out).check(sum(json.loads(each.unit)["promise"].get("size") or 0 for each in added))
        ledger.add(added)
        log.write("refreshed", added=len(added), changed=len(further.changed))
        for unit in further.changed:
            log.write("changed", **_told(unit))
    kept = f"; {len(further.changed):,} that have changed stay as they were: another --out has them anew"
    _log.info("%s new%s", f"{len(added):,}", kept if further.changed else "")
    return len(added)


@overload
def scenes(
    stac: str, *, out: str | Path | None = None, refresh: bool = False, dry_run: Literal[True], **options: Any
) -> Estimate: ...
@overload
def scenes(
    stac: str, *, out: str | Path | None = None, refresh: bool = False, dry_run: Literal[False] = False, **options: Any
) -> Run: ...
@takes(Scenes, RunConfig)
def scenes(
    stac: str, *, out: str | Path | None = None, refresh: bool = False, dry_run: bool = False, **options: Any
) -> Run | Estimate:
    """Fetches whole scenes that a STAC search finds, one file for each asset, each checked.

    Args:
        stac: address of a STAC API or a static catalogue, or path or address of STAC GeoParquet.
        out: folder of the results; None for ``outputs/scenes-<collection>``.
        refresh: ask the catalogue again, and add what is new to the run that is there.
        dry_run: ask the catalogue only.
        options: those of ``Scenes`` and ``RunConfig``, but for those of Earth Engine.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong, or nothing was found.
        ConfigurationError: if the catalogue does not answer, or a secret is missing.

    Example:
        >>> run = eechips.scenes("https://earth-search.aws.element84.com/v1", collection="sentinel-2-l2a",
        ...                      roi="-105.3,39.8,-105.2,40.0", start="2023-06-01", end="2023-07-01",
        ...                      where="eo:cloud_cover < 20", assets="red,nir", max_items=4)
        >>> run.units[["file", "bytes", "crs"]]
    """
    recipe, config = scenes_recipe({"stac": str(stac), "out": out, "dry_run": dry_run, **options})
    if refresh and not dry_run:
        refresh_scenes(recipe, config)
    return fetch(recipe, config)
