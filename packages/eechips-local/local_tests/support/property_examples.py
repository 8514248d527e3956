"""How many examples a property has."""

from __future__ import annotations

import os


def limit_examples() -> None:
    """Load the profile of Hypothesis of all tests.

    Examples are timed by the whole test, not one by one: the first loads everything, and machines are shared. They are
    the same in every run, so that it judges the change and not the draw; the fuzzers' budget draws new ones. Slow tests
    repeat these tests with more. The processes that tests start import these packages, but no Hypothesis.
    """
    # Other packages bring plugins of Hypothesis: Trio's would import Trio in each process of pytest-xdist.
    os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"
    from hypothesis import settings
    from hypothesis.internal.conjecture import providers

    # Hypothesis also draws constants of the modules that are imported, which differ between processes of pytest-xdist:
    # a failure would not repeat alone. They are for the fuzzers; to read them takes each process seconds.
    if "EECHIPS_FUZZ_SECONDS" not in os.environ:
        providers.is_local_module_file = lambda path: False

    settings.register_profile(
        "eechips",
        deadline=None,
        derandomize="EECHIPS_FUZZ_SECONDS" not in os.environ,
        max_examples=int(os.environ.get("EECHIPS_EXAMPLES", "10")),
    )
    settings.load_profile("eechips")
