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


def follow_camera(before: NDArray[np.uint8], after: NDArray[np.uint8], width: int) -> CameraMotion | None:
    """Return the camera's motion between two frames, or None where it cannot be estimated.

    Corners (Shi and Tomasi, CVPR 1994) are followed by pyramidal Lucas-Kanade; the similarity on which most of them
    agree (RANSAC) is the ground's, as targets are small.

    Args:
        before: the first frame's thumbnail.
        after: the second frame's.
        width: of the frames, in pixels.
    """
    corners = cv2.goodFeaturesToTrack(before, MOST, 0.01, APART)
    if corners is None or len(corners) < FEWEST:
        return None
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, corners, np.empty_like(corners), winSize=(WINDOW, WINDOW), criteria=criteria
    )
    followed = status[:, 0] == 1
    if followed.sum() < FEWEST:
        return None
    similarity, agree = cv2.estimateAffinePartial2D(
        corners[followed], moved[followed], ransacReprojThreshold=1.0, maxIters=200
    )
    if similarity is None or agree.sum() < max(FEWEST, AGREEING * len(corners)):
        return None
    return CameraMotion(similarity, width / before.shape[1])
