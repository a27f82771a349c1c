from __future__ import annotations

import torch

from tctrack.engine.losses import centre_target, generalised_iou, lite_losses
from tctrack.models.lite import LiteConfig, LiteOutputs

CONFIG = LiteConfig()


def _perfect(boxes: torch.Tensor) -> LiteOutputs:
    """Maps that say exactly where the boxes are."""
    batch, length = boxes.shape[:2]
    points = CONFIG.grid.offsets() + CONFIG.search_size / 2
    target = centre_target(boxes, points, 16.0)
    logits = torch.logit(target, 1e-4).reshape(batch, length, 1, 16, 16)
    low, high = boxes[..., None, :2], (boxes[..., :2] + boxes[..., 2:])[..., None, :]
    distances = torch.cat((points - low, high - points), -1).transpose(2, 3).reshape(batch, length, 4, 16, 16)
    return LiteOutputs(logits, distances)


def test_perfect_maps_cost_next_to_nothing() -> None:
    boxes = torch.tensor([[[100.0, 90.0, 64.0, 50.0], [20.0, 150.0, 40.0, 80.0]]])
    losses = lite_losses(_perfect(boxes), boxes, CONFIG)
    assert losses.box < 1e-5
    assert losses.centre < 1e-4


def test_a_lookalike_that_scores_higher_costs_identity() -> None:
    boxes = torch.tensor([[[100.0, 90.0, 64.0, 50.0]]])
    right = _perfect(boxes)
    wrong = right._replace(centre=right.centre.flip(-1))
    assert lite_losses(wrong, boxes, CONFIG).identity > lite_losses(right, boxes, CONFIG).identity + 0.4


def test_a_target_outside_the_crop_teaches_only_absence() -> None:
    boxes = torch.tensor([[[400.0, 400.0, 40.0, 40.0]]])
    silent = LiteOutputs(torch.full((1, 1, 1, 16, 16), -10.0), torch.ones(1, 1, 4, 16, 16))
    losses = lite_losses(silent, boxes, CONFIG)
    assert losses.identity == 0
    assert losses.box == 0
    assert losses.total < 1e-3
    assert lite_losses(silent._replace(centre=-silent.centre), boxes, CONFIG).total > 1


def test_generalised_iou_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    second = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1]])
    torch.testing.assert_close(generalised_iou(first, second), torch.tensor([1 / 3, -1 / 3]))
