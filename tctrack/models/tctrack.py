"""TCTrack (CVPR 2022) and TCTrack++ (TPAMI 2023): one network, two configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tctrack.config import Side
from tctrack.geometry.decode import SearchGrid
from tctrack.models.alexnet import STRIDE, Calibration, TAdaAlexNet
from tctrack.models.attrans import ATTrans, to_tokens
from tctrack.models.base import TemporalState, TrackingModel, boxes_from_distances
from tctrack.ops.correlation import depthwise_correlation
from tctrack.ops.online_tadaconv import repeat, restack, unstack
from tctrack.settings import TrackerSettings


@dataclass(frozen=True)
class TCTrackConfig:
    """Architecture of :class:`TCTrack`; ``configs/model`` holds where TCTrack and TCTrack++ differ."""

    calibration: Calibration
    """How Online-TAdaConv calibrates: by a window of descriptors (TCTrack) or an attended prior (TCTrack++)."""
    head_channels: tuple[Side, ...]
    """Channels of the convolutions of the two heads."""
    tracking: TrackerSettings
    """The tracker's settings."""
    template_size: Side = 127
    """Side of the template crop in pixels; it shows the target's context once."""
    search_size: Side = 287
    """Side of the search crop in pixels, at the template's scale."""
    trunk_channels: tuple[Side, Side, Side, Side, Side] = (96, 256, 384, 384, 256)
    """Channels of the trunk's convolutions."""
    dim: Side = 192
    """Channels of the similarity maps, the memory and AT-Trans."""
    heads: Side = 6
    """Attention heads."""
    feedforward: Side = 384
    """Hidden width of the decoder's MLPs."""
    released_layout: bool = False
    """Reproduce the memory layout that the released weights were trained with."""

    @property
    def grid(self) -> SearchGrid:
        """The cells of the output maps: every second position of the template in the search features."""
        positions = (self.search_size - self.template_size) // STRIDE + 1
        return SearchGrid((positions + 1) // 2, 2 * STRIDE)


class TCTrackOutputs(NamedTuple):
    """Maps over the search crop's cells, ``(B, C, H, W)`` (``(B, T, C, H, W)`` for clips)."""

    loc: Tensor
    """tanh of the distances to the left, right, top, bottom edges, in half search crops; 4 channels."""
    cls1: Tensor
    """Logits of background and target; 2 channels."""
    cls2: Tensor
    """Nearness to the target's centre; 1 channel."""


class Grader(nn.Module):
    """Similarity maps, AT-Trans and the heads."""

    def __init__(self, config: TCTrackConfig) -> None:
        super().__init__()
        features = config.trunk_channels[-1]
        self.conv1, self.conv2 = _reduction(features, config.dim), _reduction(features, config.dim)
        self.transformer = ATTrans(config.dim, config.heads, config.feedforward, released_layout=config.released_layout)
        narrow = config.head_channels[-1]
        self.convloc = _tower(config.dim, config.head_channels).append(nn.Conv2d(narrow, 4, 3, padding=1))
        self.convcls = _tower(config.dim, config.head_channels)
        self.cls1 = nn.Conv2d(narrow, 2, 3, padding=1)
        self.cls2 = nn.Conv2d(narrow, 1, 3, padding=1)

    def run(
        self, features: Tensor, template: Tensor, memory: Tensor | None, length: int
    ) -> tuple[TCTrackOutputs, Tensor]:
        """Grade the features ``(B T, C, H, W)`` of frames that follow ``memory`` (None: new streams).

        The first frame of a stream gives the memory its initial value, and is graded with it, but not written into it.
        """
        similarity = depthwise_correlation(features, repeat(template, length))
        fresh = memory is None
        if memory is None:
            memory = self.conv1(similarity[::length])
        refined = []
        for frame in unstack(self.conv2(similarity), length):
            output, written = self.transformer(frame, memory)
            memory, fresh = memory if fresh else written, False
            refined.append(output)
        x = restack(refined)
        scores = self.convcls(x)
        return TCTrackOutputs(self.convloc(x), self.cls1(scores), self.cls2(scores)), memory


class TCTrack(TrackingModel):
    """TCTrack and TCTrack++; see :class:`TrackingModel` for its use."""

    #: The correlation is a convolution with a group for each channel of each target, a number that graphs fix.
    any_batch = False

    def __init__(self, config: TCTrackConfig) -> None:
        super().__init__()
        self.config: TCTrackConfig = config
        self.backbone = TAdaAlexNet(config.calibration, config.trunk_channels)
        self.grader = Grader(config)

    def encode(self, template: Tensor, extent: Tensor) -> Tensor:
        """Return ``(B, C, 6, 6)`` for templates ``(B, 3, 127, 127)``, whatever the extent."""
        return self.backbone.run(template)[0]

    def run(
        self,
        frames: Tensor,
        template: Tensor,
        extent: Tensor,
        caches: tuple[Tensor, ...] | None = None,
        memory: Tensor | None = None,
        length: int = 1,
    ) -> tuple[TCTrackOutputs, TemporalState]:
        """Map frames ``(B T, 3, 287, 287)``; maps are ``(B T, C, 11, 11)``. See :class:`TrackingModel`."""
        features, caches = self.backbone.run(frames, caches, length)
        outputs, memory = self.grader.run(features, template, memory, length)
        return outputs, TemporalState(template, extent, caches, memory)

    def decode(self, outputs: TCTrackOutputs) -> tuple[Tensor, Tensor]:
        """Turn maps into candidate boxes ``(B, 121, 4)`` and scores ``(B, 121)``; see :class:`TrackingModel`."""
        boxes = boxes_from_location(to_tokens(outputs.loc), self.config)
        boxes = torch.cat((boxes[..., :2], boxes[..., 2:].clamp(min=1)), -1)
        target = outputs.cls1.softmax(1)[:, 1].flatten(1)
        return boxes, (target + outputs.cls2.flatten(1)) / 2


def boxes_from_location(loc: Tensor, config: TCTrackConfig) -> Tensor:
    """Return boxes ``(B, N, 4)``, as :func:`boxes_from_distances` does, from the location map's cells ``(B, N, 4)``."""
    bounded = loc.where(loc < 1, 0.99).where(loc > -1, -0.99)
    distances = torch.atanh(bounded) * (config.search_size // 2)
    return boxes_from_distances(config.grid, distances[..., 0::2], distances[..., 1::2])


def _reduction(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, 2, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
    )


def _tower(in_channels: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        in_channels = width
    return nn.Sequential(*layers)
