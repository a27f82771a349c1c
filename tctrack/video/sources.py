"""Where frames come from: video files, cameras, network streams, pipes and image folders behind one interface."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import av
import cv2
import numpy as np

from tctrack.errors import SourceError
from tctrack.files import IMAGE_SUFFIXES, is_utf8, natural_key
from tctrack.types import Frame
from tctrack.video.images import is_cut, read_image

#: What an address may start with.
SCHEMES = ("http", "https", "rtmp", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
#: No video has so many frames.
_MOST = 1 << 60
#: Seconds for a stream to open, to deliver a frame, and to come back after it broke.
PATIENCE = 10.0
#: Frames ahead that are reached by decoding, not by seeking.
NEAR = 40
#: Containers without an index only estimate their length; a file is truncated when it lacks more than this share.
LENGTH_TOLERANCE = 0.02
#: A live source that was held gives at most so many frames of that time, evenly spaced.
BACKLOG = 16

# What goes wrong is reported as SourceError; OpenCV's own lines on stderr say it again, less clearly.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


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
    #: Number in the source, from 0, of the frame that was given last; those that were dropped count, too.
    number = -1
    #: The frame's time in seconds: by the file's time stamps, or since a live source was opened; None if unknown.
    time: float | None = None
    #: Frames that were passed over: damaged ones of a video, and of a live source those that came too fast.
    dropped = 0

    @property
    def behind(self) -> int:
        """Frames of a live source that have come since the one that was given last."""
        return 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield frames ``(H, W, 3)``, uint8, BGR, all of the size in ``info``.

        Raises:
            SourceError: an image is missing, damaged, or of another size, or a video is cut.
        """

    def name_of(self, number: int) -> str:
        """Return what a data set calls a frame: the file of an image; of a video, what CVAT calls it."""
        return f"frame_{number:06d}.png"

    def seek(self, number: int) -> None:
        """Let a new iteration begin at a frame; from then on ``info.frames`` is exact, also of a file that is cut.

        Raises:
            SourceError: there is no such frame, or the source only goes forward.
        """
        raise SourceError(f"frame {number} cannot be shown again: the source only goes forward")

    def hold(self) -> None:  # noqa: B027 (what waits for its reader is held as it is)
        """Let a live source keep what comes from now on, thinned to ``BACKLOG`` frames, instead of the newest alone."""

    def resume(self) -> None:  # noqa: B027
        """Let a held source give what it kept, to catch up with, and then the newest frames again."""

    def close(self) -> None:  # noqa: B027 (a folder has nothing to release)
        """Release the device or file."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_source(
    spec: str | os.PathLike[str], start: int = 0, frames: int | None = None, live: bool | None = None
) -> Source:
    """Open a video file, camera, network stream, pipe, or images in numeric order.

    Live sources are read by a thread that keeps only the newest frame.

    Args:
        spec: a path to a video, a folder of images or a named pipe; ``-`` for standard input; images by a pattern such
            as ``img%03d.jpg``; a camera's index or ``/dev/video0``; or a URL of ``SCHEMES``. A folder whose name is a
            number needs ``./``.
        start: frames to skip.
        frames: most frames to give; None for all.
        live: whether frames are dropped when the reader is busy; None: cameras, and URLs without a length.

    Raises:
        SourceError: nothing is there, it has no frame that decodes, or ``start`` is beyond its end.
    """
    if start < 0:
        raise SourceError(f"cannot start at frame {start}; the first is 0")
    if frames is not None and frames < 1:
        raise SourceError(f"cannot give {frames} frames; ask for 1 or more")
    start, frames = min(start, _MOST), frames and min(frames, _MOST)
    text = os.fspath(spec)
    if not text:
        raise SourceError("the source has no name; give a video, camera, URL or folder of images")
    if not is_utf8(text):
        raise SourceError(f"{text!a}: the name is not UTF-8; rename it")
    if camera := re.fullmatch(r"(?:/dev/video)?(\d+)", text):
        open_camera = partial(_Camera, int(camera[1]))
        return LiveSource(f"camera {camera[1]}", open_camera(), open_camera, start, frames)
    path = Path(text)
    if "://" in text:
        scheme = text.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise SourceError(f"{text}: unknown kind of address '{scheme}://'; choose one of {', '.join(SCHEMES)}")
        connect = partial(_Decoder, text, text)
    elif text == "-":
        connect = partial(_Decoder, "standard input", "pipe:0")
    elif path.is_dir():
        return FolderSource(path, sorted(_images(path), key=lambda file: natural_key(file.name)), start, frames)
    elif re.search(r"%0?\d*d", path.name) and not path.exists():
        return FolderSource(path, _matches(path), start, frames)
    elif path.is_file() or path.is_fifo():
        # FFmpeg takes what stands before a colon for a protocol, but not in an absolute path.
        connect = partial(_Decoder, text, str(path.absolute()))
    else:
        raise SourceError(f"{text}: there is no such video file or image folder")
    decoder = connect()
    remote = "://" in text
    if live or (live is None and remote and decoder.length is None):
        return LiveSource(text, decoder, connect if remote else None, start, frames)
    return FileSource(decoder, start, frames)


class FolderSource(Source):
    """Images, one a frame.

    Args:
        name: of the folder or pattern.
        files: the images, in order.
        start: frames to skip.
        frames: most frames to give; None for all.
    """

    def __init__(self, name: Path, files: list[Path], start: int, frames: int | None) -> None:
        if not files:
            raise SourceError(f"{name}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        if start >= len(files):
            raise SourceError(f"{name}: cannot start at frame {start} of {len(files)}")
        self._files, self._end = files, len(files) if frames is None else min(start + frames, len(files))
        self.number = start - 1
        height, width = _read(files[start]).shape[:2]
        self.info = VideoInfo(width, height, None, self._end - start, live=False)

    def __iter__(self) -> Iterator[Frame]:
        size = self.info.height, self.info.width
        for path in self._files[self.number + 1 : self._end]:
            frame = _read(path)
            if frame.shape[:2] != size:
                raise SourceError(f"{path}: its size is {frame.shape[1]}x{frame.shape[0]}, not {size[1]}x{size[0]}")
            self.number += 1
            yield frame

    def name_of(self, number: int) -> str:
        """See :class:`Source`."""
        return self._files[number].name

    def seek(self, number: int) -> None:
        """See :class:`Source`."""
        if not 0 <= number < self._end:
            raise SourceError(f"there is no frame {number}; the last is {self._end - 1}")
        self.number = number - 1


class FileSource(Source):
    """A video of some length, read at the reader's pace. What decodes before a defect is given before the error.

    While the reader has a frame, a thread decodes the next one.
    """

    def __init__(self, decoder: _Decoder, start: int, frames: int | None) -> None:
        self._decoder, self._end = decoder, math.inf if frames is None else start + frames
        skipped = sum(1 for _ in itertools.islice(decoder, start))
        self.number = skipped - 1
        self._pool = ThreadPoolExecutor(1, "decoder")
        self._ahead: Future[tuple[Frame | None, float | None, int]] | None = self._pool.submit(self._read)
        first, _, _ = self._ahead.result()
        if first is None:
            self.close()
            if skipped:
                raise SourceError(f"{decoder.name}: cannot start at frame {start} of {skipped}")
            raise SourceError(f"{decoder.name}: no frame can be decoded; the file is damaged or no video")
        total = None if decoder.length is None else max(decoder.length - start, 1)
        if total is not None and frames is not None:
            total = min(total, frames)
        self.info = VideoInfo(first.shape[1], first.shape[0], decoder.rate, total, live=False)

    def __iter__(self) -> Iterator[Frame]:
        while self.number + 1 < self._end:
            frame, time, damaged = (self._ahead or self._pool.submit(self._read)).result()
            self.number += damaged
            self.dropped += damaged
            if frame is None:
                end, declared = self.number + 1, self._decoder.length or 0
                steps = round((self.time or 0) * (self.info.fps or 0)) + 1  # more than the frames, at a variable rate
                if declared - max(end, steps) > max(1, LENGTH_TOLERANCE * declared):
                    name = self._decoder.name
                    raise SourceError(f"{name}: the file is cut or damaged; it ends after {end} of {declared} frames")
                return
            self._ahead = self._pool.submit(self._read)
            self.number += 1
            if frame.shape[1::-1] != self.info[:2]:
                size = "{}x{}, not {}x{}".format(*frame.shape[1::-1], *self.info[:2])
                raise SourceError(
                    f"{self._decoder.name}: the size of frame {self.number} is {size}; cut the video there"
                )
            rate = self.info.fps
            self.time = time if time is not None or not rate else self.number / rate
            if self.number < self._end:
                yield frame

    def _read(self) -> tuple[Frame | None, float | None, int]:
        """Return the next frame, its time, and how many damaged ones were passed over before."""
        frame = self._decoder.read()
        return frame, self._decoder.time, self._decoder.damaged

    def seek(self, number: int) -> None:
        """See :class:`Source`."""
        if self._ahead is not None:
            self._ahead.result()
        self._decoder.seek(number, self.number if self._ahead is None else self.number + 1)
        self._ahead, self.number = None, number - 1
        self.info = self.info._replace(frames=self._decoder.length)

    def close(self) -> None:
        """Release the device or file."""
        self._pool.shutdown()
        self._decoder.close()


class Reader(Protocol):
    """What a live source reads: ``rate`` in frames per second, if known; ``read`` gives None when it broke."""

    rate: float | None
    damaged: int
    """Frames that the last ``read`` passed over."""

    def read(self) -> Frame | None:
        """Wait for the next frame."""

    def close(self) -> None:
        """Release the device."""


class LiveSource(Source):
    """A camera or stream. A thread reads it all the time and keeps the newest frame; a broken stream is reopened.

    Args:
        name: for messages.
        reader: what gives the frames.
        connect: opens it again after it broke, or raises SourceError; None for what then ends.
        start: frames to skip.
        frames: most frames to give; None for no end.
        patience: seconds to wait for a frame, reconnecting included.
    """

    def __init__(
        self,
        name: str,
        reader: Reader,
        connect: Callable[[], Reader] | None,
        start: int = 0,
        frames: int | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._name, self._connect, self._patience = name, connect, patience
        self._start, self._limit = start, frames
        self._arrived = threading.Condition()
        self._stop = threading.Event()
        frame = reader.read()
        if frame is None:
            reader.close()
            raise SourceError(f"{name}: cannot be opened; is it connected, switched on and not in use?")
        self.info = VideoInfo(frame.shape[1], frame.shape[0], reader.rate, None, live=True)
        self._began = time.monotonic()
        self._count = 0
        self._newest: tuple[int, float, Frame] | None = None
        self._kept: deque[tuple[int, float, Frame]] = deque()
        self._stride: int | None = None
        self._ended = False
        self._pass_over(reader.damaged)
        self._receive(frame)
        self._thread = threading.Thread(target=self._pump, args=(reader,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        stop = None if self._limit is None else self._start + self._limit
        return itertools.islice(self._take(), self._start, stop)

    @property
    def behind(self) -> int:
        """See :class:`Source`."""
        return self._count - 1 - self.number

    def hold(self) -> None:
        """See :class:`Source`."""
        with self._arrived:
            self._stride = 1

    def resume(self) -> None:
        """See :class:`Source`."""
        with self._arrived:
            self._stride = None

    def close(self) -> None:
        """Release the device or file."""
        self._stop.set()
        self._thread.join(timeout=1)

    def _take(self) -> Iterator[Frame]:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._kept or self._newest or self._ended, self._patience)
                if self._kept:
                    taken = self._kept.popleft()
                elif self._newest:
                    taken, self._newest = self._newest, None
                elif self._ended:
                    return
                else:
                    raise SourceError(f"{self._name}: no frame came for {self._patience:g} s")
            self.number, self.time, frame = taken
            yield frame

    def _pass_over(self, frames: int) -> None:
        self._count += frames
        self.dropped += frames

    def _receive(self, frame: Frame) -> None:
        with self._arrived:
            item = self._count, time.monotonic() - self._began, frame
            self._count += 1
            if self._stride is None:
                self.dropped += self._newest is not None
                self._newest = item
            elif item[0] % self._stride:
                self.dropped += 1
            else:
                self._kept.append(item)
                if len(self._kept) > BACKLOG:
                    self._stride *= 2
                    before = len(self._kept)
                    self._kept = deque(kept for kept in self._kept if kept[0] % self._stride == 0)
                    self.dropped += before - len(self._kept)
            self._arrived.notify()

    def _pump(self, reader: Reader) -> None:
        size = self.info.height, self.info.width
        while not self._stop.is_set():
            frame = reader.read()
            self._pass_over(reader.damaged)
            if frame is None:
                if self._connect is None:
                    break
                reader.close()
                self._stop.wait(0.5)
                with contextlib.suppress(SourceError):
                    reader = self._connect()
            elif frame.shape[:2] == size:
                self._receive(frame)
            else:
                self._pass_over(1)
        reader.close()
        with self._arrived:
            self._ended = True
            self._arrived.notify()


class _Decoder:
    """The frames of a file, stream or pipe; iterating skips them without making pictures.

    FFmpeg would show the rest of a cut JPEG as grey, or as the frame before.

    Raises:
        SourceError: it cannot be opened, or is no video.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name, self._address = name, address
        self.time: float | None = None
        #: Frames that the last :meth:`read` passed over, as they are damaged.
        self.damaged = 0
        scheme = address.partition("://")[0]
        options = {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
        if scheme in SCHEMES and not scheme.startswith("http"):
            options["fpsprobesize"] = "0"  # to measure the rate would take a second, which is then behind
        try:
            self._container = av.open(address, options=options, timeout=(PATIENCE, PATIENCE))
            self._stream = stream = self._container.streams.video[0]
        except (OSError, av.FFmpegError, IndexError, ValueError):
            if scheme in SCHEMES:
                raise SourceError(f"{name}: cannot be opened; is it connected, switched on and not in use?") from None
            raise SourceError(f"{name}: no frame can be decoded; the file is damaged or no video") from None
        if scheme not in SCHEMES:  # whole frames in parallel would delay a stream
            stream.thread_type = "AUTO"
        self._jpegs = stream.codec_context.name == "mjpeg"
        if self._jpegs:
            stream.codec_context.options = {"err_detect": "explode"}
        rate = stream.average_rate or stream.guessed_rate
        self.rate = float(rate) if rate and 0 < rate <= 1000 else None
        duration = self._container.duration
        estimate = round(duration / av.time_base * self.rate) if duration and self.rate else 0
        #: Number of frames, where the container tells.
        self.length: int | None = max(stream.frames or estimate, 0) or None
        self._stamps: list[int] = []
        self._from = float("-inf")  # time stamp of the first frame that is asked for
        self._frames = self._decode()

    def __iter__(self) -> Iterator[Any]:
        return self._frames

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end or where the stream broke."""
        self.damaged = 0
        for found in self._frames:
            if (found.pts or 0) < self._from:
                continue
            if not isinstance(found, av.Packet):
                self.time = found.time
                picture: Frame = found.to_ndarray(format="bgr24")
                turns = round(found.rotation / 90) % 4
                return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
            self.damaged += 1
        return None

    def seek(self, number: int, at: int) -> None:
        """Let :meth:`read` go on with a frame, which all time stamps, read once, tell how to find.

        Args:
            number: the frame's, from 0.
            at: the number of the frame that was read last.

        Raises:
            SourceError: there is no such frame, or it cannot be reached.
        """
        try:
            if not self._stamps:
                with av.open(self._address) as file:
                    packets = file.demux(video=0)
                    self._stamps = sorted(one.pts for one in packets if one.pts is not None and not one.is_discard)
                self.length = len(self._stamps)
            if not 0 <= number < len(self._stamps):
                raise SourceError(f"{self.name}: there is no frame {number} of {len(self._stamps)}")
            near, back = at < number <= at + NEAR, 0
            while not near:  # containers seek by decoding order: perhaps to a frame after it
                self._container.seek(self._stamps[max(number - back, 0)], stream=self._stream)
                self._frames = self._decode()
                found = next(self._frames, None)
                if back > number or (found is not None and (found.pts or 0) <= self._stamps[number]):
                    self._frames = itertools.chain([found] if found else [], self._frames)
                    break
                back = 2 * back + 8
        except (av.FFmpegError, OSError):
            raise SourceError(f"{self.name}: frame {number} cannot be reached; the file only goes forward") from None
        self._from = self._stamps[number]

    def close(self) -> None:
        """Release the file or connection."""
        self._container.close()

    def _decode(self) -> Iterator[Any]:
        """Yield frames, and in the place of a damaged one its packet; those after it may be whole."""
        try:
            for packet in self._container.demux(self._stream):
                try:
                    found = [packet] if self._jpegs and is_cut(bytes(packet)) else packet.decode()
                except av.FFmpegError:
                    found = [packet]
                yield from found
        except (av.FFmpegError, OSError):
            return


class _Camera:
    """A local camera by its index.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, index: int) -> None:
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise SourceError(f"camera {index}: cannot be opened; is it connected, switched on and not in use?")
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 0 < rate <= 1000 else None
        self.damaged = 0

    def read(self) -> Frame | None:
        """Return the next frame, or None where the camera broke."""
        found, frame = self._capture.read()
        return frame if found else None

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]


def _matches(pattern: Path) -> list[Path]:
    """Return the images that a name with ``%03d`` stands for, by their numbers."""
    before, digits, after = re.split(r"%0?(\d*)d", pattern.name, maxsplit=1)
    name = re.compile(rf"{re.escape(before)}(\d{{{digits or 1},}}){re.escape(after)}")
    folder = pattern.parent
    found = [(int(match[1]), path) for path in _images(folder) if (match := name.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def _read(path: Path) -> Frame:
    image = read_image(path)
    if image is None:
        raise SourceError(f"{path}: the image cannot be read; it is cut, damaged, or none")
    return image
