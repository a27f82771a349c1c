"""Frames of video files by their numbers, through OpenCV or PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tctrack.errors import DatasetError, require
from tctrack.files import is_utf8

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what goes wrong is said by one line of our own
#: Decoded frames ``(T, H, W, 3)`` uint8 in BGR order.
Frames = NDArray[np.uint8]


def count_frames(path: Path, decoder: str = "opencv") -> tuple[int, float]:
    """Return a video's number of frames and its frames per second.

    Raises:
        DatasetError: the video is missing, damaged or empty.
        DependencyError: the decoder is not installed.
    """
    if not is_utf8(path):
        raise DatasetError(f"cannot read video {str(path)!a}: the name is not UTF-8; rename it")
    if path.exists() and not path.is_file():  # a pipe would never open
        raise DatasetError(f"cannot read video '{path}': it is no regular file")
    count, rate = (_probe_pyav if decoder == "pyav" else _probe_opencv)(path)
    if count <= 0 or rate <= 0:
        raise DatasetError(f"cannot read video '{path}': it is missing, damaged or empty")
    return count, rate


def read_frames(path: Path, indices: Iterable[int], decoder: str = "opencv") -> Frames:
    """Decode frames by their numbers, which may repeat.

    Raises:
        DatasetError: the video is missing, damaged or too short.
        DependencyError: the decoder is not installed.
    """
    numbers = [int(index) for index in indices]
    found: dict[int, Frames] = {}
    for number, frame in (_decode_pyav if decoder == "pyav" else _decode_opencv)(path, set(numbers)):
        found[number] = frame
    for number in numbers:
        if number not in found:
            raise DatasetError(f"cannot read video '{path}': it is missing, or damaged at frame {number}")
    return np.stack([found[number] for number in numbers])


def _probe_opencv(path: Path) -> tuple[int, float]:
    import cv2

    capture = cv2.VideoCapture(str(path.absolute()))
    count, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return count, rate


def _decode_opencv(path: Path, wanted: set[int]) -> Iterator[tuple[int, Frames]]:
    import cv2

    capture = cv2.VideoCapture(str(path.absolute()))
    first = min(wanted)
    if first > 0:
        capture.set(cv2.CAP_PROP_POS_FRAMES, first)
    for number in range(first, max(wanted) + 1):
        if not capture.grab():
            break
        if number in wanted:
            readable, frame = capture.retrieve()
            if readable:
                yield number, np.asarray(frame, np.uint8)
    capture.release()


def _probe_pyav(path: Path) -> tuple[int, float]:
    av = _import_av()
    try:
        with av.open(str(path.absolute())) as container:
            stream = container.streams.video[0]
            return stream.frames or sum(1 for _ in container.decode(stream)), float(stream.average_rate)
    except (av.FFmpegError, IndexError, TypeError):
        return 0, 0.0


def _decode_pyav(path: Path, wanted: set[int]) -> Iterator[tuple[int, Frames]]:
    av = _import_av()
    try:
        with av.open(str(path.absolute())) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    yield number, frame.to_ndarray(format="bgr24")
                if number >= max(wanted):
                    break
    except (av.FFmpegError, IndexError):
        return


def _import_av() -> Any:
    return require("av", "action", "set clip.decoder=opencv")
