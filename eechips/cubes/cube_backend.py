"""Open runs and image collections by ``xarray.open_dataset(name, engine="eechips")``.

Collections take the arguments of Xee 0.1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray.backends import BackendEntrypoint

from eechips.manifest.sqlite.ledger import LEDGER_NAME

if TYPE_CHECKING:
    import xarray


class CubeBackend(BackendEntrypoint):
    """xarray's backend ``eechips``: a folder of a run, or a collection of Earth Engine as a lazy cube."""

    description = "Open runs of eechips, and image collections of Earth Engine as lazy cubes"
    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **options: Any
    ) -> xarray.Dataset:
        """Open a run by :func:`eechips.stack`, or a collection by :func:`eechips.open_cube`.

        Args:
            filename_or_obj: folder of a run; or an id (also ``ee://…``), an ``ee.ImageCollection`` or an ``ee.Image``.
            drop_variables: names of variables to leave out.
            **options: options of these functions.

        Raises:
            UsageError: as these functions.
        """
        if is_run(filename_or_obj):
            from eechips.training.stack import stack

            dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
            return stack(Path(filename_or_obj), **options).drop_vars(dropped, errors="ignore")
        from eechips.cubes.cube import open_cube

        return open_cube(filename_or_obj, drop_variables=drop_variables, **options)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether the argument is the folder of a run, or an object of the Earth Engine client.

        Ids need ``engine="eechips"``: only a request could tell whether a text is one.
        """
        client = sys.modules.get("ee")
        return is_run(filename_or_obj) or (
            client is not None and isinstance(filename_or_obj, (client.ImageCollection, client.Image))
        )


def is_run(place: Any) -> bool:
    """Return whether something is the path of a run's folder."""
    try:
        return (Path(place) / LEDGER_NAME).is_file()
    except (TypeError, ValueError, OSError):
        return False
