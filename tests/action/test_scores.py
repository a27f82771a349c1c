"""mAP against values worked out by hand, and the formats it reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tctrack.action.scores import ACTIVITYNET_TIOUS, mean_average_precision, temporal_iou
from tctrack.action.segments import Segment, read_annotations, read_results, results_json
from tctrack.errors import DatasetError


def test_temporal_iou() -> None:
    overlaps = temporal_iou(2, 6, np.array([0.0, 4, 6, 2, 3]), np.array([4.0, 8, 9, 6, 4]))
    np.testing.assert_allclose(overlaps, [2 / 6, 2 / 6, 0, 1, 1 / 4])


def test_hand_worked_average_precision() -> None:
    """Ranks 1 and 4 hit, 2 is a double of 1, 3 is in a video without the class: AP = (1/1 + 2/4) / 3."""
    truth = [
        Segment("v", 0, 10, "run"),
        Segment("v", 20, 30, "run"),
        Segment("w", 0, 5, "run"),
        Segment("x", 0, 1, "sit"),
    ]
    found = [
        Segment("v", 0, 9, "run", 0.9),
        Segment("v", 1, 10, "run", 0.8),
        Segment("x", 0, 1, "run", 0.7),
        Segment("w", 0, 4, "run", 0.6),
        Segment("x", 0, 1, "sit", 0.1),
        Segment("x", 0, 1, "fly", 1.0),
    ]
    at_half, at_85 = mean_average_precision(truth, found, (0.5, 0.85))
    assert at_half == pytest.approx(((1 + 2 / 4) / 3 + 1) / 2)
    assert at_85 == pytest.approx((1 / 3 + 1) / 2)  # the detection in w overlaps by 0.8 only


def test_precision_is_interpolated_from_the_right() -> None:
    truth = [Segment("v", 0, 1, "a"), Segment("v", 2, 3, "a")]
    found = [Segment("v", 8, 9, "a", 0.9), Segment("v", 0, 1, "a", 0.8), Segment("v", 2, 3, "a", 0.7)]
    assert mean_average_precision(truth, found, (0.5,))[0] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_second_best_overlap_is_claimed_when_the_best_is_taken() -> None:
    truth = [Segment("v", 0, 10, "a"), Segment("v", 2, 12, "a")]
    found = [Segment("v", 0, 10, "a", 0.9), Segment("v", 0.5, 10.5, "a", 0.8)]
    assert mean_average_precision(truth, found, (0.5,))[0] == pytest.approx(1)


def test_nothing_found_scores_zero() -> None:
    scores = mean_average_precision([Segment("v", 0, 1, "a")], [])
    assert scores.tolist() == [0] * len(ACTIVITYNET_TIOUS)


def test_activitynet_files(tmp_path: Path) -> None:
    entry = {"subset": "validation", "duration": 9.0, "annotations": [{"segment": [1, 2.5], "label": "Polo"}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": {"v": entry, "w": {**entry, "subset": "training"}}}))
    assert read_annotations(path, "validation") == [Segment("v", 1, 2.5, "Polo")]
    assert len(read_annotations(path)) == 2
    with pytest.raises(DatasetError, match="subset 'testing'"):
        read_annotations(path, "testing")
    segments = [Segment("v", 1, 2, "Polo", 0.5), Segment("v", 3, 4, "Polo", 0.25)]
    (tmp_path / "r.json").write_text(results_json(segments))
    assert read_results(tmp_path / "r.json") == segments


@pytest.mark.parametrize(("task", "label"), [("verb", "3"), ("noun", "12"), ("action", "3,12")])
def test_epic_kitchens_files(tmp_path: Path, task: str, label: str) -> None:
    (tmp_path / "a.csv").write_text(
        "video_id,start_timestamp,stop_timestamp,verb_class,noun_class\nP01_11,00:01:00.0,00:01:02.5,3,12\n"
    )
    (tmp_path / "r.json").write_text(
        json.dumps(
            {"results": {"P01_11": [{"verb": 3, "noun": 12, "action": "3,12", "score": 0.5, "segment": [60, 62]}]}}
        )
    )
    assert read_annotations(tmp_path / "a.csv", task=task) == [Segment("P01_11", 60, 62.5, label)]
    assert read_results(tmp_path / "r.json", task) == [Segment("P01_11", 60, 62, label, 0.5)]


@pytest.mark.parametrize("text", ["", "{}", '{"database": {"v": 3}}', '{"results": {"v": [{"segment": [1]}]}}'])
def test_malformed_files_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    for read in (read_annotations, read_results):
        with pytest.raises(DatasetError, match=r"x\.json"):
            read(tmp_path / "x.json")
