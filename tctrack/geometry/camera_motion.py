"""Camera motion between two frames."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tctrack.types import FloatArray, Frame

#: Frames are compared at this width, in pixels.
WIDTH = 256
#: Corners to follow at most; the least number of them, and the least share of inliers, for an estimate.
MOST, FEWEST, AGREEING = 80, 8, 0.3
#: As long as so many corners of the ground are in sight, no others are looked for.
ENOUGH = 40
#: Least distance between corners, and side of the window by which each is followed, in thumbnail pixels.
APART, WINDOW = 9, 9


def thumbnail(frame: Frame) -> NDArray[np.uint8]:
    """Return a small grey copy ``(H', W')`` of a frame ``(H, W, 3)`` BGR, to estimate camera motion from."""
    height, width = frame.shape[:2]
    size = min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width))
    return np.asarray(cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2GRAY), np.uint8)


class CameraMotion(NamedTuple):
    """How the ground moved from one frame to the next."""

    similarity: FloatArray
    """``(2, 3)``, between thumbnails, in their pixels."""
    scale: float
    """Frame pixels per thumbnail pixel."""

    def carry(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return where a point x, y of the ground, in frame pixels, lies after the motion."""
        x, y = self.similarity @ (point[0] / self.scale, point[1] / self.scale, 1)
        return float(x * self.scale), float(y * self.scale)


class GroundView(NamedTuple):
    """What is kept of a frame, to estimate the camera's motion to the next."""

    thumbnail: NDArray[np.uint8]
    corners: NDArray[np.float32] | None = None
    """Corners of the ground that were followed into it, at most 80, ``(N, 1, 2)``; None: to be looked for."""


def follow_camera(before: GroundView, after: NDArray[np.uint8], width: int) -> tuple[CameraMotion | None, GroundView]:
    """Return the camera's motion to a frame, or None where it cannot be estimated, and what to keep of the frame.

    Corners (Shi and Tomasi, CVPR 1994) are followed by pyramidal Lucas-Kanade; the similarity on which most of them
    agree (RANSAC) is the ground's, as targets are small. Corners that agree are followed further.

    Args:
        before: the frame before.
        after: the frame's thumbnail.
        width: of the frames, in pixels.
    """
    lost = None, GroundView(after)
    corners = before.corners
    if corners is None:
        corners = cv2.goodFeaturesToTrack(before.thumbnail, MOST, 0.01, APART)
    if corners is None or len(corners) < FEWEST:
        return lost
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before.thumbnail, after, corners, np.empty_like(corners), winSize=(WINDOW, WINDOW), criteria=criteria
    )
    followed = status[:, 0] == 1
    if followed.sum() < FEWEST:
        return lost
    moved = moved[followed]
    similarity, agree = cv2.estimateAffinePartial2D(corners[followed], moved, ransacReprojThreshold=1.0, maxIters=200)
    if similarity is None or agree.sum() < max(FEWEST, AGREEING * len(corners)):
        return lost
    margin = WINDOW // 2
    inside = (moved >= margin) & (moved < np.array(after.shape[::-1]) - margin)
    kept = moved[(agree[:, 0] == 1) & inside.all((1, 2))]
    view = GroundView(after, kept if len(kept) >= ENOUGH else None)
    return CameraMotion(similarity, width / after.shape[1]), view
