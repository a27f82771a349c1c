"""What every tracking network offers to trackers, training and export."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tctrack.geometry.decode import SearchGrid
from tctrack.settings import TrackerSettings


class TemporalState(NamedTuple):
    """What a network remembers of a batch of targets, in tensors of constant size."""

    template: Tensor
    """Features of the templates."""
    extent: Tensor
    """Width and height of the targets at the start ``(B, 2)``, in template pixels."""
    caches: tuple[Tensor, ...]
    """Context of each Online-TAdaConv, batch first."""
    memory: Tensor
    """Memory of earlier similarity maps, batch first."""


class ModelConfig(Protocol):
    """The part of a network's configuration that a tracker reads."""

    @property
    def template_size(self) -> int:
        """Side of the template crop in pixels; it shows the target's context once."""

    @property
    def search_size(self) -> int:
        """Side of the search crop in pixels, at the template's scale."""

    @property
    def tracking(self) -> TrackerSettings:
        """The tracker's settings that suit this network."""


class TrackingModel(nn.Module, ABC):
    """A network that follows targets through streams; one class for training and tracking.

    Images are BGR, float32, 0–255. A batch holds one target each; the state is passed in and out, never kept.
    """

    config: ModelConfig
    #: Whether exported graphs can take any number of targets at once.
    any_batch = True

    def start(self, template: Tensor, search: Tensor, extent: Tensor | None = None) -> TemporalState:
        """Begin streams: templates ``(B, 3, Z, Z)`` and first search crops ``(B, 3, X, X)``.

        ``extent`` ``(B, 2)`` is the targets' width and height in template pixels; half the template by default.
        """
        return self.run(search, *self._encode(template, extent))[1]

    def step(self, search: Tensor, state: TemporalState) -> tuple[Any, TemporalState]:
        """Locate the targets in the next search crops ``(B, 3, X, X)``; maps are ``(B, C, H, W)``."""
        return self.run(search, *state)

    def forward(self, template: Tensor, clip: Tensor, extent: Tensor | None = None) -> Any:
        """Locate the targets in every frame of clips ``(B, T, 3, X, X)`` that start streams.

        The maps, ``(B, T, C, H, W)``, are those of :meth:`start` on the first frame and :meth:`step` on the others.
        """
        outputs, _ = self.run(clip.flatten(0, 1), *self._encode(template, extent), length=clip.shape[1])
        return outputs._make(maps.reshape(*clip.shape[:2], *maps.shape[1:]) for maps in outputs)

    @abstractmethod
    def encode(self, template: Tensor, extent: Tensor) -> Tensor:
        """Return the features of templates ``(B, 3, Z, Z)`` whose targets have this extent ``(B, 2)``."""

    @abstractmethod
    def run(
        self,
        frames: Tensor,
        template: Tensor,
        extent: Tensor,
        caches: tuple[Tensor, ...] | None = None,
        memory: Tensor | None = None,
        length: int = 1,
    ) -> tuple[Any, TemporalState]:
        """Map the frames ``(B T, 3, X, X)`` of ``B`` streams, ``T = length`` each, that follow a state.

        The state comes as its fields; without caches and memory the streams begin. Returns a named tuple of maps
        ``(B T, C, H, W)``, and the state.
        """

    @abstractmethod
    def decode(self, outputs: Any) -> tuple[Tensor, Tensor]:
        """Turn maps into candidate boxes.

        Returns:
            boxes ``(B, N, 4)``: x, y of the centre from the crop's centre, width, height, in search pixels;
            scores ``(B, N)``.
        """

    def _encode(self, template: Tensor, extent: Tensor | None) -> tuple[Tensor, Tensor]:
        if extent is None:
            extent = template.new_full((template.shape[0], 2), self.config.template_size / 2)
        return self.encode(template, extent), extent


def cell_offsets(grid: SearchGrid, like: Tensor) -> Tensor:
    """Return :meth:`SearchGrid.offsets` on the device of another tensor."""
    return torch.from_numpy(grid.offsets()).to(like.device)


def boxes_from_distances(grid: SearchGrid, near: Tensor, far: Tensor) -> Tensor:
    """Return boxes from the distances of each cell's point to the edges.

    Args:
        grid: the cells of the map.
        near: distances to the left and the top edge ``(B, N, 2)`` in search pixels.
        far: distances to the right and the bottom edge, likewise.

    Returns:
        ``(B, N, 4)``: x, y of the box's centre from the crop's centre, width, height, in search pixels.
    """
    return torch.cat((cell_offsets(grid, near) + (far - near) / 2, near + far), -1)
