"""Convert exceptions of a recipe's own code to RecipeError."""

from __future__ import annotations

import traceback
from typing import Any

from eechips.errors import EechipsError, RecipeError


class CodeErrors:
    """Context manager that converts exceptions of a recipe's own code to RecipeError, with the traceback.

    Args:
        place: file or function, for the message.
    """

    def __init__(self, place: object) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, EechipsError):
            text = "".join(traceback.format_exception(kind, error, trace))
            raise RecipeError(f"{self._place}: {type(error).__name__}: {error}", traceback=text) from error
