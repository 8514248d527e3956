"""``ee.Classifier.load``: classifiers that were exported as assets; which can be exported, and the JSON that they are
stored as.

A stored classifier is a JSON object: what it was made by, and what it was trained on. Its model is fitted again when it
is used, which gives the same model. Nothing of the object is executed: it is checked as arguments of a request are. ::

    type       name of the constructor, one of those that Earth Engine exports
    options    the constructor's arguments
    mode       output mode
    schema     names of the inputs
    training   samples of shape (samples, inputs) and labels of shape (samples,): Base64 of little-endian 64-bit floats;
               null for trees in R's text format, which need no training
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from eechips_local.algorithms.classification import Classifier, Floats, TrainingData
from eechips_local.evaluation.asset_model import ClassifierAsset
from eechips_local.evaluation.context import Context
from eechips_local.functions.learning.classifiers import (
    decision_tree,
    decision_tree_ensemble,
    smile_cart,
    smile_random_forest,
)
from eechips_local.functions.registration import function
from eechips_local.protocol.request_errors import InvalidError

_CONSTRUCTORS: Mapping[str, Callable[..., Classifier]] = {
    "smileRandomForest": smile_random_forest,
    "smileCart": smile_cart,
    "decisionTree": decision_tree,
    "decisionTreeEnsemble": decision_tree_ensemble,
}
_TRAINED = ("smileRandomForest", "smileCart")
_FIELDS = {"type", "options", "mode", "schema", "training"}
_NUMBER: tuple[type, ...] = (int, float)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "numberOfTrees": (int,), "variablesPerSplit": (int, type(None)), "minLeafPopulation": (int,),
    "bagFraction": _NUMBER, "maxNodes": (int, type(None)), "seed": (int,), "treeString": (str,), "treeStrings": (list,),
}  # fmt: skip
_OPTIONS: Mapping[str, set[str]] = {
    "smileRandomForest": {
        "numberOfTrees", "variablesPerSplit", "minLeafPopulation", "bagFraction", "maxNodes", "seed",
    },
    "smileCart": {"maxNodes", "minLeafPopulation"},
    "decisionTree": {"treeString"},
    "decisionTreeEnsemble": {"treeStrings"},
}  # fmt: skip
_FLOAT = np.dtype("<f8")


def document_of(classifier: Classifier) -> dict[str, Any]:
    """Return the JSON object of a classifier that can be exported.

    https://developers.google.com/earth-engine/apidocs/export-classifier-toasset names those that can.

    Raises:
        InvalidError: if it is another one, is not trained, or its model cannot be fitted.
    """
    if classifier.kind not in _CONSTRUCTORS:
        raise InvalidError(
            f"Classifier.{classifier.kind} cannot be exported: only supported for ee.Classifier.smileRandomForest, "
            "ee.Classifier.smileCart, ee.Classifier.DecisionTree and ee.Classifier.DecisionTreeEnsemble."
        )
    _ = classifier.model  # an export of what cannot be used fails
    training = classifier.training
    return {
        "type": classifier.kind,
        "options": {name: list(v) if isinstance(v, (list, tuple)) else v for name, v in classifier.options.items()},
        "mode": classifier.mode,
        "schema": list(classifier.schema or ()),
        "training": None if training is None else {
            "samples": _packed(training.samples), "labels": _packed(training.labels)
        },
    }  # fmt: skip


def _packed(values: Floats) -> str:
    return base64.b64encode(values.astype(_FLOAT).tobytes()).decode("ascii")


def classifier_of(document: Mapping[str, Any], id: str) -> Classifier:
    """Return the classifier of a stored JSON object.

    Args:
        document: the object, which anybody may have written.
        id: id of the asset, for messages.

    Raises:
        InvalidError: if the object is none of a classifier; says what is wrong.
    """
    kind, options, schema = document.get("type"), document.get("options"), document.get("schema")
    if set(document) != _FIELDS or not isinstance(kind, str) or kind not in _CONSTRUCTORS:
        raise _damaged(id, "its type")
    if not isinstance(options, dict) or set(options) != _OPTIONS[kind] or not all(map(_is_option, options.items())):
        raise _damaged(id, "its options")
    if not isinstance(schema, list) or not schema or not all(isinstance(name, str) for name in schema):
        raise _damaged(id, "its schema")
    classifier = _CONSTRUCTORS[kind](**options)
    if kind in _TRAINED:
        training = _training(document["training"], len(schema), id)
        classifier = classifier.trained(lambda: training, schema)
    elif list(classifier.schema or ()) != schema or document["training"] is not None:
        raise _damaged(id, "its schema")
    return classifier.with_mode(str(document["mode"]))


def _is_option(option: tuple[str, Any]) -> bool:
    name, value = option
    if isinstance(value, list):
        return name == "treeStrings" and all(isinstance(text, str) for text in value)
    return isinstance(value, _TYPES[name]) and not isinstance(value, bool)


def _training(value: Any, inputs: int, id: str) -> TrainingData:
    if not isinstance(value, dict) or set(value) != {"samples", "labels"}:
        raise _damaged(id, "its training data")
    samples, labels = (_unpacked(value[name], id) for name in ("samples", "labels"))
    if not len(labels) or len(samples) != len(labels) * inputs:
        raise _damaged(id, "its training data")
    return TrainingData(samples.reshape(len(labels), inputs), labels)


def _unpacked(text: Any, id: str) -> Floats:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), _FLOAT).astype(np.float64)
    except (TypeError, ValueError, binascii.Error) as error:
        raise _damaged(id, "its training data") from error


def _damaged(id: str, part: str) -> InvalidError:
    return InvalidError(f"Classifier asset '{id}' cannot be read: {part} cannot be understood. Export it again.")


@function("Classifier.load")
def load(context: Context, id: str) -> Classifier:
    """Return a stored classifier: https://developers.google.com/earth-engine/apidocs/ee-classifier-load."""
    asset = context.note(("asset", id), lambda: context.store.get(id.strip("/")))
    if isinstance(asset, ClassifierAsset):
        return asset.classifier(partial(classifier_of, id=id))
    if asset is not None:
        raise InvalidError(f"Asset '{id}' is not a Classifier.")
    message = f"Classifier asset '{id}' not found (does not exist or caller does not have access)."
    raise InvalidError(context.missing(id, message))
