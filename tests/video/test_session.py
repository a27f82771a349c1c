from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np
import pytest

from tctrack.types import Box, Frame, TrackResult
from tctrack.video import Session

LEFT, RIGHT = Box(10, 20, 30, 40), Box(100, 20, 30, 40)


class Stepper:
    """Goes one pixel to the right each frame."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.updates = 0

    def init(self, frame: Frame, box: Sequence[float]) -> None:
        self.box = Box(*box)

    def update(self, frame: Frame) -> TrackResult:
        self.updates += 1
        self.box = self.box._replace(x=self.box.x + 1)
        return TrackResult(self.box, 0.5, "hidden", 0.25)


def frames(count: int) -> list[Frame]:
    return [np.full((120, 160, 3), index, np.uint8) for index in range(count)]


def test_targets_come_and_go() -> None:
    session = Session(Stepper)
    first, second, third, fourth = frames(4)
    assert session.step(first, 0) == []
    assert session.add(first, LEFT) == 1
    assert [(record.id, record.box) for record in session.step(first, 0)] == [(1, LEFT)]
    assert session.add(second, RIGHT) == 2
    records = session.step(second, 1, 0.04)
    assert [(record.id, record.box.x) for record in records] == [(1, 11), (2, 100)]
    session.drop(1)
    assert session.ids == [2]
    assert [(record.id, record.box.x) for record in session.step(third, 2)] == [(2, 101)]
    assert session.add(third, LEFT) == 3
    assert session.add(third, LEFT, 2) == 2
    assert [(record.id, record.box.x) for record in session.step(fourth, 3)] == [(2, 11), (3, 11)]
    with pytest.raises(KeyError):
        session.drop(1)


def test_a_frame_is_tracked_once() -> None:
    session = Session(Stepper)
    first, second = frames(2)
    session.add(first, LEFT)
    once = session.step(second, 1, 0.5)
    again = session.step(second, 1, 0.5)
    assert [record._replace(wall=once[0].wall) for record in again] == once


def test_a_record() -> None:
    session = Session(Stepper)
    first, second = frames(2)
    session.add(first, (70, 70, 40, 40))
    (drawn,), (found,) = session.step(first, 7, 1.5), session.step(second, 8, 1.54)
    assert (drawn.score, drawn.confidence, drawn.state) == (None, None, "tracked")
    assert (found.score, found.confidence, found.state) == (0.5, 0.25, "hidden")
    assert found.offset == pytest.approx((91 / 80 - 1, 0.5))
    json = found._replace(seconds=0.0123456).as_json()
    wall = datetime.datetime.fromisoformat(json.pop("wall"))
    assert wall.utcoffset() == datetime.timedelta(0)
    assert abs(datetime.datetime.now(datetime.timezone.utc) - wall) < datetime.timedelta(minutes=1)
    assert json == {
        "frame": 8, "time": 1.54, "id": 1, "box": [71, 70, 40, 40], "score": 0.5, "confidence": 0.25,
        "state": "hidden", "offset": [0.1375, 0.5], "ms": 12.35,
    }  # fmt: skip


def test_offsets_end_at_the_edges() -> None:
    session = Session(Stepper)
    (frame,) = frames(1)
    session.add(frame, (150, -300, 100, 320))
    assert session.step(frame, 0)[0].offset == (1, -1)


def test_the_network_is_warm_before_the_first_frame() -> None:
    Stepper.made = 0
    session = Session(Stepper)
    assert Stepper.made == 1
    assert session.ids == []


def test_trackers_that_can_follow_all_targets_in_one_batch() -> None:
    batches = []

    class Batch(Stepper):
        def start(self, frame: Frame, box: Sequence[float]) -> Box:
            return Box(*box)

        def step_many(self, frame: Frame, states: Sequence[Box]) -> list[tuple[TrackResult, Box]]:
            batches.append(len(states))
            moved = [box._replace(x=box.x + 1) for box in states]
            return [(TrackResult(box), box) for box in moved]

    Batch.made = 0
    session = Session(Batch)
    first, second, third = frames(3)
    for box in (LEFT, RIGHT):
        session.add(first, box)
    assert [record.box.x for record in session.step(first, 0)] == [10, 100]
    assert [record.box.x for record in session.step(second, 1)] == [11, 101]
    assert [record.box.x for record in session.step(third, 2)] == [12, 102]
    assert batches == [0, 2, 2]
    assert Batch.made == 1
