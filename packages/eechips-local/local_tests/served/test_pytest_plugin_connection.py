"""Where repositories of other people connect, while the pytest plugin is on: modules, hooks, test cases, fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_tests.support.repositories import make_repository, run_pytest


@pytest.mark.slow
def test_repository_that_resets_the_client_is_connected_again(tmp_path: Path) -> None:
    """As the tests of openforis/sepal_ui do to see their own initialisation."""
    text = """
import ee

def test_again():
    ee.data.reset()
    assert not ee.data.is_initialized()
    ee.Initialize(project="somebody")
    assert ee.Number(1).add(1).getInfo() == 2

def test_left_disconnected():
    ee.data.reset()

def test_next():
    assert ee.Number(2).add(1).getInfo() == 3
"""
    done = run_pytest(make_repository(tmp_path, test_reset=text), "--earth-engine")
    assert "3 passed" in done.stdout, done.stdout + done.stderr


CALL = """
import ee

ee.Authenticate()
ee.Initialize(project="somebody")
FOUND = ee.Number(1).add(1).getInfo()
"""

SUCCESS = """
import connection

def test_it():
    assert connection.FOUND == 2
    assert connection.ee.Number(2).add(1).getInfo() == 3
"""

PYTEST_GEE = """
import json, os
import ee

def init_ee_from_service_account():
    if "EARTHENGINE_SERVICE_ACCOUNT" in os.environ:
        private_key = os.environ["EARTHENGINE_SERVICE_ACCOUNT"]
        ee_user = json.loads(private_key)["client_email"]
        credentials = ee.ServiceAccountCredentials(ee_user, key_data=private_key)
        ee.Initialize(credentials=credentials, project=credentials.project_id)
    elif "EARTHENGINE_PROJECT" in os.environ:
        ee.Initialize(project=os.environ["EARTHENGINE_PROJECT"])
    else:
        raise ValueError("environment variable is missing")

def pytest_configure():
    init_ee_from_service_account()
    assert ee.Number(1).add(1).getInfo() == 2
"""

TWO_TESTS = """
import ee

def test_one():
    assert ee.Number(1).add(1).getInfo() == 2

def test_two():
    assert ee.Number(2).add(1).getInfo() == 3
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_a_conftest_connects_when_it_is_imported(tmp_path: Path, processes: str) -> None:
    repository = make_repository(
        tmp_path, src__connection=CALL, tests__conftest="import connection", tests__test_it=SUCCESS
    )
    done = run_pytest(repository, "--earth-engine", "-n", processes)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("processes", ["0", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "variables",
    [{}, pytest.param({"EARTHENGINE_SERVICE_ACCOUNT": '{"client_email": "a@b.c"}'}, marks=pytest.mark.slow)],
    ids=["project", "service account"],
)
def test_a_conftest_connects_in_pytest_configure_as_pytest_gee_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: str, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = run_pytest(
        make_repository(tmp_path, conftest=PYTEST_GEE, test_two=TWO_TESTS), "--earth-engine", "-n", processes
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.exhaustive
def test_the_option_may_stand_in_the_ini_file(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, src__connection=CALL, conftest="import connection", test_it=SUCCESS)
    done = run_pytest(repository, ini='addopts = "--earth-engine -n 2"')
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_test_cases_of_unittest_connect_in_all_their_places(tmp_path: Path) -> None:
    text = """
import unittest
import ee

ee.Initialize()

class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ee.Initialize(project="somebody")
        cls.one = ee.Number(1).getInfo()

    def setUp(self):
        self.two = ee.Number(2).getInfo()

    def test_values(self):
        self.assertEqual((self.one, self.two, ee.Number(3).getInfo()), (1, 2, 3))

    def test_values_of_a_number(self):
        self.assertEqual(ee.Number(4).getInfo(), 4)
"""
    done = run_pytest(make_repository(tmp_path, test_case=text), "--earth-engine")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_faults_end_with_the_test_case_of_unittest(tmp_path: Path) -> None:
    text = """
import unittest
import ee
import pytest

class Case(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def use(self, earth_engine):
        self.engine = earth_engine

    def test_a_fault(self):
        ee.data.setMaxRetries(0)
        self.engine.set_faults([{"type": "status", "status": 400, "message": "no"}])
        with self.assertRaises(ee.EEException):
            ee.Number(1).getInfo()

    def test_no_fault(self):
        self.assertEqual(ee.Number(1).getInfo(), 1)
"""
    done = run_pytest(make_repository(tmp_path, test_case=text))
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_a_fixture_of_the_session_stays_connected_between_tests(tmp_path: Path) -> None:
    text = """
import ee
import pytest

@pytest.fixture(scope="session")
def height(earth_engine_session):
    ee.Initialize(project="somebody")
    point = ee.Geometry.Point(-105.1, 39.9)
    return ee.Image("USGS/SRTMGL1_003").sample(point, 30).first().get("elevation").getInfo()

def test_before():
    with pytest.raises(ee.EEException, match="not initialized"):
        ee.Number(1).getInfo()

def test_height(height):
    assert 1_000 < height < 4_400

def test_both(earth_engine, earth_engine_session, height):
    assert earth_engine.url == earth_engine_session.url
    earth_engine.set_faults([{"type": "reject"}])
    assert earth_engine.requests == []

def test_after():
    assert ee.Number(1).getInfo() == 1
"""
    done = run_pytest(make_repository(tmp_path, test_session=text))
    assert "4 passed" in done.stdout, done.stdout + done.stderr
