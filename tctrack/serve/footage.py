"""Frames by number: those of a file or folder, and those that a live source gave lately."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tctrack.errors import SourceError
from tctrack.types import Frame
from tctrack.video import Source, VideoInfo, open_source

#: Frames ahead that are reached by decoding, not by seeking.
NEAR = 40
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


class Video(Footage):
    """A video file. All time stamps are read at first, so that every frame is found exactly, and quickly.

    Args:
        path: the file.
        info: what :func:`tctrack.video.open_source` says of it.

    Raises:
        SourceError: it cannot be read.
    """

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self._path = path
        with self._naming():
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            packets = self._container.demux(self._stream)
            self._stamps = sorted(one.pts for one in packets if one.pts is not None and not one.is_discard)
        self.info = info._replace(frames=len(self._stamps))
        self._frames: Iterator[Any] = iter(())
        self._at, self._decoded = math.inf, None  # a frame's number, and the frame

    def advance(self, index: int) -> Shot | None:
        """See :class:`Footage`."""
        return self.at(index + 1) if index + 1 < len(self._stamps) else None

    def at(self, index: int) -> Shot:
        """See :class:`Footage`."""
        if not 0 <= index < len(self._stamps):
            raise SourceError(f"{self._path}: there is no frame {index}")
        wanted = self._stamps[index]
        with self._naming():
            if not self._at <= index <= self._at + NEAR:
                self._find(index)
            while self._decoded is None or self._decoded.pts < wanted:
                self._decoded = next(self._frames, None)
                if self._decoded is None:
                    self._at = math.inf
                    raise SourceError(f"{self._path}: frame {index} is damaged")
            self._at = index
            frame = np.rot90(self._decoded.to_ndarray(format="bgr24"), self._decoded.rotation // 90)
        seconds = float((wanted - self._stamps[0]) * self._stream.time_base)
        return Shot(index, seconds, np.ascontiguousarray(frame))

    def _find(self, index: int) -> None:
        """Decode from a frame at or before the wanted one; containers seek by decoding order, so try some times."""
        back = 0
        while True:
            self._container.seek(self._stamps[max(index - back, 0)], stream=self._stream)
            self._frames = self._container.decode(self._stream)
            self._decoded = next(self._frames, None)
            if back > index or (self._decoded is not None and self._decoded.pts <= self._stamps[index]):
                return
            back = 2 * back + 8

    def between(self, first: int, last: int) -> Iterator[Shot]:
        """See :class:`Footage`."""
        other = Video(self._path, self.info)
        try:
            yield from map(other.at, range(first, last + 1))
        finally:
            other.close()

    def close(self) -> None:
        """See :class:`Footage`."""
        self._container.close()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, IndexError) as error:
            raise SourceError(f"{self._path}: cannot be read: {error}") from None


class Recording(Footage):
    """A folder of images, or a video at an address that has an end.

    Args:
        spec: what :func:`tctrack.video.open_source` opened.
        source: the open source; closed with this.
    """

    def __init__(self, spec: str, source: Source) -> None:
        self.info = source.info
        self._spec, self._source, self._frames = spec, source, iter(source)

    def advance(self, index: int) -> Shot | None:
        """See :class:`Footage`."""
        if index != self._source.number:
            self._source.close()
            self._source = open_source(self._spec, index + 1)
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
        with open_source(self._spec, first, last - first + 1) as source:
            for frame in source:
                yield self._shot(source, frame)

    def close(self) -> None:
        """See :class:`Footage`."""
        self._source.close()

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
            if first <= number <= last and self._path(number).exists():
                yield Shot(number, seconds, self._read(number))

    def close(self) -> None:
        """See :class:`Footage`."""
        self._source.close()

    def _path(self, index: int) -> Path:
        return self._folder / f"{index}.jpg"

    def _read(self, index: int) -> Frame:
        return decode(self._path(index).read_bytes())


def encode(frame: Frame, widest: int | None = None) -> bytes:
    """Return a frame as JPEG, made smaller where it is wider than ``widest`` pixels."""
    height, width = frame.shape[:2]
    if widest is not None and width > widest:
        size = widest, max(1, round(height * widest / width))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])


def decode(jpeg: bytes) -> Frame:
    """Return the frame of a JPEG.

    Raises:
        SourceError: it is none.
    """
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    if frame is None:
        raise SourceError("the browser sent a picture that cannot be read")
    return np.asarray(frame, np.uint8)
