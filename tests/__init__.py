"""Tests of eechips."""

import os

from hypothesis import settings

# Examples are timed by the whole test, not one by one: the first loads everything, and machines are shared. Developers
# draw new examples at every run; CI draws the same ones, so that it judges the change and not the draw.
settings.register_profile("eechips", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("eechips")
