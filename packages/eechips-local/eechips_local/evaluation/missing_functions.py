"""State which functions the local Earth Engine will not have, and why."""

from __future__ import annotations

from collections.abc import Mapping

_INTERNAL = "It is internal to Earth Engine: its clients do not call it."
_UNDOCUMENTED = "Google does not document it exactly enough for the same result."
_CLOUD = "It calls another service of Google Cloud."
_MODELS = "Its results depend on the inner workings of a program that Earth Engine contains."
_TESTS = "It is an experiment of Earth Engine that its reference does not list."

_REASONS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "Classifier.TrainingContainer", "Clusterer.TrainingContainer", "ExtractRegion.AggregationContainer",
            "PointMatcher.PointMatcherContainer", "ReduceRegion.AggregationContainer",
            "ReduceRegions.AggregationContainer", "ReduceRegions.ReduceRegionsEnumerator",
            "ReduceToVectors.AggregationContainer", "ReduceToVectors.ReduceSegmentsEnumerator",
            "SampleImage.AggregationContainer", "SelectorSet", "SelectorSet.Geometry", "SelectorSet.Object",
            "SelectorSet.Simple", "SerializableZarrV2ArrayImage", "StratifiedSampleImage.AggregationContainer",
            "TypedImageCollection.Constructor", "Validate.AggregationContainer",
            "WrappedFeatureCollection.AggregationContainer", "PredictImage", "BetterDateRangeCollection",
            "Collection.fromColumns", "DateRangeCollection", "Element.replaceProperties", "Geometry.fromS2LatLng",
            "Geometry.fromS2LatLngRect", "Geometry.fromS2Point", "Geometry.fromS2Polygon", "Geometry.fromS2Polyline",
            "Geometry.fromSTGeography", "Image.loadMosaic", "Reducer.histogramCombiner", "CcdcCoefficients", "S1.dB",
        ),
        _INTERNAL,
    ),
    **dict.fromkeys(
        (
            "FeatureCollection.loadBigQueryTable", "FeatureCollection.runBigQuery", "Model.fromAiPlatformPredictor",
            "Model.fromVertexAi", "Model.predictImage", "Model.predictProperties",
        ),
        _CLOUD,
    ),
    **dict.fromkeys(
        (
            "FMask.matchClouds", "Feature.hersDescriptor",
            "Image.hersDescriptor", "Image.hersFeature", "Image.hersImage",
            "Image.loadZarrV2Array", "ImageCollection.loadZarrV2Array",
            "TemporalSegmentation.VCT",
        ),
        _UNDOCUMENTED,
    ),
    **dict.fromkeys(
        (
            "Classifier.pegasos", "Classifier.perceptron", "Classifier.randomForest", "Classifier.winnow",
        ),
        _MODELS,
    ),
    **dict.fromkeys(
        (
            "Test.Clustering.BerkeleySegmentation", "Test.Clustering.HashedConsistency",
            "Test.Clustering.InterTileRegionMerge", "Test.Clustering.RegionGrow",
            "Test.Clustering.SpatialConsistency", "BACCINI/ModisComposite", "Baccini.modisComposite",
            "WHRC.CombinePoints", "green_mosaic/com.google.earthengine.examples.greenmosaic.GreenMosaic",
        ),
        _TESTS,
    ),
}  # fmt: skip


def reason_of(name: str) -> str | None:
    """Return why a function will not come; None if it may."""
    return _REASONS.get(name)


def refusal(name: str) -> str:
    """Return the message about a function that is missing."""
    reason = reason_of(name)
    message = f"The local Earth Engine does not have the function {name}."
    return message if reason is None else f"{message} {reason}"


def names() -> frozenset[str]:
    """Return the functions that will not come."""
    return frozenset(_REASONS)
