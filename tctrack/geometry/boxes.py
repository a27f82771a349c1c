"""Axis-aligned boxes as ``(…, 4)`` arrays of left, top, width, height, in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tctrack.errors import BoxError
from tctrack.types import Box, FloatArray

#: A number, or an array of them.
Numbers = TypeVar("Numbers", float, FloatArray)
#: Largest side of a target, in sides of the frame.
MAX_SIDES = 10


def iou(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Return the intersection over union of boxes ``(…, 4)``, broadcast; NaN where a box is not finite.

    Boxes without area overlap nothing: their IoU is 0.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    overlap = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.clip(overlap, 0, None), axis=-1)
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - intersection
    overlaps: FloatArray = np.divide(intersection, union, out=np.zeros_like(union), where=~(union <= 0))
    return overlaps


def has_area(boxes: ArrayLike) -> NDArray[np.bool_]:
    """Return which boxes ``(…, 4)`` are finite and have an area; the others mark an absent target."""
    values = np.asarray(boxes, np.float64)
    return np.asarray(np.isfinite(values).all(axis=-1) & (values[..., 2:] > 0).all(axis=-1))


def context_side(w: Numbers, h: Numbers) -> Numbers:
    """Return the side of the square that shows a target of ``w × h`` padded by half the mean of its sides all round."""
    padding = (w + h) / 2
    area = (w + padding) * (h + padding)
    return np.sqrt(area) if isinstance(area, np.ndarray) else math.sqrt(area)


def parse_box(text: str) -> list[float]:
    """Read a box x,y,w,h as given on the command line.

    Raises:
        BoxError: it is not numbers with commas between.
    """
    try:
        return [float(value) for value in text.split(",")]
    except ValueError:
        raise BoxError(f"--box '{text}' must be four numbers x,y,w,h in pixels, such as 120,80,40,60") from None


def check_box(box: Sequence[float], frame_size: tuple[int, int]) -> Box:
    """Return ``box`` as a :class:`Box` if it has a sensible area and touches a frame of ``(width, height)``.

    Raises:
        BoxError: the box is not four finite numbers, has no area, is smaller than a pixel or far larger than the frame,
            or lies outside it.
    """
    try:
        numbers = [float(value) for value in box]
    except (TypeError, ValueError):
        raise BoxError(f"box {box} must be four finite numbers x,y,w,h") from None
    text = ",".join(f"{value:g}" for value in numbers)
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise BoxError(f"box {text} must be four finite numbers x,y,w,h")
    found = Box(*numbers)
    if found.w <= 0 or found.h <= 0:
        raise BoxError(f"box {text} has no area; width and height must be positive")
    width, height = frame_size
    if max(found.w, found.h) < 1:
        raise BoxError(f"box {text} is smaller than a pixel; give pixels, not parts of the frame")
    if found.w > MAX_SIDES * width or found.h > MAX_SIDES * height:
        raise BoxError(f"box {text} is far larger than the {width}x{height} frame; give x,y,width,height in pixels")
    if found.x >= width or found.y >= height or found.x + found.w <= 0 or found.y + found.h <= 0:
        raise BoxError(f"box {text} lies outside the {width}x{height} frame")
    return found
