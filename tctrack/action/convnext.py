"""TAdaConvNeXt, first version (2022) and second (2023): ConvNeXt over 3-D tokens with depthwise TAdaConvs.

Clips are ``(B, 3, T, H, W)``. Module names are those of the released checkpoints. Sources: TAdaConv (ICLR 2022, arXiv
2110.06178), TAdaConvV2 (arXiv 2308.05787), ConvNeXt (arXiv 2201.03545).
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tctrack.ops.tadaconv import RouteFunction, TAdaConv2d

EPS = 1e-6


class ConvNeXt(nn.Module):
    """ConvNeXt over clips; :meth:`forward` gives the clip's feature ``(B, dim)``.

    Args:
        depths: blocks of the four stages.
        widths: channels of the four stages.
        version: of TAdaConv in the blocks: 1, 2, or 0 for plain convolutions.
        head_dim: channels of one attention head of the second version's route functions.
    """

    def __init__(
        self, depths: tuple[int, ...], widths: tuple[int, ...], version: Literal[0, 1, 2], head_dim: int = 48
    ) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv3d(3, widths[0], (3, 4, 4), (2, 4, 4), (1, 0, 0)), ChannelNorm(widths[0], EPS))]
        )
        for before, after in itertools.pairwise(widths):
            self.downsample_layers.append(
                nn.Sequential(ChannelNorm(before, EPS), nn.Conv3d(before, after, (1, 2, 2), (1, 2, 2)))
            )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width, version, head_dim) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        self.dim = widths[-1]
        self.norm = nn.LayerNorm(self.dim, EPS)

    def forward(self, clip: Tensor) -> Tensor:
        """Return the normalised mean of the last map, ``(B, dim)``."""
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            clip = stage(downsample(clip))
        feature: Tensor = self.norm(clip.mean((2, 3, 4)))
        return feature


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of ``(B, C, T, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every position."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """Depthwise convolution over space, then an MLP over channels, scaled by ``gamma`` and added to the input."""

    def __init__(self, channels: int, version: Literal[0, 1, 2], head_dim: int) -> None:
        super().__init__()
        self.dwconv: nn.Module
        self.dwconv_rf: nn.Module | None = None
        self.norm_avgpool: nn.LayerNorm | None = None
        if version == 0:
            self.dwconv = nn.Conv3d(channels, channels, (1, 7, 7), padding=(0, 3, 3), groups=channels)
        else:
            self.dwconv = TAdaConv2d(channels, channels, 7, padding=3, groups=channels, calibrate="cout")
        if version == 1:
            self.dwconv_rf = RouteFunction(channels)
        elif version == 2:
            self.dwconv_rf = AttentionRouteFunction(channels, head_dim)
            self.norm_avgpool = nn.LayerNorm(channels, EPS)
            nn.init.zeros_(self.norm_avgpool.weight)
        self.activation = quick_gelu if version == 2 else F.gelu
        self.norm = nn.LayerNorm(channels, EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, T, H, W)`` to the same shape."""
        if self.dwconv_rf is None:
            y = self.dwconv(x)
        elif isinstance(self.dwconv_rf, AttentionRouteFunction):
            y = self.dwconv(x, *self.dwconv_rf(x))
        else:
            y = self.dwconv(x, self.dwconv_rf(x))
        normed = self.norm(y.movedim(1, -1))
        if self.norm_avgpool is not None:
            normed = normed + self.norm_avgpool(F.avg_pool3d(y, (3, 1, 1), 1, (1, 0, 0)).movedim(1, -1))
        change: Tensor = self.gamma * self.pwconv2(self.activation(self.pwconv1(normed)))
        return x + change.movedim(-1, 1)


class AttentionRouteFunction(nn.Module):
    """TAdaConvV2's route function: attention over the frames' descriptors calibrates the kernel and the bias.

    Source: TAdaConvV2 (arXiv 2308.05787). The released models read the channels of ``qkv_proj`` with the head index
    fastest, but write the attended values with the head's channels fastest; so does this.
    """

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.head_dim = head_dim
        self.a = nn.Conv3d(channels, hidden, (3, 1, 1), padding=(1, 0, 0))
        self.norm = ChannelNorm(hidden, EPS)
        self.norm_transformer = ChannelNorm(hidden, EPS)
        self.qkv_proj = nn.Conv3d(hidden, 3 * hidden, 1)
        self.attn_out = nn.Conv3d(hidden, hidden, 1)
        self.b = nn.Conv3d(hidden, channels, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.b_bias = nn.Conv3d(hidden, channels, (3, 1, 1), padding=(1, 0, 0), bias=False)
        nn.init.zeros_(self.b.weight)
        nn.init.zeros_(self.b_bias.weight)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Return the calibrations of kernel and bias, ``(B, C, T, 1, 1)`` each, for a clip ``(B, C, T, H, W)``."""
        hidden = quick_gelu(self.norm(self.a(clip.mean((3, 4), keepdim=True))))
        hidden = hidden + self._attend(self.norm_transformer(hidden))
        return 1 + self.b(hidden), 1 + self.b_bias(hidden)

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, frames = x.shape[:3]
        qkv = self.qkv_proj(x).view(batch, 3, self.head_dim, -1, frames)
        query, key, value = qkv.permute(1, 0, 3, 4, 2)  # each (B, heads, T, head_dim)
        weights = (query @ key.transpose(-2, -1) * channels**-0.5).softmax(-1)
        attended: Tensor = self.attn_out((weights @ value).transpose(-2, -1).reshape(x.shape))
        return attended


def quick_gelu(x: Tensor) -> Tensor:
    """Return ``x * sigmoid(1.702 x)``."""
    return x * torch.sigmoid(1.702 * x)
