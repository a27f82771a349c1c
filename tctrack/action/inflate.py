"""Weights of image networks for video networks: 2-D kernels become 3-D ones (I3D, arXiv 1705.07750)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from tctrack.errors import CheckpointError

_CONVNEXT_BLOCK = {
    "conv_dw": "dwconv",
    "mlp.fc1": "pwconv1",
    "mlp.fc2": "pwconv2",
    "block.0": "dwconv",
    "block.2": "norm",
    "block.3": "pwconv1",
    "block.5": "pwconv2",
    "layer_scale": "gamma",
}

#: Patterns of image networks' keys and their keys here: ResNet (torchvision, timm), then ConvNeXt as its authors, timm
#: and torchvision name it. Heads are left out.
_RENAMES: list[tuple[str, Callable[[re.Match[str]], str | None]]] = [
    (r"fc\.|head\.(fc\.)?(weight|bias)|classifier\.2\.", lambda _: None),
    (r"conv1\.", lambda _: "conv1.a."),
    (r"bn1\.", lambda _: "conv1.a_bn."),
    (r"layer(\d)\.(\d+)\.downsample\.0\.", lambda m: f"conv{int(m[1]) + 1}.res_{int(m[2]) + 1}.short_cut."),
    (r"layer(\d)\.(\d+)\.downsample\.1\.", lambda m: f"conv{int(m[1]) + 1}.res_{int(m[2]) + 1}.short_cut_bn."),
    (
        r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.",
        lambda m: (
            f"conv{int(m[1]) + 1}.res_{int(m[2]) + 1}.conv_branch.{'abc'[int(m[4]) - 1]}"
            f"{'_bn' if m[3] == 'bn' else ''}."
        ),
    ),
    (r"stem\.(\d)\.|features\.0\.(\d)\.", lambda m: f"downsample_layers.0.{m[1] or m[2]}."),
    (r"stages\.(\d)\.downsample\.(\d)\.", lambda m: f"downsample_layers.{m[1]}.{m[2]}."),
    (r"features\.([246])\.(\d)\.", lambda m: f"downsample_layers.{int(m[1]) // 2}.{m[2]}."),
    (
        r"stages\.(\d)\.blocks\.(\d+)\.(conv_dw|norm|mlp\.fc\d|gamma)",
        lambda m: f"stages.{m[1]}.{m[2]}.{_CONVNEXT_BLOCK.get(m[3], m[3])}",
    ),
    (
        r"features\.([1357])\.(\d+)\.(block\.\d|layer_scale)",
        lambda m: f"stages.{int(m[1]) // 2}.{m[2]}.{_CONVNEXT_BLOCK[m[3]]}",
    ),
    (r"head\.norm\.|classifier\.0\.|norm\.", lambda _: "norm."),
    (r"(downsample_layers|stages)\.", lambda m: m[0]),
]


def inflate(model: nn.Module, image_weights: Mapping[str, Tensor]) -> list[str]:
    """Load the weights of an image network (ResNet or ConvNeXt) into a video network with one path.

    A 2-D kernel that becomes a 3-D one is spread evenly over its frames, so that a clip of one repeated image gives
    that image's output.

    Returns:
        the keys without an image weight, which keep their values.

    Raises:
        CheckpointError: an image weight has no place in the network, or another shape.
    """
    state = model.state_dict()
    filled = set()
    for key, value in image_weights.items():
        name = _rename(key)
        if name is None:
            continue
        target = state.get(f"backbone.{name}")
        if target is None:
            raise CheckpointError(f"the image weight '{key}' has no place in this network; use weights of its 2-D form")
        if target.numel() != value.numel():
            frames = target.shape[-3] if target.dim() in (5, 7) else 1
            value = value.unsqueeze(2).expand(-1, -1, frames, -1, -1) / frames if value.dim() == 4 else value
        if target.numel() != value.numel():
            raise CheckpointError(f"the image weight '{key}' has shape {tuple(value.shape)}, not {tuple(target.shape)}")
        target.copy_(value.reshape(target.shape))
        filled.add(f"backbone.{name}")
    return [key for key in state if key not in filled]


def _rename(key: str) -> str | None:
    for pattern, name in _RENAMES:
        match = re.match(pattern, key)
        if match:
            start = name(match)
            return None if start is None else start + key[match.end() :]
    raise CheckpointError(
        f"'{key}' is not a weight of a ResNet or ConvNeXt as torchvision, timm or their authors name it"
    )
