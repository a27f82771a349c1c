"""Labels and losses of TCTrack (CVPR 2022) and TCTrack++ (TPAMI 2023), as their authors' code has them.

As in :mod:`tctrack.training.losses_lite`, labels carry the normalisers of their part of a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tctrack.geometry.decode import SearchGrid
from tctrack.models.attrans import to_tokens
from tctrack.models.base import cell_offsets
from tctrack.models.tctrack import TCTrackConfig, TCTrackOutputs, boxes_from_location

#: Cells at least this near the centre are targets for ``cls1``, ...
_POSITIVE = 0.78
#: ... those at most this near may be sampled as background; those between are ignored.
_NEGATIVE = 0.3
#: Background cells sampled for each target cell.
_NEGATIVES = 2
#: Cells at least this near learn the box, ...
_NEAR = 0.5
#: ... but of those below this only one in six.
_INNER = 0.8
#: Uniform numbers that the labels of one cell need: one to draw background, one to thin the ring.
DRAWS = 2


class LossWeights(NamedTuple):
    """Weights of the losses in the total."""

    cls1: float
    cls2: float
    iou: float
    distance: float
    l1: float


#: ``3.0 loc + 1.2 cls``.
TCTRACK = LossWeights(cls1=1.2, cls2=1.2, iou=3.0, distance=3.0, l1=0.0)
#: ``1.2 loc + 1.0 cls``, where loc counts L1 and the centre's distance half.
TCTRACK_PP = LossWeights(cls1=1.0, cls2=1.0, iou=1.2, distance=0.6, l1=0.6)


class TCTrackTargets(NamedTuple):
    """Labels of ``B`` frames, whose maps have ``N`` cells."""

    boxes: Tensor
    """Centre x, y from the crop's centre, width, height, in search pixels, ``(B, 1, 4)``."""
    nearness: Tensor
    """1 - r² in the ellipse inscribed in the target's cells, 0 outside, ``(B, N)``."""
    positive: Tensor
    """Cells that are the target, ``(B, N)`` bool."""
    negative: Tensor
    """Cells that are sampled as background, ``(B, N)`` bool."""
    weight: Tensor
    """Weight of each cell in the losses of the box, ``(B, N)``."""
    normaliser: Tensor
    """Positive cells, negative cells, cells, weight of the cells, frames, ``(5,)``."""


class TCTrackLosses(NamedTuple):
    """Scalars; ``total`` is what training minimises."""

    total: Tensor
    cls1: Tensor
    cls2: Tensor
    iou: Tensor
    distance: Tensor
    l1: Tensor


def tctrack_targets(boxes: Tensor, draws: Tensor, config: TCTrackConfig) -> TCTrackTargets:
    """Make the labels of frames.

    Args:
        boxes: x, y, w, h in search pixels, ``(B, 4)``.
        draws: uniform random numbers ``(B, DRAWS, N)`` that choose background cells and thin the ring.
        config: of the network.
    """
    nearness = ellipse(boxes, config.grid, config.search_size)
    positive = nearness >= _POSITIVE
    negative = _drawn(nearness <= _NEGATIVE, draws[:, 0], _NEGATIVES * positive.sum(-1))
    ring = (nearness >= _NEAR) & (nearness < _INNER)
    dropped = _drawn(ring, draws[:, 1], ring.sum(-1) * 5 // 6)
    weight = nearness.where((nearness >= _NEAR) & ~dropped, 0)

    centred = torch.cat((boxes[:, :2] + boxes[:, 2:] / 2 - config.search_size / 2, boxes[:, 2:]), -1)[:, None]
    cells = torch.tensor(float(nearness.numel()), device=boxes.device)
    normaliser = torch.stack((positive.sum(), negative.sum(), cells, weight.sum(), cells / nearness.shape[1]))
    return TCTrackTargets(centred, nearness, positive, negative, weight, normaliser)


def tctrack_losses(
    outputs: TCTrackOutputs, targets: TCTrackTargets, normaliser: Tensor, weights: LossWeights, config: TCTrackConfig
) -> TCTrackLosses:
    """Compare maps ``(B, C, H, W)`` with their labels.

    ``cls1`` is the cross-entropy, half of target and half of background cells; ``cls2`` the binary cross-entropy with
    the nearness; ``iou`` is -log IoU; ``distance`` is √(dx²/w + dy²/h) between centres; ``l1`` compares the location
    map itself, summed over its four channels and the cells.

    Args:
        outputs: of the network.
        targets: the labels of the same frames.
        normaliser: ``targets.normaliser``, summed over all parts of the batch.
        weights: of the losses in the total.
        config: of the network.
    """
    positives, negatives, cells, weighed, frames = normaliser.clamp(min=1e-6)
    background, target = outputs.cls1.float().log_softmax(1).flatten(2).unbind(1)
    cls1 = -0.5 * ((target * targets.positive).sum() / positives + (background * targets.negative).sum() / negatives)
    cls2 = F.binary_cross_entropy_with_logits(outputs.cls2.float().flatten(1), targets.nearness, reduction="sum")

    loc = to_tokens(outputs.loc.float())
    predicted = boxes_from_location(loc, config)
    offset, size = predicted[..., :2] - targets.boxes[..., :2], targets.boxes[..., 2:]
    apart = ((offset.square() / size).sum(-1) + 1e-9).sqrt()  # the root's gradient is infinite at 0
    error = (loc - location(targets.boxes, config)).abs().sum(-1)

    losses = (
        cls1,
        cls2 / cells,
        -((_iou(predicted, targets.boxes) + 1e-6).log() * targets.weight).sum() / weighed,
        (apart * targets.weight).sum() / weighed,
        (error * targets.weight).sum() / frames,
    )
    total = torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
    return TCTrackLosses(total, *losses)


def ellipse(boxes: Tensor, grid: SearchGrid, search_size: int) -> Tensor:
    """Return 1 - r² in the ellipse inscribed in the cells of boxes ``(B, 4)``, and 0 outside: ``(B, N)``.

    The target's cells are those from the cell of its left top to that of its right bottom corner, where a cell reaches
    from its own point to the next.
    """
    first = search_size / 2 - (grid.size - 1) / 2 * grid.stride
    corners = torch.stack((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)
    low, high = ((corners - first) / grid.stride).clamp(0, grid.size - 1).trunc().unbind(1)
    cell = cell_offsets(grid, boxes) / grid.stride + (grid.size - 1) / 2
    radii = (cell - ((low + high) / 2)[:, None]) / ((high - low + 1) / 2)[:, None]
    return (1 - radii.square().sum(-1)).clamp(min=0)


def location(boxes: Tensor, config: TCTrackConfig) -> Tensor:
    """Return the location map ``(B, N, 4)``, cell by cell, of boxes as :class:`TCTrackTargets` has them."""
    from_centre = cell_offsets(config.grid, boxes) - boxes[..., :2]
    near, far = boxes[..., 2:] / 2 + from_centre, boxes[..., 2:] / 2 - from_centre
    return torch.tanh(torch.stack((near, far), -1).flatten(2) / (config.search_size // 2))


def _drawn(candidates: Tensor, draws: Tensor, number: Tensor) -> Tensor:
    """Sample ``number (B,)`` of the candidates ``(B, N)``: those with the lowest draws."""
    rank = draws.masked_fill(~candidates, torch.inf).argsort(-1).argsort(-1)
    return candidates & (rank < number[:, None])


def _iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of boxes ``(…, 4)`` given by centre and size, broadcast; a negative size has no area."""
    low = torch.maximum(first[..., :2] - first[..., 2:] / 2, second[..., :2] - second[..., 2:] / 2)
    high = torch.minimum(first[..., :2] + first[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2)
    intersection = (high - low).clamp(min=0).prod(-1)
    areas = first[..., 2:].clamp(min=0).prod(-1) + second[..., 2:].prod(-1)
    return intersection / (areas - intersection)
