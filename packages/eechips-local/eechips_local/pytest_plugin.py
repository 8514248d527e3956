"""Test code that uses Earth Engine against the local one, with pytest.

pytest loads this module wherever eechips-local is installed, so it imports nothing else of it until a test needs it.

- The fixture ``earth_engine`` connects ``ee`` to a local Earth Engine for one test, ``earth_engine_session`` from the
  first test that asks for it to the end of the session.
- ``pytest --earth-engine`` connects it before the first conftest is imported, for all tests.

The server is a process of its own for each process of pytest-xdist. It serves the demo planet, the folder of assets of
the ini option ``earth_engine_assets``, and what tests ingest. Tasks (``ee.batch.Export``) write to folders of the
session; the ini options ``earth_engine_asset_bytes`` and ``earth_engine_asset_count`` limit exported assets.
With the ini option ``earth_engine_datasets`` the server has stubs of other datasets as well. With
``earth_engine_archives`` it reads open archives, and has no demo planet.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from eechips_local.server_process import AnsweredRequest, ServerProcess

_IN_FLIGHT = 40
_WORKERS = 2  # a heavy request does not keep the others waiting
_XDIST_WORKER = "PYTEST_XDIST_WORKER"
"""Variable that pytest-xdist sets in the processes that run tests:
https://pytest-xdist.readthedocs.io/en/stable/how-to.html#identifying-the-worker-process-during-a-test"""


class EarthEngine:
    """The local Earth Engine of a test.

    Faults, limits, latency and the list of requests begin anew with each test. Ingested assets, exported files and
    exported assets stay until the end of the session.

    Attributes:
        url: address of the server; ``ee`` is already connected to it.
        project: name of the project of requests.
        assets: folder of the ingested assets.
        drive: folder that stands for Google Drive.
        buckets: folder of folders that stand for buckets of Cloud Storage.
    """

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        from eechips_local.server_process import PROJECT

        self._server = server
        self.url, self.project, self.assets = server.url, PROJECT, folder / "assets"
        self.drive, self.buckets = folder / "drive", folder / "buckets"

    @property
    def requests(self) -> list[AnsweredRequest]:
        """Requests since the beginning of the test, in the order of their responses."""
        return self._server.requests()

    def set_faults(self, faults: Sequence[Mapping[str, Any]] = (), *, seed: int = 0) -> None:
        """Inject faults into the responses of this test.

        Args:
            faults: each with its ``type``, and ``on``, ``probability``, ``times``, ``after``, ``status``,
                ``retry_after``, ``seconds``, as in the plan of ``serve --faults``. Without any, no faults.
            seed: seed of the probabilities.

        Raises:
            ValueError: if the server refuses the plan.

        Example:
            >>> earth_engine.set_faults([{"type": "status", "status": 503, "on": "value:compute", "times": 2}])
        """
        self._server.set_faults(faults, seed=seed)

    def set_quota(self, **limits: Any) -> None:
        """Change limits of the project for this test.

        Args:
            **limits: ``concurrency``, ``rate`` (a second), ``minute``, ``eecu_hours``, ``restricted``; None for no
                limit.

        Raises:
            ValueError: if the server refuses a limit.
        """
        self._server.set_quota(**limits)

    def set_latency(self, latency: str | None) -> None:
        """Add time to the responses of this test: seconds, ``lognormal:MEDIAN,SIGMA``, or by kind; None for none.

        Raises:
            ValueError: if the server refuses it.
        """
        self._server.set_latency(latency)

    def ingest(self, files: str | Path | Sequence[str | Path], asset_id: str, **options: Any) -> None:
        """Make files an asset, as ``eechips-local assets ingest`` does.

        Args:
            files: rasters or vector files.
            asset_id: id of the asset, or of the collection if there are several files.
            **options: options of ``assets ingest``: ``time_start``, ``bands``, ``properties``, ``crs``, ``nodata``.

        Raises:
            eechips_local.assets.AssetError: if a file cannot be ingested, or the asset exists.
        """
        from eechips_local.assets import ingest

        ingest(files, self.assets, asset_id, **options)

    def reset(self) -> None:
        """Return to no faults, no latency and the usual limits, and forget the requests."""
        self._server.set_faults()
        self._server.set_quota(concurrency=_IN_FLIGHT, rate=None, minute="auto", eecu_hours=None, restricted=False)
        self._server.set_latency(None)
        self._server.keep_requests()


class EarthEngineSession:
    """Starts the local Earth Engine when it is needed first, and stops it at the end.

    Args:
        assets: folder of assets that is copied for the session; None for none.
        asset_bytes: number of bytes of the asset of the assets of a project that tests export; None for no limit.
        asset_count: number of these assets, likewise.
        datasets: datasets of which datasets stubs are served: "all", or a folder of STAC collections; None for none.
        archives: open archives that are served instead of the demo planet: names, addresses of STAC APIs, files.
        clouds: the sky over scenes of the demo planet, as ``--demo-clouds`` takes it.
    """

    def __init__(
        self,
        assets: Path | None,
        *,
        asset_bytes: int | None = None,
        asset_count: int | None = None,
        datasets: str | Path | None = None,
        archives: Sequence[str] = (),
        clouds: str | None = None,
    ) -> None:
        self._datasets, self._archives, self._clouds = datasets, archives, clouds
        self._given, self._asset_bytes, self._asset_count = assets, asset_bytes, asset_count
        self._stack = ExitStack()
        self._running: EarthEngine | None = None
        self._connection = ExitStack()
        self._users = 0

    def start(self) -> EarthEngine:
        """Return the local Earth Engine; start it unless it is running."""
        if self._running is None:
            from eechips_local.assets.store_files import temporary_folder
            from eechips_local.server_process import server_process

            self._stop_on_termination()
            folder = self._stack.enter_context(temporary_folder())
            self._fill(folder / "assets")
            options = {
                "assets": folder / "assets", "concurrency": _IN_FLIGHT, "rate": "none", "workers": _WORKERS,
                "drive": folder / "drive", "buckets": folder / "buckets", "export-assets": folder / "exported",
                "asset-bytes": self._asset_bytes, "asset-count": self._asset_count, "demo-datasets": self._datasets,
                "demo-clouds": self._clouds,
            }  # fmt: skip
            arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
            sources = [f"--archive={archive}" for archive in self._archives]
            server = server_process("--no-demo" if sources else "--demo", *sources, *arguments)
            self._running = EarthEngine(self._stack.enter_context(server), folder)
        return self._running

    def connect(self, stack: ExitStack) -> EarthEngine:
        """Connect ``ee``, and what reads variables of the environment, until this and all other stacks are closed.

        Calls of ``ee.Initialize`` and ``ee.Authenticate`` by the tested code then do nothing. What an earlier test
        has disconnected (``ee.data.reset``) is connected anew.
        """
        import ee

        engine = self.start()
        if not self._users:
            self._connect(engine)
        elif not ee.data.is_initialized():
            engine._server.initialize()
        self._users += 1
        stack.callback(self._leave)
        return engine

    def connect_later(self, stack: ExitStack) -> None:
        """Connect ``ee``, as :meth:`connect` does, when ``ee.Initialize`` is called."""
        import ee

        from eechips_local.replaced_client import keep_credentials

        waiting = pytest.MonkeyPatch()
        stack.callback(waiting.undo)

        def initialize(*_: Any, **__: Any) -> None:
            waiting.undo()
            if not self._users:
                self.connect(stack)

        waiting.setattr(ee, "Initialize", initialize)
        keep_credentials(waiting)

    def _connect(self, engine: EarthEngine) -> None:
        import ee

        from eechips_local.replaced_client import do_nothing, initialize_only, keep_credentials, redirect_catalogue

        environment = pytest.MonkeyPatch()
        self._connection.callback(environment.undo)
        environment.setenv("EECHIPS_ENDPOINT", engine.url)
        environment.setenv("EECHIPS_PROJECT", engine.project)
        engine._server.initialize()
        self._connection.callback(ee.Reset)
        environment.setattr(ee, "Initialize", initialize_only(engine.url, ee.Initialize))
        environment.setattr(ee, "Reset", do_nothing)
        keep_credentials(environment)
        redirect_catalogue(environment, f"{engine.url}/catalog")

    def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._connection.close()

    def stop(self) -> None:
        """Stop the server, and remove its folder."""
        self._stack.close()
        self._running = None

    def _stop_on_termination(self) -> None:
        """Stop before SIGTERM ends this process, unless the tests handle it themselves; forks of it stop nothing."""
        owner = os.getpid()

        def terminate(number: int, frame: FrameType | None) -> None:
            signal.signal(number, signal.SIG_DFL)
            if os.getpid() == owner:
                self.stop()
            os.kill(os.getpid(), number)

        is_main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, terminate)
            self._stack.callback(signal.signal, signal.SIGTERM, signal.SIG_DFL)

    def _fill(self, folder: Path) -> None:
        if self._given is not None:
            shutil.copytree(self._given, folder)
            return
        from eechips_local.assets.ingestion.publish import create

        create(folder)


_SESSION = pytest.StashKey[EarthEngineSession]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("earth-engine", "Earth Engine without a network (eechips-local)")
    group.addoption(
        "--earth-engine",
        action="store_true",
        help="connect ee to a local Earth Engine, for all tests; ee.Initialize and ee.Authenticate then do nothing",
    )
    parser.addini("earth_engine_assets", "folder of assets that the local Earth Engine serves", type="paths")
    parser.addini(
        "earth_engine_datasets",
        'synthetic stubs that the local Earth Engine serves: "all", or a folder of STAC collections',
        default="",
    )
    parser.addini(
        "earth_engine_archives",
        "open archives that the local Earth Engine reads: earth-search, the address of a STAC API, a file",
        type="args",
    )
    parser.addini(
        "earth_engine_clouds",
        "sky over scenes of the demo planet: climate, clear, scattered (clouds in each), overcast",
        default="",
    )
    parser.addini("earth_engine_asset_bytes", "most bytes of the assets of a project that tests export")
    parser.addini("earth_engine_asset_count", "most assets of a project that tests export")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """With ``--earth-engine`` connect before any conftest is imported: it may call Earth Engine."""
    if early_config.known_args_namespace.earth_engine:
        _open_session(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare the session before other plugins and conftests, unless that has been done."""
    _open_session(config)


def _open_session(config: pytest.Config) -> None:
    """Prepare the session. With ``--earth-engine`` connect at once: modules may call Earth Engine when imported.

    Raises:
        pytest.UsageError: if an ini option is wrong.
    """
    if _SESSION in config.stash:
        return
    folders = config.getini("earth_engine_assets")
    if len(folders) > 1:
        raise pytest.UsageError(f"earth_engine_assets names {len(folders)} folders; it takes one")
    if folders and not folders[0].is_dir():
        raise pytest.UsageError(f"earth_engine_assets: there is no folder {folders[0]}")
    session = config.stash[_SESSION] = EarthEngineSession(
        folders[0] if folders else None,
        asset_bytes=_limit(config, "earth_engine_asset_bytes"),
        asset_count=_limit(config, "earth_engine_asset_count"),
        datasets=_datasets(config),
        archives=_archives(config),
        clouds=_clouds(config),
    )
    config.add_cleanup(session.stop)  # it also runs when a conftest cannot be imported
    if config.known_args_namespace.earth_engine:
        connection = ExitStack()
        config.add_cleanup(connection.close)  # before the session stops
        connect = session.connect_later if _only_distributes(config) else session.connect
        connect(connection)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--earth-engine``, begin each test anew."""
    if not config.getoption("earth_engine"):
        return
    for item in items:
        if isinstance(item, pytest.Function) and "earth_engine" not in item.fixturenames:
            item.fixturenames.insert(0, "earth_engine")


@pytest.fixture
def earth_engine(pytestconfig: pytest.Config) -> Iterator[EarthEngine]:
    """Connect ``ee`` to a local Earth Engine for one test."""
    with ExitStack() as stack:
        engine = pytestconfig.stash[_SESSION].connect(stack)
        engine.reset()
        stack.callback(engine.reset)
        yield engine


@pytest.fixture(scope="session")
def earth_engine_session(pytestconfig: pytest.Config) -> Iterator[EarthEngine]:
    """Connect ``ee`` to a local Earth Engine until the end of the session, for fixtures that outlive a test."""
    with ExitStack() as stack:
        yield pytestconfig.stash[_SESSION].connect(stack)


def _limit(config: pytest.Config, name: str) -> int | None:
    """Return the number of an ini option; None without one."""
    text = str(config.getini(name) or "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise pytest.UsageError(f"{name} is a number of at least 1, not {text}")
    return int(text) if text else None


def _datasets(config: pytest.Config) -> str | Path | None:
    """Return which stubs are served, as ``--demo-datasets`` takes it."""
    named = str(config.getini("earth_engine_datasets"))
    if named in ("", "all"):
        return named or None
    folder = (config.inipath.parent if config.inipath else config.rootpath) / named
    if not folder.is_dir():
        raise pytest.UsageError(f'earth_engine_datasets is neither "all" nor a folder: {folder}')
    return folder


def _clouds(config: pytest.Config) -> str | None:
    """Return the sky over scenes of the demo planet; None for its climate."""
    from eechips_local.server_options import clouds

    sky = str(config.getini("earth_engine_clouds"))
    if not sky:
        return None
    if config.getini("earth_engine_archives"):
        raise pytest.UsageError("earth_engine_clouds is of the demo planet, which earth_engine_archives replace")
    try:
        return clouds(sky)
    except ValueError as error:
        raise pytest.UsageError(f"earth_engine_clouds: {error}") from error


def _archives(config: pytest.Config) -> tuple[str, ...]:
    """Return the open archives; files are beside the ini file, as folders are."""
    named = tuple(config.getini("earth_engine_archives"))
    if named and _datasets(config) is not None:
        raise pytest.UsageError(
            "earth_engine_archives has real pixels, and earth_engine_datasets synthetic ones: set one of them"
        )
    if not named:
        return ()
    from eechips_local.server_options import OptionError, find_archives

    folder = config.inipath.parent if config.inipath else config.rootpath
    texts = tuple(str(folder / archive) if (folder / archive).is_file() else archive for archive in named)
    try:
        find_archives(texts)
    except OptionError as error:
        raise pytest.UsageError(f"earth_engine_archives: {error}") from error
    return texts


def _only_distributes(config: pytest.Config) -> bool:
    """Return whether this process runs no tests itself: pytest-xdist starts others for them."""
    arguments = config.known_args_namespace
    if arguments.collectonly or getattr(arguments, "usepdb", False) or _XDIST_WORKER in os.environ:
        return False
    processes = getattr(arguments, "numprocesses", None)
    if processes is None:
        return bool(getattr(arguments, "dist", "no") != "no" or getattr(arguments, "distload", False))
    return bool(processes)
