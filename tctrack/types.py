"""Values that cross module borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

#: One video frame: ``(H, W, 3)`` uint8 in BGR order.
Frame = NDArray[np.uint8]
#: Floating-point array; shapes are given where it is used.
FloatArray = NDArray[np.floating[Any]]
#: ``tracked``: seen; ``hidden``: not seen now, the box is where it should be; ``lost``: no longer to be trusted.
State = Literal["tracked", "hidden", "lost"]


class Box(NamedTuple):
    """Axis-aligned box in frame pixels: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float


class TrackResult(NamedTuple):
    """What a tracker says about one frame.

    ``box`` is in frame pixels; ``score`` is the tracker's own, or None when it has none; ``state`` tells whether the
    target is there; ``confidence`` is the probability, 0–1, that the box is right, or None when it is not known.
    """

    box: Box
    score: float | None = None
    state: State = "tracked"
    confidence: float | None = None


class OnlineTracker(Protocol):
    """The two methods that following one target needs of a tracker; see :class:`trackers.base.Tracker`."""

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """Start on a frame with the target's box x, y, w, h."""

    def update(self, frame: Frame) -> TrackResult:
        """Find the target in the next frame."""
