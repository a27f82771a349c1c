from __future__ import annotations

import torch

from tctrack.ops.correlation import depthwise_correlation


def test_every_target_meets_its_own_template() -> None:
    generator = torch.Generator().manual_seed(0)
    search, template = torch.randn(3, 4, 9, 8, generator=generator), torch.randn(3, 4, 3, 2, generator=generator)
    similarity = depthwise_correlation(search, template)
    assert similarity.shape == (3, 4, 7, 7)
    window = search[2, 1, 4:7, 5:7]
    torch.testing.assert_close(similarity[2, 1, 4, 5], (window * template[2, 1]).sum())


def test_gradients() -> None:
    search = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    template = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(depthwise_correlation, (search, template))
