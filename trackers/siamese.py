"""The Siamese tracker: crop about the last estimate, run the network, choose one of its boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tctrack.checkpoint.load import load_model
from tctrack.config import build
from tctrack.geometry.boxes import check_box, context_side
from tctrack.geometry.camera_motion import follow_camera, thumbnail
from tctrack.geometry.crops import check_frame, crop_square, crop_subpixel, mean_colour
from tctrack.geometry.decode import choose
from tctrack.models.base import TemporalState, TrackingModel
from tctrack.ops.fold import fold_batch_norms
from tctrack.settings import TrackerSettings
from tctrack.types import Box, Frame, TrackResult

#: No side of an estimate falls below this, in frame pixels.
MIN_SIDE = 10
#: A target that fills more of the frame than this is searched for at its first scale.
MAX_SHARE = 0.5
#: A hidden target is carried on by its motion for so many frames.
PATIENCE = 15


class TrackerState(NamedTuple):
    """All that is known of one target; a value, so trackers can be forked and rewound."""

    frame_size: tuple[int, int]
    """Width and height of the video."""
    fill: NDArray[np.uint8]
    """Mean colour of the first frame, which stands for what lies outside."""
    first_context: float
    """Side of the first template crop in frame pixels."""
    centre: tuple[float, float]
    """x, y of the estimate's centre in frame pixels."""
    size: tuple[float, float]
    """Width and height of the estimate in frame pixels."""
    temporal: TemporalState
    """The network's state."""
    thumbnail: NDArray[np.uint8] | None = None
    """The last frame, small, to see the camera's motion by."""
    velocity: tuple[float, float] = (0.0, 0.0)
    """Of the target over the ground, in frame pixels per frame."""
    hidden: int = 0
    """Frames since the target was last seen."""


class SiameseTracker:
    """Follows one target with a network; deterministic.

    :meth:`start` and :meth:`step` are pure; :meth:`init`, :meth:`update` and :meth:`reset` keep their state.

    Args:
        model: a network in evaluation mode, on the device to run on.
        tracking: its settings; None for the network's own.
    """

    def __init__(self, model: TrackingModel, tracking: TrackerSettings | None = None) -> None:
        self.model = model
        self.tracking = tracking or model.config.tracking
        self._device = next(model.parameters()).device
        self._state: TrackerState | None = None

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._state = self.start(frame, box)

    def update(self, frame: Frame) -> TrackResult:
        """See :class:`trackers.base.Tracker`."""
        if self._state is None:
            raise RuntimeError("call init(frame, box) before update(frame)")
        result, self._state = self.step(frame, self._state)
        return result

    def reset(self) -> None:
        """See :class:`trackers.base.Tracker`."""
        self._state = None

    @torch.inference_mode()
    def start(self, frame: Frame, box: Sequence[float]) -> TrackerState:
        """Return the state of a target at ``box`` (x, y, w, h in frame pixels).

        Raises:
            SourceError: the frame is not ``(H, W, 3)`` uint8.
            BoxError: the box is empty, not finite, or outside the frame.
        """
        frame_size = check_frame(frame)
        x, y, w, h = check_box(box, frame_size)
        fill = mean_colour(frame)
        context = context_side(w, h)
        if self.tracking.subpixel:
            centre = x + w / 2, y + h / 2
        else:
            centre, context = (x + (w - 1) / 2, y + (h - 1) / 2), max(1, round(context))
        template = self._crop(frame, centre, context, self.model.config.template_size, fill)
        search = self._crop(frame, centre, context, self.model.config.search_size, fill)
        scale = self.model.config.template_size / context
        extent = torch.tensor([[w * scale, h * scale]], device=self._device)
        temporal = self.model.start(template, search, extent)
        small = thumbnail(frame) if self.tracking.motion else None
        return TrackerState(frame_size, fill, context, centre, (w, h), temporal, small)

    @torch.inference_mode()
    def step(self, frame: Frame, state: TrackerState) -> tuple[TrackResult, TrackerState]:
        """Find the target in the frame after ``state``; return it and the new state.

        Raises:
            SourceError: the frame is not ``(H, W, 3)`` uint8, or has not the size of the first.
        """
        width, height = check_frame(frame, state.frame_size)
        w, h = state.size
        fills_frame = w * h > MAX_SHARE * width * height
        context = state.first_context if fills_frame else context_side(w, h)
        scale = self.model.config.template_size / context
        small = thumbnail(frame) if self.tracking.motion else None
        ground, expected = self._expect(state, small, self.model.config.search_size / scale / 2)
        search = self._crop(frame, expected, context, self.model.config.search_size, state.fill)
        outputs, temporal = self.model.step(search, state.temporal)

        boxes, scores = (values[0].double().cpu().numpy() for values in self.model.decode(outputs))
        candidate, penalty = choose(boxes, scores, np.array((w * scale, h * scale)), self.tracking)
        score = float(scores[candidate])
        state = state._replace(temporal=temporal, thumbnail=small)
        threshold = self.tracking.found if state.hidden else self.tracking.lost
        if threshold > 0 and score < threshold and state.hidden < PATIENCE:
            result = TrackResult(Box(expected[0] - w / 2, expected[1] - h / 2, w, h), score)
            return result, state._replace(centre=expected, hidden=state.hidden + 1)

        dx, dy, new_w, new_h = (float(value) / scale for value in boxes[candidate])
        rate = float(penalty) * score * self.tracking.lr
        cx, cy = _clip(expected[0] + dx, 0, width), _clip(expected[1] + dy, 0, height)
        w = _clip(w * (1 - rate) + new_w * rate, MIN_SIDE, width)
        h = _clip(h * (1 - rate) + new_h * rate, MIN_SIDE, height)
        result = TrackResult(Box(cx - w / 2, cy - h / 2, w, h), score)
        vx, vy = state.velocity
        if ground is not None:
            follow = score * self.tracking.motion
            vx, vy = vx + follow * (cx - ground[0] - vx), vy + follow * (cy - ground[1] - vy)
        hidden = 0 if score >= self.tracking.lost else state.hidden
        return result, state._replace(centre=(cx, cy), size=(w, h), velocity=(vx, vy), hidden=hidden)

    @staticmethod
    def _expect(
        state: TrackerState, small: NDArray[np.uint8] | None, reach: float
    ) -> tuple[tuple[float, float] | None, tuple[float, float]]:
        """Return where the ground under the last estimate lies now, if known, and where to expect the target.

        Both are x, y; the latter is inside the frame and at most ``reach`` from the last estimate in x and y.
        """
        if small is None or state.thumbnail is None:
            return None, state.centre
        ground = follow_camera(state.centre, state.thumbnail, small, state.frame_size[0])
        if ground is None:
            return None, state.centre
        expected = (
            _clip(_clip(place + speed, last - reach, last + reach), 0, side)
            for place, speed, last, side in zip(ground, state.velocity, state.centre, state.frame_size, strict=True)
        )
        return ground, (next(expected), next(expected))

    def _crop(
        self, frame: Frame, centre: tuple[float, float], context: float, output_side: int, fill: NDArray[np.uint8]
    ) -> Tensor:
        side = context * output_side / self.model.config.template_size
        if self.tracking.subpixel:
            crop = crop_subpixel(frame, centre, side, output_side, fill)
        else:
            crop = crop_square(frame, centre, max(1, round(side)), output_side, fill)
        return torch.from_numpy(crop).to(self._device).permute(2, 0, 1)[None].float()


def build_siamese(
    model: str | Path | TrackingModel, weights: str | Path | None = None, device: str = "auto", **overrides: Any
) -> SiameseTracker:
    """Build the tracker of a network, or of a network's name or checkpoint (see :func:`tctrack.load_model`).

    Args:
        model: the network, its name, or a checkpoint.
        weights: its weights, where ``model`` is a name.
        device: where to load it; a network that is given stays where it is.
        overrides: fields of :class:`tctrack.settings.TrackerSettings` that replace the network's own.

    Raises:
        ConfigError: an override is no such field, or has not its type.
    """
    network = model if isinstance(model, TrackingModel) else fold_batch_norms(load_model(model, weights, device))
    settings = build(TrackerSettings, {**dataclasses.asdict(network.config.tracking), **overrides})
    return SiameseTracker(network, settings)


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
