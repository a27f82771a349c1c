"""Online-TAdaConv: convolutions whose weights are calibrated frame by frame from past context only.

Per frame ``W_t = alpha_t * W_b`` and ``bias_t = beta_t * bias_b``. Calibrating the input channels of a kernel equals
scaling the input's channels, so every frame of every target shares one ordinary batched convolution.

Sources: TCTrack (CVPR 2022, section 3.2; :class:`WindowTAdaConv2d`), TCTrack++ (TPAMI 2023, section 3.2;
:class:`AttentionTAdaConv2d`), both after TAdaConv (ICLR 2022).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OnlineTAdaConv2d(nn.Module, ABC):
    """A convolution over frames ``(B, C_in, H, W)`` with a cache of temporal context per stream.

    A form of the layer says what the context is (:meth:`observe`); the rest is shared. A fresh layer equals the plain
    convolution whose weights it carries. The weights keep the published shapes: ``weight (1, 1, C_out, C_in/groups, k,
    k)`` and ``bias (1, 1, C_out)``.

    Args:
        context_length: frames of context that one calibration reads.
        reduction: None for one temporal convolution ``C_in -> C_in``; a factor ``r`` for a bottleneck of ``C_in / r``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        context_length: int = 3,
        reduction: int | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.groups = stride, padding, groups
        self.past = context_length - 1
        plain = nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups, bias=bias)
        self.weight = nn.Parameter(plain.weight.detach()[None, None])
        self.bias = nn.Parameter(plain.bias.detach()[None, None]) if plain.bias is not None else None
        window = (context_length, 1, 1)
        if reduction is None:
            self.temporalconv: nn.Module = nn.Conv3d(in_channels, in_channels, window)
            last = self.temporalconv
        else:
            last = nn.Conv3d(in_channels // reduction, in_channels, 1)
            self.temporalconv = nn.Sequential(
                nn.Conv3d(in_channels, in_channels // reduction, window), nn.ReLU(inplace=True), last
            )
        self.fc = nn.Conv3d(in_channels, 1, window) if bias else None
        for layer in (last, self.fc):
            for parameter in layer.parameters() if layer is not None else ():
                nn.init.zeros_(parameter)

    @abstractmethod
    def observe(self, clip: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """Take in the frames ``(B, T, C_in, H, W)`` that follow ``cache`` (None: a new stream).

        Returns:
            the context ``(B, C_in, T + context_length - 1, 1, 1)`` and the cache after the last frame.
        """

    def run(self, clip: Tensor, cache: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Convolve ``(B, T, C_in, H, W)``, the frames that follow ``cache``; return the result and the new cache."""
        context, cache = self.observe(clip, cache)
        alpha = 1 + self.temporalconv(context).transpose(1, 2)  # (B, T, C_in, 1, 1)
        scaled = clip.flatten(0, 1) * alpha.flatten(0, 1)
        output = F.conv2d(scaled, self.weight[0, 0], None, self.stride, self.padding, groups=self.groups)
        output = output.reshape(*clip.shape[:2], *output.shape[1:])
        if self.bias is not None and self.fc is not None:
            beta = 1 + self.fc(context).transpose(1, 2)  # (B, T, 1, 1, 1)
            output = output + beta * self.bias[..., None, None]
        return output, cache

    def forward(self, clip: Tensor) -> Tensor:
        """Convolve a whole clip ``(B, T, C_in, H, W)``; equal to streaming it."""
        return self.run(clip)[0]

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve the first frame ``(B, C_in, H, W)`` of a stream; return the result and the cache."""
        output, cache = self.run(x[:, None])
        return output[:, 0], cache

    def step(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve the next frame ``(B, C_in, H, W)`` of a stream; return the result and the new cache."""
        output, cache = self.run(x[:, None], cache)
        return output[:, 0], cache


class WindowTAdaConv2d(OnlineTAdaConv2d):
    """TCTrack's form: the context is a sliding window of frame descriptors (spatial means).

    Cache: the last ``context_length - 1`` descriptors, ``(B, C_in, context_length - 1, 1, 1)``; a stream's first
    descriptor fills the past.
    """

    def observe(self, clip: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """Append the frames' descriptors to the cached ones."""
        descriptors = clip.mean((-2, -1), keepdim=True).transpose(1, 2)
        if cache is None:
            cache = descriptors[:, :, :1].expand(-1, -1, self.past, -1, -1)
        context = torch.cat((cache, descriptors), 2)
        return context, context[:, :, context.shape[2] - self.past :]


class AttentionIntegrate(nn.Module):
    """The attention by which a prior ``(B, C, S, S)`` takes in a frame's pooled map of the same shape.

    Scores are not scaled and nothing is added to the result (TCTrack++, TPAMI 2023, section 3.2).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(channels, channels // reduction, 3, padding=1)
        self.key_conv = nn.Conv2d(channels, channels // reduction, 3, padding=1)
        self.value_conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, prior: Tensor, pooled: Tensor) -> Tensor:
        """Return the new prior."""
        query = self.query_conv(prior).flatten(2)
        key = self.key_conv(pooled).flatten(2)
        value = self.value_conv(pooled).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # (B, positions of prior, positions of pooled)
        integrated: Tensor = value @ weights.transpose(1, 2)
        return integrated.view_as(prior)


class AttentionTAdaConv2d(OnlineTAdaConv2d):
    """TCTrack++'s form: a recurrent prior that attends to a pooled map of every new frame.

    Cache: the prior, ``(B, C_in, 5, 5)``.
    """

    #: Side of the pooled map that the prior attends to.
    POOLED = 5

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size,
            stride=stride, padding=padding, groups=groups, bias=bias, context_length=1,
        )  # fmt: skip
        self.init = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.attentionintegrate = AttentionIntegrate(in_channels)

    def observe(self, clip: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """Update the prior frame by frame; the context is its spatial mean."""
        means = []
        for x in clip.unbind(1):
            pooled = F.adaptive_max_pool2d(x, self.POOLED)
            prior = self.init(pooled) if cache is None else cache
            cache = self.attentionintegrate(prior, pooled)
            means.append(cache.mean((-2, -1), keepdim=True))
        assert cache is not None, "a clip has at least one frame"
        return torch.stack(means, 2), cache
