"""Decision trees in R's text format: the trees of R's documentation, and forests of scikit-learn written as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eechips_local.algorithms.classification import TrainingData
from eechips_local.algorithms.decision_trees import most_frequent, parse_trees
from eechips_local.evaluation.lazy_values import Later, uncomputed
from eechips_local.functions.learning.classifier_training import explain
from eechips_local.functions.learning.classifiers import smile_random_forest
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.local_earth_engine import Server, initialize

# As rpart prints its tree of iris, with numbers for the names of the species and for those of the inputs.
IRIS = """n= 150

node), split, n, loss, yval, (yprob)
      * denotes terminal node

1) root 150 100 0 (0.33333333 0.33333333 0.33333333)
  2) Petal.Length< 2.45 50   0 0 (1.00000000 0.00000000 0.00000000) *
  3) Petal.Length>=2.45 100  50 1 (0.00000000 0.50000000 0.50000000)
    6) Petal.Width< 1.75 54   5 1 (0.00000000 0.90740741 0.09259259) *
    7) Petal.Width>=1.75 46   1 2 (0.00000000 0.02173913 0.97826087) *
"""


def text_of(tree: Any, names: list[str], values: Any) -> str:
    """A tree of scikit-learn as ``explain`` shows those of Earth Engine."""
    lines: list[str] = []

    def add(node: int, number: int, split: str) -> None:
        is_leaf = tree.children_left[node] == -1
        end = " *" if is_leaf else ""
        lines.append(f"{number}) {split} {tree.n_node_samples[node]} {tree.impurity[node]:.4f} {values[node]!r}{end}")
        if not is_leaf:
            split = f"{names[tree.feature[node]]} {{}} {float(tree.threshold[node])!r}"
            add(tree.children_left[node], 2 * number, split.format("<="))
            add(tree.children_right[node], 2 * number + 1, split.format(">"))

    add(0, 1, "root")
    return "\n".join(lines)


def test_the_tree_of_rs_documentation() -> None:
    ensemble = parse_trees([IRIS])
    assert ensemble.names == ("Petal.Length", "Petal.Width")
    samples = np.array([[2.449, 9], [2.45, 1.74], [2.45, 1.75], [6, 0]])
    assert ensemble.votes(samples)[:, 0].tolist() == [0, 1, 2, 1]


def test_operators_at_their_thresholds() -> None:
    for below, above in (("<", ">="), ("<=", ">"), (">", "<="), (">=", "<")):
        text = f"1) root 2 1 0\n2) x{below}-1.5e0 1 0 10 *\n3) x {above} -1.5 1 0 20 *"
        found = parse_trees([text]).votes(np.array([[-1.6], [-1.5], [-1.4]]))[:, 0]
        holds = {"<": [1, 0, 0], "<=": [1, 1, 0], ">": [0, 0, 1], ">=": [0, 1, 1]}[below]
        assert found.tolist() == [10 if h else 20 for h in holds]


@pytest.mark.slow
def test_forests_of_scikit_learn_give_the_same() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    random = np.random.default_rng(5)
    x = random.normal(size=(300, 4)).astype(np.float32)
    y = 3 * x[:, 0] + np.sin(5 * x[:, 1]) * x[:, 2]
    names = ["a", "b", "c", "d"]
    forest = ensemble.RandomForestRegressor(20, random_state=0).fit(x, y)
    texts = [text_of(e.tree_, names, e.tree_.value.ravel().tolist()) for e in forest.estimators_]
    trees = parse_trees(["\n".join(texts[:5]), *texts[5:]])
    assert len(trees.trees) == 20
    points = random.normal(size=(200, 4)).astype(np.float32)
    given = points[:, [names.index(name) for name in trees.names]].astype(np.float64)
    np.testing.assert_allclose(trees.votes(given).mean(axis=1), forest.predict(points))


def test_votes() -> None:
    assert most_frequent(np.array([[3, 1, 3, 2.0], [2, 1, 2, 1], [5, 5, 5, 5], [4, 3, 2, 1]])).tolist() == [3, 1, 5, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Decision tree 0 has no node"),
        ("n= 3", "Decision tree 0 has no node"),
        ("2) x< 1 1 0 1 *", r"^Error parsing line 1: expected 1, got 2\.$"),
        ("1) root 2 1 0\n2) x< 1 1 0 1 *", "Node 1 of a decision tree has one child"),
        ("1) root 2 1 0 *\n2) x< 1 1 0 1 *\n3) x>=1 1 0 2 *", "Error parsing line 2: expected 1, got 2"),
        ("1) root 2 1 0\n2) x< 1 1 0 1 *\n3) y>=1 1 0 2 *", "split by different inputs"),
        ("1) root 2 1 0\n2) x< 1 1 0 1 *\n2) x>=1 1 0 2 *", "Error parsing line 3: expected 3, got 2"),
        ("1) root 2 1 0\n2) x< 1 1 0 1\n4) x< 0 1 0 1\n3) x>=1 1 0 2 *", "Error parsing line 4: expected 8, got 3"),
        ("1) root 2 1 setosa", "node 1 cannot be read: 'root 2 1 setosa'"),
        (
            "1) root 2 1 0\n2) Hacked=TRUE 1 0 1 *\n3) Hacked=FALSE 1 0 2 *",
            "node 2 cannot be read: 'Hacked=TRUE 1 0 1'",
        ),
        ("1) root 2 1 0 *", "have no splits"),
        ("9" * 5000 + ") root 2 1 0", "Decision tree 0 has no node"),
        ("1) root 2 1 0\n2) x< " + "9" * 50_000, "node 2 cannot be read"),  # each digit was divided in several ways
    ],
)
def test_what_is_no_tree(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        parse_trees([text])


@pytest.mark.slow
def test_trees_are_written_when_they_are_asked_for() -> None:
    """Scripts read the importance only; the text of 100 trees of 4,000 samples may take as long as their growth."""
    training = TrainingData(np.arange(40.0)[:, None], np.arange(40.0) % 2)
    explanation = explain(smile_random_forest(2, None, 1, 0.5, None, 0).trained(lambda: training, ["a"]))
    assert isinstance(uncomputed(explanation)["trees"], Later)
    assert parse_trees(explanation["trees"]).names == ("a",)


class TestServed:
    @pytest.fixture
    def ee(self, stack_server: Server) -> Any:
        return initialize(stack_server)

    def outputs(self, ee: Any, classifier: Any, rows: list[dict[str, float]]) -> Any:
        features = ee.FeatureCollection([ee.Feature(None, row) for row in rows])
        return features.classify(classifier).aggregate_array("classification").getInfo()

    @pytest.mark.slow
    def test_features_and_pixels_without_training(self, ee: Any) -> None:
        classifier = ee.Classifier.decisionTree(IRIS)
        assert classifier.schema().getInfo() == ["Petal.Length", "Petal.Width"]
        rows = [{"Petal.Length": 1.4, "Petal.Width": 0.2}, {"Petal.Length": 5.0, "Petal.Width": 2.0}]
        assert self.outputs(ee, classifier, rows) == [0, 2]
        text = "1) root 9 9 1\n2) red <= 10 5 0 7 *\n3) red > 10 4 0 3 *"
        image = ee.Image.constant([10, 1]).rename(["red", "nir"]).classify(ee.Classifier.decisionTree(text))
        assert image.bandNames().getInfo() == ["classification"]
        band = image.getInfo()["bands"][0]["data_type"]
        assert (band["precision"], band["min"], band["max"]) == ("int", 3, 7)
        assert image.reduceRegion(ee.Reducer.first(), ee.Geometry.Point(0, 0), 1).getInfo() == {"classification": 7}

    def test_ensembles_vote_for_classes_and_average_numbers(self, ee: Any) -> None:
        def tree(low: float, high: float) -> str:
            return f"1) root 9 9 9999\n2) x< 0 5 0 {low} *\n3) x>=0 4 0 {high} *"

        rows = [{"x": -1}, {"x": 1}]
        classes = ee.Classifier.decisionTreeEnsemble([tree(1, 2), tree(1, 3), tree(4, 3)])
        assert self.outputs(ee, classes, rows) == [1, 3]
        assert self.outputs(ee, classes.setOutputMode("REGRESSION"), rows) == pytest.approx([2, 8 / 3])
        assert self.outputs(ee, classes.setOutputMode("RAW"), rows) == [[1, 1, 4], [2, 3, 3]]
        numbers = ee.Classifier.decisionTreeEnsemble([tree(0.25, 2), tree(0.5, 3)])
        assert self.outputs(ee, numbers, rows) == [0.375, 2.5]
        shares = ee.Classifier.decisionTreeEnsemble([tree(0, 1), tree(0, 1), tree(1, 1)])
        assert self.outputs(ee, shares.setOutputMode("PROBABILITY"), rows) == pytest.approx([1 / 3, 1])

    @pytest.mark.parametrize("mode", ["CLASSIFICATION", "REGRESSION"])
    def test_trees_of_explain_are_classifiers(self, ee: Any, mode: str) -> None:
        """Codes 45650651643 (``tree``), 17677327895 and 42752201238 (``trees``) save them for another session.

        Six trees with leaves of several classes: votes and mean probabilities differ.
        """
        random = np.random.default_rng(0)
        samples = random.uniform(0, 9, (60, 2)).astype(np.float32)
        classes = np.digitize(samples.sum(axis=1), [7, 11]) * 4 + 3 if mode == "CLASSIFICATION" else samples[:, 0] / 2
        rows = [{"a<= b": a, "c": c, "y": y} for (a, c), y in zip(samples.tolist(), classes.tolist(), strict=True)]
        features = ee.FeatureCollection([ee.Feature(None, row) for row in rows])

        def trained(classifier: Any) -> Any:
            return classifier.setOutputMode(mode).train(features, "y", ["a<= b", "c"])

        tree, forest = trained(ee.Classifier.smileCart()), trained(ee.Classifier.smileRandomForest(6, None, 9))
        read = ee.Classifier.decisionTree(ee.String(tree.explain().get("tree"))).setOutputMode(mode)
        assert self.outputs(ee, read, rows) == pytest.approx(self.outputs(ee, tree, rows))
        trees = ee.List(forest.explain().get("trees"))
        read = ee.Classifier.decisionTreeEnsemble(trees).setOutputMode(mode)
        assert self.outputs(ee, read, rows) == pytest.approx(self.outputs(ee, forest, rows))
        assert trees.size().getInfo() == 6

    def test_errors_name_the_tree(self, ee: Any) -> None:
        with pytest.raises(ee.EEException, match="Decision tree 1 has no node"):
            ee.Classifier.decisionTreeEnsemble([IRIS, "nothing"]).getInfo()
        with pytest.raises(ee.EEException, match="at least one tree"):
            ee.Classifier.decisionTreeEnsemble([]).getInfo()
        with pytest.raises(ee.EEException, match="does not have the output mode PROBABILITY"):
            ee.Classifier.decisionTree(IRIS).setOutputMode("PROBABILITY").getInfo()
