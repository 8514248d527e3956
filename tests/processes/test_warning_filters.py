"""Warnings are hidden in threads without changing what other threads see, also where warnings are errors."""

from __future__ import annotations

import sys

import pytest

from tests.support.programs import run_program

SCRIPT = """
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from {module} import {function} as encode

sys.setswitchinterval(1e-6)
make = {call}
filters = []

def work(number):
    make()
    filters.append(warnings.filters)

with ThreadPoolExecutor(16) as threads:
    list(threads.map(work, range(400)))
assert all(each is filters[0] for each in filters), "a thread replaced the filters of the process"
assert len(set(map(str, warnings.filters))) == len(warnings.filters)
try:
    warnings.warn("another", UserWarning)
except UserWarning:
    print("other warnings are errors still")
"""


def output_of(module: str, function: str, call: str) -> str:
    script = SCRIPT.format(module=module, function=function, call=call)
    command = [sys.executable, "-W", "error::UserWarning", "-c", script]
    done = run_program(*command, status=0, timeout=120)
    return done.stdout


@pytest.mark.slow
def test_threads_write_pictures_where_warnings_are_errors() -> None:
    call = "lambda: encode(np.zeros((3, 8, 8), np.uint8), 'PNG')"
    found = output_of("eechips.formats.raster", "encode_picture", call)
    assert found == "other warnings are errors still\n"


@pytest.mark.slow
def test_threads_of_the_local_earth_engine_write_pictures_where_warnings_are_errors() -> None:
    call = "lambda: encode('PNG', [np.zeros((8, 8), np.uint8)])"
    found = output_of("eechips_local.pixels.output.encode", "_write", call)
    assert found == "other warnings are errors still\n"
