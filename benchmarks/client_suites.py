"""Run the test suites of other clients of Earth Engine against the local one, and say why their failures fail.

    for each suite: git clone https://github.com/OWNER/NAME /tmp/suites/NAME, git checkout of its COMMIT (see SUITES)
    pip install 'eechips[local]' pytest-timeout, and what the suite's own project file names for its tests
    python benchmarks/client_suites.py --folder /tmp/suites geedim xee

The suites run as they are, by the pytest plugin of eechips-local (``--earth-engine``). Nothing of them is part of
eechips.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite of tests.

    Attributes:
        repository: owner and name at GitHub.
        commit: commit whose figures docs/decisions/0012-compared-with-others.md has.
        tests: folder of the tests.
        patterns: patterns of the names of their files.
        left_out: tests that wait by themselves for many minutes.
        clouds: sky that its tests of clouds need.
    """

    repository: str
    commit: str
    tests: str = "tests"
    patterns: str = "test_*.py"
    left_out: tuple[str, ...] = ()
    clouds: str = "climate"


SUITES: Mapping[str, Suite] = {
    # Its scenes were chosen for their "partial cloud" in a region of 1 km (tests/conftest.py).
    "geedim": Suite("leftfield-geospatial/geedim", "6f0ab8d3", patterns="test_*.py integration.py", clouds="scattered"),
    # Its test waits for more than twenty minutes between retries that it causes.
    "xee": Suite("google/Xee", "17dfdd9e", "xee", "*_test.py", ("test__to_array__retries_on_error",)),
    "wxee": Suite("aazuspan/wxee", "33b79185", "test"),
    "eerepr": Suite("aazuspan/eerepr", "eb480ecf"),
    "geetools": Suite("gee-community/geetools", "c2724f62"),
    "eemont": Suite("davemlz/eemont", "959c2b80"),
    "ee_extra": Suite("r-earthengine/ee_extra", "cd5902dc"),
    "geemap": Suite("gee-community/geemap", "ed9d8174"),
    "openet-core": Suite("Open-ET/openet-core", "b1e9cc5", "openet/core/tests"),
    "openet-refet-gee": Suite("Open-ET/openet-refet-gee", "281ee95", "openet/refetgee/tests"),
    "openet-ptjpl": Suite("Open-ET/openet-ptjpl", "6475acf", "openet/ptjpl/tests"),
    "openet-ssebop": Suite("Open-ET/openet-ssebop", "3f164ee", "openet/ssebop/tests"),
    "radgeetoolbox": Suite("radwinskis/RadGEEToolbox", "2f5f356"),  # set GEE_PROJECT and GEE_SA_KEY
    "taskee": Suite("aazuspan/taskee", "8ef8252"),
    "gee_biophys": Suite("speckerf/gee_biophys", "ea6f8ad"),
    "sepal_ui": Suite("openforis/sepal_ui", "0318225e"),
    "pygaul": Suite("gee-community/pygaul", "0eaecf0"),
    "ipygee": Suite("gee-community/ipygee", "015fbc3"),
    "flood_mapper": Suite("fadodo/flood_mapper", "0a6cf78"),
    "geeet": Suite("kaust-halo/geeet", "ede5122"),
    "satellitetools": Suite(
        "ollinevalainen/satellitetools",
        "8cc9f68",
        patterns="test_gee.py test_sentine2.py test_data_consistency.py test_timeseries.py test_biophys.py",
    ),
    "MetObs_toolkit": Suite("vergauwenthomas/MetObs_toolkit", "cf483063", patterns="test_gee.py"),
}
_SECONDS = 120  # of a test
# What a failure's text has, and what that means; the first that matches.
REASONS: Sequence[tuple[str, str]] = (
    ("Failed to resolve", "needs the web"),
    ("Name or service not known", "needs the web"),
    ("Temporary failure in name resolution", "needs the web"),
    ("not found (does not exist or caller does not have access)", "needs an asset that the server lacks"),
    ("ImportError", "needs a package that is not installed"),
    ("ModuleNotFoundError", "needs a package that is not installed"),
    ("from pytest-timeout", f"takes longer than {_SECONDS} seconds"),
)
OTHER = "other"


def run_suite(suite: Suite, folder: Path) -> tuple[Counter[str], list[tuple[str, str, str]]]:
    """Run a suite; return counts of results, and name, reason and last line of each failure.

    Args:
        suite: one of ``SUITES``.
        folder: its repository.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [
            sys.executable, "-m", "pytest", "--earth-engine", "-p", "no:cacheprovider", "-q", "--tb=short",
            "--continue-on-collection-errors",
            "-o", "addopts=", "-o", f"python_files={suite.patterns}", "-o", "earth_engine_datasets=all",
            "-o", f"earth_engine_clouds={suite.clouds}",
            "-k", " and ".join(f"not {name}" for name in suite.left_out), f"--timeout={_SECONDS}",
            f"--junit-xml={report}", suite.tests,
        ]  # fmt: skip
        subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    counts: Counter[str] = Counter()
    failures = []
    for case in cases:
        failure = next((child for child in case if child.tag in ("failure", "error")), None)
        if failure is None:
            counts["skipped" if any(child.tag == "skipped" for child in case) else "passed"] += 1
            continue
        counts["failed"] += 1
        text = failure.text or ""
        reason = next((meaning for sign, meaning in REASONS if sign in text), OTHER)
        failures.append((f"{case.get('classname')}.{case.get('name')}", reason, (failure.get("message") or "")[:200]))
    return counts, failures


def main() -> None:
    """Run the suites and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", choices=[[], *SUITES], metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the repositories, named as the suites")
    options = parser.parse_args()
    for name in options.suites or SUITES:
        counts, failures = run_suite(SUITES[name], options.folder / name)
        reasons = Counter(reason for _, reason, _ in failures)
        print(f"\n{name}: " + ", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
        for reason, number in reasons.most_common():
            print(f"  {number} {reason}")
        for case, reason, message in failures:
            if reason == OTHER:
                print(f"    {case}: {message}")


if __name__ == "__main__":
    main()
