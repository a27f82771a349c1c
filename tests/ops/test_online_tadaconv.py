from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tctrack.ops.online_tadaconv import AttentionTAdaConv2d, OnlineTAdaConv2d, WindowTAdaConv2d

FORMS = {
    "window": lambda: WindowTAdaConv2d(32, 24, 3, stride=2, padding=1),
    "bottleneck": lambda: WindowTAdaConv2d(32, 24, 3, bias=False, reduction=8, context_length=4),
    "depthwise": lambda: WindowTAdaConv2d(32, 32, 5, padding=2, groups=32, bias=False, reduction=8),
    "grouped": lambda: WindowTAdaConv2d(32, 24, 3, groups=4),
    "attention": lambda: AttentionTAdaConv2d(32, 24, 3),
}


@pytest.fixture(params=FORMS)
def layer(request: pytest.FixtureRequest) -> OnlineTAdaConv2d:
    torch.manual_seed(0)
    made: OnlineTAdaConv2d = FORMS[request.param]()
    return made.double()


def _awaken(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.2)


def _stream(layer: OnlineTAdaConv2d, clip: Tensor) -> tuple[Tensor, list[torch.Size]]:
    output, cache = layer.start(clip[:, 0])
    outputs, sizes = [output], [cache.shape]
    for x in clip.unbind(1)[1:]:
        output, cache = layer.step(x, cache)
        outputs.append(output)
        sizes.append(cache.shape)
    return torch.stack(outputs, 1), sizes


def test_a_fresh_layer_is_the_plain_convolution(layer: OnlineTAdaConv2d) -> None:
    groups = layer.groups
    plain = nn.Conv2d(32, layer.weight.shape[2], layer.weight.shape[-1], layer.stride, layer.padding, groups=groups,
                      bias=layer.bias is not None).double()  # fmt: skip
    with torch.no_grad():
        layer.weight.copy_(plain.weight[None, None])
        if layer.bias is not None and plain.bias is not None:
            layer.bias.copy_(plain.bias[None, None])
    clip = torch.randn(2, 3, 32, 9, 11, dtype=torch.float64)
    expected = plain(clip.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(layer(clip), expected, rtol=0, atol=1e-14)


def test_streaming_equals_the_clip_with_a_cache_of_constant_size(layer: OnlineTAdaConv2d) -> None:
    _awaken(layer)
    clip = torch.randn(2, 7, 32, 9, 9, dtype=torch.float64)
    streamed, sizes = _stream(layer, clip)
    torch.testing.assert_close(streamed, layer(clip))
    assert len(set(sizes)) == 1


def test_only_the_past_matters(layer: OnlineTAdaConv2d) -> None:
    _awaken(layer)
    clip = torch.randn(1, 5, 32, 9, 9, dtype=torch.float64)
    changed = clip.clone()
    changed[:, 3] += 1
    before, after = layer(clip), layer(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=0)
    assert (before[:, 4] - after[:, 4]).abs().max() > 1e-3


def test_scaling_channels_equals_calibrating_the_kernel() -> None:
    layer = WindowTAdaConv2d(8, 6, 3).double()
    _awaken(layer)
    clip = torch.randn(1, 3, 8, 7, 7, dtype=torch.float64)
    context, _ = layer.observe(clip.flatten(0, 1), None, clip.shape[1])
    alpha = 1 + layer.temporalconv(context)[0, :, 2, 0, 0]
    assert layer.fc is not None
    assert layer.bias is not None
    beta = 1 + layer.fc(context)[0, 0, 2, 0, 0]
    kernel = layer.weight[0, 0] * alpha[None, :, None, None]
    expected = torch.conv2d(clip[:, 2], kernel, beta * layer.bias[0, 0])
    torch.testing.assert_close(layer(clip)[:, 2], expected)


def test_every_parameter_learns(layer: OnlineTAdaConv2d) -> None:
    _awaken(layer)
    layer(torch.randn(1, 3, 32, 9, 9, dtype=torch.float64)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
