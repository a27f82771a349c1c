from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tctrack.geometry.decode import SearchGrid, choose
from tctrack.models.base import boxes_from_distances
from tctrack.settings import TrackerSettings

FREE = TrackerSettings(penalty_k=0, window_influence=0, lr=1)


def make_boxes(side: int = 3) -> np.ndarray:
    return np.tile([0.0, 0.0, 40.0, 20.0], (side * side, 1))


def test_the_grid_of_the_published_networks() -> None:
    offsets = SearchGrid(11, 16).offsets()
    points = [(16 * x + 63 - 143, 16 * y + 63 - 143) for y in range(11) for x in range(11)]
    assert offsets.tolist() == [list(map(float, point)) for point in points]


def test_an_even_grid_has_no_cell_at_the_centre() -> None:
    assert SearchGrid(2, 16).offsets().tolist() == [[-8, -8], [8, -8], [-8, 8], [8, 8]]


def test_boxes_span_their_distances() -> None:
    near, far = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 6.0]]])
    assert boxes_from_distances(SearchGrid(1, 16), near, far).tolist() == [[[1, 2, 4, 8]]]


def test_without_priors_the_best_score_wins() -> None:
    scores = np.array([0.1, 0.2, 0.9, 0, 0, 0, 0, 0, 0.8])
    choice = choose(make_boxes(), scores, np.array([40.0, 20.0]), FREE)
    assert choice.candidate == 2
    assert choice.penalty == pytest.approx(1)


def test_a_change_of_size_is_penalised() -> None:
    boxes = make_boxes()
    boxes[2, 2:] *= 2
    scores = np.array([0, 0, 0.9, 0, 0, 0, 0, 0, 0.8])
    tracking = TrackerSettings(penalty_k=0.5, window_influence=0, lr=1)
    choice = choose(boxes, scores, np.array([40.0, 20.0]), tracking)
    assert choice.candidate == 8
    # Twice the size at the same shape: exp(-(2 · 1 - 1) · 0.5).
    alone = choose(boxes, np.eye(9)[2], np.array([40.0, 20.0]), tracking)
    assert alone.penalty == pytest.approx(math.exp(-0.5), rel=1e-4)


def test_the_window_prefers_the_last_position() -> None:
    scores = np.array([0, 0, 0.9, 0, 0.8, 0, 0, 0, 0])
    tracking = TrackerSettings(penalty_k=0, window_influence=0.4, lr=1)
    assert choose(make_boxes(), scores, np.array([40.0, 20.0]), tracking).candidate == 4


def test_targets_in_a_batch_are_chosen_alone() -> None:
    generator = np.random.default_rng(0)
    boxes, scores = generator.uniform(5, 50, (4, 25, 4)), generator.uniform(0, 1, (4, 25))
    size = generator.uniform(5, 50, (4, 2))
    tracking = TrackerSettings(penalty_k=0.1, window_influence=0.3, lr=1)
    together = choose(boxes, scores, size, tracking)
    alone = [choose(boxes[i], scores[i], size[i], tracking) for i in range(4)]
    assert together.candidate.tolist() == [choice.candidate for choice in alone]
    assert together.penalty.tolist() == [choice.penalty for choice in alone]
