"""Worker processes of Dask read a cube within one quota, and share its cache."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import eechips
from eechips.client.quota.quota_folder import default_quota_folder
from eechips.engine.service.quota_connection import list_sharing_runs
from local_tests.support.local_earth_engine import Server
from local_tests.support.stack_store import STACK, Stack
from tests.cubes.test_open_cube import GRID, expected

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")

MOST = 3


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_workers_keep_one_quota(stack: Stack, serve_briefly: Callable[..., Server]) -> None:
    server = serve_briefly(
        "--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none", "--latency", "0.2"
    )
    options: dict[str, Any] = {
        **GRID,
        "endpoint": server.url,
        "in_flight": MOST,
        "io_chunks": {"time": 1, "x": 75, "y": 100},
    }
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        cube = eechips.open_cube(STACK, **options, chunks={})
        assert cube.red.data.npartitions == 32
        np.testing.assert_array_equal(cube.red.compute().values, expected(stack)[:, 0])
        assert server.requests()["image:computePixels"] == 32
        runs, slots = list_sharing_runs(default_quota_folder(), server.url, "local")
        assert sum(run.slots for run in runs) <= slots
        processes = {int(found) for run in runs for found in re.findall(r"eechips cube, process (\d+)", run.about)}
        assert {os.getpid(), *client.run(os.getpid).values()} <= processes
        np.testing.assert_array_equal(cube.red.mean("time").compute().values, expected(stack)[:, 0].mean(0))
        assert server.requests()["image:computePixels"] == 32
