"""The plug-in: same output at the start, gradients everywhere, streaming equal to the causal clip."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tctrack.action import TemporallyAdaptive, tadaptify
from tctrack.errors import ConfigError
from tctrack.ops.tadaconv import AdaptiveConv


class ImageNet(nn.Module):
    """Strided, grouped, depthwise and dilated convolutions over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.grouped = nn.Conv2d(16, 16, 3, 2, padding=1, groups=4)
        self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16)
        self.dilated = nn.Conv2d(16, 8, 3, padding=2, dilation=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.depthwise(self.grouped(x)).relu().repeat_interleave(2, 2).repeat_interleave(2, 3)
        return self.head(self.dilated(x).relu().mean((2, 3)))


def clip_net(stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 16, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
        nn.BatchNorm3d(16),
        nn.ReLU(),
        nn.Conv3d(16, 16, 3, (stride, 2, 2), 1, groups=4),
        nn.ReLU(),
        nn.Conv3d(16, 16, (3, 1, 1), padding=(2, 0, 0), dilation=(2, 1, 1)),
        nn.ReLU(),
        nn.Conv3d(16, 8, (1, 5, 5), padding=(0, 2, 2), groups=8),
    )


def stir(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, AdaptiveConv):
            nn.init.normal_(layer.route.b.weight, std=0.3)


def frames_of(clip: Tensor) -> Tensor:
    return clip.transpose(1, 2).flatten(0, 1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("calibrate", ["cin", "cout", "both"])
@pytest.mark.parametrize("causal", [False, True])
def test_image_network_starts_identical(calibrate: str, causal: bool) -> None:
    model, clip = ImageNet().eval(), torch.randn(2, 3, 4, 16, 16)
    adapted = tadaptify(model, calibrate=calibrate, causal=causal)
    torch.testing.assert_close(adapted(clip), model(frames_of(clip)), rtol=1e-5, atol=1e-5)
    assert [layer.name for layer in adapted.report.layers] == ["grouped", "depthwise", "dilated"]
    assert isinstance(model.grouped, nn.Conv2d), "the original is left alone"


@pytest.mark.parametrize("calibrate", ["cin", "cout", "both"])
@pytest.mark.parametrize("stride", [1, 2])
def test_clip_network_starts_identical(calibrate: str, stride: int) -> None:
    model, clip = clip_net(stride).eval(), torch.randn(2, 3, 7, 16, 16)
    adapted = tadaptify(model, calibrate=calibrate)
    torch.testing.assert_close(adapted(clip), model(clip), rtol=1e-5, atol=1e-5)
    assert [layer.name for layer in adapted.report.layers] == ["3", "5", "7"]


@pytest.mark.parametrize("build", [ImageNet, clip_net])
def test_gradients_flow_to_every_new_parameter(build: Callable[[], nn.Module]) -> None:
    adapted = tadaptify(build(), calibrate="both", ratio=2)
    stir(adapted)
    adapted(torch.randn(4, 3, 6, 16, 16)).square().sum().backward()
    new = {key: p for key, p in adapted.named_parameters() if ".route." in key and not key.endswith("route.a.bias")}
    assert new
    assert [key for key, p in new.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("build", [ImageNet, clip_net])
def test_streaming_equals_the_causal_clip(build: Callable[[], nn.Module]) -> None:
    adapted = tadaptify(build(), calibrate="both", causal=True).eval()
    stir(adapted)
    clip = torch.randn(2, 3, 6, 16, 16)
    with torch.no_grad():
        whole = adapted(clip)
        output, cache = adapted.start(clip[:, :, 0])
        outputs = [output]
        for x in clip[:, :, 1:].unbind(2):
            output, cache = adapted.step(x, cache)
            outputs.append(output)
    streamed = torch.stack(outputs, 1).flatten(0, 1) if adapted.fold else torch.cat(outputs, 2)
    torch.testing.assert_close(streamed, whole, rtol=1e-4, atol=1e-5)


def test_streams_do_not_disturb_each_other() -> None:
    adapted = tadaptify(ImageNet(), causal=True).eval()
    stir(adapted)
    a, b = torch.randn(2, 1, 3, 2, 16, 16).unbind(0)
    with torch.no_grad():
        _, cache_a = adapted.start(a[:, :, 0])
        _, cache_b = adapted.start(b[:, :, 0])
        second_a, _ = adapted.step(a[:, :, 1], cache_a)
        adapted.step(b[:, :, 1], cache_b)
        torch.testing.assert_close(second_a, adapted(a)[1:], rtol=1e-5, atol=1e-5)


def test_network_that_folds_clips_itself() -> None:
    class Folding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ImageNet()

        def forward(self, clip: Tensor) -> Tensor:
            return self.net(frames_of(clip)).view(len(clip), -1, 5).mean(1)

    model, clip = Folding().eval(), torch.randn(2, 3, 4, 16, 16)
    adapted = tadaptify(model, fold=False)
    torch.testing.assert_close(adapted(clip), model(clip), rtol=1e-5, atol=1e-5)


def test_layers_are_chosen_by_pattern_or_function() -> None:
    assert [layer.name for layer in tadaptify(ImageNet(), "d*d").report.layers] == ["dilated"]
    chosen = tadaptify(ImageNet(), lambda _, conv: conv.groups > 1).report.layers
    assert [layer.name for layer in chosen] == ["grouped", "depthwise"]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("calibrate", ["cin", "both"])
def test_report_counts_what_is_added(calibrate: str, causal: bool) -> None:
    model, clip = ImageNet(), torch.randn(1, 3, 5, 16, 16)
    adapted = tadaptify(model, calibrate=calibrate, kernels=(3, 1), causal=causal)
    before, after = (sum(p.numel() for p in net.parameters()) for net in (model, adapted))
    assert adapted.report.parameters == after - before
    flops = []
    for run in (lambda: model(frames_of(clip)), lambda: adapted(clip)):
        with FlopCounterMode(display=False) as counter:
            run()
        flops.append(counter.get_total_flops() // 2)
    assert adapted.report.macs(5) == flops[1] - flops[0]
    assert "dilated" in str(adapted.report)
    assert f"+{after - before:,} parameters" in str(adapted.report)


def test_keeps_frozen_weights_and_mode() -> None:
    model = ImageNet().eval()
    model.grouped.weight.requires_grad_(False)
    adapted = tadaptify(model)
    assert not adapted.network.grouped.conv.weight.requires_grad
    assert not any(module.training for module in adapted.network.modules())


def shared_layer() -> nn.Module:
    layer = nn.Conv2d(8, 8, 3, padding=1)
    return nn.Sequential(layer, nn.ReLU(), layer)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: tadaptify(ImageNet(), "layer1*"), "fits no convolution"),
        (lambda: tadaptify(ImageNet(), "stem*"), "layer 'stem.0'.*ratio=4"),
        (lambda: tadaptify(clip_net(2), causal=True), "layer '3'.*number of frames"),
        (lambda: tadaptify(clip_net(), "7", causal=True), "layer '3' mixes frames"),
        (lambda: tadaptify(ImageNet()).start(torch.zeros(1, 3, 8, 8)), "causal=True"),
        (lambda: tadaptify(ImageNet()).network(torch.zeros(2, 3, 8, 8)), "needs its clip"),
        (lambda: tadaptify(shared_layer(), causal=True).eval().start(torch.zeros(1, 8, 4, 4)), "used twice"),
    ],
)
def test_refuses_what_it_cannot_do(act: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        act()


@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny"])
def test_networks_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm, or the torchvision that it imports, is not here")
    model, clip = timm.create_model(name).eval(), torch.randn(1, 3, 3, 64, 64)
    adapted: TemporallyAdaptive = tadaptify(model, causal=True)
    assert len(adapted.report.layers) >= 16
    with torch.no_grad():
        torch.testing.assert_close(adapted(clip), model(frames_of(clip)), rtol=1e-4, atol=1e-4)
        stir(adapted)
        whole = adapted(clip)
        cache, outputs = {}, []
        for x in clip.unbind(2):
            output, cache = adapted.step(x, cache)
            outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs), whole, rtol=1e-3, atol=1e-3)
