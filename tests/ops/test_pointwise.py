from __future__ import annotations

import torch
import torch.nn.functional as F

from tctrack.ops.pointwise import Pointwise


def test_it_is_a_convolution_forth_and_back() -> None:
    torch.manual_seed(0)
    layer = Pointwise(6, 4)
    x = torch.randn(2, 6, 5, 3, requires_grad=True)
    for images in (x, x.contiguous(memory_format=torch.channels_last)):
        expected = F.conv2d(images, layer.weight, layer.bias)
        torch.testing.assert_close(layer(images), expected)
        wanted = torch.autograd.grad(expected.square().sum(), (x, layer.weight))
        for one, other in zip(
            torch.autograd.grad(layer(images).square().sum(), (x, layer.weight)), wanted, strict=True
        ):
            torch.testing.assert_close(one, other)
