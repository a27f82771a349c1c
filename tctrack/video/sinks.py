"""Where pictures go: videos and folders.

Every sink writes beside its target under a hidden name and takes the target's name when it closes, so that nobody
reads half a file, and what was written before an error or Ctrl-C is kept. Opening a sink proves that its target can be
written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import cv2

from tctrack.errors import OutputError
from tctrack.files import IMAGE_SUFFIXES, Draft, naming, write_bytes
from tctrack.types import Frame

#: Encoder and its options of a video by its name's ending: fast, and good to look at.
ENCODERS = {
    ".mp4": ("libx264", {"preset": "veryfast", "crf": "21"}),
    ".mov": ("libx264", {"preset": "veryfast", "crf": "21"}),
    ".mkv": ("libx264", {"preset": "veryfast", "crf": "21"}),
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "34", "b": "0"}),
}
#: Frames per second of a video whose source has no rate.
DEFAULT_FPS = 30.0
#: The most that a video may have.
MAX_FPS = 1000.0
#: Ticks per second of a video's time stamps.
CLOCK = 90_000

SinkType = TypeVar("SinkType", bound="FileSink")


class FileSink:
    """A context manager that gives its target what was written, or leaves it alone if nothing was.

    ``count`` is what was written so far; ``published`` is where it is once that is done. ``whole`` says whether it is
    all that was asked for, which is so unless an error or Ctrl-C ends the run, or as it is set; of what is not whole,
    an older file stays, and the new one is kept beside it. ``note`` is what the user should know of it.
    """

    note = ""

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


class VideoSink(FileSink):
    """A video that browsers play: H.264 in .mp4, .mov or .mkv, or VP9 in .webm.

    These want even sides: an odd last column or row is doubled.

    Args:
        path: the file.
        size: width and height of the frames.
        fps: frames per second, where frames come without a time; None for 30.

    Raises:
        OutputError: the path cannot be written, or names another format.
    """

    def __init__(self, path: str | os.PathLike[str], size: tuple[int, int], fps: float | None = None) -> None:
        suffix = Path(path).suffix.lower()
        if suffix not in ENCODERS:
            raise OutputError(f"{path}: a video's name must end in {', '.join(ENCODERS)}")
        fps = DEFAULT_FPS if fps is None else fps
        if not 0 < fps <= MAX_FPS:
            raise OutputError(f"{path}: a video cannot have {fps:g} frames a second")
        super().__init__(path)
        self._size, self._odd = size, (size[0] % 2, size[1] % 2)
        even = size[0] + self._odd[0], size[1] + self._odd[1]
        if even != size:
            self.note = f"padded to {even[0]}x{even[1]}"
        rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        self._step = Fraction(CLOCK) / rate
        self._failed = False
        self._first: float | None = None
        self._stamp = Fraction(-1)
        codec, options = ENCODERS[suffix]
        try:
            flags = {"movflags": "+faststart"} if suffix in (".mp4", ".mov") else {}
            self._file = av.open(os.fspath(self._draft.part), "w", options=flags)
            self._stream = self._file.add_stream(codec, rate, options)
        except (OSError, ValueError, av.FFmpegError) as error:
            self._draft.discard()
            raise OutputError(f"{path}: cannot be written as video: {error}") from None
        self._stream.width, self._stream.height = even
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, CLOCK)

    def write(self, frame: Frame, time: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: ``(H, W, 3)``, uint8, BGR.
            time: when it is to be shown, in seconds, of which only the differences count; None, or a time before the
                last frame's: one step of the rate after it.

        Raises:
            OutputError: it has not the given size, or cannot be written.
        """
        if frame.shape[1::-1] != self._size:
            raise OutputError(f"{self.path}: a frame of {frame.shape[1]}x{frame.shape[0]} does not fit in the video")
        if any(self._odd):
            frame = cv2.copyMakeBorder(frame, 0, self._odd[1], 0, self._odd[0], cv2.BORDER_REPLICATE)
        stamp = self._stamp + self._step if self.count else Fraction(0)
        if time is not None:
            self._first = time if self._first is None else self._first
            if (given := Fraction(round((time - self._first) * CLOCK))) > self._stamp:
                stamp = given
        self._stamp = stamp
        picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
        picture.pts, picture.time_base = round(stamp), Fraction(1, CLOCK)
        self._encode(picture)
        self.count += 1

    def close(self) -> None:
        """Publish the video; does nothing the second time.

        Raises:
            OutputError: it could not be written whole; what was at the path stays there.
        """
        if self._draft.part.exists():
            try:
                if self.count:
                    self._encode(None)
                if not self._failed:  # else FFmpeg would crash
                    with self._whole():
                        self._file.close()
            finally:
                super().close()

    def _encode(self, picture: av.VideoFrame | None) -> None:
        with self._whole():
            self._file.mux(self._stream.encode(picture))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError):
            self._failed, self.count = True, 0
            raise OutputError(f"{self.path}: the video could not be written whole; is the disk full?") from None


class FrameSink(FileSink):
    """A folder of pictures 000001.jpg, 000002.jpg, …; the folder must be new or empty.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, folder=True)

    def write(self, frame: Frame, time: float | None = None) -> None:
        """Append a frame ``(H, W, 3)``, uint8, BGR; pictures have no time."""
        picture = self._draft.part / f"{self.count + 1:06d}.jpg"
        with naming(self.path):
            try:
                picture.write_bytes(_encode(".jpg", frame))
            except OSError:
                picture.unlink(missing_ok=True)
                raise
        self.count += 1


def open_picture_sink(path: str | os.PathLike[str], size: tuple[int, int], fps: float | None) -> VideoSink | FrameSink:
    """Open a video, or a folder of pictures where the name has no suffix.

    Raises:
        OutputError: the path cannot be written, or names another format, or is an address.
    """
    if "://" in os.fspath(path):
        raise OutputError(f"{path}: pictures go to files; only --jsonl and --mavlink go to an address")
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
