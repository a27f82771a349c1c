from __future__ import annotations

import torch

from tctrack.models.lite import LiteConfig, LiteOutputs
from tctrack.training.losses_lite import LiteLosses, centre_target, generalised_iou, lite_losses, lite_targets

CONFIG = LiteConfig()
SIDE = CONFIG.grid.size


def _losses(outputs: LiteOutputs, boxes: torch.Tensor) -> LiteLosses:
    targets = lite_targets(boxes, CONFIG)
    return lite_losses(outputs, targets, targets.normaliser, CONFIG)


def _perfect(boxes: torch.Tensor) -> LiteOutputs:
    """Maps that say exactly where the boxes are."""
    batch, length = boxes.shape[:2]
    points = torch.from_numpy(CONFIG.grid.offsets()) + CONFIG.search_size / 2
    target = centre_target(boxes, points, 16.0)
    logits = torch.logit(target, 1e-4).reshape(batch, length, 1, SIDE, SIDE)
    low, high = boxes[..., None, :2], (boxes[..., :2] + boxes[..., 2:])[..., None, :]
    distances = torch.cat((points - low, high - points), -1).transpose(2, 3).reshape(batch, length, 4, SIDE, SIDE)
    return LiteOutputs(logits, distances)


def test_perfect_maps_cost_next_to_nothing() -> None:
    boxes = torch.tensor([[[100.0, 90.0, 64.0, 50.0], [20.0, 150.0, 40.0, 80.0]]])
    losses = _losses(_perfect(boxes), boxes)
    assert losses.box < 1e-5
    assert losses.centre < 1e-4


def test_a_lookalike_that_scores_higher_costs_identity() -> None:
    boxes = torch.tensor([[[100.0, 90.0, 64.0, 50.0]]])
    right = _perfect(boxes)
    wrong = right._replace(centre=right.centre.flip(-1))
    assert _losses(wrong, boxes).identity > _losses(right, boxes).identity + 0.4


def test_a_target_outside_the_crop_teaches_only_absence() -> None:
    boxes = torch.tensor([[[400.0, 400.0, 40.0, 40.0]]])
    silent = LiteOutputs(torch.full((1, 1, 1, SIDE, SIDE), -10.0), torch.ones(1, 1, 4, SIDE, SIDE))
    losses = _losses(silent, boxes)
    assert losses.identity == 0
    assert losses.box == 0
    assert losses.total < 1e-3
    assert _losses(silent._replace(centre=-silent.centre), boxes).total > 1


def test_generalised_iou_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    second = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1]])
    torch.testing.assert_close(generalised_iou(first, second), torch.tensor([1 / 3, -1 / 3]))


def test_the_losses_of_the_parts_of_a_batch_add_up() -> None:
    torch.manual_seed(0)
    # The second part shows its target half the time, so its own normaliser is not the batch's.
    boxes = torch.tensor([[[100.0, 90.0, 64, 50], [98, 92, 64, 50]], [[20.0, 150, 40, 80], [400, 400, 40, 40]]])
    outputs = LiteOutputs(torch.randn(2, 2, 1, SIDE, SIDE), 40 * torch.rand(2, 2, 4, SIDE, SIDE))
    targets = [lite_targets(part, CONFIG) for part in boxes.split(1)]
    normaliser = targets[0].normaliser + targets[1].normaliser
    parts = [
        lite_losses(LiteOutputs(*(maps[n : n + 1] for maps in outputs)), targets[n], normaliser, CONFIG)
        for n in range(2)
    ]
    for name, whole in _losses(outputs, boxes)._asdict().items():
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), whole)
