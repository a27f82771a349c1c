"""OpenCV's trackers behind our protocol: MIL, NanoTrack, and CSRT and KCF where the contrib wheel is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tctrack.errors import BoxError, ConfigError, DependencyError
from tctrack.geometry.boxes import check_box
from tctrack.geometry.crops import check_frame
from tctrack.types import Box, Frame, TrackResult
from trackers.base import only_file

#: OpenCV's MIL hangs on a smaller box, in which its features do not fit.
MIN_SIDE = 5


class OpenCVTracker:
    """One OpenCV tracker, made afresh for every target.

    OpenCV takes whole-pixel boxes inside the frame, so the first box is rounded and clipped. When the tracker reports a
    loss, the last box is repeated.

    Args:
        create: makes the OpenCV object.
    """

    _box: Box
    _size: tuple[int, int]
    _tracker: Any

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self.reset()

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._size = size = check_frame(frame)
        self._box = check_box(box, size)
        self._tracker = self._create()
        try:
            self._tracker.init(frame, _fit(self._box, size))
        except cv2.error as error:
            raise BoxError(f"OpenCV cannot start on box {tuple(self._box)}: {error.err}") from None

    def update(self, frame: Frame) -> TrackResult:
        """See :class:`trackers.base.Tracker`."""
        if self._tracker is None:
            raise RuntimeError("call init(frame, box) before update(frame)")
        check_frame(frame, self._size)
        found, box = self._tracker.update(frame)
        if found:
            self._box = Box(*map(float, box))
        score = self._tracker.getTrackingScore() if hasattr(self._tracker, "getTrackingScore") else None
        score = score if score is None or score >= 0 else None  # MIL has none and says -1
        return TrackResult(self._box, score, "tracked" if found else "lost")

    def reset(self) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._tracker = None


def build_mil() -> OpenCVTracker:
    """Build multiple-instance learning (Babenko et al., CVPR 2009); it draws from C's ``rand()``, so runs differ."""
    return OpenCVTracker(cv2.TrackerMIL.create)


def build_nano(
    weights: str | Path | None = None, backbone: str | Path | None = None, head: str | Path | None = None
) -> OpenCVTracker:
    """Build NanoTrack, from its two ONNX files or from a folder that holds ``*backbone*.onnx`` and ``*head*.onnx``.

    Raises:
        ConfigError: no files are named.
        DependencyError: a file is missing, or OpenCV cannot read it.
    """
    if weights is not None:
        backbone, head = backbone or only_file(weights, "*backbone*.onnx"), head or only_file(weights, "*head*.onnx")
    if backbone is None or head is None:
        raise ConfigError(
            "tracker 'nano' needs its ONNX files: weights=FOLDER (--weights FOLDER) with *backbone*.onnx and"
            " *head*.onnx, or backbone=FILE and head=FILE; they are at https://github.com/HonglinChu/SiamTrackers"
        )
    parameters = cv2.TrackerNano.Params()
    parameters.backbone, parameters.neckhead = str(backbone), str(head)

    def create() -> Any:
        try:
            return cv2.TrackerNano.create(parameters)
        except cv2.error:
            raise DependencyError(f"OpenCV cannot read NanoTrack from {backbone} and {head}") from None

    create()
    return OpenCVTracker(create)


def build_csrt() -> OpenCVTracker:
    """Build CSR-DCF (Lukezic et al., CVPR 2017).

    Raises:
        DependencyError: this OpenCV build has no CSRT.
    """
    return OpenCVTracker(_contrib("TrackerCSRT_create"))


def build_kcf() -> OpenCVTracker:
    """Build kernelized correlation filters (Henriques et al., TPAMI 2015).

    Raises:
        DependencyError: this OpenCV build has no KCF.
    """
    return OpenCVTracker(_contrib("TrackerKCF_create"))


def _fit(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Round a box and move its edges into a frame of ``(width, height)``; MIL needs a pixel to spare."""
    low = np.clip(np.round(box[:2]), 0, np.subtract(size, MIN_SIDE + 1)).astype(int)
    high = np.clip(np.round(np.add(box[:2], box[2:])), low + MIN_SIDE, np.subtract(size, 1)).astype(int)
    x, y, w, h = np.concatenate([low, high - low]).tolist()
    return x, y, w, h


def _contrib(name: str) -> Callable[[], Any]:
    if not hasattr(cv2, name):
        raise DependencyError(
            f"cv2.{name} is not in this OpenCV build; replace its wheel by opencv-contrib-python-headless"
            " (or opencv-contrib-python for windows)"
        )
    create: Callable[[], Any] = getattr(cv2, name)
    return create
