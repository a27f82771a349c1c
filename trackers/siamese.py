"""The Siamese tracker: crop about the last estimate, run the network, choose one of its boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tctrack.config import build
from tctrack.engines import Engine, State, load_engine
from tctrack.errors import TrackerError
from tctrack.geometry.boxes import check_box, context_side
from tctrack.geometry.camera_motion import CameraMotion, GroundView, follow_camera, thumbnail
from tctrack.geometry.crops import check_frame, crop_square, crop_subpixel, mean_colour, whole_square
from tctrack.geometry.decode import choose
from tctrack.settings import TrackerSettings
from tctrack.types import Box, FloatArray, Frame, TrackResult
from trackers import presence
from trackers.presence import PATIENCE

if TYPE_CHECKING:
    from tctrack.models.base import TrackingModel

#: No side of an estimate falls below this in frame pixels, or below the first box's where that is smaller.
MIN_SIDE = 10
#: A target that fills more of the frame than this is searched for at its first scale.
MAX_SHARE = 0.5
#: A hidden target may be so many of its sizes away from where it is expected; more with every frame, the faster the
#: longer it is hidden (twice as fast after ``HAZE`` frames), and with every frame whose camera motion is not known.
REACH, DRIFT, HAZE, JERK = 4.0, 0.03, 200, 1.0
#: Distance of the places where a lost target is sought, in parts of the search crop's side.
TILE_STEP = 0.7
#: By how much the log-odds must exceed 0 for a lost target that is found at the end of its reach; less nearer, as the
#: square of the distance.
CALL_BACK = 3.0


class TrackerState(NamedTuple):
    """The state of one target; a value, so trackers can be forked and rewound."""

    frame_size: tuple[int, int]
    """Width and height of the video."""
    fill: NDArray[np.uint8]
    """Mean colour of the first frame, for what lies outside the frame."""
    first_context: float
    """Side of the first template crop in frame pixels."""
    least: tuple[float, float]
    """Least width and height of an estimate in frame pixels."""
    centre: tuple[float, float]
    """x, y of the estimate's centre in frame pixels; a hidden target may be outside the frame."""
    size: tuple[float, float]
    """Width and height of the estimate in frame pixels."""
    temporal: State
    """The network's state, a batch of one."""
    first: State
    """The network's state after the first frame, with which a lost target is sought."""
    ground: GroundView | None = None
    """What is kept of the last frame, to estimate the camera's motion."""
    velocity: tuple[float, float] = (0.0, 0.0)
    """Of the target over the ground, in frame pixels per frame."""
    hidden: int = 0
    """Frames since the target was last seen."""
    presence: presence.Presence | None = None
    """What tells whether the target is there; None where the network's scores do not."""
    reach: float = REACH
    """How far a hidden target may be from where it is expected, in sizes (roots of its area)."""
    turn: int = 0
    """How many places of the present round were searched for a lost target."""
    promise: tuple[float, float] | None = None
    """x, y of what may be the lost target, until the next frame confirms it."""


class _Aim(NamedTuple):
    """Where the target is sought in a frame."""

    crop: Frame
    """The search crop."""
    scale: float
    """Search pixels per frame pixel."""
    middle: tuple[float, float]
    """x, y of the crop's centre in frame pixels."""
    expected: tuple[float, float]
    """Where the target is expected, in frame pixels; a hidden one up to half a frame outside it."""
    ground: tuple[float, float] | None
    """Where the ground under the last estimate lies now, where that is known, in frame pixels."""
    turn: int
    """How many places of the present round are searched, this one included."""


class SiameseTracker:
    """Follows targets with a network; deterministic.

    :meth:`start`, :meth:`step` and :meth:`step_many` are pure; :meth:`init`, :meth:`update` and :meth:`reset` keep the
    state of one target.

    Args:
        engine: the network, ready to run.
        settings: of the tracker; None for the network's own.
    """

    def __init__(self, engine: Engine, settings: TrackerSettings | None = None) -> None:
        self.engine = engine
        self.settings = settings or engine.info.settings
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
        if self.settings.subpixel:
            centre = x + w / 2, y + h / 2
        else:
            centre, context = (x + (w - 1) / 2, y + (h - 1) / 2), max(1, round(context))
        info = self.engine.info
        scale = info.template_size / context
        template = self._crop(frame, centre, context, info.template_size, fill)
        search = self._crop(frame, centre, info.search_size / scale, info.search_size, fill)
        temporal = self.engine.start(template[None], search[None], np.array([[w * scale, h * scale]], np.float32))
        ground = GroundView(thumbnail(frame)) if self.settings.motion else None
        least = min(w, MIN_SIDE), min(h, MIN_SIDE)
        there = presence.begin(search, (w * scale, h * scale)) if self.settings.lost else None
        return TrackerState(
            frame_size, fill, context, least, centre, (w, h), temporal, temporal, ground, presence=there
        )

    def step(self, frame: Frame, state: TrackerState) -> tuple[TrackResult, TrackerState]:
        """Find the target in the frame after ``state``; return it and the new state.

        Raises:
            SourceError: the frame is not ``(H, W, 3)`` uint8, or has not the size of the first.
        """
        return self.step_many(frame, [state])[0]

    def step_many(self, frame: Frame, states: Sequence[TrackerState]) -> list[tuple[TrackResult, TrackerState]]:
        """Find several targets of one video in its next frame, as one batch of the network.

        Raises:
            SourceError: as :meth:`step`.
        """
        if not states:
            return []
        for state in states:
            check_frame(frame, state.frame_size)
        grounds = self._follow_camera(frame, states)
        aims = [self._aim(frame, state, motion) for state, (motion, _) in zip(states, grounds, strict=True)]
        boxes, scores, temporal = self._run([aim.crop for aim in aims], [state.temporal for state in states])
        return [
            self._settle(aim, boxes[n], scores[n], state._replace(temporal=temporal[n], ground=grounds[n][1]))
            for n, (aim, state) in enumerate(zip(aims, states, strict=True))
        ]

    def _follow_camera(
        self, frame: Frame, states: Sequence[TrackerState]
    ) -> list[tuple[CameraMotion | None, GroundView | None]]:
        """Return for each target the camera's motion since the frame where it was last sought, and the new view."""
        if not self.settings.motion:
            return [(None, None)] * len(states)
        small = thumbnail(frame)
        views: dict[int, tuple[CameraMotion | None, GroundView]] = {}  # targets sought in the same frame share one
        for state in states:
            if state.ground is not None and id(state.ground) not in views:
                views[id(state.ground)] = follow_camera(state.ground, small, state.frame_size[0])
        return [views.get(id(state.ground), (None, GroundView(small))) for state in states]

    def _run(self, crops: Sequence[Frame], states: Sequence[State]) -> tuple[FloatArray, FloatArray, Sequence[State]]:
        """Run the network on a batch; return its candidates ``(B, N, 4)`` and ``(B, N)``, and the new states."""
        single = len(states) == 1
        boxes, scores, state = self.engine.step(np.stack(crops), states[0] if single else self.engine.join(states))
        parts = [state] if single else self.engine.split(state)
        return boxes.astype(np.float64), scores.astype(np.float64), parts

    def _aim(self, frame: Frame, state: TrackerState, motion: CameraMotion | None) -> _Aim:
        """Cut the search crop about the place that the ground and the target's velocity predict.

        It lies inside the frame and, while the target is seen, at most half a crop from the last estimate in x and y.
        A lost target is sought about that place, or where something promised to be it.
        """
        w, h = state.size
        width, height = state.frame_size
        context = state.first_context if w * h > MAX_SHARE * width * height else context_side(w, h)
        info = self.engine.info
        scale = info.template_size / context
        side = info.search_size / scale
        ground, expected, promise, turn = None, state.centre, state.promise, state.turn
        if motion is not None:
            ground = motion.carry(state.centre)
            expected = ground[0] + state.velocity[0], ground[1] + state.velocity[1]
            promise = promise and motion.carry(promise)
            if not state.hidden:
                expected = _inside(expected, np.subtract(state.centre, side / 2), np.add(state.centre, side / 2))
                expected = _inside(expected, (0, 0), state.frame_size)
        expected = _inside(expected, np.multiply(state.frame_size, -0.5), np.multiply(state.frame_size, 1.5))
        middle = expected
        if state.hidden >= PATIENCE:
            if promise:
                middle = promise
            else:
                middle, turn = self._tile(state, expected, side)
        middle = _inside(middle, (0, 0), state.frame_size)
        if self.settings.subpixel:  # where the crop lies is known exactly, so it may as well lie on whole pixels
            middle, side = whole_square(middle, side)
            scale = info.search_size / side
        crop = self._crop(frame, middle, side, info.search_size, state.fill)
        return _Aim(crop, scale, middle, expected, ground, turn)

    @staticmethod
    def _tile(state: TrackerState, expected: tuple[float, float], side: float) -> tuple[tuple[float, float], int]:
        """Return the centre of the next search crop, in rounds from the expected place outward as far as it may be."""
        counts = np.ceil(np.divide(state.frame_size, TILE_STEP * side)).astype(int)
        places = (np.stack(np.meshgrid(*map(np.arange, counts)), -1).reshape(-1, 2) + 0.5) / counts * state.frame_size
        distance = np.hypot(*(places - expected).T)
        within = int((distance < _reach(state) + TILE_STEP * side / 2).sum())
        turn = state.turn if state.turn < within else 0
        x, y = places[distance.argsort()[turn]]
        return (float(x), float(y)), turn + 1

    def _settle(
        self, aim: _Aim, boxes: FloatArray, scores: FloatArray, state: TrackerState
    ) -> tuple[TrackResult, TrackerState]:
        """Choose one of the candidates ``(N, 4)``, ``(N,)``; return it and the state after the frame.

        A hidden target is taken up within reach of where it is expected; a lost one must also be recognized in two
        frames, one after the other.
        """
        settings, (w, h), lost = self.settings, state.size, state.hidden >= PATIENCE
        weights = dataclasses.replace(settings, window_influence=0.0) if lost else settings
        candidate, penalty = choose(boxes, scores, np.array((w * aim.scale, h * aim.scale)), weights)
        score = float(scores[candidate])
        if not np.isfinite((score, *boxes[candidate])).all():
            raise TrackerError("the network's output is not finite; its weights are damaged, or badly trained")
        dx, dy, new_w, new_h = (float(value) / aim.scale for value in boxes[candidate])
        cx, cy = _inside((aim.middle[0] + dx, aim.middle[1] + dy), (0, 0), state.frame_size)
        threshold = settings.found if state.hidden and not lost else settings.lost
        found = threshold <= 0 or score >= threshold
        away = np.hypot(cx - aim.expected[0], cy - aim.expected[1]) / _reach(state)
        if state.hidden:
            found = found and away < 1
        told: tuple[Any, ...] = ()
        if (there := state.presence) is not None:
            known = there._replace(frames=0, hidden=0) if lost else there  # a lost one is judged by this frame alone
            known = presence.update(known, aim.crop, boxes, scores, int(candidate), not found)
            if lost:
                found = found and known.log_odds > CALL_BACK * away**2
                promise, found = (cx, cy) if found else None, found and state.promise is not None
                state = state._replace(promise=promise, temporal=state.temporal if promise else state.first)
            there = known if found or not lost else there._replace(hidden=there.hidden + 1)
            state, told = state._replace(presence=there), (there.state, there.confidence)
        if not found:
            x, y = _inside(aim.expected, (0, 0), state.frame_size)
            result = TrackResult(Box(x - w / 2, y - h / 2, w, h), score, *told)
            reach = state.reach + (JERK if aim.ground is None else DRIFT * (1 + state.hidden / HAZE))
            return result, state._replace(centre=aim.expected, hidden=state.hidden + 1, reach=reach, turn=aim.turn)

        rate = 0.0 if lost else float(penalty) * score * settings.lr
        w = _clip(w * (1 - rate) + new_w * rate, state.least[0], state.frame_size[0])
        h = _clip(h * (1 - rate) + new_h * rate, state.least[1], state.frame_size[1])
        result = TrackResult(Box(cx - w / 2, cy - h / 2, w, h), score, *told)
        vx, vy = state.velocity
        if aim.ground is not None and not lost:
            follow = score * settings.motion
            vx, vy = vx + follow * (cx - aim.ground[0] - vx), vy + follow * (cy - aim.ground[1] - vy)
        return result, state._replace(
            centre=(cx, cy), size=(w, h), velocity=(vx, vy), hidden=0, reach=REACH, turn=0, promise=None
        )

    def _crop(
        self, frame: Frame, centre: tuple[float, float], side: float, output_side: int, fill: NDArray[np.uint8]
    ) -> Frame:
        if self.settings.subpixel:
            return crop_subpixel(frame, centre, side, output_side, fill)
        return crop_square(frame, centre, max(1, round(side)), output_side, fill)


def build_siamese(
    model: str | Path | Engine | TrackingModel,
    weights: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    **overrides: Any,
) -> SiameseTracker:
    """Build the tracker of a network, or of a network's name, checkpoint or exported graphs.

    Args:
        model: the network or an engine that runs it, its name, a checkpoint, or a folder of exported graphs.
        weights: its weights, where ``model`` is a name.
        device: where to load it; a network that is given stays where it is.
        engine: what runs it, one of :data:`tctrack.engines.ENGINES`.
        threads: of ONNX Runtime or OpenVINO.
        overrides: fields of :class:`TrackerSettings` that replace the network's own, such as ``lr=0.4``.

    Raises:
        CheckpointError: there is no such network or file, or it is damaged.
        ConfigError: an override is no such field or has not its type, or the engine cannot run this network.
        DependencyError: the engine or the device is not there.
    """
    if isinstance(model, (str, Path)):
        ready = load_engine(model, weights, device, engine, threads)
    elif isinstance(model, Engine):
        ready = model
    else:
        from tctrack.engines.torch import TorchEngine

        ready = TorchEngine(model)
    settings = build(TrackerSettings, {**dataclasses.asdict(ready.info.settings), **overrides})
    return SiameseTracker(ready, settings)


def _reach(state: TrackerState) -> float:
    """Return how far a hidden target may be from its expected place, in frame pixels."""
    return state.reach * float(np.sqrt(state.size[0] * state.size[1]))


def _inside(point: Any, low: Any, high: Any) -> tuple[float, float]:
    x, y = (_clip(*values) for values in zip(point, low, high, strict=True))
    return x, y


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
