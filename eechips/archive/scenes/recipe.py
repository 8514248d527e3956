"""The recipe of ``eechips scenes``: whole scenes by STAC search, one file for each asset; checks of its options, and
the estimate of a dry run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from eechips.archive.downloads.criteria import Search
from eechips.archive.downloads.document_reader import POLICY, DocumentReader
from eechips.archive.downloads.downloader import Downloader
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.presigned import PresignedUrls
from eechips.archive.downloads.search_cache import SEARCH_CACHE_NAME, SearchCache
from eechips.archive.downloads.signers import Signer, matches_host, read_secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.archive.downloads.transfer_limits import BandwidthLimiter, check_free
from eechips.archive.scenes.assembly import assemble_scenes, check_store, open_store
from eechips.archive.scenes.download import SceneContext, remove_if_empty
from eechips.archive.scenes.scenes_options import ScenesOptions
from eechips.archive.scenes.search import SceneSearch
from eechips.builtin_recipes.recipe_options import check_dates, split_names
from eechips.engine.costs.cost_descriptions import Estimate
from eechips.engine.results.result_assembly import Results
from eechips.engine.run_context import RunContext
from eechips.engine.run_log import RunLog
from eechips.errors import StorageError, UsageError
from eechips.planning.areas.regions import AssetRegion, BoxRegion, FileRegion, parse_region
from eechips.planning.imagery.image_filters import PropertyCondition, parse_conditions
from eechips.processes.warning_filters import ignore_warning
from eechips.recipe import Unit, canonical_json, unit_id
from eechips.storage import ID_LENGTH, LocalStore
from eechips.text.timestamps import parse_timestamp
from eechips.web.urls import display_url, identity_url, local_path

_VERSION = 1  # of the units: increased when stored units would be downloaded differently
READ_TIMEOUT = 60.0
"""Seconds without a byte after which a request ends."""


class Scenes:
    """The recipe of ``eechips scenes``: a unit is an asset of an item, and its result is the file, unchanged.

    The run uses threads of one process: downloads wait for the network, and share connections, tokens and the
    bandwidth. It does not use Earth Engine.

    Attributes:
        refused: ids of the items that the store of assets has refused.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    name = "scenes"
    is_builtin = True
    name_template = "scenes/{item}/{asset}"
    needs_service = False
    is_foreign = True
    is_concurrent = True
    slots = 10
    datasets = ()

    def __init__(self, **options: Any) -> None:
        self.options = chosen = ScenesOptions(**options)
        self.refused: list[str] = []
        self._context: list[SceneContext] = []
        if chosen.max_items is not None and chosen.max_items < 1:
            raise UsageError(f"max_items must be at least 1, not {chosen.max_items}")
        if chosen.per_host < 1:
            raise UsageError(f"per_host must be at least 1, not {chosen.per_host}")
        if chosen.max_rate is not None and not chosen.max_rate > 0:
            raise UsageError(f"max_rate must be above 0 bytes a second, not {chosen.max_rate:g}")
        if chosen.assets is not None and not all(self.asset_names or ("",)):
            raise UsageError("assets must name at least one asset: A,B,C")
        if chosen.ingest is not None:
            check_store()
        if chosen.asset_id is not None and chosen.ingest is None:
            raise UsageError("asset_id names the collection of ingested scenes: set `ingest`, too")
        check_dates(chosen.start, chosen.end)
        _ = self.access, self.search  # reports errors before the folder is created

    @cached_property
    def collections(self) -> tuple[str, ...]:
        """Ids of the requested collections."""
        return split_names(self.options.collection) if self.options.collection else ()

    @cached_property
    def asset_names(self) -> tuple[str, ...] | None:
        """Names of the requested assets; None for the default."""
        return None if self.options.assets is None else split_names(self.options.assets)

    @cached_property
    def conditions(self) -> tuple[PropertyCondition, ...]:
        """Parsed conditions."""
        return parse_conditions(self.options.where or ())

    @cached_property
    def access(self) -> Auth:
        """Authorisation of the downloads."""
        hosts = split_names(self.options.auth_host) if self.options.auth_host else ()
        return Auth(
            kind=self.options.auth,
            hosts=hosts,
            token_url=self.options.token_url,
            requester_pays=self.options.requester_pays,
        )

    @cached_property
    def _kept_names(self) -> tuple[str, ...]:
        return split_names(self.options.keep_query) if self.options.keep_query else ()

    @cached_property
    def search(self) -> Search:
        """Criteria of the search."""
        region = self._region
        return Search(
            stac=self.options.stac,
            collections=self.collections,
            region=None if region is None else region.polygon() if isinstance(region, BoxRegion) else region.polygon,
            start=None if self.options.start is None else parse_timestamp(self.options.start),
            end=None if self.options.end is None else parse_timestamp(self.options.end),
            conditions=self.conditions,
            most=self.options.max_items,
        )

    @cached_property
    def _region(self) -> BoxRegion | FileRegion | None:
        if self.options.roi is None:
            return None
        region = parse_region(self.options.roi, crs=self.options.input_crs)
        if isinstance(region, (BoxRegion, FileRegion)):
            return region
        assert isinstance(region, AssetRegion)
        raise UsageError(
            f"roi {self.options.roi}: tables of Earth Engine cannot be read here; use W,S,E,N or a vector file"
        )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters that select scenes, as JSON; not those of the transfer."""
        region = self._region
        return {
            "stac": identity_url(self.options.stac, self._kept_names),
            "collection": list(self.collections),
            "roi": None if region is None else region.parameters,
            "start": self.options.start,
            "end": self.options.end,
            "where": [str(condition) for condition in self.conditions],
            "assets": None if self.asset_names is None else list(self.asset_names),
            "max_items": self.options.max_items,
        }

    @cached_property
    def identity(self) -> str:
        """Sha256 of the parameters, hexadecimal."""
        content = {"scenes": _VERSION, **self.parameters}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    @cached_property
    def catalogue(self) -> SceneSearch:
        """The search with its cache."""
        return SceneSearch(
            search=self.search,
            start=self.options.start,
            end=self.options.end,
            assets=self.asset_names,
            prefers=lambda href: matches_host(href, self.access.hosts),
            identity=self.identity,
            keep_query=self._kept_names,
        )

    @property
    def assembly(self) -> dict[str, Any]:
        """Target of the assembly; it differs after failures, so that they are retried."""
        where = {
            "ingest": None if self.options.ingest is None else str(Path(self.options.ingest).absolute()),
            "id": self.options.asset_id,
        }
        return where | ({"refused": len(self.refused)} if self.refused else {})

    @contextlib.contextmanager
    def lifespan(self, context: RunContext) -> Iterator[None]:
        """Open the objects that the threads of the run share, for the duration of the block.

        Raises:
            UsageError: if the results go into an object store.
            ConfigurationError: if a secret is missing.
        """
        from rasterio.errors import NotGeoreferencedWarning

        if not isinstance(context.store, LocalStore):
            raise UsageError("scenes need a local folder, in which downloads resume: set `out`")
        folder, transport, timeouts = context.store.root, context.transport, context.config.timeouts
        ignore_warning(NotGeoreferencedWarning)
        with HostSessions(self.options.per_host, timeouts.connect, timeouts.read, self.options.stac) as hosts:
            patience = dataclasses.replace(POLICY, retries=min(POLICY.retries, transport.policy.retries))
            inner = self._signer(hosts)
            reader = DocumentReader(hosts, inner, patience, transport.pause)
            signer = self._given(inner, reader, context.log, folder, transport.pause)
            is_here = local_path(self.options.stac) is not None
            limiter = BandwidthLimiter(self.options.max_rate)
            downloader = Downloader(
                hosts, signer, transport, limiter, folder, context.config.unit_timeout, allows_files=is_here
            )
            self._context.append(SceneContext(context, folder, reader, downloader))
            try:
                with downloader:
                    yield
            finally:
                self._context.clear()
                remove_if_empty(folder)

    def get_requests(self) -> Iterator[Unit]:
        """Search the catalogue, or read the cached result, and yield a unit for each asset.

        Yields:
            ``{"kind": "scene", "collection", "item", "asset", "href", "datetime", "expected"}``.

        Raises:
            UsageError: if nothing was found, or no item has the requested assets.
            ConfigurationError: if the catalogue does not respond.
            StorageError: if the disk has no room for the files.
        """
        if not self._context:  # a dry run
            with HostSessions(self.options.per_host, READ_TIMEOUT, READ_TIMEOUT, self.options.stac) as hosts:
                reader = DocumentReader(hosts, self._signer(hosts))
                yield from self.catalogue.units(self.catalogue.items(reader), reader.unread)
            return
        (context,) = self._context
        answer = self.catalogue.answer(context.folder, context.reader, context.run.log)
        total = 0
        for unit in self.catalogue.units(answer, context.reader.unread):
            identifier = unit_id(unit, self.identity)[:ID_LENGTH]
            fields = {"collection": unit["collection"], "item": unit["item"], "asset": unit["asset"]}
            context.run.log.write("scene", id=identifier, step="query", **fields, href=display_url(unit["href"]))
            total += unit["expected"].get("size") or 0
            yield unit
        check_free(context.folder, total)

    def get_result(self, index: int, unit: Unit) -> Any:
        """Download the file of a unit, and return an :class:`eechips.recipe.results.ExistingFile`.

        Raises:
            QuarantinedError: if the complete file was wrong three times.
            RequestError: if the download fails.
            StorageError: if the file cannot be written.
        """
        (context,) = self._context
        return context.fetch(unit, unit_id(unit, self.identity)[:ID_LENGTH])

    def estimate(self, units: Iterable[Unit]) -> Estimate:
        """Estimate the download from the sizes that the catalogue states."""
        count = 0
        sizes: list[int | None] = []
        for unit in units:
            count += 1
            sizes.append(unit["expected"].get("size"))
        known = [size for size in sizes if size is not None]
        total = round(sum(known) * count / len(known)) if known else None
        return Estimate(units=count, requests=count, bytes=total, seconds=None)

    def assemble(self, results: Results) -> None:
        """Write a STAC item beside the files of each item, and add complete scenes to a store of assets.

        Raises:
            StorageError: if the cached search is missing, or the store of assets cannot be written.
        """
        kept = self.kept(results.folder)
        if kept is None:
            message = f"{results.folder / SEARCH_CACHE_NAME} is missing, and with it the items of the scenes"
            raise StorageError(f"{message}: restore it, or choose another folder")
        into = None if self.options.ingest is None else Path(self.options.ingest)
        with contextlib.nullcontext() if into is None else open_store(into) as put:
            self.refused[:] = assemble_scenes(
                results, kept, self.identity, put=put, into=into, asset_id=self.options.asset_id
            )

    def ask_again(self, folder: Path, log: RunLog) -> Iterator[Unit]:
        """Search the catalogue again, and yield a unit for each asset that it has now or had before.

        Raises:
            UsageError, ConfigurationError: see :meth:`get_requests`.
        """
        with HostSessions(self.options.per_host, READ_TIMEOUT, READ_TIMEOUT, self.options.stac) as hosts:
            reader = DocumentReader(hosts, self._signer(hosts))
            yield from self.catalogue.units(self.catalogue.ask(folder, reader, log), reader.unread)

    def kept(self, folder: Path) -> SearchCache | None:
        """Return the cached search of an earlier command, if the folder has one."""
        return self.catalogue.kept(folder)

    def _given(
        self, inner: Signer, reader: DocumentReader, log: RunLog, folder: Path, pause: Callable[[float], None]
    ) -> PresignedUrls:
        """Return a signer that uses the presigned URLs of this command and of earlier ones."""
        kept = self.kept(folder)
        before = () if kept is None else kept.signed
        return PresignedUrls(
            inner, self.catalogue.signed, before, lambda: self.catalogue.sign_again(reader, log), pause
        )

    def _signer(self, hosts: HostSessions) -> Signer:
        file = None if self.options.secrets is None else Path(self.options.secrets)
        return make_signer(self.access, read_secrets(file), hosts)
