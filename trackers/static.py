"""The tracker that never moves: what the others must beat."""

from __future__ import annotations

from collections.abc import Sequence

from tctrack.geometry.boxes import check_box
from tctrack.types import Box, Frame, TrackResult


class StaticTracker:
    """Answers every frame with the box of the first."""

    _box: Box | None

    def __init__(self) -> None:
        self.reset()

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._box = check_box(box, (frame.shape[1], frame.shape[0]))

    def update(self, frame: Frame) -> TrackResult:
        """See :class:`trackers.base.Tracker`."""
        if self._box is None:
            raise RuntimeError("call init(frame, box) before update(frame)")
        return TrackResult(self._box)

    def reset(self) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._box = None
