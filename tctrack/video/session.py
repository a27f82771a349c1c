"""Targets that are followed together: what the command line, the window and the browser page share.

    session = Session(tracker_factory("tctrack-lite"))        # loads and warms the network; one for all targets
    with open_source("flight.mp4") as source:
        for frame in source:
            if source.number == 0:
                session.add(frame, (120, 80, 40, 60))         # -> 1, the target's id
            records = session.step(frame, source.number, source.time)

Targets come and go between any two steps. A frame is known by its array: stepping the one just seen repeats its
records without tracking again, now of the targets that are there, so a target drawn on the frame in view has its
record of that frame by ``add`` and ``step``. A session is not safe to use from two threads at once.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tctrack.types import Box, Frame, OnlineTracker, State, TrackResult


class Record(NamedTuple):
    """One target in one frame."""

    frame: int
    """Number of the frame in the source, from 0."""
    time: float | None
    """The source's own time of the frame in seconds, where it has one."""
    wall: datetime.datetime
    """When the record was made, UTC."""
    id: int
    """The target's, from 1; never given to another."""
    box: Box
    """In frame pixels."""
    score: float | None
    """The tracker's own; None on the frame where the target was drawn, or when it has none."""
    confidence: float | None
    """Probability, 0–1, that the box is right, where the tracker knows it."""
    state: State
    """``tracked``, ``hidden`` or ``lost``."""
    offset: tuple[float, float]
    """Of the box's centre from the picture's, right and down: 1 is the edge, and the limit."""
    seconds: float
    """What tracking the frame's targets took, all together."""

    @classmethod
    def of(
        cls,
        result: TrackResult,
        frame: Frame,
        index: int = 0,
        source_time: float | None = None,
        target: int = 1,
        seconds: float = 0.0,
        wall: datetime.datetime | None = None,
    ) -> Record:
        """Return the record of a tracker's result on a frame ``(H, W, 3)``; ``wall`` is now if not given."""
        wall = wall or datetime.datetime.now(datetime.timezone.utc)
        offset = _offset(result.box, frame.shape[1::-1])
        return cls(
            index, source_time, wall, target, result.box, result.score, result.confidence, result.state, offset, seconds
        )

    def as_json(self) -> dict[str, Any]:
        """Return what goes into JSON: ``wall`` in ISO 8601, and ``seconds`` as ``ms``."""
        return {
            "frame": self.frame,
            "time": _rounded(self.time, 6),
            "wall": self.wall.isoformat(timespec="milliseconds"),
            "id": self.id,
            "box": [round(value, 3) for value in self.box],
            "score": _rounded(self.score, 4),
            "confidence": _rounded(self.confidence, 4),
            "state": self.state,
            "offset": [round(value, 4) for value in self.offset],
            "ms": round(self.seconds * 1e3, 2),
        }


@dataclass
class _Target:
    state: Any
    """The target's tracker, or what a tracker that follows several at once knows of it."""
    frame: Frame
    """The last that it was seen in."""
    result: TrackResult
    seconds: float


class Session:
    """Follows any number of targets through the frames of one video.

    Args:
        make_tracker: gives a new tracker, such as :func:`trackers.tracker_factory` returns. The first is made and
            warmed up at once, so that the first frame does not wait for it. One with ``start`` and ``step_many``, as
            :class:`trackers.siamese.SiameseTracker`, follows all targets, in one batch; others follow one target each.
    """

    def __init__(self, make_tracker: Callable[[], OnlineTracker]) -> None:
        self._make = make_tracker
        first = make_tracker()
        self._batch: Any = first if hasattr(first, "step_many") else None
        self._targets: dict[int, _Target] = {}
        self._last = 0
        _warm_up(first)

    @property
    def ids(self) -> list[int]:
        """The targets that are followed, oldest first."""
        return sorted(self._targets)

    def add(self, frame: Frame, box: Sequence[float], target: int | None = None) -> int:
        """Follow a target from its box on a frame, and return its id.

        Args:
            frame: ``(H, W, 3)``, uint8, BGR.
            box: x, y, w, h in frame pixels.
            target: id of a target to start anew with this box; None for a new one.

        Raises:
            SourceError: the frame is not as above.
            BoxError: the box is not four numbers, empty, not finite, or outside the frame.
        """
        began = time.perf_counter()
        if self._batch:
            state = self._batch.start(frame, box)
        else:
            state = self._make()
            state.init(frame, box)
        if target is None:
            target = self._last = self._last + 1
        result = TrackResult(Box(*map(float, box)))
        self._targets[target] = _Target(state, frame, result, time.perf_counter() - began)
        return target

    def drop(self, target: int) -> None:
        """Follow a target no longer; an unknown id raises KeyError."""
        del self._targets[target]

    def step(self, frame: Frame, index: int, source_time: float | None = None) -> list[Record]:
        """Find all targets in a frame; one that was added on this very frame is where its box says.

        Args:
            frame: ``(H, W, 3)``, uint8, BGR.
            index: its number in the source.
            source_time: its time in the source, in seconds.

        Returns:
            One record a target, by id.

        Raises:
            SourceError: the frame is not as above, or has not the size of those before.
        """
        due = [target for target in self._targets.values() if target.frame is not frame]
        began = time.perf_counter()
        states = [target.state for target in due]
        if self._batch:
            found = self._batch.step_many(frame, states)
        else:
            found = [(tracker.update(frame), tracker) for tracker in states]
        seconds = time.perf_counter() - began
        for target, (result, state) in zip(due, found, strict=True):
            target.frame, target.result, target.state, target.seconds = frame, result, state, seconds
        wall = datetime.datetime.now(datetime.timezone.utc)
        return [
            Record.of(target.result, frame, index, source_time, key, target.seconds, wall)
            for key, target in sorted(self._targets.items())
        ]


def _offset(box: Box, size: tuple[int, ...]) -> tuple[float, float]:
    centre = np.array([box.x + box.w / 2, box.y + box.h / 2])
    x, y = np.clip(2 * centre / size - 1, -1, 1).tolist()
    return x, y


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _warm_up(tracker: OnlineTracker) -> None:
    """Let what is slow the first time happen now: kernels are chosen, memory is taken."""
    noise = np.random.default_rng(0).integers(0, 255, (3, 360, 640, 3), np.uint8)
    tracker.init(noise[0], (300, 160, 48, 36))
    for frame in noise[1:]:
        tracker.update(frame)
