"""Frames by number: those of a file or folder, and those that a live source gave lately."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tctrack.errors import SourceError
from tctrack.types import Frame
from tctrack.video import Source, VideoInfo, open_source, read_image

#: Bytes of pictures that are kept of a live source: some minutes of 720p.
KEPT = 1 << 30
JPEG_QUALITY = 82


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame of a source."""

    index: int
    """Its number in the source, from 0."""
    time: float
    """Seconds from the source's start."""
    frame: Frame
    """``(H, W, 3)``, uint8, BGR."""


class Footage(ABC):
    """What has been seen of a source, or can be. Only :meth:`between` may be used from another thread."""

    info: VideoInfo
    first = 0
    """The first frame that can be had again."""

    @property
    def dropped(self) -> int:
        """Frames of a live source that came and went while the tracker was busy, or paused."""
        return 0

    @abstractmethod
    def advance(self, index: int) -> Shot | None:
        """Return the frame to show after another: the next one, or a live source's newest; None at the end.

        Raises:
            SourceError: it cannot be read.
        """

    @abstractmethod
    def at(self, index: int) -> Shot:
        """Return a frame again.

        Raises:
            SourceError: it cannot be read, or is no longer kept.
        """

    @abstractmethod
    def between(self, first: int, last: int) -> Iterator[Shot]:
        """Yield the frames of a stretch that can be had, both ends included."""

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Let go of the source."""


class Recording(Footage):
    """A video file, a folder of images, or a video at an address that has an end.

    Args:
        spec: what :func:`tctrack.video.open_source` opened.
        source: the open source; closed with this.
    """

    def __init__(self, spec: str, source: Source) -> None:
        if Path(spec).exists():
            source.seek(0)  # counts the frames
        self.info = source.info
        self._spec, self._source, self._frames = spec, source, iter(source)

    def advance(self, index: int) -> Shot | None:
        """See :class:`Footage`."""
        if index != self._source.number:
            self._source = self._reach(self._source, index + 1)
            self._frames = iter(self._source)
        frame = next(self._frames, None)
        return None if frame is None else self._shot(self._source, frame)

    def at(self, index: int) -> Shot:
        """See :class:`Footage`."""
        shot = self.advance(index - 1)
        if shot is None:
            raise SourceError(f"{self._spec}: there is no frame {index}")
        return shot

    def between(self, first: int, last: int) -> Iterator[Shot]:
        """See :class:`Footage`."""
        with self._reach(open_source(self._spec), first) as source:
            for frame in itertools.islice(source, last - first + 1):
                yield self._shot(source, frame)

    def close(self) -> None:
        """See :class:`Footage`."""
        self._source.close()

    def _reach(self, source: Source, index: int) -> Source:
        """Let a source go on with a frame, or another in its place: some addresses only give all from the start."""
        try:
            source.seek(index)
        except SourceError:
            source.close()
            source = open_source(self._spec, index)
        return source

    def _shot(self, source: Source, frame: Frame) -> Shot:
        time = source.number / (self.info.fps or 30) if source.time is None else source.time
        return Shot(source.number, time, frame)


class Live(Footage):
    """A camera or stream, whose frames are kept as JPEG files, the newest :data:`KEPT` bytes of them.

    Args:
        source: the open source; closed with this.
        folder: for the pictures; it must be there.
        kept: bytes.
    """

    def __init__(self, source: Source, folder: Path, kept: int = KEPT) -> None:
        self.info = source.info
        self._source, self._folder, self._kept = source, folder, kept
        self._frames = iter(source)
        self._began = time.monotonic()
        self._shots: deque[tuple[int, float, int]] = deque()  # number, time, bytes
        self._bytes = 0

    @property
    def dropped(self) -> int:
        """See :class:`Footage`."""
        return self._source.dropped

    @property
    def numbers(self) -> list[int]:
        """Of the frames that are kept."""
        return [number for number, _, _ in self._shots]

    def advance(self, index: int) -> Shot | None:
        """See :class:`Footage`."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        shot = Shot(self._source.number, time.monotonic() - self._began, frame)
        jpeg = encode(frame)
        self._path(shot.index).write_bytes(jpeg)
        self._shots.append((shot.index, shot.time, len(jpeg)))
        self._bytes += len(jpeg)
        while self._bytes > self._kept and len(self._shots) > 1:
            old, _, size = self._shots.popleft()
            self._path(old).unlink()
            self._bytes -= size
        self.first = self._shots[0][0]
        return shot

    def at(self, index: int) -> Shot:
        """See :class:`Footage`; of frames that were dropped, the one before."""
        for number, seconds, _ in reversed(self._shots):
            if number <= index:
                return Shot(number, seconds, self._read(number))
        raise SourceError(f"frame {index} is no longer kept")

    def between(self, first: int, last: int) -> Iterator[Shot]:
        """See :class:`Footage`."""
        for number, seconds, _ in list(self._shots):
            if first <= number <= last and (frame := read_image(self._path(number))) is not None:
                yield Shot(number, seconds, frame)

    def close(self) -> None:
        """See :class:`Footage`."""
        self._source.close()

    def _path(self, index: int) -> Path:
        return self._folder / f"{index}.jpg"

    def _read(self, index: int) -> Frame:
        frame = read_image(self._path(index))
        if frame is None:
            raise SourceError(f"frame {index} is no longer kept")
        return frame


def encode(frame: Frame, widest: int | None = None) -> bytes:
    """Return a frame as JPEG, made smaller where it is wider than ``widest`` pixels."""
    height, width = frame.shape[:2]
    if widest is not None and width > widest:
        size = widest, max(1, round(height * widest / width))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])
