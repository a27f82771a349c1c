"""One benchmark sequence: its frames, true boxes and attributes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tctrack.errors import DatasetError
from tctrack.files import IMAGE_SUFFIXES, natural_key, read_json, read_text
from tctrack.geometry.boxes import has_area
from tctrack.types import FloatArray, Frame

#: No picture is so many pixels wide, and no box so far away.
LARGEST = 1e9


@dataclass(frozen=True, eq=False)
class BenchmarkSequence:
    """A target to follow.

    ``boxes`` ``(T, 4)`` are x, y, w, h in pixels, NaN where the target is absent. ``source`` holds the frames: a video
    file, the image files in order, or nothing when there are only annotations. ``attributes`` are the benchmark's
    abbreviations, such as ``FM``. ``frame_size`` is (width, height) where the benchmark states it.
    """

    name: str
    boxes: FloatArray
    source: Path | tuple[Path, ...] = ()
    attributes: tuple[str, ...] = ()
    frame_size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def frames(self) -> Iterator[Frame]:
        """Yield exactly ``len(self)`` frames, decoded one at a time.

        Raises:
            DatasetError: there are no frames, fewer than boxes, or one cannot be decoded.
        """
        count = 0
        for frame in self._decode():
            if count == len(self):
                return
            count += 1
            yield frame
        if count < len(self):
            where = self.source if isinstance(self.source, Path) else self.name
            raise DatasetError(f"{where} has {count} frames, but {self.name} has {len(self)} boxes")

    def _decode(self) -> Iterator[Frame]:
        from tctrack.video import open_source, read_image

        if isinstance(self.source, Path):
            with open_source(str(self.source)) as video:
                for frame in video:
                    if video.dropped:
                        raise DatasetError(f"{self.source}: the frame before frame {video.number} is damaged")
                    yield frame
            return
        for path in self.source:
            image = read_image(path)
            if image is None:
                raise DatasetError(f"cannot decode image {path}: it is missing, cut or damaged")
            yield image


@dataclass(frozen=True, eq=False)
class Excerpt(BenchmarkSequence):
    """A sequence that starts at frame ``first`` of its source, and runs on or back to the source's beginning.

    Backward, all of these frames are held in memory.
    """

    first: int = 0
    backward: bool = False

    def _decode(self) -> Iterator[Frame]:
        frames = super()._decode()
        if not self.backward:
            yield from itertools.islice(frames, self.first, None)
            return
        kept = list(itertools.islice(frames, self.first + 1))
        while kept:
            yield kept.pop()


def four_starts(sequence: BenchmarkSequence) -> list[BenchmarkSequence]:
    """Return the sequence, its reverse, and its parts from one third on and from two thirds back to its first frame.

    A single jump decides the rest of a run, so one run says little; these starts resemble the anchors of VOT2020
    (Kristan et al.). Each is the nearest frame with a target.

    Raises:
        DatasetError: no frame has a target.
    """
    boxes = sequence.boxes
    visible = np.flatnonzero(has_area(boxes))
    if not len(visible):
        raise DatasetError(f"{sequence.name} has no frame with a target")
    third, two_thirds, last = (
        int(visible[np.argmin(np.abs(visible - share * len(boxes)))]) for share in (1 / 3, 2 / 3, 1)
    )
    given = (sequence.source, sequence.attributes, sequence.frame_size)
    return [
        sequence,
        Excerpt(f"{sequence.name}, backward", boxes[last::-1], *given, last, True),
        Excerpt(f"{sequence.name} from 1/3", boxes[third:], *given, third),
        Excerpt(f"{sequence.name} from 2/3, backward", boxes[two_thirds::-1], *given, two_thirds, True),
    ]


def read_tracks(path: Path) -> list[BenchmarkSequence]:
    """Read the tracks of a ``tracks.json``: ``{"VIDEO/ID": [[image, x, y, w, h], …]}``, images beside the file.

    Sequences are named ``VIDEO_ID``; tracks of one video share its images, each with those that show it.

    Raises:
        DatasetError: the file cannot be read, or is not like that.
    """
    try:
        tracks = read_json(path)
        return [
            BenchmarkSequence(
                name.replace("/", "_"),
                np.array([row[1:5] for row in rows], np.float64).reshape(len(rows), 4),
                tuple(path.parent / row[0] for row in rows),
            )
            for name, rows in tracks.items()
        ]
    except (ValueError, TypeError, AttributeError, IndexError):
        raise DatasetError(f'{path} is not {{"VIDEO/ID": [[image, x, y, w, h], …]}}; mend or rebuild it') from None


def list_images(folder: Path, first: int | None = None, last: int | None = None) -> tuple[Path, ...]:
    """Return the images of a folder in natural order, optionally only those numbered ``first`` to ``last``."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if first is not None or last is not None:
        low, high = first or 0, last if last is not None else 10**12
        found = [path for path in found if low <= _number(path) <= high]
    return tuple(sorted(found, key=lambda path: natural_key(path.name)))


def read_boxes(path: Path) -> FloatArray:
    """Read ``(T, 4)`` boxes x, y, w, h, one a line, separated by commas, tabs or spaces; NaN is an absent target.

    Raises:
        DatasetError: the file cannot be read, is empty, or a line is not four numbers.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        fields = re.split(r"[,\s]+", line.strip().rstrip(","))
        try:
            row = [float(field) for field in fields]
        except ValueError:
            row = []
        if len(row) != 4 or any(abs(value) > LARGEST for value in row):
            raise DatasetError(f"{path}:{number}: expected four numbers x,y,w,h, found '{line.strip()[:60]}'")
        rows.append(row)
    return np.array(rows, np.float64)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, without the blank ones at its end.

    Raises:
        DatasetError: the file is missing, empty, or not text.
    """
    lines = read_text(path).rstrip().splitlines()
    if not lines:
        raise DatasetError(f"{path} is empty")
    return lines


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else -1
