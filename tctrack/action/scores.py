"""Mean average precision of temporal action localisation (ActivityNet's protocol)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tctrack.action.segments import Segment
from tctrack.types import FloatArray

#: tIoU thresholds over which ActivityNet and HACS, and Epic-Kitchens, average.
ACTIVITYNET_TIOUS = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))
EPIC_TIOUS = (0.1, 0.2, 0.3, 0.4, 0.5)


def temporal_iou(start: float, stop: float, starts: FloatArray, stops: FloatArray) -> FloatArray:
    """Return the overlap over the union of one segment with others ``(N,)``."""
    overlap = np.maximum(0, np.minimum(stop, stops) - np.maximum(start, starts))
    union = (stop - start) + (stops - starts) - overlap
    return np.asarray(overlap / np.maximum(union, 1e-12))


def mean_average_precision(
    truth: Sequence[Segment], found: Sequence[Segment], tious: Sequence[float] = ACTIVITYNET_TIOUS
) -> FloatArray:
    """Return the mAP ``(len(tious),)`` over the annotated classes.

    Detections are taken by falling score; each claims the free annotation of its video and class that it overlaps most,
    if by the threshold at least. Precision is interpolated from the right; labels that no annotation has do not count.
    """
    labels = sorted({segment.label for segment in truth})
    return np.asarray(np.mean([_average_precision(truth, found, label, tious) for label in labels], axis=0))


def _average_precision(
    truth: Sequence[Segment], found: Sequence[Segment], label: str, tious: Sequence[float]
) -> FloatArray:
    annotated: dict[str, list[Segment]] = {}
    for segment in truth:
        if segment.label == label:
            annotated.setdefault(segment.video, []).append(segment)
    count = sum(map(len, annotated.values()))
    ranked = sorted((segment for segment in found if segment.label == label), key=lambda segment: -segment.score)
    hits = np.zeros((len(tious), len(ranked)))
    taken: list[dict[str, set[int]]] = [{} for _ in tious]
    for rank, segment in enumerate(ranked):
        candidates = annotated.get(segment.video, [])
        if not candidates:
            continue
        starts, stops = (np.array([getattr(one, name) for one in candidates]) for name in ("start", "stop"))
        overlaps = temporal_iou(segment.start, segment.stop, starts, stops)
        for n, threshold in enumerate(tious):
            used = taken[n].setdefault(segment.video, set())
            for best in np.argsort(-overlaps, kind="stable"):
                if overlaps[best] < threshold:
                    break
                if int(best) not in used:
                    used.add(int(best))
                    hits[n, rank] = 1
                    break
    return np.array([_area(row, count) for row in hits])


def _area(hits: FloatArray, count: int) -> float:
    """Return the area under the interpolated precision-recall curve of ranked hits (0 or 1)."""
    if not hits.size:
        return 0.0
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * hits).sum() / count)
