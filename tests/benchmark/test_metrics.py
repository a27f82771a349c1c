from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tctrack.benchmark.metrics import (
    PROTOCOLS,
    Protocol,
    bootstrap_interval,
    mean_scores,
    paired_test,
    score,
)
from tctrack.errors import DatasetError
from tctrack.types import FloatArray

protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


def boxes(length: int) -> st.SearchStrategy[FloatArray]:
    """Boxes on a quarter-pixel grid, so that shifting them is exact; some lie left of the frame."""
    grid = arrays(np.int64, (length, 4), elements=st.integers(1, 800))
    return grid.map(lambda array: (array - np.array([200, 200, 0, 0])) / 4)


pairs = st.integers(1, 8).flatmap(lambda length: st.tuples(boxes(length), boxes(length)))
few = settings(max_examples=40, deadline=None)


@protocols
@few
@given(pair=pairs)
def test_curves_stay_between_0_and_1_and_are_monotonic(protocol: Protocol, pair: tuple[FloatArray, FloatArray]) -> None:
    scores = score(*pair, protocol)

    for curve in (scores.success, scores.precision, scores.norm_precision):
        assert ((curve >= 0) & (curve <= 1)).all()
    assert (np.diff(scores.success) <= 0).all()
    assert (np.diff(scores.precision) >= 0).all()
    assert (np.diff(scores.norm_precision) >= 0).all()


@protocols
@few
@given(pair=pairs)
def test_success_and_precision_do_not_tell_truth_from_prediction(
    protocol: Protocol, pair: tuple[FloatArray, FloatArray]
) -> None:
    one, other = score(*pair, protocol), score(*pair[::-1], protocol)

    np.testing.assert_array_equal(one.success, other.success)
    np.testing.assert_array_equal(one.precision, other.precision)


@protocols
@few
@given(pair=pairs, shift=st.tuples(st.integers(-500, 500), st.integers(-500, 500)))
def test_moving_everything_changes_nothing(
    protocol: Protocol, pair: tuple[FloatArray, FloatArray], shift: tuple[int, int]
) -> None:
    moved = [array + np.array([*shift, 0, 0]) for array in pair]

    one, other = score(*pair, protocol), score(*moved, protocol)

    np.testing.assert_array_equal(one.success, other.success)
    np.testing.assert_array_equal(one.precision, other.precision)
    np.testing.assert_array_equal(one.norm_precision, other.norm_precision)


@few
@given(pair=pairs, data=st.data())
def test_missing_predictions_are_misses(pair: tuple[FloatArray, FloatArray], data: st.DataObject) -> None:
    truth, prediction = pair
    lost = data.draw(arrays(np.bool_, len(truth)))
    prediction[lost] = np.nan

    scores = score(truth, prediction, "otb")

    assert scores.success[0] <= (~lost).mean()
    assert scores.precision[50] <= (~lost).mean()
    assert np.isfinite(scores.overlaps).all()


@few
@given(truth=st.integers(2, 8).flatmap(boxes), data=st.data())
def test_absent_frames_miss_success_and_hit_precision_under_otb_and_vanish_under_got10k(
    truth: FloatArray, data: st.DataObject
) -> None:
    absent = data.draw(arrays(np.bool_, len(truth)))
    absent[0] = False
    prediction = truth.copy()
    truth[absent] = np.nan

    otb, got10k = score(truth, prediction, "otb"), score(truth, prediction, "got10k")

    assert otb.success_auc == pytest.approx((1 - absent.mean()) * 20 / 21)
    assert otb.precision_20 == 1
    assert got10k.success_auc == pytest.approx(20 / 21)


@protocols
def test_perfect_boxes_score_20_of_21(protocol: Protocol) -> None:
    truth = np.array([[10, 20, 30, 40], [11, 21, 30, 40]])

    scores = score(truth, truth, protocol)

    assert scores.success_auc == pytest.approx(20 / 21)
    assert scores.precision_20 == scores.norm_precision_20 == scores.ao == scores.sr(0.75) == 1


def test_hand_worked_sequence() -> None:
    truth = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0]]
    found = [[0, 0, 10, 10], [5, 0, 10, 10], [30, 0, 10, 10], [7, 7, 7, 7]]  # overlaps 1, 1/3, 0 and none

    scores = score(truth, found, "otb")

    # 20 thresholds lie below 1; seven (0 to 0.30) below 1/3.
    assert scores.success_auc == pytest.approx((20 + 7) / 4 / 21)
    assert scores.precision[[0, 4, 5, 29, 30]] == pytest.approx([0.5, 0.5, 0.75, 0.75, 1])
    assert scores.norm_precision[[0, 49, 50]] == pytest.approx([0.5, 0.5, 0.75])


def test_boxes_without_area_overlap_nothing() -> None:
    truth = [[0, 0, 10, 10]] * 3
    scores = score(truth, [[0, 0, 10, 10], [0, 0, -5, 8], [2, 2, 0, 0]], "otb")

    assert scores.success[0] == pytest.approx(1 / 3)


def test_first_prediction_counts_under_otb_only() -> None:
    truth = [[0, 0, 10, 10], [0, 0, 10, 10]]
    found = [[100, 0, 10, 10], [0, 0, 10, 10]]

    assert score(truth, found, "otb").success[0] == 0.5
    assert score(truth, found, "got10k").success[0] == 1


@protocols
@pytest.mark.parametrize(
    ("truth_shape", "found_shape"), [((3, 4), (2, 4)), ((4,), (4,)), ((3, 5), (3, 5)), ((0, 4), (0, 4))]
)
def test_unusable_shapes_are_refused(
    protocol: Protocol, truth_shape: tuple[int, ...], found_shape: tuple[int, ...]
) -> None:
    with pytest.raises(DatasetError):
        score(np.ones(truth_shape), np.ones(found_shape), protocol)


def test_mean_of_nothing_is_refused() -> None:
    with pytest.raises(DatasetError):
        mean_scores([])


def test_bootstrap_interval_is_repeatable_and_brackets_the_mean() -> None:
    values = np.random.default_rng(1).random(60).tolist()

    low, high = bootstrap_interval(values)

    assert (low, high) == bootstrap_interval(values)
    assert low < np.mean(values) < high
    assert high - low == pytest.approx(2 * 1.96 * np.std(values) / np.sqrt(60), rel=0.1)


def test_paired_test_sees_a_consistent_gain_and_no_gain() -> None:
    first = np.random.default_rng(2).random(40)

    assert paired_test(first, first) == 1
    assert paired_test(first + 0.05, first) < 0.001
    assert paired_test(first, first[::-1]) > 0.2


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "tracker", "auc", "precision"),
    [
        ("DTB70", "SiamAPN", 0.586, 0.784),
        ("DTB70", "NanoTrackV3", 0.629, 0.813),
        ("DTB70", "AutoTrack", 0.479, 0.717),
        ("DTB70", "KCF", 0.280, 0.468),
        ("UAV123_10fps", "AutoTrack", 0.477, 0.671),
        ("UAV123_10fps", "KCF", 0.264, 0.406),
    ],
)
def test_published_results_give_published_numbers(
    shared: Path, dataset: str, tracker: str, auc: float, precision: float
) -> None:
    truth = _annotation(shared, dataset)
    results = shared / "data" / "raw_results" / dataset / tracker

    mean = mean_scores(
        score(boxes, np.loadtxt(results / f"{name}.txt", delimiter=","), "otb") for name, boxes in truth.items()
    )

    assert mean.success_auc == pytest.approx(auc, abs=0.001)
    assert mean.precision_20 == pytest.approx(precision, abs=0.001)


@pytest.mark.data
@pytest.mark.parametrize(("protocol", "auc"), [("otb", 0.9277), ("got10k", 0.9524)])
def test_perfect_tracker_on_uav123_with_its_absent_frames(shared: Path, protocol: Protocol, auc: float) -> None:
    truth = _annotation(shared, "UAV123")

    mean = mean_scores(score(boxes, boxes, protocol) for boxes in truth.values())

    assert mean.success_auc == pytest.approx(auc, abs=0.00005)


def _annotation(shared: Path, dataset: str) -> dict[str, FloatArray]:
    content = json.loads((shared / "data" / "annotations" / f"{dataset}.json").read_text())
    return {name: np.array(item["gt"], np.float64) for name, item in content.items()}
