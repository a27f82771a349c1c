"""Cross-correlation of search features with template features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def depthwise_correlation(search: Tensor, template: Tensor) -> Tensor:
    """Slide every target's template over its own search features, channel by channel.

    The targets of a batch share one grouped convolution (SiamRPN++, CVPR 2019, section 3.3).

    Args:
        search: ``(B, C, H, W)``.
        template: ``(B, C, h, w)``.

    Returns:
        ``(B, C, H - h + 1, W - w + 1)``.
    """
    batch, channels = search.shape[:2]
    kernels = template.reshape(batch * channels, 1, *template.shape[2:])
    similarity = F.conv2d(search.reshape(1, batch * channels, *search.shape[2:]), kernels, groups=batch * channels)
    return similarity.view(batch, channels, *similarity.shape[2:])
