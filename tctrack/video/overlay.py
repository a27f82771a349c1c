"""Draw records on frames: boxes, scores, speed, and a fading trace of each target's path."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tctrack.types import Box, FloatArray, Frame
from tctrack.video.session import Record

Colour = tuple[int, int, int]

#: BGR colours.
GREEN: Colour = (96, 230, 60)
DARK: Colour = (24, 20, 16)
WHITE: Colour = (255, 255, 255)
RED: Colour = (60, 60, 240)
#: Of targets, in turn: green, amber, sky, violet, aqua, pink.
COLOURS: tuple[Colour, ...] = (
    *(GREEN, (40, 180, 255), (255, 190, 70), (240, 120, 190)),
    *((210, 220, 60), (190, 150, 255)),
)

_FONT = cv2.FONT_HERSHEY_DUPLEX
#: Lines are drawn at a sixteenth of a pixel.
_SHIFT = 4


class Overlay:
    """Annotates the frames of one video; remembers the targets' paths.

    Args:
        title: name of the tracker, shown in the corner.
        trace: number of past positions to draw.
    """

    def __init__(self, title: str = "", trace: int = 60) -> None:
        self._title, self._trace = title, trace
        self._paths: dict[int, deque[tuple[float, float]]] = {}

    def draw(self, frame: Frame, records: Sequence[Record], fps: float | None = None) -> Frame:
        """Return an annotated copy of a frame ``(H, W, 3)``, uint8, BGR.

        A target that is not ``tracked`` is a dashed red box with its state. Ids are shown once there are several.
        """
        picture: Frame = frame.copy()
        for record in records:
            x, y, w, h = record.box
            path = self._paths.setdefault(record.id, deque(maxlen=self._trace))
            if (centre := (x + w / 2, y + h / 2)) not in list(path)[-1:]:  # a frame may be drawn again
                path.append(centre)
            _draw_trace(picture, np.array(path), target_colour(record.id))
        for record in records:
            number = f"{record.id}  " if len(self._paths) > 1 else ""
            if record.state == "tracked":
                sure = "" if record.score is None else f"{record.score:.2f}"
                sure = sure if record.confidence is None else f"{record.confidence:.0%}"
                draw_box(picture, record.box, (number + sure).strip(), target_colour(record.id))
            else:
                draw_box(picture, record.box, number + record.state, RED, dashed=True)
        words = [self._title, "" if fps is None else f"{fps:.0f} FPS"]
        if any(words):
            unit = _unit(picture)
            draw_plate(picture, "   ".join(filter(None, words)), (unit * 8, unit * 8))
        return picture


def target_colour(target: int) -> Colour:
    """Return the BGR colour of a target by its id, from 1; none is red, which means lost."""
    return COLOURS[(target - 1) % len(COLOURS)]


def draw_box(picture: Frame, box: Box, label: str = "", colour: Colour = GREEN, dashed: bool = False) -> None:
    """Draw a box, and a label on a plate above it, into ``picture`` in place."""
    unit = _unit(picture)
    x, y, w, h = box
    dash = 10 * unit if dashed else 2 * max(w, h, 1)
    corners = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)])
    lines = [line for start, end in itertools.pairwise(corners) for line in _dashes(start, end, dash)]
    for paint, width in ((DARK, 4 * unit), (colour, 2 * unit)):
        cv2.polylines(picture, lines, False, paint, max(1, round(width)), cv2.LINE_AA, _SHIFT)
    if label:
        draw_plate(picture, label, (box.x, box.y - 4 * unit), colour, above=True)


def contact_sheet(pictures: Sequence[Frame], columns: int, width: int = 1800) -> Frame:
    """Lay pictures of one size out in rows of ``columns``, on a sheet ``width`` pixels wide."""
    height, wide = pictures[0].shape[:2]
    cell = width // columns
    size = cell - 8, round((cell - 8) * height / wide)
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    cells = [cv2.copyMakeBorder(image, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=WHITE) for image in small]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    return np.vstack(rows)


def _unit(picture: Frame) -> float:
    """Return the width in pixels of a hairline that looks alike at any frame size: 1 at 720p."""
    return max(float(min(picture.shape[:2])) / 720, 0.75)


def draw_plate(
    picture: Frame, text: str, corner: tuple[float, float], colour: Colour = WHITE, above: bool = False
) -> None:
    """Write text on a translucent plate whose top (or bottom) left is ``corner``, moved to lie inside the picture."""
    unit = _unit(picture)
    scale, thickness, margin = 0.6 * unit, max(1, round(unit)), round(6 * unit)
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    size = np.array([width + 2 * margin, height + baseline + 2 * margin])
    origin = np.array(corner) - (0, size[1] if above else 0)
    x, y = np.clip(np.round(origin), 0, np.maximum(picture.shape[1::-1] - size, 0)).astype(int).tolist()
    plate = picture[y : y + size[1], x : x + size[0]]
    _blend(plate, DARK, 0.6)
    at = (x + margin, y + margin + height)
    cv2.putText(picture, text, at, _FONT, scale, colour, thickness, cv2.LINE_AA)


def _dashes(start: FloatArray, end: FloatArray, dash: float) -> list[NDArray[np.int32]]:
    """Return the strokes from ``start`` to ``end`` (x, y), both ends drawn, of about ``dash`` pixels with such gaps."""
    count = 2 * min(round(float(np.abs(end - start).max()) / (2 * dash)), 1000) + 1
    points = start + np.linspace(0, 1, count + 1)[:, None] * (end - start)
    return list(np.round(points * 2**_SHIFT).astype(np.int32).reshape(-1, 2, 2))


def _draw_trace(picture: Frame, points: FloatArray, colour: Colour) -> None:
    """Draw a path ``(N, 2)`` that fades towards its past."""
    thickness = max(1, round(2 * _unit(picture)))
    low = np.clip(points.min(0) - thickness, 0, picture.shape[1::-1]).astype(int)
    high = np.clip(points.max(0) + thickness + 1, 0, picture.shape[1::-1]).astype(int)
    region = picture[low[1] : high[1], low[0] : high[0]]
    if len(points) < 2 or not region.size:
        return
    mask = np.zeros(region.shape[:2], np.uint8)
    fixed = np.round((points - low) * 2**_SHIFT).astype(int)
    for index, (start, end) in enumerate(zip(fixed[:-1].tolist(), fixed[1:].tolist(), strict=True), 1):
        cv2.line(mask, start, end, 255 * index // (len(points) - 1), thickness, cv2.LINE_AA, _SHIFT)
    _blend(region, colour, mask[..., None] / 255)


def _blend(region: Frame, colour: Colour, opacity: float | FloatArray) -> None:
    """Mix a colour into ``region`` in place, by an opacity of 0–1, one number or ``(H, W, 1)``."""
    region[:] = np.round(region + (np.array(colour) - region) * opacity)
