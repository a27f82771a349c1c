"""The protocol that every tracker speaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from tctrack.errors import DependencyError
from tctrack.types import Frame, TrackResult


@runtime_checkable
class Tracker(Protocol):
    """Follows one target through the frames of one video.

    Frames are ``(H, W, 3)`` uint8 in BGR order; boxes are x, y, w, h in frame pixels.
    """

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """Start on a frame with the target's box.

        Raises:
            SourceError: the frame is not as above.
            BoxError: the box is not four numbers, empty, not finite, or outside the frame.
        """

    def update(self, frame: Frame) -> TrackResult:
        """Find the target in the next frame.

        Raises:
            RuntimeError: called before :meth:`init`.
            SourceError: the frame is not as above, or has not the size of the first.
        """

    def reset(self) -> None:
        """Forget the target; the next call must be :meth:`init`.

        A shallow copy that was reset is a tracker of its own.
        """


def only_file(folder: str | Path, pattern: str) -> Path:
    """Return the one file of a folder that matches a glob pattern.

    Raises:
        DependencyError: there is none, or several.
    """
    found = sorted(Path(folder).glob(pattern))
    if len(found) != 1:
        raise DependencyError(f"folder {folder} must hold one file {pattern}, and holds {len(found)}")
    return found[0]
