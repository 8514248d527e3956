"""Name the choices and bounds of options of reports, figures and smoothed series."""

from __future__ import annotations

THUMBNAILS = 400
"""Default number of displayed chips."""

MOST_THUMBNAILS = 2000
"""Maximum number of displayed chips, so that the page opens quickly."""

MOST_PANELS = 60
"""Maximum regions of a figure."""

SMOOTHING_METHODS = ("whittaker", "savgol")
"""Ways to smooth a time series."""
