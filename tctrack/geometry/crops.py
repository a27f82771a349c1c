"""Square crops about a target."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from tctrack.errors import SourceError
from tctrack.types import Frame


def check_frame(frame: Frame, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the width and height of a frame ``(H, W, 3)``, uint8, BGR.

    Raises:
        SourceError: it is anything else, or not of the first frame's ``size`` (width, height).
    """
    if not isinstance(frame, np.ndarray):
        hint = "; is the video at its end?" if frame is None else ""
        raise SourceError(f"a frame must be a NumPy array (H, W, 3) of uint8, not {type(frame).__name__}{hint}")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise SourceError(f"a frame must be (H, W, 3) uint8 in BGR order, not {frame.shape} {frame.dtype}")
    width, height = found = frame.shape[1], frame.shape[0]
    if size is not None and found != size:
        raise SourceError(f"the frame is {width}x{height}, but tracking began at {size[0]}x{size[1]}; call init again")
    return found


def crop_square(
    frame: Frame, centre: tuple[float, float], side: int, output_side: int, fill: NDArray[np.uint8]
) -> Frame:
    """Cut a square about ``centre`` and resize it bilinearly.

    The result equals that of padding the whole frame with ``fill`` first, but only the square is ever copied.

    Args:
        frame: ``(H, W, 3)`` uint8 BGR.
        centre: x, y in frame pixels.
        side: side of the square in frame pixels, at least 1.
        output_side: side of the result.
        fill: colour of what lies outside the frame, 3 × uint8 BGR.

    Returns:
        ``(output_side, output_side, 3)`` uint8 BGR.
    """
    left, top = (math.floor(position - (side + 1) / 2 + 0.5) for position in centre)
    height, width = frame.shape[:2]
    right, bottom = left + side, top + side
    square = frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left < 0 or top < 0 or right > width or bottom > height:
        visible, square = square, np.empty((side, side, 3), np.uint8)
        square[:] = fill
        y, x = max(-top, 0), max(-left, 0)
        square[y : y + visible.shape[0], x : x + visible.shape[1]] = visible
    resized: Frame = cv2.resize(square, (output_side, output_side), interpolation=cv2.INTER_LINEAR)
    return resized


def crop_subpixel(
    frame: Frame, centre: tuple[float, float], side: float, output_side: int, fill: NDArray[np.uint8]
) -> Frame:
    """Cut a square exactly about ``centre``, in continuous coordinates: the first pixel spans 0 to 1.

    Args and result are those of :func:`crop_square`, but the square need not lie on whole pixels. If it does
    (:func:`whole_square`), and inside the frame, cutting takes half the time.
    """
    left, top = (position - side / 2 for position in centre)
    whole = left.is_integer() and top.is_integer() and float(side).is_integer()
    if whole and 0 <= left <= frame.shape[1] - side and 0 <= top <= frame.shape[0] - side:
        square = frame[int(top) : int(top + side), int(left) : int(left + side)]
        return np.asarray(cv2.resize(square, (output_side, output_side), interpolation=cv2.INTER_LINEAR), np.uint8)
    step = side / output_side
    # OpenCV puts the centres of pixels at whole numbers.
    shift = step / 2 - 0.5
    matrix = np.array([[step, 0, left + shift], [0, step, top + shift]])
    crop: Frame = cv2.warpAffine(
        frame,
        matrix,
        (output_side, output_side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill.tolist(),
    )
    return crop


def whole_square(centre: tuple[float, float], side: float) -> tuple[tuple[float, float], int]:
    """Return the centre and side of the square of whole pixels next to one of :func:`crop_subpixel`."""
    whole = max(1, round(side))
    x, y = (math.floor(position - whole / 2 + 0.5) + whole / 2 for position in centre)
    return (x, y), whole


def mean_colour(frame: Frame) -> NDArray[np.uint8]:
    """Return the mean of each channel of ``(H, W, 3)``, truncated to uint8."""
    total = np.array(cv2.sumElems(frame)[:3])  # exact, as cv2.mean is not
    return np.asarray(total / (frame.shape[0] * frame.shape[1]), np.uint8)
