"""Open a run as an xarray Dataset by ``xarray.open_dataset(folder, engine="eechips")``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray.backends import BackendEntrypoint

from eechips.manifest.ledger import LEDGER_NAME
from eechips.training.stack import stack

if TYPE_CHECKING:
    import xarray


class RunBackend(BackendEntrypoint):
    """xarray's backend for runs: the Dataset of :func:`eechips.stack`, whose pixels are read when they are computed."""

    description = "Open a run of eechips: chips as (sample, band, y, x), frames as (sample, time, band, y, x)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "layer", "masked")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        layer: str | None = None,
        masked: bool = False,
    ) -> xarray.Dataset:
        """Open a run.

        Args:
            filename_or_obj: folder of the run.
            drop_variables: names of variables to leave out.
            layer: layer of units with several files; None for all layers with pixels.
            masked: convert values to floats, with NaN for masked pixels.

        Raises:
            UsageError: as :func:`eechips.stack`.
        """
        dataset = stack(Path(filename_or_obj), layer=layer, masked=masked)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether the argument is the folder of a run."""
        try:
            return (Path(filename_or_obj) / LEDGER_NAME).is_file()
        except (TypeError, ValueError, OSError):
            return False
