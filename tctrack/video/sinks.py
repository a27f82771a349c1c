"""Where results go: videos, picture folders, box files and JSON lines.

Every sink writes beside its target under a hidden name and takes the target's name when it closes, so that nobody
reads half a file, and what was written before an error or Ctrl-C is kept. Opening a sink proves that its target can be
written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

import cv2

from tctrack.errors import OutputError
from tctrack.files import IMAGE_SUFFIXES, Draft, naming, write_bytes
from tctrack.types import Frame, TrackResult

#: Tried in this order: H.264 plays everywhere, but few OpenCV wheels can write it.
CODECS = ("avc1", "mp4v")
#: Frames per second of a video whose source has no rate.
DEFAULT_FPS = 30.0
#: OpenCV writes no faster video.
MAX_FPS = 1000.0

SinkType = TypeVar("SinkType", bound="_Sink")


class _Sink:
    """A context manager that gives its target what was written, or leaves it alone if nothing was.

    ``count`` is what was written so far; ``published`` is where it is once that is done. ``whole`` says whether it is
    all that was asked for, which is so unless an error or Ctrl-C ends the run, or as it is set; of what is not whole,
    an older file stays, and the new one is kept beside it.
    """

    def __init__(self, path: str | os.PathLike[str], folder: bool = False) -> None:
        self._draft = Draft(path, folder)
        self.path = self._draft.path
        self.count = 0
        self.whole: bool | None = None
        self.published: Path | None = None

    def __enter__(self: SinkType) -> SinkType:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.whole is None:
            self.whole = kind is None
        self.close()

    def close(self) -> None:
        """Publish what was written; does nothing the second time."""
        if self.count and self._draft.part.exists():
            self.published = self._draft.publish(self.whole is not False)
        self._draft.discard()


class _LineSink(_Sink):
    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        with naming(path):
            self._file = self._draft.part.open("w", buffering=1, encoding="utf-8")

    def _write_line(self, line: str) -> None:
        with naming(self.path):
            self._file.write(line + "\n")
        self.count += 1

    def close(self) -> None:
        """Publish the file; does nothing the second time."""
        try:
            with naming(self.path):
                self._file.close()
        except OutputError:  # a full disk keeps the last line, but not the others
            self.whole = False
            raise
        finally:
            super().close()


class BoxSink(_LineSink):
    """One ``x,y,w,h`` line a frame, in pixels, three decimals."""

    def write(self, result: TrackResult) -> None:
        """Append the box of a frame."""
        self._write_line(",".join(f"{value:.3f}" for value in result.box))


class JsonlSink(_LineSink):
    """One JSON object a frame: ``frame``, ``box``, ``score`` (or null) and ``ms``, what the tracker took."""

    def write(self, index: int, result: TrackResult, seconds: float) -> None:
        """Append a frame's number in the source, result and tracking time."""
        box = [round(value, 3) for value in result.box]
        score = None if result.score is None else round(result.score, 4)
        self._write_line(json.dumps({"frame": index, "box": box, "score": score, "ms": round(seconds * 1e3, 2)}))


class VideoSink(_Sink):
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
            self._writer = cv2.VideoWriter(str(self._draft.part), cv2.VideoWriter.fourcc(*codec), fps, self._size)
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
        broken = self.count and self._draft.part.exists() and not cv2.VideoCapture(str(self._draft.part)).isOpened()
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
        super().__init__(path, folder=True)

    def write(self, frame: Frame) -> None:
        """Append a frame ``(H, W, 3)``, uint8, BGR."""
        self.count += 1
        with naming(self.path):
            (self._draft.part / f"{self.count:06d}.jpg").write_bytes(_encode(".jpg", frame))


def open_picture_sink(path: str | os.PathLike[str], size: tuple[int, int], fps: float | None) -> VideoSink | FrameSink:
    """Open an .mp4 video, or a folder of pictures where the name has no suffix.

    Raises:
        OutputError: the path cannot be written, or names another format.
    """
    return VideoSink(path, size, fps) if Path(path).suffix else FrameSink(path)


def write_picture(path: Path, picture: Frame) -> None:
    """Write a picture ``(H, W, 3)``, uint8, BGR, in the format that the name ends in.

    Raises:
        OutputError: it cannot be written, or names another format.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"cannot write '{path}': a picture's name must end in .png or .jpg")
    write_bytes(path, _encode(path.suffix, picture))


def _encode(suffix: str, picture: Frame) -> bytes:
    return bytes(cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
