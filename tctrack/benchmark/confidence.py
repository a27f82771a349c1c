"""How well a tracker knows whether it is on its target: ranking, calibration, and the measures of long-term tracking.

All take arrays over frames, of one sequence or of several one after another. Boxes ``(T, 4)`` are x, y, w, h in pixels,
the true ones NaN where the target is absent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tctrack.errors import DatasetError
from tctrack.geometry.boxes import has_area, iou
from tctrack.types import FloatArray

#: From this IoU on, a reported box counts in OxUvA.
OXUVA_OVERLAP = 0.5


def auroc(positive: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that a positive ``(T,)`` has a higher score ``(T,)`` than a negative; a tie counts half.

    Raises:
        DatasetError: all are positive, or none is.
    """
    is_positive, values = np.asarray(positive, bool), np.asarray(scores, np.float64)
    count = int(is_positive.sum())
    if count in (0, len(is_positive)):
        raise DatasetError("a ranking needs frames of both kinds, right and wrong; give more sequences")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[is_positive].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))


def calibration_error(right: ArrayLike, confidence: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017) of probabilities ``(T,)`` in equal bins of 0–1.

    It is the mean distance of a bin's share of ``right`` ``(T,)`` from its mean confidence, weighted by frames.
    """
    hits, values = np.asarray(right, np.float64), np.asarray(confidence, np.float64)
    index = np.clip((values * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(index, hits - values, minlength=bins)
    return float(np.abs(gaps).sum() / len(values))


def long_term_f(truth: FloatArray, boxes: FloatArray, confidence: ArrayLike) -> float:
    """Return the F-score of VOT-LT (Lukežič et al., 2018): the best over thresholds of the confidence ``(T,)``.

    At a threshold, precision is the mean IoU over frames that reach it (0 where the target is absent), and recall their
    sum of IoUs by the frames that show the target.
    """
    values = np.asarray(confidence, np.float64)
    overlap, present = _overlap(truth, boxes)
    order = np.argsort(-values, kind="stable")
    total = np.cumsum(overlap[order])
    last = np.append(np.diff(values[order]) != 0, True)  # of the frames that share a confidence
    precision, recall = total[last] / (np.flatnonzero(last) + 1), total[last] / present.sum()
    both = precision + recall
    return float(np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0).max())


def max_geometric_mean(truth: FloatArray, boxes: FloatArray, reported: ArrayLike) -> float:
    """Return OxUvA's MaxGM (Valmadre et al., ECCV 2018).

    It is the geometric mean of two rates: of frames that show the target, those reported with an IoU of at least
    :data:`OXUVA_OVERLAP`; of the others, those not reported. The best counts that calling a random share of the
    reported frames absent can reach.

    Args:
        truth: the true boxes.
        boxes: the tracker's.
        reported: whether it says that the target is there, ``(T,)``.

    Raises:
        DatasetError: no frame shows the target.
    """
    said = np.asarray(reported, bool)
    overlap, present = _overlap(truth, boxes)
    hits = float((said & (overlap >= OXUVA_OVERLAP))[present].mean())
    absent = float((~said)[~present].mean()) if (~present).any() else 0.0
    kept = min(1.0, 1 / (2 * (1 - absent))) if absent < 1 else 1.0
    return float(np.sqrt(hits * kept * (1 - kept * (1 - absent))))


def _overlap(truth: FloatArray, boxes: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the IoU of every frame, 0 without a target or a box, and where the target is."""
    present = has_area(truth)
    if not present.any():
        raise DatasetError("the target is absent from every frame, so there is nothing to score")
    return np.where(present, np.nan_to_num(iou(truth, boxes)), 0.0), present
