"""Classifiers that the real client exports as assets, and loads."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import signal
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.classification import TrainingData
from eechips_local.assets import FolderStore, InvalidStoreError, UnsafeHrefError
from eechips_local.assets.ingestion.asset_ingestion import IngestTask
from eechips_local.evaluation.asset_model import ClassifierAsset
from eechips_local.evaluation.context import Context
from eechips_local.functions.learning.classifier_assets import document_of, load
from eechips_local.functions.learning.classifiers import smile_cart
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.export_tasks import Folders, finished
from local_tests.support.local_earth_engine import initialize, start_server, stop_server, wait_until
from local_tests.support.stack_store import CRS, STACK, TABLE, TRANSFORM

if importlib.util.find_spec("sklearn") is None:  # importing it would take a second in every process
    pytest.skip("scikit-learn is not installed", allow_module_level=True)

HOME = "projects/some-project/assets"
POINTS = np.random.default_rng(5).integers(1, 10_000, (60, 2))
TREE = "1) root 9 9 9\n2) red<=5000 9 9 3 *\n3) red>5000 9 9 8 *"


def training(ee: Any, scale: float = 1.0) -> Any:
    """A third of the samples are of another class, where red exceeds nir."""
    labels = np.where(POINTS[:, 0] > POINTS[:, 1], 7, 2) * scale
    return ee.FeatureCollection(
        [
            ee.Feature(None, {"red": int(red), "nir": int(nir), "class": float(label)})
            for (red, nir), label in zip(POINTS, labels, strict=True)
        ]
    )


def trained(ee: Any, classifier: Any, scale: float = 1.0) -> Any:
    return classifier.train(training(ee, scale), "class", ["red", "nir"])


def exported(ee: Any, classifier: Any, asset: str, **options: Any) -> dict[str, Any]:
    task = ee.batch.Export.classifier.toAsset(classifier, "saved", asset, **options)
    task.start()
    return finished(task)


def pixels(ee: Any, classifier: Any) -> Any:
    """The classification of the first image, 40x50 pixels."""
    grid = {
        "dimensions": {"width": 50, "height": 40}, "crsCode": CRS,
        "affineTransform": {"scaleX": 10, "scaleY": -10, "translateX": TRANSFORM.c, "translateY": TRANSFORM.f},
    }  # fmt: skip
    image = ee.Image(f"{STACK}/image_0").classify(classifier)
    return ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})["classification"]


@pytest.fixture
def asset() -> str:
    return f"{HOME}/models/c{uuid.uuid4().hex}"


CLASSIFIERS: dict[str, Callable[[Any], Any]] = {
    "forest": lambda ee: trained(ee, ee.Classifier.smileRandomForest(7, seed=3)),
    "tree": lambda ee: trained(ee, ee.Classifier.smileCart(maxNodes=9)),
    "numbers": lambda ee: trained(ee, ee.Classifier.smileRandomForest(5).setOutputMode("REGRESSION"), 0.37),
    "shares": lambda ee: trained(ee, ee.Classifier.smileRandomForest(5).setOutputMode("PROBABILITY")),
    "text": lambda ee: ee.Classifier.decisionTree(TREE),
    "texts": lambda ee: ee.Classifier.decisionTreeEnsemble([TREE, TREE.replace("5000", "7000"), TREE]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_loaded_classifier_gives_the_pixels_of_the_exported_one(ee: Any, asset: str, name: str) -> None:
    classifier = CLASSIFIERS[name](ee)
    task = ee.batch.Export.classifier.toAsset(classifier, "saved", asset)
    task.start()
    status = finished(task)
    assert (status["state"], status["task_type"]) == ("COMPLETED", "EXPORT_CLASSIFIER"), status
    assert status["destination_uris"] == [asset]
    found, expected = pixels(ee, ee.Classifier.load(asset)), pixels(ee, classifier)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 1
    assert ee.Classifier.load(asset).mode().getInfo() == classifier.mode().getInfo()
    assert ee.Classifier.load(asset).schema().getInfo() == classifier.schema().getInfo()
    assert ee.Classifier.load(asset).getInfo() == classifier.getInfo()


@pytest.mark.slow
def test_a_loaded_classifier_knows_its_training(ee: Any, asset: str) -> None:
    classifier = CLASSIFIERS["forest"](ee)
    assert exported(ee, classifier, asset)["state"] == "COMPLETED"
    found = ee.Classifier.load(asset)
    assert found.explain().getInfo() == classifier.explain().getInfo()
    assert found.confusionMatrix().getInfo() == classifier.confusionMatrix().getInfo()
    shares = found.setOutputMode("MULTIPROBABILITY")
    features = training(ee).classify(shares).aggregate_array("classification").getInfo()
    assert {len(each) for each in features} == {2}
    rows = training(ee).classify(found).aggregate_array("classification").getInfo()
    assert np.mean(np.equal(rows, np.where(POINTS[:, 0] > POINTS[:, 1], 7, 2))) > 0.95


@pytest.mark.slow
def test_a_classifier_is_an_asset_like_others(ee: Any, asset: str) -> None:
    assert exported(ee, CLASSIFIERS["tree"](ee), asset)["state"] == "COMPLETED"
    described = ee.data.getAsset(asset)
    assert (described["type"], described["id"], "properties" in described) == ("CLASSIFIER", asset, False)
    assert [
        child["type"] for child in ee.data.listAssets(f"{HOME}/models")["assets"] if child["id"] == asset
    ] == ["CLASSIFIER"]  # fmt: skip
    status = exported(ee, CLASSIFIERS["text"](ee), asset)
    assert status["state"] == "FAILED"
    assert status["error_message"] == f"Cannot overwrite asset '{asset}'."
    assert exported(ee, CLASSIFIERS["text"](ee), asset, overwrite=True)["state"] == "COMPLETED"
    assert ee.Classifier.load(asset).getInfo()["type"] == "Classifier.decisionTree"
    ee.data.updateAsset(asset, {"properties": {"area": "north"}}, ["properties"])
    assert ee.data.getAsset(asset)["properties"] == {"area": "north"}
    policy = {"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]}
    ee.data.setIamPolicy(asset, policy)
    assert ee.data.getIamPolicy(asset)["bindings"] == policy["bindings"]
    copy, moved = f"{HOME}/copy_{uuid.uuid4().hex}", f"{HOME}/moved_{uuid.uuid4().hex}"
    ee.data.copyAsset(asset, copy)
    ee.data.deleteAsset(asset)
    with pytest.raises(ee.EEException, match=r"Classifier.load: Classifier asset '.*' not found \(does not exist or"):
        ee.Classifier.load(asset).getInfo()
    ee.data.renameAsset(copy, moved)
    np.testing.assert_array_equal(pixels(ee, ee.Classifier.load(moved)), pixels(ee, CLASSIFIERS["text"](ee)))
    with pytest.raises(ee.EEException, match="does not exist"):
        ee.data.getAsset(copy)


@pytest.mark.slow
def test_other_assets_are_no_classifiers(ee: Any, asset: str) -> None:
    for other in (STACK, TABLE, f"{STACK}/image_0"):
        with pytest.raises(ee.EEException, match="is not a Classifier"):
            ee.Classifier.load(other).getInfo()
    assert exported(ee, CLASSIFIERS["text"](ee), asset)["state"] == "COMPLETED"
    for value, message in (
        (ee.Image(asset), "is not an Image"),
        (ee.FeatureCollection(asset), "Expected asset to be a Collection, found 'Classifier'"),
    ):
        with pytest.raises(ee.EEException, match=message):
            value.getInfo()
    with pytest.raises(ee.EEException, match="is not an ImageCollection"):
        ee.ImageCollection(asset).getInfo()
    with pytest.raises(ee.EEException, match="is neither a Folder nor an ImageCollection"):
        ee.data.listAssets(asset)


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused(ee: Any, asset: str) -> None:
    cases = {
        "only supported for ee.Classifier.smileRandomForest, ee.Classifier.smileCart, ee.Classifier.DecisionTree": (
            trained(ee, ee.Classifier.smileKNN(3))
        ),
        "must be trained": ee.Classifier.smileCart(),
        "Expected a Classifier": ee.Clusterer.wekaKMeans(2),
        "Classes must be whole numbers": trained(ee, ee.Classifier.smileCart(), 0.37),
    }
    for message, value in cases.items():
        status = exported(ee, value, asset)
        assert status["state"] == "FAILED"
        assert message in status["error_message"]
    with pytest.raises(ee.EEException, match="does not exist"):
        ee.data.getAsset(asset)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, str]:
    """Return the folder of a store with a classifier, and the id of that."""
    labels = np.where(POINTS[:, 0] > POINTS[:, 1], 7.0, 2.0)
    data = TrainingData(POINTS.astype(np.float64), labels)
    classifier = smile_cart(9, 1).trained(lambda: data, ["red", "nir"])
    name, task = f"{HOME}/c", IngestTask(tmp_path / "assets", {}, 1)
    task.run("classifier", {name: partial(task.classifier, name, document_of(classifier))})
    return tmp_path / "assets", name


def file_of(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*.json") if path.stem not in ("catalog", "item"))
    return path


@pytest.mark.slow
def test_a_document_that_others_wrote_is_checked(stored: tuple[Path, str]) -> None:
    folder, name = stored
    path = file_of(folder)
    document = json.loads(path.read_text())
    short = base64.b64encode(b"12345678").decode()
    for change in (
        {"type": "smileKNN"}, {"type": "__import__"}, {"type": ["smileCart"]}, {"more": 1}, {"schema": []},
        {"options": {"maxNodes": "9", "minLeafPopulation": 1}}, {"options": {"maxNodes": 9}}, {"schema": ["red"]},
        {"options": {"maxNodes": True, "minLeafPopulation": 1}}, {"schema": ["red", 1]}, {"training": None},
        {"training": {"samples": short, "labels": short}}, {"training": {"samples": "gASV", "labels": "?"}},
        {"training": {"samples": "", "labels": ""}}, {"training": {"samples": 1, "labels": 1}},
        {"type": "decisionTree", "options": {"treeString": TREE}},
        {"type": "decisionTreeEnsemble", "options": {"treeStrings": [TREE, 1]}},
    ):  # fmt: skip
        path.write_text(json.dumps({**document, **change}))
        with FolderStore(folder) as store, pytest.raises(InvalidError, match="cannot be understood"):
            load(Context(store), name)
    path.write_text(json.dumps({**document, "mode": "exec"}))
    with FolderStore(folder) as store, pytest.raises(InvalidError, match="Unknown output mode 'exec'"):
        load(Context(store), name)
    path.write_text("[" * 100_000)
    with FolderStore(folder) as store, pytest.raises(InvalidStoreError, match="cannot be read"):
        load(Context(store), name)
    path.write_text(json.dumps(document))
    with FolderStore(folder) as store:
        assert load(Context(store), name).description["type"] == "Classifier.smileCart"


@pytest.mark.slow
def test_a_rebuilt_index_knows_classifiers(stored: tuple[Path, str]) -> None:
    folder, name = stored
    (folder / ".index.sqlite").unlink()
    with FolderStore(folder) as store:
        assert isinstance(store.get(name), ClassifierAsset)
        assert [each.type for each in store.summaries(HOME)] == ["CLASSIFIER"]
        assert store.describe()["classifier"] == 1
    path, outside = file_of(folder), folder.parent / "outside.json"
    path.rename(outside)
    path.symlink_to(outside)
    with FolderStore(folder) as store, pytest.raises(UnsafeHrefError):
        load(Context(store), name)


@pytest.mark.slow
def test_a_process_fits_a_stored_classifier_once(stored: tuple[Path, str]) -> None:
    folder, name = stored
    with FolderStore(folder) as store:
        context, asset = Context(store), store.get(name)
        context.note(("asset", name), lambda: asset)
        assert load(context, name) is load(context, name)
        assert load(context, name).model is load(context, name).model


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_half_classifier(tmp_path: Path) -> None:
    """The server dies while it writes; the asset is not there, or it is whole."""
    folders = Folders(tmp_path)
    options = ("--no-demo", "--export-assets", str(folders.assets))
    asset = f"{HOME}/c"
    server = start_server(*options)
    with server.process:
        ee = initialize(server)
        ee.batch.Export.classifier.toAsset(CLASSIFIERS["forest"](ee), "saved", asset).start()
        wait_until(lambda: any(folders.assets.rglob("*.json")))
        os.kill(server.process.pid, signal.SIGKILL)
    again = start_server(*options)
    try:
        ee = initialize(again)
        if not ee.data.listBuckets("projects/some-project").get("assets", []):
            with pytest.raises(ee.EEException, match="does not exist"):
                ee.data.getAsset(asset)
            assert exported(ee, CLASSIFIERS["forest"](ee), asset)["state"] == "COMPLETED"
        assert ee.Classifier.load(asset).schema().getInfo() == ["red", "nir"]
    finally:
        stop_server(again)
