"""Export classifiers as assets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from eechips_local.algorithms.classification import Classifier
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.exports.asset_files import asset_task, check_free, publishing
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.functions.learning.classifier_assets import document_of
from eechips_local.protocol.request_errors import TypeMismatchError


def export_classifier(
    body: Mapping[str, Any], context: Context, job: ExportJob, report: Callable[[float], None]
) -> list[ExportedFile]:
    """``classifier:export``: https://developers.google.com/earth-engine/reference/rest/v1/projects.classifier/export.

    Raises:
        TypeMismatchError: if the expression makes no classifier.
        InvalidError: if the classifier cannot be exported, or its model cannot be fitted.
    """
    assert job.asset is not None
    check_free(job.asset, context)
    value = Evaluator(body["expression"], context).evaluate()
    if not isinstance(value, Classifier):
        raise TypeMismatchError(f"Expected a Classifier; the expression is of type {type_name(value)}.")
    document = document_of(value)
    report(0.5)
    task = asset_task(job.asset, {}, context)
    with publishing(job.asset, context):
        task.run("classifier", {job.asset.id: partial(task.classifier, job.asset.id, document)})
    report(1.0)
    return []
