"""``tctrack-lite``, the compact default tracker, and ``tctrack-nano`` for the smallest boards.

A trunk with Online-TAdaConv, cosine correlation with every template cell, a memory of the similarity map (a light
AT-Trans, or convolutions alone), and anchor-free heads. The temporal parts follow TCTrack (CVPR 2022): context enters
the features through the calibrated convolutions, and the similarity map through the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tctrack.config import Side, Whole
from tctrack.geometry.decode import SearchGrid
from tctrack.models.attrans import to_tokens
from tctrack.models.base import TemporalState, TrackingModel, boxes_from_distances, cell_offsets
from tctrack.models.efficientnet import STRIDE, EfficientNetLite
from tctrack.ops.online_tadaconv import repeat, restack, unstack
from tctrack.settings import TrackerSettings


@dataclass(frozen=True)
class LiteConfig:
    """Architecture of :class:`TCTrackLite`."""

    template_size: Side = 128
    """Side of the template crop in pixels; it covers the target's context once."""
    search_size: Side = 224
    """Side of the search crop in pixels, at the template's scale."""
    trunk: Literal["efficientnet-lite0", "lite", "nano"] = "lite"
    """One of :data:`tctrack.models.efficientnet.TRUNKS`."""
    adaptive_blocks: tuple[Whole, ...] = (7, 8)
    """Trunk blocks whose depthwise convolution is an Online-TAdaConv; empty for plain convolutions."""
    reduction: Side = 16
    """Bottleneck factor of the calibrations."""
    embedding: Side = 96
    """Channels in which the cells of template and search crop are compared."""
    dim: Side = 96
    """Channels of the similarity map, the memory and the heads."""
    heads: Side = 4
    """Attention heads."""
    use_memory: bool = True
    """Refine the map with the memory of earlier frames."""
    memory: Literal["attention", "convolution"] = "attention"
    """What reads and writes the memory."""
    tower_depth: Side = 3
    """Separable 5×5 convolutions in each head's tower."""
    tracking: TrackerSettings = TrackerSettings(  # noqa: RUF009
        penalty_k=0.1, window_influence=0.3, lr=0.6, subpixel=True, motion=0.3, lost=0.3, found=0.4
    )
    """The tracker's settings."""

    @property
    def grid(self) -> SearchGrid:
        """The cells of the maps."""
        return SearchGrid(self.search_size // STRIDE, STRIDE)


#: Range of log-scales: of the first box to the template, and of a box to the first one.
_LOG_SCALES = (-3.0, 3.0)


class LiteOutputs(NamedTuple):
    """Maps over the search crop's cells, ``(B, C, H, W)`` (``(B, T, C, H, W)`` for clips)."""

    centre: Tensor
    """Logit that the target's centre lies in the cell, 1 channel."""
    box: Tensor
    """Distances from the cell's point to the left, top, right, bottom edges, in search pixels, 4 channels; negative
    where the cell lies outside."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that autocast leaves in the precision of its weights.

    On a CPU the gradient of float32 weights takes four times as long in bfloat16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, C, H, W)``."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype).contiguous(memory_format=torch.channels_last))


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        DepthwiseConv2d(channels, channels, 5, padding=2, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class LightATTrans(nn.Module):
    """Refines a similarity map with the memory, then updates the memory.

    The memory is the previous frame's refined map at half resolution, gated with earlier memory. Maps are centred where
    the tracker expects the target, so positional embeddings let attention see motion and the places of look-alikes.
    """

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.map_position = nn.Parameter(torch.randn(1, side * side, dim) * 0.02)
        self.memory_position = nn.Parameter(torch.randn(1, side * side // 4, dim) * 0.02)
        self.blank = nn.Parameter(torch.zeros(1, side * side // 4, dim))
        self.read = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.read_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(inplace=True), nn.Linear(2 * dim, dim))
        self.mlp_norm = nn.LayerNorm(dim)
        self.recall = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.filter = nn.Linear(2 * dim, dim)
        self.memory_norm = nn.LayerNorm(dim)

    def forward(self, similarity: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Refine ``(B, dim, H, W)`` with the memory ``(B, H W / 4, dim)`` (None: a new stream); return both."""
        tokens = to_tokens(similarity)
        if memory is None:
            memory = self.blank.expand(tokens.shape[0], -1, -1)
        placed = memory + self.memory_position
        tokens = self.read_norm(tokens + self._attend(self.read, tokens + self.map_position, placed, memory))
        tokens = self.mlp_norm(tokens + self.mlp(tokens))
        refined = tokens.transpose(1, 2).reshape(similarity.shape)
        present = to_tokens(F.avg_pool2d(refined, 2))
        recalled = self._attend(self.recall, present + self.memory_position, placed, memory)
        gate = torch.sigmoid(self.filter(torch.cat((present, recalled), -1)))
        return refined, self.memory_norm(present + gate * recalled)

    @staticmethod
    def _attend(attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output: Tensor = attention(query, key, value, need_weights=False)[0]
        return output


class ConvMemory(nn.Module):
    """Refines a similarity map with the memory by convolutions alone, for engines that run little else fast.

    The memory is a running mean of refined maps, at their resolution, whose rate a gate chooses cell by cell. Maps are
    centred where the tracker expects the target, so the kernels need to bridge small errors only.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.read = nn.Sequential(
            nn.Conv2d(2 * dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(inplace=True), _separable(dim)
        )
        self.gate = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, similarity: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Refine ``(B, dim, H, W)`` with the memory of the same shape (None: a new stream); return both."""
        if memory is None:
            memory = similarity
        refined = similarity + self.read(torch.cat((similarity, memory), 1))
        gate = torch.sigmoid(self.gate(torch.cat((refined, memory), 1)))
        return refined, memory + gate * (refined - memory)


class TCTrackLite(TrackingModel):
    """The compact tracker; see :class:`TrackingModel` for its use."""

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__()
        self.config: LiteConfig = config or LiteConfig()
        config = self.config
        cells = (config.template_size // STRIDE) ** 2
        self.trunk = EfficientNetLite(config.adaptive_blocks, config.reduction, config.trunk)
        self.neck = nn.Sequential(
            nn.Conv2d(self.trunk.channels, config.embedding, 1, bias=False), nn.BatchNorm2d(config.embedding)
        )
        self.merge = nn.Sequential(
            nn.Conv2d(config.embedding + cells, config.dim, 1, bias=False),
            nn.BatchNorm2d(config.dim),
            nn.ReLU(inplace=True),
            _separable(config.dim),
        )
        self.attrans: LightATTrans | ConvMemory | None = None
        if config.use_memory:
            attention = config.memory == "attention"
            self.attrans = (
                LightATTrans(config.dim, config.heads, config.grid.size) if attention else ConvMemory(config.dim)
            )
        self.centre_tower = nn.Sequential(*(_separable(config.dim) for _ in range(config.tower_depth)))
        self.box_tower = nn.Sequential(*(_separable(config.dim) for _ in range(config.tower_depth)))
        self.inside = nn.Parameter(torch.ones(cells, 1))
        self.shape = nn.Sequential(nn.Linear(2, config.dim), nn.ReLU(inplace=True), nn.Linear(config.dim, config.dim))
        self.centre = nn.Conv2d(config.dim, 1, 1)
        self.box = nn.Conv2d(config.dim, 4, 1)
        nn.init.constant_(self.centre.bias, -4.0)  # type: ignore[arg-type]
        nn.init.constant_(self.box.bias, 0.0)  # type: ignore[arg-type]
        nn.init.zeros_(self.shape[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.shape[-1].bias)  # type: ignore[arg-type]

    def encode(self, template: Tensor, extent: Tensor) -> Tensor:
        """Return the cells ``(B, N, embedding)`` of templates ``(B, 3, 128, 128)``, those under the target marked."""
        features = self.neck(self.trunk.run(template)[0])
        cells = F.normalize(to_tokens(features), dim=-1)
        offsets = cell_offsets(SearchGrid(self.config.template_size // STRIDE, STRIDE), template)
        covered = (offsets.abs() < extent[:, None] / 2).all(-1)
        return torch.where(covered[..., None], cells * self.inside, cells)

    def run(
        self,
        frames: Tensor,
        template: Tensor,
        extent: Tensor,
        caches: tuple[Tensor, ...] | None = None,
        memory: Tensor | None = None,
        length: int = 1,
    ) -> tuple[LiteOutputs, TemporalState]:
        """Map frames ``(B T, 3, 224, 224)``; maps are ``(B T, C, 14, 14)``. See :class:`TrackingModel`."""
        features, caches = self.trunk.run(frames, caches, length)
        x = self.neck(features)
        correlation = repeat(template, length) @ F.normalize(x, dim=1).flatten(2)
        merged = self.merge(torch.cat((x, correlation.reshape(x.shape[0], -1, *x.shape[2:])), 1))
        refined = []
        for similarity in unstack(merged, length):
            if self.attrans is not None:
                similarity, memory = self.attrans(similarity, memory)
            refined.append(similarity)
        if memory is None:
            memory = frames.new_zeros(template.shape[0], 0, self.config.dim)
        maps = restack(refined)
        centre = self.centre(self.centre_tower(maps))
        # A box is an offset from its cell and a log-scale relative to the first box, whose crops have the same scale.
        first = (extent / self.config.template_size).log().clamp(*_LOG_SCALES).to(template.dtype)
        hint, first = (repeat(value, length)[..., None, None] for value in (self.shape(first), first))
        offset, log_scale = self.box(self.box_tower(maps + hint)).float().chunk(2, 1)
        half = torch.exp(log_scale.clamp(*_LOG_SCALES) + first) * (self.config.template_size / 2)
        distances = torch.cat((half - offset * STRIDE, half + offset * STRIDE), 1)
        return LiteOutputs(centre, distances), TemporalState(template, extent, caches, memory)

    def decode(self, outputs: LiteOutputs) -> tuple[Tensor, Tensor]:
        """Turn maps into candidate boxes.

        Returns:
            boxes ``(B, H W, 4)``: centre offset x, y from the crop's centre, width, height, in search pixels;
            scores ``(B, H W)`` in 0–1.
        """
        distances = to_tokens(outputs.box)
        boxes = boxes_from_distances(self.config.grid, distances[..., :2], distances[..., 2:])
        return boxes, torch.sigmoid(outputs.centre).flatten(1)
