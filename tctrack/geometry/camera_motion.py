"""The camera's motion, seen between two frames."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tctrack.types import Frame

#: Frames are compared at this width, in pixels.
WIDTH = 256
#: Features that are followed, at most; fewer than ``FEWEST``, or a smaller share that agrees, tell nothing.
MOST, FEWEST, AGREEING = 120, 8, 0.3


def thumbnail(frame: Frame) -> NDArray[np.uint8]:
    """Return what of a frame ``(H, W, 3)`` BGR shows the camera's motion: ``(H', W')``, grey."""
    height, width = frame.shape[:2]
    size = min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width))
    return np.asarray(cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2GRAY), np.uint8)


def follow_camera(
    point: tuple[float, float], before: NDArray[np.uint8], after: NDArray[np.uint8], width: int
) -> tuple[float, float] | None:
    """Return where a point of the ground lies after the camera moved, or None where that is not to be seen.

    Corners (Shi and Tomasi, CVPR 1994) are followed by pyramidal Lucas-Kanade; the similarity on which most of them
    agree (RANSAC) is the ground's, as targets are small.

    Args:
        point: x, y in the first frame's pixels.
        before: the first frame's thumbnail.
        after: the second frame's.
        width: of the frames, in pixels.
    """
    corners = cv2.goodFeaturesToTrack(before, MOST, 0.01, 7)
    if corners is None or len(corners) < FEWEST:
        return None
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, corners, np.empty_like(corners), winSize=(11, 11), criteria=criteria
    )
    followed = status[:, 0] == 1
    if followed.sum() < FEWEST:
        return None
    similarity, agree = cv2.estimateAffinePartial2D(
        corners[followed], moved[followed], ransacReprojThreshold=1.0, maxIters=200
    )
    if similarity is None or agree.sum() < max(FEWEST, AGREEING * len(corners)):
        return None
    scale = width / before.shape[1]
    x, y = (scale * (similarity @ (point[0] / scale, point[1] / scale, 1))).tolist()
    return x, y
