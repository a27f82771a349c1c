"""NanoTrack v2 and v3 through ONNX Runtime, tracking as published.

Source: https://github.com/HonglinChu/SiamTrackers, folder ``NanoTrack``. ``cv2.TrackerNano`` reads v2 alone and departs
from it: it crops in RGB, returns whole pixels, and compares sizes with the target's position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tctrack.engines.base import default_threads
from tctrack.errors import DependencyError, require
from tctrack.geometry.boxes import check_box, context_side
from tctrack.geometry.crops import check_frame, crop_square, mean_colour
from tctrack.geometry.decode import SearchGrid, choose
from tctrack.settings import TrackerSettings
from tctrack.types import Box, Frame, TrackResult
from trackers.base import only_file

#: A network as a function of its inputs, which returns the list of its outputs.
Network = Callable[..., Sequence[NDArray[np.float32]]]

#: Sides of the template and search crops, and the stride of the maps, in pixels.
TEMPLATE, SEARCH, STRIDE = 127, 255, 16
#: No side of an estimate falls below this, in frame pixels.
MIN_SIDE = 10
#: The published settings by the side of the head's maps: v2 has 16 cells, v3 has 15.
SETTINGS = {
    16: TrackerSettings(penalty_k=0.150, window_influence=0.490, lr=0.385),
    15: TrackerSettings(penalty_k=0.138, window_influence=0.455, lr=0.348),
}


class NanoTracker:
    """Follows one target with NanoTrack; deterministic.

    Args:
        backbone: maps a crop ``(1, 3, S, S)``, BGR, float32, 0–255, to features.
        head: maps features of the template and of the search crop to logits ``(1, 2, N, N)`` of ground and target, and
            to distances ``(1, 4, N, N)`` from each cell to the left, top, right and bottom edge, in search pixels.
        tracking: the tracker's settings.
    """

    _centre: tuple[float, float]
    _size: tuple[float, float]
    _frame_size: tuple[int, int]
    _fill: NDArray[np.uint8]
    _template: NDArray[np.float32] | None

    def __init__(self, backbone: Network, head: Network, tracking: TrackerSettings) -> None:
        self._backbone, self._head, self._tracking = backbone, head, tracking
        self.reset()

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._frame_size = check_frame(frame)
        x, y, w, h = check_box(box, self._frame_size)
        self._centre, self._size, self._fill = (x + w / 2, y + h / 2), (w, h), mean_colour(frame)
        self._template = self._features(frame, context_side(w, h), TEMPLATE)

    def update(self, frame: Frame) -> TrackResult:
        """See :class:`trackers.base.Tracker`."""
        if self._template is None:
            raise RuntimeError("call init(frame, box) before update(frame)")
        (w, h), (width, height) = self._size, check_frame(frame, self._frame_size)
        context = context_side(w, h)
        scale = TEMPLATE / context
        search = self._features(frame, context * SEARCH / TEMPLATE, SEARCH)
        logits, distances = (output[0].astype(np.float64) for output in self._head(self._template, search))

        grid = SearchGrid(logits.shape[-1], STRIDE)
        near, far = np.split(distances.reshape(4, -1).T, 2, -1)
        boxes = np.concatenate((grid.offsets() + (far - near) / 2, near + far), -1)
        if grid.size % 2 == 0:  # a published cell lies at the crop's centre, also in an even map
            boxes[:, :2] -= STRIDE / 2
        scores = 1 / (1 + np.exp(logits[0] - logits[1])).ravel()
        candidate, penalty = choose(boxes, scores, np.array((w * scale, h * scale)), self._tracking)

        dx, dy, new_w, new_h = boxes[candidate] / scale
        rate = penalty * scores[candidate] * self._tracking.lr
        cx, cy = np.clip(np.add(self._centre, (dx, dy)), 0, (width, height)).tolist()
        w, h = np.clip((w + rate * (new_w - w), h + rate * (new_h - h)), MIN_SIDE, (width, height)).tolist()
        self._centre, self._size = (cx, cy), (w, h)
        return TrackResult(Box(cx - w / 2, cy - h / 2, w, h), float(scores[candidate]))

    def reset(self) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._template = None

    def _features(self, frame: Frame, side: float, output_side: int) -> NDArray[np.float32]:
        crop = crop_square(frame, self._centre, max(1, round(side)), output_side, self._fill)
        return self._backbone(crop.transpose(2, 0, 1)[None].astype(np.float32))[0]


def build_nanotrack(weights: str | Path) -> NanoTracker:
    """Build NanoTrack from a folder that holds ``*backbone*.onnx`` and ``*head*.onnx`` of v2 or v3.

    Raises:
        DependencyError: ONNX Runtime is not installed, or the folder does not hold these networks.
    """
    backbone, _ = _load(Path(weights), "*backbone*.onnx")
    head, side = _load(Path(weights), "*head*.onnx")
    if side not in SETTINGS:
        raise DependencyError(
            f"the head in {weights} makes maps of {side} cells; NanoTrack v2 makes 16 and v3 makes 15"
        )
    return NanoTracker(backbone, head, SETTINGS[side])


def _load(folder: Path, pattern: str) -> tuple[Network, Any]:
    """Return the network in a folder and the side of its maps as its file states it."""
    onnx, onnxruntime = require("onnx", "peers"), require("onnxruntime", "peers")
    file = only_file(folder, pattern)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = default_threads()
    try:
        model = onnx.load(file)
        side = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
        # The backbone states the search crop's size; it takes the template's as well.
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            for dimension in value.type.tensor_type.shape.dim:
                dimension.Clear()
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:  # neither package names the errors of a damaged file
        raise DependencyError(f"ONNX Runtime cannot read {file}: {str(error).splitlines()[0]}") from None
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        outputs: Sequence[NDArray[np.float32]] = session.run(None, dict(zip(names, inputs, strict=True)))
        return outputs

    return run, side
