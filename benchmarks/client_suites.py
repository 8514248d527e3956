"""Run the test suites of geedim and Xee against the local Earth Engine, and say why their failures fail.

    git clone https://github.com/leftfield-geospatial/geedim /tmp/geedim && git -C /tmp/geedim checkout 6f0ab8d3
    git clone https://github.com/google/Xee /tmp/xee && git -C /tmp/xee checkout 17dfdd9e
    pip install 'eechips[local]' pytest xarray absl-py rioxarray aiohttp tabulate
    python benchmarks/client_suites.py --geedim /tmp/geedim --xee /tmp/xee

The suites run as they are, by the pytest plugin of eechips (``--earth-engine``). Nothing of them is part of eechips.
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
from pathlib import Path

# Folder of the tests, and patterns of their files.
SUITES: Mapping[str, tuple[str, str]] = {
    "geedim": ("tests", "test_*.py integration.py"),
    "xee": ("xee", "*_test.py"),
}
# Tests that wait by themselves for more than twenty minutes, between retries that they cause.
WAITING: Mapping[str, tuple[str, ...]] = {"xee": ("test__to_array__retries_on_error",)}
# What a failure's text has, and what that means; the first that matches.
REASONS: Sequence[tuple[str, str]] = (
    ("earthengine-stac.storage.googleapis.com", "needs Google's STAC catalogue on the web"),
    ("not found (does not exist or caller does not have access)", "needs an asset that the demo planet lacks"),
)
OTHER = "other"


def run_suite(suite: str, folder: Path) -> tuple[Counter[str], list[tuple[str, str, str]]]:
    """Run a suite; return counts of results, and name, reason and last line of each failure.

    Args:
        suite: one of ``SUITES``.
        folder: its repository.
    """
    tests, pattern = SUITES[suite]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [
            sys.executable, "-m", "pytest", "--earth-engine", "-p", "no:cacheprovider", "-q", "--tb=short",
            "-o", "addopts=", "-o", f"python_files={pattern}", "-o", "earth_engine_datasets=all",
            "-k", " and ".join(f"not {name}" for name in WAITING.get(suite, ())), f"--junit-xml={report}", tests,
        ]  # fmt: skip
        subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    counts: Counter[str] = Counter()
    failures = []
    for case in cases:
        found = next((child for child in case if child.tag in ("failure", "error")), None)
        if found is None:
            counts["skipped" if any(child.tag == "skipped" for child in case) else "passed"] += 1
            continue
        counts["failed"] += 1
        text = found.text or ""
        reason = next((meaning for sign, meaning in REASONS if sign in text), OTHER)
        failures.append((f"{case.get('classname')}.{case.get('name')}", reason, (found.get("message") or "")[:200]))
    return counts, failures


def main() -> None:
    """Run the suites and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in SUITES:
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"repository of {name}")
    given = vars(parser.parse_args())
    for name in SUITES:
        if given[name] is None:
            continue
        counts, failures = run_suite(name, given[name])
        reasons = Counter(reason for _, reason, _ in failures)
        print(f"\n{name}: " + ", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
        for reason, number in reasons.most_common():
            print(f"  {number} {reason}")
        for case, reason, message in failures:
            if reason == OTHER:
                print(f"    {case}: {message}")


if __name__ == "__main__":
    main()
