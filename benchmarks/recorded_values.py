"""Values that others recorded of the service, or Google documents: how many, of which repository, and which agree.

    python benchmarks/recorded_values.py

Every value of the tables in ``packages/eechips-local/local_tests`` is asked of a local Earth Engine anew. The rows that
do not agree follow, with the reasons that ``recorded_disagreements.json`` states.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from typing import Any

import ee
import requests
from google.auth.credentials import AnonymousCredentials
from harness import serving

from local_tests.published.test_documented_rules import RULES
from local_tests.published.test_notebook_values import NOTED
from local_tests.published.test_printed_values import PRINTED
from local_tests.published.test_recorded_values import DISAGREEMENTS, computed, is_near, read_rows
from local_tests.published.test_type_values import TYPED

LICENCES = {
    "aazuspan/eerepr": "MIT",
    "aazuspan/should-test": "none stated",
    "aazuspan/wxee": "MIT",
    "CongGao-CG/gee_data_list": "none stated",
    "csaybar/EEwPython": "none stated",
    "davemlz/eemont": "MIT",
    "Digdgeo/Ndvi2Gif": "MIT",
    "eHealthAfrica/heatwave_modelling_CHAP": "none stated",
    "gee-community/gee_tools": "MIT",
    "gee-community/geetools": "MIT",
    "hibapoctep/Sentinel-2": "none stated",
    "kaust-halo/geeet": "MIT",
    "lemma-osu/gee-knn-python": "none stated",
    "lemma-osu/naip-cnn": "none stated",
    "Open-ET/openet-geesebal": "MIT",
    "openforis/sepal_ui": "MIT",
    "public scripts by number": "not known",
    "sepal-contrib/se.plan": "MIT",
    "sepal-contrib/sepal_mgci": "MIT",
    "shapely/shapely": "BSD-3-Clause",
    "sig-gis/sig-ssl4eo": "none stated",
    "Vizzuality/sql2gee": "MIT",
    "worldbank/OpenNightLights": "CC BY 4.0",
    "wybert/earthengine-doc-md": "CC BY 4.0, Apache-2.0",
}
"""By repository; Apache-2.0 for all others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    values: Counter[str] = Counter()
    agree: Counter[str] = Counter()
    explained: Counter[str] = Counter()
    unexplained: list[str] = []
    options = ("--demo-datasets", "all", "--rate", "none", "--concurrency", "none")
    with serving("emulator", *options) as server, requests.Session() as session:
        ee.Initialize(AnonymousCredentials(), url=server.url, project="local")

        def count(source: str, test: str, value: Any, row: dict[str, Any]) -> None:
            repository = _repository(source)
            values[repository] += 1
            if is_near(value, row["expected"], row["tolerance"]):
                agree[repository] += 1
            elif "why" in row:
                explained[repository] += 1
            else:
                unexplained.append(f"{source} {test}: {value}, not {row['expected']}")

        for row in (*read_rows(), *DISAGREEMENTS):
            count(row["source"], row["test"], computed(session, server.url, row), row)
        noted = {f"google, release notes: {day}": examples for day, examples in RULES.items()}
        for source, examples in (*PRINTED.items(), *NOTED.items(), *TYPED.items(), *noted.items()):
            for number, (example, expected) in enumerate(examples):
                shown = example(ee)
                value = shown.getInfo() if isinstance(shown, ee.ComputedObject) else shown
                count(source, str(number), value, {"expected": expected, "tolerance": 0.0})
    print("| repository | licence | values | agree | explained |\n|---|---|---:|---:|---:|")
    for repository, number in sorted(values.items(), key=lambda pair: (-pair[1], pair[0].lower())):
        licence = LICENCES.get(repository, "Apache-2.0")
        print(f"| {repository} | {licence} | {number} | {agree[repository]} | {explained[repository] or ''} |")
    print(f"| {len(values)} repositories | | {values.total()} | {agree.total()} | {explained.total()} |\n")
    for why, number in Counter(row["why"] for row in DISAGREEMENTS).most_common():
        print(f"{number:3} {why}")
    print("\n".join(unexplained))


def _repository(source: str) -> str:
    """Return the owner and name of the repository of a source."""
    if source.startswith("code"):
        return "public scripts by number"
    if source.startswith("https://github.com/"):
        return "/".join(source.split("/")[3:5])
    return re.split("[@:]", source)[0]


if __name__ == "__main__":
    main()
