from __future__ import annotations

import math

import numpy as np
import pytest

from tctrack.benchmark.confidence import auroc, calibration_error, long_term_f, max_geometric_mean
from tctrack.errors import DatasetError
from tctrack.types import FloatArray

HIT, MISS, ABSENT = (0, 0, 10, 10), (50, 50, 10, 10), (np.nan,) * 4


def boxes(*rows: tuple[float, ...]) -> FloatArray:
    return np.array(rows, np.float64)


def test_auroc_counts_pairs_in_order() -> None:
    assert auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert auroc([0, 1, 1], [0.2, 0.9, 0.9]) == 1
    assert auroc([1, 0], [0.3, 0.3]) == 0.5
    with pytest.raises(DatasetError, match="both kinds"):
        auroc([1, 1], [0.3, 0.4])


def test_auroc_is_the_share_of_pairs() -> None:
    rng = np.random.default_rng(0)
    right, scores = rng.random(60) < 0.4, rng.integers(0, 8, 60)
    pairs = scores[right][:, None] - scores[~right]
    assert auroc(right, scores) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)


def test_calibration_error_of_known_bins() -> None:
    assert calibration_error([1, 1, 1, 0], [0.75] * 4) == 0
    assert calibration_error([1, 0, 0, 0], [0.75] * 4) == pytest.approx(0.5)
    assert calibration_error([1, 0], [1.0, 0.2]) == pytest.approx(0.1)
    # Errors of one bin cancel, those of two do not.
    assert calibration_error([1, 0], [0.51, 0.59]) == pytest.approx(0.05)
    assert calibration_error([1, 0], [0.45, 0.55]) == pytest.approx(0.55)


def test_long_term_f_takes_the_best_threshold() -> None:
    truth = boxes(HIT, HIT, ABSENT, ABSENT)
    found = boxes(HIT, HIT, HIT, MISS)
    assert long_term_f(truth, found, [0.9, 0.8, 0.2, 0.1]) == 1
    assert long_term_f(truth, found, [0.5] * 4) == pytest.approx(2 / 3)  # precision 1/2, recall 1
    assert long_term_f(truth, found, [0.9, 0.1, 0.5, 0.5]) == pytest.approx(2 / 3)  # 1 and 1/2, as 1/2 and 1
    assert long_term_f(truth, boxes(MISS, MISS, HIT, HIT), [0.5] * 4) == 0


def test_max_geometric_mean() -> None:
    truth = boxes(HIT, HIT, ABSENT, ABSENT)
    assert max_geometric_mean(truth, truth, [1, 1, 0, 0]) == 1
    assert max_geometric_mean(truth, boxes(HIT, MISS, HIT, HIT), [1, 1, 0, 0]) == pytest.approx(math.sqrt(0.5))
    # One that always reports is best off to call half of its frames absent.
    assert max_geometric_mean(truth, boxes(HIT, HIT, HIT, HIT), [1, 1, 1, 1]) == pytest.approx(0.5)
    shares = np.linspace(0, 1, 1001)
    rates = np.sqrt((1 - shares) * 0.5 * ((1 - shares) * 0.25 + shares))
    found, said = boxes(HIT, MISS, HIT, HIT, HIT, HIT), [1, 1, 1, 1, 1, 0]
    assert max_geometric_mean(boxes(HIT, HIT, *[ABSENT] * 4), found, said) == pytest.approx(rates.max(), abs=1e-5)


def test_nothing_to_score() -> None:
    with pytest.raises(DatasetError, match="absent from every frame"):
        long_term_f(boxes(ABSENT), boxes(HIT), [1.0])
