"""From response maps to one box: cells, candidate boxes, motion penalties."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tctrack.geometry.boxes import context_side
from tctrack.settings import TrackerSettings
from tctrack.types import FloatArray


@dataclass(frozen=True)
class SearchGrid:
    """The cells of a response map, spread evenly about the centre of a search crop."""

    size: int
    """Cells along each side."""
    stride: int
    """Search pixels between neighbouring cells."""

    def offsets(self) -> NDArray[np.float32]:
        """Return the cells' points ``(size², 2)``, x then y, row by row, in search pixels from the crop's centre."""
        line = (np.arange(self.size, dtype=np.float32) - (self.size - 1) / 2) * self.stride
        x, y = np.meshgrid(line, line)
        return np.stack((x.ravel(), y.ravel()), -1)


class Choice(NamedTuple):
    """The chosen candidate, and the penalty in (0, 1] on its change of size and shape."""

    candidate: NDArray[np.intp]
    penalty: FloatArray


def choose(boxes: FloatArray, scores: FloatArray, size: FloatArray, settings: TrackerSettings) -> Choice:
    """Choose a candidate by score, change of size and shape, and distance from the last position.

    Args:
        boxes: candidates ``(…, N, 4)`` of a square map, as networks decode them.
        scores: ``(…, N)``.
        size: width and height of the last estimate ``(…, 2)``, in search pixels.
        settings: the weights of the three.
    """
    w, h = boxes[..., 2], boxes[..., 3]
    last_w, last_h = size[..., :1], size[..., 1:]
    size_change = _change(context_side(w, h) / context_side(last_w, last_h))
    shape_change = _change((last_w / (last_h + 1e-5)) / (w / (h + 1e-5)))
    penalty = np.exp(-(shape_change * size_change - 1) * settings.penalty_k)
    window = _window(scores.shape[-1]) * settings.window_influence
    penalised = penalty * scores * (1 - settings.window_influence) + window
    candidate = penalised.argmax(-1)
    return Choice(candidate, np.take_along_axis(penalty, candidate[..., None], -1)[..., 0])


@functools.cache
def _window(cells: int) -> FloatArray:
    cosine = np.hanning(round(cells**0.5))
    return np.outer(cosine, cosine).ravel()


def _change(ratio: FloatArray) -> FloatArray:
    return np.maximum(ratio, 1 / (ratio + 1e-5))
