"""What a command says of a dataset that an open archive lacks, and of an archive that is not reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import ee
import pytest

from eechips import local_earth_engine
from eechips.errors import UnknownDatasetError
from eechips.planning.asset_metadata import fetch_kind

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A client of an archive at whose address nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # no other server gets the port, and this one does not listen
        host = f"127.0.0.1:{free.getsockname()[1]}"
        path = tmp_path_factory.mktemp("archive") / "mine.toml"
        path.write_text(
            f'name = "mine"\ntitle = "Mine"\nlike = "earth-search"\napi = "http://{host}/api"\nhosts = ["{host}"]\n'
            'signing = "none"\n',
            encoding="utf-8",
        )
        with local_earth_engine(archive=path) as server:
            server.initialize()
            yield


@pytest.mark.slow
@pytest.mark.usefixtures("away")
def test_a_dataset_that_no_archive_has_is_not_suggested_again() -> None:
    with pytest.raises(UnknownDatasetError) as caught:
        fetch_kind("UCSB-CHG/CHIRPS/DAILY")
    assert str(caught.value) == (
        "mine does not have UCSB-CHG/CHIRPS/DAILY. No known archive has it. The demo planet (--local, without"
        " --archive) has a synthetic one."
    )


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.usefixtures("away")
def test_an_archive_that_is_not_reached_is_no_missing_dataset() -> None:
    image = "COPERNICUS/S2_SR_HARMONIZED/20210603T175911_20210603T175913_T23XML"
    with pytest.raises(ee.EEException, match="No answer of the open archive has come since this server was started"):
        fetch_kind(image)
