"""SlowFast: a slow path of few frames and a thin fast path of many, joined by lateral convolutions.

Source: SlowFast (ICCV 2019, arXiv 1812.03982).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tctrack.action.resnet import EXPANSION, ResNet, ResNetConfig
from tctrack.errors import ConfigError


class SlowFast(nn.Module):
    """SlowFast-R50; :meth:`forward` gives the clip's feature ``(B, dim)``, slow path first.

    Args:
        alpha: the fast path sees this many times the slow path's frames.
        fusion_frames: temporal kernel of the lateral convolutions.
        tada_stages: stages (2 to 5) of both paths whose middle convolutions are TAdaConvs.
    """

    #: Channels of the fast path are the slow path's divided by this.
    THINNING = 8

    def __init__(self, alpha: int, fusion_frames: int, tada_stages: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.alpha = alpha
        width = 64 // self.THINNING
        fast = (width, *(width * EXPANSION * 2**stage for stage in range(3)))  # channels at the four laterals
        self.slow = ResNet(
            ResNetConfig(
                reduce_frames=(1, 1, 3, 3),
                max_pool=True,
                lateral=(2 * fast[0], 2 * fast[1], 2 * fast[2], 2 * fast[3]),
                tada_stages=tada_stages,
            )
        )
        self.fast = ResNet(
            ResNetConfig(stem_frames=5, reduce_frames=(3, 3, 3, 3), max_pool=True, width=width, tada_stages=tada_stages)
        )
        self.lateral = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(
                    channels,
                    2 * channels,
                    (fusion_frames, 1, 1),
                    (alpha, 1, 1),
                    (fusion_frames // 2, 0, 0),
                    bias=False,
                ),
                nn.BatchNorm3d(2 * channels),
                nn.ReLU(inplace=True),
            )
            for channels in fast
        )
        self.dim = self.slow.dim + self.fast.dim

    def forward(self, clip: Tensor) -> Tensor:
        """Return the feature of the fast path's clip ``(B, 3, T, H, W)``; the slow path takes every ``alpha``-th frame.

        Raises:
            ConfigError: ``alpha`` does not divide T.
        """
        if clip.shape[2] % self.alpha:
            raise ConfigError(f"SlowFast needs a multiple of {self.alpha} frames, not {clip.shape[2]}")
        slow, fast = clip[:, :, :: self.alpha], clip
        laterals = [*self.lateral, None]
        for slow_part, fast_part, lateral in zip(self.slow.parts(), self.fast.parts(), laterals, strict=True):
            slow, fast = slow_part(slow), fast_part(fast)
            if lateral is not None:
                slow = torch.cat((slow, lateral(fast)), 1)
        return torch.cat((slow.mean((2, 3, 4)), fast.mean((2, 3, 4))), 1)
