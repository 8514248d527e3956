"""Tests of eechips."""

from hypothesis import settings

# Examples are timed by the whole test, not one by one: the first loads everything, and machines are shared.
settings.register_profile("eechips", deadline=None)
settings.load_profile("eechips")
