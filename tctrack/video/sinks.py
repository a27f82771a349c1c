"""Where results go: videos, picture folders, box files and JSON lines.

Every sink writes beside its target under a hidden name and takes the target's name when it closes, so that nobody
reads half a file, and what was written before an error or Ctrl-C is kept. Opening a sink proves that its target can be
written.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import cv2

from tctrack.errors import OutputError
from tctrack.types import Frame, TrackResult

#: Tried in this order: H.264 plays everywhere, but few OpenCV wheels can write it.
CODECS = ("avc1", "mp4v")
#: Frames per second of a video whose source has no rate.
DEFAULT_FPS = 30.0
#: OpenCV writes no faster video.
MAX_FPS = 1000.0

SinkType = TypeVar("SinkType", bound="_Sink")


class _Sink(ABC):
    """A context manager that gives its target what was written, or leaves it alone if nothing was.

    ``count`` is what was written so far; ``published`` tells whether it is at ``path``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.count = 0
        self.published = False
        self._target = Path(os.path.realpath(path))  # what a link points to is written, the link stays
        self._part = self._target.with_name(f".{self._target.stem}.{os.getpid()}{self._target.suffix}")
        with _naming(self.path):
            self._target.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self: SinkType) -> SinkType:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Publish what was written."""


class _FileSink(_Sink):
    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        with _naming(self.path):
            if self._target.exists() and not self._target.is_file():
                raise OutputError(f"{self.path}: cannot be written; it exists and is no regular file")
            self._file = self._part.open("w", buffering=1, encoding="utf-8")

    def _write_line(self, line: str) -> None:
        with _naming(self.path):
            self._file.write(line + "\n")
        self.count += 1

    def close(self) -> None:
        """Publish the file; does nothing the second time."""
        if not self._part.exists():
            return
        with _naming(self.path):
            try:
                self._file.close()
            finally:  # a full disk keeps the last line, but not the others
                if self.count:
                    self._part.replace(self._target)
                    self.published = True
                self._part.unlink(missing_ok=True)


class BoxSink(_FileSink):
    """One ``x,y,w,h`` line a frame, in pixels, three decimals."""

    def write(self, result: TrackResult) -> None:
        """Append the box of a frame."""
        self._write_line(",".join(f"{value:.3f}" for value in result.box))


class JsonlSink(_FileSink):
    """One JSON object a frame: ``frame``, ``box``, ``score`` (or null) and ``ms``, what the tracker took."""

    def write(self, index: int, result: TrackResult, seconds: float) -> None:
        """Append a frame's number in the source, result and tracking time."""
        box = [round(value, 3) for value in result.box]
        score = None if result.score is None else round(result.score, 4)
        self._write_line(json.dumps({"frame": index, "box": box, "score": score, "ms": round(seconds * 1e3, 2)}))


class VideoSink(_FileSink):
    """An .mp4 video. H.264 and MPEG-4 want even sides: an odd last column or row is cut off.

    Args:
        path: the .mp4 file.
        size: width and height of the frames.
        fps: frames per second; None for 30.

    Raises:
        OutputError: the path cannot be written, or OpenCV has no encoder.
    """

    def __init__(self, path: str | os.PathLike[str], size: tuple[int, int], fps: float | None = None) -> None:
        if Path(path).suffix.lower() != ".mp4":
            raise OutputError(f"{path}: a video's name must end in .mp4")
        fps = DEFAULT_FPS if fps is None else fps
        if not 0 < fps <= MAX_FPS:
            raise OutputError(f"{path}: a video cannot have {fps:g} frames a second")
        super().__init__(path)
        self._frame_size, self._size = size, (size[0] // 2 * 2, size[1] // 2 * 2)
        for codec in CODECS:
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*codec), fps, self._size)
            if self._writer.isOpened():
                return
        self.close()
        raise OutputError(f"{self.path}: OpenCV cannot write {size[0]}x{size[1]} video (tried {', '.join(CODECS)})")

    def write(self, frame: Frame) -> None:
        """Append a frame ``(H, W, 3)``, uint8, BGR.

        Raises:
            OutputError: it has not the given size.
        """
        if frame.shape[1::-1] != self._frame_size:
            raise OutputError(f"{self.path}: a frame of {frame.shape[1]}x{frame.shape[0]} does not fit in the video")
        self._writer.write(frame[: self._size[1], : self._size[0]])
        self.count += 1

    def close(self) -> None:
        """Publish the video; does nothing the second time.

        Raises:
            OutputError: what was written is no video; what was at the path stays there.
        """
        self._writer.release()  # says nothing of what it could not write
        broken = self.count and self._part.exists() and not cv2.VideoCapture(str(self._part)).isOpened()
        if broken:
            self.count = 0
        super().close()
        if broken:
            raise OutputError(f"{self.path}: the video could not be written whole; is the disk full?")


class FrameSink(_Sink):
    """A folder of pictures 000001.jpg, 000002.jpg, …; the folder must be new or empty.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        with _naming(self.path):
            if self._target.exists() and any(self._target.iterdir()):
                raise OutputError(f"{self.path}: the folder for frames must be new or empty")
            self._part.mkdir()

    def write(self, frame: Frame) -> None:
        """Append a frame ``(H, W, 3)``, uint8, BGR."""
        self.count += 1
        target = self._part / f"{self.count:06d}.jpg"
        if not cv2.imwrite(str(target), frame, [cv2.IMWRITE_JPEG_QUALITY, 95]):
            raise OutputError(f"{self.path / target.name}: cannot be written")

    def close(self) -> None:
        """Publish the folder; does nothing the second time."""
        if not self._part.exists():
            return
        with _naming(self.path):
            if self.count:
                if self._target.exists():
                    self._target.rmdir()
                self._part.replace(self._target)
                self.published = True
            else:
                shutil.rmtree(self._part)


def open_picture_sink(path: str | os.PathLike[str], size: tuple[int, int], fps: float | None) -> VideoSink | FrameSink:
    """Open an .mp4 video, or a folder of pictures where the name has no suffix.

    Raises:
        OutputError: the path cannot be written, or names another format.
    """
    return VideoSink(path, size, fps) if Path(path).suffix else FrameSink(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
