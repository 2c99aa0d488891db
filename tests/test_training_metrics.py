"""Figures against values worked out by hand or by another road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferlite.training.classifier import softmax
from ferlite.training.metrics import Scores, certainty, fit_temperature, uncertain_below

LABELS = ("a", "b", "c")


def scores(answers: list[int], truth: list[int], confidence: float = 0.8) -> Scores:
    p = np.full((len(truth), 3), (1 - confidence) / 2)
    p[np.arange(len(truth)), answers] = confidence
    return Scores(LABELS, np.array(truth), p)


def test_figures_of_a_small_case() -> None:
    one = scores([0, 0, 1, 1, 1], [0, 1, 1, 1, 0])
    assert one.accuracy == pytest.approx(0.6)
    assert one.confusion.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert one.per_class["a"] == pytest.approx({"n": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5})
    assert one.per_class["b"]["f1"] == pytest.approx(2 / 3)
    # A class that does not occur takes no part in the mean.
    assert one.macro("f1") == pytest.approx((0.5 + 2 / 3) / 2)
    assert one.calibration_error == pytest.approx(0.2)
    assert one.facts()["per_class"]["c"]["n"] == 0


def test_calibration_error_against_the_definition() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 500)
    truth = rng.integers(0, 3, 500)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    expected = 0.0
    for i in range(15):
        inside = (confidence >= i / 15) & (confidence < (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert Scores(LABELS, truth, p).calibration_error == pytest.approx(expected)


def test_average_precision_against_its_definition() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(3), 200)
    truth = rng.integers(0, 3, 200)
    recall, precision, average = Scores(LABELS, truth, p).precision_recall(1)
    order = np.argsort(-p[:, 1])
    hits = [i for i, row in enumerate(order, start=1) if truth[row] == 1]
    expected = np.mean([n / at for n, at in enumerate(hits, start=1)])
    assert average == pytest.approx(expected) and recall[-1] == 1
    assert precision[-1] == pytest.approx(len(hits) / 200)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (20000, 3))
    p = softmax(logits)
    truth = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)
    assert fit_temperature(logits * temperature, truth) == pytest.approx(temperature, rel=0.03)


def test_uncertain_where_half_the_answers_are_wrong() -> None:
    low, high = scores([0] * 60, [0, 1] * 30, 0.445), scores([0] * 60, [0] * 60, 0.9)
    both = Scores(
        LABELS,
        np.concatenate([low.truth, high.truth]),
        np.concatenate([low.probabilities, high.probabilities]),
    )
    assert uncertain_below(both) == pytest.approx(0.90)
    sure = Scores(LABELS, np.zeros(60, np.int64), high.probabilities)
    assert uncertain_below(sure) == 0


def test_certainty_also_where_all_or_no_answers_are_marked() -> None:
    one = scores([0, 0, 1, 1], [0, 1, 1, 1])
    nothing = {"below": 0.5, "share": 0.0, "accuracy": 0.0, "accuracy_else": 0.75}
    everything = {"below": 0.9, "share": 1.0, "accuracy": 0.75, "accuracy_else": 0.0}
    assert certainty(one, 0.5) == nothing and certainty(one, 0.9) == everything


def test_plots_of_another_network_do_not_stay(tmp_path: Path) -> None:
    from ferlite.training.plots import draw_all

    truth = np.repeat([0, 1, 2], 40)
    one = scores(truth.tolist(), truth.tolist())
    features = np.random.default_rng(4).normal(size=(120, 5)) + truth[:, None]
    history = [{"epoch": 1.0, "seconds": 1.0, "loss": 1.0, "accuracy": 0.5, "valid_accuracy": 0.5}]
    (tmp_path / "mine.png").touch()

    def drawn(one: Scores, rows: list[dict[str, float]]) -> set[str]:
        written = {path.name for path in draw_all(tmp_path, one, features, rows)}
        assert {path.name for path in tmp_path.iterdir()} == written | {"mine.png"}
        return written

    always = {"confusion.png", "precision_recall.png", "reliability.png"}
    assert drawn(one, history) == always | {"training_curves.png", "embedding.png"}
    assert drawn(one, []) == always | {"embedding.png"}
    # Of one class, or of one in the half that the plane is found on, there is no plane.
    for truth in (np.zeros(120, int), np.arange(120) % 2):
        assert drawn(scores([0] * 120, truth.tolist()), []) == always
