"""Online-TAdaConv: convolutions whose weights are calibrated frame by frame from past context only.

Per frame ``W_t = alpha_t * W_b`` and ``bias_t = beta_t * bias_b``. Calibrating the input channels of a kernel equals
scaling the input's channels, so every frame of every target shares one ordinary batched convolution.

Sources: TCTrack (CVPR 2022, section 3.2; :class:`WindowTAdaConv2d`), TCTrack++ (TPAMI 2023, section 3.2;
:class:`AttentionTAdaConv2d`), both after TAdaConv (ICLR 2022).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OnlineTAdaConv2d(nn.Module, ABC):
    """A convolution over frames ``(B, C_in, H, W)`` with a cache of temporal context per stream.

    A subclass defines the context (:meth:`observe`). A fresh layer equals the plain
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
    def observe(self, frames: Tensor, cache: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Observe frames ``(B T, C_in, H, W)`` that follow ``cache`` (None: new streams), ``T = length`` a stream.

        Returns:
            the context ``(B, C_in, T + context_length - 1, 1, 1)`` and the cache after the last frame.
        """

    def run(self, frames: Tensor, cache: Tensor | None = None, length: int = 1) -> tuple[Tensor, Tensor]:
        """Convolve the frames ``(B T, C_in, H, W)`` of ``B`` streams, ``T = length`` each, that follow ``cache``.

        Returns:
            the result ``(B T, C_out, H', W')`` and the new cache.
        """
        context, cache = self.observe(frames, cache, length)
        alpha = 1 + _by_frame(self.temporalconv(context))
        depthwise = self.groups == frames.shape[1] == self.weight.shape[2]
        x = frames if depthwise else frames * alpha
        x = F.conv2d(x, self.weight[0, 0], None, self.stride, self.padding, groups=self.groups)
        if depthwise:  # each channel has its own kernel, so its result can be scaled in place of its input
            x = x * alpha
        if self.bias is not None:
            beta = 1 if self.fc is None else 1 + _by_frame(self.fc(context))
            x = x + beta * self.bias[0, 0, :, None, None]
        return x, cache

    def forward(self, clip: Tensor) -> Tensor:
        """Convolve a whole clip ``(B, T, C_in, H, W)``; equal to streaming it."""
        output, _ = self.run(clip.flatten(0, 1), None, clip.shape[1])
        return output.reshape(*clip.shape[:2], *output.shape[1:])

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve the first frame ``(B, C_in, H, W)`` of a stream; return the result and the cache."""
        return self.run(x)

    def step(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve the next frame ``(B, C_in, H, W)`` of a stream; return the result and the new cache."""
        return self.run(x, cache)


def _by_frame(values: Tensor) -> Tensor:
    """Turn ``(B, C, T, 1, 1)`` into ``(B T, C, 1, 1)``."""
    return values[:, :, 0] if values.shape[2] == 1 else values.transpose(1, 2).flatten(0, 1)


def unstack(frames: Tensor, length: int) -> Sequence[Tensor]:
    """Return the frames ``(B T, …)`` of ``B`` streams one time after another, ``(B, …)`` each."""
    return [frames] if length == 1 else frames.reshape(-1, length, *frames.shape[1:]).unbind(1)


def repeat(values: Tensor, length: int) -> Tensor:
    """Repeat ``(B, …)`` for every frame of its stream, ``(B T, …)``."""
    return values if length == 1 else values.repeat_interleave(length, 0)


def restack(frames: Sequence[Tensor]) -> Tensor:
    """Return frames ``(B, …)`` of ``T`` times as ``(B T, …)``; the inverse of :func:`unstack`."""
    return frames[0] if len(frames) == 1 else torch.stack(list(frames), 1).flatten(0, 1)


def adaptive_max_pool(x: Tensor, side: int) -> Tensor:
    """Pool ``(B, C, H, W)`` to ``(B, C, side, side)`` as ``F.adaptive_max_pool2d``, which cannot be exported."""
    for dim in (-2, -1):
        length = x.shape[dim]
        bins = [(n * length // side, -(-(n + 1) * length // side)) for n in range(side)]
        x = torch.cat([x.narrow(dim, low, high - low).amax(dim, keepdim=True) for low, high in bins], dim)
    return x


class WindowTAdaConv2d(OnlineTAdaConv2d):
    """TCTrack's form: the context is a sliding window of frame descriptors (spatial means).

    Cache: the last ``context_length - 1`` descriptors, ``(B, C_in, context_length - 1, 1, 1)``; a stream's first
    descriptor fills the past.
    """

    def observe(self, frames: Tensor, cache: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Append the frames' descriptors to the cached ones."""
        descriptors = frames.mean((-2, -1), keepdim=True)
        descriptors = (
            descriptors[:, :, None]
            if length == 1
            else descriptors.reshape(-1, length, *descriptors.shape[1:]).transpose(1, 2)
        )
        if cache is None:
            cache = descriptors[:, :, :1].expand(-1, -1, self.past, -1, -1)
        context = torch.cat((cache, descriptors), 2)
        return context, context[:, :, length:]


class AttentionIntegrate(nn.Module):
    """Attention that updates a prior ``(B, C, S, S)`` by a frame's pooled map of the same shape.

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

    def observe(self, frames: Tensor, cache: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Update the prior frame by frame; the context is its spatial mean."""
        means = []
        for pooled in unstack(adaptive_max_pool(frames, self.POOLED), length):
            prior = self.init(pooled) if cache is None else cache
            cache = self.attentionintegrate(prior, pooled)
            means.append(cache.mean((-2, -1), keepdim=True))
        assert cache is not None, "a clip has at least one frame"
        return torch.stack(means, 2), cache
