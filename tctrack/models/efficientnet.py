"""Trunks of inverted residual blocks to stride 16, with Online-TAdaConv in the depthwise convolutions of the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tctrack.ops.fold import fold_batch_norms
from tctrack.ops.online_tadaconv import WindowTAdaConv2d


class BlockSpec(NamedTuple):
    """One inverted residual block: output channels, depthwise kernel side, stride, expansion factor."""

    channels: int
    kernel_size: int
    stride: int
    expansion: int


class TrunkShape(NamedTuple):
    """Channels of the stem, a 3×3 convolution of stride 2, and the blocks after it."""

    stem: int
    blocks: tuple[BlockSpec, ...]


#: EfficientNet-Lite0 to stride 16, without its blocks 11 to 15.
_LITE0 = (
    BlockSpec(16, 3, 1, 1),
    BlockSpec(24, 3, 2, 6),
    BlockSpec(24, 3, 1, 6),
    BlockSpec(40, 5, 2, 6),
    BlockSpec(40, 5, 1, 6),
    BlockSpec(80, 3, 2, 6),
    BlockSpec(80, 3, 1, 6),
    BlockSpec(80, 3, 1, 6),
    BlockSpec(112, 5, 1, 6),
    BlockSpec(112, 5, 1, 6),
    BlockSpec(112, 5, 1, 6),
)
#: Little at strides 2 and 4, where EfficientNet-Lite0 spends a third of its time, in place of that one's blocks 0 to 4.
_CHEAP = (BlockSpec(32, 3, 2, 1), BlockSpec(40, 5, 2, 3), BlockSpec(40, 5, 1, 3), BlockSpec(40, 5, 1, 3))
TRUNKS: Mapping[str, TrunkShape] = {
    "efficientnet-lite0": TrunkShape(32, _LITE0),
    "lite": TrunkShape(24, _CHEAP + _LITE0[5:10]),
    "nano": TrunkShape(24, _CHEAP + _LITE0[5:9]),
}
STRIDE = 16
BN_EPS = 1e-3


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, linear 1×1 projection; a shortcut where the shape allows it.

    With ``centre``, a stride-2 block pads right and bottom only, which puts the cells of the last map in the middle.
    """

    def __init__(self, in_channels: int, spec: BlockSpec, *, centre: bool, reduction: int | None) -> None:
        super().__init__()
        wide = in_channels * spec.expansion
        margin = spec.kernel_size // 2
        self.expand = nn.Conv2d(in_channels, wide, 1, bias=False) if spec.expansion > 1 else None
        self.expand_bn: nn.Module | None = nn.BatchNorm2d(wide, BN_EPS) if spec.expansion > 1 else None
        self.crop_padding = centre and spec.stride == 2
        padding = 0 if self.crop_padding else margin
        self.adaptive = reduction is not None
        self.depthwise: nn.Conv2d | WindowTAdaConv2d
        if reduction is None:
            self.depthwise = nn.Conv2d(wide, wide, spec.kernel_size, spec.stride, padding, groups=wide, bias=False)
        else:
            self.depthwise = WindowTAdaConv2d(
                wide, wide, spec.kernel_size, stride=spec.stride, padding=padding, groups=wide, bias=False,
                reduction=reduction,
            )  # fmt: skip
        self.margin = margin
        self.depthwise_bn = nn.BatchNorm2d(wide, BN_EPS)
        self.project = nn.Conv2d(wide, spec.channels, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(spec.channels, BN_EPS)
        self.shortcut = spec.stride == 1 and in_channels == spec.channels

    def run(self, frames: Tensor, cache: Tensor | None, length: int) -> tuple[Tensor, Tensor | None]:
        """Map ``(B T, C, H, W)``; return the result and the temporal cache (None for a plain block)."""
        x = frames
        if self.expand is not None and self.expand_bn is not None:
            x = F.relu6(self.expand_bn(self.expand(x)))
        if self.crop_padding:
            x = F.pad(x, (self.margin - 1, self.margin, self.margin - 1, self.margin))
        if isinstance(self.depthwise, WindowTAdaConv2d):
            x, cache = self.depthwise.run(x, cache, length)
        else:
            x = self.depthwise(x)
        x = self.project_bn(self.project(F.relu6(self.depthwise_bn(x))))
        return x + frames if self.shortcut else x, cache


class EfficientNetLite(nn.Module):
    """The trunk: BGR images 0–255 to :attr:`channels` at stride 16; cell ``i`` is centred at pixel ``16 (i + 1/2)``.

    Args:
        adaptive_blocks: indices of the blocks whose depthwise convolution is an Online-TAdaConv.
        reduction: bottleneck factor of their temporal convolutions.
        shape: one of :data:`TRUNKS`.
    """

    def __init__(
        self, adaptive_blocks: Sequence[int] = (8, 9, 10), reduction: int = 16, shape: str = "efficientnet-lite0"
    ) -> None:
        super().__init__()
        channels, specs = TRUNKS[shape]
        self.stem = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(channels, BN_EPS)
        blocks = []
        stride = 2
        for index, spec in enumerate(specs):
            centre = stride * spec.stride == STRIDE
            factor = reduction if index in adaptive_blocks else None
            blocks.append(InvertedResidual(channels, spec, centre=centre, reduction=factor))
            channels, stride = spec.channels, stride * spec.stride
        self.channels = channels
        self.blocks = nn.ModuleList(blocks)
        #: Number of blocks below, which see no temporal context.
        self.split = min(adaptive_blocks, default=len(specs))
        self._frozen: tuple[EfficientNetLite, ...] = ()  # a tuple, so that its weights are no part of this network's

    def run(
        self, frames: Tensor, caches: Sequence[Tensor] | None = None, length: int = 1
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map the frames ``(B T, 3, H, W)`` of ``B`` streams, ``T = length`` each, that follow ``caches``.

        Returns:
            the features ``(B T, channels, H/16, W/16)``, and the caches of the adaptive blocks, ``(B, C, 2, 1, 1)``.
        """
        return self.high((self._frozen[0] if self._frozen else self).low(frames), caches, length)

    def high(
        self, x: Tensor, caches: Sequence[Tensor] | None = None, length: int = 1
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map what :meth:`low` made of frames; see :meth:`run`."""
        remaining = iter(caches) if caches is not None else None
        updated = []
        for block in self._blocks(self.split):
            given = next(remaining) if remaining is not None and block.adaptive else None
            x, cache = block.run(x, given, length)
            if cache is not None:
                updated.append(cache)
        return x, tuple(updated)

    def pretrained(self, first: int, everything: bool = False) -> Iterator[nn.Parameter]:
        """Yield the pretrained weights that learn from block ``first`` on: the pointwise convolutions, or everything.

        As a rule depthwise kernels stay, since their calibration adapts them frame by frame, and so do batch norms.
        """
        new = set(self.calibrations())
        for block in self._blocks(first):
            layers = (block,) if everything else (block.expand, block.project)
            for layer in layers:
                yield from (weight for weight in layer.parameters() if weight not in new) if layer is not None else ()

    def calibrations(self) -> Iterator[nn.Parameter]:
        """Yield the weights that calibrate the depthwise kernels, which are new and always learn."""
        for block in self._blocks(0):
            if isinstance(block.depthwise, WindowTAdaConv2d):
                yield from block.depthwise.temporalconv.parameters()

    def freeze_below(self, first: int, dtype: torch.dtype) -> None:
        """Run the stem and the plain blocks below block ``first`` in ``dtype``, without gradients and batch norms.

        They run as a copy, made of the weights as they are now; the state dict stays as it is.
        """
        self.split = min(self.split, first)
        self._frozen = (fold_batch_norms(self).requires_grad_(False).to(dtype),)

    def low(self, frames: Tensor) -> Tensor:
        """Map frames ``(N, 3, H, W)`` by the stem and the first :attr:`split` blocks."""
        x = frames.to(self.stem.weight.dtype) - 127.0
        x = x.contiguous(memory_format=torch.channels_last)  # in bfloat16 on a CPU several times as fast
        kernels = self.stem.weight.flip(1) / 128.0  # ImageNet's are for RGB, and for values about 1
        x = F.relu6(self.stem_bn(F.conv2d(x, kernels, self.stem.bias, self.stem.stride, self.stem.padding)))
        for block in self._blocks(0, self.split):
            x, _ = block.run(x, None, 1)
        return x

    def _blocks(self, first: int, end: int | None = None) -> list[InvertedResidual]:
        return cast("list[InvertedResidual]", list(self.blocks)[first:end])


def adapt_imagenet_weights(weights: Mapping[str, Tensor], trunk: EfficientNetLite) -> dict[str, Tensor]:
    """Rename the ImageNet weights of EfficientNet-Lite0 (keys ``_blocks.0._bn1.weight``, …) for a trunk.

    Fresh temporal parts keep their identity initialisation.
    """
    state = trunk.state_dict()
    parts = {
        "_expand_conv": "expand", "_bn0": "expand_bn", "_depthwise_conv": "depthwise", "_bn1": "depthwise_bn",
        "_project_conv": "project", "_bn2": "project_bn",
    }  # fmt: skip
    for key, value in weights.items():
        words = key.split(".")
        if words[0] == "_conv_stem":
            name = f"stem.{words[-1]}"
        elif words[0] == "_bn0":
            name = f"stem_bn.{words[-1]}"
        elif words[0] == "_blocks" and int(words[1]) < len(trunk.blocks):
            name = f"blocks.{words[1]}.{parts[words[2]]}.{words[-1]}"
        else:
            continue
        state[name] = value.reshape(state[name].shape).to(torch.float32 if value.is_floating_point() else value.dtype)
    return state
