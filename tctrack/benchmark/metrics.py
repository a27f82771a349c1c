"""Success, precision and overlap of one-pass evaluation, under a named protocol.

``otb``
    The rules of the OTB and pysot toolkits: every frame counts. Where the target is absent (no finite box, or one
    without area) the frame is a miss for success and a hit for precision.
``got10k``
    The rules of the got10k toolkit: the first frame's prediction is the given box, and frames without a finite box are
    dropped.

Both compare overlap with ``>`` and distance with ``<=``. A perfect tracker therefore has a success AUC of 20/21.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tctrack.errors import DatasetError
from tctrack.geometry.boxes import iou
from tctrack.types import FloatArray

Protocol = Literal["otb", "got10k"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

BoolArray = NDArray[np.bool_]

#: Overlap thresholds of the success curve.
OVERLAPS = np.linspace(0, 1, 21)
#: Centre-distance thresholds of the precision curve, in pixels.
DISTANCES = np.arange(51)
#: Thresholds of the normalised precision curve, in target sizes (TrackingNet; LaSOT).
NORM_DISTANCES = np.arange(51) / 100


@dataclass(frozen=True)
class BoxScores:
    """How well boxes follow the truth, for one sequence or in the mean over several.

    ``success`` ``(21,)``, ``precision`` ``(51,)`` and ``norm_precision`` ``(51,)`` are fractions of frames over
    :data:`OVERLAPS`, :data:`DISTANCES` and :data:`NORM_DISTANCES`. ``overlaps`` are the IoUs of all counted frames but
    the sequences' first, from which GOT-10k's AO and SR are taken.
    """

    success: FloatArray
    precision: FloatArray
    norm_precision: FloatArray
    overlaps: FloatArray

    @property
    def success_auc(self) -> float:
        """Area under the success curve: its mean over the 21 thresholds."""
        return float(self.success.mean())

    @property
    def precision_20(self) -> float:
        """Fraction of frames whose centres are at most 20 pixels apart."""
        return float(self.precision[20])

    @property
    def norm_precision_20(self) -> float:
        """Fraction of frames whose centres are at most 0.2 target sizes apart."""
        return float(self.norm_precision[20])

    @property
    def norm_precision_auc(self) -> float:
        """Area under the normalised precision curve: its mean over 0 to 0.5 target sizes."""
        return float(self.norm_precision.mean())

    @property
    def ao(self) -> float:
        """GOT-10k's average overlap; NaN when no frame but the first counts."""
        return float(self.overlaps.mean()) if self.overlaps.size else float("nan")

    def sr(self, threshold: float) -> float:
        """GOT-10k's success rate: the fraction of frames with more overlap than ``threshold``."""
        return float((self.overlaps > threshold).mean()) if self.overlaps.size else float("nan")


def score(
    truth: ArrayLike,
    prediction: ArrayLike,
    protocol: Protocol = "otb",
    frame_size: tuple[int, int] | None = None,
) -> BoxScores:
    """Score predicted boxes against true ones.

    Args:
        truth: ``(T, 4)`` boxes x, y, w, h in pixels; NaN where the target is absent.
        prediction: ``(T, 4)`` boxes; NaN where the tracker gave none, which is a miss.
        protocol: which frames count, and how; see the module's text.
        frame_size: width and height; ``got10k`` then clips boxes to the frame as its GOT-10k experiment does.

    Raises:
        DatasetError: the arrays differ in shape, or no frame counts.
    """
    true: FloatArray = np.array(truth, np.float64)
    found: FloatArray = np.array(prediction, np.float64)
    if true.ndim != 2 or true.shape[1] != 4 or true.shape != found.shape:
        raise DatasetError(f"predictions of shape {found.shape} do not fit true boxes of shape {true.shape}")
    later = np.arange(len(true)) > 0
    finite: BoolArray = np.all(np.isfinite(true), axis=-1)
    present = finite & (true[:, 2] > 0) & (true[:, 3] > 0)
    if protocol == "got10k":
        found[:1] = true[:1]
        true, found, later = true[finite], found[finite], later[finite]
        present = np.ones(len(true), bool)
        if frame_size is not None:
            true, found = _clip(true, frame_size), _clip(found, frame_size)
    if not len(true):
        raise DatasetError("the target is absent from every frame, so there is nothing to score")

    offset = _centre(found) - _centre(true)
    with np.errstate(divide="ignore", invalid="ignore"):
        norm_distance = np.where(present, np.linalg.norm(offset / true[:, 2:], axis=1), -1)
    overlap = np.where(present, np.clip(iou(true, found), 0, 1), -1)
    distance = np.where(present, np.linalg.norm(offset, axis=1), -1)
    return BoxScores(
        success=(overlap[:, None] > OVERLAPS).mean(axis=0),
        precision=(distance[:, None] <= DISTANCES).mean(axis=0),
        norm_precision=(norm_distance[:, None] <= NORM_DISTANCES).mean(axis=0),
        overlaps=np.nan_to_num(overlap[later]).clip(0),
    )


def mean_scores(scores: Iterable[BoxScores]) -> BoxScores:
    """Average the curves of sequences, each with the same weight, and pool their overlaps.

    Raises:
        DatasetError: there is no sequence.
    """
    items = list(scores)
    if not items:
        raise DatasetError("no sequence to average")
    return BoxScores(
        success=np.mean([item.success for item in items], axis=0),
        precision=np.mean([item.precision for item in items], axis=0),
        norm_precision=np.mean([item.norm_precision for item in items], axis=0),
        overlaps=np.concatenate([item.overlaps for item in items]),
    )


def bootstrap_interval(values: Sequence[float], samples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the mean of per-sequence values."""
    array = np.asarray(values, np.float64)
    picks = np.random.default_rng(seed).integers(len(array), size=(samples, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def paired_test(first: Sequence[float], second: Sequence[float], samples: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value that two trackers' means over the same sequences are equal (sign-flip test)."""
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(samples, len(difference)))
    as_far = np.abs(signs @ difference) >= abs(difference.sum()) - 1e-12
    return float((1 + as_far.sum()) / (1 + samples))


def _centre(boxes: FloatArray) -> FloatArray:
    """Return centres counted from the middle of the first pixel, as the toolkits do, so that ties round alike."""
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2


def _clip(boxes: FloatArray, frame_size: tuple[int, int]) -> FloatArray:
    """Clip as got10k does: a box that starts left of the frame moves into it and keeps its width."""
    corner = np.clip(boxes[:, :2], 0, frame_size)
    return np.concatenate([corner, np.clip(boxes[:, 2:], 0, np.asarray(frame_size) - corner)], axis=1)
