"""TAdaConv for clips: what it computes, where it starts, and that streaming equals the causal clip."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tctrack.errors import ConfigError
from tctrack.ops.tadaconv import AdaptiveConv, RouteFunction, TAdaConv2d, TAdaConv3d

CONVOLUTIONS = {
    "dense": lambda: nn.Conv2d(8, 12, 3, padding=1),
    "grouped": lambda: nn.Conv2d(8, 12, 3, padding=1, groups=4, bias=False),
    "depthwise": lambda: nn.Conv2d(8, 8, 7, padding=3, groups=8),
    "strided": lambda: nn.Conv2d(8, 12, (3, 5), stride=2, padding=(1, 2)),
    "dilated": lambda: nn.Conv2d(8, 12, 3, padding=2, dilation=2),
    "same": lambda: nn.Conv2d(8, 12, 3, padding="same", dilation=2),
    "3d": lambda: nn.Conv3d(8, 12, 3, padding=1),
    "3d temporal": lambda: nn.Conv3d(8, 12, (3, 1, 1), padding=(1, 0, 0), bias=False),
    "3d depthwise": lambda: nn.Conv3d(8, 8, (3, 5, 5), padding=(1, 2, 2), groups=8),
    "3d dilated": lambda: nn.Conv3d(8, 12, 3, padding=2, dilation=2),
    "3d strided": lambda: nn.Conv3d(8, 12, 3, stride=2, padding=1),
    "3d valid": lambda: nn.Conv3d(8, 12, (5, 3, 3), stride=(2, 1, 1), padding="valid"),
}
STREAMABLE = [name for name in CONVOLUTIONS if name not in ("3d strided", "3d valid")]


def plain_over_clip(plain: nn.Module, clip: Tensor) -> Tensor:
    if isinstance(plain, nn.Conv3d):
        return plain(clip)
    return torch.stack([plain(x) for x in clip.unbind(2)], 2)


def stir(layer: nn.Module) -> None:
    """Move every parameter and statistic away from its start."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def by_definition(layer: TAdaConv3d, clip: Tensor, alpha: Tensor) -> Tensor:
    """Build every frame's own kernel and convolve its window with it."""
    batch = len(clip)
    kt = layer.kernel_size[0]
    weight = layer.weight.view(layer.out_channels, -1, *layer.kernel_size)
    padded = F.pad(clip, (0, 0, 0, 0, layer.padding[0], layer.padding[0]))
    per_group = layer.in_channels // layer.groups
    result = []
    for b in range(batch):
        for t in range(alpha.shape[2]):
            a = alpha[b, :, t].flatten()
            kernel = weight
            if layer.calibrate in ("cout", "both"):
                kernel = kernel * a[-layer.out_channels :].view(-1, 1, 1, 1, 1)
            if layer.calibrate in ("cin", "both"):
                gain = a[: layer.in_channels].view(layer.groups, 1, per_group)
                gain = gain.expand(-1, layer.out_channels // layer.groups, -1).reshape(layer.out_channels, per_group)
                kernel = kernel * gain[..., None, None, None]
            start = t * layer.stride[0]
            window = padded[b : b + 1, :, start : start + (kt - 1) * layer.dilation[0] + 1]
            bias = None if layer.bias is None else layer.bias.flatten()
            result.append(
                F.conv3d(
                    window,
                    kernel,
                    bias,
                    (1, *layer.stride[1:]),
                    (0, *layer.padding[1:]),
                    layer.dilation,
                    layer.groups,
                )
            )
    return torch.cat(result).view(batch, alpha.shape[2], layer.out_channels, *result[0].shape[3:]).transpose(1, 2)


@pytest.mark.parametrize("calibrate", ["cin", "cout", "both"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_equals_the_definition_with_one_kernel_per_frame(name: str, calibrate: Any) -> None:
    torch.manual_seed(0)
    layer = AdaptiveConv(CONVOLUTIONS[name](), calibrate, ratio=2).eval()
    stir(layer)
    clip = torch.randn(2, 8, 6, 9, 9)
    alpha = layer.route(clip)[:, :, layer.conv.centres(6)]
    assert (alpha - 1).abs().max() > 0.2
    torch.testing.assert_close(layer(clip), by_definition(layer.conv, clip, alpha), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("calibrate", ["cin", "cout", "both"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_starts_as_the_plain_convolution_and_every_parameter_learns(name: str, calibrate: Any) -> None:
    torch.manual_seed(0)
    plain = CONVOLUTIONS[name]()
    layer = AdaptiveConv(plain, calibrate)
    clip = torch.randn(2, 8, 5, 9, 9)
    torch.testing.assert_close(layer(clip), plain_over_clip(plain, clip), rtol=1e-4, atol=1e-5)
    nn.init.normal_(layer.route.b.weight, std=0.1)  # its zero start holds back the gradients behind it for one step
    layer(clip).square().sum().backward()
    for key, parameter in layer.named_parameters():
        assert parameter.grad is not None, key
        assert key == "route.a.bias" or parameter.grad.abs().max() > 0, key  # batch norm cancels that bias


def test_does_not_share_the_weights_of_the_convolution_it_was_made_from() -> None:
    plain = nn.Conv2d(4, 4, 3)
    layer = AdaptiveConv(plain)
    nn.init.zeros_(plain.weight)
    assert layer.conv.weight.abs().sum() > 0


@pytest.mark.parametrize("kernels", [(3, 3), (1, 1), (5, 3)])
@pytest.mark.parametrize("name", STREAMABLE)
def test_streaming_equals_the_causal_clip(name: str, kernels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = AdaptiveConv(CONVOLUTIONS[name](), "both", kernels=kernels, causal=True).eval()
    stir(layer)
    clip = torch.randn(2, 8, 7, 9, 9)
    with torch.no_grad():
        expected = layer(clip)
        output, cache = layer.start(clip[:, :, 0])
        outputs, shapes = [output], [[part.shape for part in (*cache.route, cache.frames)]]
        for x in clip[:, :, 1:].unbind(2):
            output, cache = layer.step(x, cache)
            outputs.append(output)
            shapes.append([part.shape for part in (*cache.route, cache.frames)])
    torch.testing.assert_close(torch.stack(outputs, 2), expected, rtol=1e-4, atol=1e-4)
    assert shapes.count(shapes[0]) == len(shapes), "the cache grows"


def test_causal_layer_does_not_see_the_future() -> None:
    torch.manual_seed(0)
    layer = AdaptiveConv(nn.Conv3d(8, 8, 3, padding=1), causal=True).eval()
    stir(layer)
    clip = torch.randn(1, 8, 6, 5, 5)
    changed = clip.clone()
    changed[:, :, 4:] += 1
    before, after = layer(clip), layer(changed)
    torch.testing.assert_close(before[:, :, :4], after[:, :, :4])
    assert (before[:, :, 4:] - after[:, :, 4:]).abs().max() > 1e-3


def test_batch_entries_do_not_mix() -> None:
    torch.manual_seed(0)
    layer = AdaptiveConv(nn.Conv2d(8, 8, 3, padding=1)).eval()
    stir(layer)
    clip = torch.randn(3, 8, 4, 6, 6)
    torch.testing.assert_close(layer(clip), torch.cat([layer(one[None]) for one in clip]), rtol=1e-4, atol=1e-5)


def test_published_shapes() -> None:
    assert TAdaConv2d(8, 12, 3, groups=4).weight.shape == (1, 1, 12, 2, 3, 3)
    layer = TAdaConv3d(8, 12, (1, 3, 5))
    assert layer.weight.shape == (1, 1, 12, 8, 1, 3, 5)
    assert layer.bias is not None
    assert layer.bias.shape == (1, 1, 12)


def test_beta_calibrates_the_bias() -> None:
    layer = TAdaConv2d(4, 4, 1, calibrate="cout")
    clip, alpha, beta = torch.randn(2, 4, 3, 2, 2), torch.ones(2, 4, 3, 1, 1), torch.rand(2, 4, 3, 1, 1)
    assert layer.bias is not None
    expected = layer(clip, alpha) + (beta - 1) * layer.bias.view(1, 4, 1, 1, 1)
    torch.testing.assert_close(layer(clip, alpha, beta), expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda: AdaptiveConv(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        lambda: AdaptiveConv(nn.Conv2d(4, 4, 4, padding="same")),
        lambda: AdaptiveConv(nn.Conv3d(4, 4, 3), causal=True),
        lambda: AdaptiveConv(nn.Conv3d(4, 4, 3, padding=1, stride=2), causal=True),
        lambda: AdaptiveConv(nn.Conv2d(4, 4, 3)).start(torch.zeros(1, 4, 5, 5)),
        lambda: AdaptiveConv(nn.Conv2d(4, 4, 3), "cine"),  # type: ignore[arg-type]
        lambda: RouteFunction(3, ratio=4),
        lambda: RouteFunction(8, kernels=(2, 3)),
    ],
)
def test_refuses_what_it_cannot_do(build: Any) -> None:
    with pytest.raises(ConfigError):
        build()
