"""Declare the required and optional members of a recipe, such as ``get_requests``, ``redraw``, ``assemble``,
``estimate`` and ``extend_plan``.

Every recipe is a :class:`Recipe`. Its optional class attributes are the fields of :class:`RecipeTraits`, and its
optional methods are the ``Supports…`` protocols. Nothing else of a recipe is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from eechips.geo.grid import Grid
from eechips.recipe.results import Result
from eechips.recipe.units import Unit

RecipeT = TypeVar("RecipeT")

Redraw = Callable[[Sequence[tuple[Any, int]]], Sequence[Any]]
"""Draw units that replace empty ones.

The argument is pairs of a unit of the plan and the number of the draw, from 1. The function returns a unit for each
pair, or None if there is none. The result depends on the pair alone, so that a resumed run draws the same units, and
all returned units differ from each other and from those of the plan. Called in the parent, one call at a time, in a
separate thread.
"""


class Recipe(Protocol):
    """Define the units of a run and their results. Instances are pickled and sent to the workers."""

    @property
    def name(self) -> str:
        """Short name: ``sample``, ``timeseries``, or the stem of a script."""

    @property
    def identity(self) -> str:
        """SHA-256, in hexadecimal, of everything that changes results."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON, written to run.json and compared when a run is resumed."""

    @property
    def datasets(self) -> Sequence[str]:
        """Ids of the assets that are read, for licences and citations."""

    def get_requests(self) -> Iterable[Any]:
        """Return the units of the plan, or small JSON values.

        Called once, in the parent, with Earth Engine initialised.
        """

    def get_result(self, index: int, unit: Any) -> Result:
        """Return the result of one unit. Called in a worker, perhaps more than once.

        A unit may have several results, ``{"S2": Chip(...), "DEM": Chip(...)}``: a file for each, with the name of the
        unit and the key (``chips/0123abcd.S2.tif``). They are fetched and checked together, and either all or none are
        recorded. The manifest has the first; ``layers.parquet`` has all. If one has no valid pixel, the unit is empty.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeTraits:
    """The optional attributes of a recipe. An attribute that a recipe does not have keeps the default.

    Attributes:
        needs_service: the run connects to Earth Engine. Without it, the run asks for no credentials and does not
            initialise the client.
        is_builtin: the code is part of eechips, so an unexpected exception is an ``InternalError``.
        is_foreign: the files are copies of published ones. They are verified by their checksums alone, not decoded.
        is_concurrent: several threads may call ``get_result`` at once.
        plans_gradually: ``get_requests`` is a generator that sends requests between units. It may run in a separate
            thread while the first units are fetched.
        name_template: template of the results' names, unless the user gives one; None for ``chips/{id}``.
        imports: modules that the recipe imports, which workers can load in advance.
        slots: concurrent units of a recipe that needs no service; None for one per core.
        path: file of the recipe, if it has one.
        export_obstacle: why no result can be exported by a batch task, a clause; None if chips may be.
    """

    needs_service: bool = True
    is_builtin: bool = False
    is_foreign: bool = False
    is_concurrent: bool = False
    plans_gradually: bool = False
    name_template: str | None = None
    imports: Sequence[str] = ()
    slots: int | None = None
    path: Path | None = None
    export_obstacle: str | None = None


def traits_of(recipe: Recipe) -> RecipeTraits:
    """Return the optional attributes of a recipe."""
    names = [field.name for field in dataclasses.fields(RecipeTraits)]
    return RecipeTraits(**{name: getattr(recipe, name) for name in names if hasattr(recipe, name)})


@runtime_checkable
class SupportsCall(Protocol):
    """A recipe that a command makes of options: run.json records them, so that the recipe can be made again."""

    @property
    def call(self) -> tuple[str, Mapping[str, Any]]:
        """The name of the command, and the options that differ from their defaults, as JSON values."""


@runtime_checkable
class SupportsInputs(Protocol):
    """A recipe that plans from files of the user, which are checked first."""

    def read_inputs(self) -> None:
        """Read the files, before any process is started or request sent.

        Raises:
            EechipsError: if one cannot be used.
        """


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """Size of a plan that is not complete.

    Attributes:
        points: longitude and latitude of all units of the plan.
        batch: units that are planned by the same requests, at most.
        reads_pixels: whether the plan reads pixels of each unit, so that its compute grows with the number of units.
    """

    points: Sequence[tuple[float, float]]
    batch: int
    reads_pixels: bool = False


@runtime_checkable
class SupportsPreview(Protocol):
    """A recipe that knows the size of its plan before it sends requests for every unit."""

    def preview_plan(self) -> PlanPreview:
        """Choose the units; again the same ones if they were chosen before."""

    def plan_units(self, positions: Sequence[int]) -> Iterator[Unit]:
        """Plan some of the units of a preview, by requests that are the same for the same positions.

        Args:
            positions: positions of the units, ascending.
        """


@runtime_checkable
class SupportsSize(Protocol):
    """A recipe whose run fails at the start if its results do not fit on the disk."""

    def sized_result(self, index: int, unit: Any) -> Result:
        """Return the same as ``get_result``, with the pixel type if the planner knows it.

        Called in the parent; sends no request.
        """


RequestWindow = Callable[[Any], "tuple[Hashable, Grid] | None"]
"""Return what units must have in common to share a request, and the pixels of a unit; None if it is fetched alone.

The key is equal for units whose images differ in their window only, or whose images are bands of one request on equal
pixels. Called in the parent; sends no request.
"""


@runtime_checkable
class SupportsSharedRequests(Protocol):
    """A recipe whose units lie on known pixels, so that neighbours may be fetched in one request.

    Workers compare what the recipe returns for the units, and share a request only between chips whose images are equal
    but for the window; see :attr:`eechips.recipe.results.Template.window_values`.
    """

    @property
    def request_window(self) -> RequestWindow | None:
        """The function that returns the pixels of a unit; None if every unit is fetched alone."""


def request_window_of(recipe: Recipe) -> RequestWindow | None:
    """Return the function of a recipe by which its units share requests; None if it has none."""
    return recipe.request_window if isinstance(recipe, SupportsSharedRequests) else None


@runtime_checkable
class SupportsEstimate(Protocol):
    """A recipe that estimates its own cost, since its units send no requests to Earth Engine."""

    def estimate(self, units: Iterable[Unit]) -> Any:
        """Return the ``eechips.engine.costs.cost_descriptions.Estimate`` of a plan."""


@runtime_checkable
class SupportsReplacement(Protocol):
    """A recipe that can replace empty units."""

    @property
    def redraw(self) -> Redraw | None:
        """The function that draws replacements; None if the recipe has none."""


@runtime_checkable
class SupportsAssembly(Protocol):
    """A recipe that makes files from all results."""

    @property
    def assemble(self) -> Callable[[Any], None] | None:
        """The function that makes the files; None if there is none.

        Its argument is an ``eechips.engine.results.result_assembly.Results``. Called in the parent when every unit is
        settled. The next run calls it again if it was interrupted, if a file is missing, or if the settings of the
        assembly have changed.
        """


@runtime_checkable
class SupportsAssemblySettings(Protocol):
    """A recipe with options that affect the assembled files, but no result of a unit."""

    @property
    def assembly(self) -> dict[str, Any]:
        """The options as JSON."""


@dataclass(frozen=True, slots=True)
class UnitImages:
    """Images of which the result of a unit is made.

    Attributes:
        dataset: id of the collection.
        images: the images, an ``ee.ImageCollection``.
        bands: names of the bands that are read, without mask bands.
    """

    dataset: str
    images: Any
    bands: tuple[str, ...]


@runtime_checkable
class SupportsImages(Protocol):
    """A recipe whose results do not name the images of which they are made, as tables and mosaics."""

    def unit_images(self, unit: Unit) -> UnitImages | None:
        """Return the images of a unit; None if its result names them. Called in the parent, connected."""


@runtime_checkable
class SupportsLifespan(Protocol):
    """A recipe with resources that the threads of the parent share. Its units enforce the time limit themselves."""

    def lifespan(self, context: Any) -> AbstractContextManager[None]:
        """Return a context manager that is entered before planning and left after the last unit.

        Args:
            context: an ``eechips.engine.run_context.RunContext``.
        """


@runtime_checkable
class SupportsWorkerStart(Protocol):
    """A recipe that needs the connection of its worker."""

    def on_worker_start(self, connection: Any, discovery: Any) -> None:
        """Prepare a worker's copy of the recipe, before the first unit.

        Args:
            connection: connection of the process, an ``eechips.client.access.connection.Connection``.
            discovery: file of the API description that the client was initialised with.
        """


@runtime_checkable
class SupportsCodeChanges(Protocol):
    """A recipe of a user, whose code may change between two commands of a run."""

    @property
    def identity(self) -> str:
        """SHA-256, in hexadecimal, of everything that changes results."""

    def continuing(self, identity: str) -> Recipe:
        """Return this recipe for a plan that another version of its code has made.

        Args:
            identity: identity of the version that made the plan; the ids of its units follow from it.
        """


def with_identity(recipe: RecipeT, identity: str) -> RecipeT:
    """Return a recipe with another identity."""
    copied = object.__new__(type(recipe))
    copied.__dict__.update(recipe.__dict__)  # copy() would leave out what is not sent to workers
    copied.__dict__["identity"] = identity
    return copied


@dataclass(frozen=True, slots=True)
class EarlierPlan:
    """The plan of a run that is extended.

    Attributes:
        parameters: parameters of the recipe that planned last, as its ``parameters`` were.
        units: all units, in the order of the plan; may be iterated several times.
        ids: their ids, in the same order; may be iterated several times.
        dropped: ids of units that the user has excluded.
        replacing: ids of units that replace others, and are not of the recipe's own choice.
    """

    parameters: Mapping[str, Any]
    units: Iterable[Unit]
    ids: Iterable[str]
    dropped: Collection[str] = ()
    replacing: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ChangedUnit:
    """A unit of a plan that would have another result now.

    Attributes:
        index: its number in the plan, from 0.
        unit: as it would be planned now.
        text: what has changed, a sentence; empty for a unit that completes another.
    """

    index: int
    unit: Unit
    text: str


@dataclass(frozen=True, slots=True)
class AddedUnits:
    """What an extension adds to a plan.

    Attributes:
        units: those that the plan lacks, in order.
        changed: units that would have other results now. Those with a file are kept; the others are planned again.
        chosen: ids of units that replace others, and are of the recipe's own choice now: others replace those.
    """

    units: Sequence[Unit]
    changed: Sequence[ChangedUnit] = ()
    chosen: Set[str] = frozenset()


@runtime_checkable
class SupportsExtension(Protocol):
    """A recipe whose finished run can be extended by units of more dates or places."""

    @property
    def growing(self) -> frozenset[str]:
        """Names of the parameters that may differ in an extension. The others must be the same."""

    def extend_plan(self, earlier: EarlierPlan) -> AddedUnits:
        """Return the units that a plan lacks. Called in the parent, with Earth Engine initialised.

        Raises:
            UsageError: if a result that is there would have to change, or dates or places would be left out.
        """

    def find_end(self, until: date, units: Iterable[Unit]) -> date | None:
        """Return the day until which, exclusive, results can be fetched that will not change; None if there is none.

        It is at most ``until``. Results made of several images end with the day before the archive's latest image, and
        with a whole period. Called in the parent, with Earth Engine initialised.

        Args:
            until: latest day, exclusive.
            units: units of the run.

        Raises:
            UsageError: if the run's dates do not say what is new.
        """

    def continuing_from(self, first: Mapping[str, Any], latest: Mapping[str, Any]) -> Recipe:
        """Return the recipe for a run that was extended.

        Args:
            first: parameters of the recipe that made the first plan.
            latest: parameters of the recipe that made the latest plan that is there.
        """


@runtime_checkable
class SupportsInteractiveRun(Protocol):
    """A recipe that adds units to the plan while it runs, and waits for their results."""

    def run_interactively(self, context: Any) -> bool:
        """Run. Called in the parent, connected, with an empty plan.

        Args:
            context: an ``eechips.engine.run_context.RecipeContext``.

        Returns:
            Whether the recipe finished; False if it was stopped.
        """
