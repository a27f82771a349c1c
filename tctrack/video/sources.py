"""Where frames come from: video files, cameras, network streams and image folders behind one interface."""

from __future__ import annotations

import itertools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from tctrack.errors import SourceError
from tctrack.files import IMAGE_SUFFIXES, is_utf8, natural_key
from tctrack.types import Frame
from tctrack.video.images import read_image

#: Seconds for a stream to open, to deliver a frame, and to come back after it broke.
PATIENCE = 10.0
#: Containers without an index only estimate their length; a file is truncated when it lacks more than this share.
LENGTH_TOLERANCE = 0.02
_TIMEOUTS = [
    *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(PATIENCE * 1000)),
    *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(PATIENCE * 1000)),
]

# What goes wrong is reported as SourceError; OpenCV's and FFmpeg's own lines on stderr say it again, less clearly.
# FFmpeg's level is read when OpenCV first uses it.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class VideoInfo(NamedTuple):
    """What a source knows about itself before it is read.

    ``width`` and ``height`` are in pixels; ``fps`` is None when unknown; ``frames`` is the number of frames that
    iterating gives, or None for live sources and files that do not say; ``live`` sources do not wait for their reader.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    live: bool


class Source(ABC):
    """An open source: iterate over it once, and close it (or use it as a context manager)."""

    info: VideoInfo
    #: Number in the source, from 0, of the frame that was given last; a live source counts those that it dropped, too.
    number = -1
    #: Frames of a live source that came and went while the reader was busy.
    dropped = 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield frames ``(H, W, 3)``, uint8, BGR, all of the size in ``info``.

        Raises:
            SourceError: a frame is missing, damaged, or of another size.
        """

    def close(self) -> None:  # noqa: B027 (a folder has nothing to release)
        """Release the device or file."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_source(spec: str | os.PathLike[str], start: int = 0, frames: int | None = None) -> Source:
    """Open a video file, camera index (``"0"``), RTSP/HTTP URL, or folder of images in numeric order.

    Live sources (cameras, and URLs without a length) are read by a thread that keeps only the newest frame.

    Args:
        spec: path, camera index or URL. A folder whose name is a number needs ``./``.
        start: frames to skip.
        frames: most frames to give; None for all.

    Raises:
        SourceError: nothing is there, it has no frame that decodes, or ``start`` is beyond its end.
    """
    if start < 0:
        raise SourceError(f"cannot start at frame {start}; the first is 0")
    if frames is not None and frames < 1:
        raise SourceError(f"cannot give {frames} frames; ask for 1 or more")
    text = os.fspath(spec)
    if not is_utf8(text):
        raise SourceError(f"{text!a}: the name is not UTF-8; rename it")
    if text.isdecimal():
        connect = partial(cv2.VideoCapture, int(text))
        return LiveSource(f"camera {text}", connect(), connect, start, frames)
    if "://" in text:
        connect = partial(cv2.VideoCapture, text, cv2.CAP_FFMPEG, _TIMEOUTS)
        capture = connect()
        if _length(capture) is None:
            return LiveSource(text, capture, connect, start, frames)
        return FileSource(text, capture, start, frames)
    path = Path(text)
    if path.is_dir():
        return FolderSource(path, start, frames)
    if not path.is_file():
        raise SourceError(f"{text}: there is no such video file or image folder")
    # FFmpeg takes what stands before a colon for a protocol, but not in an absolute path.
    return FileSource(text, cv2.VideoCapture(str(path.absolute())), start, frames)


class FolderSource(Source):
    """The images of a folder, ordered by the numbers in their names."""

    def __init__(self, folder: Path, start: int, frames: int | None) -> None:
        files = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES),
            key=lambda path: natural_key(path.name),
        )
        if not files:
            raise SourceError(f"{folder}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        self.number = start - 1
        self._files = files[start : None if frames is None else start + frames]
        if not self._files:
            raise SourceError(f"{folder}: cannot start at frame {start} of {len(files)}")
        height, width = _read(self._files[0]).shape[:2]
        self.info = VideoInfo(width, height, None, len(self._files), live=False)

    def __iter__(self) -> Iterator[Frame]:
        size = self.info.height, self.info.width
        for path in self._files:
            frame = _read(path)
            if frame.shape[:2] != size:
                raise SourceError(f"{path}: its size is {frame.shape[1]}x{frame.shape[0]}, not {size[1]}x{size[0]}")
            self.number += 1
            yield frame


class FileSource(Source):
    """A video of some length, read at the reader's pace. What decodes before a defect is given before the error."""

    def __init__(self, name: str, capture: Any, start: int, frames: int | None) -> None:
        self._name, self._capture, self._limit = name, capture, frames
        self._declared = _length(capture)
        skipped = 0
        while skipped < start and capture.grab():
            skipped += 1
        self.number = skipped - 1
        found, frame = capture.read()
        if not found:
            capture.release()
            if skipped:
                raise SourceError(f"{name}: cannot start at frame {start} of {skipped}")
            raise SourceError(f"{name}: no frame can be decoded; the file is damaged or no video")
        self._first: Frame = frame
        total = None if self._declared is None else max(self._declared - start, 1)
        if total is not None and frames is not None:
            total = min(total, frames)
        self.info = VideoInfo(frame.shape[1], frame.shape[0], _rate(capture), total, live=False)

    def __iter__(self) -> Iterator[Frame]:
        frame: Frame = self._first
        for given in itertools.count(1):
            self.number += 1
            yield frame
            if given == self._limit:
                return
            found, frame = self._capture.read()
            if not found:
                break
        end, declared = self.number + 1, self._declared
        if declared is not None and declared - end > max(1, LENGTH_TOLERANCE * declared):
            raise SourceError(f"{self._name}: the file is cut or damaged; it ends after {end} of {declared} frames")

    def close(self) -> None:
        """Release the device or file."""
        self._capture.release()


class LiveSource(Source):
    """A camera or stream. A thread reads it all the time and keeps the newest frame; a broken stream is reopened.

    Args:
        name: for messages.
        capture: an open ``cv2.VideoCapture``, or what has its ``read``, ``get`` and ``release``.
        connect: opens another after the stream broke.
        start: frames to skip.
        frames: most frames to give; None for no end.
        patience: seconds to wait for a frame, reconnecting included.
    """

    def __init__(
        self,
        name: str,
        capture: Any,
        connect: Callable[[], Any],
        start: int = 0,
        frames: int | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._name, self._connect, self._patience = name, connect, patience
        self._start, self._limit = start, frames
        self._arrived = threading.Condition()
        self._stop = threading.Event()
        found, frame = capture.read()
        if not found:
            capture.release()
            raise SourceError(f"{name}: cannot be opened; is it connected, switched on and not in use?")
        self.info = VideoInfo(frame.shape[1], frame.shape[0], _rate(capture), None, live=True)
        self._newest: tuple[int, Frame] | None = (0, frame)
        self._thread = threading.Thread(target=self._pump, args=(capture,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        stop = None if self._limit is None else self._start + self._limit
        return itertools.islice((self._take() for _ in itertools.count()), self._start, stop)

    def close(self) -> None:
        """Release the device or file."""
        self._stop.set()
        self._thread.join(timeout=1)

    def _take(self) -> Frame:
        with self._arrived:
            self._arrived.wait_for(lambda: self._newest is not None, self._patience)
            newest, self._newest = self._newest, None
        if newest is None:
            raise SourceError(f"{self._name}: no frame came for {self._patience:g} s")
        self.number, frame = newest
        return frame

    def _pump(self, capture: Any) -> None:
        size, arrived = (self.info.height, self.info.width), 1
        while not self._stop.is_set():
            found, frame = capture.read()
            if not found:
                capture.release()
                self._stop.wait(0.5)
                capture = self._connect()
            elif frame.shape[:2] == size:
                with self._arrived:
                    self.dropped += self._newest is not None
                    self._newest = arrived, frame
                    self._arrived.notify()
                arrived += 1
        capture.release()


def _read(path: Path) -> Frame:
    image = read_image(path)
    if image is None:
        raise SourceError(f"{path}: the image cannot be read; it is cut, damaged, or none")
    return image


def _length(capture: Any) -> int | None:
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return count if count > 0 else None


def _rate(capture: Any) -> float | None:
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= 1000 else None
