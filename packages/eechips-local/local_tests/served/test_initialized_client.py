"""The client of a test process is as new in each test, although it reads the functions of the server once."""

from __future__ import annotations

import pytest

from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import STACK


def test_settings_of_one_test_are_not_those_of_the_next(demo_server: Server) -> None:
    ee = initialize(demo_server)
    ee.data.setMaxRetries(7)
    ee.data.setDeadline(100_000)
    ee.data.setUserAgent("changed")
    ee.data.setDefaultWorkloadTag("changed")
    ee = initialize(demo_server)
    state = ee.data._get_state()
    assert (state.max_retries, state.deadline_ms, state.user_agent, ee.data.getWorkloadTag()) == (0, 0, None, "")


def test_each_server_is_asked_again_after_another_and_after_a_reset(demo_server: Server, stack_server: Server) -> None:
    for reset in (False, True):
        for server, has_stack in ((demo_server, False), (stack_server, True), (demo_server, False)):
            ee = initialize(server)
            assert ee.Number(1).add(1).getInfo() == 2
            if has_stack:
                assert ee.data.getAsset(STACK)["id"] == STACK
            else:
                with pytest.raises(ee.EEException, match="not found"):
                    ee.data.getAsset(STACK)
            if reset:
                ee.Reset()


def test_classes_have_their_functions_again_where_a_block_connected_to_fewer(demo_server: Server) -> None:
    """A block restored the list of functions only, and left the classes without some of theirs."""
    ee = initialize(demo_server)
    functions = ee.ApiFunction._api
    ee.Reset()
    ee.ApiFunction._api = {name: made for name, made in functions.items() if not name.startswith("Array.")}
    ee.Array.initialize()
    ee.ApiFunction._api = functions
    assert initialize(demo_server).Array([1]).bitwise_not().getInfo() == [-2]
