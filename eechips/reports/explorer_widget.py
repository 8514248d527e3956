"""Display the explorer in a notebook: a widget of anywidget, for Jupyter, VS Code and Colab."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from eechips.errors import UsageError


def create_widget(height: int, receive: Callable[[Any, Any, Any], None]) -> Any:
    """Create the widget of an explorer, which carries messages only: nothing of a run is saved in the notebook.

    Args:
        height: in pixels.
        receive: called with the widget, a message and its buffers.

    Raises:
        UsageError: if anywidget is missing.
    """
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise UsageError("exploring a run needs anywidget: pip install 'eechips[explore]'") from error

    script = (files("eechips.reports") / "explorer_widget.js").read_text(encoding="utf-8")
    traits = {"_esm": traitlets.Unicode(script).tag(sync=True), "height": traitlets.Int(height).tag(sync=True)}
    widget = type("ExplorerWidget", (anywidget.AnyWidget,), traits)()
    widget.on_msg(receive)
    return widget
