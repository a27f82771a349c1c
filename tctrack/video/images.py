"""Images from files, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tctrack.types import Frame


def read_image(path: Path) -> Frame | None:
    """Return an image ``(H, W, 3)``, uint8, BGR; None where it is missing, damaged or cut."""
    try:
        return decode_image(path.read_bytes())
    except OSError:
        return None


def is_cut(data: bytes) -> bool:
    """Whether bytes are a PNG or JPEG without its end; OpenCV and FFmpeg may decode the rest of a JPEG as grey."""
    if data.startswith(b"\x89PNG"):  # libpng would print a line
        return b"IEND" not in data
    end = data.rfind(b"\xff\xd9")
    return data.startswith(b"\xff\xd8") and (end < 0 or data.find(b"\xff\xda", end) >= 0)  # a scan after it


def decode_image(data: bytes) -> Frame | None:
    """Return what the bytes of an image file show, as :func:`read_image` does."""
    if not data or is_cut(data):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)
