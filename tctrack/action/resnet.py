"""Residual networks over clips: TSN, TAda2D, SlowOnly, R3D and R(2+1)D are one class with swapped convolutions.

Clips are ``(B, 3, T, H, W)``. Module names are those of the released TAda2D checkpoints. Sources: TAda2D (ICLR 2022,
arXiv 2110.06178), TSN (1608.00859), SlowFast (1812.03982), R(2+1)D (1711.11248).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tctrack.ops.tadaconv import RouteFunction, TAdaConv2d, TAdaConv3d

BLOCKS = (3, 4, 6, 3)
EXPANSION = 4


@dataclass(frozen=True)
class ResNetConfig:
    """What distinguishes one ResNet-50 over clips from another."""

    kind: Literal["2d", "2d+1d", "3d"] = "2d"
    """The middle convolution of a block: 1×3×3, 1×3×3 followed by 3×1×1, or 3×3×3."""
    stem_frames: int = 1
    """Temporal size of the stem's kernel."""
    reduce_frames: tuple[int, int, int, int] = (1, 1, 1, 1)
    """Temporal size of the kernel of each stage's reducing (``a``) convolutions."""
    max_pool: bool = False
    """Whether a max pool follows the stem; without it the first stage has stride 2."""
    width: int = 64
    """Channels of the stem."""
    lateral: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Channels that join the input of each stage from another path."""
    tada_stages: tuple[int, ...] = ()
    """Stages (2 to 5) whose middle convolutions are TAdaConvs; of a 2d+1d block, the spatial one."""
    tada_temporal: bool = False
    """Whether the 3×1×1 convolutions of those stages' 2d+1d blocks are TAdaConvs too."""
    aggregate: bool = False
    """Whether the TAdaConvs' outputs are joined by their average over three frames, with a batch norm of its own."""


class ResNet(nn.Module):
    """A ResNet-50 over clips; :meth:`forward` gives the clip's feature ``(B, dim)``.

    Attributes:
        dim: channels of the last map.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.conv1 = Stem(config)
        channels = config.width
        for stage, blocks in enumerate(BLOCKS):
            layers = nn.Sequential()
            hidden = config.width * 2**stage
            for block in range(blocks):
                stride = 2 if block == 0 and (stage > 0 or not config.max_pool) else 1
                inputs = channels + config.lateral[stage] if block == 0 else channels
                layers.add_module(f"res_{block + 1}", Block(inputs, hidden, stride, stage, config))
                channels = hidden * EXPANSION
            self.add_module(f"conv{stage + 2}", layers)
        self.dim = channels

    def parts(self) -> list[nn.Module]:
        """Return the stem and the four stages, in order."""
        return list(self.children())

    def maps(self, clip: Tensor) -> Tensor:
        """Return the last map ``(B, dim, T, H / 32, W / 32)``."""
        for part in self.parts():
            clip = part(clip)
        return clip

    def forward(self, clip: Tensor) -> Tensor:
        """Return the mean of the last map, ``(B, dim)``."""
        return self.maps(clip).mean((2, 3, 4))


class Stem(nn.Module):
    """Convolution 7×7 of stride 2, batch norm, ReLU, and a max pool where the network has one."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.a = _conv(3, config.width, (config.stem_frames, 7, 7), stride=2)
        self.a_bn = nn.BatchNorm3d(config.width)
        self.max_pool = config.max_pool

    def forward(self, clip: Tensor) -> Tensor:
        """Return ``(B, width, T, H / 2, W / 2)``, half that side with a max pool."""
        x = F.relu(self.a_bn(self.a(clip)))
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)) if self.max_pool else x


class Block(nn.Module):
    """A bottleneck with its shortcut."""

    def __init__(self, channels: int, hidden: int, stride: int, stage: int, config: ResNetConfig) -> None:
        super().__init__()
        outputs = hidden * EXPANSION
        self.short_cut: nn.Module | None = None
        if stride != 1 or channels != outputs:
            self.short_cut = _conv(channels, outputs, (1, 1, 1), stride)
            self.short_cut_bn = nn.BatchNorm3d(outputs)
        self.conv_branch = Bottleneck(channels, hidden, stride, stage, config)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(shortcut(x) + branch(x))``."""
        short = x if self.short_cut is None else self.short_cut_bn(self.short_cut(x))
        return F.relu(short + self.conv_branch(x))


class Bottleneck(nn.Module):
    """Reduce (``a``), convolve over space and time (``b``, ``t``), expand (``c``)."""

    def __init__(self, channels: int, hidden: int, stride: int, stage: int, config: ResNetConfig) -> None:
        super().__init__()
        tada = stage + 2 in config.tada_stages
        self.a = _conv(channels, hidden, (config.reduce_frames[stage], 1, 1))
        self.a_bn = nn.BatchNorm3d(hidden)
        frames = 3 if config.kind == "3d" else 1
        self.b, self.b_rf = _middle(hidden, (frames, 3, 3), stride, tada)
        self.b_bn = nn.BatchNorm3d(hidden)
        self.b_avgpool_bn = nn.BatchNorm3d(hidden) if tada and config.aggregate else None
        if self.b_avgpool_bn is not None:
            nn.init.zeros_(self.b_avgpool_bn.weight)
        self.t: nn.Module | None = None
        if config.kind == "2d+1d":
            self.t, self.t_rf = _middle(hidden, (3, 1, 1), 1, tada and config.tada_temporal)
            self.t_bn = nn.BatchNorm3d(hidden)
        self.c = _conv(hidden, hidden * EXPANSION, (1, 1, 1))
        self.c_bn = nn.BatchNorm3d(hidden * EXPANSION)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, 4 * hidden, T, H / stride, W / stride)``."""
        x = F.relu(self.a_bn(self.a(x)))
        y = self.b(x) if self.b_rf is None else self.b(x, self.b_rf(x))
        x = self.b_bn(y)
        if self.b_avgpool_bn is not None:
            x = x + self.b_avgpool_bn(F.avg_pool3d(y, (3, 1, 1), 1, (1, 0, 0)))
        x = F.relu(x)
        if self.t is not None:
            x = F.relu(self.t_bn(self.t(x) if self.t_rf is None else self.t(x, self.t_rf(x))))
        expanded: Tensor = self.c_bn(self.c(x))
        return expanded


def _conv(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Conv3d:
    """Return a bias-free convolution that keeps the number of frames."""
    frames, height, width = (size // 2 for size in kernel)
    return nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (frames, height, width), bias=False)


def _middle(
    channels: int, kernel: tuple[int, int, int], stride: int, tada: bool
) -> tuple[nn.Module, RouteFunction | None]:
    """Return a convolution ``channels -> channels`` and, if it is a TAdaConv, its route function."""
    if not tada:
        return _conv(channels, channels, kernel, stride), None
    if kernel[0] == 1:
        return TAdaConv2d(channels, channels, kernel[1], stride, kernel[1] // 2, bias=False), RouteFunction(channels)
    padding = tuple(size // 2 for size in kernel)
    return TAdaConv3d(channels, channels, kernel, (1, stride, stride), padding, bias=False), RouteFunction(channels)
