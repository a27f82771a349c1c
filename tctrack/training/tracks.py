"""A target followed through frames, drawn or recorded, and the windows in which its crops are cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tctrack.geometry.boxes import context_side
from tctrack.types import FloatArray, Frame


@dataclass(frozen=True)
class View:
    """A window of an image that is shown as a square crop."""

    centre: FloatArray
    """x, y in the image's pixels."""
    side: FloatArray
    """Width and height in the image's pixels."""

    @classmethod
    def around(cls, box: FloatArray, size: int, template_size: int) -> View:
        """Return what a crop of ``size`` pixels shows: the context of ``box`` spans the template's size."""
        x, y, w, h = map(float, box)
        return cls(np.array([x + w / 2, y + h / 2]), np.full(2, context_side(w, h) * size / template_size))

    def moved(self, offset: FloatArray, scale: FloatArray | float) -> View:
        """Shift by an ``offset`` in parts of the side, and scale the side."""
        return View(self.centre + offset * self.side, self.side * scale)

    def matrix(self, size: int) -> FloatArray:
        """Return the affine map ``(2, 3)`` from the image to a crop of ``size``, in continuous coordinates."""
        scale = size / self.side
        return np.column_stack((np.diag(scale), size / 2 - scale * self.centre))

    def place(self, box: FloatArray, size: int) -> FloatArray:
        """Return a box x, y, w, h of the image in a crop of ``size``."""
        scale = size / self.side
        return np.concatenate(((box[:2] - self.centre) * scale + size / 2, box[2:] * scale))


@dataclass(frozen=True)
class Track:
    """A target in ``T`` frames."""

    boxes: FloatArray
    """Its x, y, w, h in each frame's pixels, ``(T, 4)``."""
    visible: FloatArray
    """The share of it that is not occluded, ``(T,)``."""
    crop: Callable[[int, View, int], Frame]
    """Cuts a view of a frame, ``(N, N, 3)`` BGR uint8: at the image's own resolution, but ``N`` is at most the size."""
    recorded: bool = False
    """Whether every frame is centred on its target, as in packs, so that nothing tells how the target moved."""

    def __len__(self) -> int:
        return len(self.boxes)

    def pick(self, frames: Sequence[int]) -> Track:
        """Return the track of these frames, in their order."""
        chosen = list(frames)
        return dataclasses.replace(
            self,
            boxes=self.boxes[chosen],
            visible=self.visible[chosen],
            crop=lambda t, view, size: self.crop(chosen[t], view, size),
        )
