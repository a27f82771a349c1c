"""The classifiers against the published parameter counts, computation and outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tctrack.action import BACKBONES, build_action_model
from tctrack.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden" / "action.npz"


def on_meta(name: str, classes: int = 400, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return build_action_model(name, classes, **options).eval()


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "options", "count"),
    [
        ("tsn_r50", 400, {}, 24_327_632),
        ("tsn_r50", 174, {}, 23_864_558),
        ("tada2d_r50", 400, {}, 27_485_472),
        ("tada2d_r50", 174, {}, 27_022_398),
        ("tada2d_r50", 400, {"aggregate": False}, 27_477_920),
        ("tadaconvnextv2_tiny", 400, {}, 45_971_488),
        ("tadaconvnextv2_small", 400, {}, 82_249_120),
        ("tadaconvnextv2_base", 400, {}, 145_687_632),
        ("slowfast_4x16_r50", 400, {}, 34_480_216),
        ("slowfast_8x8_r50", 400, {}, 34_566_488),
    ],
)
def test_parameters_to_the_unit(name: str, classes: int, options: dict[str, Any], count: int) -> None:
    assert parameters(on_meta(name, classes, **options)) == count


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("slowonly_8x8_r50", 32.45),
        ("slowonly_8x8_r50_tada", 35.60),
        ("slowfast_4x16_r50", 34.48),
        ("slowfast_4x16_r50_tada", 37.68),
        ("r2plus1d_r50", 28.11),
        ("r2plus1d_r50_tada2d", 31.26),
        ("r2plus1d_r50_tada2d1d", 34.41),
        ("r3d_r50", 46.98),
        ("r3d_r50_tada", 50.13),
    ],
)
def test_parameters_as_printed(name: str, millions: float) -> None:
    assert round(parameters(on_meta(name)) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("stages", "millions"), [((5,), 25.83), ((4, 5), 26.82), ((3, 4, 5), 26.98), ((2, 3, 4, 5), 27.01)]
)
def test_parameters_with_tadaconv_in_some_stages(stages: tuple[int, ...], millions: float) -> None:
    model = on_meta("tada2d_r50", 174, tada_stages=stages, aggregate=False)
    assert round(parameters(model) / 1e6, 2) == millions


def test_parameters_of_the_route_functions() -> None:
    assert sum(p.numel() for key, p in on_meta("tada2d_r50").named_parameters() if ".b_rf." in key) == 3_150_288


@pytest.mark.parametrize(
    ("name", "frames", "gmacs"),
    [
        ("tsn_r50", 8, 43.11),
        ("tada2d_r50", 8, 43.13),
        ("tada2d_r50", 16, 86.25),
        ("tadaconvnextv2_tiny", 16, 46.99),
        pytest.param("tadaconvnextv2_small", 16, 91.29, marks=pytest.mark.slow),
        pytest.param("tadaconvnextv2_base", 16, 161.3, marks=pytest.mark.slow),
        ("slowfast_4x16_r50", 32, 36.10),
        ("slowfast_4x16_r50_tada", 32, 36.11),
        ("slowfast_8x8_r50", 32, 65.71),
        ("slowonly_8x8_r50", 8, 54.52),
        ("slowonly_8x8_r50_tada", 8, 54.53),
        ("r2plus1d_r50", 8, 49.55),
        ("r2plus1d_r50_tada2d", 8, 49.57),
        ("r2plus1d_r50_tada2d1d", 8, 49.58),
        ("r3d_r50", 8, 84.23),
        ("r3d_r50_tada", 8, 84.24),
    ],
)
def test_computation(name: str, frames: int, gmacs: float) -> None:
    model = on_meta(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, frames, 256, 256, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=1e-3)  # the table rounds to four digits


@pytest.mark.data
@pytest.mark.parametrize(("name", "file"), [("tada2d_r50", "tada2d"), ("tadaconvnextv2_tiny", "tadaconvnextv2_tiny")])
def test_published_keys_and_outputs(
    name: str,
    file: str,
    shared: Path,
    golden_clip: Callable[[int, int], Tensor],
    filled: Callable[[nn.Module], nn.Module],
) -> None:
    model = build_action_model(name)
    keys = json.loads((shared / "golden" / f"{file}_state_dict.json").read_text())
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == keys
    filled(model)
    clip = golden_clip(8, 64)
    with torch.no_grad():
        output = model(clip).softmax(1)
        feature = model.backbone.maps(clip).mean((3, 4)) if name == "tada2d_r50" else model.backbone(clip)
    golden = np.load(shared / "golden" / f"{file}.npz")
    for mine, theirs in ((output, golden["output"]), (feature, golden["features_mean"])):
        assert np.abs(mine.numpy() - theirs).max() <= 2e-6 * np.abs(theirs).max()


@pytest.mark.parametrize(
    "name",
    [
        "tada2d_r50",
        pytest.param("tadaconvnextv2_tiny", marks=pytest.mark.slow),
        pytest.param("tadaconvnext_tiny", marks=pytest.mark.slow),
        pytest.param("slowfast_4x16_r50_tada", marks=pytest.mark.slow),
        pytest.param("r2plus1d_r50_tada2d1d", marks=pytest.mark.slow),
        pytest.param("r3d_r50_tada", marks=pytest.mark.slow),
    ],
)
def test_outputs_stay_as_recorded(
    name: str, golden_clip: Callable[[int, int], Tensor], filled: Callable[[nn.Module], nn.Module]
) -> None:
    """Set TCTRACK_ACCEPT=1 to record the present outputs instead."""
    model = filled(build_action_model(name, 10))
    with torch.no_grad():
        logits = model(golden_clip(8, 32)).numpy()
    recorded = dict(np.load(GOLDEN)) if GOLDEN.is_file() else {}
    if os.environ.get("TCTRACK_ACCEPT"):
        GOLDEN.parent.mkdir(exist_ok=True)
        np.savez(GOLDEN, **(recorded | {name: logits}))
        return
    assert np.abs(logits - recorded[name]).max() <= 1e-5 * np.abs(recorded[name]).max()


@pytest.mark.parametrize(("tada", "plain"), [("tada2d_r50", "tsn_r50"), ("tadaconvnext_tiny", "convnext_tiny")])
def test_fresh_tadaconv_equals_the_plain_network(
    tada: str, plain: str, golden_clip: Callable[[int, int], Tensor]
) -> None:
    torch.manual_seed(0)
    with_tada, without = build_action_model(tada, 5).eval(), build_action_model(plain, 5).eval()
    for key, value in without.state_dict().items():
        target = with_tada.state_dict()[key]
        target.copy_(value.view(target.shape))
    clip = golden_clip(4, 32)
    with torch.no_grad():
        torch.testing.assert_close(with_tada(clip), without(clip), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["tadaconvnextv2_tiny", pytest.param("slowfast_4x16_r50_tada", marks=pytest.mark.slow)]
)
def test_gradients_reach_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = build_action_model(name, 3)
    for key, parameter in model.named_parameters():
        if key.endswith(("rf.b.weight", "rf.b_bias.weight", "norm_avgpool.weight", "avgpool_bn.weight", "gamma")):
            nn.init.normal_(parameter, std=0.1)  # they start at (nearly) zero, which holds back those behind them
    model(torch.randn(2, 3, 8, 32, 32)).square().sum().backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_two_labels_share_one_head() -> None:
    model = on_meta("tsn_r50", (97, 300))
    assert model(torch.empty(2, 3, 1, 32, 32, device="meta")).shape == (2, 397)


def test_unknown_names_and_options_are_told() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tada2d_r50'"):
        build_action_model("tada2d_r5")
    with pytest.raises(ConfigError, match="tada_stages"):
        build_action_model("tsn_r50", tada_stage=(5,))
    with pytest.raises(ConfigError, match="multiple of 8"):
        build_action_model("slowfast_4x16_r50", 3)(torch.zeros(1, 3, 12, 32, 32))
    assert {"tsn_r50", "slowfast_8x8_r50", "tadaconvnextv2_base"} <= set(BACKBONES)
