from __future__ import annotations

import pytest
import torch
from torch import nn

from tctrack.models.build import build_model
from tctrack.ops.fold import fold_batch_norms


def _randomise(network: nn.Module) -> None:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)


@pytest.mark.parametrize(
    ("name", "options"),
    [("tctrack-lite", {}), ("tctrack", {"trunk_channels": [16, 32, 32, 32, 32], "dim": 48, "head_channels": [48, 48]})],
)
@torch.inference_mode()
def test_a_folded_network_computes_the_same(name: str, options: dict[str, object]) -> None:
    """In float64, where nothing but a wrong fold exceeds the tolerance: float32 rounds these random weights by 1e-4."""
    network = build_model(name, **options).eval().double()
    _randomise(network)
    folded = fold_batch_norms(network)
    z, x = network.config.template_size, network.config.search_size
    template, search = (torch.rand(1, 3, side, side, dtype=torch.float64) * 255 for side in (z, x))
    expected = network.step(search, network.start(template, search))[0]
    for one, other in zip(expected, folded.step(search, folded.start(template, search))[0], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6 * float(one.abs().max()))


def test_convolutions_lose_their_norms_and_the_original_keeps_them() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    folded = fold_batch_norms(network)
    assert [type(module) for module in folded] == [nn.Conv2d, nn.Identity, nn.ReLU, nn.BatchNorm2d]
    assert isinstance(network[1], nn.BatchNorm2d)
