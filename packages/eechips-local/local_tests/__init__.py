"""Tests of the local Earth Engine."""

import os

from hypothesis import settings

# Examples are timed by the whole test, not one by one: the first loads everything, and machines are shared. Examples
# are the same in every run, so that it judges the change and not the draw; the fuzzers' budget draws new ones. Slow
# tests repeat these tests with ten times as many.
settings.register_profile(
    "eechips",
    deadline=None,
    derandomize="EECHIPS_FUZZ_SECONDS" not in os.environ,
    max_examples=int(os.environ.get("EECHIPS_EXAMPLES", "10")),
)
settings.load_profile("eechips")
