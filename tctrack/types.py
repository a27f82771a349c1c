"""Values that cross module borders."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: One video frame: ``(H, W, 3)`` uint8 in BGR order.
Frame = NDArray[np.uint8]
#: Floating-point array; shapes are given where it is used.
FloatArray = NDArray[np.floating[Any]]


class Box(NamedTuple):
    """Axis-aligned box in frame pixels: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float


class TrackResult(NamedTuple):
    """What a tracker says about one frame.

    ``box`` is in frame pixels; ``score`` is the tracker's confidence, or None when it has none.
    """

    box: Box
    score: float | None = None
