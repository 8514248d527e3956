"""What every recipe has, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from eechips.recipe.results import Result
from eechips.recipe.units import Unit

Redraw = Callable[[Sequence[tuple[Any, int]]], Sequence[Any]]
"""Draws other units in the place of some that turned out empty.

It is given pairs of a unit, as the plan has it, and a number from 1, and returns for each pair a unit, or None if there
is none to be had. What it returns depends on the pair alone, so that a run that was stopped goes on as if it had not
been, and no two pairs, and no unit of the plan, have the same. Called in the parent, one call at a time, in a thread of
its own.
"""


class Recipe(Protocol):
    """What the engine runs. Instances are pickled: they travel to the workers.

    A recipe may also have ``redraw``, a :data:`Redraw`, for runs that replace empty units, and ``assemble(results)``,
    which makes files of all results together: called in the parent with an ``eechips.engine.assembly.Results`` when
    every unit is settled, and again by the next run if it was stopped, a file is gone, or ``assembly``, JSON that says
    how the files are made, has changed.

    A recipe whose units are not Earth Engine's has ``needs_service``, False: its run neither asks for credentials nor
    initialises the client. Then it may have ``attend(site)``, a context manager: entered in the parent with an
    ``eechips.engine.context.RunContext`` before it plans, left after its last unit; for what threads of the parent
    share.
    ``plans_gradually`` says that ``get_requests`` asks the service for as long as it gives units, and may be called in
    a thread of its own, while the first units are fetched.
    ``is_builtin`` says that its code is eechips' own: what that raises unexpectedly is an InternalError.
    ``is_foreign`` says that its files are as others made them, so that they are verified by their checksums alone.
    """

    @property
    def name(self) -> str:
        """Short name: ``sample``, ``timeseries``, or the stem of a script."""

    @property
    def identity(self) -> str:
        """Sha256, in hexadecimal, of everything that changes results."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON, shown in run.json and compared when a run is resumed."""

    @property
    def datasets(self) -> Sequence[str]:
        """Ids of the assets that are read, for licences and citations."""

    def get_requests(self) -> Iterable[Any]:
        """The plan: units, or small JSON values. Called once, in the parent, Earth Engine initialised."""

    def get_result(self, index: int, unit: Any) -> Result:
        """The result of one unit. Called in a worker, perhaps more than once.

        A unit may have several results, ``{"S2": Chip(...), "DEM": Chip(...)}``: a file for each, with the name of the
        unit and the key (``chips/0123abcd.S2.tif``), fetched and checked together and recorded all or none. The
        manifest has the first of them; ``layers.parquet`` has every one. If one has no valid pixel, the unit is empty.
        """


@runtime_checkable
class SupportsPreview(Protocol):
    """A recipe that knows the size of its plan before it has asked the service about every unit."""

    def preview_units(self, count: int) -> tuple[int, Sequence[Unit]]:
        """Plan the first units only.

        Args:
            count: units that are wanted.

        Returns:
            The number of units of the whole plan, and the first ``count`` of them.
        """


@runtime_checkable
class SupportsSize(Protocol):
    """A recipe whose run is refused beforehand if its results do not fit on the disk."""

    def sized_result(self, index: int, unit: Any) -> Result:
        """The same as ``get_result``, with the type of the pixels as far as the planner has seen it.

        Called in the parent; sends no request.
        """


@runtime_checkable
class SupportsInputs(Protocol):
    """A recipe that plans from files of the user, which can be wrong."""

    def read_inputs(self) -> None:
        """Read the files, before anything is started or asked.

        Raises:
            EechipsError: if one cannot be used.
        """
