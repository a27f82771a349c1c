"""TAdaConv for clips: convolutions whose weights every frame calibrates from local and global temporal context.

Per frame ``W_t = alpha_t * W_b``, where a :class:`RouteFunction` computes ``alpha`` from the frames' descriptors.
Calibrating input channels equals scaling the input and calibrating output channels equals scaling the output, so no
weight is ever copied per frame. Clips are ``(B, C, T, H, W)``.

Source: TAdaConv (ICLR 2022, arXiv 2110.06178), sections 3.2 and 3.3.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tctrack.errors import ConfigError, suggest

#: Which channels of the kernel a frame calibrates: its input's, its output's, or both.
Calibrate: TypeAlias = Literal["cin", "cout", "both"]
Size: TypeAlias = int | tuple[int, ...]


class TAdaConv3d(nn.Module):
    """A 3-D convolution whose kernel is calibrated per output frame; takes the arguments of :class:`torch.nn.Conv3d`.

    Each output frame's window of ``kt`` frames (zero padded) is convolved with that frame's kernel. The weights keep
    the published shapes: ``weight (1, 1, C_out, C_in/groups, kt, kh, kw)`` and ``bias (1, 1, C_out)``.

    Args:
        calibrate: the calibrated channels; ``calibrated_channels`` says how many that are. With ``"both"``, a
            calibration holds those of the input, then those of the output.
    """

    _plain: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv3d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        calibrate: Calibrate = "cin",
    ) -> None:
        super().__init__()
        plain = self._plain(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)  # type: ignore[arg-type]
        self.weight = nn.Parameter(plain.weight.detach()[None, None])
        self.bias = nn.Parameter(plain.bias.detach()[None, None]) if plain.bias is not None else None
        self.kernel_size = _triple(plain.kernel_size, 1)
        self.stride = _triple(plain.stride, 1)
        self.padding = _triple(plain.padding, 0)  # type: ignore[arg-type]
        self.dilation = _triple(plain.dilation, 1)
        self.groups, self.calibrate = groups, calibrate
        self.in_channels, self.out_channels = in_channels, out_channels
        channels = {"cin": in_channels, "cout": out_channels, "both": in_channels + out_channels}
        if calibrate not in channels:
            raise ConfigError(f"unknown calibrate='{calibrate}'{suggest(calibrate, channels)}")
        self.calibrated_channels = channels[calibrate]

    def centres(self, frames: int) -> Tensor:
        """Return, for a clip of ``frames`` frames, the index ``(T_out,)`` of the frame at each window's centre."""
        reach = (self.kernel_size[0] - 1) * self.dilation[0]
        count = (frames + 2 * self.padding[0] - reach - 1) // self.stride[0] + 1
        centres = torch.arange(count) * self.stride[0] + reach // 2 - self.padding[0]
        return centres.clamp(0, frames - 1)

    def forward(self, clip: Tensor, alpha: Tensor, beta: Tensor | None = None) -> Tensor:
        """Convolve a clip.

        Args:
            clip: ``(B, C_in, T, H, W)``.
            alpha: calibration of the kernel, one per output frame, ``(B, calibrated_channels, T_out, 1, 1)``.
            beta: calibration of the bias, ``(B, C_out or 1, T_out, 1, 1)``; None leaves the bias as it is.
        """
        gain_in = alpha[:, : self.in_channels] if self.calibrate != "cout" else None
        gain_out = alpha[:, -self.out_channels :] if self.calibrate != "cin" else None
        kernel = self.weight.view(self.out_channels, -1, *self.kernel_size)
        stride, dilation, past = self.stride[0], self.dilation[0], self.padding[0]
        padded = F.pad(clip, (0, 0, 0, 0, past, past)) if past else clip
        windows = padded.shape[2] - (self.kernel_size[0] - 1) * dilation

        def convolve(tap: int) -> Tensor:
            """Convolve the frames at one place of every window, ``(B * T_out, C_out, H, W)``."""
            first = tap * dilation
            frames = padded[:, :, first : first + windows : stride]
            frames = (frames if gain_in is None else frames * gain_in).transpose(1, 2).flatten(0, 1)
            sizes = self.stride[1:], self.padding[1:], self.dilation[1:]
            return F.conv2d(frames, kernel[:, :, tap], None, *sizes, self.groups)

        output = functools.reduce(torch.add, map(convolve, range(self.kernel_size[0])))
        output = output.view(clip.shape[0], -1, *output.shape[1:]).transpose(1, 2)
        if gain_out is not None:
            output = output * gain_out
        if self.bias is not None:
            bias = self.bias.view(1, -1, 1, 1, 1)
            output = output + (bias if beta is None else beta * bias)
        return output


class TAdaConv2d(TAdaConv3d):
    """The frame-wise form, with the arguments of :class:`torch.nn.Conv2d` and a 6-D ``weight`` (no ``kt``)."""

    _plain = nn.Conv2d


class RouteCache(NamedTuple):
    """What a causal route function remembers of a stream; its size is constant."""

    frames: Tensor  #: ``()`` how many frames have passed
    mean: Tensor  #: ``(B, C, 1, 1, 1)`` mean descriptor of the past frames
    local: Tensor  #: ``(B, C, k1 - 1, 1, 1)`` the last inputs of the first temporal convolution
    hidden: Tensor  #: ``(B, C / ratio, k2 - 1, 1, 1)`` the last inputs of the second


class RouteFunction(nn.Module):
    """Computes ``alpha = b(ReLU(BN(a(v + g(u))))) + 1`` from frame descriptors ``v`` and their clip mean ``u``.

    ``b`` starts at zero, hence ``alpha`` at one. Frames outside the clip count as zero.

    Args:
        channels: channels of the clip whose spatial means are the descriptors.
        calibrated: channels of ``alpha``; None for ``channels``.
        ratio: ``a`` reduces the channels by this factor.
        kernels: temporal kernel sizes (odd) of ``a`` and ``b``.
        causal: only past frames and the present one feed ``alpha``: ``a`` and ``b`` look back, ``u`` is a running mean.
    """

    def __init__(
        self,
        channels: int,
        calibrated: int | None = None,
        *,
        ratio: int = 4,
        kernels: tuple[int, int] = (3, 3),
        causal: bool = False,
    ) -> None:
        super().__init__()
        if channels < ratio:
            raise ConfigError(
                f"a route function over {channels} channels cannot reduce them by ratio={ratio}; lower it"
            )
        if not all(size % 2 for size in kernels):
            raise ConfigError(f"temporal kernels={kernels} of a route function must be odd")
        hidden = channels // ratio
        self.causal = causal
        first, second = ((0 if causal else size // 2, 0, 0) for size in kernels)
        self.g = nn.Conv3d(channels, channels, 1)
        self.a = nn.Conv3d(channels, hidden, (kernels[0], 1, 1), padding=first)
        self.bn = nn.BatchNorm3d(hidden)
        self.b = nn.Conv3d(hidden, calibrated or channels, (kernels[1], 1, 1), padding=second, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, clip: Tensor) -> Tensor:
        """Return ``alpha (B, calibrated, T, 1, 1)`` for a clip ``(B, C, T, H, W)``."""
        if self.causal:
            return self.run(clip)[0]
        descriptors = clip.mean((3, 4), keepdim=True)
        local = descriptors + self.g(descriptors.mean(2, keepdim=True))
        alpha: Tensor = 1 + self.b(F.relu(self.bn(self.a(local))))
        return alpha

    def run(self, clip: Tensor, cache: RouteCache | None = None) -> tuple[Tensor, RouteCache]:
        """Calibrate the frames ``(B, C, T, H, W)`` that follow ``cache`` (None: a new stream).

        Raises:
            ConfigError: the route function is not causal.
        """
        if not self.causal:
            raise ConfigError("a route function that sees the whole clip cannot stream; build it with causal=True")
        descriptors = clip.mean((3, 4), keepdim=True)
        if cache is None:
            cache = self._empty(descriptors)
        passed = cache.frames + torch.arange(1, clip.shape[2] + 1, device=clip.device).view(-1, 1, 1)
        share = (cache.frames / passed).to(clip.dtype)
        mean = cache.mean * share + descriptors.cumsum(2) / passed
        local = torch.cat((cache.local, descriptors + self.g(mean)), 2)
        hidden = torch.cat((cache.hidden, F.relu(self.bn(self.a(local)))), 2)
        alpha = 1 + self.b(hidden)
        cache = RouteCache(
            passed[-1, 0, 0],
            mean[:, :, -1:],
            local[:, :, local.shape[2] - cache.local.shape[2] :],
            hidden[:, :, hidden.shape[2] - cache.hidden.shape[2] :],
        )
        return alpha, cache

    def _empty(self, descriptors: Tensor) -> RouteCache:
        batch, channels = descriptors.shape[:2]
        return RouteCache(
            torch.zeros((), dtype=torch.long, device=descriptors.device),
            descriptors.new_zeros(batch, channels, 1, 1, 1),
            descriptors.new_zeros(batch, channels, self.a.kernel_size[0] - 1, 1, 1),
            descriptors.new_zeros(batch, self.b.in_channels, self.b.kernel_size[0] - 1, 1, 1),
        )


class AdaptiveCache(NamedTuple):
    """What a causal :class:`AdaptiveConv` remembers of a stream; its size is constant."""

    route: RouteCache
    frames: Tensor  #: ``(B, C_in, (kt - 1) * dilation, H, W)`` the last input frames


class AdaptiveConv(nn.Module):
    """A TAdaConv together with its route function, made from a plain convolution whose weights it keeps.

    A fresh layer equals the plain convolution (a causal one: its causal form, where ``kt`` frames end at the present).

    Args:
        plain: a Conv2d, which becomes a :class:`TAdaConv2d` over frames, or a Conv3d.
        calibrate: the calibrated channels.
        ratio: see :class:`RouteFunction`; so ``kernels`` and ``causal``.

    Raises:
        ConfigError: the convolution pads with other values than zero, or is to be causal but drops or adds frames.
    """

    def __init__(
        self,
        plain: nn.Conv2d | nn.Conv3d,
        calibrate: Calibrate = "cin",
        *,
        ratio: int = 4,
        kernels: tuple[int, int] = (3, 3),
        causal: bool = False,
    ) -> None:
        super().__init__()
        if plain.padding_mode != "zeros":
            raise ConfigError(f"TAdaConv pads with zeros; padding_mode='{plain.padding_mode}' is not supported")
        self.conv = (TAdaConv3d if isinstance(plain, nn.Conv3d) else TAdaConv2d)(
            plain.in_channels,
            plain.out_channels,
            plain.kernel_size,
            plain.stride,
            _explicit_padding(plain),
            plain.dilation,
            plain.groups,
            plain.bias is not None,
            calibrate,
        )
        self.conv.weight = nn.Parameter(plain.weight.detach()[None, None].clone(), plain.weight.requires_grad)
        if plain.bias is not None:
            self.conv.bias = nn.Parameter(plain.bias.detach()[None, None].clone(), plain.bias.requires_grad)
        self.route = RouteFunction(
            plain.in_channels, self.conv.calibrated_channels, ratio=ratio, kernels=kernels, causal=causal
        ).to(plain.weight)
        self.reach = (self.conv.kernel_size[0] - 1) * self.conv.dilation[0]
        if causal:
            if self.conv.stride[0] != 1 or 2 * self.conv.padding[0] != self.reach:
                raise ConfigError(f"a causal convolution must keep the number of frames, but {plain} does not")
            self.conv.padding = (0, *self.conv.padding[1:])

    def forward(self, clip: Tensor) -> Tensor:
        """Convolve a whole clip ``(B, C_in, T, H, W)``; a causal layer's result equals streaming it."""
        if self.route.causal:
            return self.run(clip)[0]
        alpha = self.route(clip)
        if self.conv.kernel_size[0] > 1 or self.conv.stride[0] > 1 or self.conv.padding[0]:
            alpha = alpha[:, :, self.conv.centres(clip.shape[2]).to(alpha.device)]
        output: Tensor = self.conv(clip, alpha)
        return output

    def run(self, clip: Tensor, cache: AdaptiveCache | None = None) -> tuple[Tensor, AdaptiveCache]:
        """Convolve the frames ``(B, C_in, T, H, W)`` that follow ``cache`` (None: a new stream).

        Raises:
            ConfigError: the layer is not causal.
        """
        alpha, route = self.route.run(clip, cache.route if cache else None)
        past = cache.frames if cache else clip.new_zeros(*clip.shape[:2], self.reach, *clip.shape[3:])
        clip = torch.cat((past, clip), 2)
        return self.conv(clip, alpha), AdaptiveCache(route, clip[:, :, clip.shape[2] - self.reach :])

    def start(self, x: Tensor) -> tuple[Tensor, AdaptiveCache]:
        """Convolve the first frame ``(B, C_in, H, W)`` of a stream; return the result and the cache."""
        output, cache = self.run(x[:, :, None])
        return output[:, :, 0], cache

    def step(self, x: Tensor, cache: AdaptiveCache) -> tuple[Tensor, AdaptiveCache]:
        """Convolve the next frame ``(B, C_in, H, W)`` of a stream; return the result and the new cache."""
        output, cache = self.run(x[:, :, None], cache)
        return output[:, :, 0], cache


def _triple(size: tuple[int, ...], time: int) -> tuple[int, int, int]:
    height, width = size[-2:]
    return (size[0] if len(size) == 3 else time, height, width)


def _explicit_padding(plain: nn.Conv2d | nn.Conv3d) -> tuple[int, ...]:
    """Return a convolution's padding in numbers, also where it was given as "same" or "valid"."""
    if not isinstance(plain.padding, str):
        return plain.padding
    if plain.padding == "valid":
        return (0,) * len(plain.kernel_size)
    reach = [(size - 1) * dilation for size, dilation in zip(plain.kernel_size, plain.dilation, strict=True)]
    if any(total % 2 for total in reach):
        raise ConfigError(f"padding='same' of an even kernel is lopsided; TAdaConv cannot keep it: {plain}")
    return tuple(total // 2 for total in reach)
