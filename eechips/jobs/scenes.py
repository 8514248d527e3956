"""``eechips scenes``: whole scenes by STAC search, one file for each asset."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, overload

from eechips.downloads.address import bare, file_of, shown, suffix_of
from eechips.downloads.answer import ANSWER_NAME, Answer
from eechips.downloads.checks import Promise
from eechips.downloads.hosts import Hosts
from eechips.downloads.quarantine import quarantine, release
from eechips.downloads.rate import Rate, Room
from eechips.downloads.search import Search, items
from eechips.downloads.secret import read_secrets
from eechips.downloads.signing import Auth, AuthName, Signer, signer_of
from eechips.downloads.transfer import Courier, Order
from eechips.engine import Estimate, RunConfig
from eechips.engine.assembly import Results, Settled
from eechips.engine.log import RunLog
from eechips.engine.site import Site
from eechips.engine.worker import Placed
from eechips.errors import EechipsError, PermanentError, QuarantinedError, UsageError
from eechips.human import human_bytes
from eechips.jobs.options import check_dates, fetch, field_names, names_of, slug, split, takes
from eechips.manifest.run import Run
from eechips.planning.conditions import Condition, parse_condition
from eechips.planning.regions import AssetRegion, BoxRegion, FileRegion, parse_region
from eechips.recipe import Unit, canonical_json, unit_id
from eechips.storage import ID_LENGTH, LocalStore, safe_component

_log = logging.getLogger(__name__)

_VERSION = 1  # of what the units mean: changed when old ones would be transferred otherwise
_PARTIAL = "partial"
_READ_TIMEOUT, _UNIT_TIMEOUT = 60.0, 86400.0
"""Seconds: silence ends a request, and a large file may take a day."""
_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another go on, which may only have to hash or write what has come."""
_PICTURES = frozenset({"thumbnail", "overview", "visual", "metadata"})
_RASTERS = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff")
_OF_EARTH_ENGINE = (
    "local", "local_assets", "endpoint", "project", "credentials", "send_credentials", "scheduler", "pipeline_options",
)  # fmt: skip
_SHA256 = "1220"  # how a multihash of 32 bytes of sha2-256 begins (https://multiformats.io/multihash/)

Ingester = Callable[[Path, str, tuple[str, ...]], object]
"""Puts a scene into a store of assets: given its STAC item, whose files are here, the id of the image that it is to
become, and the names of its assets."""


@dataclass(slots=True)
class _Desk:
    """What the threads of a run share."""

    site: Site
    folder: Path
    hosts: Hosts
    signer: Signer
    courier: Courier
    room: Room


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """The recipe of ``eechips scenes``: a unit is an asset of an item, and its result is the file, as it is.

    The run is an ordinary one, in threads of one process: transfers wait for the network, and share connections,
    tokens and the bytes that they may use a second. Earth Engine is not asked.

    Attributes:
        stac: address of a STAC API or a static catalogue, or path or address of a STAC GeoParquet file.
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
        ingester: puts them there; the command line has one.
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
    ingester: Ingester | None = field(default=None, repr=False, compare=False)
    _desk: list[_Desk] = field(default_factory=list, init=False, repr=False, compare=False)

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
            raise UsageError("ingest needs an ingester: eechips scenes --ingest on the command line has one")
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
            signer, room = self._signer(hosts), Room(folder)
            is_here = file_of(self.stac) is not None
            courier = Courier(
                hosts, signer, transport, Rate(self.max_rate), room, site.unit_timeout, takes_files=is_here
            )
            self._desk.append(_Desk(site, folder, hosts, signer, courier, room))
            interval = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_INTERVAL)
            try:
                yield
            finally:
                sys.setswitchinterval(interval)
                self._desk.clear()
                with contextlib.suppress(OSError):  # something is on its way still, or never was
                    (folder / _PARTIAL).rmdir()

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
                yield from self._units(items(self.search, self._signer(hosts)))
            return
        (desk,) = self._desk
        answer = self._answer(desk)
        total = 0
        for unit in self._units(answer):
            identifier = unit_id(unit, self.identity)[:ID_LENGTH]
            fields = {"collection": unit["collection"], "item": unit["item"], "asset": unit["asset"]}
            desk.site.log.write("scene", id=identifier, step="query", **fields, href=shown(unit["href"]))
            total += unit["promise"].get("size") or 0
            yield unit
        desk.room.check(total)

    def get_result(self, index: int, unit: Unit) -> Any:
        """Transfers the file of a unit: an :class:`eechips.engine.worker.Placed`.

        Raises:
            QuarantinedError: if it came whole three times, and was wrong each time.
            RequestError: if it does not come.
            StorageError: if it cannot be written.
        """
        (desk,) = self._desk
        identifier = unit_id(unit, self.identity)[:ID_LENGTH]
        path = desk.folder / _PARTIAL / f"{identifier}.data"
        promise = Promise.from_json(unit["promise"])
        order = Order(href=unit["href"], collection=unit["collection"] or "", promise=promise, path=path)

        def tell(step: str, **fields: Any) -> None:
            desk.site.log.write("scene", id=identifier, step=step, **fields)

        try:
            arrived = desk.courier.fetch(order, tell)
        except QuarantinedError as error:
            told = {**_told(unit), "reason": str(error)}
            kept = quarantine(desk.folder, identifier, path, promise.suffix, told)
            path.with_suffix(".json").unlink(missing_ok=True)
            tell("quarantine", file=kept.name, error=str(error))
            raise
        except PermanentError:
            for left in (path, path.with_suffix(".json")):
                left.unlink(missing_ok=True)
            raise
        path.with_suffix(".json").unlink(missing_ok=True)
        release(desk.folder, identifier)
        return Placed(
            temporary=path.relative_to(desk.folder).as_posix(),
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
        answer = {(i.get("collection"), i["id"]): i for i in Answer(results.folder / ANSWER_NAME, self.identity)}
        scenes: dict[tuple[str | None, str], list[Settled]] = {}
        for settled in results:
            key = settled.unit["collection"], settled.unit["item"]
            scenes.setdefault(key, []).append(settled)
        ingested: list[str] = []
        refused: list[str] = []
        with RunLog(results.folder) as log:
            for key, parts in scenes.items():
                here = [part for part in parts if part.path is not None]
                if not here:
                    continue
                name = f"stac/{safe_component(key[0] or 'items')}/{safe_component(key[1])}.json"
                with results.make(name) as path:
                    path.write_text(json.dumps(_local_item(answer[key], here, name), indent=2, ensure_ascii=False))
                if self.ingester is None or len(here) < len(parts):
                    continue
                fields = {"ids": [unit_id(p.unit, self.identity)[:ID_LENGTH] for p in here], "step": "ingest"}
                try:
                    names = tuple(part.unit["asset"] for part in here)
                    asset = self._asset_id(*key)
                    self.ingester(results.folder / name, asset, names)
                except EechipsError as error:
                    refused.append(str(error))
                    log.write("scene", **fields, error=str(error))
                else:
                    ingested.append(asset)
                    log.write("scene", **fields, asset=asset)
        if self.ingester is not None:
            results.say(f"{len(ingested):,} of {len(scenes):,} scenes are assets in {self.ingest}")
        if refused:
            raise UsageError(f"{len(refused):,} scenes could not be ingested; the first: {refused[0]}")

    def kept(self, folder: Path) -> Answer | None:
        """The catalogue's answer of an earlier command, if a folder has it."""
        answer = Answer(folder / ANSWER_NAME, self.identity)
        return None if answer.asked is None else answer

    def _asset_id(self, collection: str | None, item: str) -> str:
        parent = self.asset_id or (f"scenes/{collection}" if collection else "scenes")
        return f"{parent}/{safe_component(item)}"

    def _signer(self, hosts: Hosts) -> Signer:
        file = None if self.secrets is None else Path(self.secrets)
        return signer_of(self.access, read_secrets(file), hosts)

    def _answer(self, desk: _Desk) -> Answer:
        answer = Answer(desk.folder / ANSWER_NAME, self.identity)
        if answer.asked is None:
            count = answer.keep(items(self.search, desk.signer))
            desk.site.log.write("asked", stac=shown(self.stac), items=count)
        return answer

    def _units(self, found: Iterable[Mapping[str, Any]]) -> Iterator[Unit]:
        count = without = 0
        there: dict[str, None] = {}
        size = 0
        for item in found:
            chosen = list(_chosen(item, self.asset_names))
            there |= dict.fromkeys(item["assets"])
            count += 1
            without += not chosen
            for key in chosen:
                unit = _unit(item, key)
                size += unit["promise"].get("size") or 0
                yield unit
        if count == 0:
            raise UsageError(f"{shown(self.stac)} has no item that was asked for")
        if without == count:
            raise UsageError(f"no item has the assets that were asked for; there are {', '.join(there) or 'none'}")
        lacking = f"; {without:,} more have none of the assets" if without else ""
        sizes = f", {human_bytes(size)}" if size else ""
        _log.info("%s items of %s%s%s", f"{count - without:,}", shown(self.stac), sizes, lacking)


def _chosen(item: Mapping[str, Any], names: Sequence[str] | None) -> Iterator[str]:
    """Keys of an item's assets that are asked for: by key, or by the name of their one band."""
    assets: Mapping[str, Mapping[str, Any]] = item["assets"]
    if names is None:
        yield from (
            (key for key, asset in assets.items() if _is_data(asset)) if any(map(_is_data, assets.values())) else assets
        )
        return
    by_band = {band: key for key, asset in assets.items() for band in _bands(asset)}
    seen = set()
    for name in names:
        key = name if name in assets else by_band.get(name)
        if key is not None and key not in seen:
            seen.add(key)
            yield key


def _is_data(asset: Mapping[str, Any]) -> bool:
    roles = set(asset.get("roles") or ())
    return "data" in roles or (not roles & _PICTURES and str(asset.get("type") or "").startswith(_RASTERS))


def _bands(asset: Mapping[str, Any]) -> list[str]:
    """The names of an asset's band, if it has one."""
    for name in ("bands", "eo:bands"):
        listed = asset.get(name)
        if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict):
            names = (listed[0].get("name"), listed[0].get("eo:common_name"), listed[0].get("common_name"))
            return [str(each) for each in names if each]
    return []


def _unit(item: Mapping[str, Any], key: str) -> Unit:
    asset, properties = item["assets"][key], item.get("properties") or {}
    href = bare(asset["href"])
    moment = properties.get("datetime") or properties.get("start_datetime")
    return {
        "kind": "scene",
        "collection": item.get("collection"),
        "item": item["id"],
        "asset": key,
        "href": href,
        **({"datetime": moment} if moment else {}),
        "promise": Promise.of(asset, properties, suffix_of(href)).to_json(),
    }


def _told(unit: Unit) -> dict[str, Any]:
    return {name: unit[name] for name in ("collection", "item", "asset")} | {"href": shown(unit["href"])}


def _local_item(item: Mapping[str, Any], parts: Sequence[Settled], name: str) -> dict[str, Any]:
    """A STAC item whose assets are the files that are here, with their sizes and checksums."""
    up = "../" * (len(PurePosixPath(name).parts) - 1)
    assets = {
        part.unit["asset"]: {
            **item["assets"][part.unit["asset"]],
            "href": up + str(part.record.file),
            "file:size": part.record.bytes,
            "file:checksum": _SHA256 + str(part.record.sha256),
        }
        for part in parts
    }
    # Those of its own are to where it came from: relative ones lead nowhere from here.
    links = [link for link in item.get("links") or () if str(link.get("href", "")).startswith(("http:", "https:"))]
    return {**item, "assets": assets, "links": links}


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


@overload
def scenes(stac: str, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any) -> Estimate: ...
@overload
def scenes(stac: str, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any) -> Run: ...
@takes(Scenes, RunConfig)
def scenes(stac: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Fetches whole scenes that a STAC search finds, one file for each asset, each checked.

    Args:
        stac: address of a STAC API or a static catalogue, or path or address of a STAC GeoParquet file.
        out: folder of the results; None for ``outputs/scenes-<collection>``.
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
    return fetch(*scenes_recipe({"stac": stac, "out": out, "dry_run": dry_run, **options}))
