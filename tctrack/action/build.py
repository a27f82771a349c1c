"""The video classifiers by name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from tctrack.action.convnext import ConvNeXt
from tctrack.action.resnet import ResNet, ResNetConfig
from tctrack.action.slowfast import SlowFast
from tctrack.config import build
from tctrack.registry import Registry

#: Factories of the backbones; each takes keyword options and gives a module from clips to features ``(B, dim)``.
BACKBONES: Registry[nn.Module] = Registry("action model")

_ALL = {"tada_stages": (2, 3, 4, 5)}
_SLOWONLY = {"max_pool": True, "reduce_frames": (1, 1, 3, 3)}
_RESNETS: dict[str, dict[str, Any]] = {
    "tsn_r50": {},
    "tada2d_r50": {**_ALL, "aggregate": True},
    "slowonly_8x8_r50": _SLOWONLY,
    "slowonly_8x8_r50_tada": _SLOWONLY | _ALL,
    "r2plus1d_r50": {"kind": "2d+1d"},
    "r2plus1d_r50_tada2d": {"kind": "2d+1d", **_ALL},
    "r2plus1d_r50_tada2d1d": {"kind": "2d+1d", **_ALL, "tada_temporal": True},
    "r3d_r50": {"kind": "3d", "stem_frames": 3},
    "r3d_r50_tada": {"kind": "3d", "stem_frames": 3, **_ALL},
}
_SLOWFASTS: dict[str, dict[str, Any]] = {
    "slowfast_4x16_r50": {"alpha": 8, "fusion_frames": 5},
    "slowfast_4x16_r50_tada": {"alpha": 8, "fusion_frames": 5, **_ALL},
    "slowfast_8x8_r50": {"alpha": 4, "fusion_frames": 7},
    "slowfast_8x8_r50_tada": {"alpha": 4, "fusion_frames": 7, **_ALL},
}
_CONVNEXT_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768), "head_dim": 48},
    "small": {"depths": (3, 3, 27, 3), "widths": (96, 192, 384, 768), "head_dim": 48},
    "base": {"depths": (3, 3, 27, 3), "widths": (128, 256, 512, 1024), "head_dim": 64},
}
_CONVNEXT_VERSIONS: dict[str, Literal[0, 1, 2]] = {"convnext": 0, "tadaconvnext": 1, "tadaconvnextv2": 2}


def _resnet(base: dict[str, Any], **options: Any) -> ResNet:
    return ResNet(build(ResNetConfig, base | options))


for _name, _options in _RESNETS.items():
    BACKBONES.register(_name)(functools.partial(_resnet, _options))
for _name, _options in _SLOWFASTS.items():
    BACKBONES.register(_name)(functools.partial(SlowFast, **_options))
for _size, _options in _CONVNEXT_SIZES.items():
    for _name, _version in _CONVNEXT_VERSIONS.items():
        BACKBONES.register(f"{_name}_{_size}")(functools.partial(ConvNeXt, version=_version, **_options))


class ActionModel(nn.Module):
    """A backbone and a linear head over its clip feature.

    Args:
        backbone: a module with an attribute ``dim`` that maps clips ``(B, 3, T, H, W)`` to features ``(B, dim)``.
        num_classes: classes of every label that a clip has; Epic-Kitchens' clips have two, a verb and a noun.
        dropout: of the feature, in training.
    """

    def __init__(self, backbone: nn.Module, num_classes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.num_classes = tuple(num_classes)
        self.backbone = backbone
        self.head = nn.Sequential()
        self.head.add_module("dropout", nn.Dropout(dropout))
        self.head.add_module("out", nn.Linear(int(backbone.dim), sum(self.num_classes)))  # type: ignore[arg-type]

    def forward(self, clip: Tensor) -> Tensor:
        """Return the logits ``(B, sum(num_classes))``, label after label."""
        logits: Tensor = self.head(self.backbone(clip))
        return logits


def build_action_model(
    name: str, num_classes: int | Sequence[int] = 400, *, dropout: float = 0.5, **options: Any
) -> ActionModel:
    """Build a video classifier with fresh weights.

    Args:
        name: one of :data:`BACKBONES`; those ending in ``_tada…`` have TAdaConvs in all stages.
        num_classes: classes of the label, or of each label of a clip.
        dropout: of the feature before the head, in training.
        options: fields of :class:`ResNetConfig` for the ResNets over one path, such as ``tada_stages=(5,)``.

    Raises:
        ConfigError: no such model; the message suggests the right name.
    """
    classes = (num_classes,) if isinstance(num_classes, int) else num_classes
    return ActionModel(BACKBONES[name](**options), classes, dropout)
