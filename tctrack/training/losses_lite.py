"""Losses of the compact tracker.

A batch may be split over processes and passes. Labels (:func:`lite_targets`) are made first and carry the normalisers
of their part; summed over all parts, these divide the losses of each (:func:`lite_losses`), which then add up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tctrack.models.base import cell_offsets
from tctrack.models.lite import LiteConfig, LiteOutputs

#: The centre map's target falls off with this standard deviation, in parts of the target's width and height.
_SPREAD = 0.16
#: Cells with at least this target value learn the box.
_NEAR = 0.3


class LiteTargets(NamedTuple):
    """Labels of ``B`` clips of ``T`` frames, whose maps have ``N`` cells."""

    boxes: Tensor
    """x, y, w, h in search pixels, ``(B, T, 4)``."""
    nearness: Tensor
    """1 at the target's centre, falling off around it, ``(B, T, N)``."""
    normaliser: Tensor
    """Frames, frames with a target, and total weight of the cells that learn the box, ``(3,)``."""


class LiteLosses(NamedTuple):
    """Scalars; ``total`` is what training minimises."""

    total: Tensor
    centre: Tensor
    identity: Tensor
    box: Tensor


def lite_targets(boxes: Tensor, config: LiteConfig) -> LiteTargets:
    """Make the labels of clips whose targets have the boxes ``(B, T, 4)``: x, y, w, h in search pixels."""
    points = cell_offsets(config.grid, boxes) + config.search_size / 2
    nearness = centre_target(boxes, points, config.grid.stride)
    frames = torch.tensor(float(nearness[..., 0].numel()), device=boxes.device)
    normaliser = torch.stack((frames, _present(nearness).sum(), _box_weight(nearness).sum()))
    return LiteTargets(boxes, nearness, normaliser)


def lite_losses(outputs: LiteOutputs, targets: LiteTargets, normaliser: Tensor, config: LiteConfig) -> LiteLosses:
    """Compare maps ``(B, T, C, H, W)`` with their labels.

    ``centre`` is the quality focal loss (GFL, NeurIPS 2020) of the centre map; ``identity`` the cross-entropy over all
    cells of a frame, which sets the target against its look-alikes; ``box`` is 1 - GIoU (CVPR 2019) near the centre.
    A frame whose target lies outside the crop is all background.

    Args:
        outputs: of the network.
        targets: the labels of the same clips.
        normaliser: ``targets.normaliser``, summed over all parts of the batch.
        config: of the network.
    """
    frames, present, weighed = normaliser.clamp(min=1)
    logits = outputs.centre.float().flatten(2)
    target = targets.nearness
    mass = target.sum(-1)

    error = (logits.sigmoid() - target).abs().square()
    focal = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * error
    centre = (focal.sum(-1) / mass.clamp(min=1)).sum() / frames

    share = target / mass.clamp(min=1e-6)[..., None]
    entropy = -(share * logits.log_softmax(-1)).sum(-1)
    identity = (entropy * _present(target)).sum() / present

    points = cell_offsets(config.grid, target) + config.search_size / 2
    distances = outputs.box.float().flatten(3).transpose(2, 3)
    predicted = torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)
    corners = torch.cat((targets.boxes[..., :2], targets.boxes[..., :2] + targets.boxes[..., 2:]), -1)[:, :, None]
    box = ((1 - generalised_iou(predicted, corners)) * _box_weight(target)).sum() / weighed
    return LiteLosses(centre + 0.3 * identity + 1.5 * box, centre, identity, box)


def centre_target(boxes: Tensor, points: Tensor, stride: float) -> Tensor:
    """Return a bump of height 1 at each box's centre: boxes ``(…, 4)``, cells' points ``(N, 2)`` → ``(…, N)``."""
    centre = (boxes[..., :2] + boxes[..., 2:] / 2)[..., None, :]
    spread = (boxes[..., 2:] * _SPREAD).clamp(min=0.55 * stride)[..., None, :]
    return torch.exp(-0.5 * ((points - centre) / spread).square().sum(-1))


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised IoU of boxes ``(…, 4)`` given by corners x0, y0, x1, y1, broadcast."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area = [(corners[..., 2:] - corners[..., :2]).clamp(min=0).prod(-1) for corners in (first, second)]
    union = area[0] + area[1] - intersection
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    enclosing = hull.clamp(min=0).prod(-1)
    return intersection / union.clamp(min=1e-6) - (enclosing - union) / enclosing.clamp(min=1e-6)


def _present(nearness: Tensor) -> Tensor:
    """Return which frames have a target."""
    return nearness.sum(-1) > _NEAR


def _box_weight(nearness: Tensor) -> Tensor:
    return torch.where(nearness >= _NEAR, nearness, 0)
