"""Show progress in notebooks: Jupyter, Colab, VS Code and others with an IPython kernel."""

from __future__ import annotations

import html
import sys
from typing import Any


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. Imports nothing: a kernel has IPython loaded."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def how_to_resume() -> str:
    """Return how users resume a run, if they typed no command."""
    return "run the cell again" if is_notebook() else "the same command"


def how_to_stop() -> str:
    """Return how users stop a run."""
    return "Interrupting the kernel" if is_notebook() else "Ctrl-C"


class Bar:
    """A progress bar with a line of text in the output of a cell, updated in place.

    It needs no widgets, which not every notebook has, and of which a saved notebook keeps nothing.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown: dict[str, str] = {}

    @property
    def is_shown(self) -> bool:
        """Whether it has been shown."""
        return self._handle is not None

    def show(self, done: int, total: int, text: str) -> None:
        """Show a state.

        Args:
            done: of the total.
            total: the whole.
            text: a line.
        """
        bar = f'<progress value="{done}" max="{max(total, 1)}" style="width: 16em; vertical-align: middle"></progress>'
        shown = {"text/plain": text, "text/html": f"{bar} <code>{html.escape(text)}</code>"}
        if shown == self._shown:
            return
        self._shown = shown
        if self._handle is None:
            from IPython.display import display

            self._handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)
