"""State where values of the local Earth Engine may differ, because Google's reference leaves them open."""

from __future__ import annotations

from collections.abc import Mapping

_APPROXIMATIONS: Mapping[str, str] = {
    "Classifier.decisionTree": "See `Classifier.decisionTreeEnsemble`.",
    "Classifier.decisionTreeEnsemble": (
        "How trees are joined: by the most frequent value where all leaves are whole numbers, else by the mean. "
        "`REGRESSION` is the mean, `RAW` the value of each tree."
    ),
    "Reducer.ridgeRegression": (
        "Whether variables are scaled before the penalty: to a variance of 1, as in Smile. The p-value is that of the "
        "F test of the regression."
    ),
    "TemporalSegmentation.Ccdc": (
        "The scaling of the lasso, the thresholds of Tmask, and short segments before the first and after the last "
        "stable model: variables have a variance of 1; the others are as in the programs of the authors and the USGS."
    ),
    "TemporalSegmentation.LandTrendr": (
        "Details that the paper leaves open: as in the authors' program, but for two in which pixels of Earth Engine "
        "that others published differ from it. "
        "`preventOneYearRecovery` is its rule about the last year; fits of further bands have a value for each image."
    ),
    "TemporalSegmentation.LandTrendrFit": "See `TemporalSegmentation.LandTrendr`.",
    "TemporalSegmentation.StructuralChangeBreakpoints": (
        "How many breakpoints are chosen, and what `maxBreaks` 0 is: as in R, by the Bayesian information criterion, "
        "and as many as fit."
    ),
}


def approximations() -> Mapping[str, str]:
    """Return what the reference leaves open, and what the local Earth Engine does, by the names of functions."""
    return _APPROXIMATIONS
