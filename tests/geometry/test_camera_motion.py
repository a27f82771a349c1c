from __future__ import annotations

import cv2
import numpy as np
import pytest

from tctrack.geometry.camera_motion import ENOUGH, MOST, GroundView, follow_camera, thumbnail
from tctrack.scenes.painter import ground
from tctrack.types import Frame


@pytest.fixture(scope="module")
def scene() -> Frame:
    return ground(np.random.default_rng(0), 900)


def _shot(scene: Frame, scale: float, angle: float, shift: tuple[float, float]) -> tuple[Frame, np.ndarray]:
    camera = cv2.getRotationMatrix2D((450, 450), angle, scale)
    camera[:, 2] += shift
    return np.asarray(cv2.warpAffine(scene, camera, (640, 480)), np.uint8), camera


@pytest.mark.parametrize(
    ("scale", "angle", "shift"), [(1, 0, (-170.0, -215.0)), (1.02, 0, (-130, -200)), (1, 2, (-150, -210))]
)
def test_the_ground_is_carried_along(scene: Frame, scale: float, angle: float, shift: tuple[float, float]) -> None:
    first, before = _shot(scene, 1, 0, (-150, -200))
    second, after = _shot(scene, scale, angle, shift)
    place = np.array([420.0, 380.0, 1.0])
    motion, _ = follow_camera(GroundView(thumbnail(first)), thumbnail(second), 640)
    assert motion is not None
    found = motion.carry(tuple(before @ place))
    assert np.hypot(*(found - after @ place)) < 1.5
    assert np.hypot(*(found - before @ place)) > 3


def test_a_large_thing_that_passes_does_not_carry_the_ground(scene: Frame) -> None:
    first, _ = _shot(scene, 1, 0, (-150, -200))
    second = first.copy()
    sign = np.random.default_rng(1).integers(0, 255, (120, 200, 3), np.uint8)
    first[100:220, 200:400] = sign
    second[112:232, 200:400] = sign
    motion, _ = follow_camera(GroundView(thumbnail(first)), thumbnail(second), 640)
    assert motion is not None
    assert motion.carry((300.0, 300.0)) == pytest.approx((300, 300), abs=1)


def test_corners_of_the_ground_are_followed_on_until_too_few_are_in_sight(scene: Frame) -> None:
    view, carried, looked_anew = None, (600.0, 430.0), 0
    for step in range(60):
        frame, _ = _shot(scene, 1, 0, (-40 - 3.5 * step, -20 - 6.5 * step))
        if view is None:
            view = GroundView(thumbnail(frame))
            continue
        looked_anew += view.corners is None
        motion, view = follow_camera(view, thumbnail(frame), 640)
        assert motion is not None
        assert view.corners is None or ENOUGH <= len(view.corners) <= MOST
        carried = motion.carry(carried)
    assert carried == pytest.approx((600 - 3.5 * 59, 430 - 6.5 * 59), abs=4)
    assert 1 < looked_anew < 30


@pytest.mark.parametrize("size", [(480, 640), (40, 50), (7, 400), (1, 1)])
def test_where_nothing_is_seen_nothing_is_said(size: tuple[int, int]) -> None:
    blank = thumbnail(np.full((*size, 3), 90, np.uint8))
    assert follow_camera(GroundView(blank), blank, size[1]) == (None, GroundView(blank))
