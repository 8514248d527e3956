"""Assets that a local Earth Engine does not have: the service's own message, and what is there instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import eechips_local
from local_tests.support.local_earth_engine import Server, initialize


@pytest.mark.parametrize(
    ("load", "id"),
    [("Image", "USGS/SRTMGL1_004"), ("ImageCollection", "USGS/SRTMGL1_004"), ("FeatureCollection", "TIGER/2018/State")],
)
def test_a_missing_asset_names_what_is_like_it(demo_ee: Any, load: str, id: str) -> None:
    """The service's sentence is first and unchanged: scripts look for it."""
    asset = getattr(demo_ee, load)(id)
    with pytest.raises(demo_ee.EEException) as caught:
        (asset.size() if load != "Image" else asset).getInfo()
    message = str(caught.value)
    assert f"asset '{id}' not found (does not exist or caller does not have access). The demo planet has no" in message
    assert f"The demo planet has no {id}; it has " in message
    assert "`eechips-local assets ingest`" in message


def test_a_missing_image_of_a_known_collection_has_its_own_message(demo_ee: Any) -> None:
    """Names of real images are much copied; those of the demo planet are other ones."""
    with pytest.raises(
        demo_ee.EEException, match=r"The demo planet's LANDSAT/LC08/C02/T1_L2 has no 'LC08_044034_20140318x'"
    ):
        demo_ee.Image("LANDSAT/LC08/C02/T1_L2/LC08_044034_20140318x").getInfo()


def test_a_server_of_own_assets_says_so(stack_server: Server) -> None:
    ee = initialize(stack_server)
    with pytest.raises(ee.EEException, match="without the demo planet; `eechips-local serve --demo --assets DIR`"):
        ee.Image("USGS/SRTMGL1_003").getInfo()
    with pytest.raises(ee.EEException, match="serves assets of your own, without the demo planet"):
        ee.data.getAsset("USGS/SRTMGL1_003")


def test_hints_name_the_command_of_this_distribution() -> None:
    """``eechips serve`` and ``eechips assets`` are of another one, which may not be installed."""
    root = Path(eechips_local.__file__).parent
    sources = [path for kind in ("py", "js", "toml") for path in root.rglob(f"*.{kind}")]
    assert len(sources) > 200
    found = [str(path) for path in sources if re.search(r"\beechips (serve|assets|record)\b", path.read_text("utf-8"))]
    assert found == []
