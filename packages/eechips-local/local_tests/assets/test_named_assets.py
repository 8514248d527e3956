"""Assets that an export names: each is looked up once when the export is submitted."""

from __future__ import annotations

import numpy as np

from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.export_check import check_export
from eechips_local.protocol.messages import ServiceRequest
from local_tests.support.graphs import Graph, invoke
from local_tests.support.images import UTM, Store, asset, stored


class CountingStore(Store):
    """A store that notes which assets are looked up."""

    def __init__(self) -> None:
        super().__init__(*(asset(np.zeros(UTM.shape), id=f"test/{name}") for name in "ab"))
        self.ids: list[str] = []

    def get(self, asset_id: str) -> ImageAsset | None:
        self.ids.append(asset_id)
        return super().get(asset_id)


def test_an_asset_that_is_loaded_often_is_looked_up_once() -> None:
    result = stored("test/b")
    for _ in range(50):
        result = invoke("Image.add", image1=result, image2=stored("test/a"))
    store = CountingStore()
    check_export(ServiceRequest({"expression": Graph().expression(result)}), Context(store))
    assert sorted(store.ids) == ["test/a", "test/b"]
