from __future__ import annotations

import datetime

import numpy as np
import pytest

from tctrack.types import Box, Frame, State
from tctrack.video import Overlay, Record, draw_box, target_colour
from tctrack.video.overlay import GREEN


def record(box: Box, score: float | None = None, state: State = "tracked", target: int = 1) -> Record:
    now = datetime.datetime.now(datetime.timezone.utc)
    return Record(0, None, now, target, box, score, None, state, (0, 0), 0.01)


def grey(height: int, width: int) -> Frame:
    return np.full((height, width, 3), 100, np.uint8)


def changed(picture: Frame) -> np.ndarray:
    return (picture != 100).any(-1)


def greenness(picture: Frame) -> np.ndarray:
    """How far each pixel has gone from grey to GREEN, 0–1."""
    return (picture[..., 1].astype(float) - 100) / (GREEN[1] - 100)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (480, 854), (2160, 3840)])
def test_the_box_is_where_it_should_be_at_any_size(height: int, width: int) -> None:
    picture = grey(height, width)
    box = Box(width // 4, height // 2, width // 3, height // 5)
    draw_box(picture, box)
    rows, columns = np.nonzero(greenness(picture) > 0.5)
    reach = max(3, height / 200)
    assert abs(rows.min() - box.y) <= reach
    assert abs(rows.max() - box.y - box.h) <= reach
    assert abs(columns.min() - box.x) <= reach
    assert abs(columns.max() - box.x - box.w) <= reach
    assert not changed(picture[int(box.y + box.h / 4) : int(box.y + box.h / 2), int(box.x + box.w / 2)]).any()


def test_the_frame_is_not_touched() -> None:
    frame = grey(240, 320)
    drawn = Overlay("name").draw(frame, [record(Box(50, 60, 70, 80), 0.5)], 30.0)
    assert not changed(frame).any()
    assert changed(drawn).any()


def test_score_and_speed_are_optional() -> None:
    frame, box = grey(240, 320), Box(150, 160, 70, 60)
    bare = changed(Overlay().draw(frame, [record(box)]))
    assert not bare[:140].any()
    scored = changed(Overlay().draw(frame, [record(box, 0.5)]))
    assert scored[120:155, 150:190].any()
    assert not scored[:40, :60].any()
    assert changed(Overlay().draw(frame, [record(box)], 30.0))[10:22, 10:40].all()


def test_the_trace_follows_the_centre_and_fades() -> None:
    overlay = Overlay(trace=50)
    for x in range(0, 500, 10):
        drawn = overlay.draw(grey(480, 640), [record(Box(x, 100, 40, 40))])
    row = greenness(drawn)[120, 20:500]
    assert row[0] < 0.1 < row[200] < row[300] < row[400]
    assert row[400] > 0.7


def test_several_targets_have_colours_of_their_own_and_numbers() -> None:
    pair = [record(Box(50, 200, 100, 100)), record(Box(350, 200, 100, 100), target=2)]
    drawn = Overlay().draw(grey(480, 640), pair)
    for one in pair:
        near = np.abs(drawn.astype(int) - target_colour(one.id)).max(-1) < 30
        left = int(one.box.x)
        assert near[195:305, left - 5 : left + 105].sum() > 300
        assert changed(drawn)[165:195, left : left + 20].any()
    assert not changed(Overlay().draw(grey(480, 640), pair[:1]))[165:190].any()


def test_a_frame_that_is_drawn_again_does_not_wear_the_trace_away() -> None:
    overlay = Overlay(trace=50)
    for x in range(0, 500, 10):
        overlay.draw(grey(480, 640), [record(Box(x, 100, 40, 40))])
    for _ in range(60):
        drawn = overlay.draw(grey(480, 640), [record(Box(490, 100, 40, 40))])
    assert greenness(drawn)[120, 420] > 0.5


@pytest.mark.parametrize("state", ["hidden", "lost"])
def test_a_target_out_of_sight_is_a_dashed_red_box(state: State) -> None:
    drawn = Overlay().draw(grey(480, 640), [record(Box(100, 200, 300, 120), 0.5, state)])
    red = (drawn[..., 2] > 180) & (drawn[..., 1] < 100)
    for side in (red[200, 100:401], red[320, 100:401], red[200:321, 100], red[200:321, 400]):
        assert 0.35 < side.mean() < 0.75
        assert np.count_nonzero(np.diff(side.astype(int))) >= 10
        assert side[0]
        assert side[-1]
    assert changed(drawn)[165:195, 100:130].any()
    solid = Overlay().draw(grey(480, 640), [record(Box(100, 200, 300, 120), 0.5)])
    assert (greenness(solid)[200, 100:401] > 0.5).all()


@pytest.mark.parametrize(
    "box", [(-500, -500, 20, 20), (310, 230, 100, 100), (-50, -50, 500, 500), (5000, 5000, 10, 10), (0, 0, 0.1, 0.1)]
)
def test_boxes_anywhere_can_be_drawn(box: tuple[float, float, float, float]) -> None:
    overlay = Overlay("name")
    for shift in range(3):
        x, y, w, h = box
        picture = overlay.draw(grey(240, 320), [record(Box(x + shift, y, w, h), 0.5)], 30.0)
        assert picture.shape == (240, 320, 3)


def test_a_frame_smaller_than_the_text() -> None:
    assert Overlay("a long name").draw(grey(8, 8), [record(Box(1, 1, 4, 4), 0.5)], 30.0).shape == (8, 8, 3)
