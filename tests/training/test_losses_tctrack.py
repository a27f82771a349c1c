from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tctrack.config import build, load_config
from tctrack.models.tctrack import TCTrack, TCTrackConfig, TCTrackOutputs
from tctrack.training.losses_tctrack import (
    DRAWS,
    TCTRACK,
    TCTRACK_PP,
    LossWeights,
    TCTrackLosses,
    TCTrackTargets,
    ellipse,
    location,
    tctrack_losses,
    tctrack_targets,
)

CONFIG = build(TCTrackConfig, load_config("model/tctrack"))
CELLS = CONFIG.grid.size**2
#: From the middle of cell 3 to that of cell 7 and a bit: five by five cells about the crop's centre.
BOX = torch.tensor([[63.5 + 48 + 2, 63.5 + 48 + 2, 68.0, 68.0]])


def _targets(boxes: Tensor, seed: int = 0) -> TCTrackTargets:
    draws = torch.rand(len(boxes), DRAWS, CELLS, generator=torch.Generator().manual_seed(seed))
    return tctrack_targets(boxes, draws, CONFIG)


def _losses(outputs: TCTrackOutputs, targets: TCTrackTargets, weights: LossWeights = TCTRACK) -> TCTrackLosses:
    return tctrack_losses(outputs, targets, targets.normaliser, weights, CONFIG)


def _perfect(targets: TCTrackTargets) -> TCTrackOutputs:
    """Maps that say exactly what the labels say."""
    sure = torch.where(targets.nearness >= 0.5, 20.0, -20.0)
    shape = (len(sure), -1, CONFIG.grid.size, CONFIG.grid.size)
    loc = location(targets.boxes, CONFIG).transpose(1, 2).reshape(shape)
    logit = torch.logit(targets.nearness, 1e-6)
    return TCTrackOutputs(loc, torch.stack((-sure, sure), 1).reshape(shape), logit.reshape(shape))


def _random(batch: int) -> TCTrackOutputs:
    torch.manual_seed(0)
    return TCTrackOutputs(*(0.3 * torch.randn(batch, channels, 11, 11) for channels in (4, 2, 1)))


def test_the_ellipse_lies_in_the_cells_of_the_target() -> None:
    value = ellipse(BOX, CONFIG.grid, CONFIG.search_size).view(11, 11)
    half = 2.5  # cells
    expected = {
        (5, 5): 1.0,
        (5, 6): 1 - (1 / half) ** 2,
        (4, 6): 1 - 2 / half**2,
        (5, 7): 1 - (2 / half) ** 2,
        (5, 8): 0,
    }
    for (row, column), number in expected.items():
        assert value[row, column] == pytest.approx(number, abs=1e-6)
        assert value[column, row] == pytest.approx(number, abs=1e-6)
    # Two cells wide and one high: (x - 63.5) / 16 runs from 2.5 to 3.5, (y - 63.5) / 16 stays in 8.
    flat = ellipse(torch.tensor([[103.5, 192.0, 16.0, 10.0]]), CONFIG.grid, CONFIG.search_size).view(11, 11)
    assert flat.nonzero().tolist() == [[8, 2], [8, 3]]
    assert flat[8, 2] == pytest.approx(1 - 0.5**2)


def test_cells_are_chosen_by_their_nearness() -> None:
    targets = _targets(BOX)
    positive = targets.positive.view(11, 11).nonzero().tolist()
    assert positive == [[4, 5], [5, 4], [5, 5], [5, 6], [6, 5]]  # 1 and 0.84; the corners have 0.68
    assert targets.negative.sum() == 2 * len(positive)
    assert (targets.nearness[targets.negative] <= 0.3).all()
    # Of the ring, the four corners, one of six stays, rounded up.
    kept = targets.weight[targets.weight > 0]
    torch.testing.assert_close(kept.sort().values, torch.tensor([0.68, 0.84, 0.84, 0.84, 0.84, 1.0]))
    torch.testing.assert_close(targets.normaliser, torch.tensor([5, 10, 121, kept.sum(), 1]))


def test_background_and_ring_are_drawn_anew() -> None:
    first, second = _targets(BOX, seed=0), _targets(BOX, seed=1)
    assert not first.negative.equal(second.negative)
    assert torch.equal(first.negative, _targets(BOX, seed=0).negative)
    drawn = torch.stack([_targets(BOX, seed).weight > 0 for seed in range(40)])
    corners = drawn[:, (first.nearness > 0.6) & (first.nearness < 0.7)]
    assert corners.any(0).all()
    assert (corners.sum(1) == 1).all()


def test_the_location_map_decodes_to_the_box() -> None:
    boxes = torch.tensor([[100.0, 80.0, 60.0, 30.0], [120.0, 140.0, 20.0, 90.0]])
    targets = _targets(boxes)
    decoded, _ = TCTrack.decode(SimpleNamespace(config=CONFIG), _perfect(targets))  # type: ignore[arg-type]
    torch.testing.assert_close(decoded, targets.boxes.expand(-1, CELLS, -1), rtol=0, atol=2e-3)
    # 2.5 px left of the box's left edge, 20.5 below its top edge: cell (2, 2) has its point at 95.5, 95.5.
    row = location(targets.boxes, CONFIG)[0, 2 * 11 + 2]
    torch.testing.assert_close(row, torch.tanh(torch.tensor([-4.5, 64.5, 15.5, 14.5]) / 143))


def test_perfect_maps_cost_only_the_entropy_of_the_nearness() -> None:
    targets = _targets(torch.cat((BOX, BOX + 8)))
    losses = _losses(_perfect(targets), targets, TCTRACK_PP)
    soft = targets.nearness.clamp(1e-6, 1 - 1e-6)
    entropy = -(soft * soft.log() + (1 - soft) * (1 - soft).log()).mean()
    assert losses.cls2 == pytest.approx(float(entropy), abs=1e-4)
    assert max(losses.cls1, losses.iou, losses.distance, losses.l1) < 1e-3


def test_losses_of_a_shifted_box_are_those_computed_by_hand() -> None:
    targets = _targets(BOX)
    moved = targets._replace(boxes=targets.boxes + torch.tensor([17.0, 0, 0, 0]))  # a quarter of the width
    losses = _losses(_perfect(moved), targets)
    assert losses.iou == pytest.approx(-math.log(0.75 / 1.25), abs=1e-3)
    assert losses.distance == pytest.approx(17 / math.sqrt(68), abs=1e-3)
    flat = TCTrackOutputs(torch.zeros(1, 4, 11, 11), torch.zeros(1, 2, 11, 11), torch.zeros(1, 1, 11, 11))
    blank = _losses(flat, targets, TCTRACK_PP)
    assert blank.cls1 == pytest.approx(math.log(2))
    assert blank.cls2 == pytest.approx(math.log(2))
    by_hand = (location(targets.boxes, CONFIG).abs().sum(-1) * targets.weight).sum()
    assert blank.l1 == pytest.approx(float(by_hand), rel=1e-5)
    assert blank.total == pytest.approx(
        float(1.2 * (blank.iou + 0.5 * blank.l1 + 0.5 * blank.distance) + blank.cls1 + blank.cls2), rel=1e-5
    )
    assert losses.total == pytest.approx(
        float(3.0 * (losses.iou + losses.distance) + 1.2 * (losses.cls1 + losses.cls2)), rel=1e-5
    )


def test_the_losses_of_the_parts_of_a_batch_add_up() -> None:
    boxes = torch.cat((BOX, torch.tensor([[80.0, 90.0, 120.0, 90.0]])))
    outputs, targets = _random(2), _targets(boxes)
    parts = []
    for n in range(2):
        part = TCTrackTargets(*(field[n : n + 1] for field in targets[:-1]), targets.normaliser)
        maps = TCTrackOutputs(*(field[n : n + 1] for field in outputs))
        parts.append(tctrack_losses(maps, part, targets.normaliser, TCTRACK_PP, CONFIG))
    for name, whole in _losses(outputs, targets, TCTRACK_PP)._asdict().items():
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), whole)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 5.0])
def test_gradients_are_finite_at_the_ends_of_the_location_map(value: float) -> None:
    loc = torch.full((1, 4, 11, 11), value, requires_grad=True)
    outputs = _random(1)._replace(loc=loc)
    _losses(outputs, _targets(BOX), TCTRACK_PP).total.backward()  # type: ignore[no-untyped-call]
    assert loc.grad is not None
    assert torch.isfinite(loc.grad).all()


def test_a_target_too_small_for_a_positive_cell_still_costs_a_finite_loss() -> None:
    two_by_two = torch.tensor([[63.5 + 5 * 16 - 2, 63.5 + 5 * 16 - 2, 4.0, 4.0]])
    targets = _targets(two_by_two)
    assert not targets.positive.any()
    losses = _losses(_random(1), targets)
    assert losses.cls1 == 0
    assert torch.isfinite(losses.total)
