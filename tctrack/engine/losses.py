"""Losses of the compact tracker."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tctrack.models.lite import LiteConfig, LiteOutputs

#: The centre map's target falls off with this standard deviation, in parts of the target's width and height.
_SPREAD = 0.16
#: Cells with at least this target value learn the box.
_NEAR = 0.3


class LiteLosses(NamedTuple):
    """Scalars; ``total`` is what training minimises."""

    total: Tensor
    centre: Tensor
    identity: Tensor
    box: Tensor


def lite_losses(outputs: LiteOutputs, boxes: Tensor, config: LiteConfig) -> LiteLosses:
    """Compare maps ``(B, T, C, H, W)`` with the targets' boxes ``(B, T, 4)``: x, y, w, h in search pixels.

    ``centre`` is the quality focal loss (GFL, NeurIPS 2020) of the centre map; ``identity`` the cross-entropy over all
    cells of a frame, which sets the target against its look-alikes; ``box`` is 1 - GIoU (CVPR 2019) near the centre.
    Frames whose target lies outside the crop teach only that nothing is there.
    """
    logits = outputs.centre.float().flatten(2)
    points = config.grid.offsets(boxes.device) + config.search_size / 2
    target = centre_target(boxes, points, config.grid.stride)
    mass = target.sum(-1)
    present = mass > _NEAR

    error = (logits.sigmoid() - target).abs().square()
    focal = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * error
    centre = (focal.sum(-1) / mass.clamp(min=1)).mean()

    share = target / mass.clamp(min=1e-6)[..., None]
    entropy = -(share * logits.log_softmax(-1)).sum(-1)
    identity = (entropy * present).sum() / present.sum().clamp(min=1)

    distances = outputs.box.float().flatten(3).transpose(2, 3)
    predicted = torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)
    corners = torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), -1)[:, :, None]
    weight = torch.where(target >= _NEAR, target, 0)
    box = ((1 - generalised_iou(predicted, corners)) * weight).sum() / weight.sum().clamp(min=1)
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
