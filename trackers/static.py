"""The baseline that never moves."""

from __future__ import annotations

from collections.abc import Sequence

from tctrack.geometry.boxes import check_box
from tctrack.geometry.crops import check_frame
from tctrack.types import Box, Frame, TrackResult


class StaticTracker:
    """Answers every frame with the box of the first."""

    _box: Box | None
    _size: tuple[int, int]

    def __init__(self) -> None:
        self.reset()

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._size = check_frame(frame)
        self._box = check_box(box, self._size)

    def update(self, frame: Frame) -> TrackResult:
        """See :class:`trackers.base.Tracker`."""
        if self._box is None:
            raise RuntimeError("call init(frame, box) before update(frame)")
        check_frame(frame, self._size)
        return TrackResult(self._box)

    def reset(self) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._box = None
