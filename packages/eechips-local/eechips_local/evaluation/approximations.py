"""State where values of the local Earth Engine may differ, because Google's reference leaves them open."""

from __future__ import annotations

from collections.abc import Mapping

_APPROXIMATIONS: Mapping[str, str] = {
    "CannyEdgeDetector": "The weights of the gradient: central differences.",
    "Classifier.amnhMaxent": (
        "What `explain` has (options and numbers, no contributions), the name without `clamp` (`probability`), whether "
        "`autoFeature` takes thresholds (never), and where fitting ends: at the minimum, near which Maxent 3.4 stops."
    ),
    "Classifier.decisionTree": "See `Classifier.decisionTreeEnsemble`.",
    "Classifier.decisionTreeEnsemble": (
        "How trees are joined: by the most frequent value where all leaves are whole numbers, else by the mean. "
        "`REGRESSION` is the mean, as is `PROBABILITY`, which leaves of 0 to 1 allow; `RAW` is the value of each tree."
    ),
    "Clusterer.wekaCobweb": (
        "The order in which samples enter, and the numbers of clusters: in the order of the tree from above."
    ),
    "Clusterer.wekaLVQ": (
        "Where centres begin, the order of samples and how the rate decreases: at samples, at random, in a line to 0."
    ),
    "Clusterer.wekaXMeans": (
        "Random numbers, and the likelihood: of spherical normal distributions of one variance, in all dimensions."
    ),
    "Collection.distance": (
        "The sphere on which distances are measured: here the ellipsoid, from which a sphere differs by some 0.2%."
    ),
    "CrossCorrelation": (
        "The unit of distances, the sign, several bands, ties, and the name of the third band: pixels to the "
        "right and downwards in `imageB`, the mean of the bands' coefficients, the nearest, and `distance`."
    ),
    "FMask.fillMinima": "How far minima are looked for: a tile and the neighborhood. Pixels touch at corners, too.",
    "FeatureCollection.inverseDistance": (
        "The weights, and the way to the mean: the modified method of Shepard, whose deviation from the mean decreases "
        "with the distance to the nearest point; gamma is the exponent. The standard deviation has no effect."
    ),
    "FeatureCollection.kriging": (
        "The formulas of semivariograms, and whether the mean is known: ordinary kriging; the exponential and Gaussian "
        "shapes reach 95% of the sill at the range. Distances are on a sphere, the band has the name of the property."
    ),
    "HillShadow": "See `Terrain.hillShadow`.",
    "HoughTransform": (
        "The steps of angles and distances, how votes are smoothed, how far a line goes, and its value: one degree and "
        "one pixel, means of 3 by 3, through the cell of the grid, 1."
    ),
    "Image.Segmentation.GMeans": (
        "What `pValue` is, and how often k-means is repeated: the critical value of the statistic of Anderson and "
        "Darling (the paper has 1.87), and `numIterations` times. Tiles have 256 pixels."
    ),
    "Image.Segmentation.KMeans": (
        "Where clusters begin, and which is the first: k-means++ with a fixed seed, by scikit-learn. Tiles have 256 "
        "pixels."
    ),
    "Image.Segmentation.SNIC": (
        "Numbers of clusters, places of seeds in their cells, and the size of tiles: a number tells where the seed is, "
        "seeds are in the middle, tiles have 256 pixels."
    ),
    "Image.Segmentation.seedGrid": (
        "Which pixel of a cell is the seed: the middle one. Cells are counted from the origin of the CRS."
    ),
    "Image.cumulativeCost": (
        "The sphere of geodetic distances (its radius is 6,378,137 m), and the ways between pixels: to their eight "
        "neighbours, at the mean of both costs."
    ),
    "Image.derivative": "The difference: half of that between the two neighbours.",
    "Image.displace": "What happens beyond `maxOffset`: pixels are masked.",
    "Image.displacement": (
        "How patches are chosen, matched and corrected: half a patch apart, by normalized cross-correlation on one "
        "level; points farther than a part of `maxOffset` from the median of the nine around take that median, a part "
        "that `stiffness` 10 makes zero. A patch has 32 pixels if not given. The CRS is that of the result."
    ),
    "Image.gradient": "The length of a pixel: on a sphere, as measured for `Terrain.slope`.",
    "Image.medialAxis": (
        "Whether distances are squared (they are), and which of several power points a pixel belongs to: the nearest. "
        "Tiles have 256 pixels."
    ),
    "Image.reduceRegion": (
        "Pixels at the edge of a region weigh 0 to 255 parts of 255, as in Earth Engine's 8 bits "
        "(https://developers.google.com/earth-engine/guides/reducers_weighting), so sums are not those of exact areas. "
        "A part near a step may be rounded otherwise."
    ),
    "Image.reduceRegions": "See `Image.reduceRegion`.",
    "Image.register": "See `Image.displacement`.",
    "Image.rename": (
        "Which names are refused: those that users report, with `_` or a blank at the beginning, a colon, or the text "
        "of a client's object. Functions other than this and `Image.select` take them."
    ),
    "Image.resample": (
        "Pixels at an image's edge: neighbours outside have no weight; pixels with the centre outside are masked. The "
        "bilinear mask is the weighted sum of the neighbours' masks, as measured; the bicubic mask is the centre's."
    ),
    "Image.rsedTransform": "Names and types of bands: the names of the input; floats.",
    "Image.spectralDilation": "Which of several spectra that are as far is taken: the pixel's own, then the first.",
    "Image.spectralDistance": "How `emd` weighs spectra: each has the sum 1, neighbouring bands have the distance 1.",
    "Image.spectralErosion": (
        "Whether a pixel is its own neighbour: it is, so that the image stays as it is without `useCentroid`."
    ),
    "Image.spectralGradient": "The name of the band: `gradient`.",
    "ImageCollection.formaTrend": (
        "The short trend: the least slope of a line through `windowSize` images, as FORMA's program has it without its "
        "smoothing; the names of its band and of Hansen's statistic (`short-trend`, `break-stat`). Covariates are "
        "refused."
    ),
    "Image.visualize": "How halves are rounded: up, so that the middle of the range is 128.",
    "Kernel.gaussian": (
        "The size: with radius 3 its page prints 5 by 5 weights, a recording of December 2024 has 7 by 7, as here."
    ),
    "Reducer.fixed2DHistogram": "The order of the axes: that of x is the first.",
    "Reducer.mode": "How weights add up: users report 50.00000000000015 for class 50 of a region; here it is 50.",
    "Reducer.percentile": (
        "How the parts of pixels at the edge of a polygon weigh: results over polygons of few pixels were 2.5% apart."
    ),
    "Reducer.ridgeRegression": (
        "Whether variables are scaled before the penalty: to a variance of 1, as in Smile. The p-value is that of the "
        "F test of the regression."
    ),
    "Reducer.robustLinearRegression": (
        "What `beta` is: the greatest residual of the tuples that count; without it Talwar's."
    ),
    "Reducer.sampleStdDev": "See `Reducer.sampleVariance`.",
    "Reducer.sampleVariance": "How weights count: only their ratios, as `aweights` of NumPy's `cov`.",
    "Reducer.sensSlope": "The offset: the median of what the slope leaves of y.",
    "Sentinel2.CDI": "How `B8` becomes as coarse as the others: by the mean of its pixels.",
    "TemporalSegmentation.C2c": (
        "What masked values are: missing, as zeros. Everything else is as in the program that the reference names."
    ),
    "TemporalSegmentation.Ccdc": (
        "The scaling of the lasso, the thresholds of Tmask, and short segments before the first and after the last "
        "stable model: variables have a variance of 1; the others are as in the programs of the authors and the USGS."
    ),
    "TemporalSegmentation.Ewmacd": (
        "Masked images, which have no element in the arrays; what `rmse` and `rSquared` are of: the training images "
        "that the model is fitted to; pixels without a model, which are masked. Scores are as in the authors' program "
        "for Earth Engine."
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
    "TemporalSegmentation.Verdet": (
        "The name of the band, negative values, masked values, and the angle at which segments end: `score`, 1e-5, a "
        "masked pixel, and all else as in the authors' program for Earth Engine."
    ),
    "Terrain.aspect": "The north: the grid's convergence is subtracted, as a user measured in UTM, in all projections.",
    "Terrain.fillMinima": "See `FMask.fillMinima`.",
    "Terrain.hillShadow": (
        "How far shadows reach, and what the hysteresis does: a tile of 256 pixels and the neighborhood; shadows "
        "without a pixel that is deeper than the light falls over one pixel are removed."
    ),
    "Terrain.hillshade": "The aspect is relative to the grid's north. Distances are computed as in `Terrain.slope`.",
    "Terrain.slope": "Lengths outside of UTM: between neighbours on a sphere, as a user measured in UTM.",
}


def approximations() -> Mapping[str, str]:
    """Return what the reference leaves open, and what the local Earth Engine does, by the names of functions."""
    return _APPROXIMATIONS
