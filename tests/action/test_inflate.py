"""Weights of image networks, under the names of torchvision, timm and their authors."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tctrack.action import ActionModel, build_action_model
from tctrack.action.inflate import inflate
from tctrack.errors import CheckpointError


def unfilled(name: str) -> ActionModel:
    """A network whose weights are whatever the memory held."""
    with torch.device("meta"):
        model = build_action_model(name, 5)
    return model.to_empty(device="cpu")


@pytest.fixture(scope="module")
def image_resnet() -> dict[str, Tensor]:
    """A ResNet-50's state dict with torchvision's and timm's names."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.rand(channels)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def conv(name: str, outputs: int, inputs: int, kernel: int) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            for n, (outs, ins, kernel) in enumerate([(width, inputs, 1), (width, width, 3), (4 * width, width, 1)], 1):
                conv(f"{name}.conv{n}", outs, ins, kernel)
                norm(f"{name}.bn{n}", outs)
            if block == 0:
                conv(f"{name}.downsample.0", 4 * width, inputs, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    return state


@pytest.mark.parametrize(
    ("name", "fresh"),
    [
        ("tsn_r50", r"head\."),
        ("tada2d_r50", r"head\.|.*\.(b_rf|b_avgpool_bn)\."),
        ("slowonly_8x8_r50_tada", r"head\.|.*\.b_rf\."),
        ("r3d_r50", r"head\."),
        ("r2plus1d_r50", r"head\.|.*\.(t|t_bn)\."),
    ],
)
def test_resnet_weights_fill_all_but_what_is_new(name: str, fresh: str, image_resnet: dict[str, Tensor]) -> None:
    model, image = unfilled(name), image_resnet
    left = inflate(model, image)
    assert left
    assert [key for key in left if not re.match(fresh, key)] == []
    assert [key for key in model.state_dict() if re.match(fresh, key) and key not in left] == []
    stem = model.state_dict()["backbone.conv1.a.weight"]
    torch.testing.assert_close(stem.sum(2), image["conv1.weight"])
    middle = model.state_dict()["backbone.conv4.res_6.conv_branch.b.weight"]
    kernel = image["layer3.5.conv2.weight"]
    torch.testing.assert_close(middle.sum(2) if middle.dim() == 5 else middle.view_as(kernel), kernel)
    assert model.state_dict()["backbone.conv1.a_bn.num_batches_tracked"] == 7


def test_inflated_kernel_sees_a_still_clip_as_its_image(image_resnet: dict[str, Tensor]) -> None:
    model, image = unfilled("r3d_r50"), image_resnet
    inflate(model, image)
    still = torch.randn(1, 3, 1, 16, 16).expand(-1, -1, 5, -1, -1)
    response = model.backbone.conv1.a(still)[:, :, 2]
    plain = nn.functional.conv2d(still[:, :, 0], image["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(response, plain, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def facebook_convnext() -> dict[str, Tensor]:
    """ConvNeXt-T's state dict with its authors' names."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}
    for key, value in unfilled("convnext_tiny").state_dict().items():
        flat = value.sum(2) if key.endswith("downsample_layers.0.0.weight") else value
        flat = flat.squeeze(2) if flat.dim() == 5 else flat
        state[key.removeprefix("backbone.").replace("head.out.", "head.")] = torch.randn_like(flat)
    return state


def timm_name(key: str) -> str:
    key = re.sub(r"^downsample_layers\.0\.", "stem.", key)
    key = re.sub(r"^downsample_layers\.(\d)\.", r"stages.\1.downsample.", key)
    key = re.sub(r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2.", key)
    for theirs, timms in (("dwconv", "conv_dw"), ("pwconv1", "mlp.fc1"), ("pwconv2", "mlp.fc2")):
        key = key.replace(theirs, timms)
    return re.sub(r"^norm\.", "head.norm.", re.sub(r"^head\.", "head.fc.", key))


def torchvision_name(key: str) -> str:
    key = re.sub(r"^downsample_layers\.(\d)\.", lambda m: f"features.{2 * int(m[1])}.", key)
    key = re.sub(r"^stages\.(\d)\.", lambda m: f"features.{2 * int(m[1]) + 1}.", key)
    for theirs, number in (("dwconv", 0), ("norm", 2), ("pwconv1", 3), ("pwconv2", 5)):
        key = re.sub(rf"^(features\.\d\.\d+)\.{theirs}\.", rf"\1.block.{number}.", key)
    key = key.replace(".gamma", ".layer_scale")
    return re.sub(r"^head\.", "classifier.2.", re.sub(r"^norm\.", "classifier.0.", key))


@pytest.mark.parametrize("rename", [lambda key: key, timm_name, torchvision_name])
def test_convnext_weights_under_all_their_names(
    rename: Callable[[str], str], facebook_convnext: dict[str, Tensor]
) -> None:
    model, image = unfilled("tadaconvnextv2_tiny"), facebook_convnext
    named = {rename(key): value for key, value in image.items()}
    if rename is torchvision_name:
        named = {key: value[:, None, None] if "layer_scale" in key else value for key, value in named.items()}
    left = inflate(model, named)
    assert [key for key in left if not re.match(r"head\.|.*(dwconv_rf|norm_avgpool)\.", key)] == []
    state = model.state_dict()
    torch.testing.assert_close(state["backbone.stages.2.8.gamma"], image["stages.2.8.gamma"])
    torch.testing.assert_close(state["backbone.norm.bias"], image["norm.bias"])
    torch.testing.assert_close(
        state["backbone.downsample_layers.0.0.weight"].sum(2), image["downsample_layers.0.0.weight"]
    )
    torch.testing.assert_close(
        state["backbone.stages.3.1.dwconv.weight"].flatten(), image["stages.3.1.dwconv.weight"].flatten()
    )


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("tsn_r50", {"blocks.0.attn.qkv.weight": torch.zeros(1)}, "not a weight of a ResNet"),
        ("tsn_r50", {"stages.0.0.gamma": torch.zeros(96)}, "no place"),
        ("slowfast_4x16_r50", {"conv1.weight": torch.zeros(64, 3, 7, 7)}, "no place"),
        ("tsn_r50", {"conv1.weight": torch.zeros(32, 3, 7, 7)}, "shape"),
    ],
)
def test_weights_that_do_not_fit_are_told(name: str, weights: dict[str, Tensor], message: str) -> None:
    with torch.device("meta"):
        model = build_action_model(name, 5)
    with pytest.raises(CheckpointError, match=message):
        inflate(model, weights)
