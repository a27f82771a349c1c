"""Frames by number: those of a file or folder, and those that a live source gave lately."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
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
    """What has been seen of a source, or can be. Only :meth:`between` may be used from another thread.

    Args:
        source: the open source; closed with this.
    """

    first = 0
    """The first frame that can be had again."""

    def __init__(self, source: Source) -> None:
        self.info: VideoInfo = source.info
        self._source, self._frames = source, iter(source)

    @property
    def dropped(self) -> int:
        """Frames that are damaged, or of a live source that came while the tracker was busy, or paused."""
        return self._source.dropped

    def advance(self, index: int) -> Shot | None:
        """Return the frame to show after another: the next one, or a live source's newest; None at the end.

        Raises:
            SourceError: it cannot be read.
        """
        frame = next(self._frames, None)
        return None if frame is None else self._shot(self._source, frame)

    @abstractmethod
    def at(self, index: int) -> Shot:
        """Return a frame again.

        Raises:
            SourceError: it cannot be read, or is no longer kept.
        """

    @abstractmethod
    def between(self, first: int, last: int) -> Iterator[Shot]:
        """Yield the frames of a stretch that can be had, both ends included."""

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def _shot(self, source: Source, frame: Frame) -> Shot:
        time = source.number / (self.info.fps or 30) if source.time is None else source.time
        return Shot(source.number, time, frame)


class Recording(Footage):
    """A video file, a folder of images, or a video at an address that has an end.

    Args:
        spec: what :func:`tctrack.video.open_source` opened.
        source: the open source; closed with this.
    """

    def __init__(self, spec: str, source: Source) -> None:
        if Path(spec).exists():
            source.seek(0)  # counts the frames
        super().__init__(source)
        self._spec = spec

    def advance(self, index: int) -> Shot | None:
        """See :class:`Footage`."""
        if index != self._source.number:
            self._source = self._reach(self._source, index + 1)
            self._frames = iter(self._source)
        return super().advance(index)

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

    def _reach(self, source: Source, index: int) -> Source:
        """Let a source go on with a frame, or another in its place: some addresses only give all from the start."""
        try:
            source.seek(index)
        except SourceError:
            source.close()
            source = open_source(self._spec, index)
        return source


class Live(Footage):
    """A camera or stream, whose frames are kept as JPEG files, the newest :data:`KEPT` bytes of them.

    Args:
        source: the open source; closed with this.
        folder: for the pictures; it must be there.
        kept: bytes.
    """

    def __init__(self, source: Source, folder: Path, kept: int = KEPT) -> None:
        super().__init__(source)
        self._folder, self._kept = folder, kept
        self._times: dict[int, float] = {}  # of the frames that are kept, by their numbers
        self._bytes = 0

    @property
    def numbers(self) -> list[int]:
        """Of the frames that are kept."""
        return list(self._times)

    def advance(self, index: int) -> Shot | None:
        """See :class:`Footage`."""
        shot = super().advance(index)
        if shot is not None:
            self._times[shot.index] = shot.time
            self._bytes += self._path(shot.index).write_bytes(encode(shot.frame))
            while self._bytes > self._kept and len(self._times) > 1:
                old = next(iter(self._times))
                self._bytes -= self._path(old).stat().st_size
                self._path(old).unlink()
                del self._times[old]
            self.first = next(iter(self._times))
        return shot

    def at(self, index: int) -> Shot:
        """See :class:`Footage`; of frames that were dropped, the one before."""
        number = max((number for number in self._times if number <= index), default=-1)
        frame = read_image(self._path(number))
        if frame is None:
            raise SourceError(f"frame {index} is no longer kept")
        return Shot(number, self._times[number], frame)

    def between(self, first: int, last: int) -> Iterator[Shot]:
        """See :class:`Footage`."""
        for number, seconds in list(self._times.items()):
            if first <= number <= last and (frame := read_image(self._path(number))) is not None:
                yield Shot(number, seconds, frame)

    def _path(self, index: int) -> Path:
        return self._folder / f"{index}.jpg"


def encode(frame: Frame, widest: int | None = None) -> bytes:
    """Return a frame as JPEG, made smaller where it is wider than ``widest`` pixels."""
    height, width = frame.shape[:2]
    if widest is not None and width > widest:
        size = widest, max(1, round(height * widest / width))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])
